//! Plain requests are answered without hyper, everything else by it: nobody can tell, wherever a
//! connection goes from one to the other.

use std::time::{Duration, Instant};

use carom_edge::Edge;
use carom_shared::{AddressBlock, Forward, QueryPolicy, RedirectStatus, RouteRecord, RouteState};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::client::{Client, Next, Reply};
use crate::world::{NOW, World, eventually, metric, route};

const HOST: &str = "Host: go.example.com";
/// [`NOW`], as an answer says it.
const STILL: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
/// Means nothing, and is hyper's to find out.
const ODD: &str = "Connection: keep-alive, x";

/// A world with a link of each sort.
fn full() -> World {
    let world = World::with_link();
    let target = "https://example.com/a?b=c#d";
    let plain = || route(8, target);
    for (code, record) in [
        ("moved", RouteRecord { status: RedirectStatus::MovedPermanently, ..plain() }),
        ("keeps", RouteRecord { status: RedirectStatus::TemporaryRedirect, ..plain() }),
        (
            "soon",
            RouteRecord {
                status: RedirectStatus::PermanentRedirect,
                expires_at: Some(NOW.saturating_add(Duration::from_secs(100))),
                ..plain()
            },
        ),
        (
            "query",
            RouteRecord {
                query: QueryPolicy { forward: Forward::All, visitor_wins: false },
                ..plain()
            },
        ),
        ("gone", RouteRecord { state: RouteState::Deleted, ..plain() }),
        ("blocked", RouteRecord { state: RouteState::Blocked, ..plain() }),
        ("over", RouteRecord { expires_at: Some(NOW), ..plain() }),
    ] {
        world.links.put(code, record);
    }
    world
}

/// An answer without the value of its date. That tells who answered: the edge's clock stands still in
/// tests, and hyper goes by the machine's.
fn shape(reply: &Reply, is_plain: bool) -> String {
    let date = reply.header("date").unwrap();
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    assert_eq!(date == STILL, is_plain, "{date}");
    format!("{}{}", reply.head.replace(date, "(date)"), reply.body)
}

fn clicks(edge: &Edge) -> u64 {
    metric(edge, "carom_edge_clicks_recorded_total")
}

#[test]
fn both_ways_give_the_same_bytes() {
    let world = full();
    let edge = world.start();
    for path in [
        "/abc", "/abc?x=1", "/abc?via=qr&utm_source=a", "/moved", "/keeps", "/soon",
        "/query?x=%20y", "/query?", "/gone", "/blocked", "/over", "/abc+", "/moved+?x", "/gone+",
        "/", "/nothing", "/a/b", "/robots.txt", "/favicon.ico", "/favicon.ico?v=1", "//abc",
        "/%61bc", "/abc;a='b'(c)*!",
    ] {
        for method in ["GET", "HEAD"] {
            for lines in [
                &[HOST][..],
                &[HOST, "Accept: application/json"],
                &["hOST: GO.example.com.:8080", "accept: text/html, application/json"],
                &["Host: evil.test"],
                &["Host:"],
                &["Host: localhost", "Purpose: prefetch", "DNT: 1"],
            ] {
                let line = format!("{method} {path} HTTP/1.1");
                let [plain, odd] = [("Connection: Keep-Alive", true), (ODD, false)].map(
                    |(connection, is_plain)| {
                        // Connections of their own: what hyper has it keeps.
                        let mut client = Client::connect(edge.address());
                        let mut request = vec![&*line, connection];
                        request.extend(lines);
                        // The first may have to be looked up, and the second answers from memory.
                        [0, 1].map(|_| {
                            client.ask(&request);
                            let is_head = method == "HEAD";
                            let reply = if is_head { client.head_reply() } else { client.reply() };
                            shape(&reply, is_plain)
                        })
                    },
                );
                assert_eq!(plain, odd, "{line} {lines:?}");
            }
        }
    }
}

/// By the edge's own clock, which here stands still.
#[test]
fn plain_answers_are_dated() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    assert_eq!(client.get("/abc").header("date"), Some(STILL));
    world.clock.advance(Duration::from_secs(86_400 + 61));
    assert_eq!(client.get("/abc").header("date"), Some("Fri, 02 Jan 2026 00:01:01 GMT"));
}

