//! The words of pages, in the language of who looks. The way is gettext's: the English text is the key.
//!
//! ```text
//! {{ "Search links"|t }}                                          a message
//! {{ "Copy {short}"|t|put("short", row.short) }}                   with a value
//! {{ "{n} click"|plural("{n} clicks", count) }}                    with a number
//! {{ "<link>Ask again</link>"|t|markup("link", "a href='/forgot'") }}  with markup of the page's own
//! {{ "Role of {name}"|t|say("name", row.name) }}                 with words: a message, or a phrase
//! {{ "used {at}"|t|ago("at", row.seen_at) }}                       with a time
//! {{ badge.text|t }}                                              what Rust marked: message("Disabled")
//! {{ body.summary|t }}                                            a [`Phrase`] that Rust made
//! ```
//!
//! English needs no file. Another language has `messages/TAG.toml` and an entry in [`LANGUAGES`]; what its
//! file lacks is said in English. The filters get the language from askama's runtime values, which
//! `respond` gives to every page: no template's struct has a field for it. Scripts ask `messages.js`,
//! and get the same file's entries ([`script`]).
//!
//! What programs read (the API, CSV files), the log and letters stay English; of what the API refuses, scripts
//! know the usual sentences ([`details`](super::details)).

pub(in crate::page) mod filters;
pub(in crate::page) mod phrase;
pub(in crate::page) mod scan;
pub(in crate::page) mod script;
#[cfg(test)]
pub(in crate::page) mod tests;

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use askama::Values;
use http::{HeaderMap, header};
use jiff::civil::Date;
use serde::Deserialize;

use crate::session::cookie::cookie;

/// The language that somebody chose: a tag of [`LANGUAGES`]. Scripts set it, as they set the zone.
const LANGUAGE_COOKIE: &str = "carom_language";
/// Ranges of an Accept-Language that are read. Browsers send a handful.
const RANGES_MAX: usize = 32;
/// Where filters find the language among askama's values.
const VALUE: &str = "language";

/// Marks a text that a template translates, for the tests that look for messages. As `N_` of gettext.
pub(in crate::page) const fn message(text: &'static str) -> &'static str {
    text
}

/// What a file says for a message.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Entry {
    One(String),
    /// By the language's plural forms, in CLDR's order (one, few, many, other).
    Forms(Vec<String>),
}

type Table = HashMap<String, Entry>;

/// How a language says things.
struct Catalogue {
    /// BCP 47, as `<html lang>` and the cookie have it.
    tag: &'static str,
    /// What its speakers call it.
    name: &'static str,
    /// Which of the forms counts this many.
    form: fn(u64) -> usize,
    /// Between thousands.
    separator: char,
    /// A day, for `strftime`.
    date: &'static str,
    table: LazyLock<Table>,
    /// Whether texts are in brackets, so that what was forgotten stands out.
    is_pseudo: bool,
}

/// The languages. English is the sources' own.
///
/// The last is not offered: whoever writes pages chooses it by
/// the cookie, and sees in brackets what is a message; by custom its tag is English of a region that does
/// not exist (X and what follows are private in ISO 3166).
static LANGUAGES: [Catalogue; 3] = [
    Catalogue {
        tag: "en",
        name: "English",
        form: |n| usize::from(n != 1),
        separator: ',',
        date: "%-d %b %Y",
        table: LazyLock::new(Table::new),
        is_pseudo: false,
    },
    Catalogue {
        tag: "de",
        name: "Deutsch",
        form: |n| usize::from(n != 1),
        separator: '.',
        date: "%d.%m.%Y",
        table: LazyLock::new(|| read(include_str!("../../messages/de.toml"))),
        is_pseudo: false,
    },
    Catalogue {
        tag: "en-XA",
        name: "[English]",
        form: |n| usize::from(n != 1),
        separator: ',',
        date: "%-d %b %Y",
        table: LazyLock::new(Table::new),
        is_pseudo: true,
    },
];

/// The tests read every file: one that cannot be read is never shipped.
fn read(file: &str) -> Table {
    toml::from_str(file).unwrap_or_else(|error| {
        tracing::error!(%error, "a file of messages cannot be read, its language is English");
        Table::new()
    })
}

