//! Clicks on their way to a store that is away, mute, or unwilling.

use carom_edge::EdgeError;
use carom_edge::spool::SpoolError;

use crate::client::Client;
use crate::crash::copy_spool;
use crate::world::{Mood, World, eventually, files, metric, route};

/// Follows `/l1` … `/ln` once each, and fails unless each is a redirect.
fn follow(world: &World, client: &mut Client, links: std::ops::RangeInclusive<i64>) {
    for link in links {
        let code = format!("l{link}");
        world.links.put(&code, route(link, "https://e.test/"));
        assert_eq!(client.get(&format!("/{code}")).status, 302);
    }
}

/// Asserts that each link of `1..=links` has one click, and nothing else is stored.
fn assert_once(world: &World, links: i64) {
    let clicks = world.store.clicks_by_link();
    assert_eq!(clicks, (1..=links).map(|link| (link, 1)).collect());
}

#[test]
fn while_the_store_is_away_redirects_go_on_and_batches_wait() {
    let world = World::new();
    world.store.set(Mood::Unavailable);
    let edge = world.start();
    let outbox = world.spool_dir().join("outbox");
    let mut client = Client::connect(edge.address());
    for batch in 0..4 {
        follow(&world, &mut client, batch * 10 + 1..=batch * 10 + 10);
        let waiting = usize::try_from(batch).unwrap();
        eventually("a batch is in the outbox", || files(&outbox).len() > waiting);
    }
    eventually("all clicks are drained", || metric(&edge, "carom_edge_clicks_drained_total") == 40);
    eventually("the store was asked again", || world.store.tries().len() > 2);
    assert_eq!(world.store.batches(), 0);
    let waiting = files(&outbox).len();
    assert!(waiting >= 4);
    assert_eq!(metric(&edge, "carom_edge_batches_waiting"), waiting as u64);
    assert!(metric(&edge, "carom_edge_ship_errors_total") > 2);

    world.store.set(Mood::Stores);
    world.store.wait_for(40);
    assert_once(&world, 40);
    eventually("the outbox is empty", || files(&outbox).is_empty());
    let mut order = world.store.tries();
    order.dedup();
    assert_eq!(order.len(), waiting, "each until it is stored, then the next");
    let oldest: Vec<_> = order.iter().step_by(2).collect();
    let newest: Vec<_> = order.iter().skip(1).step_by(2).collect();
    assert!(oldest.is_sorted() && newest.is_sorted_by(|a, b| a > b), "from both ends: {order:?}");
    assert_eq!(edge.stop().batches_waiting, 0);
}

#[test]
fn an_answer_that_was_lost_brings_the_same_batch_again_and_counts_nothing_twice() {
    let world = World::new();
    world.store.set(Mood::StoresInSilence);
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    follow(&world, &mut client, 1..=10);
    eventually("it was tried three times", || world.store.tries().len() >= 3);
    let first = world.store.tries()[0].clone();
    assert!(world.store.tries().iter().all(|token| *token == first));
    world.store.set(Mood::Stores);
    eventually("everything is stored", || {
        world.store.rows().len() == 10 && metric(&edge, "carom_edge_batches_waiting") == 0
    });
    assert_once(&world, 10);
    assert_eq!(metric(&edge, "carom_edge_batches_repeated_total"), 1);
    assert!(files(&world.spool_dir().join("outbox")).is_empty());
}

#[test]
fn a_batch_without_an_answer_holds_up_no_other_where_the_store_takes_several() {
    let world = World::new();
    world.store.set(Mood::SilentAboutFirst);
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    follow(&world, &mut client, 1..=1);
    eventually("it is under way", || world.store.tries().len() == 1);
    for link in 2..=4 {
        follow(&world, &mut client, link..=link);
        let stored =
            || metric(&edge, "carom_edge_batches_shipped_total") == link.unsigned_abs() - 1;
        eventually("the next ones are stored", stored);
    }
    let tries = world.store.tries();
    assert_eq!(tries.iter().filter(|token| **token == tries[0]).count(), 1);
    assert_eq!(metric(&edge, "carom_edge_batches_waiting"), 1);
    world.store.set(Mood::Stores);
    eventually("none waits", || metric(&edge, "carom_edge_batches_waiting") == 0);
    assert_once(&world, 4);
}

