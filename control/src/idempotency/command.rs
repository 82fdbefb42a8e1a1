//! The header, and what makes two requests the same. Pure.

use sha2::{Digest, Sha256};

/// A key that a client chose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct IdempotencyKey(Box<str>);

/// A header value is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Idempotency-Key must be 1 to {} printable ASCII characters, best in double quotes",
    IdempotencyKey::LEN_MAX
)]
pub(crate) struct KeyError;

impl IdempotencyKey {
    pub(crate) const LEN_MAX: usize = 255;

    /// Reads a header: a Structured Field string (RFC 9651, 3.3.3), or its text without quotes.
    pub(crate) fn parse(header: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(header).map_err(|_| KeyError)?.trim_matches(' ');
        let key = match text.strip_prefix('"') {
            Some(quoted) => unquote(quoted.strip_suffix('"').ok_or(KeyError)?)?,
            None if text.contains('"') => return Err(KeyError),
            None => text.to_owned(),
        };
        let fits = (1..=Self::LEN_MAX).contains(&key.len());
        let is_printable = key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if fits && is_printable { Ok(Self(key.into())) } else { Err(KeyError) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A backslash makes a quote or a backslash stand for itself, and nothing else.
fn unquote(quoted: &str) -> Result<String, KeyError> {
    let mut key = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Err(KeyError),
            '\\' => match characters.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => return Err(KeyError),
            },
            other => key.push(other),
        }
    }
    Ok(key)
}

/// What a request asks for, in 32 bytes: two requests with the same fingerprint are the same.
pub(crate) fn fingerprint(query: &str, media_type: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Each part with its length, so that no two lists of parts run into the same bytes.
    for part in [query.as_bytes(), media_type.as_bytes(), body] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(header: &str) -> Option<String> {
        IdempotencyKey::parse(header.as_bytes()).ok().map(|key| key.as_str().to_owned())
    }

    #[test]
    fn keys_come_quoted_and_bare() {
        for (header, expected) in [
            ("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("8e03978e", "8e03978e"),
            (" \"a b\" ", "a b"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            ("a\\b", "a\\b"),
        ] {
            assert_eq!(key(header).as_deref(), Some(expected), "{header}");
        }
        let long = "x".repeat(256);
        for header in
            ["", "\"\"", "\"a", "a\"", "\"a\\b\"", "\"a\\\"", "\"a\"b\"", "a\tb", "ä", &long]
        {
            assert_eq!(key(header), None, "{header}");
        }
        assert_eq!(IdempotencyKey::parse(b"\xff"), Err(KeyError));
    }

    #[test]
    fn fingerprints_differ_wherever_requests_do() {
        let base = fingerprint("a=1", "application/json", b"{}");
        assert_eq!(base, fingerprint("a=1", "application/json", b"{}"));
        for other in [
            fingerprint("a=2", "application/json", b"{}"),
            fingerprint("a=1", "application/jso", b"n{}"),
            fingerprint("a=1", "application/json", b"{ }"),
            fingerprint("a=1application/json", "", b"{}"),
        ] {
            assert_ne!(base, other);
        }
    }
}
