//! TLS and HTTP/2 over it: certificates, what is spoken, and clients that mean harm.

mod http2;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::client::{Client, PATIENCE};
use crate::world::{Running, World, eventually, metric};

/// A certificate that vouches for itself, and its key.
struct Certificate {
    der: CertificateDer<'static>,
    cert: String,
    key: String,
}

impl Certificate {
    fn of(hosts: &[&str]) -> Self {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(hosts).unwrap();
        Self {
            der: made.cert.der().clone(),
            cert: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    fn write(&self, dir: &Path, name: &str) {
        std::fs::write(dir.join(format!("{name}.crt")), &self.cert).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), &self.key).unwrap();
    }
}

/// A world with TLS, and the folder of its certificates.
fn secure(certificate: &Certificate) -> (World, TempDir) {
    let mut world = World::with_link();
    let dir = tempfile::tempdir().unwrap();
    certificate.write(dir.path(), "default");
    world.config.tls.listen = Some(([127, 0, 0, 1], 0).into());
    world.config.tls.cert_path = dir.path().join("default.crt");
    world.config.tls.key_path = dir.path().join("default.key");
    (world, dir)
}

/// A connection over TLS.
struct Secure {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Secure {
    /// Trusts `certificate` and nothing else.
    fn connect(
        edge: &Running,
        certificate: &Certificate,
        name: &str,
        protocols: &[&str],
    ) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(edge.tls_address().unwrap()).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream })
    }

    /// Sends a request over HTTP/1.1; the answer's status.
    fn get(&mut self, host: &str) -> u16 {
        let request = format!("GET /abc HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.stream.read_exact(&mut body).unwrap();
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

#[test]
fn what_is_spoken_is_what_was_agreed_on() {
    let certificate = Certificate::of(&["go.example.com"]);
    let (world, _dir) = secure(&certificate);
    let edge = world.start();
    for protocols in [&["http/1.1"][..], &[]] {
        let mut client = Secure::connect(&edge, &certificate, "go.example.com", protocols).unwrap();
        assert_eq!([client.get("go.example.com"), client.get("go.example.com:443")], [302, 302]);
    }
    let client =
        Secure::connect(&edge, &certificate, "go.example.com", &["h2", "http/1.1"]).unwrap();
    assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    // What is not TLS is not answered, and plain HTTP goes on beside it.
    let mut plain = Client::connect(edge.tls_address().unwrap());
    plain.send("GET /abc HTTP/1.1\r\nHost: go.example.com\r\n\r\n");
    assert_eq!(Client::connect(edge.address()).get("/abc").status, 302);
    eventually("it is let go", || {
        metric(&edge, "carom_edge_connections_refused_total{reason=\"tls\"}") == 1
    });
    assert_eq!(edge.stop().clicks_recorded, 5);
}

#[test]
fn a_certificate_stands_for_its_own_host() {
    let certificate = Certificate::of(&["go.example.com", "localhost"]);
    let (world, _dir) = secure(&certificate);
    let edge = world.start();
    let mut client = Secure::connect(&edge, &certificate, "localhost", &[]).unwrap();
    assert_eq!(client.get("go.example.com"), 421);
    assert_eq!(client.get("localhost"), 404);
    let mut client = Secure::connect(&edge, &certificate, "GO.example.com", &[]).unwrap();
    assert_eq!([client.get("localhost"), client.get("go.example.com")], [421, 302]);
    assert_eq!(edge.stop().clicks_recorded, 1);
}

#[test]
fn hosts_have_certificates_of_their_own() {
    let (default, own) = (Certificate::of(&["localhost"]), Certificate::of(&["go.example.com"]));
    let (mut world, dir) = secure(&default);
    world.config.tls.dir = dir.path().join("hosts");
    std::fs::create_dir(&world.config.tls.dir).unwrap();
    own.write(&world.config.tls.dir, "go.example.com");
    let edge = world.start();
    assert_eq!(metric(&edge, "carom_edge_tls_certificates"), 2);
    let connect = |certificate, name| Secure::connect(&edge, certificate, name, &[]);
    assert_eq!(connect(&own, "go.example.com").unwrap().get("go.example.com"), 302);
    assert_eq!(connect(&default, "localhost").unwrap().get("localhost"), 404);
    assert!(connect(&default, "go.example.com").is_err());
}

#[test]
fn new_files_are_taken_and_bad_ones_are_not() {
    let (old, new) = (Certificate::of(&["go.example.com"]), Certificate::of(&["go.example.com"]));
    let (world, dir) = secure(&old);
    let edge = world.start();
    let works = |certificate| {
        let client = Secure::connect(&edge, certificate, "go.example.com", &[]);
        client.is_ok_and(|mut client| client.get("go.example.com") == 302)
    };
    let mut stays = Secure::connect(&edge, &old, "go.example.com", &[]).unwrap();
    assert!(works(&old) && !works(&new));
    // The new certificate, and still the old key.
    std::fs::write(dir.path().join("default.crt"), &new.cert).unwrap();
    eventually("it is refused", || metric(&edge, "carom_edge_tls_reload_errors_total") == 1);
    assert!(works(&old));
    new.write(dir.path(), "default");
    eventually("it is taken", || metric(&edge, "carom_edge_tls_reloads_total") == 1);
    assert!(works(&new) && !works(&old));
    assert_eq!(stays.get("go.example.com"), 302, "who is connected stays so");
}

#[test]
fn a_start_names_what_cannot_be_used() {
    let certificate = Certificate::of(&["go.example.com"]);
    let (world, dir) = secure(&certificate);
    let error = || world.start_on(&world.spool_dir(), &world.store).err().unwrap().to_string();
    std::fs::write(dir.path().join("default.key"), "no key").unwrap();
    assert!(error().contains("default.key holds no private key"), "{}", error());
    std::fs::write(dir.path().join("default.key"), Certificate::of(&["a.test"]).key).unwrap();
    assert!(error().contains("cannot be used with the key"), "{}", error());
    std::fs::remove_file(dir.path().join("default.crt")).unwrap();
    assert!(error().contains("cannot read"), "{}", error());
}

#[test]
fn who_does_not_shake_hands_is_let_go() {
    let certificate = Certificate::of(&["go.example.com"]);
    let (mut world, _dir) = secure(&certificate);
    (world.config.header_timeout_ms, world.config.idle_timeout_ms) = (1000, 1000);
    let edge = world.start();
    let address: SocketAddr = edge.tls_address().unwrap();
    let begun = Instant::now();
    // Hands shaken, and nothing asked.
    let shaken = [&["h2"][..], &["http/1.1"]].map(|protocols| {
        Secure::connect(&edge, &certificate, "go.example.com", protocols).unwrap()
    });
    let silent = [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"].map(|begin| {
        let mut client = Client::connect(address);
        client.send(begin);
        client
    });
    for mut client in silent {
        assert!(client.is_ended());
    }
    for mut client in shaken {
        let mut rest = Vec::new();
        drop(client.stream.read_to_end(&mut rest));
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    eventually("all are closed", || metric(&edge, "carom_edge_connections_open") == 0);
}