/// A store that was away finds a backlog of which it can take two batches in 300 ms: a click of just now is
/// not behind all of it, and the backlog goes meanwhile.
#[test]
fn a_fresh_click_does_not_wait_for_the_backlog() {
    let world = World::new();
    world.store.set(Mood::Unavailable);
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for link in 1..=30 {
        follow(&world, &mut client, link..=link);
        let drained = || metric(&edge, "carom_edge_clicks_drained_total") == link.unsigned_abs();
        eventually("it is drained", drained);
    }
    world.store.set(Mood::Slow);
    eventually("the store answers", || world.store.batches() > 0);
    follow(&world, &mut client, 31..=31);
    eventually("the fresh click is stored", || world.store.clicks_by_link().contains_key(&31));
    let backlog = metric(&edge, "carom_edge_batches_waiting");
    assert!(backlog >= 10, "only {backlog} batches of the backlog are left");
    world.store.set(Mood::Stores);
    world.store.wait_for(31);
    assert_once(&world, 31);
}

/// Two machines made of one image have the same spool, with the same name, generation and batches. What waits
/// in both is one batch each; what they cut from then on has the same numbers, and is told apart.
#[test]
fn a_cloned_spool_loses_nothing_and_what_it_held_counts_once() {
    let world = World::new();
    world.store.set(Mood::Unavailable);
    let edge = world.start();
    follow(&world, &mut Client::connect(edge.address()), 1..=10);
    eventually("all clicks are drained", || metric(&edge, "carom_edge_clicks_drained_total") == 10);
    edge.drop_without_stop();
    let cloned = world.spool_dir().with_file_name("cloned");
    copy_spool(&world.spool_dir(), &cloned);

    let (one, other) = (world.start(), world.start_on(&cloned, &world.store).unwrap());
    // On one machine there is a lock.
    let second = world.start_on(&cloned, &world.store).err().unwrap();
    assert!(matches!(second, EdgeError::Spool(SpoolError::Locked(_))), "{second}");
    for (edge, links) in [(&one, 11..=20), (&other, 21..=30)] {
        follow(&world, &mut Client::connect(edge.address()), links);
    }
    world.store.set(Mood::Stores);
    for edge in [&one, &other] {
        eventually("everything is stored", || {
            metric(edge, "carom_edge_clicks_drained_total") == 10
                && metric(edge, "carom_edge_batches_waiting") == 0
        });
    }
    assert_once(&world, 30);
}

#[test]
fn a_refused_batch_is_set_aside_whole_and_the_next_one_goes_on() {
    let world = World::new();
    world.store.set(Mood::Refuses);
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    let aside = world.spool_dir().join("quarantine");
    follow(&world, &mut client, 1..=1);
    eventually("a file is set aside", || !files(&aside).is_empty());
    eventually("it is counted", || {
        metric(&edge, "carom_edge_batches_quarantined_total") == 1
            && metric(&edge, "carom_edge_batches_waiting") == 0
    });
    world.store.set(Mood::Stores);
    follow(&world, &mut client, 2..=2);
    world.store.wait_for(1);
    assert_eq!(world.store.clicks_by_link(), [(2, 1)].into());

    let refused = files(&aside);
    assert_eq!(refused.len(), 1);
    let token = world.store.tries()[0].clone();
    assert_eq!(refused[0].file_name().unwrap().to_str(), Some(&*format!("{token}.clk")));
    let batch = carom_shared::batch::Batch::from_bytes(&std::fs::read(&refused[0]).unwrap());
    assert_eq!(batch.unwrap().clicks().map(|click| click.link.get()).collect::<Vec<_>>(), [1]);
    let stopped = edge.stop();
    assert_eq!((stopped.batches_waiting, stopped.batches_quarantined), (0, 1));
}

#[test]
fn a_disk_that_fails_holds_clicks_in_the_ring_until_it_is_mended() {
    let world = World::new();
    let edge = world.start();
    let (outbox, away) = (world.spool_dir().join("outbox"), world.spool_dir().join("away"));
    std::fs::rename(&outbox, &away).unwrap();
    let mut client = Client::connect(edge.address());
    follow(&world, &mut client, 1..=50);
    eventually("a write fails", || metric(&edge, "carom_edge_spool_errors_total") > 0);
    assert_eq!(world.store.batches(), 0);
    std::fs::rename(&away, &outbox).unwrap();
    world.store.wait_for(50);
    assert_once(&world, 50);
}
