//! The disk that a killed process leaves: every answered click is on it, once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::client::Client;
use crate::world::{Mood, Store, World, eventually, files, route};

/// Copies a spool as a kill at this moment would leave it. The ring comes first: what is drained
/// in between is then in the outbox's copy as well, and recognised there by its range. Nothing
/// leaves the outbox meanwhile, and no segment is used again, because fewer clicks are recorded
/// than one holds.
pub(crate) fn copy_spool(from: &Path, to: &Path) {
    for sub in ["ring", "outbox", "quarantine"] {
        std::fs::create_dir_all(to.join(sub)).unwrap();
        for file in files(&from.join(sub)) {
            let copied = std::fs::copy(&file, to.join(sub).join(file.file_name().unwrap()));
            // A batch under its temporary name has its own by now.
            assert!(copied.is_ok() || file.extension().unwrap() == "tmp", "{copied:?}");
        }
    }
    std::fs::copy(from.join("identity"), to.join("identity")).unwrap();
}

/// Starts an edge on a copy, lets it store everything, and returns the links that were clicked,
/// having checked that each was once.
fn links_found(world: &World, copy: &Path) -> (carom_edge::Recovered, BTreeSet<i64>) {
    let store = Arc::new(Store::default());
    let edge = world.start_on(copy, &store).unwrap();
    let recovered = edge.recovered();
    let stopped = edge.stop();
    assert_eq!((stopped.clicks_recorded, stopped.batches_waiting), (0, 0));
    let clicks = store.clicks_by_link();
    assert!(clicks.values().all(|&clicks| clicks == 1), "stored twice: {clicks:?}");
    (recovered, clicks.into_keys().collect())
}

/// A world in which `/k1`, `/k2`, … lead somewhere and the store is away.
fn numbered_links(last: i64) -> World {
    let mut world = World::new();
    // However slow the disk is: a stop stores everything.
    world.config.drain_timeout_ms = 60_000;
    world.store.set(Mood::Unavailable);
    for link in 1..=last {
        world.links.put(&format!("k{link}"), route(link, "https://e.test/"));
    }
    world
}

#[test]
fn clicks_in_the_outbox_and_in_the_ring_are_found_once_each() {
    let mut world = numbered_links(300);
    world.spool.flush_ms = 1000;
    let edge = world.start();
    let outbox = world.spool_dir().join("outbox");
    let mut client = Client::connect(edge.address());
    for link in 1..=200 {
        assert_eq!(client.get(&format!("/k{link}")).status, 302);
    }
    eventually("some are in the outbox", || !files(&outbox).is_empty());
    // Cut into the middle of the time until the next batch, so that some are in the ring only.
    for link in 201..=300 {
        assert_eq!(client.get(&format!("/k{link}")).status, 302);
    }
    let copy = world.spool_dir().with_extension("copy");
    copy_spool(&world.spool_dir(), &copy);
    let is_whole = |path: &&PathBuf| path.extension().unwrap() == "clk";
    let batches = files(&copy.join("outbox")).iter().filter(is_whole).count();

    let (recovered, links) = links_found(&world, &copy);
    assert_eq!(links, (1..=300).collect());
    assert_eq!((recovered.batches, recovered.quarantined), (batches, 0));
    assert!((1..300).contains(&recovered.clicks), "both places were there: {recovered:?}");
    // Everything is stored: a start on what is left finds nothing.
    assert_eq!(links_found(&world, &copy), (carom_edge::Recovered::default(), BTreeSet::new()));
    world.store.set(Mood::Stores);
}

/// Visitors at the same time; each follows every fourth link.
const VISITORS: i64 = 4;

/// How far a visitor is.
struct Visitor {
    first: i64,
    asked: AtomicI64,
    answered: AtomicI64,
}

impl Visitor {
    fn new(first: i64) -> Self {
        Self { first, asked: AtomicI64::default(), answered: AtomicI64::default() }
    }

    fn link(&self, n: i64) -> i64 {
        self.first + n * VISITORS
    }

