//! Accounts: people, their passwords and second factors.
//!
//! ```text
//! command    what clients write: addresses, names. Pure
//! password   what a password must be. Pure
//! totp       one-time codes and recovery codes. Pure
//! token      links in mails and in the terminal: what each is for and how long it works
//! hasher     argon2id in a pool of its own
//! tries      wrong passwords and codes in a row
//! oidc       signing in by a provider of OpenID Connect
//! passkey    signing in with a key of an authenticator (Web Authentication)
//! store      the tables account, account_token, recovery_code
//! act        what is written, each in one transaction with its entry in the audit log
//! ```
//!
//! An account is a person; how they show who they are stands beside it: a password in the row, a
//! second factor, and identities of a provider in a table of their own. Whether somebody may sign in by
//! password is whether there is a hash.
//!
//! No account is made for an address before somebody who reads its mail says so: a stranger cannot
//! wait in another's name with a password of theirs. Every answer of the calls that anybody may make
//! is the same whether there is an account or not, and what differs happens after the answer.

mod act;
pub(crate) mod api;
pub(crate) mod command;
pub(crate) mod delete;
pub(crate) mod email;
pub(crate) mod factor;
mod hasher;
pub(crate) mod invited;
pub(crate) mod oidc;
pub(crate) mod operator;
pub(crate) mod passkey;
mod password;
pub(crate) mod recover;
pub(crate) mod register;
pub(crate) mod setup;
pub(crate) mod store;
pub(crate) mod token;
mod totp;
pub(crate) mod tries;

use std::sync::Arc;

use carom_shared::settings::InvalidSetting;
use carom_shared::{AccountId, UnixMillis};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use command::Email;
pub(crate) use hasher::{Hasher, Verified};
pub(crate) use password::{Password, chars_min};
pub(crate) use totp::Entered;

use crate::app::App;
use crate::config::AccountsConfig;
use crate::http::problem::ApiError;
use crate::mail::{Letter, Mailer};
use crate::secret::seal::SealKey;

/// What goes on after an answer was given, at most; more is refused before it begins.
const BACKGROUND_MAX: usize = 64;

/// A person.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) email: Email,
    /// May be empty.
    pub(crate) name: String,
    /// argon2id, in the PHC form. `None`: nobody signs in by password.
    pub(crate) password_hash: Option<String>,
    pub(crate) is_disabled: bool,
    pub(crate) second: Second,
    /// Wrong passwords and codes since the last right one.
    pub(crate) wrong_tries: i64,
    /// Whether the address is theirs for certain: by a letter that they have read, by the provider, or by
    /// an operator's word. A link that somebody handed over says nothing of who reads the address's mail.
    pub(crate) is_confirmed: bool,
    /// Whether they look after the installation in the dashboard.
    pub(crate) is_operator: bool,
    pub(crate) created_at: UnixMillis,
}

/// The second factor of an account.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Second {
    None,
    /// Sealed, and not confirmed by a code yet.
    Pending(Vec<u8>),
    /// Sealed.
    Active(Vec<u8>),
}

impl Account {
    pub(crate) const fn has_second(&self) -> bool {
        matches!(self.second, Second::Active(_))
    }

    /// A hash of what a link in a mail is bound to: whoever changes it voids the link.
    pub(crate) fn bound(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.id.get().to_be_bytes());
        for part in [self.email.as_str(), self.password_hash.as_deref().unwrap_or_default()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// Without hash and factor.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What everything about accounts works with.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) hasher: Hasher,
    pub(crate) seal: SealKey,
    /// `None`: nobody signs in by one.
    pub(crate) provider: Option<oidc::Provider>,
    /// `None`: there are no passkeys here.
    pub(crate) passkeys: Option<passkey::Verifier>,
    mailer: Option<Mailer>,
    background: Arc<Semaphore>,
}

impl Accounts {
    /// `seal` is the database's own key, for where there is none in the settings; `base` is what
    /// addresses of this control plane begin with.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub(crate) fn new(
        config: &AccountsConfig,
        seal: SealKey,
        mailer: Option<Mailer>,
        base: &str,
    ) -> Result<Self, InvalidSetting> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let hasher = Hasher::new(config, cores)
            .map_err(|_| InvalidSetting::new("accounts.password_memory_kib", "cannot be used"))?;
        let seal = config.seal_key()?.unwrap_or(seal);
        let provider = oidc::Provider::new(&config.oidc, base);
        let passkeys = passkey::Verifier::new(base);
        let background = Arc::new(Semaphore::new(BACKGROUND_MAX));
        Ok(Self { hasher, seal, provider, passkeys, mailer, background })
    }

    /// What sends mail.
    ///
    /// # Errors
    /// [`ApiError::NoMail`] where none is sent.
    pub(crate) fn mailer(&self) -> Result<&Mailer, ApiError> {
        self.mailer.as_ref().ok_or(ApiError::NoMail)
    }

    /// Tells somebody what happened to their account; without mail there is nobody to tell.
    pub(crate) fn notify(&self, to: &Email, letter: impl Into<Letter>) {
        if let Some(mailer) = &self.mailer {
            mailer.send(to, letter.into());
        }
    }

    /// Room for what goes on after the answer.
    ///
    /// # Errors
    /// [`ApiError::Busy`]: there is none.
    fn background(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.background).try_acquire_owned().map_err(|_| ApiError::Busy)
    }
}

/// Does what an answer must not tell of after the answer: whether there is an account must show neither
/// in what is said nor in how long it takes.
///
/// # Errors
/// [`ApiError::Busy`]: too much goes on already.
pub(crate) fn afterwards(
    app: &App,
    work: impl Future<Output = Result<(), ApiError>> + Send + 'static,
) -> Result<(), ApiError> {
    let place = app.accounts().background()?;
    app.spawn(async move {
        if let Err(error) = work.await {
            tracing::error!(?error, "what a letter was to be sent for was not done");
        }
        drop(place);
    });
    Ok(())
}
