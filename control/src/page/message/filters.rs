//! The filters of templates: see [`message`](super). Every module with a template has them in scope.
#![expect(unreachable_pub, reason = "the macro makes public methods of filters")]

use std::fmt::Display;

use askama::{Result, Values, filter_fn};

use super::Language;
use super::phrase::{Sentence, Words};

/// A message, or what Rust made of one.
#[filter_fn]
pub(in crate::page) fn t<'a, W: Words + ?Sized>(
    words: &'a W,
    values: &dyn Values,
) -> Result<Sentence<'a>> {
    Ok(words.say(Language::of_values(values)))
}

/// A message about so many things: `{n}` in it is the number, as the language writes it.
#[filter_fn]
pub(in crate::page) fn plural<'a, N: Count>(
    one: &'a str,
    values: &dyn Values,
    many: &'static str,
    count: N,
) -> Result<Sentence<'a>> {
    Ok(Sentence::counted(Language::of_values(values), one, many, count.count()))
}

/// Puts a value where `{name}` is.
#[filter_fn]
pub(in crate::page) fn put<'a, V: Display>(
    sentence: Sentence<'a>,
    _: &dyn Values,
    name: &'static str,
    value: V,
) -> Result<Sentence<'a>> {
    Ok(sentence.with_text(name, value.to_string()))
}

/// Puts words where `{name}` is: a message, or what Rust made of one.
#[filter_fn]
pub(in crate::page) fn say<'a, W: Words>(
    sentence: Sentence<'a>,
    _: &dyn Values,
    name: &'static str,
    words: W,
) -> Result<Sentence<'a>> {
    Ok(sentence.with_words(name, &words))
}

/// Makes `<name>…</name>` an element of the page's own: its name and its attributes.
#[filter_fn]
pub(in crate::page) fn markup<'a, V: Display>(
    sentence: Sentence<'a>,
    _: &dyn Values,
    name: &'static str,
    element: V,
) -> Result<Sentence<'a>> {
    Ok(sentence.with_element(name, element.to_string()))
}

/// Puts a time where `{name}` is; the browser writes it in the viewer's zone.
#[filter_fn]
pub(in crate::page) fn time<'a, V: Display>(
    sentence: Sentence<'a>,
    _: &dyn Values,
    name: &'static str,
    at: V,
) -> Result<Sentence<'a>> {
    Ok(sentence.with_time(name, &at.to_string(), None))
}

/// Puts a time where `{name}` is; the browser writes how long ago it was, or how far ahead it is.
#[filter_fn]
pub(in crate::page) fn ago<'a, V: Display>(
    sentence: Sentence<'a>,
    _: &dyn Values,
    name: &'static str,
    at: V,
) -> Result<Sentence<'a>> {
    Ok(sentence.with_time(name, &at.to_string(), Some("ago")))
}

/// A number as the language writes it.
#[filter_fn]
pub(in crate::page) fn number<N: Count>(number: N, values: &dyn Values) -> Result<String> {
    Ok(Language::of_values(values).number(number.count()))
}

/// The tag of the page's language, in place of that of the sources'.
#[filter_fn]
pub(in crate::page) fn language(_sources: &str, values: &dyn Values) -> Result<&'static str> {
    Ok(Language::of_values(values).tag())
}

/// Whether the page is in the language with this tag.
#[filter_fn]
pub(in crate::page) fn is_current(tag: &str, values: &dyn Values) -> Result<bool> {
    Ok(Language::of_values(values).tag() == tag)
}

/// What can be counted.
pub(in crate::page) trait Count {
    fn count(&self) -> u64;
}

impl Count for u64 {
    fn count(&self) -> u64 {
        *self
    }
}

impl Count for u32 {
    fn count(&self) -> u64 {
        u64::from(*self)
    }
}

impl Count for usize {
    fn count(&self) -> u64 {
        *self as u64
    }
}

impl<T: Count> Count for &T {
    fn count(&self) -> u64 {
        (**self).count()
    }
}
