//! What is left in the spool of a process that is gone is shipped by one that runs, once.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use carom_edge::SpoolError;
use carom_edge::spool::adopt::Adopter;
use carom_shared::SystemRandom;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::world::{Mood, Running, World, metric};

/// Two edges on one socket, each with a spool of its own.
fn pair() -> (World, Running, Running) {
    let mut world = World::with_link();
    world.sockets.push(TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let first = world.start();
    let second = world.start_on(&world.spool_dir().with_extension("second"), &world.store).unwrap();
    (world, first, second)
}

/// Visits until both have recorded something; how many were answered.
fn visit_both(first: &Running, second: &Running) -> u32 {
    let recorded = |edge: &Running| metric(edge, "carom_edge_clicks_recorded_total");
    let mut answered = 0;
    while answered < 40 || recorded(first) == 0 || recorded(second) == 0 {
        assert_eq!(Client::connect(first.address()).get("/abc").status, 302);
        answered += 1;
        assert!(answered < 2000, "only one of them is asked");
    }
    answered
}

fn adopter(world: &World, by: &Running) -> Adopter {
    let enrich = world.config.enrich.clone();
    let sink = Arc::clone(&world.store) as _;
    Adopter::new(world.spool_dir(), enrich, Arc::new(SystemRandom), sink, by.state())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn two_serve_and_the_clicks_of_one_that_died_are_adopted_once() {
    let (world, first, second) = pair();
    world.store.set(Mood::Unavailable);
    let answered = visit_both(&first, &second);
    let mut adopter = adopter(&world, &second);
    let stop = CancellationToken::new();
    assert!(adopter.is_due());
    let refused = runtime().block_on(adopter.turn(&stop));
    assert!(matches!(refused, Err(SpoolError::Locked(_))), "{refused:?}");

    first.drop_without_stop();
    world.store.set(Mood::Stores);
    let adopted = runtime().block_on(adopter.turn(&stop)).unwrap();
    assert_eq!(adopted.left, 0);
    assert!(adopted.recovered.clicks > 0 || adopted.recovered.batches > 0, "{adopted:?}");
    assert!(!adopter.is_due(), "nobody was there since");

    // A start on it finds nothing to do, and has it for itself.
    let third = world.start();
    assert_eq!((third.recovered().clicks, third.recovered().batches), (0, 0));
    assert!(adopter.is_due());
    for edge in [second, third] {
        assert_eq!(edge.stop().batches_waiting, 0);
    }
    assert_eq!(world.store.clicks_by_link(), [(7, answered)].into());
}

#[test]
fn a_turn_that_is_stopped_leaves_everything_to_the_next_start() {
    let (world, first, second) = pair();
    world.store.set(Mood::Unavailable);
    let answered = visit_both(&first, &second);
    first.drop_without_stop();
    let mut adopter = adopter(&world, &second);
    let stop = CancellationToken::new();
    let adopted = runtime().block_on(async {
        let turn = adopter.turn(&stop);
        let end = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            stop.cancel();
        };
        tokio::join!(turn, end).0
    });
    assert!(adopted.unwrap().left > 0);
    assert!(adopter.is_due());

    world.store.set(Mood::Stores);
    let third = world.start();
    for edge in [second, third] {
        assert_eq!(edge.stop().batches_waiting, 0);
    }
    assert_eq!(world.store.clicks_by_link(), [(7, answered)].into());
}