    /// A quarter at a time, so that copies are made meanwhile, however slow that is.
    fn follow(&self, address: SocketAddr, links: i64, copies: &AtomicUsize) {
        let mut connection = Client::connect(address);
        for n in 0..links {
            let quarters = usize::try_from(n * 4 / links).unwrap();
            eventually("it is copied", || copies.load(Ordering::SeqCst) >= quarters);
            self.asked.store(n + 1, Ordering::SeqCst);
            assert_eq!(connection.get(&format!("/k{}", self.link(n))).status, 302);
            self.answered.store(n + 1, Ordering::SeqCst);
        }
    }
}

/// The links that visitors have come to, by one of their counts.
fn reached(visitors: &[Visitor], count: impl Fn(&Visitor) -> &AtomicI64) -> BTreeSet<i64> {
    let links = |v| (0..count(v).load(Ordering::SeqCst)).map(|n| v.link(n)).collect::<Vec<_>>();
    visitors.iter().flat_map(links).collect()
}

#[test]
fn killed_under_load_at_any_moment_no_answered_click_is_lost_or_doubled() {
    const LINKS: i64 = 6000;
    let mut world = numbered_links(LINKS);
    world.spool.flush_ms = 1;
    let edge = world.start();
    let address = edge.address();
    let visitors: Vec<_> = (1..=VISITORS).map(Visitor::new).collect();
    let copies = AtomicUsize::new(0);
    let copy_and_check = || {
        let copy = copies.fetch_add(1, Ordering::SeqCst);
        let copy = world.spool_dir().with_extension(format!("copy{copy}"));
        let answered = reached(&visitors, |visitor| &visitor.answered);
        copy_spool(&world.spool_dir(), &copy);
        let asked = reached(&visitors, |visitor| &visitor.asked);
        let (recovered, found) = links_found(&world, &copy);
        assert_eq!(recovered.quarantined, 0);
        assert!(answered.is_subset(&found), "lost: {:?}", answered.difference(&found));
        assert!(found.is_subset(&asked), "invented: {:?}", found.difference(&asked));
        std::fs::remove_dir_all(&copy).unwrap();
        found
    };
    std::thread::scope(|scope| {
        let copies = &copies;
        let follow = |visitor| {
            scope.spawn(move || Visitor::follow(visitor, address, LINKS / VISITORS, copies))
        };
        let following: Vec<_> = visitors.iter().map(follow).collect();
        while !following.iter().all(|visitor| visitor.is_finished()) {
            copy_and_check();
        }
    });
    assert_eq!(copy_and_check(), (1..=LINKS).collect());
    assert!(copies.into_inner() > 3, "it was not copied under load");
    world.store.set(Mood::Stores);
}

#[test]
fn a_start_that_dies_again_and_again_repeats_nothing() {
    let mut world = numbered_links(100);
    world.spool.flush_ms = 60_000;
    world.config.drain_timeout_ms = 50;
    let edge = world.start();
    let mut client = Client::connect(edge.address());
    for link in 1..=100 {
        assert_eq!(client.get(&format!("/k{link}")).status, 302);
    }
    // Each generation starts on the copy of the one before, while the store is away.
    let mut dir = world.spool_dir();
    let mut edges = vec![edge];
    for generation in 1..=4 {
        let copy = world.spool_dir().with_extension(format!("{generation}"));
        copy_spool(&dir, &copy);
        let edge = world.start_on(&copy, &world.store).unwrap();
        let recovered = edge.recovered();
        let expected = if generation == 1 { (100, 0) } else { (0, 1) };
        assert_eq!((recovered.clicks, recovered.batches), expected);
        edges.push(edge);
        dir = copy;
    }
    world.config.drain_timeout_ms = 60_000;
    let copy = world.spool_dir().with_extension("last");
    copy_spool(&dir, &copy);
    let (_, found) = links_found(&world, &copy);
    assert_eq!(found, (1..=100).collect());
}