/// A language of the dashboard.
#[derive(Clone, Copy)]
pub(in crate::page) struct Language(&'static Catalogue);

impl Language {
    /// The language of the sources.
    pub(in crate::page) fn english() -> Self {
        Self(&LANGUAGES[0])
    }

    /// Those that people choose from.
    pub(in crate::page) fn all() -> impl Iterator<Item = Self> {
        LANGUAGES.iter().filter(|it| !it.is_pseudo).map(Self)
    }

    pub(in crate::page) fn parse(tag: &str) -> Option<Self> {
        LANGUAGES.iter().find(|it| it.tag.eq_ignore_ascii_case(tag)).map(Self)
    }

    /// The language that a browser with these headers is answered in.
    pub(in crate::page) fn of(headers: &HeaderMap) -> Self {
        Self::chosen(headers).or_else(|| accepted(headers)).unwrap_or_else(Self::english)
    }

    /// The one that somebody chose in this browser.
    pub(in crate::page) fn chosen(headers: &HeaderMap) -> Option<Self> {
        Self::parse(cookie(headers, LANGUAGE_COOKIE)?)
    }

    /// Those that have a file of messages for scripts.
    pub(in crate::page) fn foreign() -> impl Iterator<Item = Self> {
        LANGUAGES.iter().skip(1).map(Self)
    }

    pub(in crate::page) const fn tag(self) -> &'static str {
        self.0.tag
    }

    pub(in crate::page) const fn name(self) -> &'static str {
        self.0.name
    }

    /// What to render a template with.
    pub(in crate::page) fn values(&self) -> impl Values + '_ {
        (VALUE, self as &dyn Any)
    }

    fn of_values(values: &dyn Values) -> Self {
        askama::get_value::<Self>(values, VALUE).copied().unwrap_or_else(|_| Self::english())
    }

    /// A message; English where the file has none.
    fn message<'a>(self, text: &'a str) -> Cow<'a, str> {
        match self.0.table.get(text) {
            Some(Entry::One(found)) => Cow::Borrowed(found),
            _ if self.0.is_pseudo => Cow::Owned(format!("[{text}]")),
            _ => Cow::Borrowed(text),
        }
    }

    /// A message about `n` things, in the form for so many.
    fn counted<'a>(self, one: &'a str, many: &'a str, n: u64) -> Cow<'a, str> {
        match self.0.table.get(one) {
            Some(Entry::Forms(forms)) if forms.len() > (self.0.form)(n) => {
                Cow::Borrowed(&forms[(self.0.form)(n)])
            }
            Some(Entry::One(found)) => Cow::Borrowed(found),
            _ => {
                let text = if n == 1 { one } else { many };
                if self.0.is_pseudo { Cow::Owned(format!("[{text}]")) } else { Cow::Borrowed(text) }
            }
        }
    }

    /// All forms of a message about a number.
    fn forms(self, one: &str, many: &str) -> Vec<String> {
        match self.0.table.get(one) {
            Some(Entry::Forms(forms)) => forms.clone(),
            _ => [one, many].map(|text| self.message(text).into_owned()).to_vec(),
        }
    }

    /// A number with what this language has between thousands.
    pub(in crate::page) fn number(self, number: u64) -> String {
        let digits = number.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(self.0.separator);
            }
            text.push(digit);
        }
        text
    }

    /// A day as this language writes it. English has the month in letters: its readers do not agree on
    /// which number is the month's.
    pub(in crate::page) fn date(self, date: Date) -> String {
        date.strftime(self.0.date).to_string()
    }
}

/// The best of the languages that a browser asks for (RFC 9110, 12.5.4; matched by the language alone, so
/// that Swiss German is German).
fn accepted(headers: &HeaderMap) -> Option<Language> {
    let lines = headers.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|it| it.to_str().ok());
    let ranges = lines.flat_map(|line| line.split(',')).take(RANGES_MAX);
    let weighed = ranges.filter_map(|range| {
        let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
        let weight: f32 = weight.trim().strip_prefix("q=")?.trim().parse().ok()?;
        let primary = tag.trim().split('-').next()?;
        let language = match primary {
            "*" => Language::english(),
            primary => Language::all().find(|it| it.tag().eq_ignore_ascii_case(primary))?,
        };
        (weight > 0.0).then_some((weight, language))
    });
    // The first of those that are wanted alike.
    let best = weighed.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, language)| language)
}
