//! With real handshakes over real sockets.

use std::net::SocketAddr;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const SETTING: &str = "clicks.ca_path";

/// An authority, and the file that says so.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A server's side, for `params`.
    fn serve(&self, params: &CertificateParams) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        acceptor(certificate.der().clone(), &key)
    }
}

fn acceptor(certificate: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

/// Answers one connection with what it is sent, sealed.
async fn echo(acceptor: TlsAcceptor) -> SocketAddr {
    listen(async move |stream| {
        if let Ok(mut sealed) = acceptor.accept(stream).await {
            let mut word = [0; 5];
            sealed.read_exact(&mut word).await.unwrap();
            sealed.write_all(&word).await.unwrap();
            sealed.flush().await.unwrap();
        }
    })
    .await
}

async fn listen<F>(serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream).await;
    });
    address
}

async fn connect(tls: &Tls, host: &str, address: SocketAddr) -> Result<TlsStream, String> {
    tls.connect(host, TcpStream::connect(address).await.unwrap()).await
}

/// Runs with tasks of its own, which end with it.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_server_of_a_trusted_authority_is_spoken_to() {
    run(async {
        let authority = Authority::new();
        let tls = Tls::new(&authority.path(), SETTING).unwrap();
        for name in ["db.example", "127.0.0.1"] {
            let address = echo(authority.serve(&named(name))).await;
            let mut sealed = connect(&tls, name, address).await.unwrap();
            sealed.write_all(b"hello").await.unwrap();
            sealed.flush().await.unwrap();
            let mut word = [0; 5];
            sealed.read_exact(&mut word).await.unwrap();
            assert_eq!(&word, b"hello");
        }
    });
}

#[test]
fn who_is_not_the_server_is_refused_with_what_to_do() {
    run(async {
        let (authority, other) = (Authority::new(), Authority::new());
        let tls = Tls::new(&authority.path(), SETTING).unwrap();
        let mut expired = named("db.example");
        expired.not_after = date_time_ymd(2020, 1, 1);
        let mut early = named("db.example");
        early.not_before = date_time_ymd(4090, 1, 1);
        early.not_after = date_time_ymd(4091, 1, 1);
        let mut its_own = named("db.example");
        its_own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        for (server, expected) in [
            (
                other.serve(&named("db.example")),
                "not trusted here; name a file with that authority's certificate in clicks.ca_path",
            ),
            (authority.serve(&named("other.example")), "is for other.example, not for db.example"),
            (authority.serve(&named("127.0.0.1")), "is for 127.0.0.1, not for db.example"),
            (authority.serve(&expired), "has expired"),
            (authority.serve(&early), "not valid yet"),
            (authority.serve(&its_own), "is an authority's"),
        ] {
            let refused = connect(&tls, "db.example", echo(server).await).await.unwrap_err();
            assert!(refused.contains(expected), "{expected}: {refused}");
        }
        let nameless = CertificateParams::new(Vec::new()).unwrap();
        let address = echo(authority.serve(&nameless)).await;
        let refused = connect(&tls, "db.example", address).await.unwrap_err();
        assert!(refused.contains("for no name"), "{refused}");
        // By the system's authorities it is nobody's.
        if let Ok(tls) = Tls::new(Path::new(""), SETTING) {
            let address = echo(authority.serve(&named("db.example"))).await;
            let refused = connect(&tls, "db.example", address).await.unwrap_err();
            assert!(refused.contains("not trusted here"), "{refused}");
        }
    });
}

#[test]
fn what_does_not_speak_tls_is_told_from_what_does() {
    run(async {
        let authority = Authority::new();
        let tls = Tls::new(&authority.path(), SETTING).unwrap();
        let plain = listen(async |mut stream: TcpStream| {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            // Until the other side has read it.
            drop(stream.read_to_end(&mut Vec::new()).await);
        });
        let refused = connect(&tls, "db.example", plain.await).await.unwrap_err();
        assert!(refused.contains("does not speak TLS"), "{refused}");
        let ends = listen(async |mut stream: TcpStream| {
            let mut hello = [0; 64];
            stream.read_exact(&mut hello).await.unwrap();
            stream.shutdown().await.unwrap();
            drop(stream.read_to_end(&mut Vec::new()).await);
        });
        let refused = connect(&tls, "db.example", ends.await).await.unwrap_err();
        assert!(refused.contains("ended the connection"), "{refused}");
    });
}

#[test]
fn who_is_silent_is_not_waited_for() {
    run(async {
        let authority = Authority::new();
        let tls = Tls::new(&authority.path(), SETTING).unwrap();
        let silent = listen(async |mut stream: TcpStream| {
            drop(stream.read_to_end(&mut Vec::new()).await);
        });
        let stream = TcpStream::connect(silent.await).await.unwrap();
        let limit = Duration::from_millis(50);
        let refused = tls.connect_within(limit, "db.example", stream).await.unwrap_err();
        assert!(refused.contains("did not end a TLS handshake in time"), "{refused}");
    });
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    for (path, expected) in [
        (folder.path().join("nowhere.pem"), "cannot be read"),
        (write("empty.pem", ""), "no certificate in PEM"),
        (write("text.pem", "hello"), "no certificate in PEM"),
        (
            write("bad.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"),
            "a certificate cannot be read",
        ),
    ] {
        let error = Tls::new(&path, SETTING).unwrap_err();
        assert_eq!(error.setting, SETTING);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(error.problem.contains(expected) && error.problem.contains(name), "{error}");
    }
}

/// As the drivers of PostgreSQL and Redis wrap it.
#[test]
fn an_error_is_explained_wherever_it_is_in() {
    #[derive(Debug, thiserror::Error)]
    #[error("the driver failed")]
    struct Outer(#[source] std::io::Error);
    let inner = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
    let error = Outer(std::io::Error::new(std::io::ErrorKind::InvalidData, inner));
    let explained = explain_tls(&error, "sslrootcert of database.url").unwrap();
    assert!(explained.ends_with("in sslrootcert of database.url"), "{explained}");
    assert_eq!(explain_tls(&Outer(std::io::Error::other("x")), SETTING), None);
}
