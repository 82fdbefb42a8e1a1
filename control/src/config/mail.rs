//! `mail.*`: how mail leaves.

use carom_shared::settings::InvalidSetting;
use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    /// `smtps://USER:PASSWORD@HOST:465`, `smtp://USER:PASSWORD@HOST:587?tls=required`, or
    /// `smtp://localhost:25` for one on this machine. A password is not sent to another machine
    /// without TLS. Empty: no mail is sent, and what needs it says so.
    pub url: String,
    /// Who it is from, such as `Carom <carom@example.com>`.
    pub from: String,
}

/// Where mail goes to, and from whom.
#[derive(Clone)]
pub(crate) struct MailAt {
    pub(crate) transport: AsyncSmtpTransport<Tokio1Executor>,
    pub(crate) from: Mailbox,
}

impl MailConfig {
    /// Reads the settings; `None` where no mail is sent. The URL is not repeated in errors: it may
    /// hold a password.
    pub(crate) fn at(&self) -> Result<Option<MailAt>, InvalidSetting> {
        if self.url.is_empty() {
            return Ok(None);
        }
        let error = |problem: &str| InvalidSetting::new("mail.url", problem);
        let malformed = || {
            error(
                "must be smtps://USER:PASSWORD@HOST:465, smtp://USER:PASSWORD@HOST:587?tls=required, \
                 or smtp://localhost:25",
            )
        };
        let url = Url::parse(&self.url).map_err(|_| malformed())?;
        let is_sealed = url.scheme() == "smtps"
            || url.query_pairs().any(|(name, value)| name == "tls" && value == "required");
        let is_here = match url.host() {
            // A scheme that is none of the web's keeps the host as it was written.
            Some(Host::Domain(host)) => {
                host == "localhost"
                    || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
            }
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => return Err(malformed()),
        };
        if url.password().is_some() && !is_sealed && !is_here {
            return Err(error("sends a password without TLS: add ?tls=required, or use smtps"));
        }
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&self.url);
        let transport = transport.map_err(|_| malformed())?.build();
        let from: Mailbox = self.from.parse().map_err(|_| {
            InvalidSetting::new("mail.from", "must be set, such as Carom <carom@example.com>")
        })?;
        Ok(Some(MailAt { transport, from }))
    }
}

/// Without the transport, which may hold a password.
impl std::fmt::Debug for MailAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailAt").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Without the URL, which may hold a password.
impl std::fmt::Debug for MailConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailConfig").field("from", &self.from).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_leaves_the_machine_in_the_open() {
        let config = |url: &str, from: &str| MailConfig { url: url.into(), from: from.into() };
        let from = "Carom <carom@example.com>";
        assert!(config("", "").at().unwrap().is_none());
        for url in [
            "smtps://carom:hunter2@mail.example",
            "smtp://carom:hunter2@mail.example:587?tls=required", "smtp://localhost:25",
            "smtp://carom:hunter2@127.0.0.1:2525", "smtp://mail.example:25",
        ] {
            let config = config(url, from);
            let at = config.at().unwrap().unwrap();
            assert!(!format!("{config:?}{at:?}").contains("hunter2"), "{url}");
        }
        for (url, from, setting) in [
            ("smtp://carom:hunter2@mail.example:587", from, "mail.url"),
            ("smtp://carom:hunter2@mail.example:587?tls=opportunistic", from, "mail.url"),
            ("https://carom:hunter2@mail.example", from, "mail.url"),
            ("smtp:hunter2", from, "mail.url"),
            ("smtp://localhost", "", "mail.from"),
            ("smtp://localhost", "nobody", "mail.from"),
        ] {
            let error = config(url, from).at().unwrap_err();
            assert_eq!(error.setting, setting, "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
