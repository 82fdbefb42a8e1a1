//! What an attacker's connection says and when, as data: one loop plays all of them.

use std::time::Duration;

use clap::ValueEnum;

use crate::population::Rng;

/// Headers of a request, and bytes of its head, as many as a careful server takes.
const HEADERS: usize = 64;
const HEAD_BYTES: usize = 16 * 1024;
/// Requests that are sent at once, without waiting for answers.
const PIPELINED: usize = 64;
/// Misses that a block asks for before its successor goes on: fewer than are refused to it.
const MISSES_OF_A_BLOCK: u32 = 25;
/// Buffer of a client that hardly reads, in bytes; the kernel doubles it.
const SMALL_BUFFER: usize = 2048;
/// Of letters and digits, so that a random code is one that could exist.
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const CODE: usize = 7;

/// One way to do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    SlowHeaders,
    SlowBody,
    SlowRead,
    Idle,
    Silent,
    TlsSilent,
    TlsHalfHello,
    TlsHandshakes,
    RandomCodes,
    RandomCodesOfMany,
    FullHeaders,
    Pipelined,
    H2RapidReset,
    H2Settings,
    H2Ping,
    H2Continuation,
}

/// What a connection does after what it said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Takes in what comes, and says no more.
    Holds,
    /// These bytes, again and again.
    Drips(&'static [u8], Duration),
    /// The same again, whenever something was answered.
    Repeats,
    /// Reads some bytes, again and again, of what is more than its buffer holds.
    Sips(Duration),
}

/// A way of attack over a plain socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    kind: Kind,
    pub(crate) then: Then,
    /// After so many requests another connection goes on.
    pub(crate) leaves_after: Option<u32>,
    pub(crate) receive_buffer: Option<usize>,
    /// Requests in what is said at once.
    pub(crate) requests: u64,
}

impl Kind {
    /// Whether it is aimed at the listener of TLS.
    pub(crate) const fn is_tls(self) -> bool {
        matches!(self, Self::TlsSilent | Self::TlsHalfHello) || self.script().is_none()
    }

    /// What it says over a plain socket; `None`: it needs a handshake of TLS.
    pub(crate) const fn script(self) -> Option<Script> {
        let every = Duration::from_secs(1);
        let (then, requests) = match self {
            Self::SlowHeaders => (Then::Drips(b"X-Drip: 1\r\n", every), 0),
            Self::SlowBody => (Then::Drips(b"a", every), 1),
            Self::SlowRead => (Then::Sips(every), PIPELINED as u64),
            Self::Idle => (Then::Holds, 1),
            Self::Silent | Self::TlsSilent | Self::TlsHalfHello => (Then::Holds, 0),
            Self::RandomCodes | Self::RandomCodesOfMany | Self::FullHeaders => (Then::Repeats, 1),
            Self::Pipelined => (Then::Repeats, PIPELINED as u64),
            Self::TlsHandshakes
            | Self::H2RapidReset
            | Self::H2Settings
            | Self::H2Ping
            | Self::H2Continuation => return None,
        };
        let leaves_after = match self {
            Self::RandomCodesOfMany => Some(MISSES_OF_A_BLOCK),
            _ => None,
        };
        let receive_buffer = match self {
            Self::SlowRead => Some(SMALL_BUFFER),
            _ => None,
        };
        Some(Script { kind: self, then, leaves_after, receive_buffer, requests })
    }
}

impl Script {
    /// What is said at once, to `host`, of a link that exists.
    pub(crate) fn say(&self, host: &str, code: &str, rng: &mut Rng) -> Vec<u8> {
        let get = |code: &str| format!("GET /{code} HTTP/1.1\r\nHost: {host}\r\n");
        match self.kind {
            Kind::SlowHeaders => get(code).into_bytes(),
            Kind::SlowBody => format!(
                "POST /{code} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\r\na"
            )
            .into_bytes(),
            Kind::Idle => format!("{}\r\n", get(code)).into_bytes(),
            Kind::Pipelined | Kind::SlowRead => {
                format!("{}\r\n", get(code)).repeat(PIPELINED).into_bytes()
            }
            Kind::RandomCodes | Kind::RandomCodesOfMany => {
                format!("{}\r\n", get(&random_code(rng))).into_bytes()
            }
            Kind::FullHeaders => full_headers(&get(code)).into_bytes(),
            Kind::TlsHalfHello => half_hello(rng),
            _ => Vec::new(),
        }
    }
}

fn random_code(rng: &mut Rng) -> String {
    (0..CODE).map(|_| char::from(ALPHABET[rng.below(ALPHABET.len())])).collect()
}

/// As many headers as are taken, together as long as is taken.
fn full_headers(start: &str) -> String {
    // `Host` is one; each line has a name, a colon, a blank and an end.
    let (count, frame) = (HEADERS - 1, "X-00: \r\n".len());
    let room = HEAD_BYTES - start.len() - "\r\n".len() - 1;
    let value = "v".repeat(room / count - frame);
    let lines: String = (0..count).map(|n| format!("X-{n:02}: {value}\r\n")).collect();
    format!("{start}{lines}\r\n")
}

/// The head of a record that promises 512 bytes of a `ClientHello` (RFC 8446, 4.1.2), and 100 of them.
fn half_hello(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    bytes.extend((0..12).flat_map(|_| rng.next_u64().to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_its_name_says() {
        let mut rng = Rng::new(1);
        let mut say = |kind: Kind| {
            let said = kind.script().unwrap().say("127.0.0.1:18080", "abcdefg", &mut rng);
            String::from_utf8_lossy(&said).into_owned()
        };
        let full = say(Kind::FullHeaders);
        assert!((HEAD_BYTES - 200..HEAD_BYTES).contains(&full.len()), "{}", full.len());
        // The request line and the blank one.
        assert_eq!(full.matches("\r\n").count(), HEADERS + 2);
        assert!(!say(Kind::SlowHeaders).contains("\r\n\r\n"));
        assert_eq!(say(Kind::Pipelined).matches("\r\n\r\n").count(), PIPELINED);
        assert_ne!(say(Kind::RandomCodes), say(Kind::RandomCodes));
        assert!(say(Kind::Silent).is_empty());
        assert!(half_hello(&mut rng).len() < 512);
    }
}
