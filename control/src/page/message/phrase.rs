//! Messages with values in them: [`Phrase`], made where the language is not known, and [`Sentence`], the
//! same in a language.

use std::borrow::Cow;
use std::fmt;

use askama::filters::{Escaper as _, Html, HtmlSafe};
use jiff::civil::Date;

use super::Language;

/// Markup that messages have as it is. It carries nothing: no address, no script.
const PLAIN_TAGS: &[&str] = &["b", "bdi", "code", "em", "kbd", "strong"];

/// What Rust code says of a page: a message, and values for its `{names}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::page) struct Phrase {
    one: &'static str,
    many: Option<(&'static str, u64)>,
    values: Vec<(&'static str, Value)>,
}

/// What a phrase has for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::page) enum Value {
    /// Data, the same in every language.
    Text(String),
    /// Written as the language writes it.
    Number(u64),
    Date(Date),
    Phrase(Phrase),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<Date> for Value {
    fn from(date: Date) -> Self {
        Self::Date(date)
    }
}

impl From<Phrase> for Value {
    fn from(phrase: Phrase) -> Self {
        Self::Phrase(phrase)
    }
}

/// A message as a phrase.
pub(in crate::page) const fn phrase(text: &'static str) -> Phrase {
    Phrase { one: text, many: None, values: Vec::new() }
}

/// A message about `n` things, which is `{n}` in it.
pub(in crate::page) const fn plural(one: &'static str, many: &'static str, n: u64) -> Phrase {
    Phrase { one, many: Some((many, n)), values: Vec::new() }
}

impl Phrase {
    /// What is no message: a name, which is the same in every language, or a day.
    pub(in crate::page) fn data(value: impl Into<Value>) -> Self {
        Self { one: DATA, many: None, values: vec![("data", value.into())] }
    }

    pub(in crate::page) fn put(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.values.push((name, value.into()));
        self
    }

    /// Without markup, for what is no HTML.
    pub(in crate::page) fn plain(&self, language: Language) -> String {
        self.say(language).plain()
    }
}

impl From<&'static str> for Phrase {
    fn from(text: &'static str) -> Self {
        phrase(text)
    }
}

const DATA: &str = "{data}";

/// What the filter `t` takes.
pub(in crate::page) trait Words {
    fn say(&self, language: Language) -> Sentence<'_>;
}

impl Words for str {
    fn say(&self, language: Language) -> Sentence<'_> {
        Sentence { language, text: language.message(self), parts: Vec::new() }
    }
}

impl Words for String {
    fn say(&self, language: Language) -> Sentence<'_> {
        self.as_str().say(language)
    }
}

impl Words for Phrase {
    fn say(&self, language: Language) -> Sentence<'_> {
        let text = match self.many {
            _ if self.one == DATA => Cow::Borrowed(DATA),
            None => language.message(self.one),
            Some((many, n)) => language.counted(self.one, many, n),
        };
        let own = self.many.map(|(_, n)| ("n", Part::Text(language.number(n))));
        let part = |value: &Value| {
            Part::Text(match value {
                Value::Text(text) => text.clone(),
                Value::Number(number) => language.number(*number),
                Value::Date(date) => language.date(*date),
                Value::Phrase(phrase) => phrase.plain(language),
            })
        };
        let values = self.values.iter().map(|(name, value)| (*name, part(value)));
        Sentence { language, text, parts: own.into_iter().chain(values).collect() }
    }
}

impl<T: Words + ?Sized> Words for &T {
    fn say(&self, language: Language) -> Sentence<'_> {
        (**self).say(language)
    }
}

/// What stands for a name in a sentence.
#[derive(Clone, Debug)]
enum Part {
    /// For `{name}`; escaped.
    Text(String),
    /// For `{name}`; HTML of our own.
    Html(String),
    /// For `<name>` and `</name>`: an element with its attributes.
    Element(String),
}

/// A message in a language, with what was put into it so far. As HTML it escapes what it was given;
/// values are never looked into for further names.
#[derive(Clone)]
pub(in crate::page) struct Sentence<'a> {
    language: Language,
    text: Cow<'a, str>,
    parts: Vec<(&'static str, Part)>,
}

