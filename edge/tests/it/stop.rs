//! A stop and the start after it.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use carom_edge::{EdgeError, SpoolError, Stopped};

use crate::client::{Client, Next, PATIENCE};
use crate::world::{Mood, Running, World, eventually, files, metric, route};

#[test]
fn a_stop_answers_what_is_under_way_and_stores_every_click() {
    let mut world = World::with_link();
    world.config.drain_timeout_ms = 20_000;
    world.links.put("cold", route(8, "https://e.test/"));
    let edge = world.start();
    let address = edge.address();
    let mut idle = Client::connect(address);
    for _ in 0..10 {
        assert_eq!(idle.get("/abc").status, 302);
    }
    // Longer than it takes to see what a stop does meanwhile.
    world.links.set_delay(Duration::from_secs(3));
    let mut waiting = Client::connect(address);
    waiting.ask(&["GET /cold HTTP/1.1", "Host: go.example.com"]);
    eventually("the origin is asked", || world.links.asked() == 2);

    let admin = edge.admin_address();
    let begin = Instant::now();
    let stopping = std::thread::spawn(move || edge.stop());
    eventually("it is not ready for more", || Client::connect(admin).get("/readyz").status == 503);
    assert_eq!(Client::connect(admin).get("/livez").status, 200);
    assert!(idle.is_ended());
    eventually("nobody listens", || TcpStream::connect(address).is_err());
    let reply = waiting.reply();
    assert_eq!((reply.status, reply.header("connection")), (302, Some("close")));
    assert!(waiting.is_ended());

    let stopped = stopping.join().unwrap();
    assert_eq!(
        stopped,
        Stopped {
            clicks_recorded: 11,
            batches_waiting: 0,
            batches_quarantined: 0,
            ring_drained: true
        }
    );
    assert!(begin.elapsed() < Duration::from_secs(9), "it waited for nothing");
    assert_eq!(world.store.clicks_by_link(), [(7, 10), (8, 1)].into());
    eventually("the admin listener is closed", || TcpStream::connect(admin).is_err());
}

/// It was accepted, so it is answered: the room is what others leave at a stop.
#[test]
fn a_stop_answers_who_was_accepted_and_waits_for_room() {
    let mut world = World::with_link();
    (world.config.threads, world.config.max_connections) = (1, 1);
    let edge = world.start();
    let mut first = Client::connect(edge.address());
    assert_eq!(first.get("/abc").status, 302);
    let mut second = Client::connect(edge.address());
    second.ask(&["GET /abc HTTP/1.1", "Host: go.example.com"]);
    assert_eq!(second.next(Duration::from_millis(300)), Next::Silence);
    let stopping = std::thread::spawn(move || edge.stop());
    let reply = second.reply();
    assert_eq!((reply.status, reply.header("connection")), (302, Some("close")));
    assert!(first.is_ended());
    assert_eq!(stopping.join().unwrap().clicks_recorded, 2);
}

#[test]
fn a_stop_waits_no_longer_than_it_may_and_the_next_start_goes_on() {
    let mut world = World::with_link();
    (world.config.drain_timeout_ms, world.config.header_timeout_ms) = (1000, 60_000);
    world.store.set(Mood::Unavailable);
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for _ in 0..10 {
        assert_eq!(client.get("/abc").status, 302);
    }
    eventually("all clicks are drained", || metric(&edge, "carom_edge_clicks_drained_total") == 10);
    let mut half = Client::connect(edge.address());
    half.send("GET /abc HTTP/1.1\r\n");
    let begin = Instant::now();
    let stopped = edge.stop();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!((stopped.clicks_recorded, stopped.ring_drained), (10, true));
    assert!(stopped.batches_waiting > 0);
    assert!(half.is_ended());

    world.store.set(Mood::Stores);
    let edge = world.start();
    assert_eq!(edge.recovered().batches, stopped.batches_waiting);
    assert_eq!((edge.recovered().clicks, edge.recovered().quarantined), (0, 0));
    world.store.wait_for(10);
    assert_eq!(edge.stop().batches_waiting, 0);
    assert_eq!(world.store.clicks_by_link(), [(7, 10)].into());
    assert!(files(&world.spool_dir().join("outbox")).is_empty());
}

