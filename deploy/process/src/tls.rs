//! TLS to the servers of an installation: ClickHouse and what else speaks it behind a plain TCP connection.
//!
//! A server's certificate is always verified, against the time, the name that was asked for, and the
//! authorities that are trusted: those of one file, or else those of this machine (`SSL_CERT_FILE` and
//! `SSL_CERT_DIR` name others). There is no switch that turns it off: a connection that anybody may answer
//! protects a password from nobody. Authorities are read once, at the start.
//!
//! TLS 1.2 and 1.3 with rustls and ring. A name is a DNS name or an address of a subject alternative name (RFC
//! 9525); the common name is not looked at.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use carom_shared::settings::InvalidSetting;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// From the first byte to the last of a handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Bytes of a file of authorities, at most: Mozilla's all together have 220 KiB.
const FILE_LEN_MAX: u64 = 4 << 20;
/// Names of a certificate that an error repeats.
const NAMES_SHOWN: usize = 5;

/// A connection in which everything is sealed.
pub type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

/// Whom a server's certificate has to be of. Clones share what a server gave for a quicker handshake.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    /// The setting that names a file of authorities, for messages.
    setting: &'static str,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("setting", &self.setting).finish_non_exhaustive()
    }
}

impl Tls {
    /// Trusts the authorities whose certificates are in this file, in PEM, and no others; with an empty
    /// path those of this machine. `setting` is where the path comes from.
    ///
    /// # Errors
    /// [`InvalidSetting`] if the file cannot be used, or this machine trusts nobody.
    pub fn new(ca_path: &Path, setting: &'static str) -> Result<Self, InvalidSetting> {
        let invalid = |problem: String| InvalidSetting::new(setting, problem);
        let roots =
            if ca_path.as_os_str().is_empty() { roots_of_machine() } else { read_roots(ca_path) };
        let roots = roots.map_err(invalid)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(format!("cannot be used: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), setting })
    }

    /// Makes sure that this is the server of that name, and seals the connection to it. `host` is a DNS
    /// name or an address, an IPv6 one without brackets.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<TlsStream, String> {
        self.connect_within(HANDSHAKE_MAX, host, stream).await
    }

    async fn connect_within(
        &self,
        limit: Duration,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host} is no name that a certificate can be for"))?;
        match timeout(limit, self.connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(format!("it ended the connection instead of a TLS handshake; {SEE_PORT}"))
            }
            Ok(Err(error)) => Err(explain_tls(&error, self.setting)
                .unwrap_or_else(|| format!("the TLS handshake failed: {error}"))),
            Err(_) => Err(format!("it did not end a TLS handshake in time; {SEE_PORT}")),
        }
    }
}

const SEE_PORT: &str = "see that this port is the one for TLS";

/// What an error of TLS, or one that comes from it, means for who runs the installation; `None`: it has nothing to do
/// with TLS. `setting` is where a file of authorities can be named.
#[must_use]
pub fn explain_tls(error: &(dyn Error + 'static), setting: &str) -> Option<String> {
    let mut next = Some(error);
    while let Some(mut error) = next {
        // A shared one is its own kind of error, and has no source but its content's.
        if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
            error = &**shared;
        }
        let found = error.downcast_ref::<rustls::Error>().or_else(|| {
            // It is not the source of what it is in, but its content.
            let io = error.downcast_ref::<std::io::Error>()?;
            io.get_ref()?.downcast_ref::<rustls::Error>()
        });
        if let Some(found) = found {
            return Some(meaning(found, setting));
        }
        next = error.source();
    }
    None
}

fn meaning(error: &rustls::Error, setting: &str) -> String {
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::InvalidMessage(_) => {
            return format!("what answers does not speak TLS; {SEE_PORT}");
        }
        rustls::Error::AlertReceived(alert) => {
            return format!("it refused the TLS handshake: {alert:?}");
        }
        rustls::Error::PeerIncompatible(why) => {
            return format!("it offers no TLS that is good enough, which is 1.2 or 1.3: {why:?}");
        }
        other => return format!("the TLS handshake failed: {other}"),
    };
    match certificate {
        // The latter: of one with a trusted one's name, and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "its certificate is of an authority that is not trusted here; name a file with that \
             authority's certificate in {setting}"
        ),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "its certificate is for {}, not for {}; name the server as its certificate does, or give \
             it one with that name",
            shown_names(presented),
            expected.to_str()
        ),
        CertificateError::NotValidForName => {
            "its certificate is for another name; name the server as its certificate does"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; renew it, or set this machine's clock right".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; set the clocks of both machines right".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            format!(
                "its certificate is an authority's, which cannot be a server's too; give it one that an \
             authority made for it (without CA:TRUE), and name that authority's in {setting}"
            )
        }
        other => format!("its certificate cannot be used: {other}"),
    }
}

fn shown_names(names: &[String]) -> String {
    if names.is_empty() {
        return "no name (a common name alone is none)".to_owned();
    }
    // As rustls has them: DnsName("a.example"), IpAddress(127.0.0.1).
    let bare = names.iter().take(NAMES_SHOWN).map(|name| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"')
    });
    let more = if names.len() > NAMES_SHOWN { ", and others" } else { "" };
    format!("{}{more}", bare.collect::<Vec<_>>().join(", "))
}

fn roots_of_machine() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // One that cannot be read takes nothing away from the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("is needed: this machine trusts no authority; name a file, or install the \
                    system's (Debian: ca-certificates)"
            .to_owned());
    }
    Ok(roots)
}

fn read_roots(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| format!("cannot be read: {shown}: {error}");
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_LEN_MAX {
        return Err(format!("names {shown}, which has more than {FILE_LEN_MAX} bytes"));
    }
    let text = std::fs::read(path).map_err(unreadable)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|error| {
            format!("names {shown}, in which a certificate cannot be read: {error}")
        })?;
    }
    if roots.is_empty() {
        return Err(format!("names {shown}, in which there is no certificate in PEM"));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