impl<'a> Sentence<'a> {
    pub(super) fn counted(language: Language, one: &'a str, many: &'a str, n: u64) -> Self {
        let number = Part::Text(language.number(n));
        Self { language, text: language.counted(one, many, n), parts: vec![("n", number)] }
    }

    pub(super) fn with_text(mut self, name: &'static str, text: String) -> Self {
        self.parts.push((name, Part::Text(text)));
        self
    }

    pub(super) fn with_words(mut self, name: &'static str, words: &impl Words) -> Self {
        let text = words.say(self.language).plain();
        self.parts.push((name, Part::Text(text)));
        self
    }

    /// `element`: a name and attributes, such as `a href='/forgot'`.
    pub(super) fn with_element(mut self, name: &'static str, element: String) -> Self {
        self.parts.push((name, Part::Element(element)));
        self
    }

    /// `at` as RFC 3339, `style` as `carom.js` knows it.
    pub(super) fn with_time(mut self, name: &'static str, at: &str, style: Option<&str>) -> Self {
        let style = style.map(|style| format!(" data-as=\"{style}\"")).unwrap_or_default();
        let at = escaped(at);
        let html = format!("<time datetime=\"{at}\"{style}>{at}</time>");
        self.parts.push((name, Part::Html(html)));
        self
    }

    fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|(found, _)| *found == name).map(|(_, part)| part)
    }

    /// What stands for `{name}` or `<tag>`, as HTML or as text; `None`: it is just text.
    fn stands_for(&self, piece: &str, is_html: bool) -> Option<Cow<'_, str>> {
        let inner = piece.get(1..piece.len().checked_sub(1)?)?;
        if piece.starts_with('{') {
            return match self.part(inner)? {
                Part::Text(text) if is_html => Some(Cow::Owned(escaped(text))),
                Part::Text(text) => Some(Cow::Borrowed(text)),
                Part::Html(html) if is_html => Some(Cow::Borrowed(html)),
                Part::Html(_) | Part::Element(_) => None,
            };
        }
        let (slash, name) = inner.strip_prefix('/').map_or(("", inner), |name| ("/", name));
        let element = match self.part(name) {
            Some(Part::Element(element)) => element,
            _ if PLAIN_TAGS.contains(&name) => name,
            _ => return None,
        };
        if !is_html {
            return Some(Cow::Borrowed(""));
        }
        let shown = if slash.is_empty() { Some(element) } else { element.split(' ').next() };
        Some(Cow::Owned(format!("<{slash}{}>", shown.unwrap_or_default())))
    }

    fn write(&self, to: &mut impl fmt::Write, is_html: bool) -> fmt::Result {
        let mut rest = &*self.text;
        while let Some(at) = rest.find(['{', '<']) {
            let (before, piece) = rest.split_at(at);
            write_own(to, before, is_html)?;
            let end = if piece.starts_with('{') { '}' } else { '>' };
            let (piece, after) = piece.split_at(piece.find(end).map_or(1, |end| end + 1));
            match self.stands_for(piece, is_html) {
                Some(known) => to.write_str(&known)?,
                None => write_own(to, piece, is_html)?,
            }
            rest = after;
        }
        write_own(to, rest, is_html)
    }

    /// Without markup, for what is no HTML.
    pub(super) fn plain(&self) -> String {
        let mut text = String::with_capacity(self.text.len());
        // A string takes everything.
        self.write(&mut text, false).unwrap_or_default();
        text
    }
}

/// Text of a message. An apostrophe ends nothing: templates have attributes in double quotes.
fn write_own(to: &mut impl fmt::Write, text: &str, is_html: bool) -> fmt::Result {
    if !is_html || !text.contains(['&', '<', '>', '"']) {
        return to.write_str(text);
    }
    text.chars().try_for_each(|it| match it {
        '\'' => to.write_char(it),
        _ => Html.write_escaped_char(&mut *to, it),
    })
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    // A string takes everything.
    Html.write_escaped_str(&mut html, text).unwrap_or_default();
    html
}

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, true)
    }
}

impl HtmlSafe for Sentence<'_> {}
