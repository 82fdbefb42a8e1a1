//! Numbers and texts as pages show them.

use jiff::Timestamp;

use carom_shared::UnixMillis;

/// A number with commas between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How much more or less it is than before, in words and a sign: never by colour alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) class: &'static str,
    pub(super) text: String,
}

impl Delta {
    pub(super) fn of(now: u64, before: u64) -> Self {
        let (class, text) = match (now, before) {
            (now, before) if now == before => ("muted", "no change".into()),
            (_, 0) => ("up", "↑ new".into()),
            (now, before) => {
                let percent = 100 * u128::from(now.abs_diff(before)) / u128::from(before);
                let (class, sign) = if now > before { ("up", '↑') } else { ("down", '↓') };
                let percent = if percent == 0 { "under 1".to_owned() } else { percent.to_string() };
                (class, format!("{sign} {percent}%"))
            }
        };
        Self { class, text }
    }
}

/// A share in whole percent.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0%".into();
    }
    match 100 * u128::from(part) / u128::from(whole) {
        0 if part > 0 => "<1%".into(),
        percent => format!("{percent}%"),
    }
}

/// A time for `<time datetime>`, and for those without scripts.
pub(super) fn time(at: UnixMillis) -> String {
    let at = Timestamp::from_millisecond(at.get()).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An address without its scheme, as people say it.
pub(super) fn bare(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_change_is_said_in_words() {
        let text = |now, before| Delta::of(now, before).text;
        assert_eq!(text(112, 100), "↑ 12%");
        assert_eq!(text(50, 100), "↓ 50%");
        assert_eq!(text(1001, 1000), "↑ under 1%");
        assert_eq!(text(5, 0), "↑ new");
        assert_eq!(text(0, 0), "no change");
        assert_eq!(
            (percent(1, 1000), percent(1, 3), percent(0, 0)),
            ("<1%".into(), "33%".into(), "0%".into())
        );
    }
}
