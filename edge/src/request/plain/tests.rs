use http::{Request, Uri};
use proptest::prelude::*;

use super::*;
use crate::proxy;
use crate::request::{Form, Visitor};

const REQUEST: &str = "GET /abc?x=1 HTTP/1.1\r\nHost: go.example.com\r\nUser-Agent: a\r\n\
                       Accept: application/json\r\nDNT: 1\r\n\r\n";

fn whole(bytes: &[u8]) -> Option<(Head<'_>, usize)> {
    match read(bytes) {
        Read::Whole(Plain { head, len, .. }) => Some((head, len)),
        Read::Part | Read::Odd => None,
    }
}

#[test]
fn a_plain_request_is_read_up_to_its_end() {
    let bytes = format!("{REQUEST}GET /next");
    let (head, len) = whole(bytes.as_bytes()).unwrap();
    assert_eq!(len, REQUEST.len());
    assert_eq!((head.verb, head.path, head.query), (Verb::Get, "/abc", Some("x=1")));
    assert_eq!((head.host, head.has_body), (Some(&b"go.example.com"[..]), false));
    assert_eq!(Form::wanted(&head), Form::Json);
    let visitor = Visitor::read(&head);
    assert_eq!((visitor.user_agent, visitor.do_not_track), (&b"a"[..], true));
    assert!(matches!(read(&bytes.as_bytes()[len..]), Read::Part));
}

#[test]
fn a_client_may_wish_the_connections_end() {
    for (field, closes) in [
        ("", false),
        ("Connection: keep-alive\r\n", false),
        ("connection: close\r\n", true),
        ("Connection: CLOSE \r\n", true),
        ("X: close\r\n", false),
    ] {
        let bytes = format!("GET /abc HTTP/1.1\r\nHost: a\r\n{field}\r\n");
        let Read::Whole(plain) = read(bytes.as_bytes()) else { panic!("{field:?} is odd") };
        assert_eq!(plain.closes, closes, "{field:?}");
    }
}

#[test]
fn every_beginning_of_a_plain_request_is_a_part() {
    for end in 1..REQUEST.len() {
        let part = &REQUEST.as_bytes()[..end];
        assert!(matches!(read(part), Read::Part), "{end}");
        assert!(!may_end(part, 0), "{end}");
    }
    for from in 0..REQUEST.len() {
        assert!(may_end(REQUEST.as_bytes(), from), "{from}");
    }
    assert!(may_end(b"GET / HTTP/1.1\nHost: a\n\n", 23));
}

#[test]
fn what_is_not_plain_is_odd() {
    let host = "Host: go.example.com\r\n";
    for request in [
        format!("POST /abc HTTP/1.1\r\n{host}\r\n"),
        format!("GETS /abc HTTP/1.1\r\n{host}\r\n"),
        format!("HEA /abc HTTP/1.1\r\n{host}\r\n"),
        format!("get /abc HTTP/1.1\r\n{host}\r\n"),
        format!("GET /abc HTTP/1.0\r\n{host}\r\n"),
        format!("\r\nGET /abc HTTP/1.1\r\n{host}\r\n"),
        format!("GET http://go.example.com/abc HTTP/1.1\r\n{host}\r\n"),
        format!("GET * HTTP/1.1\r\n{host}\r\n"),
        format!("GET /abc#x HTTP/1.1\r\n{host}\r\n"),
        format!("GET /ab\u{e7} HTTP/1.1\r\n{host}\r\n"),
        "GET /abc HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /abc HTTP/1.1\r\n{host}{host}\r\n"),
        format!("GET /abc HTTP/1.1\r\n{host} b\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{host}cOnTeNt-lEnGtH: 4\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{host}Expect: 100-continue\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{host}Upgrade: h2c\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{host}Connection: close, x\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{host}Connection: close\r\nConnection: close\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{host}Connection: keep-alive, x\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{host}Connection: \r\n\r\n"),
        format!(
            "GET /abc HTTP/1.1\r\n{}\r\n",
            format!("{host}Connection: keep-alive\r\n") + "Connection: keep-alive\r\n"
        ),
        format!("GET /abc HTTP/1.1\r\n{host}X-Forwarded-For: a\r\nX-Forwarded-For: b\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{host}{}\r\n", "A: b\r\n".repeat(HEADERS_MAX)),
        format!("GET /abc HTTP/1.1\r\n{host}A: {}\r\n\r\n", "b".repeat(HEAD_BYTES_MAX)),
        format!("GET /abc HTTP/1.1\r\n{host}A: {}", "b".repeat(HEAD_BYTES_MAX)),
    ] {
        assert!(matches!(read(request.as_bytes()), Read::Odd), "{request:?}");
    }
    let most = format!("GET /abc HTTP/1.1\r\n{host}{}\r\n", "A: b\r\n".repeat(HEADERS_MAX - 1));
    assert!(whole(most.as_bytes()).is_some());
}

