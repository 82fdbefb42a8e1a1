//! Requests that two servers could read in two ways: each is one request with one answer and at most
//! one click, or none of what follows it is answered (RFC 9112 11.2).

use std::time::Duration;

use crate::client::{Client, Next, PATIENCE};
use crate::world::{World, metric};

/// What may hide in another request.
const HIDDEN: &str = "GET /abc HTTP/1.1\r\nHost: go.example.com\r\n\r\n";

/// Sends all of it, and reads the status of each answer until there is no more: silence is waited for
/// only where no more than so many answers are expected and the connection is to stay.
fn answers(client: &mut Client, bytes: &[u8], expected: usize, end: &Next) -> (Vec<u16>, Next) {
    client.send(bytes);
    let mut statuses = Vec::new();
    loop {
        let is_all = statuses.len() == expected && *end == Next::Silence;
        let wait = if is_all { Duration::from_millis(150) } else { PATIENCE };
        match client.next_byte(wait) {
            Next::Byte => statuses.push(client.reply().status),
            end => return (statuses, end),
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn one_request_has_one_answer() {
    let world = World::with_link();
    let edge = world.start();
    let host = "Host: go.example.com\r\n";
    let (open, closed) = (Next::Silence, Next::End);
    for (request, statuses, end) in [
        // Read in one way by everybody.
        (format!("GET /abc HTTP/1.1\r\n{host}\r\n"), &[302, 302][..], &open),
        (format!("\r\nGET /abc HTTP/1.1\r\n{host}\r\n"), &[302, 302], &open),
        (format!("GET /abc HTTP/1.1\n{}\n", host.replace('\r', "")), &[302, 302], &open),
        ("GET /abc HTTP/1.1\r\nHost:\tgo.example.com \t\r\n\r\n".to_owned(), &[302, 302], &open),
        (format!("GET https://go.example.com/abc HTTP/1.1\r\n{host}\r\n"), &[302, 302], &open),
        (format!("GET /abc HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n"), &[302, 302], &open),
        (
            format!("GET /abc HTTP/1.1\r\n{host}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
            &[302, 302],
            &open,
        ),
        // What asks for another protocol stays with this one.
        (
            format!(
                "GET /abc HTTP/1.1\r\n{host}Connection: Upgrade, HTTP2-Settings\r\n\
                 Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            ),
            &[302, 302],
            &open,
        ),
        (
            format!("GET /abc HTTP/1.1\r\n{host}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
            &[302, 302],
            &open,
        ),
        (format!("OPTIONS * HTTP/1.1\r\n{host}\r\n"), &[405, 302], &open),
        (format!("TRACE /abc HTTP/1.1\r\n{host}\r\n"), &[405, 302], &open),
        // Its own last request.
        (format!("GET /abc HTTP/1.1\r\n{host}Connection: close\r\n\r\n"), &[302], &closed),
        (format!("GET /abc HTTP/1.0\r\n{host}\r\n"), &[302], &closed),
        // A body, whatever says how long it is, hides nothing.
        (
            format!("GET /abc HTTP/1.1\r\n{host}Content-Length: {}\r\n\r\n", HIDDEN.len()),
            &[400],
            &closed,
        ),
        (
            format!(
                "GET /abc HTTP/1.1\r\n{host}Content-Length: {0}\r\nContent-Length: {0}\r\n\r\n",
                HIDDEN.len()
            ),
            &[400],
            &closed,
        ),
        (
            format!("GET /abc HTTP/1.1\r\n{host}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"),
            &[400],
            &closed,
        ),
        (
            format!(
                "POST /abc HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\
                 Content-Length: 4\r\n\r\n0\r\n\r\n"
            ),
            &[400],
            &closed,
        ),
        (
            format!(
                "GET /abc HTTP/1.1\r\n{host}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"
            ),
            &[400],
            &closed,
        ),
        (
            format!("GET /abc HTTP/1.1\r\n{host}Transfer-Encoding: chunked, identity\r\n\r\n"),
            &[400],
            &closed,
        ),
        (
            format!(
                "GET /abc HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\
                 Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"
            ),
            &[400],
            &closed,
        ),
        (
            format!("GET /abc HTTP/1.1\r\n{host}Transfer-Encoding: \x0bchunked\r\n\r\n"),
            &[400],
            &closed,
        ),
        (
            format!("GET /abc HTTP/1.1\r\n{host}Transfer-Encoding : chunked\r\n\r\n"),
            &[400],
            &closed,
        ),
        // Lengths that are none.
        (format!("GET /abc HTTP/1.1\r\n{host}Content-Length: 2, 2\r\n\r\n"), &[400], &closed),
        (format!("GET /abc HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n"), &[400], &closed),
        (format!("GET /abc HTTP/1.1\r\n{host}Content-Length: 0x0\r\n\r\n"), &[400], &closed),
        (format!("GET /abc HTTP/1.1\r\n{host}Content-Length: \r\n\r\n"), &[400], &closed),
        (
            format!("GET /abc HTTP/1.1\r\n{host}Content-Length: 0\r\nContent-Length: 1\r\n\r\n"),
            &[400],
            &closed,
        ),
        // What is no request line or no header.
        ("GET /abc\r\n\r\n".to_owned(), &[400], &closed),
        (format!("GET /abc HTTP/3.0\r\n{host}\r\n"), &[400], &closed),
        (format!("GET /abc HTTP/1.1 HTTP/1.1\r\n{host}\r\n"), &[400], &closed),
        (format!("GET\t/abc\tHTTP/1.1\r\n{host}\r\n"), &[400], &closed),
        (format!("GET /abc HTTP/1.1\r\n{host}A\tB: c\r\n\r\n"), &[400], &closed),
        (format!("GET /abc HTTP/1.1\r\n Host: go.example.com\r\n{host}\r\n"), &[400], &closed),
        (format!("CONNECT go.example.com:443 HTTP/1.1\r\n{host}\r\n"), &[400], &closed),
    ] {
        let before = metric(&edge, "carom_edge_clicks_recorded_total");
        let mut client = Client::connect(edge.address());
        let bytes = format!("{request}{HIDDEN}");
        let (seen, how) = answers(&mut client, bytes.as_bytes(), statuses.len(), end);
        assert_eq!((&seen[..], &how), (statuses, end), "{request:?}");
        let clicks = metric(&edge, "carom_edge_clicks_recorded_total") - before;
        let redirects = seen.iter().filter(|status| **status == 302).count() as u64;
        assert_eq!(clicks, redirects, "{request:?}");
    }
}

/// What a visitor writes into the query is the target's business, and never a header.
#[test]
fn nothing_in_a_target_becomes_a_header() {
    let world = World::with_link();
    let edge = world.start();
    for query in ["%0d%0aSet-Cookie:%20a=b", "%0aX: y", "\u{85}", "%u000d%u000aA:b", "a\u{7f}b"] {
        let mut client = Client::connect(edge.address());
        client.ask(&[&format!("GET /abc?{query} HTTP/1.1"), "Host: go.example.com"]);
        let reply = client.reply();
        assert!(matches!(reply.status, 302 | 400), "{query}: {}", reply.status);
        assert_eq!((reply.header("set-cookie"), reply.header("x")), (None, None), "{query}");
        assert_eq!(reply.header("location").is_some(), reply.status == 302, "{query}");
    }
}
