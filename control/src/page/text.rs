//! Numbers and texts as pages show them.

use jiff::Timestamp;

use carom_shared::UnixMillis;

use super::message::phrase::{Phrase, phrase};

/// How much more or less it is than before, in words and a sign: never by colour alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) class: &'static str,
    pub(super) text: Phrase,
}

impl Delta {
    pub(super) fn of(now: u64, before: u64) -> Self {
        let (class, text) = match (now, before) {
            (now, before) if now == before => ("muted", phrase("no change")),
            (_, 0) => ("up", phrase("↑ new")),
            (now, before) => {
                let percent = 100 * u128::from(now.abs_diff(before)) / u128::from(before);
                let (class, sign) = if now > before { ("up", '↑') } else { ("down", '↓') };
                let text = match u64::try_from(percent).unwrap_or(u64::MAX) {
                    0 => phrase("{sign} under 1%"),
                    percent => phrase("{sign} {n}%").put("n", percent),
                };
                (class, text.put("sign", String::from(sign)))
            }
        };
        Self { class, text }
    }
}

/// A share in whole percent.
pub(super) fn percent(part: u64, whole: u64) -> Phrase {
    let percent = 100 * u128::from(part) / u128::from(whole.max(1));
    match u64::try_from(percent).unwrap_or(u64::MAX) {
        0 if part > 0 => phrase("<{n}%").put("n", 1_u64),
        percent => phrase("{n}%").put("n", percent),
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
    use super::super::message::Language;
    use super::*;

    #[test]
    fn a_change_is_said_in_words() {
        let text = |now, before| Delta::of(now, before).text.plain(Language::english());
        assert_eq!(text(112, 100), "↑ 12%");
        assert_eq!(text(50, 100), "↓ 50%");
        assert_eq!(text(1001, 1000), "↑ under 1%");
        assert_eq!(text(5, 0), "↑ new");
        assert_eq!(text(0, 0), "no change");
    }

    #[test]
    fn a_share_is_written_as_the_language_writes_it() {
        let german = Language::parse("de").unwrap();
        for (part, whole, english, said) in [
            (1, 1000, "<1%", "<1\u{a0}%"),
            (1, 3, "33%", "33\u{a0}%"),
            (0, 0, "0%", "0\u{a0}%"),
            (u64::MAX, u64::MAX, "100%", "100\u{a0}%"),
        ] {
            let share = percent(part, whole);
            assert_eq!(share.plain(Language::english()), english);
            assert_eq!(share.plain(german), said);
        }
    }
}
