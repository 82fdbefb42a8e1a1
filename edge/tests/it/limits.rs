//! What strangers may take of an edge: connections, time, and codes that do not exist.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use carom_edge::Edge;
use carom_shared::AddressBlock;

use crate::client::{Client, Next, PATIENCE};
use crate::world::{NOW, World, eventually, metric, route};

const HOST: &str = "Host: go.example.com";

fn blocks(texts: &[&str]) -> Vec<AddressBlock> {
    texts.iter().map(|text| AddressBlock::parse(text).unwrap()).collect()
}

/// A world in which this machine is a stranger too.
fn strict() -> World {
    let mut world = World::with_link();
    world.config.exempt = Vec::new();
    world
}

fn refused(edge: &Edge, reason: &str) -> u64 {
    metric(edge, &format!("carom_edge_connections_refused_total{{reason=\"{reason}\"}}"))
}

fn ended(edge: &Edge, reason: &str) -> u64 {
    metric(edge, &format!("carom_edge_connections_ended_total{{reason=\"{reason}\"}}"))
}

#[test]
fn an_address_has_so_many_connections_and_others_have_theirs() {
    let mut world = strict();
    world.config.max_connections_per_block = 3;
    let edge = world.start();
    let mut held: Vec<_> = (0..3).map(|_| Client::connect(edge.address())).collect();
    for client in &mut held {
        assert_eq!(client.get("/abc").status, 302);
    }
    for _ in 0..20 {
        assert!(Client::connect(edge.address()).is_ended());
    }
    assert_eq!(refused(&edge, "block"), 20);
    assert_eq!(Client::connect_from("127.0.0.2", edge.address()).get("/abc").status, 302);
    assert_eq!(held[2].get("/abc").status, 302, "those who are there stay");
    held.pop();
    eventually("there is room again", || {
        let reply = Client::connect(edge.address()).try_get("/abc");
        reply.is_some_and(|reply| reply.status == 302)
    });
    assert_eq!(metric(&edge, "carom_edge_connections_limit"), 50_000);
}

#[test]
fn proxies_and_the_exempt_are_not_counted() {
    for is_proxy in [true, false] {
        let mut world = strict();
        world.config.max_connections_per_block = 1;
        let setting = match is_proxy {
            true => &mut world.config.trusted_proxies,
            false => &mut world.config.exempt,
        };
        *setting = blocks(&["127.0.0.1"]);
        let edge = world.start();
        let mut clients: Vec<_> = (0..10).map(|_| Client::connect(edge.address())).collect();
        assert!(clients.iter_mut().all(|client| client.get("/abc").status == 302));
    }
}

#[test]
fn who_misses_too_often_is_told_so_and_still_finds_what_is_there() {
    let mut world = strict();
    (world.config.miss_burst, world.config.misses_per_minute) = (3, 10);
    world.links.put("cold", route(8, "https://e.test/"));
    let mut later = route(9, "https://e.test/");
    later.not_before = Some(NOW.saturating_add(Duration::from_secs(3600)));
    world.links.put("later", later);
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for path in ["/n1", "/n2+", "/later"] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    for path in ["/n4", "/n1", "/n2", "/n5+", "/later"] {
        let reply = client.get(path);
        assert_eq!((reply.status, reply.header("retry-after")), (429, Some("6")), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    for path in ["/abc", "/cold", "/abc"] {
        assert_eq!(client.get(path).status, 302, "{path}");
    }
    // No code can be guessed with such a path, and browsers ask for them by themselves.
    assert_eq!(client.get("/apple-touch-icon.png").status, 404);
    let mut other = Client::connect_from("127.0.0.2", edge.address());
    assert_eq!(other.get("/n1").status, 404);

    world.clock.advance(Duration::from_secs(6));
    assert_eq!([client.get("/n6").status, client.get("/n7").status], [404, 429]);
    assert_eq!(metric(&edge, "carom_edge_answers_total{status=\"429\"}"), 6);
    assert_eq!(metric(&edge, "carom_edge_missing_blocks"), 2);
    let missing: u64 = edge.missing_codes().take().iter().map(|code| code.at_least).sum();
    assert_eq!(missing, 4, "the lists of missing codes see no more of a guesser");
}

#[test]
fn behind_a_proxy_each_visitor_has_a_budget() {
    let mut world = strict();
    world.config.miss_burst = 1;
    world.config.trusted_proxies = blocks(&["127.0.0.1"]);
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for (from, status) in [
        ("198.51.100.1", 404),
        ("198.51.100.1", 429),
        ("198.51.100.2", 404),
        ("2001:db8::1", 404),
        ("2001:db8::2", 429),
        ("2001:db8:0:1::1", 404),
        // The proxy's own, which is trusted.
        ("127.0.0.1", 404),
        ("127.0.0.1", 404),
    ] {
        client.ask(&["GET /nothing HTTP/1.1", HOST, &format!("X-Forwarded-For: {from}")]);
        assert_eq!(client.reply().status, status, "{from}");
    }
}

#[test]
fn guessers_leave_room_for_the_look_ups_of_others() {
    let mut world = strict();
    world.config.miss_burst = 1;
    world.config.resolve.max_in_flight = 8;
    let edge = world.start();
    assert_eq!(Client::connect(edge.address()).get("/n0").status, 404);
    // Longer than it takes until all of them have asked.
    world.links.set_delay(Duration::from_millis(1500));
    let mut guessers: Vec<_> = (0..8).map(|_| Client::connect(edge.address())).collect();
    for (at, guesser) in guessers.iter_mut().enumerate() {
        guesser.ask(&[&format!("GET /g{at} HTTP/1.1"), HOST]);
    }
    assert!(guessers.iter_mut().all(|guesser| guesser.reply().status == 429));
    assert_eq!(world.links.asked(), 2, "one of them was looked up for");
    world.links.set_delay(Duration::ZERO);
    let mut good = Client::connect_from("127.0.0.2", edge.address());
    assert_eq!(good.get("/abc").status, 302);
}

#[test]
fn random_codes_at_full_speed_take_no_memory_and_no_hits() {
    let mut world = strict();
    world.config.resolve.max_negative_entries = 1000;
    let edge = world.start();
    assert_eq!(Client::connect(edge.address()).get("/abc").status, 302);
    let address: SocketAddr = edge.address();
    std::thread::scope(|scope| {
        for guesser in 0..4 {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for n in 0..500 {
                    let status = client.get(&format!("/x{guesser}y{n}")).status;
                    assert!(matches!(status, 404 | 429), "{status}");
                }
            });
        }
        let mut good = Client::connect(address);
        for _ in 0..500 {
            assert_eq!(good.get("/abc").status, 302);
        }
    });
    assert_eq!(metric(&edge, "carom_edge_missing_blocks"), 1);
    assert_eq!(metric(&edge, "carom_edge_answers_total{status=\"404\"}"), 30);
}

