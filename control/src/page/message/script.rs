//! The messages of scripts, as a script: it comes before them on a page that is not English, and
//! `messages.js` looks there. It has what they ask for and no more, and what the API says to people.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Language;
use super::scan::{Found, in_calls};

/// What scripts ask for messages with.
pub(in crate::page) const CALLS: &[&str] = &["t", "plural"];

#[derive(Serialize)]
#[serde(untagged)]
enum Said {
    One(String),
    /// As `Intl.PluralRules` orders them.
    Forms(Vec<String>),
}

/// `globalThis.messages`: from English to a text, or to a text for each plural form. `globalThis.details`:
/// from a pattern of what the API says to a text.
pub(in crate::page) fn script(language: Language, scripts: &[&str], details: &[&str]) -> String {
    let found = scripts.iter().flat_map(|script| in_calls(script, CALLS));
    let said: BTreeMap<String, Said> = found.map(|it| entry(language, it)).collect();
    let detail = |text: &&str| (pattern(text), language.message(text).into_owned());
    let details: BTreeMap<String, String> = details.iter().map(detail).collect();
    let (said, details) = (json(&said), json(&details));
    format!("globalThis.messages = {said};\nglobalThis.details = {details};\n")
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}

/// The regular expression of a text with `{names}` (ECMA-262, 22.2), each a group with that name.
pub(super) fn pattern(text: &str) -> String {
    let mut pattern = String::from("^");
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let name = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if let Some((name, after)) = name {
            pattern += &format!("(?<{name}>.*)");
            rest = after;
            continue;
        }
        if r"\^$.*+?()[]{}|".contains(next) {
            pattern.push('\\');
        }
        pattern.push(next);
        rest = rest.get(next.len_utf8()..).unwrap_or_default();
    }
    pattern.push('$');
    pattern
}

fn entry(language: Language, found: Found) -> (String, Said) {
    let said = match &found.many {
        None => Said::One(language.message(&found.one).into_owned()),
        Some(many) => Said::Forms(language.forms(&found.one, many)),
    };
    (found.one, said)
}