#[test]
fn sixteen_requests_in_a_packet_have_sixteen_answers_in_their_order() {
    let world = World::new();
    let edge = world.start();
    let mut packet = String::new();
    for link in 1..=16 {
        world.links.put(&format!("p{link}"), route(link, &format!("https://e.test/{link}")));
        packet += &format!("GET /p{link} HTTP/1.1\r\n{HOST}\r\n\r\n");
    }
    let mut client = Client::connect(edge.address());
    // Looked up, and then all of them from memory.
    for round in 1..=2 {
        client.send(&packet);
        for link in 1..=16 {
            let location = format!("https://e.test/{link}");
            assert_eq!(client.reply().header("location"), Some(&*location));
        }
        assert_eq!(clicks(&edge), 16 * round);
    }
    let links: Vec<_> = world.store.wait_for(32).iter().map(|row| row.link).collect();
    assert_eq!(links, (1..=16).chain(1..=16).collect::<Vec<_>>());
}

#[test]
fn more_answers_than_fit_a_buffer_come_in_their_order() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let pair =
        "GET /abc HTTP/1.1\nHost:go.example.com\n\nGET /no HTTP/1.1\nHost:go.example.com\n\n";
    client.send(pair.repeat(300));
    for _ in 0..300 {
        assert_eq!([client.reply().status, client.reply().status], [302, 404]);
    }
    assert_eq!(clicks(&edge), 300);
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for request in [
        "GET /abc HTTP/1.1\r\nHost: go.example.com\r\nConnection: keep-alive\r\n\r\n",
        "GET /abc HTTP/1.1\nHost: go.example.com\n\n",
        "GET /abc HTTP/1.1\r\nHost: go.example.com\r\nContent-Length: 0\r\n\r\n",
    ] {
        for byte in request.bytes() {
            client.send([byte]);
            std::thread::sleep(Duration::from_micros(300));
        }
        assert_eq!(client.reply().status, 302, "{request:?}");
    }
    assert_eq!(clicks(&edge), 3);
}

#[test]
fn a_connection_goes_on_with_hyper_wherever_it_becomes_odd() {
    let world = World::with_link();
    let edge = world.start();
    let plain = format!("GET /abc HTTP/1.1\r\n{HOST}\r\n\r\n");
    // A body ends a connection; what is in it is no request.
    let hidden = &plain;
    let post = format!("POST /abc HTTP/1.1\r\n{HOST}\r\nContent-Length: {}\r\n\r\n", hidden.len());
    let mut client = Client::connect(edge.address());
    client.send(format!("{plain}{plain}{post}{hidden}"));
    assert_eq!(
        [client.reply().status, client.reply().status, client.reply().status],
        [302, 302, 400]
    );
    assert!(client.is_ended());
    assert_eq!(clicks(&edge), 2);

    // There and on: the odd one, and plain ones after it.
    for odd in [
        format!("GET /abc HTTP/1.1\r\n{HOST}\r\n{ODD}\r\n\r\n"),
        format!("\r\nGET /abc HTTP/1.1\r\n{HOST}\r\n\r\n"),
        format!("GET http://go.example.com/abc HTTP/1.1\r\n{HOST}\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{HOST}\r\nContent-Length: 0\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{HOST}\r\nX: {}\r\n\r\n", "x".repeat(14 << 10)),
    ] {
        for at_once in [true, false] {
            let before = clicks(&edge);
            let mut client = Client::connect(edge.address());
            let parts = [&plain, &odd, &plain, &plain];
            if at_once {
                client.send(parts.map(|part| &**part).concat());
            }
            for part in parts {
                if !at_once {
                    client.send(part);
                }
                assert_eq!(client.reply().status, 302, "{odd:?}");
            }
            assert_eq!(client.next(Duration::from_millis(20)), Next::Silence);
            assert_eq!(clicks(&edge) - before, 4);
        }
    }
}

