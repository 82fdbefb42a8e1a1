//! Connections: kept alive, pipelined, limited, and closed on those who only hold them.

use std::time::{Duration, Instant};

use crate::client::{Client, Next, PATIENCE};
use crate::world::{World, eventually, metric, route};

const HOST: &str = "Host: go.example.com";

#[test]
fn requests_follow_each_other_on_a_connection() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for path in ["/abc", "/nothing", "/abc"] {
        let status = if path == "/abc" { 302 } else { 404 };
        assert_eq!(client.get(path).status, status);
    }
    client.ask(&["GET /abc HTTP/1.1", HOST, "Connection: close"]);
    assert_eq!(client.reply().status, 302);
    assert!(client.is_ended());
    assert_eq!(metric(&edge, "carom_edge_connections_total"), 1);
    world.store.wait_for(3);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let world = World::new();
    let edge = world.start();
    // Cold codes take their way over the origin, and keep their place in the line.
    world.links.set_delay(Duration::from_millis(50));
    let mut requests = String::new();
    for link in 1..=20 {
        world.links.put(&format!("p{link}"), route(link, &format!("https://e.test/{link}")));
        requests += &format!("GET /p{link} HTTP/1.1\r\n{HOST}\r\n\r\n");
    }
    let mut client = Client::connect(edge.address());
    client.send(requests);
    for link in 1..=20 {
        let location = format!("https://e.test/{link}");
        assert_eq!(client.reply().header("location"), Some(location.as_str()));
    }
    let rows = world.store.wait_for(20);
    let links: Vec<_> = rows.iter().map(|row| row.link).collect();
    assert_eq!(links, (1..=20).collect::<Vec<_>>());
}

#[test]
fn http_1_0_is_answered_and_closed_unless_it_asks_to_stay() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for _ in 0..2 {
        client.ask(&["GET /abc HTTP/1.0", HOST, "Connection: keep-alive"]);
        assert_eq!(client.reply().status, 302);
    }
    client.ask(&["GET /abc HTTP/1.0", HOST]);
    assert_eq!(client.reply().status, 302);
    assert!(client.is_ended());
}

#[test]
fn heads_have_limits() {
    let world = World::with_link();
    let edge = world.start();
    let many = |n: usize| "A: b\r\n".repeat(n);
    let long = |n: usize| format!("A: {}\r\n", "b".repeat(n));
    for (headers, status) in [
        (many(63), 302),
        (many(64), 431),
        (long(15 << 10), 302),
        (long(17 << 10), 431),
        (long(10 << 10).repeat(2), 431),
    ] {
        let mut client = Client::connect(edge.address());
        client.send(format!("GET /abc HTTP/1.1\r\n{HOST}\r\n{headers}\r\n"));
        let len = headers.len();
        assert_eq!(client.reply().status, status, "{len} bytes of headers");
        assert!(status == 302 || client.is_ended(), "{len} bytes of headers");
    }
    // Too long to be sent before the edge has had enough.
    let mut client = Client::connect(edge.address());
    client.send(format!("GET /abc HTTP/1.1\r\n{HOST}\r\nA: "));
    client.stuff(&[b'b'; 64 << 10], Duration::from_secs(1));
    eventually("it is let go", || metric(&edge, "carom_edge_connections_open") == 0);
}

#[test]
fn long_texts_are_cut_and_not_a_reason_to_refuse() {
    let world = World::with_link();
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let referrer = format!("Referer: https://{}.test/", "r".repeat(3000));
    let agent = format!("User-Agent: {}", "u".repeat(3000));
    let language = format!("Accept-Language: {}", "l".repeat(3000));
    let path = format!("GET /abc?utm_source={} HTTP/1.1", "q".repeat(3000));
    client.ask(&[&path, HOST, &referrer, &agent, &language]);
    assert_eq!(client.reply().status, 302);
    client.send(b"GET /abc HTTP/1.1\r\nHost: go.example.com\r\nReferer: https://\xff\xfe/\r\n\r\n");
    assert_eq!(client.reply().status, 302);
    let rows = world.store.wait_for(2);
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.link == 7 && row.referrer.len() <= 255), "{rows:?}");
}

#[test]
fn who_does_not_finish_a_head_in_time_is_let_go() {
    let mut world = World::with_link();
    world.config.header_timeout_ms = 500;
    world.config.idle_timeout_ms = 500;
    let edge = world.start();
    let timeout = Duration::from_millis(500);
    let head = "GET /abc HTTP/1.1\r\nHost: go.example.com\r\n";
    for begin in ["", "G", head] {
        let connected = Instant::now();
        let mut client = Client::connect(edge.address());
        client.send(begin);
        assert!(client.is_ended(), "{begin:?}");
        assert!(connected.elapsed() > timeout / 2, "{begin:?}: too early");
    }
    // Each byte is in time, and their number is not: it would take two minutes.
    let mut client = Client::connect(edge.address());
    let lasted = client.dribble("A: b\r\n".repeat(1000).as_bytes(), Duration::from_millis(20));
    assert!(lasted < PATIENCE, "{lasted:?}");
    // A connection kept alive may stay idle as long, and no longer.
    let mut client = Client::connect(edge.address());
    assert_eq!(client.get("/abc").status, 302);
    assert!(client.is_ended());
    eventually("all are closed", || metric(&edge, "carom_edge_connections_open") == 0);
}

#[test]
fn who_does_not_read_its_answers_is_let_go() {
    let mut world = World::with_link();
    world.config.header_timeout_ms = 300;
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let request = format!("GET /nothing HTTP/1.1\r\n{HOST}\r\n\r\n");
    client.stuff(request.as_bytes(), Duration::from_millis(500));
    eventually("it is let go", || metric(&edge, "carom_edge_connections_open") == 0);
}

#[test]
fn beyond_the_limit_connections_wait_for_room() {
    let mut world = World::with_link();
    world.config.threads = 1;
    world.config.max_connections = 2;
    let edge = world.start();
    let mut first = Client::connect(edge.address());
    let mut second = Client::connect(edge.address());
    assert_eq!(first.get("/abc").status, 302);
    assert_eq!(second.get("/abc").status, 302);
    let mut third = Client::connect(edge.address());
    third.ask(&["GET /abc HTTP/1.1", HOST]);
    assert_eq!(third.next(Duration::from_millis(300)), Next::Silence);
    assert_eq!(metric(&edge, "carom_edge_connections_open"), 2);
    drop(first);
    assert_eq!(third.reply().status, 302);
    assert_eq!(second.get("/abc").status, 302);
}

/// A limit below the number of threads: the thread that waits with the last room must not keep the
/// others from theirs.
#[test]
fn room_goes_to_the_thread_that_has_a_visitor() {
    let mut world = World::with_link();
    world.config.threads = 2;
    world.config.max_connections = 1;
    let edge = world.start();
    for _ in 0..16 {
        assert_eq!(Client::connect(edge.address()).get("/abc").status, 302);
    }
}