/// Bytes of a target that are plain mean to hyper's parser of targets what they mean here.
#[test]
fn plain_targets_are_targets() {
    for byte in 0..=u8::MAX {
        for target in [vec![b'/', b'a', byte], vec![b'/', b'a', b'?', byte], vec![b'/', byte, b'?']]
        {
            let bytes = [b"GET ", &*target, b" HTTP/1.1\r\nHost: go.example.com\r\n\r\n"].concat();
            if let Some((head, _)) = whole(&bytes) {
                let uri = Uri::try_from(&*target).unwrap();
                assert_eq!((head.path, head.query), (uri.path(), uri.query()), "{target:?}");
                assert!(uri.authority().is_none());
            } else {
                assert!(!byte.is_ascii_alphanumeric(), "{byte}");
            }
        }
    }
}

fn field() -> impl Strategy<Value = (&'static str, String)> {
    const NAMES: &[&str] = &[
        "Accept", "accept-language", "Referer", "USER-AGENT", "Sec-Purpose", "purpose", "X-Moz",
        "DNT", "Sec-GPC", "X-Forwarded-For", "Cookie", "Sec-Fetch-Site", "Accept-Encoding",
    ];
    let values = prop_oneof![
        Just("1".to_owned()),
        Just("prefetch".to_owned()),
        Just("application/json".to_owned()),
        Just("198.51.100.1, 10.0.0.1".to_owned()),
        "[ -~]{0,12}",
    ];
    (proptest::sample::select(NAMES), values)
}

proptest! {
    /// A head says the same, whether it was read here or by hyper.
    #[test]
    fn a_head_reads_the_same_on_both_ways(fields in prop::collection::vec(field(), 0..8)) {
        let mut bytes = b"GET /abc?via=qr HTTP/1.1\r\nHost: go.example.com\r\n".to_vec();
        let mut request = Request::get("/abc?via=qr").header("host", "go.example.com");
        for (name, value) in &fields {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
            request = request.header(*name, value.trim_matches([' ', '\t']));
        }
        bytes.extend(b"\r\n");
        let request = request.body(()).unwrap();
        let theirs = Head::of(&request, false);
        let is_odd = fields.iter().filter(|(name, _)| *name == "X-Forwarded-For").count() > 1;
        let ours = whole(&bytes);
        prop_assert_eq!(ours.is_none(), is_odd);
        if let Some((ours, len)) = ours {
            prop_assert_eq!(len, bytes.len());
            prop_assert_eq!((ours.verb, ours.host, ours.path), (theirs.verb, theirs.host, theirs.path));
            prop_assert_eq!(ours.query, theirs.query);
            prop_assert_eq!(Visitor::read(&ours), Visitor::read(&theirs));
            prop_assert_eq!(Form::wanted(&ours), Form::wanted(&theirs));
            let trusted = [carom_shared::AddressBlock::parse("10.0.0.0/8").unwrap()];
            let client = |head: &Head<'_>| {
                proxy::client(&trusted, "10.0.0.9".parse().unwrap(), head.fields.forwarded_for)
            };
            prop_assert_eq!(client(&ours), client(&theirs));
        }
    }

    /// Nothing that comes is a reason to panic, and what is read is what hyper's parser reads.
    #[test]
    fn anything_may_come(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        if let Read::Whole(Plain { len, .. }) = read(&bytes) {
            prop_assert!(len <= bytes.len());
        }
    }
}
