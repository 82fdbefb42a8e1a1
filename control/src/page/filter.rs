//! A report's filter as the chips of a page, and the addresses that add and remove them. The text is
//! the API's: see `click/report/filter.rs`.

/// A condition, as its chip says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chip {
    /// The dimension's name.
    pub(super) dimension: String,
    /// `is`, `is not`, `contains`, `does not contain`.
    pub(super) operator: &'static str,
    pub(super) values: String,
    /// The whole filter without it.
    pub(super) rest: String,
}

/// The chips of a filter. The filter was read already: what makes no sense was refused.
pub(super) fn chips(filter: &str) -> Vec<Chip> {
    let conditions: Vec<&str> = filter.split(';').filter(|it| !it.is_empty()).collect();
    let chip = |(at, condition): (usize, &&str)| {
        let (name, rest) = condition.split_at(condition.find(['=', '!'])?);
        let (operator, values) = rest.split_at_checked(2)?;
        let operator = match operator {
            "==" => "is",
            "!=" => "is not",
            "=@" => "contains",
            _ => "does not contain",
        };
        let others = conditions.iter().enumerate().filter(|(other, _)| *other != at);
        let rest: Vec<&str> = others.map(|(_, other)| *other).collect();
        let shown =
            |value: &str| if value.is_empty() { "unknown".to_owned() } else { decode(value) };
        let values: Vec<String> = values.split(',').map(shown).collect();
        let (dimension, values, rest) = (name.to_owned(), values.join(", "), rest.join(";"));
        Some(Chip { dimension, operator, values, rest })
    };
    conditions.iter().enumerate().filter_map(chip).collect()
}

/// The filter with `dimension` being `value`, in place of what it was before.
pub(super) fn with(filter: &str, dimension: &str, value: &str) -> String {
    let is_same = |condition: &&str| {
        condition.strip_prefix(dimension).is_some_and(|rest| rest.starts_with("=="))
    };
    let mut conditions: Vec<&str> =
        filter.split(';').filter(|it| !it.is_empty()).filter(|it| !is_same(it)).collect();
    let condition = format!("{dimension}=={}", encode(value));
    conditions.push(&condition);
    conditions.join(";")
}

fn encode(value: &str) -> String {
    value.replace('%', "%25").replace(';', "%3B").replace(',', "%2C")
}

fn decode(value: &str) -> String {
    value.replace("%2C", ",").replace("%3B", ";").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_added_and_removed() {
        let filter = with("", "country", "DE");
        assert_eq!(filter, "country==DE");
        let filter = with(&filter, "referrer", "a;b,c%");
        assert_eq!(filter, "country==DE;referrer==a%3Bb%2Cc%25");
        let filter = with(&filter, "country", "FR");
        assert_eq!(filter, "referrer==a%3Bb%2Cc%25;country==FR");
        let found = chips(&filter);
        assert_eq!(found[0].values, "a;b,c%");
        assert_eq!(
            (found[0].rest.as_str(), found[1].rest.as_str()),
            ("country==FR", "referrer==a%3Bb%2Cc%25")
        );
        assert_eq!((found[1].dimension.as_str(), found[1].operator), ("country", "is"));
        assert_eq!(chips("os!=iOS,Android;referrer=@news")[0].operator, "is not");
        assert_eq!(chips(""), []);
    }
}
