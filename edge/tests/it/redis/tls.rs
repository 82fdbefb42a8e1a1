//! Questions to Redis over TLS.

use std::path::Path;

use carom_edge::l2::{L2, L2Origin};
use carom_edge::resolve::Origin;
use carom_shared::Code;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_util::sync::CancellationToken;

use super::race::Nobody;
use super::server::{Server, free_port};
use super::*;
use crate::world::{DOMAIN, domain};

/// Writes an authority's certificate, and that of a server of it, called `localhost`.
fn write_certificates(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("server.crt", server.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

/// What Redis says of a code that it does not have, once somebody is connected or time is up.
async fn asked(url: &str, ca_path: &Path, epoch: u64, patience: Duration) -> bool {
    let (stop, mut tasks) = (CancellationToken::new(), tokio::task::JoinSet::new());
    let l2 = L2::new(url, ca_path, Duration::from_secs(2), Arc::new(SystemRandom)).unwrap();
    l2.set_epoch(epoch);
    tasks.spawn(l2.clone().keep(stop.clone()));
    let origin = L2Origin::new(l2, Arc::new(Nobody));
    let code = Code::parse("absent").unwrap();
    let answered = async {
        while !matches!(origin.resolve(domain(DOMAIN), &code).await, Ok(None)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let is_answered = tokio::time::timeout(patience, answered).await.is_ok();
    stop.cancel();
    is_answered
}

#[tokio::test]
async fn redis_is_asked_in_tls_if_it_is_the_one() {
    let dir = tempfile::tempdir().unwrap();
    write_certificates(dir.path());
    let (port, path) = (free_port(), |name: &str| dir.path().join(name).display().to_string());
    let settings = [
        ("--tls-port", port.to_string()),
        ("--tls-auth-clients", "no".to_owned()),
        ("--tls-cert-file", path("server.crt")),
        ("--tls-key-file", path("server.key")),
        ("--tls-ca-cert-file", path("ca.pem")),
    ];
    let settings = settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let (server, epoch) = (Server::start_with(settings.collect()), new_epoch());
    Writer::new(&server.url(), epoch).give_lease(LONG);
    let ca = dir.path().join("ca.pem");
    let url = |host: &str| format!("rediss://{host}:{port}/1");
    assert!(asked(&url("localhost"), &ca, epoch, Duration::from_secs(10)).await);
    assert!(!asked(&url("127.0.0.1"), &ca, epoch, Duration::from_millis(300)).await);
}
