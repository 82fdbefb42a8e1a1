//! What gives when clicks cannot go where they should: detail before counts, counts before visitors.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use carom_edge::{Durability, Edge, Loss, OnOverload, Pressure};
use rustix::fs::OFlags;

use crate::client::Client;
use crate::world::{Mood, Running, World, eventually, files, metric, route};

/// Takes the outbox away from an edge, as a disk that fails would.
struct Broken {
    outbox: PathBuf,
    away: PathBuf,
}

impl Broken {
    fn new(world: &World) -> Self {
        let (outbox, away) = (world.spool_dir().join("outbox"), world.spool_dir().join("away"));
        std::fs::rename(&outbox, &away).unwrap();
        Self { outbox, away }
    }

    fn mend(self) {
        std::fs::rename(self.away, self.outbox).unwrap();
    }
}

/// A world whose edge has one thread with the smallest ring and the smallest tables.
fn small() -> World {
    let mut world = World::with_link();
    world.config.threads = 1;
    world.spool.ring_bytes = 0;
    world.spool.count_bytes = 0;
    world
}

/// Visitors of `/abc` with requests that fill a ring quickly.
struct Crowd {
    client: Client,
    requests: String,
}

impl Crowd {
    fn new(edge: &Edge) -> Self {
        let long = "x".repeat(2000);
        let request = format!(
            "GET /abc HTTP/1.1\r\nHost: go.example.com\r\nUser-Agent: {long}\r\nReferer: {long}\r\n\r\n"
        );
        Self { client: Client::connect(edge.address()), requests: request.repeat(200) }
    }

    /// How many came, and were answered.
    fn come(&mut self) -> u64 {
        self.client.send(&self.requests);
        (0..200).for_each(|_| assert_eq!(self.client.reply().status, 302));
        200
    }
}

/// Follows `/abc` until something is so; how often.
fn follow_until(edge: &Edge, is_so: impl Fn() -> bool) -> u64 {
    let mut crowd = Crowd::new(edge);
    let mut answered = 0;
    while !is_so() {
        answered += crowd.come();
        assert!(answered < 50_000, "the ring has no limit");
    }
    answered
}

fn readiness(edge: &Edge) -> String {
    let reply = Client::connect(edge.admin_address()).get("/readyz");
    assert_eq!(reply.status, 200, "it can answer, so it is ready");
    reply.body
}

fn stored(world: &World) -> u64 {
    world.store.rows().iter().map(|row| u64::from(row.n)).sum()
}

#[test]
fn what_the_ring_cannot_hold_is_counted_and_stored_as_counts() {
    let world = small();
    let edge = world.start();
    assert_eq!((edge.pressure(), readiness(&edge).as_str()), (Pressure::None, "ready\n"));
    let broken = Broken::new(&world);
    let mut answered = follow_until(&edge, || edge.lost(Loss::Counted) > 0);
    assert_eq!(
        (edge.pressure(), metric(&edge, "carom_edge_pressure_level")),
        (Pressure::Counting, 4)
    );
    assert!(readiness(&edge).starts_with("ready; pressure 4 of 5: "));
    let counted = edge.lost(Loss::Counted);
    assert_eq!(metric(&edge, "carom_edge_clicks_counted_total{reason=\"ring_full\"}"), counted);
    assert_eq!(metric(&edge, "carom_edge_clicks_recorded_total") + counted, answered);

    broken.mend();
    // Visitors keep coming meanwhile.
    let mut crowd = Crowd::new(&edge);
    eventually("clicks are recorded again", || {
        answered += crowd.come();
        edge.pressure() == Pressure::None
    });
    drop(crowd);
    eventually("every click is stored", || stored(&world) == answered);
    let counted = edge.lost(Loss::Counted);
    let counts: Vec<_> = world.store.rows().into_iter().filter(|row| row.n > 1).collect();
    assert_eq!(counts.iter().map(|row| u64::from(row.n)).sum::<u64>(), counted);
    // More than one row if the table was taken while the ring was still full.
    assert!(!counts.is_empty() && counts.iter().all(|row| (row.link, row.status) == (7, 302)));
    assert!(edge.stop().ring_drained);
}

#[test]
fn what_cannot_be_counted_either_is_dropped_and_the_total_stays() {
    let world = small();
    for link in 1..=300 {
        world.links.put(&format!("k{link}"), route(1000 + link, "https://e.test/"));
    }
    let edge = world.start();
    let broken = Broken::new(&world);
    let mut answered = follow_until(&edge, || edge.lost(Loss::Counted) > 0);
    let mut client = Client::connect(edge.address());
    for link in 1..=300 {
        assert_eq!(client.get(&format!("/k{link}")).status, 302);
        answered += 1;
    }
    assert_eq!(edge.pressure(), Pressure::Dropping);
    let dropped = edge.lost(Loss::Dropped);
    assert!(dropped > 100);
    assert_eq!(metric(&edge, "carom_edge_clicks_dropped_total{reason=\"table_full\"}"), dropped);
    broken.mend();
    eventually("the rest is stored", || stored(&world) + dropped == answered);
    drop(client);
    assert!(edge.stop().ring_drained);
    let edge = world.start();
    assert_eq!(edge.lost(Loss::Dropped), dropped, "a restart forgets nothing");
    let told = || world.store.losses.lock().unwrap().last().cloned();
    eventually("whoever shows statistics is told", || told().is_some());
    let report = told().unwrap();
    assert!(report.is_possible());
    let [totals] = report.quarters[..] else { panic!("{report:?}") };
    assert_eq!((totals.dropped, totals.counted), (dropped, edge.lost(Loss::Counted)));
}

