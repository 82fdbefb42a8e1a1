//! An answer as the generator reads it: once over its bytes, because what the client takes for each
//! request must stay below what the servers take.
//!
//! `crate::http` reads more carefully and costs as much as a server's own parser.

/// A whole answer, borrowed from its buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) location: Option<&'a [u8]>,
    /// The server ends the connection after it.
    pub(crate) close: bool,
    /// Bytes of head and body.
    pub(crate) len: usize,
}

/// Reads an answer from the beginning of `bytes`; `None` if it is not all there yet.
///
/// # Errors
/// What is wrong with it: no status line of HTTP/1.1, or no `Content-Length`.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Answer<'_>>, &'static str> {
    let mut answer = Answer { status: 0, location: None, close: false, len: 0 };
    let (mut at, mut body) = (0, None);
    loop {
        let Some(length) = bytes[at..].iter().position(|&byte| byte == b'\n') else {
            return Ok(None);
        };
        let line = bytes[at..at + length].strip_suffix(b"\r").ok_or("a line without CR")?;
        at += length + 1;
        match line.first().map(u8::to_ascii_lowercase) {
            None => break,
            _ if answer.status == 0 => answer.status = status(line)?,
            Some(b'c') => {
                if let Some(value) = value(line, b"content-length") {
                    body = number(value);
                } else if let Some(value) = value(line, b"connection") {
                    answer.close = value.eq_ignore_ascii_case(b"close");
                }
            }
            Some(b'l') => answer.location = answer.location.or(value(line, b"location")),
            Some(_) => {}
        }
    }
    answer.len = at + body.ok_or("no Content-Length")?;
    Ok((bytes.len() >= answer.len).then_some(answer))
}

fn status(line: &[u8]) -> Result<u16, &'static str> {
    let digits = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(number);
    digits.and_then(|status| u16::try_from(status).ok()).ok_or("no status line of HTTP/1.1")
}

fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":").filter(|_| start.eq_ignore_ascii_case(name))?;
    Some(value.trim_ascii())
}

/// At most nine decimal digits.
pub(crate) fn number(text: &[u8]) -> Option<usize> {
    let is_number = (1..=9).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| text.iter().fold(0, |value, &digit| value * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let text = b"HTTP/1.1 302 Moved\r\nContent-Length: 3\r\nLOCATION:  https://e.com/a \r\n\
                     x: y\r\nConnection: Close\r\n\r\nabc";
        let whole = Answer {
            status: 302,
            location: Some(b"https://e.com/a"),
            close: true,
            len: text.len(),
        };
        assert_eq!(read(text), Ok(Some(whole)));
        for len in 0..text.len() {
            assert_eq!(read(&text[..len]), Ok(None), "{len}");
        }
        let two = [&text[..], b"HTTP"].concat();
        assert_eq!(read(&two).unwrap().unwrap().len, text.len());
    }

    #[test]
    fn what_has_no_length_or_no_status_is_refused() {
        for text in [
            "HTTP/1.1 302 Found\r\n\r\n", "HTTP/1.0 302 Found\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 3x2 Found\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 302 Found\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 302 Found\nContent-Length: 0\n\n",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
