//! `accounts.*`: who may sign up, and what passwords and second factors are kept with.

use carom_shared::settings::InvalidSetting;
use serde::{Deserialize, Serialize};

use super::OidcConfig;
use crate::secret::seal::SealKey;

/// The least memory of a password's hash, in KiB, and the least of memory times passes: the weakest
/// parameters that OWASP's cheat sheet on storing passwords takes as equal, 7 MiB and five passes.
const MEMORY_MIN_KIB: u32 = 7168;
const WORK_MIN: u64 = 5 * MEMORY_MIN_KIB as u64;
/// A hash holds up others for longer than a second beyond these.
const MEMORY_MAX_KIB: u32 = 1 << 20;
const ITERATIONS_MAX: u32 = 20;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountsConfig {
    /// Who may make an account by themselves.
    pub registration: Registration,
    /// What seals second factors in the database: 64 hexadecimal digits. Empty: a key that is in the
    /// database itself, and so in each of its copies. Once there are second factors it stays as it is.
    pub secret_key: String,
    /// Memory of one argon2id hash in KiB, from 7,168; as many run as there are cores.
    pub password_memory_kib: u32,
    /// Passes of one argon2id hash, from 1 to 20. Times the memory at least 35,840.
    pub password_iterations: u32,
    /// A provider that people sign in with besides.
    pub oidc: OidcConfig,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self {
            registration: Registration::default(),
            secret_key: String::new(),
            password_memory_kib: 19 * 1024,
            password_iterations: 2,
            oidc: OidcConfig::default(),
        }
    }
}

/// Without the key.
impl std::fmt::Debug for AccountsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountsConfig")
            .field("registration", &self.registration)
            .field("password_memory_kib", &self.password_memory_kib)
            .field("password_iterations", &self.password_iterations)
            .field("oidc", &self.oidc)
            .finish_non_exhaustive()
    }
}

/// Who may make an account by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Nobody: an operator makes accounts.
    #[default]
    Closed,
    /// Whoever was invited into a workspace.
    Invitation,
    /// Everybody.
    Open,
}

impl AccountsConfig {
    /// # Errors
    /// [`InvalidSetting`] names the first setting that cannot be used.
    pub(crate) fn check(&self) -> Result<(), InvalidSetting> {
        self.seal_key()?;
        self.oidc.check()?;
        let (memory, iterations) = (self.password_memory_kib, self.password_iterations);
        if !(MEMORY_MIN_KIB..=MEMORY_MAX_KIB).contains(&memory) {
            let problem = format!("must be from {MEMORY_MIN_KIB} to {MEMORY_MAX_KIB}");
            return Err(InvalidSetting::new("accounts.password_memory_kib", problem));
        }
        let is_enough = u64::from(memory) * u64::from(iterations) >= WORK_MIN;
        if !(1..=ITERATIONS_MAX).contains(&iterations) || !is_enough {
            let problem = format!(
                "must be from 1 to {ITERATIONS_MAX}, and times accounts.password_memory_kib at \
                 least {WORK_MIN}"
            );
            return Err(InvalidSetting::new("accounts.password_iterations", problem));
        }
        Ok(())
    }

    /// The key of the settings, if there is one.
    pub(crate) fn seal_key(&self) -> Result<Option<SealKey>, InvalidSetting> {
        if self.secret_key.is_empty() {
            return Ok(None);
        }
        let error = || {
            let problem = "must be 64 hexadecimal digits; make them with openssl rand -hex 32";
            InvalidSetting::new("accounts.secret_key", problem)
        };
        let digits = self.secret_key.as_bytes();
        if digits.len() != 2 * SealKey::LEN {
            return Err(error());
        }
        let mut key = [0; SealKey::LEN];
        for (byte, digits) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(digits[at]).to_digit(16).ok_or_else(error);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).map_err(|_| error())?;
        }
        // A key that is one byte over and over is a placeholder.
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(error());
        }
        Ok(Some(SealKey::new(&key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_hashes_and_weak_keys_are_refused_by_name() {
        let config = |memory, iterations, key: &str| AccountsConfig {
            password_memory_kib: memory,
            password_iterations: iterations,
            secret_key: key.into(),
            ..AccountsConfig::default()
        };
        let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1F";
        for good in [config(19456, 2, ""), config(7168, 5, key), config(65536, 1, key)] {
            good.check().unwrap();
            assert!(!format!("{good:?}").contains("0a0b0c"));
        }
        for (bad, setting) in [
            (config(7167, 20, ""), "accounts.password_memory_kib"),
            (config(u32::MAX, 1, ""), "accounts.password_memory_kib"),
            (config(19456, 1, ""), "accounts.password_iterations"),
            (config(19456, 21, ""), "accounts.password_iterations"),
            (config(19456, 0, ""), "accounts.password_iterations"),
            (config(19456, 2, "changeme"), "accounts.secret_key"),
            (config(19456, 2, &"0".repeat(64)), "accounts.secret_key"),
            (config(19456, 2, &"g".repeat(64)), "accounts.secret_key"),
            (config(19456, 2, key.get(1..).unwrap()), "accounts.secret_key"),
        ] {
            let error = bad.check().unwrap_err();
            assert_eq!(error.setting, setting);
            assert!(!error.to_string().contains("changeme"));
        }
    }
}
