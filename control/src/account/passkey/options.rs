//! What a browser is asked to do with its authenticators: options in the JSON of Web Authentication, which
//! `PublicKeyCredential.parseCreationOptionsFromJSON` and `parseRequestOptionsFromJSON` read.

use serde::Serialize;
use utoipa::ToSchema;

use super::{ALGORITHMS, Passkey, user_handle};
use crate::account::Account;
use crate::account::token::Purpose;
use crate::secret::token::{Token, base64url};

const PUBLIC_KEY: &str = "public-key";
const REQUIRED: &str = "required";

/// Asks for a new passkey: `PublicKeyCredentialCreationOptionsJSON`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PasskeyCreationOptions)]
pub(crate) struct CreationOptions {
    rp: Party,
    user: User,
    /// Worth one answer, within five minutes.
    challenge: String,
    pub_key_cred_params: Vec<Algorithm>,
    /// Milliseconds.
    timeout: u64,
    /// Those that the account has: an authenticator makes no second one.
    exclude_credentials: Vec<Descriptor>,
    authenticator_selection: Selection,
    /// Always `none`: which make an authenticator is of does not matter here.
    attestation: &'static str,
}

/// Asks for a passkey: `PublicKeyCredentialRequestOptionsJSON`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PasskeyRequestOptions)]
pub(crate) struct RequestOptions {
    /// Worth one answer, within five minutes.
    challenge: String,
    /// Milliseconds.
    timeout: u64,
    rp_id: String,
    /// Empty: whichever the person chooses.
    allow_credentials: Vec<Descriptor>,
    user_verification: &'static str,
}

/// Whom passkeys are for.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PasskeyParty)]
struct Party {
    /// The host of the control plane.
    id: String,
    name: &'static str,
}

/// Whose the passkey is to be; the browser shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PasskeyUser)]
struct User {
    /// In base64url.
    id: String,
    name: String,
    display_name: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PasskeyAlgorithm)]
struct Algorithm {
    #[serde(rename = "type")]
    kind: &'static str,
    /// COSE's number.
    alg: i32,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PasskeyDescriptor)]
struct Descriptor {
    #[serde(rename = "type")]
    kind: &'static str,
    /// In base64url.
    id: String,
    transports: Vec<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PasskeySelection)]
struct Selection {
    resident_key: &'static str,
    require_resident_key: bool,
    user_verification: &'static str,
}

fn timeout_ms() -> u64 {
    u64::try_from(Purpose::Passkey.life().as_millis()).unwrap_or(u64::MAX)
}

impl Descriptor {
    fn of(passkey: &Passkey) -> Self {
        let credential = &passkey.credential;
        Self {
            kind: PUBLIC_KEY,
            id: base64url(&credential.id),
            transports: credential.transports.clone(),
        }
    }
}

impl CreationOptions {
    pub(super) fn new(rp_id: &str, account: &Account, has: &[Passkey], challenge: &Token) -> Self {
        let email = account.email.to_string();
        let display_name = if account.name.is_empty() { &email } else { &account.name };
        Self {
            rp: Party { id: rp_id.to_owned(), name: "Carom" },
            user: User {
                id: user_handle(account.id),
                display_name: display_name.clone(),
                name: email,
            },
            challenge: challenge.reveal().to_owned(),
            pub_key_cred_params: ALGORITHMS.map(|alg| Algorithm { kind: PUBLIC_KEY, alg }).into(),
            timeout: timeout_ms(),
            exclude_credentials: has.iter().map(Descriptor::of).collect(),
            authenticator_selection: Selection {
                resident_key: REQUIRED,
                require_resident_key: true,
                user_verification: REQUIRED,
            },
            attestation: "none",
        }
    }
}

impl RequestOptions {
    /// `allowed` is empty where it is not known yet who is asked.
    pub(super) fn new(rp_id: &str, allowed: &[Passkey], challenge: &Token) -> Self {
        Self {
            challenge: challenge.reveal().to_owned(),
            timeout: timeout_ms(),
            rp_id: rp_id.to_owned(),
            allow_credentials: allowed.iter().map(Descriptor::of).collect(),
            user_verification: REQUIRED,
        }
    }
}
