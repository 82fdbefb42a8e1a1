//! The messages of scripts, as a script: it comes before them on a page that is not English, and
//! `messages.js` looks there. It has what they ask for and no more.

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

/// `globalThis.messages`: from English to a text, or to a text for each plural form.
pub(in crate::page) fn script(language: Language, scripts: &[&str]) -> String {
    let found = scripts.iter().flat_map(|script| in_calls(script, CALLS));
    let said: BTreeMap<String, Said> = found.map(|it| entry(language, it)).collect();
    let json = serde_json::to_string(&said).unwrap_or_else(|_| "{}".to_owned());
    format!("globalThis.messages = {json};\n")
}

fn entry(language: Language, found: Found) -> (String, Said) {
    let said = match &found.many {
        None => Said::One(language.message(&found.one).into_owned()),
        Some(many) => Said::Forms(language.forms(&found.one, many)),
    };
    (found.one, said)
}
