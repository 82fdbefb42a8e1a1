//! `accounts.oidc.*`: a provider of OpenID Connect that people sign in with.

use carom_shared::settings::InvalidSetting;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Characters of what stands on a button.
const LABEL_MAX: usize = 40;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OidcConfig {
    /// The provider's issuer, such as `https://accounts.google.com`, exactly as its discovery document
    /// has it. Empty: nobody signs in by a provider. Plain HTTP for this machine alone.
    pub issuer: String,
    /// What the provider calls this installation.
    pub client_id: String,
    /// Empty for a public client: PKCE is used in any case.
    pub client_secret: String,
    /// What stands on the button, after "Sign in with".
    pub label: String,
    /// What is asked for besides `openid`, with spaces between.
    pub scopes: String,
    /// Whether an e-mail address that the provider calls verified is taken for its reader's: it then
    /// signs in as the account that has it, and makes one where `accounts.registration` lets it.
    pub trust_email: bool,
}

impl Default for OidcConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: String::new(),
            label: "single sign-on".into(),
            scopes: "email profile".into(),
            trust_email: false,
        }
    }
}

/// Without the secret.
impl std::fmt::Debug for OidcConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcConfig")
            .field("issuer", &self.issuer)
            .field("trust_email", &self.trust_email)
            .finish_non_exhaustive()
    }
}

impl OidcConfig {
    /// Whether there is a provider.
    pub(crate) const fn is_set(&self) -> bool {
        !self.issuer.is_empty()
    }

    /// # Errors
    /// [`InvalidSetting`] names the first setting that cannot be used. The secret is not repeated.
    pub(crate) fn check(&self) -> Result<(), InvalidSetting> {
        if !self.is_set() {
            let lonely = [
                ("accounts.oidc.client_id", &self.client_id),
                ("accounts.oidc.client_secret", &self.client_secret),
            ];
            return match lonely.into_iter().find(|(_, value)| !value.is_empty()) {
                Some((setting, _)) => {
                    Err(InvalidSetting::new(setting, "is of no use without accounts.oidc.issuer"))
                }
                None => Ok(()),
            };
        }
        if cfg!(not(feature = "oidc")) {
            let problem = "this program was built without OpenID Connect; build it with \
                 --features oidc, or leave the setting out";
            return Err(InvalidSetting::new("accounts.oidc.issuer", problem));
        }
        let is_sound = Url::parse(&self.issuer).is_ok_and(|url| {
            (url.scheme() == "https" || url.scheme() == "http" && is_this_machine(&url))
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        if !is_sound {
            let problem = "must be an https address without user, query and fragment, such as \
                 https://accounts.google.com";
            return Err(InvalidSetting::new("accounts.oidc.issuer", problem));
        }
        if self.client_id.is_empty() || self.client_id.chars().any(char::is_control) {
            let problem = "must be what the provider calls this installation";
            return Err(InvalidSetting::new("accounts.oidc.client_id", problem));
        }
        let label = self.label.chars();
        if !(1..=LABEL_MAX).contains(&label.clone().count()) || label.clone().any(char::is_control)
        {
            let problem = format!("must have 1 to {LABEL_MAX} characters, in one line");
            return Err(InvalidSetting::new("accounts.oidc.label", problem));
        }
        // RFC 6749, 3.3.
        let is_scope = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if !self.scopes.split(' ').all(|scope| scope.bytes().all(is_scope)) {
            let problem = "must be names of scopes with spaces between, such as: email profile";
            return Err(InvalidSetting::new("accounts.oidc.scopes", problem));
        }
        Ok(())
    }
}

/// Whether an address is this machine's own, by its name alone.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(host)) => host == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_checked_by_name_and_never_shown_with_its_secret() {
        let config = |issuer: &str| OidcConfig {
            issuer: issuer.into(),
            client_id: "carom".into(),
            client_secret: "hunter2".into(),
            ..OidcConfig::default()
        };
        OidcConfig::default().check().unwrap();
        assert!(!format!("{:?}", config("https://id.example")).contains("hunter2"));
        assert_eq!(config("").check().unwrap_err().setting, "accounts.oidc.client_id");
        if cfg!(not(feature = "oidc")) {
            let error = config("https://id.example").check().unwrap_err();
            assert!(error.to_string().contains("--features oidc"), "{error}");
            return;
        }
        for issuer in [
            "https://id.example", "https://id.example/realms/main", "http://127.0.0.1:8090",
            "http://localhost:8090/", "http://[::1]:8090",
        ] {
            config(issuer).check().unwrap();
        }
        for issuer in [
            "id.example", "http://id.example", "https://u:hunter2@id.example",
            "https://id.example/?a", "https://id.example/#a", "ftp://localhost",
        ] {
            let error = config(issuer).check().unwrap_err();
            assert_eq!(error.setting, "accounts.oidc.issuer", "{issuer}");
            assert!(!error.to_string().contains("hunter2"));
        }
        let good = config("https://id.example");
        for (bad, setting) in [
            (OidcConfig { client_id: String::new(), ..good.clone() }, "accounts.oidc.client_id"),
            (OidcConfig { label: String::new(), ..good.clone() }, "accounts.oidc.label"),
            (OidcConfig { label: "a\nb".into(), ..good.clone() }, "accounts.oidc.label"),
            (OidcConfig { scopes: "a\"b".into(), ..good }, "accounts.oidc.scopes"),
        ] {
            assert_eq!(bad.check().unwrap_err().setting, setting);
        }
    }
}
