//! Cursors: where a page of a list ended, signed.
//!
//! A cursor is 32 bytes in hexadecimal: the place (16 bytes, whatever the list makes of them), then
//! the first 16 bytes of HMAC-SHA-256 (RFC 2104) over the place and what is listed. So a cursor
//! works for the list that gave it out, with the same filters, for the same workspace, and for
//! nothing else; and nobody comes to rely on what is in it.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Bytes of a place, and of a signature.
const HALF: usize = 16;
/// Bytes that SHA-256 takes in at a time.
const BLOCK: usize = 64;

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
        // All bytes are compared: how long it takes does not tell how many are right.
        let difference =
            self.signature(*place, list).iter().zip(signature).fold(0, |d, (a, b)| d | (a ^ b));
        (difference == 0).then_some(*place)
    }

    fn signature(&self, place: [u8; HALF], list: &[u8]) -> [u8; HALF] {
        let mut signature = [0; HALF];
        signature.copy_from_slice(&hmac_sha256(&self.0, &[&place, list])[..HALF]);
        signature
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

/// RFC 2104, for a key of at most a block.
fn hmac_sha256(key: &[u8; CursorKey::LEN], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; BLOCK];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let mut inner = Sha256::new_with_prefix(pad(0x36));
    parts.iter().for_each(|part| inner.update(part));
    Sha256::new_with_prefix(pad(0x5c)).chain_update(inner.finalize()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 4231, test cases 1 and 2: a key shorter than a block is filled up with zeros.
    #[test]
    fn hmac_gives_the_vectors_of_its_standard() {
        let hex = |bytes: [u8; 32]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        assert_eq!(
            hex(hmac_sha256(&key, &[b"Hi ", b"There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            hex(hmac_sha256(&key, &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

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