#[test]
fn a_stop_does_not_wait_long_for_a_store_that_is_away() {
    let mut world = World::with_link();
    world.config.drain_timeout_ms = 60_000;
    world.store.set(Mood::Unavailable);
    let edge = world.start();
    assert_eq!(Client::connect(edge.address()).get("/abc").status, 302);
    eventually("the store is known to be away", || {
        metric(&edge, "carom_edge_ship_errors_total") > 0
    });
    let begin = Instant::now();
    let stopped = edge.stop();
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
    assert_eq!((stopped.batches_waiting, stopped.ring_drained), (1, true));
}

#[test]
fn one_edge_records_into_a_spool() {
    let world = World::with_link();
    let first = world.start();
    match world.start_on(&world.spool_dir(), &world.store) {
        Err(EdgeError::Spool(error @ SpoolError::Locked(_))) => {
            assert!(error.to_string().contains("in use by another process"));
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("two edges record into one spool"),
    }
    let mut client = Client::connect(first.address());
    assert_eq!(client.get("/abc").status, 302, "the first one does not notice");
    assert_eq!(first.stop().clicks_recorded, 1);
    let second = world.start();
    assert_eq!(Client::connect(second.address()).get("/abc").status, 302);
    world.store.wait_for(2);
}

/// Started twice by mistake: the one that runs keeps all its visitors.
#[test]
fn an_edge_that_cannot_start_takes_no_visitors_from_the_one_that_runs() {
    let mut world = World::with_link();
    let first = world.start();
    world.config.listen = first.address();
    let address = first.address();
    std::thread::scope(|scope| {
        let visitors = scope.spawn(|| {
            for _ in 0..500 {
                assert_eq!(Client::connect(address).get("/abc").status, 302);
            }
        });
        while !visitors.is_finished() {
            assert!(world.start_on(&world.spool_dir(), &world.store).is_err());
        }
        assert!(visitors.join().is_ok(), "a visitor was turned away");
    });
}

#[test]
fn an_address_in_use_is_named_with_its_setting() {
    let mut world = World::with_link();
    let first = world.start();
    let other = world.spool_dir().with_extension("other");
    world.config.admin_listen = first.admin_address();
    let error = world.start_on(&other, &world.store).err().unwrap().to_string();
    assert!(error.contains("edge.admin_listen"), "{error}");
    world.config.admin_listen = ([127, 0, 0, 1], 0).into();
    world.config.listen = first.address();
    let error = world.start_on(&other, &world.store).err().unwrap().to_string();
    assert!(error.contains("edge.listen"), "{error}");
}

/// The drainer is told to give up while its disk fails: it must be done with the folder before
/// another edge may have it.
#[test]
fn what_a_stop_could_not_drain_is_found_by_the_next_start() {
    let mut world = World::with_link();
    let (outbox, away) = (world.spool_dir().join("outbox"), world.spool_dir().join("away"));
    for round in 1..=10 {
        world.config.drain_timeout_ms = 50;
        let edge = world.start();
        std::fs::rename(&outbox, &away).unwrap();
        let mut client = Client::connect(edge.address());
        for _ in 0..10 {
            assert_eq!(client.get("/abc").status, 302);
        }
        drop(client);
        eventually("a write fails", || metric(&edge, "carom_edge_spool_errors_total") > 0);
        let stopped = edge.stop();
        assert_eq!((stopped.clicks_recorded, stopped.ring_drained), (10, false));
        std::fs::rename(&away, &outbox).unwrap();

        world.config.drain_timeout_ms = 5000;
        let edge = start_when_unlocked(&world);
        let recovered = edge.recovered();
        assert!(recovered.clicks == 10 || recovered.batches == 1, "{recovered:?}");
        assert_eq!(edge.stop().batches_waiting, 0);
        assert_eq!(world.store.clicks_by_link(), [(7, 10 * round)].into());
    }
}

/// Starts on the world's folder, once whoever still writes there has let go of it.
fn start_when_unlocked(world: &World) -> Running {
    let begin = Instant::now();
    loop {
        match world.start_on(&world.spool_dir(), &world.store) {
            Ok(edge) => return edge,
            Err(EdgeError::Spool(SpoolError::Locked(_))) if begin.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn an_edge_starts_where_the_last_one_stopped() {
    let mut world = World::with_link();
    let first = world.start();
    world.config.listen = first.address();
    world.config.admin_listen = first.admin_address();
    let mut edge = first;
    for _ in 0..20 {
        let mut client = Client::connect(edge.address());
        assert_eq!(client.get("/abc").status, 302);
        assert_eq!(edge.stop().batches_waiting, 0);
        assert!(client.is_ended());
        edge = world.start();
    }
    assert_eq!(world.store.clicks_by_link(), [(7, 20)].into());
}
