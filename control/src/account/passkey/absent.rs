//! No passkeys: this program was built without the feature `passkeys`.

use super::{Credential, MadeBody, Passkey, Refused, ShownBody, Use};

/// There is none.
#[derive(Debug)]
pub(crate) enum Verifier {}

impl Verifier {
    pub(crate) const fn new(_: &str) -> Option<Self> {
        None
    }

    pub(crate) const fn rp_id(&self) -> &str {
        match *self {}
    }

    pub(crate) const fn challenge(&self, _: &str) -> Option<String> {
        match *self {}
    }

    pub(crate) const fn credential_id(&self, _: &str) -> Option<Vec<u8>> {
        match *self {}
    }

    pub(crate) const fn made(&self, _: &MadeBody, _: &str) -> Result<Credential, Refused> {
        match *self {}
    }

    pub(crate) const fn shown(&self, _: &ShownBody, _: &str, _: &Passkey) -> Result<Use, Refused> {
        match *self {}
    }
}
