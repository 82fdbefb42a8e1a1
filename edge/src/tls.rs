//! TLS: certificates from files, chosen by the host that a client names, and replaced without a restart.
//!
//! `edge.tls.cert_path` and `key_path` name the certificate for every host; `edge.tls.dir` is a folder
//! of more, `HOST.crt` beside `HOST.key`, which go before it. The files are looked at every
//! [`LOOK_EVERY`]; when one has changed, all are read anew. Certificates that cannot be used (half
//! written, or a key that does not fit) change nothing: the old ones stay, the log says why, and
//! `carom_edge_tls_reload_errors_total` counts it.
//!
//! TLS 1.2 and 1.3 with rustls and ring. What is spoken inside, ALPN says (RFC 7301), and nobody
//! guesses: HTTP/2 for who offers it, else HTTP/1.1. Sessions are resumed by tickets, whose keys
//! are the process's own and change every six hours.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use carom_shared::Host;

use crate::config::TlsConfig;
use crate::metrics::Metrics;
use crate::stamp::Stamp;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Bytes of a file, at most: a chain of ten certificates has 20 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Certificates in the folder, at most.
const CERTIFICATES_MAX: usize = 10_000;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} has more than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLong(PathBuf),
    #[error("{} holds no {what} in PEM: {source}", .path.display())]
    Pem { path: PathBuf, what: &'static str, source: pem::Error },
    #[error("the certificate {} cannot be used with the key {}: {source}", .cert.display(), .key.display())]
    Pair { cert: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("{}: what stands before .crt is not a host", .0.display())]
    Name(PathBuf),
    #[error("{} holds more than {CERTIFICATES_MAX} certificates", .0.display())]
    TooMany(PathBuf),
    #[error("there is no certificate: neither edge.tls.cert_path nor one in edge.tls.dir")]
    None,
    #[error("TLS cannot be set up: {0}")]
    SetUp(rustls::Error),
}

/// What the threads of an edge need for TLS.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
    files: TlsConfig,
    /// Of the files that were read last.
    stamps: Mutex<Stamps>,
}

/// Files, sorted; `None`: it is not there.
type Stamps = Vec<(PathBuf, Option<Stamp>)>;

/// The certificates in use.
#[derive(Debug)]
struct Certificates(ArcSwap<Set>);

#[derive(Debug, Default)]
struct Set {
    by_host: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// For all other hosts, and for clients that name none.
    default: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = self.0.load();
        let own = hello.server_name().and_then(|name| set.by_host.get(&*name.to_ascii_lowercase()));
        own.or(set.default.as_ref()).cloned()
    }
}

impl Tls {
    /// Reads the certificates for the first time.
    ///
    /// # Errors
    /// [`TlsError`] if one of them cannot be used.
    pub(crate) fn open(files: &TlsConfig, metrics: &Metrics) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let stamps = stamps(files)?;
        let set = Set::read(files, &provider)?;
        metrics.tls.certificates.set(set.len() as u64);
        let certificates = Arc::new(Certificates(ArcSwap::from_pointee(set)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::SetUp)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = ring::Ticketer::new().map_err(TlsError::SetUp)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificates,
            files: files.clone(),
            stamps: Mutex::new(stamps),
        })
    }

    /// Looks for new certificates until it is dropped.
    pub(crate) async fn keep(self: Arc<Self>, metrics: Arc<Metrics>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (tls, metrics) = (Arc::clone(&self), Arc::clone(&metrics));
            // A folder may be on a slow disk.
            let looked = tokio::task::spawn_blocking(move || tls.look(&metrics)).await;
            if let Err(error) = looked {
                tracing::error!(%error, "certificates could not be looked at");
            }
        }
    }

    /// Takes new certificates into use, if there are any.
    fn look(&self, metrics: &Metrics) {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, is_readable) = match self::stamps(&self.files) {
            Ok(now) => (now, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        if now == *stamps {
            return;
        }
        // Also if they cannot be used: that is said once, not every two seconds.
        *stamps = now;
        let read = is_readable
            .and_then(|()| Set::read(&self.files, self.acceptor.config().crypto_provider()));
        match read {
            Ok(set) => {
                tracing::info!(certificates = set.len(), "new certificates are in use");
                metrics.tls.certificates.set(set.len() as u64);
                metrics.tls.reloads.add(1);
                self.certificates.0.store(Arc::new(set));
            }
            Err(error) => {
                metrics.tls.reload_errors.add(1);
                tracing::error!(%error, "new certificates cannot be used, the old ones stay");
            }
        }
    }
}