#[test]
fn a_connection_waits_longer_between_requests_than_within_one() {
    let mut world = World::with_link();
    (world.config.header_timeout_ms, world.config.idle_timeout_ms) = (300, 1500);
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for _ in 0..2 {
        assert_eq!(client.get("/abc").status, 302);
        assert_eq!(client.next(Duration::from_millis(450)), Next::Silence);
    }
    let begin = Instant::now();
    assert_eq!(client.get("/abc").status, 302);
    assert!(client.is_ended());
    assert!(begin.elapsed() >= Duration::from_millis(1500), "{:?}", begin.elapsed());
    assert!(Client::connect(edge.address()).is_ended());
    assert_eq!((ended(&edge, "idle"), ended(&edge, "head")), (1, 1));
}

#[test]
fn an_old_connection_is_told_with_its_last_answer() {
    let mut world = World::with_link();
    // Both are looked at each eighth of the shorter of these times.
    (world.config.header_timeout_ms, world.config.idle_timeout_ms) = (2000, 2000);
    world.config.max_connection_age_s = 1;
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let begin = Instant::now();
    loop {
        let reply = client.get("/abc");
        assert_eq!(reply.status, 302);
        if reply.header("connection") == Some("close") {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "it never ends");
        assert_eq!(client.next(Duration::from_millis(20)), Next::Silence);
    }
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(client.is_ended());
    assert_eq!(ended(&edge, "age"), 1);
}

/// Asks once, and for no more.
const LAST: &[u8] = b"GET /abc HTTP/1.1\r\nHost: go.example.com\r\nConnection: close\r\n\r\n";

#[test]
fn a_thread_that_lags_tells_newcomers_and_answers_who_is_there() {
    let mut world = World::with_link();
    (world.config.threads, world.config.max_lag_ms) = (1, 100);
    let edge = world.start();
    let address = edge.address();
    let mut client = Client::connect(address);
    assert_eq!(client.get("/abc").status, 302);
    world.slowness.set(Duration::from_millis(150));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let begin = Instant::now();
            while !is_over.load(Ordering::SeqCst) && begin.elapsed() < PATIENCE {
                assert_eq!(client.get("/abc").status, 302);
            }
        });
        let (mut is_shed, mut is_told) = (false, false);
        while !(busy.is_finished() || is_shed && is_told) {
            // One that has asked before it is told, is told and not reset.
            let mut asking = TcpStream::connect(address).unwrap();
            asking.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            asking.write_all(LAST).unwrap();
            let mut told = Vec::new();
            let end = asking.read_to_end(&mut told);
            is_told |= told.starts_with(b"HTTP/1.1 503 ") && end.is_ok();
            let mut newcomer = Client::connect(address);
            if newcomer.next(Duration::from_secs(1)) == Next::Byte {
                let reply = newcomer.reply();
                assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
                is_shed |= newcomer.is_ended();
            }
        }
        is_over.store(true, Ordering::SeqCst);
        world.slowness.set(Duration::ZERO);
        assert!(busy.join().is_ok(), "a visitor was turned away");
        assert!(is_shed && is_told, "nobody was told");
    });
    assert!(refused(&edge, "overload") > 0);
    eventually("newcomers are welcome again", || {
        let reply = Client::connect(address).try_get("/abc");
        reply.is_some_and(|reply| reply.status == 302)
    });
}

/// Both ways of HTTP/1: one header makes a request hyper's.
#[test]
fn who_asks_for_much_at_once_waits_for_turns_and_nobody_else_does() {
    let mut world = World::with_link();
    world.config.threads = 1;
    let edge = world.start();
    let turns = || metric(&edge, "carom_edge_turns_total");
    let mut client = Client::connect(edge.address());
    for _ in 0..50 {
        assert_eq!(client.get("/abc").status, 302);
    }
    assert_eq!(turns(), 0);
    for odd in ["", "Connection: keep-alive, x\r\n"] {
        let before = turns();
        let request = format!("GET /abc HTTP/1.1\r\nHost: go.example.com\r\n{odd}\r\n");
        client.send(request.repeat(200));
        assert!((0..200).all(|_| client.reply().status == 302));
        // Eight at a time, and with hyper sixteen.
        assert!(turns() - before >= 200 / 16 - 1, "{}", turns() - before);
    }
}
