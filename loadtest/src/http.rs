//! HTTP/1.1 as a measuring client speaks it: one request in flight, and a strict reader.
//!
//! Written by hand, not with a client library, for two reasons. `kill` must know whether the
//! complete head of a response was read, which pools and retries hide; and a client that costs more
//! than the server measures itself.
//!
//! The reader takes what RFC 9112 lets a server send to a client that asks no more than this one
//! does: a status line, headers up to a blank line, then a body of `Content-Length` or in chunks.
//! Everything else is an error and not a guess: bytes that nobody asked for, a body that ends with
//! the connection (a cut would look complete), interim answers, two lengths that differ.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a status line and its headers.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a body, framing included.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long one connect, or one request with its answer, may take.
pub(crate) const EXCHANGE_MAX: Duration = Duration::from_secs(10);

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum HttpError {
    Io(io::Error),
    /// The connection ended inside a response, or before one began.
    Cut,
    Timeout,
    /// What arrived is not the answer of a correct server to this client.
    Malformed(&'static str),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Cut => f.write_str("the connection ended before the response did"),
            Self::Timeout => {
                write!(f, "no complete response within {} s", EXCHANGE_MAX.as_secs())
            }
            Self::Malformed(what) => write!(f, "malformed response: {what}"),
        }
    }
}

impl std::error::Error for HttpError {}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Cut,
            _ => Self::Io(error),
        }
    }
}

/// The head of a response, as positions in the connection's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// The server closes the connection after this response.
    pub(crate) close: bool,
    len: usize,
    body: Framing,
    location: Option<Range<usize>>,
    etag: Option<Range<usize>>,
    replayed: Option<Range<usize>>,
    retry_after: Option<Range<usize>>,
    set_cookie: Option<Range<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

impl Head {
    /// Where the value of header `name` is kept, if it is one that experiments read.
    fn kept(&mut self, name: &[u8]) -> Option<&mut Option<Range<usize>>> {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        if is(b"location") {
            Some(&mut self.location)
        } else if is(b"etag") {
            Some(&mut self.etag)
        } else if is(b"idempotent-replayed") {
            Some(&mut self.replayed)
        } else if is(b"retry-after") {
            Some(&mut self.retry_after)
        } else if is(b"set-cookie") {
            Some(&mut self.set_cookie)
        } else {
            None
        }
    }
}

/// A whole response, borrowed from its connection.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    /// The value of `Location`, if there is one.
    pub(crate) location: Option<&'a [u8]>,
    /// The value of `ETag`, if there is one.
    pub(crate) etag: Option<&'a [u8]>,
    /// The value of `Idempotent-Replayed`, if there is one.
    pub(crate) replayed: Option<&'a [u8]>,
    /// The value of `Retry-After`, if there is one.
    pub(crate) retry_after: Option<&'a [u8]>,
    /// The value of `Set-Cookie`, if there is one.
    pub(crate) set_cookie: Option<&'a [u8]>,
    pub(crate) body: &'a [u8],
}

/// A connection that is kept alive. After any error it is of no further use.
#[derive(Debug)]
pub(crate) struct Connection<S = TcpStream> {
    stream: S,
    /// Whether the last request was HEAD: its answer has no body, whatever it says of one.
    is_head: bool,
    /// What was read since the last request.
    buffer: Vec<u8>,
    /// The body of the last response without its chunk framing, if it was chunked.
    unchunked: Vec<u8>,
}

impl Connection<TcpStream> {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, HttpError> {
        let connect = TcpStream::connect(address);
        let stream = match tokio::time::timeout(EXCHANGE_MAX, connect).await {
            Ok(connected) => connected?,
            Err(_elapsed) => return Err(HttpError::Timeout),
        };
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn over(stream: S) -> Self {
        Self { stream, is_head: false, buffer: Vec::with_capacity(4096), unchunked: Vec::new() }
    }

    /// Writes one request. The answer to the last one must have been read whole.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<(), HttpError> {
        self.buffer.clear();
        self.is_head = request.starts_with(b"HEAD ");
        self.stream.write_all(request).await?;
        Ok(())
    }

