//! Bytes → a *plain* request: what nearly every visitor sends, and nothing that could be read in two
//! ways. Pure.
//!
//! A plain request is a GET or HEAD of HTTP/1.1 for a path, with one `Host`, with no sign of a body, of
//! another protocol or of a wish about the connection but `keep-alive` or `close`. Its end is the end of its head,
//! whoever reads it. Everything else is [`Read::Odd`]: it may be right or wrong, and that is for hyper to
//! say.
//!
//! The parser is the one that hyper uses, with its settings, so both see the same bytes as a head.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};

use super::head::{Fields, Head, Verb};
use crate::proxy::ForwardedFor;

/// Header fields of a request, at most.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a head, at most.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// What bytes begin with.
#[expect(clippy::large_enum_variant, reason = "a box for each request costs more")]
#[derive(Clone, Copy, Debug)]
pub enum Read<'a> {
    Whole(Plain<'a>),
    /// The beginning of what may become one.
    Part,
    /// Something else.
    Odd,
}

/// A plain request.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    pub head: Head<'a>,
    /// In bytes.
    pub len: usize,
    /// Whether its answer shall be the connection's last.
    pub closes: bool,
}

/// Reads what bytes begin with: at least one.
#[must_use]
pub fn read(bytes: &[u8]) -> Read<'_> {
    // No other method begins so, nor does an empty line, nor HTTP/2.
    if !matches!(bytes.first(), Some(b'G' | b'H')) {
        return Read::Odd;
    }
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = ParserConfig::default()
        .parse_request_with_uninit_headers(&mut request, bytes, &mut headers);
    match parsed {
        Ok(Status::Complete(len)) if len <= HEAD_BYTES_MAX => {
            plain(&request, len).map_or(Read::Odd, Read::Whole)
        }
        Ok(Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => Read::Part,
        Ok(_) | Err(_) => Read::Odd,
    }
}

/// Whether bytes may hold the end of a head at or behind `from`: else there is no use in reading them
/// again from their beginning, which would take a time that grows with the square of a head's length.
#[must_use]
pub fn may_end(bytes: &[u8], from: usize) -> bool {
    // What came last before may be the first bytes of the end.
    let new = bytes.get(from.saturating_sub(3)..).unwrap_or_default();
    new.windows(2).any(|pair| pair == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
}

fn plain<'a>(request: &httparse::Request<'_, 'a>, len: usize) -> Option<Plain<'a>> {
    let verb = match request.method? {
        "GET" => Verb::Get,
        "HEAD" => Verb::Head,
        _ => return None,
    };
    let target = request.path?;
    if request.version? != 1
        || !target.starts_with('/')
        || !target.bytes().all(|byte| PLAIN[usize::from(byte)])
    {
        return None;
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut host = None;
    let mut wish = None;
    let mut fields = Fields::default();
    for header in &*request.headers {
        take(header, &mut fields, &mut host, &mut wish)?;
    }
    let head = Head { verb, host: Some(host?), path, query, has_body: false, fields };
    Some(Plain { head, len, closes: wish == Some(Wish::Close) })
}

/// The bytes that may stand in a path or a query (RFC 3986 3.3 and 3.4). More is found in requests, and
/// more is answered: hyper says what of it.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0_u8;
    while byte < u8::MAX {
        plain[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut marks = b"-._~!$&'()*+,;=:@/%?".as_slice();
    while let [mark, rest @ ..] = marks {
        plain[*mark as usize] = true;
        marks = rest;
    }
    plain
};

/// What a client wishes of its connection (RFC 9112 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    KeepAlive,
    Close,
}

/// Takes one header field; `None` if with it the request is not plain.
#[inline]
fn take<'a>(
    header: &Header<'a>,
    fields: &mut Fields<'a>,
    host: &mut Option<&'a [u8]>,
    wish: &mut Option<Wish>,
) -> Option<()> {
    let (name, value) = (header.name.as_bytes(), header.value);
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    // By length first: most fields are none of these, and few lengths have two.
    let field = match name.len() {
        3 if is(b"dnt") => &mut fields.dnt,
        4 if is(b"host") => return host.replace(value).is_none().then_some(()),
        5 if is(b"x-moz") => &mut fields.x_moz,
        6 if is(b"accept") => &mut fields.accept,
        6 if is(b"expect") => return None,
        7 if is(b"referer") => &mut fields.referer,
        7 if is(b"sec-gpc") => &mut fields.sec_gpc,
        7 if is(b"purpose") => &mut fields.purpose,
        7 if is(b"upgrade") => return None,
        10 if is(b"user-agent") => &mut fields.user_agent,
        10 if is(b"connection") => {
            let this = match value.len() {
                10 if value.eq_ignore_ascii_case(b"keep-alive") => Wish::KeepAlive,
                5 if value.eq_ignore_ascii_case(b"close") => Wish::Close,
                _ => return None,
            };
            return wish.replace(this).is_none().then_some(());
        }
        11 if is(b"sec-purpose") => &mut fields.sec_purpose,
        14 if is(b"content-length") => return None,
        15 if is(b"accept-language") => &mut fields.accept_language,
        15 if is(b"x-forwarded-for") => {
            let is_first = matches!(fields.forwarded_for, ForwardedFor::Line(None));
            fields.forwarded_for = ForwardedFor::Line(Some(value));
            return is_first.then_some(());
        }
        17 if is(b"transfer-encoding") => return None,
        _ => return Some(()),
    };
    field.get_or_insert(value);
    Some(())
}

#[cfg(test)]
mod tests;
