//! A report's filter as the chips of a page, and the addresses that add and remove them. The text is
//! the API's: see `click/report/filter.rs`.

use super::message::phrase::{Phrase, phrase};
use super::stats::words;
use crate::click::report::Dimension;

/// A condition, as its chip says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chip {
    pub(super) words: Phrase,
    /// The whole filter without it.
    pub(super) rest: String,
}

/// The chips of a filter. The filter was read already: what makes no sense was refused.
pub(super) fn chips(filter: &str) -> Vec<Chip> {
    let conditions: Vec<&str> = filter.split(';').filter(|it| !it.is_empty()).collect();
    let chip = |(at, condition): (usize, &&str)| {
        let (name, rest) = condition.split_at(condition.find(['=', '!'])?);
        let (operator, values) = rest.split_at_checked(2)?;
        let dimension = Dimension::parse(name)?;
        let words = match operator {
            "==" => phrase("{what} is <bdi>{value}</bdi>"),
            "!=" => phrase("{what} is not <bdi>{value}</bdi>"),
            "=@" => phrase("{what} contains <bdi>{value}</bdi>"),
            _ => phrase("{what} does not contain <bdi>{value}</bdi>"),
        };
        let others = conditions.iter().enumerate().filter(|(other, _)| *other != at);
        let rest: Vec<&str> = others.map(|(_, other)| *other).collect();
        let shown = values.split(',').map(|value| words::value(dimension, &decode(value)));
        let words = words
            .put("what", phrase(words::dimension(dimension)))
            .put("value", words::listed(shown)?);
        Some(Chip { words, rest: rest.join(";") })
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
    use crate::page::message::Language;

    fn said(chip: &Chip) -> String {
        chip.words.plain(Language::english())
    }

    #[test]
    fn a_condition_is_added_and_removed() {
        let filter = with("", "country", "DE");
        assert_eq!(filter, "country==DE");
        let filter = with(&filter, "referrer", "a;b,c%");
        assert_eq!(filter, "country==DE;referrer==a%3Bb%2Cc%25");
        let filter = with(&filter, "country", "FR");
        assert_eq!(filter, "referrer==a%3Bb%2Cc%25;country==FR");
        let found = chips(&filter);
        assert_eq!(said(&found[0]), "Referrer is a;b,c%");
        assert_eq!(said(&found[1]), "Country is FR");
        assert_eq!(
            (found[0].rest.as_str(), found[1].rest.as_str()),
            ("country==FR", "referrer==a%3Bb%2Cc%25")
        );
        let found = chips("os!=iOS,Android;referrer=@news;channel!@search;city==");
        let said: Vec<String> = found.iter().map(said).collect();
        assert_eq!(
            said,
            [
                "System is not iOS, Android", "Referrer contains news",
                "Channel does not contain search", "City is unknown"
            ]
        );
        assert_eq!(chips(""), []);
    }
}