#[test]
fn an_operator_may_rather_refuse() {
    let mut world = small();
    world.config.on_overload = OnOverload::Refuse;
    let edge = world.start();
    let broken = Broken::new(&world);
    let mut client = Client::connect(edge.address());
    let long = "x".repeat(2000);
    let lines = ["GET /abc HTTP/1.1", "Host: go.example.com", &format!("User-Agent: {long}")];
    let mut answered = 0;
    loop {
        client.ask(&lines);
        match client.reply().status {
            302 => answered += 1,
            status => break assert_eq!(status, 503),
        }
        assert!(answered < 50_000, "the ring has no limit");
    }
    assert_eq!(edge.pressure(), Pressure::Counting);
    broken.mend();
    eventually("all that was answered is stored", || stored(&world) == answered);
    assert_eq!(edge.lost(Loss::Counted) + edge.lost(Loss::Dropped), 0);
    eventually("visitors are sent again", || {
        Client::connect(edge.address()).get("/abc").status == 302
    });
    eventually("nothing says that they are not", || edge.pressure() == Pressure::None);
}

#[test]
fn a_full_outbox_gives_up_detail_and_no_count() {
    let mut world = small();
    world.spool.max_bytes = 110_000;
    world.spool.flush_ms = 1;
    world.store.set(Mood::Unavailable);
    let edge = world.start();
    let outbox = world.spool_dir().join("outbox");
    let on_disk =
        || files(&outbox).iter().filter_map(|f| f.metadata().ok()).map(|f| f.len()).sum::<u64>();
    let mut client = Client::connect(edge.address());
    let mut answered = 0;
    while edge.lost(Loss::Compacted) < 500 {
        client.ask(&["GET /abc HTTP/1.1", "Host: go.example.com"]);
        assert_eq!(client.reply().status, 302);
        answered += 1;
        if answered % 40 == 0 {
            // Small batches, however slow the disk is: the last 64 cannot be compacted.
            eventually("clicks leave the ring", || {
                metric(&edge, "carom_edge_clicks_drained_total") == answered
            });
        }
        assert!(answered < 50_000, "nothing is compacted");
        assert!(on_disk() < 130_000, "it has no limit");
    }
    assert!(edge.pressure() >= Pressure::StoreAway);
    assert!(metric(&edge, "carom_edge_outbox_bytes") <= 110_000);
    assert_eq!(metric(&edge, "carom_edge_outbox_bytes_limit"), 110_000);
    assert!(metric(&edge, "carom_edge_clicks_compacted_total{reason=\"outbox_full\"}") >= 500);
    // It starts again in the middle of it.
    drop(client);
    edge.drop_without_stop();
    world.store.set(Mood::Stores);
    let edge = world.start();
    eventually("every click is stored", || stored(&world) == answered);
    let rows = world.store.rows();
    assert!(rows.len() as u64 + 400 < answered, "some are counts");

    assert!(edge.stop().ring_drained);
}

#[test]
fn a_click_that_must_be_on_the_disk_is_answered_and_stored_once() {
    let mut world = World::with_link();
    world.spool.durability = Durability::Always;
    let edge = world.start();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(edge.address());
                for _ in 0..25 {
                    assert_eq!(client.get("/abc").status, 302);
                }
            });
        }
    });
    assert_eq!(metric(&edge, "carom_edge_clicks_unsynced_total"), 0);
    assert_eq!(edge.stop().clicks_recorded, 200);
    assert_eq!(world.store.clicks_by_link(), [(7, 200)].into());
}

/// The background runtime has one thread here: on it are look-ups, the feed, and health.
#[test]
fn a_disk_that_hangs_holds_up_no_health_and_no_look_up() {
    let world = World::with_link();
    world.store.set(Mood::Unavailable);
    let edge = world.start();
    assert_eq!(Client::connect(edge.address()).get("/abc").status, 302);
    let outbox = world.spool_dir().join("outbox");
    let batch = || files(&outbox).into_iter().find(|path| path.extension().unwrap() == "clk");
    eventually("a batch waits", || batch().is_some());
    let (batch, aside) = (batch().unwrap(), world.spool_dir().join("aside"));
    // Whoever reads it waits for ever.
    let pipe = world.spool_dir().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::copy(&batch, &aside).unwrap();
    std::fs::rename(&pipe, &batch).unwrap();
    std::fs::hard_link(&batch, &pipe).unwrap();
    // It opens once somebody reads.
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let mut disk = None;
    eventually("it hangs", || {
        disk = options.open(&pipe).ok();
        disk.is_some()
    });
    assert!(readiness(&edge).starts_with("ready"));
    world.links.put("new", route(8, "https://e.test/"));
    assert_eq!(Client::connect(edge.address()).get("/new").status, 302);
    std::fs::rename(&aside, &batch).unwrap();
    world.store.set(Mood::Stores);
    let bytes = std::fs::read(&batch).unwrap();
    disk.unwrap().write_all(&bytes).unwrap();
    eventually("all is stored", || stored(&world) == 2);
}

#[test]
fn an_edge_that_is_dropped_leaves_its_clicks_and_nothing_else() {
    let mut world = World::with_link();
    (world.spool.flush_ms, world.config.drain_timeout_ms) = (60_000, 60_000);
    let edge: Running = world.start();
    let address = edge.address();
    let mut client = Client::connect(address);
    for _ in 0..10 {
        assert_eq!(client.get("/abc").status, 302);
    }
    let begin = Instant::now();
    edge.drop_without_stop();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(client.is_ended());
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens");
    // Its threads are gone, so its lock is.
    let edge = world.start();
    assert_eq!(edge.recovered().clicks, 10);
    assert_eq!(edge.stop().batches_waiting, 0);
    assert_eq!(world.store.clicks_by_link(), [(7, 10)].into());
}
