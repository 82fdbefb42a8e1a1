//! Which programs are no people: lists over what a user agent says of itself.

use carom_shared::click::Kind;
use regex::bytes::{Regex, RegexBuilder};

const BOTS: &str = include_str!("bots.txt");
const PREVIEWS: &str = include_str!("previews.txt");

/// Memory for the states of each list's automaton, in bytes; beyond it they are made anew.
const STATES_BYTES_MAX: usize = 1 << 20;

/// The lists, ready to be matched.
#[derive(Debug)]
pub(super) struct Kinds {
    previews: Regex,
    bots: Regex,
    /// [`WORDS`]
    words: Regex,
}

/// A word that says bot, unless its neighbours say otherwise.
struct Word {
    word: &'static str,
    /// What must not be right before it.
    not_after: &'static [&'static str],
    /// What must not be right after it.
    not_before: &'static [&'static str],
    /// Whether the word must end there (in `s`, maybe).
    whole: bool,
}

/// The patterns of isbot that look around. CUBOT makes phones; `GoogleApp/` and `Google/google`
/// (a Pixel's maker and brand, in Instagram's user agent) are people.
const WORDS: [Word; 6] = [
    Word { word: "news", not_after: &["g"], not_before: &["sapphire"], whole: false },
    Word {
        word: "google",
        not_after: &[" channel/", "google/"],
        not_before: &["wv", "app", "/google", " pixel"],
        whole: false,
    },
    Word { word: "bot", not_after: &[" cu"], not_before: &[], whole: true },
    Word { word: "scan", not_after: &["cam"], not_before: &[], whole: false },
    Word { word: "http", not_after: &["lib"], not_before: &[], whole: false },
    Word { word: "java", not_after: &[], not_before: &[";"], whole: false },
];

impl Word {
    /// Whether the word, found in `text` (lower case) from `at`, says bot there.
    fn says_bot(&self, text: &[u8], at: usize) -> bool {
        let (before, rest) = text.split_at(at);
        let after = &rest[self.word.len()..];
        let ends =
            |after: &[u8]| after.first().is_none_or(|b| *b == b'_' || !b.is_ascii_alphanumeric());
        !self.not_after.iter().any(|word| before.ends_with(word.as_bytes()))
            && !self.not_before.iter().any(|word| after.starts_with(word.as_bytes()))
            && (!self.whole || ends(after) || after.strip_prefix(b"s").is_some_and(ends))
    }
}

/// The lines of a list that are not about the list.
fn lines(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

fn any_of(patterns: impl Iterator<Item = String>) -> Regex {
    let pattern = patterns.collect::<Vec<_>>().join("|");
    RegexBuilder::new(&pattern)
        .unicode(false)
        .case_insensitive(true)
        .dfa_size_limit(STATES_BYTES_MAX)
        .build()
        .expect("the lists hold expressions; tests compile them")
}

impl Kinds {
    pub(super) fn new() -> Self {
        let preview = |line: &'static str| match line.strip_prefix('^') {
            Some(start) => format!("^{}", regex::escape(start)),
            None => regex::escape(line),
        };
        Self {
            previews: any_of(lines(PREVIEWS).map(preview)),
            bots: any_of(lines(BOTS).map(|line| format!("(?:{line})"))),
            words: any_of(WORDS.iter().map(|word| word.word.to_owned())),
        }
    }

    /// [`Kind::Bot`], [`Kind::Preview`] or [`Kind::Human`]. A user agent that is missing says
    /// nothing, so it is nobody's in particular: human.
    pub(super) fn of(&self, user_agent: &[u8]) -> Kind {
        if self.previews.is_match(user_agent) {
            return Kind::Preview;
        }
        if user_agent.is_empty() || self.is_no_bot(user_agent) {
            return Kind::Human;
        }
        Kind::Bot
    }

    fn is_no_bot(&self, user_agent: &[u8]) -> bool {
        if self.bots.is_match(user_agent) {
            return false;
        }
        let lower = user_agent.to_ascii_lowercase();
        // Words do not overlap, so one pass finds all of them.
        !self.words.find_iter(&lower).any(|found| {
            WORDS
                .iter()
                .filter(|word| word.word.as_bytes() == found.as_bytes())
                .any(|word| word.says_bot(&lower, found.start()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_agents_say_who_they_are() {
        let kinds = Kinds::new();
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/140.0.0.0 Safari/537.36";
        let pixel = "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/AP2A; wv) AppleWebKit/537.36 \
                     (KHTML, like Gecko) Version/4.0 Chrome/126.0 Mobile Safari/537.36 Instagram \
                     337.0.0.35.102 Android (34/14; 420dpi; 1080x2205; Google/google; Pixel 8; \
                     shiba; shiba; en_US)";
        let imessage = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 \
                        (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 \
                        facebookexternalhit/1.1 Facebot Twitterbot/1.0";
        for (user_agent, kind) in [
            (chrome, Kind::Human),
            (pixel, Kind::Human),
            (imessage, Kind::Preview),
            ("", Kind::Human),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Kind::Bot),
            ("facebookexternalhit/1.1", Kind::Preview),
            ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", Kind::Preview),
            ("WhatsApp/2.23", Kind::Preview),
            ("http.rb/5.1.1 (Mastodon/4.2.0; +https://example.social/)", Kind::Preview),
            (
                "Mozilla/5.0 (Linux; Android 12; CUBOT NOTE 30) AppleWebKit/537.36 (KHTML, like \
              Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
                Kind::Human,
            ),
            ("Mozilla/5.0 (X11) AppleWebKit/537.36 HeadlessChrome/120.0 Safari/537.36", Kind::Bot),
            ("curl/8.5.0", Kind::Bot),
            ("Wget/1.21.4", Kind::Bot),
            ("python-requests/2.32.3", Kind::Bot),
            ("Go-http-client/2.0", Kind::Bot),
            ("okhttp/4.12.0", Kind::Bot),
            ("Java/17.0.2", Kind::Bot),
            ("node", Kind::Bot),
        ] {
            assert_eq!(kinds.of(user_agent.as_bytes()), kind, "{user_agent}");
        }
        assert_eq!(kinds.of(b"\xff\xfe Chrome (\xc3\x29) Safari \0 x (y) z"), Kind::Human);
    }

    #[test]
    fn words_mind_their_neighbours() {
        let kinds = Kinds::new();
        let tail = ") AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15";
        for (part, kind) in [
            ("robots_x", Kind::Bot),
            ("botany", Kind::Human),
            ("some bot", Kind::Bot),
            ("a CUBOT", Kind::Human),
            ("scanner", Kind::Bot),
            ("camscanner", Kind::Human),
            ("gnews", Kind::Human),
            ("newsapp", Kind::Bot),
            ("newssapphire", Kind::Human),
            ("libhttp", Kind::Human),
            ("xhttp", Kind::Bot),
            ("java; x", Kind::Human),
            ("javax", Kind::Bot),
            ("googleapp", Kind::Human),
            ("google pixel", Kind::Human),
            ("googlex", Kind::Bot),
        ] {
            let user_agent = format!("Mozilla/5.0 (X11; {part}{tail}");
            assert_eq!(kinds.of(user_agent.as_bytes()), kind, "{part}");
        }
    }
}
