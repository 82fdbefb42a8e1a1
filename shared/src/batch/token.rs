//! The name of a batch.

use std::fmt;
use std::str::FromStr;

/// The name of a batch, given once and never again: the stem of its file, the key in every store's
/// ledger.
///
/// ```text
/// {spool:016x}-{generation:08x}-{number:08x}-{rows}-{crc:08x}
/// ```
///
/// `spool` is the random name of the folder it was cut in, `generation` counts the starts on that
/// folder, `number` the batches since the start. The CRC-32C of the body keeps two copies of one
/// folder (a cloned machine) from hiding each other's batches behind the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Box<str>);

/// A text is not the name of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a batch of clicks")]
pub struct TokenError;

impl Token {
    #[must_use]
    pub fn new(spool: u64, generation: u32, number: u32, rows: u32, crc: u32) -> Self {
        Self(format!("{spool:016x}-{generation:08x}-{number:08x}-{rows}-{crc:08x}").into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Generation and number: the order in which a folder's batches were cut.
    #[must_use]
    pub fn place(&self) -> (u32, u32) {
        let mut parts = self.0.split('-').skip(1).map(|part| u32::from_str_radix(part, 16));
        // Both were checked when the token was made.
        let mut part = || parts.next().and_then(Result::ok).unwrap_or_default();
        (part(), part())
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let hex = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let rows = |part: &str| part.parse::<u32>().is_ok_and(|rows| rows.to_string() == part);
        let parts: Vec<&str> = text.split('-').collect();
        match parts[..] {
            [spool, generation, number, count, crc]
                if hex(spool, 16)
                    && hex(generation, 8)
                    && hex(number, 8)
                    && rows(count)
                    && hex(crc, 8) =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(TokenError),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_spelling() {
        let token = Token::new(0xab, 1, 0x10, 42, 0xdead_beef);
        assert_eq!(token.as_str(), "00000000000000ab-00000001-00000010-42-deadbeef");
        assert_eq!(token.place(), (1, 0x10));
        assert_eq!(token.as_str().parse(), Ok(token));
        for bad in [
            "", "00000000000000AB-00000001-00000010-42-deadbeef",
            "00000000000000ab-00000001-00000010-042-deadbeef",
            "00000000000000ab-00000001-00000010-+42-deadbeef",
            "00000000000000ab-00000001-00000010-42-deadbee",
            "00000000000000ab-00000001-00000010-42-deadbeef-",
            "../000000000000ab-00000001-00000010-42-deadbeef",
        ] {
            assert_eq!(bad.parse::<Token>(), Err(TokenError), "{bad:?}");
        }
    }
}