    /// Reads up to and including the blank line.
    pub(crate) async fn read_head(&mut self) -> Result<Head, HttpError> {
        loop {
            if let Some(head) = parse_head(&self.buffer, self.is_head)? {
                return Ok(head);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(HttpError::Malformed("its head is longer than 64 KiB"));
            }
            self.fill().await?;
        }
    }

    /// Reads what follows `head`, which [`Connection::read_head`] has just given.
    pub(crate) async fn read_body(&mut self, head: &Head) -> Result<Response<'_>, HttpError> {
        let end = match head.body {
            Framing::Length(length) => {
                let end = head.len + length;
                while self.buffer.len() < end {
                    self.fill().await?;
                }
                end
            }
            Framing::Chunked => loop {
                if let Some(length) = unchunk(&self.buffer[head.len..], &mut self.unchunked)? {
                    break head.len + length;
                }
                if self.buffer.len() - head.len > BODY_BYTES_MAX {
                    return Err(HttpError::Malformed("its body is longer than 16 MiB"));
                }
                self.fill().await?;
            },
        };
        if self.buffer.len() != end {
            return Err(HttpError::Malformed("bytes follow the end of the body"));
        }
        Ok(Response {
            status: head.status,
            location: self.value(head.location.as_ref()),
            etag: self.value(head.etag.as_ref()),
            replayed: self.value(head.replayed.as_ref()),
            retry_after: self.value(head.retry_after.as_ref()),
            set_cookie: self.value(head.set_cookie.as_ref()),
            body: match head.body {
                Framing::Length(_) => &self.buffer[head.len..],
                Framing::Chunked => &self.unchunked,
            },
        })
    }

    /// The value of `Location` in `head`, which [`Connection::read_head`] has just given.
    pub(crate) fn location(&self, head: &Head) -> Option<&[u8]> {
        self.value(head.location.as_ref())
    }

    fn value(&self, range: Option<&Range<usize>>) -> Option<&[u8]> {
        range.map(|range| &self.buffer[range.clone()])
    }

    async fn fill(&mut self) -> Result<(), HttpError> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(HttpError::Cut);
        }
        Ok(())
    }
}

