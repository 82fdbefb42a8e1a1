//! Passwords are hashed with argon2id (RFC 9106) on threads of their own, a few at a time.
//!
//! One hash takes tens of milliseconds and 19 MiB, on purpose. So as many run as there are cores, a
//! few wait for them, and whoever comes then is told to come back: a flood of sign-ins costs neither
//! the memory nor the threads of everybody else.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use carom_shared::Random;
use tokio::sync::Semaphore;

use super::password::Password;
use crate::config::AccountsConfig;
use crate::http::problem::ApiError;

/// Hashes that wait, for each that runs: about a third of a second of waiting.
const WAITING_PER_CORE_MAX: usize = 8;
/// Bytes of a salt (RFC 9106, 3.1).
const SALT_LEN: usize = 16;

/// The pool in which passwords are hashed. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Hasher(Arc<Inner>);

struct Inner {
    argon2: Argon2<'static>,
    /// What nobody's password has: whoever asks for an account that is not there waits as long.
    dummy: String,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

/// What came of comparing a password with a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verified {
    Wrong,
    Right,
    /// Right, and the hash was made with other parameters than those of now: here is a new one.
    Rehashed(String),
}

impl Hasher {
    /// `cores` is how many run at once. The settings were checked.
    ///
    /// # Errors
    /// The parameters cannot be used.
    pub(crate) fn new(config: &AccountsConfig, cores: usize) -> Result<Self, ApiError> {
        let (memory, iterations) = (config.password_memory_kib, config.password_iterations);
        let params = Params::new(memory, iterations, 1, None);
        let params = params.map_err(|error| ApiError::from_text(&error.to_string()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = dummy(argon2.params());
        Ok(Self(Arc::new(Inner {
            argon2,
            dummy,
            running: Arc::new(Semaphore::new(cores)),
            admitted: Arc::new(Semaphore::new(cores.saturating_mul(1 + WAITING_PER_CORE_MAX))),
        })))
    }

    /// The hash of a new password, in the PHC form.
    ///
    /// # Errors
    /// [`ApiError::Busy`] while too many are under way.
    pub(crate) async fn hash(
        &self,
        password: Password,
        random: &dyn Random,
    ) -> Result<String, ApiError> {
        let (this, salt) = (Arc::clone(&self.0), salt(random));
        self.run(move || hash(&this.argon2, password.as_bytes(), &salt)).await?
    }

    /// Compares a password with a hash; without one it takes as long and is wrong.
    ///
    /// # Errors
    /// As [`Hasher::hash`].
    pub(crate) async fn verify(
        &self,
        password: Password,
        expected: Option<String>,
        random: &dyn Random,
    ) -> Result<Verified, ApiError> {
        let (this, salt) = (Arc::clone(&self.0), salt(random));
        self.run(move || this.verify(&password, expected.as_deref(), &salt)).await?
    }

    /// Runs what takes milliseconds of CPU where the hashes run.
    ///
    /// # Errors
    /// As [`Hasher::hash`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let admitted = Arc::clone(&self.0.admitted).try_acquire_owned();
        let admitted = admitted.map_err(|_| ApiError::Busy)?;
        let running = Arc::clone(&self.0.running).acquire_owned().await;
        let running = running.map_err(|_| ApiError::Closing)?;
        let done = tokio::task::spawn_blocking(move || {
            // Also of a client that is gone: its hash still runs.
            let _slots = (admitted, running);
            work()
        });
        done.await.map_err(|error| ApiError::from_text(&error.to_string()))
    }
}

impl Inner {
    fn verify(
        &self,
        password: &Password,
        expected: Option<&str>,
        salt: &[u8],
    ) -> Result<Verified, ApiError> {
        let parsed = PasswordHash::new(expected.unwrap_or(&self.dummy));
        let parsed = parsed.map_err(|error| ApiError::from_text(&error.to_string()))?;
        let is_right = self.argon2.verify_password(password.as_bytes(), &parsed).is_ok();
        if expected.is_none() || !is_right {
            return Ok(Verified::Wrong);
        }
        let params = Params::try_from(&parsed);
        if params.is_ok_and(|params| is_as(&params, self.argon2.params())) {
            return Ok(Verified::Right);
        }
        hash(&self.argon2, password.as_bytes(), salt).map(Verified::Rehashed)
    }
}

fn is_as(one: &Params, other: &Params) -> bool {
    let costs = |of: &Params| (of.m_cost(), of.t_cost(), of.p_cost());
    costs(one) == costs(other)
}

fn hash(argon2: &Argon2<'_>, password: &[u8], salt: &[u8]) -> Result<String, ApiError> {
    let hash: Result<PasswordHash, _> = argon2.hash_password_with_salt(password, salt);
    hash.map(|hash| hash.to_string()).map_err(|error| ApiError::from_text(&error.to_string()))
}

/// The hash of nothing: comparing with it costs what comparing with a real one costs.
fn dummy(params: &Params) -> String {
    let (memory, iterations) = (params.m_cost(), params.t_cost());
    let (salt, hash) = ("A".repeat(22), "A".repeat(43));
    format!("$argon2id$v=19$m={memory},t={iterations},p=1${salt}${hash}")
}

fn salt(random: &dyn Random) -> [u8; SALT_LEN] {
    let mut salt = [0; SALT_LEN];
    random.fill(&mut salt);
    salt
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::SeededRandom;

    fn hasher(memory: u32) -> Hasher {
        let config = AccountsConfig {
            password_memory_kib: memory,
            password_iterations: 5,
            ..AccountsConfig::default()
        };
        Hasher::new(&config, 1).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::entered(text).unwrap()
    }

    #[tokio::test]
    async fn every_byte_of_a_password_counts() {
        let (hasher, random) = (hasher(7168), SeededRandom::new(1));
        let long = "a b".repeat(40);
        let hash = hasher.hash(password(&long), &random).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{hash}");
        let verify = async |text: &str| {
            hasher.verify(password(text), Some(hash.clone()), &random).await.unwrap()
        };
        assert_eq!(verify(&long).await, Verified::Right);
        for length in [72, 100, 119] {
            assert_eq!(verify(long.get(..length).unwrap()).await, Verified::Wrong, "{length}");
        }
        assert_eq!(verify(&format!("{long} ")).await, Verified::Wrong);
        let unknown = hasher.verify(password(""), None, &random).await.unwrap();
        assert_eq!(unknown, Verified::Wrong);
    }

    #[tokio::test]
    async fn other_parameters_make_a_new_hash() {
        let random = SeededRandom::new(1);
        let old = hasher(7168).hash(password("pass phrase"), &random).await.unwrap();
        let new = hasher(8192);
        let verified = new.verify(password("pass phrase"), Some(old), &random).await.unwrap();
        let Verified::Rehashed(hash) = verified else { panic!("{verified:?}") };
        assert!(hash.contains("m=8192"));
        let again = new.verify(password("pass phrase"), Some(hash), &random).await.unwrap();
        assert_eq!(again, Verified::Right);
    }

    /// One runs, eight wait, the next is refused at once; and all is well again afterwards.
    #[tokio::test]
    async fn the_pool_has_an_end() {
        let hasher = hasher(7168);
        let (go, gate) = std::sync::mpsc::sync_channel::<()>(0);
        let mut tasks = tokio::task::JoinSet::new();
        let one = hasher.clone();
        tasks.spawn(async move { one.run(move || gate.recv().is_ok()).await });
        for _ in 0..WAITING_PER_CORE_MAX {
            let one = hasher.clone();
            tasks.spawn(async move { one.run(|| true).await });
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            assert!(matches!(hasher.run(|| true).await, Err(ApiError::Busy)));
        }
        go.send(()).unwrap();
        while let Some(done) = tasks.join_next().await {
            assert!(done.unwrap().unwrap());
        }
        assert!(hasher.run(|| true).await.unwrap());
    }
}
