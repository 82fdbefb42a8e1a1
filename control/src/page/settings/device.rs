//! A browser's name for itself, in words that its owner knows. Pure.
//!
//! A guess: browsers pretend to be each other (RFC 9110, 10.1.5). The whole text is beside it.

use crate::page::message::phrase::{Phrase, phrase};

/// The first that is found counts: those that others' texts also hold come last.
const PROGRAMS: &[(&str, &str)] = &[
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
];
const SYSTEMS: &[(&str, &str)] = &[
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

/// What signed in, as far as its user agent tells.
pub(super) fn device(user_agent: &str) -> Phrase {
    let find = |words: &[(&'static str, &'static str)]| {
        words.iter().find(|(part, _)| user_agent.contains(part)).map(|(_, name)| *name)
    };
    match (find(PROGRAMS), find(SYSTEMS)) {
        (Some(program), Some(system)) => {
            phrase("{program} on {system}").put("program", program).put("system", system)
        }
        (Some(name), None) | (None, Some(name)) => Phrase::data(name),
        (None, None) => phrase("A program that is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::message::Language;

    #[test]
    fn common_browsers_are_known() {
        for (user_agent, name) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
                 like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/140.0.0.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            ("curl/8.5.0", "curl"),
            ("", "A program that is not known"),
        ] {
            assert_eq!(device(user_agent).plain(Language::english()), name, "{user_agent}");
        }
    }
}
