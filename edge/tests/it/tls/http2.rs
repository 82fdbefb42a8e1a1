//! HTTP/2 in raw frames (RFC 9113): what is answered, and floods that end with their connection.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use super::{Certificate, Secure, secure};
use crate::client::Client;
use crate::world::{Running, eventually, metric};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// `:status: 302` as the first answer of a connection has it (RFC 7541 C.6.1).
const FOUND: &[u8] = &[0x48, 0x82, 0x64, 0x02];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// GET of a path, in literals (RFC 7541 6.2.2).
fn fields(path: &str, authority: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [&[0x82, 0x87, 0x04][..], &text(path), &[0x01], &text(authority)].concat()
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields("/abc", "go.example.com"))
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Secure {
    fn http2(edge: &Running, certificate: &Certificate) -> Self {
        let mut client = Self::connect(edge, certificate, "go.example.com", &["h2"]).unwrap();
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// Sends until the edge takes no more.
    fn flood(&mut self, mut bytes: impl FnMut(u32) -> Vec<u8>, times: u32) {
        for n in 0..times {
            if self.stream.write_all(&bytes(n)).is_err() {
                return;
            }
        }
    }

    /// The next frame; `None`: the connection has ended.
    fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing comes"),
            Err(_) => return None,
        }
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The fields of a stream's answer.
    fn answer(&mut self, stream: u32) -> Vec<u8> {
        loop {
            let frame = self.frame().expect("the connection goes on");
            assert_ne!(frame.kind, GOAWAY, "{:?}", frame.payload);
            if (frame.kind, frame.stream) == (HEADERS, stream) {
                return frame.payload;
            }
        }
    }

    /// Reads until the edge ends the connection.
    fn is_ended(&mut self) -> bool {
        while self.frame().is_some() {}
        true
    }
}

#[test]
fn requests_are_answered_and_their_clicks_are_stored_once() {
    let certificate = Certificate::of(&["go.example.com"]);
    let (world, _dir) = secure(&certificate);
    let edge = world.start();
    let mut client = Secure::http2(&edge, &certificate);
    client.send(&get(1));
    assert!(client.answer(1).starts_with(FOUND));
    // Side by side: which comes first is open.
    client.send(&[get(3), get(5)].concat());
    let mut answered = Vec::new();
    while answered.len() < 2 {
        let frame = client.frame().expect("the connection goes on");
        answered.extend((frame.kind == HEADERS).then_some(frame.stream));
    }
    answered.sort_unstable();
    assert_eq!(answered, [3, 5]);
    world.store.wait_for(3);
    // A body, another host than that of the certificate, no host at all: no redirect, no click.
    let mut client = Secure::http2(&edge, &certificate);
    for (stream, block) in
        [(1, fields("/abc", "localhost")), (3, vec![0x82, 0x87, 0x04, 4, b'/', b'a', b'b', b'c'])]
    {
        client.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &block));
        assert!(!client.answer(stream).starts_with(FOUND));
    }
    let mut client = Secure::http2(&edge, &certificate);
    client.send(&frame(HEADERS, END_HEADERS, 1, &fields("/abc", "go.example.com")));
    client.send(&frame(DATA, END_STREAM, 1, b"body"));
    assert!(!client.answer(1).starts_with(FOUND));
    assert_eq!(edge.stop().clicks_recorded, 3);
}

#[test]
fn who_asks_for_much_at_once_waits_for_turns() {
    let certificate = Certificate::of(&["go.example.com"]);
    let (mut world, _dir) = secure(&certificate);
    world.config.threads = 1;
    let edge = world.start();
    let turns = || metric(&edge, "carom_edge_turns_total");
    let mut client = Secure::http2(&edge, &certificate);
    client.send(&get(1));
    assert!(client.answer(1).starts_with(FOUND));
    let before = turns();
    // As many as may be under way.
    client.send(&(1..=100).flat_map(|n| get(2 * n + 1)).collect::<Vec<_>>());
    let mut answered = 0;
    while answered < 100 {
        let frame = client.frame().expect("the connection goes on");
        answered += u32::from(frame.kind == HEADERS);
    }
    // Eight at a time, and a few more where a piece that was read ends amid them.
    assert!(turns() - before >= 100 / 16, "{}", turns() - before);
}

#[test]
fn a_stop_answers_the_streams_under_way_and_says_goodbye() {
    let certificate = Certificate::of(&["go.example.com"]);
    let (world, _dir) = secure(&certificate);
    let edge = world.start();
    let mut client = Secure::http2(&edge, &certificate);
    world.links.set_delay(Duration::from_millis(400));
    client.send(&get(1));
    eventually("the origin is asked", || world.links.asked() == 1);
    let stopping = std::thread::spawn(move || edge.stop());
    let (mut is_answered, mut is_told) = (false, false);
    while let Some(frame) = client.frame() {
        is_answered |= frame.kind == HEADERS && frame.payload.starts_with(FOUND);
        is_told |= frame.kind == GOAWAY;
        if frame.kind == PING && frame.flags & ACK == 0 {
            client.send(&super::http2::frame(PING, ACK, 0, &frame.payload));
        }
    }
    assert!(is_answered && is_told);
    assert_eq!(stopping.join().unwrap().clicks_recorded, 1);
}

#[test]
fn floods_end_with_their_connection_and_harm_nobody_else() {
    let certificate = Certificate::of(&["go.example.com"]);
    let (mut world, _dir) = secure(&certificate);
    world.config.threads = 1;
    (world.config.header_timeout_ms, world.config.idle_timeout_ms) = (1500, 1500);
    let edge = world.start();
    let others_are_answered =
        || assert_eq!(Client::connect(edge.address()).get("/abc").status, 302);
    let all_are_let_go = || {
        eventually("all are let go", || metric(&edge, "carom_edge_connections_open") == 0);
    };
    others_are_answered();

    // Rapid reset (CVE-2023-44487).
    let mut client = Secure::http2(&edge, &certificate);
    let reset = |n| [get(2 * n + 1), frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])].concat();
    client.flood(reset, 20_000);
    others_are_answered();
    assert!(client.is_ended());

    // A head without an end (CVE-2024-27316).
    let mut client = Secure::http2(&edge, &certificate);
    client.send(&frame(HEADERS, END_STREAM, 1, &fields("/abc", "go.example.com")));
    let field = [&[0x00, 1, b'a', 100][..], &[b'b'; 100]].concat().repeat(100);
    client.flood(|_| frame(CONTINUATION, 0, 1, &field), 2000);
    others_are_answered();
    assert!(client.is_ended());

    // Settings, each of which asks for an answer that nobody reads (CVE-2019-9515).
    let mut client = Secure::http2(&edge, &certificate);
    client.stream.sock.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]).repeat(500);
    client.flood(|_| settings.clone(), 500);
    others_are_answered();
    all_are_let_go();

    // Pings, each of which asks for an answer, and someone reads them (CVE-2019-9512).
    let ended = || metric(&edge, "carom_edge_connections_ended_total{reason=\"frames\"}");
    let before = ended();
    let mut client = Secure::http2(&edge, &certificate);
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(50);
    client.flood(|_| pings.clone(), 2000);
    assert!(client.is_ended());
    eventually("it is counted", || ended() == before + 1);

    // Frames without an end and without a content (CVE-2019-9518).
    let mut client = Secure::http2(&edge, &certificate);
    client.send(&frame(HEADERS, END_HEADERS, 1, &fields("/abc", "go.example.com")));
    let empty = frame(DATA, 0, 1, &[]).repeat(100);
    client.flood(|_| empty.clone(), 500);
    others_are_answered();

    all_are_let_go();
}