/// What hides a request from one parser and shows it to another: after plain requests, it is still one
/// request, with one answer, and the last.
#[test]
fn nothing_is_smuggled_from_one_way_to_the_other() {
    let world = World::with_link();
    let edge = world.start();
    let plain = format!("GET /abc HTTP/1.1\r\n{HOST}\r\n\r\n");
    for odd in [
        format!("GET /abc HTTP/1.1\r\n{HOST}\r\nContent-Length: {}\r\n\r\n", plain.len()),
        format!("GET /abc HTTP/1.1\r\n{HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{HOST}\r\nTransfer-Encoding : chunked\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{HOST}\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{HOST}\r\nA: b\r\n c\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{HOST}\r\n{HOST}\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{HOST}\r\nA: b\0\r\n\r\n"),
        format!("GET /abc HTTP/1.1\r\n{HOST}\r\nA: b\rC: d\r\n\r\n"),
    ] {
        let before = clicks(&edge);
        let mut client = Client::connect(edge.address());
        client.send(format!("{plain}{plain}{odd}{plain}"));
        let statuses = [(); 3].map(|()| client.reply().status);
        assert_eq!(statuses, [302, 302, 400], "{odd:?}");
        assert!(client.is_ended(), "{odd:?}");
        assert_eq!(clicks(&edge) - before, 2, "{odd:?}");
    }
}

#[test]
fn who_wishes_the_end_is_told_so_on_both_ways() {
    let world = World::with_link();
    let edge = world.start();
    for (path, status) in [("/abc", 302), ("/nothing", 404), ("/abc+", 200)] {
        let [plain, odd] = ["Connection: close", "Connection: close, x"].map(|connection| {
            let mut client = Client::connect(edge.address());
            client.ask(&[&format!("GET {path} HTTP/1.1"), HOST, connection]);
            let reply = client.reply();
            assert_eq!((reply.status, reply.header("connection")), (status, Some("close")));
            assert!(client.is_ended());
            let is_plain = connection == "Connection: close";
            let shape = shape(&reply, is_plain);
            let mut lines: Vec<_> = shape.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        });
        assert_eq!(plain, odd, "{path}");
    }
}

/// Who pipelines has a few answers, then others have theirs. One thread records in the order of its answers.
#[test]
fn those_who_pipeline_take_turns_with_those_who_do_not() {
    let mut world = World::with_link();
    world.config.threads = 1;
    world.links.put("flood", route(9, "https://e.test/"));
    let edge = world.start();
    let mut good = Client::connect(edge.address());
    assert_eq!([good.get("/abc").status, good.get("/flood").status], [302, 302]);
    let many = format!("GET /flood HTTP/1.1\r\n{HOST}\r\n\r\n").repeat(200);
    let mut floods: Vec<_> = (0..16).map(|_| Client::connect(edge.address())).collect();
    // Next to nothing is answered before all of them have asked.
    world.slowness.set(Duration::from_millis(200));
    for client in &mut floods {
        client.send(&many);
    }
    good.ask(&["GET /abc HTTP/1.1", HOST]);
    world.slowness.set(Duration::ZERO);
    assert_eq!(good.reply().status, 302);
    for client in &mut floods {
        for _ in 0..200 {
            assert_eq!(client.reply().status, 302);
        }
    }
    let rows = world.store.wait_for(2 + 16 * 200 + 1);
    let before = rows.iter().rposition(|row| row.link == 7).unwrap();
    assert!(before < 16 * 200 / 2, "{before} of 3200 answers came before the one");
}

/// A few bytes now and then are not reading.
#[test]
fn who_reads_too_slowly_is_let_go() {
    let mut world = World::with_link();
    world.config.threads = 1;
    (world.config.header_timeout_ms, world.config.idle_timeout_ms) = (400, 60_000);
    let edge = world.start();
    let mut slow = Client::connect(edge.address());
    let request = format!("GET /nothing HTTP/1.1\r\n{HOST}\r\n\r\n");
    slow.stuff(request.as_bytes(), Duration::from_millis(100));
    eventually("it is let go, though it reads", || {
        slow.sip(100);
        metric(&edge, "carom_edge_connections_open") == 0
    });
}

