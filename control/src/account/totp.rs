//! Second factors: one-time codes by time (RFC 6238) and recovery codes. Pure.
//!
//! SHA-1, six digits, thirty seconds: other parameters are ignored in silence by common apps. A code
//! is taken from one step before to one step after; which step it was of is the caller's to remember,
//! so that no code works twice.

use carom_shared::{Random, UnixMillis};
use sha2::{Digest, Sha256};
use totp_rs::{Builder, Secret, Totp};

use crate::http::problem::ApiError;

/// Bytes of a secret, as RFC 4226, 4 recommends.
const SECRET_LEN: usize = 20;
/// Recovery codes of an account.
const RECOVERY_CODES: usize = 10;
/// Random bytes of a recovery code: 80 bits need no slow hash.
const RECOVERY_LEN: usize = 10;
/// Crockford's alphabet: no I, L, O, U.
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What an app and the server have in common.
pub(crate) struct TotpSecret(Vec<u8>);

impl TotpSecret {
    pub(crate) fn generate(random: &dyn Random) -> Self {
        let mut bytes = vec![0; SECRET_LEN];
        random.fill(&mut bytes);
        Self(bytes)
    }

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As people type it.
    pub(crate) fn base32(&self) -> String {
        Secret::from(self.0.clone()).to_base32()
    }

    /// As an app reads it from a QR code.
    ///
    /// # Errors
    /// [`ApiError::Internal`]: it cannot be written.
    pub(crate) fn uri(&self, issuer: &str, account: &str) -> Result<String, ApiError> {
        // The format has no way to write a colon in either.
        let issuer = issuer.replace(':', " ");
        let account = account.replace(':', " ");
        let builder = self.builder().with_issuer(Some(issuer)).with_account_name(account);
        let totp = builder.build().map_err(|error| ApiError::from_text(&error.to_string()))?;
        totp.to_url().map_err(|error| ApiError::from_text(&error.to_string()))
    }

    /// The step that a code is of, if it is right now.
    pub(crate) fn check(&self, code: &str, now: UnixMillis) -> Option<i64> {
        let seconds = u64::try_from(now.as_secs()).ok()?;
        let step = self.totp()?.check(code, seconds)?;
        i64::try_from(step).ok()
    }

    fn totp(&self) -> Option<Totp> {
        self.builder().build().ok()
    }

    fn builder(&self) -> Builder {
        Builder::new().with_secret(Secret::from(self.0.clone()))
    }
}

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpSecret(..)")
    }
}

/// A code as it was entered, without the spaces and hyphens that people put in; `None` if it cannot
/// be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    Totp([u8; 6]),
    Recovery([u8; 32]),
}

impl Entered {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let code: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).take(33).collect();
        if let Ok(digits) = <[u8; 6]>::try_from(code.as_bytes()) {
            return digits.iter().all(u8::is_ascii_digit).then_some(Self::Totp(digits));
        }
        let code = code.to_ascii_uppercase();
        let fits = code.len() == RECOVERY_LEN * 8 / 5 && code.bytes().all(|b| BASE32.contains(&b));
        fits.then(|| Self::Recovery(recovery_hash(&code)))
    }
}

/// New recovery codes, as people keep them, and the hashes that the database has.
pub(crate) fn recovery_codes(random: &dyn Random) -> Vec<(String, [u8; 32])> {
    let one = |_| {
        let mut bytes = [0; RECOVERY_LEN];
        random.fill(&mut bytes);
        let mut code = String::with_capacity(RECOVERY_LEN * 8 / 5);
        for group in bytes.chunks_exact(5) {
            let bits = group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            let digit = |at: u32| usize::try_from(bits >> (5 * at) & 31).unwrap_or_default();
            code.extend((0..8).rev().map(|at| char::from(BASE32[digit(at)])));
        }
        let shown: Vec<&str> = (0..4).filter_map(|at| code.get(4 * at..4 * at + 4)).collect();
        (shown.join("-"), recovery_hash(&code))
    };
    (0..RECOVERY_CODES).map(one).collect()
}

fn recovery_hash(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::SeededRandom;

    /// RFC 6238, appendix B, the last six digits; and a step to each side.
    #[test]
    fn codes_are_those_of_the_rfc_and_a_step_to_each_side() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890".to_vec());
        let at = |seconds: i64| UnixMillis::new(seconds * 1000);
        for (seconds, code) in
            [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")]
        {
            let step = seconds / 30;
            assert_eq!(secret.check(code, at(seconds)), Some(step));
            assert_eq!(secret.check(code, at(seconds + 30)), Some(step));
            assert_eq!(secret.check(code, at(seconds - 30)), Some(step));
            assert_eq!(secret.check(code, at(seconds + 61)), None);
            assert_eq!(secret.check(code, at((seconds - 61).max(120))), None);
        }
    }

    #[test]
    fn a_secret_can_be_typed_and_scanned() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890".to_vec());
        assert_eq!(secret.base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let uri = secret.uri("go.example:8080", "ada@example.com").unwrap();
        assert!(uri.starts_with("otpauth://totp/go.example%208080:ada%40example.com?"), "{uri}");
        assert!(uri.contains("secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), "{uri}");
        assert_eq!(format!("{secret:?}"), "TotpSecret(..)");
    }

    #[test]
    fn recovery_codes_are_read_however_they_are_typed() {
        let codes = recovery_codes(&SeededRandom::new(1));
        assert_eq!(codes.len(), 10);
        for (code, hash) in &codes {
            assert_eq!(code.len(), 19, "{code}");
            for typed in [code.clone(), code.to_lowercase(), code.replace('-', " ")] {
                assert_eq!(Entered::parse(&typed), Some(Entered::Recovery(*hash)));
            }
        }
        assert_eq!(Entered::parse("123 456"), Some(Entered::Totp(*b"123456")));
        for bad in ["", "12345", "1234567", "12345x", "ABCD-EFGH", &"9".repeat(1000)] {
            assert_eq!(Entered::parse(bad), None, "{bad}");
        }
    }
}
