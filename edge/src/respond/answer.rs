//! An [`Answer`]: what is answered, whatever carries it, and the two ways to write it.
//!
//! The fields of an answer, and their order, stand once, in `Answer::fields`. Both writers go
//! through it: one makes the response that hyper sends, the other the bytes themselves, framed as hyper
//! frames them.

use std::borrow::Cow;
use std::io::Write as _;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version};

use super::Body;
use super::date::HttpDate;
use crate::request::Verb;

/// Fields that are the same in each answer of a sort: as text, and one by one.
#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) lines: &'static str,
    pub(super) list: &'static [(&'static str, &'static str)],
}

/// Makes a [`Fixed`]: `name: value` of each, names in lower case.
macro_rules! fixed {
    ($($name:literal: $value:expr),* $(,)?) => {
        &$crate::respond::answer::Fixed {
            lines: concat!($($name, ": ", $value, "\r\n"),*),
            list: &[$(($name, $value)),*],
        }
    };
}

pub(super) use fixed;

/// A status, the header fields that Carom sends, and a body.
#[derive(Debug)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) location: Option<HeaderValue>,
    pub(super) content_type: Option<&'static str>,
    pub(super) cache_control: Cow<'static, str>,
    pub(super) fixed: &'static Fixed,
    pub(super) retry_after: Option<HeaderValue>,
    pub(super) closes: bool,
    pub(super) body: Bytes,
}

/// The value of a field.
enum Value<'a> {
    Static(&'static str),
    Shared(&'a HeaderValue),
    Made(&'a str),
}

impl Value<'_> {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Static(text) => text.as_bytes(),
            Self::Shared(value) => value.as_bytes(),
            Self::Made(text) => text.as_bytes(),
        }
    }
}

impl Answer {
    /// An answer with nothing but its status and how long it may be kept.
    pub(super) const fn new(status: StatusCode, cache_control: Cow<'static, str>) -> Self {
        Self {
            status,
            location: None,
            content_type: None,
            cache_control,
            fixed: fixed!(),
            retry_after: None,
            closes: false,
            body: Bytes::new(),
        }
    }

    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Says when to ask again.
    pub(crate) fn retry_after(&mut self, seconds: HeaderValue) {
        self.retry_after = Some(seconds);
    }

    /// Says that the connection ends.
    pub(crate) const fn close(&mut self) {
        self.closes = true;
    }

    /// Whether it says that the connection ends.
    pub(crate) const fn closes(&self) -> bool {
        self.closes
    }

    /// Its fields in their order, those that are fixed as one.
    #[inline]
    fn fields(&self, out: &mut impl Fields) {
        if let Some(location) = &self.location {
            out.field("location", "location: ", Value::Shared(location));
        }
        if let Some(content_type) = self.content_type {
            out.field("content-type", "content-type: ", Value::Static(content_type));
        }
        let cache_control = match &self.cache_control {
            Cow::Borrowed(text) => Value::Static(text),
            Cow::Owned(text) => Value::Made(text),
        };
        out.field("cache-control", "cache-control: ", cache_control);
        out.fixed(self.fixed);
        if let Some(seconds) = &self.retry_after {
            out.field("retry-after", "retry-after: ", Value::Shared(seconds));
        }
        if self.closes {
            out.field("connection", "connection: ", Value::Static("close"));
        }
    }

    /// The response for hyper, which adds length and date and drops the body where the request was
    /// HEAD. HTTP/2 says by itself that a connection ends, and forbids the header (RFC 9113 8.2.2).
    #[must_use]
    pub fn into_response(self, version: Version) -> Response<Body> {
        let mut response = Response::new(Body::default());
        *response.status_mut() = self.status;
        self.fields(response.headers_mut());
        if version == Version::HTTP_2 {
            response.headers_mut().remove(CONNECTION);
        }
        *response.body_mut() = Body::from(self.body);
        response
    }

    /// Appends the bytes of the response of HTTP/1.1.
    pub fn write(&self, verb: Verb, date: &HttpDate, out: &mut Vec<u8>) {
        const LINE: usize = 512;
        let location = self.location.as_ref().map_or(0, HeaderValue::len);
        out.reserve(LINE + location + self.fixed.lines.len() + self.body.len());
        if self.status == StatusCode::FOUND {
            out.extend_from_slice(b"HTTP/1.1 302 Found\r\n");
        } else {
            out.extend_from_slice(b"HTTP/1.1 ");
            out.extend_from_slice(self.status.as_str().as_bytes());
            out.push(b' ');
            out.extend_from_slice(self.status.canonical_reason().unwrap_or("<none>").as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        self.fields(out);
        if !self.body.is_empty() {
            // Nothing that is written to memory fails.
            drop(write!(out, "content-length: {}\r\n", self.body.len()));
        } else if verb != Verb::Head && self.status != StatusCode::NO_CONTENT {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        if verb != Verb::Head {
            out.extend_from_slice(&self.body);
        }
    }
}

/// Takes the fields of an answer.
trait Fields {
    /// `line`: the name as a line begins with it.
    fn field(&mut self, name: &'static str, line: &'static str, value: Value<'_>);
    fn fixed(&mut self, fixed: &'static Fixed);
}

impl Fields for Vec<u8> {
    #[inline]
    fn field(&mut self, _name: &'static str, line: &'static str, value: Value<'_>) {
        self.extend_from_slice(line.as_bytes());
        self.extend_from_slice(value.as_bytes());
        self.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn fixed(&mut self, fixed: &'static Fixed) {
        self.extend_from_slice(fixed.lines.as_bytes());
    }
}

impl Fields for http::HeaderMap {
    fn field(&mut self, name: &'static str, _line: &'static str, value: Value<'_>) {
        let value = match value {
            Value::Static(text) => HeaderValue::from_static(text),
            Value::Shared(value) => value.clone(),
            // What this program makes is a header value.
            Value::Made(text) => match HeaderValue::from_str(text) {
                Ok(value) => value,
                Err(_) => return,
            },
        };
        self.insert(HeaderName::from_static(name), value);
    }

    fn fixed(&mut self, fixed: &'static Fixed) {
        for (name, value) in fixed.list {
            self.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
}
