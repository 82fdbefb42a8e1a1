//! Requests that lead nowhere: which status, in which form, and with nothing of the request in it.

use crate::client::{Client, Reply};
use crate::world::{World, eventually, metric};

const HOST: &str = "Host: go.example.com";

fn ask(client: &mut Client, lines: &[&str]) -> Reply {
    client.ask(lines);
    if lines[0].starts_with("HEAD") { client.head_reply() } else { client.reply() }
}

/// What every error page says of itself.
fn assert_is_error_page(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{}", reply.head);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("x-robots-tag"), Some("noindex, nofollow"));
    assert_eq!(reply.header("location"), None);
}

#[test]
fn requests_that_are_refused_and_the_connection_goes_on() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for (lines, status) in [
        (&["GET / HTTP/1.1", HOST][..], 404),
        (&["GET /nothing HTTP/1.1", HOST], 404),
        (&["GET /abc/ HTTP/1.1", HOST], 404),
        (&["GET /ABC HTTP/1.1", HOST], 404),
        (&["GET /%61bc HTTP/1.1", HOST], 404),
        (&["GET //abc HTTP/1.1", HOST], 404),
        (&["GET /ab\u{e7} HTTP/1.1", HOST], 404),
        (&["HEAD /nothing HTTP/1.1", HOST], 404),
        (&["GET /abc HTTP/1.1", "Host: example.com"], 421),
        (&["GET /abc HTTP/1.1", "Host: x.go.example.com"], 421),
        (&["GET /abc HTTP/1.1", "Host: go.example.com@evil.test"], 421),
        (&["GET /abc HTTP/1.1", "Host:"], 421),
        (&["GET http://evil.test/abc HTTP/1.1", "Host: evil.test"], 421),
        // The code is another domain's.
        (&["GET /abc HTTP/1.1", "Host: localhost"], 404),
    ] {
        assert_is_error_page(&ask(&mut client, lines), status);
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"] {
        let reply = ask(&mut client, &[&format!("{method} /abc HTTP/1.1"), HOST]);
        assert_is_error_page(&reply, 405);
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    }
    assert_eq!(client.get("/abc").status, 302);
    assert_eq!(edge.stop().clicks_recorded, 1);
}

