//! No provider: this program was built without the feature `oidc`, and a setting that names one stops
//! the start.

use carom_shared::UnixMillis;

use super::{Claims, ProviderError, Question};
use crate::config::OidcConfig;

/// There is none.
#[derive(Debug)]
pub(crate) enum Provider {}

impl Provider {
    pub(crate) const fn new(_: &OidcConfig, _: &str) -> Option<Self> {
        None
    }

    pub(crate) const fn label(&self) -> &str {
        match *self {}
    }

    pub(crate) const fn issuer(&self) -> &str {
        match *self {}
    }

    pub(crate) const fn is_email_trusted(&self) -> bool {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "as it is where there is one")]
    pub(crate) async fn address(
        &self,
        _: &Question,
        _: UnixMillis,
    ) -> Result<String, ProviderError> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "as it is where there is one")]
    pub(crate) async fn check_issuer(
        &self,
        _: Option<&str>,
        _: UnixMillis,
    ) -> Result<(), ProviderError> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "as it is where there is one")]
    pub(crate) async fn redeem(
        &self,
        _: String,
        _: &Question,
        _: UnixMillis,
    ) -> Result<Claims, ProviderError> {
        match *self {}
    }
}
