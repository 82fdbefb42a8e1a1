//! Random texts that prove something to whoever reads them again: of sessions, and of links in mails
//! and in the terminal.
//!
//! 32 random bytes in base64url without padding (RFC 4648, 5): 43 characters. The database holds only
//! their SHA-256; 256 random bits need no slow hash, and none is found by looking at the table.

use std::fmt;

use carom_shared::Random;
use sha2::{Digest, Sha256};

/// Random bytes of a token.
const LEN: usize = 32;
/// Characters of its text.
const CHARS: usize = 43;
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A token as whoever holds it has it.
pub(crate) struct Token(Box<str>);

/// What the database has of a token.
pub(crate) type TokenHash = [u8; 32];

impl Token {
    pub(crate) fn generate(random: &dyn Random) -> Self {
        let mut bytes = [0; LEN];
        random.fill(&mut bytes);
        Self(base64url(&bytes).into())
    }

    /// What a client sent, if it has a token's form.
    pub(crate) fn sent(text: &str) -> Option<Self> {
        let is_one = text.len() == CHARS && text.bytes().all(|byte| BASE64URL.contains(&byte));
        is_one.then(|| Self(text.into()))
    }

    pub(crate) fn hash(&self) -> TokenHash {
        Self::hash_of(&self.0)
    }

    /// The hash of what a client sent, whatever it is.
    pub(crate) fn hash_of(text: &str) -> TokenHash {
        Sha256::digest(text.as_bytes()).into()
    }

    /// The text, for its one reader.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A text that only who knows `secret` can make, and that does not give it away: 43 characters, other
/// ones for each `label`.
pub(crate) fn derived(secret: &str, label: &str) -> String {
    let mut hash = Sha256::new();
    for part in [label, secret] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    base64url(&hash.finalize())
}

/// base64url without padding (RFC 4648, 5).
pub(crate) fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_usize, |group, byte| group << 8 | usize::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            text.push(char::from(BASE64URL[group >> (18 - 6 * at) & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::SeededRandom;

    #[test]
    fn what_is_sent_has_the_form_of_a_token_or_is_none() {
        let token = Token::generate(&SeededRandom::new(1));
        assert_eq!(Token::sent(token.reveal()).unwrap().hash(), token.hash());
        let text = token.reveal();
        let (_, short) = text.split_at(1);
        for other in [short, &format!("{text}A"), &format!("{short}="), ""] {
            assert!(Token::sent(other).is_none(), "{other}");
        }
    }

    #[test]
    fn base64url_is_that_of_rfc_4648() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xfb, 0xff, 0xfe], "-__-"),
        ] {
            assert_eq!(base64url(bytes), text);
        }
    }

    #[test]
    fn what_is_derived_differs_by_secret_and_label() {
        let all = [derived("a", "b"), derived("b", "a"), derived("ab", ""), derived("a", "c")];
        for (at, text) in all.iter().enumerate() {
            assert_eq!(text.len(), 43);
            assert!(!all[..at].contains(text));
        }
        assert_eq!(derived("a", "b"), all[0]);
    }

    #[test]
    fn a_token_is_known_by_its_hash_and_does_not_print() {
        let random = SeededRandom::new(1);
        let (one, other) = (Token::generate(&random), Token::generate(&random));
        assert_eq!(one.reveal().len(), 43);
        assert_eq!(one.hash(), Token::hash_of(one.reveal()));
        assert_ne!(one.hash(), other.hash());
        assert_eq!(format!("{one:?}"), "Token(..)");
    }
}
