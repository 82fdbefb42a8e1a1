//! Passkeys (W3C Web Authentication, Level 3): keys that an authenticator keeps, and uses for the origin
//! that they were made for alone.
//!
//! ```text
//! options ──► a challenge in the table account_token ──► the browser asks its authenticator
//! what that signed ──► challenge used up ──► verifier ──► act
//! ```
//!
//! - A challenge is a token like those of letters: kept as its hash, worth one answer within five
//!   minutes, whatever the answer is. It is for one purpose, and bound to the session that asked or, where
//!   nobody is signed in, to a `__Host-` cookie.
//! - Every passkey is discoverable and was made, and is used, with the person verified by the
//!   authenticator: by what they have and by what they know or are. So it stands for both factors, and a
//!   code is not asked for after it.
//! - Who somebody is says the credential's id alone. The user handle, which authenticators keep with it,
//!   must be that of the same account; it is a hash of the account's id, and tells nobody anything.
//! - Whatever is wrong with an answer, a stranger is told the same: also that a credential is nobody's.
//! - What signs is checked by the crate `passki`, in [`Verifier`] alone, which is in a file of its own and
//!   empty in a build without the feature `passkeys`. Everything else is in each build: the API and the
//!   database are the same.
//!
//! Beside a passkey the password signs in as before, with its second factor: whoever loses the
//! authenticator is not locked out.

pub(crate) mod act;
pub(crate) mod api;
mod options;
pub(crate) mod sign_in;
pub(crate) mod store;
#[cfg_attr(not(feature = "passkeys"), path = "passkey/absent.rs")]
mod verifier;

use carom_shared::{AccountId, PasskeyId, SessionId, UnixMillis};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::problem::{ApiError, FieldError};
use crate::secret::token::{Token, TokenHash, derived};

pub(crate) use verifier::Verifier;

/// Passkeys of an account, at most.
pub(crate) const PER_ACCOUNT_MAX: usize = 20;
/// Characters of a passkey's name.
pub(crate) const NAME_MAX: usize = 60;

/// COSE's numbers (RFC 9053; RFC 8812) of what passkeys may sign with, the best first: `EdDSA`, ES256,
/// RS256. Every authenticator has one of them.
const ALGORITHMS: [i32; 3] = [-8, -7, -257];

/// A passkey of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passkey {
    pub(crate) id: PasskeyId,
    pub(crate) account: AccountId,
    pub(crate) name: String,
    pub(crate) credential: Credential,
    pub(crate) created_at: UnixMillis,
    /// `None`: not since it was made.
    pub(crate) used_at: Option<UnixMillis>,
}

/// What an authenticator has made for an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credential {
    /// What the authenticator calls it; no other account has it.
    pub(crate) id: Vec<u8>,
    /// COSE's form (RFC 9052, 7).
    pub(crate) public_key: Vec<u8>,
    /// One of [`ALGORITHMS`].
    pub(crate) algorithm: i32,
    /// How often it was used, as far as the authenticator counts; else 0.
    pub(crate) counter: u32,
    /// Whether it may be on several devices. Never changes.
    pub(crate) is_backup_eligible: bool,
    pub(crate) is_backed_up: bool,
    /// How browsers reach it: words of Web Authentication, in their order.
    pub(crate) transports: Vec<String>,
}

/// A passkey was used, rightly: what is to be written of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) passkey: PasskeyId,
    pub(crate) account: AccountId,
    /// As it was when the signature was checked: of two uses with one count, one counts.
    pub(crate) counter_before: u32,
    pub(crate) counter: u32,
    pub(crate) is_backed_up: bool,
}

/// What a new passkey is shown with: what `PublicKeyCredential.toJSON()` gives. Other members of it are
/// taken, and not looked at.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = NewCredential)]
#[cfg_attr(
    not(feature = "passkeys"),
    expect(dead_code, reason = "nobody reads all of it in this build")
)]
pub(crate) struct MadeBody {
    /// The credential's id, in base64url.
    #[schema(max_length = 1400)]
    id: String,
    response: MadeResponse,
}

/// What an authenticator says of a credential that it made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = NewCredentialResponse)]
#[cfg_attr(
    not(feature = "passkeys"),
    expect(dead_code, reason = "nobody reads all of it in this build")
)]
pub(crate) struct MadeResponse {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    #[serde(rename = "attestationObject")]
    attestation: String,
    #[serde(default)]
    #[schema(required = false)]
    transports: Vec<String>,
}

/// What shows a passkey: what `PublicKeyCredential.toJSON()` gives. Other members of it are taken, and
/// not looked at.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = ShownCredential)]
pub(crate) struct ShownBody {
    /// The credential's id, in base64url.
    #[schema(max_length = 1400)]
    id: String,
    response: ShownResponse,
}

/// What an authenticator has signed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = ShownCredentialResponse)]
#[cfg_attr(
    not(feature = "passkeys"),
    expect(dead_code, reason = "nobody reads all of it in this build")
)]
pub(crate) struct ShownResponse {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    #[serde(rename = "authenticatorData")]
    authenticator_data: String,
    signature: String,
    #[serde(rename = "userHandle", default)]
    #[schema(required = false)]
    user_handle: Option<String>,
}

/// What a challenge is for, as it is kept with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ceremony {
    SignIn,
    Add,
    Confirm,
}

impl Ceremony {
    const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Add => "add",
            Self::Confirm => "confirm",
        }
    }
}

/// What a challenge of somebody who is signed in is bound to.
fn bound_to(session: SessionId) -> TokenHash {
    Token::hash_of(&format!("session:{session}"))
}

/// What authenticators keep with a credential to know accounts apart, in base64url.
fn user_handle(account: AccountId) -> String {
    derived(&account.to_string(), "passkey user")
}

/// Why an answer is not believed. The text is for the log, and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0}")]
    Wrong(String),
    /// The signature is right, and the authenticator has counted fewer uses than it had: there is a copy.
    #[error("its counter went back")]
    Counter,
}

/// What somebody is told whose browser's answer is no passkey.
fn not_made(refused: &Refused) -> ApiError {
    tracing::info!(%refused, "a passkey was not added");
    let detail = "this is no passkey that can be used here: begin anew, and let the authenticator check \
         that it is you";
    ApiError::Invalid(vec![FieldError::new("#/credential", "refused", detail.into())])
}
