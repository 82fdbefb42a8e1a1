//! The requests: what has been read in two ways by servers and proxies (RFC 9112 3, 5, 6 and 11.2), and
//! what Carom itself answers to each and to what follows it.

use serde::Serialize;

/// The host of the links: that of the shipped configurations.
pub(super) const HOST: &str = "go.example.com";

/// How a request and what follows it may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reads {
    /// As two requests by everybody. A proxy may still refuse the first and end the connection.
    Two,
    /// What follows may be part of the first: nobody may answer it.
    One,
}

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) reads: Reads,
    /// Of Carom itself.
    pub(super) statuses: &'static [u16],
    /// One byte for each character. `{one}` is the link's code, `{host}` a whole line, `{length}` the
    /// length of what follows.
    request: String,
}

impl Case {
    /// The request for one link, and after it that for another.
    pub(super) fn bytes(&self, one: &str, two: &str) -> Vec<u8> {
        let hidden = format!("GET /{two} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        let request = self.request.replace("{one}", one);
        let request = request.replace("{host}", &format!("Host: {HOST}\r\n"));
        let request = request.replace("{length}", &hidden.len().to_string());
        let bytes = request.chars().map(|c| u8::try_from(c).unwrap_or(b'?'));
        bytes.chain(hidden.bytes()).collect()
    }
}

/// What a table says: a name, the statuses of Carom, and the request.
type Row = (&'static str, &'static [u16], &'static str);

/// Read in one way by everybody.
const WHOLE: &[Row] = &[
    ("plain", &[302, 302], "GET /{one} HTTP/1.1\r\n{host}\r\n"),
    ("a blank line before it", &[302, 302], "\r\nGET /{one} HTTP/1.1\r\n{host}\r\n"),
    ("lines that end with LF", &[302, 302], "GET /{one} HTTP/1.1\nHost: go.example.com\n\n"),
    (
        "blanks around the host",
        &[302, 302],
        "GET /{one} HTTP/1.1\r\nHost:\tgo.example.com \t\r\n\r\n",
    ),
    ("absolute form", &[302, 302], "GET http://go.example.com/{one} HTTP/1.1\r\n{host}\r\n"),
    ("Content-Length: 0", &[302, 302], "GET /{one} HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n"),
    (
        "Content-Length: 0, twice",
        &[302, 302],
        "GET /{one} HTTP/1.1\r\n{host}Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "an upgrade to h2c",
        &[302, 302],
        "GET /{one} HTTP/1.1\r\n{host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ),
    (
        "an upgrade to websocket",
        &[302, 302],
        "GET /{one} HTTP/1.1\r\n{host}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
    ("OPTIONS *", &[405, 302], "OPTIONS * HTTP/1.1\r\n{host}\r\n"),
    ("TRACE", &[405, 302], "TRACE /{one} HTTP/1.1\r\n{host}\r\n"),
    (
        "headers of hop and host",
        &[302, 302],
        "GET /{one} HTTP/1.1\r\n{host}Connection: Host\r\nX-Forwarded-Host: other.example\r\n\r\n",
    ),
];

/// What follows is part of it, or nobody can say whether it is, or it comes after the end.
const DOUBTFUL: &[Row] = &[
    ("Connection: close", &[302], "GET /{one} HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
    ("HTTP/1.0", &[302], "GET /{one} HTTP/1.0\r\n{host}\r\n"),
    // RFC 1945 4.1: an answer without a head, which ends with the connection. Another answer would be part
    // of it.
    ("HTTP/0.9", &[400], "GET /{one}\r\n\r\n"),
    ("a body", &[400], "GET /{one} HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n"),
    (
        "a body, its length twice",
        &[400],
        "GET /{one} HTTP/1.1\r\n{host}Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n",
    ),
    (
        "a body that waits",
        &[400],
        "GET /{one} HTTP/1.1\r\n{host}Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n",
    ),
    (
        "chunks and a length",
        &[400],
        "POST /{one} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    (
        "a length and chunks",
        &[400],
        "GET /{one} HTTP/1.1\r\n{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "identity, chunked",
        &[400],
        "GET /{one} HTTP/1.1\r\n{host}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked, identity",
        &[400],
        "GET /{one} HTTP/1.1\r\n{host}Transfer-Encoding: chunked, identity\r\n\r\n",
    ),
    (
        "chunked and identity, two lines",
        &[400],
        "GET /{one} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\
         Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    ("xchunked", &[400], "GET /{one} HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n"),
    (
        "a vertical tab before chunked",
        &[400],
        "GET /{one} HTTP/1.1\r\n{host}Transfer-Encoding: \u{b}chunked\r\n\r\n",
    ),
    (
        "a blank before the colon",
        &[400],
        "GET /{one} HTTP/1.1\r\n{host}Transfer-Encoding : chunked\r\n\r\n",
    ),
    (
        "chunks in HTTP/1.0",
        &[400],
        "GET /{one} HTTP/1.0\r\n{host}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n",
    ),
    ("Content-Length: 2, 2", &[400], "GET /{one} HTTP/1.1\r\n{host}Content-Length: 2, 2\r\n\r\n"),
    ("Content-Length: +2", &[400], "GET /{one} HTTP/1.1\r\n{host}Content-Length: +2\r\n\r\n"),
    ("Content-Length: -1", &[400], "GET /{one} HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n"),
    ("Content-Length: 0x0", &[400], "GET /{one} HTTP/1.1\r\n{host}Content-Length: 0x0\r\n\r\n"),
    (
        "Content-Length without a number",
        &[400],
        "GET /{one} HTTP/1.1\r\n{host}Content-Length: \r\n\r\n",
    ),
    (
        "two lengths that differ",
        &[400],
        "GET /{one} HTTP/1.1\r\n{host}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n",
    ),
];

/// Wrong, but there is no doubt where they end: Carom refuses them and ends the connection. A proxy may
/// mend them, or refuse them and go on with what follows.
///
/// What makes that harmless: none has a length or a coding, so its body is empty (RFC 9112 6.3), and
/// each way to read what is wrong with it, strict or lenient, ends its head at the same blank line.
/// Where a reading exists by which what follows is not a request, a case stands in [`DOUBTFUL`].
const WRONG: &[Row] = &[
    // RFC 9110 2.5: another major version has another syntax. But these are lines of this one, and a proxy
    // writes its own version into what it passes on (RFC 9112 2.3): HAProxy takes it for HTTP/1.1.
    ("HTTP/3.0", &[400], "GET /{one} HTTP/3.0\r\n{host}\r\n"),
    // RFC 9110 9.3.6: only an answer of 2xx makes a tunnel, and nobody here gives one. A client that does not
    // wait for it may pass on what others wrote; against that Carom ends the connection, HAProxy does not.
    ("CONNECT", &[400], "CONNECT go.example.com:443 HTTP/1.1\r\n{host}\r\n"),
    // RFC 9112 3: the line has three parts. Lenient readers take the first blank and the last.
    ("two versions", &[400], "GET /{one} HTTP/1.1 HTTP/1.1\r\n{host}\r\n"),
    ("a blank in the path", &[400], "GET /{one} x HTTP/1.1\r\n{host}\r\n"),
    // RFC 9112 3: a recipient may split at a tab as at a blank. The line ends where it ends.
    ("tabs between the parts", &[400], "GET\t/{one}\tHTTP/1.1\r\n{host}\r\n"),
    // RFC 9110 5.1, 5.6.2: no token. Dropped, kept or refused, it is one line, and no field of framing.
    ("a tab in a name", &[400], "GET /{one} HTTP/1.1\r\n{host}A\tB: c\r\n\r\n"),
    // RFC 9112 5.2: refused, or its fold becomes a blank. Either way the field's own line is not blank.
    ("a folded line", &[400], "GET /{one} HTTP/1.1\r\n{host}A: b\r\n c\r\n\r\n"),
    // RFC 9112 2.2: refused, or the line that begins with a blank is not looked at; the host is in another.
    (
        "a first line that is folded",
        &[400],
        "GET /{one} HTTP/1.1\r\n Host: go.example.com\r\n{host}\r\n",
    ),
    // RFC 9112 2.2: refused, or read as a blank. Who takes it for the end of a line finds one without a
    // colon, not a blank one.
    ("CR alone in a value", &[400], "GET /{one} HTTP/1.1\r\n{host}A: b\rc\r\n\r\n"),
    // RFC 9110 5.5: refused, or read as a blank. Who ends the value there still looks for the line's end.
    ("NUL in a value", &[400], "GET /{one} HTTP/1.1\r\n{host}A: b\u{0}c\r\n\r\n"),
    // Who expects such a line takes it away and reads the request after it; for all others that request's
    // first line is a field without a colon. Both end at the same blank line.
    (
        "a PROXY line of a stranger",
        &[400],
        "PROXY TCP4 198.51.100.1 192.0.2.1 4711 80\r\nGET /{one} HTTP/1.1\r\n{host}\r\n",
    ),
    // RFC 9112 3.2: to be refused with 400. Hosts say whom it is for, not how long it is.
    ("no host", &[400], "GET /{one} HTTP/1.1\r\n\r\n"),
    ("two hosts", &[400], "GET /{one} HTTP/1.1\r\n{host}{host}\r\n"),
    ("two hosts that differ", &[400], "GET /{one} HTTP/1.1\r\n{host}Host: other.example\r\n\r\n"),
    // RFC 3986 2: no path, but bytes that are neither blanks nor ends of lines to anybody.
    ("a path in UTF-8", &[404, 302], "GET /\u{c3}\u{a9} HTTP/1.1\r\n{host}\r\n"),
    ("a path of other bytes", &[400], "GET /\u{ff} HTTP/1.1\r\n{host}\r\n"),
];

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let tables = [(WHOLE, Reads::Two), (WRONG, Reads::Two), (DOUBTFUL, Reads::One)];
    let mut cases: Vec<_> = tables
        .into_iter()
        .flat_map(|(rows, reads)| rows.iter().map(move |row| (row, reads)))
        .map(|(&(name, statuses, request), reads)| Case {
            name,
            reads,
            statuses,
            request: request.to_owned(),
        })
        .collect();
    // Too much of a head, in lines and in bytes (RFC 6585 5). Who reads all of it finds its blank line,
    // who does not must end the connection.
    for (name, lines) in [("65 headers", "A: b\r\n".repeat(65)), ("a header of 17 KiB", long())] {
        let request = format!("GET /{{one}} HTTP/1.1\r\n{{host}}{lines}\r\n");
        cases.push(Case { name, reads: Reads::Two, statuses: &[431], request });
    }
    cases
}

fn long() -> String {
    format!("A: {}\r\n", "b".repeat(17 << 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_its_request_and_what_follows() {
        let cases = cases();
        assert!(cases.len() > 34);
        let case = cases.iter().find(|case| case.name == "a body").expect("the case");
        let bytes = String::from_utf8(case.bytes("a", "bb")).expect("ASCII");
        let hidden = "GET /bb HTTP/1.1\r\nHost: go.example.com\r\nConnection: close\r\n\r\n";
        let head = "GET /a HTTP/1.1\r\nHost: go.example.com\r\n";
        assert_eq!(bytes, format!("{head}Content-Length: {}\r\n\r\n{hidden}", hidden.len()));
        for case in &cases {
            assert!(!case.bytes("a", "b").contains(&b'{'), "{}", case.name);
        }
        let case = cases.iter().find(|case| case.name == "a path of other bytes");
        assert!(case.expect("the case").bytes("a", "b").starts_with(b"GET /\xff HTTP/1.1"));
    }
}
