//! The text of a key, what it may be called, and what it is for. Pure.
//!
//! ```text
//! crm_  30 characters of base62 (178 bits)  6 of base62: CRC-32 (IEEE) of all that precedes
//! ```
//!
//! The checksum lets scanners for leaked secrets be sure, and lets a wrong key be refused without
//! asking the database. Only the SHA-256 is kept: 178 random bits need no slow hash.

mod grant;

pub(crate) use grant::{
    KeyBody, KeyChange, KeyRules, NewKeyBody, check_key, check_key_change, check_within, lifetime,
    scopes, sooner,
};

use std::fmt;

use carom_shared::Random;
use sha2::{Digest, Sha256};

use crate::http::problem::FieldError;

const PREFIX: &str = "crm_";
const RANDOM_LEN: usize = 30;
const CHECK_LEN: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a key that lists show.
const HINT_LEN: usize = 4;
/// Characters of a key's name.
const NAME_MAX: usize = 100;

/// The secret text of a well-formed key. Whether it is valid is the store's to say.
pub(crate) struct Secret(Box<str>);

impl Secret {
    pub(crate) fn generate(random: &dyn Random) -> Self {
        // Bytes above the largest multiple of 62 are drawn again: no character is likelier.
        const LIMIT: u8 = 248;
        let mut text = String::with_capacity(PREFIX.len() + RANDOM_LEN + CHECK_LEN);
        text.push_str(PREFIX);
        let mut bytes = [0; 32];
        while text.len() < PREFIX.len() + RANDOM_LEN {
            random.fill(&mut bytes);
            let missing = PREFIX.len() + RANDOM_LEN - text.len();
            let drawn = bytes.iter().filter(|&&byte| byte < LIMIT).take(missing);
            text.extend(drawn.map(|&byte| char::from(BASE62[usize::from(byte) % BASE62.len()])));
        }
        let check = checksum(&text);
        text.push_str(&check);
        Self(text.into())
    }

    /// Reads a key; `None` if it has another form or the wrong checksum.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let random = text.strip_prefix(PREFIX)?;
        let fits = random.len() == RANDOM_LEN + CHECK_LEN
            && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let (body, check) = text.split_at_checked(PREFIX.len() + RANDOM_LEN)?;
        (fits && check == checksum(body)).then(|| Self(text.into()))
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// Its last characters, for people to tell keys apart.
    pub(crate) fn hint(&self) -> String {
        self.0.get(self.0.len() - HINT_LEN..).unwrap_or_default().to_owned()
    }

    /// The text, to be shown once to whoever made the key.
    pub(crate) fn reveal(self) -> String {
        self.0.into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECK_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.map(char::from).iter().collect()
}

/// The name of a key, as checked as any text that is shown to people.
pub(crate) fn check_name(name: &str) -> Result<String, FieldError> {
    let name = name.trim();
    let error = |code, detail: String| Err(FieldError::new("#/name", code, detail));
    if name.is_empty() {
        return error("required", "give the key a name that says who uses it".into());
    }
    if name.chars().count() > NAME_MAX {
        return error("too-long", format!("a name has at most {NAME_MAX} characters"));
    }
    if name.chars().any(char::is_control) {
        return error("control-character", "a name is one line of text".into());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::SeededRandom;
    use proptest::prelude::*;

    /// Computed with Python's zlib.crc32: the checksum is a contract with secret scanners.
    #[test]
    fn the_checksum_is_crc_32_in_base62() {
        assert_eq!(checksum("crm_000000000000000000000000000000"), "0TLKOn");
    }

    #[test]
    fn any_change_of_a_key_is_noticed() {
        let key = Secret::generate(&SeededRandom::new(3));
        assert!(Secret::parse(&key.0).is_some());
        assert_eq!(key.0.len(), 40);
        for at in 0..key.0.len() {
            let mut bytes = key.0.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert!(Secret::parse(std::str::from_utf8(&bytes).unwrap()).is_none(), "at {at}");
        }
        for bad in [
            "",
            "crm_",
            key.0.get(..39).unwrap(),
            &format!("{}0", key.0),
            &key.0.replace("crm_", "slk_"),
        ] {
            assert!(Secret::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::generate(&SeededRandom::new(1))), "Secret(..)");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,50}|crm_\\PC{30,40}") {
            if let Some(secret) = Secret::parse(&text) {
                prop_assert_eq!(secret.reveal(), text);
            }
        }
    }
}