/// What follows on such a connection may be the rest of the request, so nothing there is answered.
#[test]
fn requests_after_which_the_connection_is_closed() {
    let world = World::with_link();
    let edge = world.start();
    let smuggled = "GET /abc HTTP/1.1\r\nHost: go.example.com\r\n\r\n";
    for (request, status) in [
        // RFC 9112, 3.2: no Host, two of them, one that the target contradicts.
        ("GET /abc HTTP/1.1\r\n\r\n", 400),
        ("GET /abc HTTP/1.0\r\n\r\n", 400),
        ("GET /abc HTTP/1.1\r\nHost: go.example.com\r\nHost: go.example.com\r\n\r\n", 400),
        ("GET http://go.example.com/abc HTTP/1.1\r\nHost: evil.test\r\n\r\n", 400),
        ("GET http://evil.test/abc HTTP/1.1\r\nHost: go.example.com\r\n\r\n", 400),
        // A body where none belongs.
        ("GET /abc HTTP/1.1\r\nHost: go.example.com\r\nContent-Length: 3\r\n\r\nabc", 400),
        ("HEAD /abc HTTP/1.1\r\nHost: go.example.com\r\nContent-Length: 3\r\n\r\nabc", 400),
        ("POST /abc HTTP/1.1\r\nHost: go.example.com\r\nContent-Length: 3\r\n\r\nabc", 400),
        (
            "GET /abc HTTP/1.1\r\nHost: go.example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        // Lengths that two servers could understand in two ways (RFC 9112, 6.3 and 11.2).
        (
            "GET /abc HTTP/1.1\r\nHost: go.example.com\r\nContent-Length: 5\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "GET /abc HTTP/1.1\r\nHost: go.example.com\r\nContent-Length: 0\r\n\
             Content-Length: 44\r\n\r\n",
            400,
        ),
        ("GET /abc HTTP/1.1\r\nHost: go.example.com\r\nContent-Length: +0\r\n\r\n", 400),
        ("GET /abc HTTP/1.1\r\nHost: go.example.com\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        ("GET /abc HTTP/1.0\r\nHost: go.example.com\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        // What is not HTTP.
        ("GET /abc HTTP/1.1\r\nHost : go.example.com\r\n\r\n", 400),
        ("GET /abc HTTP/1.1\r\nHost: go.example.com\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET /abc HTTP/1.1\r\nHost: go.example.com\r\nA: b\rC: d\r\n\r\n", 400),
        ("GET /abc HTTP/1.1\r\nHost: go.example.com\r\nA: b\0\r\n\r\n", 400),
        ("GET /a bc HTTP/1.1\r\nHost: go.example.com\r\n\r\n", 400),
    ] {
        let mut client = Client::connect(edge.address());
        client.send(format!("{request}{smuggled}"));
        let is_head = request.starts_with("HEAD");
        let reply = if is_head { client.head_reply() } else { client.reply() };
        assert_eq!(reply.status, status, "{request:?}");
        assert!(client.is_ended(), "{request:?}");
    }
    let mut http2 = Client::connect(edge.address());
    http2.send(format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{smuggled}"));
    assert!(http2.is_ended(), "there is no answer that HTTP/2 would understand");
    assert_eq!(edge.stop().clicks_recorded, 0);
}

#[test]
fn error_pages_are_html_or_for_programs_json() {
    let world = World::new();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for (accept, content_type, begin) in [
        ("Accept: */*", "text/html; charset=utf-8", "<!doctype html>"),
        ("Accept: text/html,application/json", "text/html; charset=utf-8", "<!doctype html>"),
        ("Accept: application/json", "application/problem+json", "{\"type\":\"about:blank\""),
    ] {
        let reply = ask(&mut client, &["GET /nothing HTTP/1.1", HOST, accept]);
        assert_is_error_page(&reply, 404);
        assert_eq!(reply.header("content-type"), Some(content_type));
        assert!(reply.body.starts_with(begin), "{}", reply.body);
    }
    assert!(client.get("/nothing").body.ends_with("</html>\n"));
}

#[test]
fn nothing_of_a_request_is_in_its_answer() {
    let world = World::with_link();
    let edge = world.start();
    for (line, host, status) in [
        ("GET /abc?canary HTTP/1.1", HOST, 302),
        ("GET /canary?canary HTTP/1.1", HOST, 404),
        ("GET /canary.html HTTP/1.1", HOST, 404),
        ("CANARY /canary HTTP/1.1", HOST, 405),
        ("GET /canary HTTP/1.1", "Host: canary.test", 421),
        ("GET http://canary.test/canary HTTP/1.1", HOST, 400),
    ] {
        for accept in ["Accept: text/html, canary", "Accept: application/json; canary"] {
            let mut client = Client::connect(edge.address());
            client.ask(&[
                line, host, accept, "User-Agent: canary", "Referer: https://canary.test/",
                "Cookie: canary=canary", "Origin: https://canary.test", "X-Request-Id: canary",
                "X-Forwarded-Host: canary.test", "Accept-Language: canary",
            ]);
            let reply = client.reply();
            assert_eq!(reply.status, status, "{line}");
            for part in [&reply.head, &reply.body] {
                assert!(!part.to_ascii_lowercase().contains("canary"), "{line}: {part}");
            }
            for name in ["server", "set-cookie", "vary", "access-control-allow-origin"] {
                assert_eq!(reply.header(name), None, "{line}");
            }
        }
    }
}

#[test]
fn answers_are_counted_by_status() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for path in ["/abc", "/abc", "/nothing"] {
        client.get(path);
    }
    client.ask(&["POST /abc HTTP/1.1", HOST]);
    assert_eq!(client.reply().status, 405);
    for (sample, count) in [
        ("carom_edge_answers_total{status=\"redirect\"}", 2),
        ("carom_edge_answers_total{status=\"404\"}", 1),
        ("carom_edge_answers_total{status=\"405\"}", 1),
        ("carom_edge_answers_total{status=\"400\"}", 0),
        ("carom_edge_resolved_total{by=\"memory\"}", 1),
        ("carom_edge_resolved_total{by=\"origin\"}", 2),
        ("carom_edge_clicks_recorded_total", 2),
        ("carom_edge_connections_open", 1),
    ] {
        assert_eq!(metric(&edge, sample), count, "{sample}");
    }
    drop(client);
    eventually("the connection is closed", || metric(&edge, "carom_edge_connections_open") == 0);
}