/// Reads a head from the beginning of `bytes`; `None` if it is not all there yet.
fn parse_head(bytes: &[u8], is_head: bool) -> Result<Option<Head>, HttpError> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut at = find(bytes, b"\r\n").unwrap_or(end);
    let (status, http_1_0) = parse_status_line(&bytes[..at])?;
    let mut head = Head {
        status,
        close: http_1_0,
        len: end + 4,
        body: Framing::Length(0),
        location: None,
        etag: None,
        replayed: None,
        retry_after: None,
        set_cookie: None,
    };
    let mut length = None;
    let mut chunked = false;
    while at < end {
        let start = at + 2;
        at = find(&bytes[start..end], b"\r\n").map_or(end, |length| start + length);
        let Some(colon) = bytes[start..at].iter().position(|&byte| byte == b':') else {
            return Err(HttpError::Malformed("a header line has no colon"));
        };
        let name = &bytes[start..start + colon];
        let value = trim(bytes, start + colon + 1..at);
        let text = &bytes[value.clone()];
        if name.eq_ignore_ascii_case(b"content-length") {
            let parsed = parse_digits(text)?;
            if length.replace(parsed).is_some_and(|before| before != parsed) {
                return Err(HttpError::Malformed("two lengths that differ"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !text.eq_ignore_ascii_case(b"chunked") {
                return Err(HttpError::Malformed("a transfer encoding other than chunked"));
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"connection") {
            head.close |= text.eq_ignore_ascii_case(b"close");
        } else if let Some(kept) = head.kept(name)
            && kept.replace(value).is_some()
        {
            return Err(HttpError::Malformed("a header twice that may come once"));
        }
    }
    head.body = if is_head { Framing::Length(0) } else { framing(status, length, chunked)? };
    Ok(Some(head))
}

/// How long the body is (RFC 9112, 6.3).
fn framing(status: u16, length: Option<usize>, chunked: bool) -> Result<Framing, HttpError> {
    match (length, chunked) {
        _ if status == 204 || status == 304 => Ok(Framing::Length(0)),
        (Some(_), true) => Err(HttpError::Malformed("a length and chunks")),
        (None, true) => Ok(Framing::Chunked),
        (Some(length), false) if length <= BODY_BYTES_MAX => Ok(Framing::Length(length)),
        (Some(_), false) => Err(HttpError::Malformed("its body is longer than 16 MiB")),
        (None, false) => Err(HttpError::Malformed("no length and no chunks")),
    }
}

/// The status, and whether the version is HTTP/1.0, which does not keep connections alive.
fn parse_status_line(line: &[u8]) -> Result<(u16, bool), HttpError> {
    const WRONG: HttpError = HttpError::Malformed("its first line is not a status line");
    let (http_1_0, rest) = match line.split_at_checked(9) {
        Some((b"HTTP/1.1 ", rest)) => (false, rest),
        Some((b"HTTP/1.0 ", rest)) => (true, rest),
        _ => return Err(WRONG),
    };
    let Some((digits, [] | [b' ', ..])) = rest.split_at_checked(3) else {
        return Err(WRONG);
    };
    match u16::try_from(parse_digits(digits)?) {
        Ok(200..=599) => {}
        Ok(100..=199) => return Err(HttpError::Malformed("an interim answer nobody asked for")),
        _ => return Err(WRONG),
    }
    let status = digits.iter().fold(0, |value, &digit| value * 10 + u16::from(digit - b'0'));
    Ok((status, http_1_0))
}

/// Decimal digits and nothing else: no sign, no list, at most nine of them.
fn parse_digits(text: &[u8]) -> Result<usize, HttpError> {
    if text.is_empty() || text.len() > 9 || !text.iter().all(u8::is_ascii_digit) {
        return Err(HttpError::Malformed("a number is not a number"));
    }
    Ok(text.iter().fold(0, |value, &digit| value * 10 + usize::from(digit - b'0')))
}

/// Decodes a chunked body (RFC 9112, 7.1) into `body`; `None` if it is not all there yet, else how
/// many bytes it took. Begins anew at each call: bodies here come in one or two reads.
fn unchunk(bytes: &[u8], body: &mut Vec<u8>) -> Result<Option<usize>, HttpError> {
    body.clear();
    let mut at = 0;
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = parse_chunk_size(&bytes[at..at + line])?;
        at += line + 2;
        if size == 0 {
            // Trailers would end with a blank line; nothing here asked for any (`TE: trailers`).
            return match bytes[at..] {
                [b'\r', b'\n', ..] => Ok(Some(at + 2)),
                [] | [b'\r'] => Ok(None),
                _ => Err(HttpError::Malformed("trailers nobody asked for")),
            };
        }
        let Some(data) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        let Some(data) = data.strip_suffix(b"\r\n") else {
            return Err(HttpError::Malformed("a chunk does not end where it says"));
        };
        body.extend_from_slice(data);
        at += size + 2;
    }
}

/// The size of a chunk; what follows a semicolon is an extension, and is ignored.
fn parse_chunk_size(line: &[u8]) -> Result<usize, HttpError> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits).unwrap_or_default().trim_end();
    if text.is_empty() || text.len() > 7 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(HttpError::Malformed("a chunk's size is not a number"));
    }
    usize::from_str_radix(text, 16)
        .ok()
        .filter(|&size| size <= BODY_BYTES_MAX)
        .ok_or(HttpError::Malformed("its body is longer than 16 MiB"))
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

/// `range` without the blanks around it.
fn trim(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let blank = |&byte: &u8| matches!(byte, b' ' | b'\t');
    let text = &bytes[range.clone()];
    let before = text.iter().take_while(|&byte| blank(byte)).count();
    let after = text[before..].iter().rev().take_while(|&byte| blank(byte)).count();
    range.start + before..range.end - after
}

#[cfg(test)]
mod tests;
