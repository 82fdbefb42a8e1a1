//! Cursors: where a page of a list ended, signed.
//!
//! A cursor is 32 bytes in hexadecimal: the place (16 bytes, whatever the list makes of them), then
//! the first 16 bytes of HMAC-SHA-256 (RFC 2104) over the place and what is listed. So a cursor
//! works for the list that gave it out, with the same filters, for the same workspace, and for
//! nothing else; and nobody comes to rely on what is in it.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a place, and of a signature.
const HALF: usize = 16;

/// What cursors are signed with.
#[derive(Clone)]
pub(crate) struct CursorKey([u8; Self::LEN]);

impl CursorKey {
    pub(crate) const LEN: usize = 32;

    pub(crate) const fn new(key: [u8; Self::LEN]) -> Self {
        Self(key)
    }

    /// The cursor of a place in a list; `list` says which list, with all its filters.
    pub(crate) fn sign(&self, place: [u8; HALF], list: &[u8]) -> String {
        let mut cursor = String::with_capacity(4 * HALF);
        for byte in place.iter().chain(&self.signature(place, list)) {
            // Writing into a String cannot fail.
            write!(cursor, "{byte:02x}").unwrap_or_default();
        }
        cursor
    }

    /// The place that a cursor names, if this list gave it out.
    pub(crate) fn read(&self, cursor: &str, list: &[u8]) -> Option<[u8; HALF]> {
        let digits = cursor.as_bytes();
        if digits.len() != 4 * HALF {
            return None;
        }
        let mut bytes = [0; 2 * HALF];
        for (byte, digits) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(digits[0])? << 4 | nibble(digits[1])?;
        }
        let (place, signature) = bytes.split_first_chunk::<HALF>()?;
        // In a time that does not tell how many bytes are right.
        self.mac(*place, list).verify_truncated_left(signature).ok()?;
        Some(*place)
    }

    fn signature(&self, place: [u8; HALF], list: &[u8]) -> [u8; HALF] {
        let mut signature = [0; HALF];
        signature.copy_from_slice(&self.mac(place, list).finalize().into_bytes()[..HALF]);
        signature
    }

    fn mac(&self, place: [u8; HALF], list: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key may have any length");
        mac.chain_update(place).chain_update(list)
    }
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        // One spelling per cursor: no capitals.
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cursors_come_back_to_their_own_list_only(
            key: [u8; 32], place: [u8; 16], list in "[a-z]{0,20}", other in "[a-z]{0,20}",
            at in 0_usize..64, digit in "[0-9a-fA-Fx]",
        ) {
            let key = CursorKey::new(key);
            let cursor = key.sign(place, list.as_bytes());
            prop_assert_eq!(key.read(&cursor, list.as_bytes()), Some(place));
            prop_assert_eq!(key.read(&cursor, other.as_bytes()).is_some(), list == other);
            let mut forged = cursor.clone();
            forged.replace_range(at..=at, &digit);
            prop_assert_eq!(key.read(&forged, list.as_bytes()).is_some(), forged == cursor);
        }

        #[test]
        fn any_text_is_refused(text in "\\PC{0,70}|[0-9a-f]{62,66}") {
            prop_assert_eq!(CursorKey::new([1; 32]).read(&text, b""), None);
        }
    }
}
