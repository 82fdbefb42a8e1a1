//! The stream of changes: quick, and made good where it lost something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use carom_shared::{Random, SeededRandom};

use crate::client::{Client, PATIENCE};
use crate::follow::{to, version};
use crate::world::{change, eventually};

use super::server::Server;
use super::{LONG, Trio, Writer, new_epoch, shared_url};

/// An edge that follows the stream.
fn streaming(url: &str) -> Trio {
    let mut trio = Trio::start(url);
    trio.redis.give_lease(LONG);
    assert_eq!(trio.fleet.leads("a"), to("https://e.test/a"));
    streams(&mut trio);
    trio
}

/// Waits until the stream is followed, and nothing else, and tells it how far the feed goes.
fn streams(trio: &mut Trio) {
    let begin = Instant::now();
    let mut asked = 0;
    while !trio.is_streaming() || asked != trio.asked_changes() {
        assert!(begin.elapsed() < PATIENCE, "the stream is not followed");
        asked = trio.asked_changes();
        let head = trio.control.lock().unwrap().head().seq;
        trio.redis.heartbeat(head);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Says how far the feed goes, ten times a second, until it is dropped.
struct Heart {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    fn of(trio: &Trio) -> Self {
        let mut redis = Writer::new(&shared_url(), trio.redis.epoch);
        let (control, stop) = (Arc::clone(&trio.control), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let head = control.lock().unwrap().head().seq;
                redis.heartbeat(head);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // What it panicked with, it has said.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

#[test]
fn changes_come_out_of_the_stream_and_control_rests() {
    let mut trio = streaming(&shared_url());
    let _heart = Heart::of(&trio);
    let asked = trio.asked_changes();
    for number in 2..12 {
        let target = format!("https://e.test/{number}");
        trio.publish("a", version(number, &target));
        let begin = Instant::now();
        while trio.fleet.leads("a") != to(&target) {
            assert!(begin.elapsed() < PATIENCE);
        }
    }
    assert_eq!(trio.asked_changes(), asked);
    assert!(trio.metric("carom_edge_stream_pages_total") >= 10);
    assert_eq!(trio.metric("carom_edge_stream_gaps_total"), 0);
}

#[test]
fn a_gap_is_made_good_and_what_is_beyond_it_does_not_wait() {
    let mut trio = streaming(&shared_url());
    let _heart = Heart::of(&trio);
    let begin = Instant::now();
    let first = trio.commit("a", version(2, "https://e.test/2"));
    let second = trio.commit("b", version(1, "https://e.test/b"));
    trio.redis.announce(second, second, vec![change("b", version(1, "https://e.test/b"))]);
    eventually("it is made good", || trio.fleet.leads("a") == to("https://e.test/2"));
    assert!(begin.elapsed() >= Duration::from_millis(200), "nobody waited for it");
    assert_eq!(trio.fleet.leads("b"), to("https://e.test/b"));
    let gaps = trio.metric("carom_edge_stream_gaps_total");
    assert!(gaps >= 1);

    // A change of which only a heartbeat tells.
    assert_eq!(first, 1);
    trio.commit("a", version(3, "https://e.test/3"));
    eventually("it is made good", || trio.fleet.leads("a") == to("https://e.test/3"));
    assert!(trio.metric("carom_edge_stream_gaps_total") > gaps);
    assert_eq!(trio.metric("carom_edge_feed_gaps_total"), 0);
}

#[test]
fn what_is_trimmed_before_it_was_read_is_made_good() {
    let mut trio = streaming(&shared_url());
    let _heart = Heart::of(&trio);
    let mut lost = redis::pipe();
    lost.atomic();
    for number in 2..40 {
        let seq = trio.commit("a", version(number, &format!("https://e.test/{number}")));
        let record = version(number, &format!("https://e.test/{number}"));
        let page = trio.redis.page(seq, seq, vec![change("a", record)]).to_bytes();
        lost.cmd("XADD").arg(trio.redis.keys.changes()).arg("*").arg("p").arg(page).ignore();
    }
    lost.cmd("XTRIM").arg(trio.redis.keys.changes()).arg("MAXLEN").arg(2).ignore();
    lost.exec(&mut trio.redis.connection).unwrap();
    eventually("the last change is there", || trio.fleet.leads("a") == to("https://e.test/39"));
    eventually("the others are asked for", || trio.metric("carom_edge_stream_gaps_total") > 0);
    assert_eq!(trio.metric("carom_edge_feed_gaps_total"), 0);
}

#[test]
fn a_stream_that_is_silent_or_gone_is_replaced_by_control() {
    let mut server = Server::start();
    let mut trio = streaming(&server.url());
    // Nobody tells of it, not even a heartbeat.
    trio.commit("a", version(2, "https://e.test/2"));
    eventually("it is heard of", || trio.fleet.leads("a") == to("https://e.test/2"));
    assert!(!trio.is_streaming());
    streams(&mut trio);

    server.kill();
    trio.commit("a", version(3, "https://e.test/3"));
    eventually("it is heard of", || trio.fleet.leads("a") == to("https://e.test/3"));
    assert!(!trio.is_streaming());

    server.start_again();
    trio.redis = Writer::new(&server.url(), trio.redis.epoch);
    streams(&mut trio);
    trio.publish("a", version(4, "https://e.test/4"));
    eventually("it is heard of", || trio.fleet.leads("a") == to("https://e.test/4"));
    assert!(trio.is_streaming());
}

#[test]
fn another_epoch_is_found_and_asked_for() {
    let mut trio = streaming(&shared_url());
    let epoch = new_epoch();
    {
        let mut control = trio.control.lock().unwrap();
        control.epoch = epoch;
        control.routes.clear();
        control.routes.insert("a".to_owned(), version(1, "https://e.test/restored"));
    }
    eventually("what was restored is served", || {
        trio.fleet.leads("a") == to("https://e.test/restored")
    });
    trio.redis = Writer::new(&shared_url(), epoch);
    trio.redis.put("b", version(1, "https://e.test/b"));
    trio.redis.give_lease(LONG);
    let asked = trio.asked();
    assert_eq!(trio.fleet.leads("b"), to("https://e.test/b"));
    assert_eq!(trio.fleet.leads("none").0, 404);
    assert_eq!(trio.asked(), asked);
    streams(&mut trio);
}

/// 10,000 changes of 500 links: in pages of any size, each page lost, doubled or late as it comes.
fn follows_10_000_changes(shuffled: bool) {
    const CODES: u64 = 500;
    let random = SeededRandom::new(7);
    let below = |n: u64| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % n
    };
    let mut trio = streaming(&shared_url());
    let mut pages = Vec::new();
    let mut next = 0;
    let mut versions = vec![0; usize::try_from(CODES).unwrap()];
    while next < 10_000 {
        let first = next + 1;
        let mut changes = Vec::new();
        for _ in 0..(1 + below(8)).min(10_000 - next) {
            let code = below(CODES);
            let held = &mut versions[usize::try_from(code).unwrap()];
            *held += 1;
            let (code, record) =
                (format!("c{code}"), version(*held, &format!("https://e.test/{held}")));
            trio.commit(&code, record.clone());
            changes.push(change(&code, record));
            next += 1;
        }
        pages.push((next, first, changes));
    }
    if shuffled {
        for at in 0..pages.len() {
            // Within what several control planes may be apart, and some anywhere.
            let far = if below(20) == 0 { pages.len() } else { 8 };
            let with = (at + usize::try_from(below(far as u64)).unwrap()).min(pages.len() - 1);
            pages.swap(at, with);
            if below(50) == 0 {
                pages[at] = pages[with].clone();
            }
        }
    }
    for (head, first, changes) in pages {
        trio.redis.announce(head, first, changes);
    }
    trio.redis.heartbeat(10_000);
    let mut client = Client::connect(trio.fleet.edge().address());
    for (code, version) in versions.iter().enumerate().filter(|(_, version)| **version > 0) {
        let (path, target) = (format!("/c{code}"), format!("https://e.test/{version}"));
        let begin = Instant::now();
        while client.get(&path).header("location") != Some(&*target) {
            assert!(begin.elapsed() < PATIENCE, "{path} is not {target}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    if !shuffled {
        assert_eq!(trio.metric("carom_edge_stream_gaps_total"), 0);
    }
    assert_eq!(trio.asked(), 0);
}

#[test]
fn ten_thousand_changes_in_order() {
    follows_10_000_changes(false);
}

#[test]
fn ten_thousand_changes_in_disorder_lead_to_the_same() {
    follows_10_000_changes(true);
}
