//! Signing in by a provider of OpenID Connect (Core 1.0): the authorization code flow with PKCE.
//!
//! ```text
//! POST /api/v1/oidc ──► state in the table account_token, a cookie in the browser, an address to go to
//! the provider's own pages
//! GET /sign-in/callback ──► state used up ──► code redeemed ──► ID token checked ──► act
//! ```
//!
//! - `state` is a token like those of letters: kept as its hash, worth one use within ten minutes,
//!   and bound to the browser by the hash of what a `__Host-` cookie holds. Nonce and PKCE verifier
//!   are derived from that cookie, so the database has nothing that could be used.
//! - The ID token is checked by the crate `openidconnect`: signature by an algorithm of a list that has
//!   neither `none` nor shared secrets, issuer, audience, nonce; and by the clock here. The `iss` of
//!   the answer (RFC 9207) is compared too.
//! - Who somebody is, is (issuer, subject) and nothing else. An e-mail address finds an account only if
//!   the provider says that it is verified and the operator that it is to be believed.
//! - A second factor of this installation is asked for after the provider as after a password.
//!
//! [`Provider`] is in a file of its own, and is empty in a build without the feature `oidc`. Everything
//! else is in each build: the API and the database are the same.

pub(crate) mod act;
pub(crate) mod api;
#[cfg(feature = "oidc")]
mod client;
#[cfg_attr(not(feature = "oidc"), path = "oidc/absent.rs")]
mod provider;
pub(crate) mod store;

use carom_shared::UnixMillis;

use super::Email;
use crate::http::problem::ApiError;
use crate::secret::token::derived;

pub(crate) use provider::Provider;

/// Identities of an account, at most.
const PER_ACCOUNT_MAX: usize = 10;

/// What a browser asks a provider.
#[derive(Clone)]
#[cfg_attr(not(feature = "oidc"), expect(dead_code, reason = "nobody is asked in this build"))]
pub(crate) struct Question {
    /// What comes back with the answer.
    pub(crate) state: String,
    pub(crate) nonce: String,
    /// Of PKCE (RFC 7636): its hash goes with the question, and itself with the code.
    pub(crate) verifier: String,
    /// Whether the person is to show anew who they are.
    pub(crate) is_anew: bool,
}

impl Question {
    /// Of a browser whose cookie holds `browser`.
    fn of(state: String, browser: &str, is_anew: bool) -> Self {
        let (nonce, verifier) = (derived(browser, "oidc nonce"), derived(browser, "oidc pkce"));
        Self { state, nonce, verifier, is_anew }
    }
}

/// What a provider says of somebody, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Never used again for somebody else by this provider.
    pub(crate) subject: String,
    pub(crate) email: Option<Email>,
    /// Whether the provider says that they read its mail.
    pub(crate) is_email_verified: bool,
    /// May be empty.
    pub(crate) name: String,
    /// When they last showed the provider who they are, if it says so.
    pub(crate) auth_at: Option<UnixMillis>,
}

/// Why a provider signs nobody in. The text is for the log, and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "oidc"), expect(dead_code, reason = "nobody is asked in this build"))]
pub(crate) enum ProviderError {
    /// It cannot be asked now.
    #[error("the provider cannot be asked: {0}")]
    Away(String),
    /// It says no, or something that cannot be believed.
    #[error("the provider's answer is refused: {0}")]
    Refused(String),
}

impl From<ProviderError> for ApiError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Away(_) => {
                tracing::warn!(%error, "signing in by the provider fails");
                Self::ProviderAway
            }
            ProviderError::Refused(_) => {
                tracing::info!(%error, "a sign-in by the provider was refused");
                Self::ProviderRefused
            }
        }
    }
}
