//! Whether an authenticator has signed what it should have: all that this program asks of the crate
//! `passki`, whose types stay in this file.
//!
//! Type, challenge, origin and embedding of the client data, the hash of the RP's id, the person's presence
//! and verification, that the backup flags fit each other, the counter, and the signature are checked
//! there (Web Authentication, 7.1 and 7.2). Here is what it leaves to its caller: the algorithm of a new
//! key, the user handle, and that a passkey does not change what it is.

use passki::{
    AuthenticationCredential, AuthenticationState, ClientData, Passki, PasskiError,
    RegistrationCredential, RegistrationState, StoredPasskey,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::{Host, Url};

use super::{ALGORITHMS, Credential, MadeBody, Passkey, Refused, ShownBody, Use, user_handle};

/// Bytes of a credential's id (Web Authentication, 7.1, step 25).
const CREDENTIAL_ID_MAX: usize = 1023;
/// Words of transports that are kept, of those that browsers say.
const TRANSPORTS_MAX: usize = 8;
/// Where the flags are in what an authenticator signs, and those of them that say whether a credential may
/// be copied, and was (Web Authentication, 6.1).
const FLAGS_AT: usize = 32;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;

/// What checks answers for one origin.
pub(crate) struct Verifier(Passki);

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("rp_id", &self.0.rp_id).finish_non_exhaustive()
    }
}

impl Verifier {
    /// For pages whose addresses begin with `base`; `None` if its host is an IP address, which no passkey
    /// can be made for.
    pub(crate) fn new(base: &str) -> Option<Self> {
        let url = Url::parse(base).ok()?;
        let Some(Host::Domain(domain)) = url.host() else { return None };
        let origin = url.origin().ascii_serialization();
        Some(Self(Passki::new(domain, &[origin], "Carom")))
    }

    /// What passkeys are for: the host's name.
    pub(crate) fn rp_id(&self) -> &str {
        &self.0.rp_id
    }

    /// The challenge that an answer says it is to. Nothing of it is checked yet.
    #[expect(clippy::unused_self, reason = "whoever reads an answer has a verifier")]
    pub(crate) fn challenge(&self, client_data: &str) -> Option<String> {
        ClientData::from_base64(client_data).ok().map(|data| data.challenge)
    }

    /// The bytes of a credential's id.
    #[expect(clippy::unused_self, reason = "as there")]
    pub(crate) fn credential_id(&self, id: &str) -> Option<Vec<u8>> {
        Passki::base64_decode(id).ok()
    }

    /// A credential that was made for this challenge.
    pub(crate) fn made(&self, body: &MadeBody, challenge: &str) -> Result<Credential, Refused> {
        let MadeBody { id, response } = body;
        let sent: RegistrationCredential = read(json!({
            "rawId": id,
            "response": {
                "clientDataJSON": response.client_data,
                "attestationObject": response.attestation,
            },
        }))?;
        let state: RegistrationState = read(json!({
            "challenge": bytes(challenge)?,
            "user": {"id": "", "name": "", "displayName": ""},
            "user_verification": "required",
        }))?;
        let made = self.0.finish_passkey_registration(&sent, &state).map_err(refused)?;
        if !ALGORITHMS.contains(&made.algorithm) {
            return Err(wrong("its algorithm was not asked for"));
        }
        if made.credential_id.len() > CREDENTIAL_ID_MAX {
            return Err(wrong("its id is too long"));
        }
        let is_word = |word: &&String| {
            (1..=32).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        };
        Ok(Credential {
            id: made.credential_id,
            public_key: made.public_key,
            algorithm: made.algorithm,
            counter: made.counter,
            is_backup_eligible: made.be,
            is_backed_up: made.bs,
            transports: response
                .transports
                .iter()
                .filter(is_word)
                .take(TRANSPORTS_MAX)
                .cloned()
                .collect(),
        })
    }

    /// The use of a passkey for this challenge.
    pub(crate) fn shown(
        &self,
        body: &ShownBody,
        challenge: &str,
        passkey: &Passkey,
    ) -> Result<Use, Refused> {
        let ShownBody { id, response } = body;
        if response.user_handle.as_ref().is_some_and(|it| *it != user_handle(passkey.account)) {
            return Err(wrong("its user handle is another account's"));
        }
        let sent: AuthenticationCredential = read(json!({
            "rawId": id,
            "response": {
                "clientDataJSON": response.client_data,
                "authenticatorData": response.authenticator_data,
                "signature": response.signature,
            },
        }))?;
        let credential = &passkey.credential;
        let state: AuthenticationState = read(json!({
            "challenge": bytes(challenge)?,
            "allowed_credentials": [credential.id],
            "user_verification": "required",
        }))?;
        let mut stored = StoredPasskey::default();
        stored.credential_id.clone_from(&credential.id);
        stored.public_key.clone_from(&credential.public_key);
        stored.algorithm = credential.algorithm;
        stored.counter = credential.counter;
        let shown = match self.0.finish_passkey_authentication(&sent, &state, &stored) {
            // It says so before it has looked at the signature, and anybody may have written a number.
            Err(PasskiError::CounterRegression) => {
                stored.counter = 0;
                let signed = self.0.finish_passkey_authentication(&sent, &state, &stored);
                return Err(signed.map_or_else(refused, |_| Refused::Counter));
            }
            shown => shown.map_err(refused)?,
        };
        let signed = bytes_of(&response.authenticator_data)?;
        let flags = signed.get(FLAGS_AT).copied().unwrap_or_default();
        if (flags & BACKUP_ELIGIBLE != 0) != credential.is_backup_eligible {
            return Err(wrong("whether it may be copied has changed"));
        }
        Ok(Use {
            passkey: passkey.id,
            account: passkey.account,
            counter_before: credential.counter,
            counter: shown.counter,
            is_backed_up: flags & BACKED_UP != 0,
        })
    }
}

fn wrong(text: &str) -> Refused {
    Refused::Wrong(text.to_owned())
}

/// Its texts name what was wrong, and have of what was sent the origin alone.
fn refused(error: PasskiError) -> Refused {
    match error {
        PasskiError::OriginMismatch { .. } => wrong("its origin is another one"),
        error => Refused::Wrong(error.to_string()),
    }
}

fn bytes_of(text: &str) -> Result<Vec<u8>, Refused> {
    Passki::base64_decode(text).map_err(refused)
}

fn bytes(challenge: &str) -> Result<Value, Refused> {
    bytes_of(challenge).map(Value::from)
}

/// `passki` lets nobody make these but from what it, or a browser, has written.
fn read<T: DeserializeOwned>(value: Value) -> Result<T, Refused> {
    serde_json::from_value(value).map_err(|error| Refused::Wrong(error.to_string()))
}

#[cfg(test)]
mod tests;