impl Set {
    fn len(&self) -> usize {
        self.by_host.len() + usize::from(self.default.is_some())
    }

    fn read(files: &TlsConfig, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let mut set = Self::default();
        if !files.cert_path.as_os_str().is_empty() {
            set.default = Some(read_pair(&files.cert_path, &files.key_path, provider)?);
        }
        for cert in certificates_in(&files.dir)? {
            let name = cert.file_stem().and_then(|name| name.to_str());
            let host = name.and_then(|name| Host::parse(name).ok());
            let host = host.ok_or_else(|| TlsError::Name(cert.clone()))?;
            let pair = read_pair(&cert, &cert.with_extension("key"), provider)?;
            set.by_host.insert(host.as_str().into(), pair);
        }
        if set.len() == 0 { Err(TlsError::None) } else { Ok(set) }
    }
}

/// The files `*.crt` of a folder; none, if no folder is set.
fn certificates_in(dir: &Path) -> Result<Vec<PathBuf>, TlsError> {
    if dir.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let failed = |source| TlsError::Io { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|end| end == "crt") {
            found.push(path);
        }
        if found.len() > CERTIFICATES_MAX {
            return Err(TlsError::TooMany(dir.to_owned()));
        }
    }
    Ok(found)
}

fn stamps(files: &TlsConfig) -> Result<Stamps, TlsError> {
    let mut paths: Vec<_> = certificates_in(&files.dir)?
        .into_iter()
        .flat_map(|cert| [cert.with_extension("key"), cert])
        .collect();
    paths.extend([files.cert_path.clone(), files.key_path.clone()]);
    let stamp = |path: PathBuf| {
        let of = fs::metadata(&path).ok().map(|file| Stamp::of(&file));
        (path, of)
    };
    let mut stamps: Vec<_> = paths.into_iter().map(stamp).collect();
    stamps.sort();
    Ok(stamps)
}

fn read_pair(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let pem = |path: &Path, what, source| TlsError::Pem { path: path.to_owned(), what, source };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read_file(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|error| pem(cert, "certificate", error))?;
    if chain.is_empty() {
        return Err(pem(cert, "certificate", pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_slice(&read_file(key)?)
        .map_err(|error| pem(key, "private key", error))?;
    let pair = CertifiedKey::from_der(chain, private, provider)
        .map_err(|source| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), source })?;
    Ok(Arc::new(pair))
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Io { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(TlsError::TooLong(path.to_owned()));
    }
    fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_permission_that_is_mended_and_a_copy_that_keeps_its_time_are_new() {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsConfig {
            cert_path: dir.path().join("cert.pem"),
            key_path: dir.path().join("key.pem"),
            ..TlsConfig::default()
        };
        fs::write(&files.cert_path, "one").unwrap();
        fs::write(&files.key_path, "key").unwrap();
        let at = fs::metadata(&files.cert_path).unwrap().modified().unwrap();
        let mut seen = vec![stamps(&files).unwrap()];
        let changes: [&dyn Fn(); 2] = [
            &|| fs::set_permissions(&files.key_path, PermissionsExt::from_mode(0o400)).unwrap(),
            &|| {
                let copy = dir.path().join("copy");
                fs::write(&copy, "two").unwrap();
                File::options().write(true).open(&copy).unwrap().set_modified(at).unwrap();
                fs::rename(&copy, &files.cert_path).unwrap();
            },
        ];
        for change in changes {
            // The kernel's clock for files goes by ticks of up to 10 ms.
            std::thread::sleep(Duration::from_millis(20));
            change();
            let now = stamps(&files).unwrap();
            assert!(!seen.contains(&now));
            assert_eq!(stamps(&files).unwrap(), now);
            seen.push(now);
        }
    }
}