#[test]
fn who_does_not_read_waits_for_none_and_gets_all() {
    let mut world = World::with_link();
    (world.config.threads, world.config.header_timeout_ms) = (1, 60_000);
    let edge = world.start();
    let mut slow = Client::connect(edge.address());
    let request = format!("GET /nothing HTTP/1.1\r\n{HOST}\r\n\r\n");
    let sent = slow.stuff(request.as_bytes(), Duration::from_millis(300));
    assert!(sent >= request.len());
    let mut other = Client::connect(edge.address());
    for _ in 0..100 {
        assert_eq!(other.get("/abc").status, 302);
    }
    for _ in 0..sent / request.len() {
        assert_eq!(slow.reply().status, 404);
    }
}

#[test]
fn half_a_head_after_an_answer_has_the_time_of_a_head() {
    let mut world = World::with_link();
    (world.config.header_timeout_ms, world.config.idle_timeout_ms) = (500, 60_000);
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    client.send(format!("GET /abc HTTP/1.1\r\n{HOST}\r\n\r\nGET /abc HT"));
    assert_eq!(client.reply().status, 302);
    let begin = Instant::now();
    assert!(client.is_ended());
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn proxies_are_believed_on_both_ways() {
    let mut world = World::new();
    world.config.exempt = Vec::new();
    world.config.miss_burst = 1;
    world.config.trusted_proxies = vec![AddressBlock::parse("127.0.0.1").unwrap()];
    let edge = world.start();
    for (from, connection, status) in [
        ("198.51.100.1", "Connection: keep-alive", 404),
        ("198.51.100.1", ODD, 429),
        ("198.51.100.2", ODD, 404),
        ("198.51.100.2", "Connection: keep-alive", 429),
    ] {
        let mut client = Client::connect(edge.address());
        let from = format!("X-Forwarded-For: 203.0.113.9, {from}");
        client.ask(&["GET /nothing HTTP/1.1", HOST, connection, &from]);
        assert_eq!(client.reply().status, status, "{from}");
    }
}

/// Requests of all sorts in one stream, cut anywhere.
#[test]
fn a_stream_may_be_cut_anywhere() {
    let world = full();
    let edge = world.start();
    let plain = |path: &str| format!("GET {path} HTTP/1.1\r\n{HOST}\r\n\r\n");
    let sorts = [
        (plain("/abc"), 302, true),
        (plain("/nothing"), 404, true),
        (plain("/moved?a=b"), 301, true),
        ("GET /abc HTTP/1.1\nhost:go.example.com\n\n".to_owned(), 302, true),
        (format!("POST /abc HTTP/1.1\r\n{HOST}\r\n\r\n"), 405, true),
        (format!("GET /abc HTTP/1.1\r\n{HOST}\r\n{ODD}\r\n\r\n"), 302, true),
        (format!("GET /abc HTTP/1.1\r\n{HOST}\r\nConnection: close\r\n\r\n"), 302, false),
        (format!("GET /abc HTTP/1.1\r\n{HOST}\r\nContent-Length: 3\r\n\r\nabc"), 400, false),
    ];
    let streams =
        (prop::collection::vec(0..sorts.len(), 1..12), prop::collection::vec(0_usize..1000, 0..8));
    let mut runner = TestRunner::new(Config { cases: 60, ..Config::default() });
    runner
        .run(&streams, |(chosen, cuts)| {
            let (mut bytes, mut expected, mut goes_on) = (String::new(), Vec::new(), true);
            for (request, status, stays) in chosen.iter().map(|at| &sorts[*at]) {
                bytes += request;
                if goes_on {
                    expected.push(*status);
                }
                goes_on &= stays;
            }
            let mut cuts: Vec<_> = cuts.iter().map(|at| at * bytes.len() / 1000).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut client = Client::connect(edge.address());
            for cut in cuts.windows(2) {
                if !client.try_send(&bytes.as_bytes()[cut[0]..cut[1]]) {
                    // It has had its last answer.
                    break;
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            for status in &expected {
                prop_assert_eq!(client.reply().status, *status);
            }
            let end = client.next(Duration::from_millis(if goes_on { 5 } else { 5000 }));
            prop_assert_eq!(end, if goes_on { Next::Silence } else { Next::End });
            Ok(())
        })
        .unwrap();
    eventually("all are closed", || metric(&edge, "carom_edge_connections_open") == 0);
}
