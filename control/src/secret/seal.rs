//! What the database must give back but not show: sealed with AES-256-GCM (NIST SP 800-38D).
//!
//! ```text
//! 0      version: 1
//! 1–12   nonce, random
//! 13…    ciphertext, and 16 bytes of tag
//! ```
//!
//! Whose it is goes into the tag, so that what is sealed for one account is of no use in another's row.

use std::fmt;

use carom_shared::Random;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const VERSION: u8 = 1;

/// The key of what is sealed.
#[derive(Clone)]
pub(crate) struct SealKey(LessSafeKey);

impl SealKey {
    /// Bytes of a key.
    pub(crate) const LEN: usize = 32;

    pub(crate) fn new(key: &[u8; Self::LEN]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("a key of AES-256 has 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Seals what belongs to `owner`.
    pub(crate) fn seal(&self, owner: i64, plain: &[u8], random: &dyn Random) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut body = plain.to_vec();
        let aad = Aad::from(owner.to_be_bytes());
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        let sealed = self.0.seal_in_place_append_tag(nonce_used, aad, &mut body);
        sealed.expect("a few bytes can be sealed");
        [&[VERSION][..], &nonce, &body].concat()
    }

    /// `None`: it is not what this key sealed for this owner.
    pub(crate) fn open(&self, owner: i64, sealed: &[u8]) -> Option<Vec<u8>> {
        let (&version, rest) = sealed.split_first()?;
        let (&nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        if version != VERSION {
            return None;
        }
        let mut body = body.to_vec();
        let aad = Aad::from(owner.to_be_bytes());
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut body);
        plain.ok().map(|plain| plain.to_vec())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::SeededRandom;

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_for_the_same_owner() {
        let random = SeededRandom::new(1);
        let (key, other) = (SealKey::new(&[7; 32]), SealKey::new(&[8; 32]));
        let sealed = key.seal(5, b"secret", &random);
        assert_eq!(key.open(5, &sealed).as_deref(), Some(&b"secret"[..]));
        assert_ne!(key.seal(5, b"secret", &random), sealed);
        assert!(key.open(6, &sealed).is_none() && other.open(5, &sealed).is_none());
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(key.open(5, &damaged).is_none(), "byte {at}");
            assert!(key.open(5, &sealed[..at]).is_none(), "{at} bytes");
        }
    }
}
