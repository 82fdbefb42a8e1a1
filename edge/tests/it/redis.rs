//! An edge with Redis between it and its control plane, on a real server: the one that
//! `TEST_REDIS_URL` names, where every test has an epoch of its own; and where a server has to die,
//! one that the test starts.

mod faults;
mod lookup;
mod race;
mod server;
mod stream;
#[cfg(feature = "tls")]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use carom_shared::redis::{COMPARE_AND_SET, PAGE_FIELD, RedisKeys, RouteValue, info_field};
use carom_shared::{
    FeedPage, FeedPosition, Random, RouteChange, RouteRecord, SystemRandom, TestClock,
};
use redis::Connection;
use tempfile::TempDir;

use crate::follow::{Control, Fleet, Shared, version};
use crate::world::{NOW, change, eventually, metric};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

/// The URL of the server that all tests share.
#[expect(clippy::disallowed_methods, reason = "tests are told in the environment where to go")]
pub(crate) fn shared_url() -> String {
    std::env::var("TEST_REDIS_URL").unwrap_or_else(|_| {
        panic!(
            "the feature redis-tests is on and TEST_REDIS_URL is not set: run deploy/test, or \
             eval \"$(deploy/services up redis)\" and export TEST_REDIS_URL=$REDIS_URL"
        )
    })
}

/// What control writes to Redis.
pub(crate) struct Writer {
    connection: Connection,
    keys: RedisKeys,
    epoch: u64,
}

impl Writer {
    pub(crate) fn new(url: &str, epoch: u64) -> Self {
        let client = redis::Client::open(url).unwrap();
        let connection = client.get_connection().unwrap_or_else(|error| {
            panic!("cannot reach the Redis that TEST_REDIS_URL names: {error}")
        });
        Self { connection, keys: RedisKeys::new(epoch), epoch }
    }

    fn run_id(&mut self) -> String {
        let info: String = redis::cmd("INFO").arg("server").query(&mut self.connection).unwrap();
        info_field(&info, "run_id").unwrap().to_owned()
    }

    /// Says for so long that what is not here does not exist.
    fn give_lease(&mut self, time: Duration) {
        let run_id = self.run_id();
        self.give_lease_for(&run_id, time);
    }

    fn give_lease_for(&mut self, run_id: &str, time: Duration) {
        let mut set = redis::cmd("SET");
        set.arg(self.keys.lease()).arg(run_id).arg("PX").arg(time.as_millis().to_string());
        set.exec(&mut self.connection).unwrap();
    }

    fn take_lease(&mut self) {
        redis::cmd("DEL").arg(self.keys.lease()).exec(&mut self.connection).unwrap();
    }

    pub(crate) fn put(&mut self, code: &str, record: RouteRecord) -> u64 {
        let change = change(code, record);
        let key = self.keys.route(change.domain, &change.code);
        let value = RouteValue(change.record).to_bytes();
        let mut set = redis::cmd("EVAL");
        set.arg(COMPARE_AND_SET).arg(1).arg(key).arg(value).query(&mut self.connection).unwrap()
    }

    fn page(&self, head: u64, first: u64, changes: Vec<RouteChange>) -> FeedPage {
        let first = if changes.is_empty() { 0 } else { first };
        FeedPage { head: FeedPosition { epoch: self.epoch, seq: head }, first, changes }
    }

    /// Tells of changes from this number on.
    pub(crate) fn announce(&mut self, head: u64, first: u64, changes: Vec<RouteChange>) {
        let page = self.page(head, first, changes).to_bytes();
        let mut add = redis::cmd("XADD");
        add.arg(self.keys.changes()).arg("*").arg(PAGE_FIELD).arg(page);
        add.exec(&mut self.connection).unwrap();
    }

    fn heartbeat(&mut self, head: u64) {
        self.announce(head, 0, Vec::new());
    }
}

/// A number that no other test has.
pub(crate) fn new_epoch() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom.fill(&mut bytes);
    u64::from_le_bytes(bytes) >> 16 | 1
}

/// A control plane, a Redis, and one edge.
struct Trio {
    control: Shared,
    redis: Writer,
    fleet: Fleet,
    _dir: TempDir,
}

impl Trio {
    /// With `/a`, which control and Redis know, and the edge not yet.
    fn start(url: &str) -> Self {
        let (control, address) = Control::start();
        let epoch = new_epoch();
        control.lock().unwrap().epoch = epoch;
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::new(NOW)));
        let control_url = format!("http://{address}");
        let mut redis = Writer::new(url, epoch);
        redis.put("a", version(1, "https://e.test/a"));
        control.lock().unwrap().routes.insert("a".into(), version(1, "https://e.test/a"));
        let fleet = Fleet::start_with(dir.path(), &control_url, Some(url), &clock);
        let trio = Self { control, redis, fleet, _dir: dir };
        trio.is_connected();
        trio
    }

    fn metric(&self, sample: &str) -> u64 {
        metric(self.fleet.edge(), sample)
    }

    fn reads(&self, outcome: &str) -> u64 {
        self.metric(&format!("carom_edge_l2_reads_total{{outcome=\"{outcome}\"}}"))
    }

    fn is_streaming(&self) -> bool {
        self.metric("carom_edge_feed_source{source=\"stream\"}") == 1
    }

    fn is_connected(&self) {
        eventually("Redis can be asked", || self.metric("carom_edge_l2_connected") == 1);
    }

    /// How often control was asked for a route.
    fn asked(&self) -> u64 {
        self.control.lock().unwrap().asked
    }

    /// How often control was asked for changes.
    fn asked_changes(&self) -> u64 {
        self.control.lock().unwrap().asked_changes
    }

    /// A change that control knows and Redis is not told of; its number.
    fn commit(&self, code: &str, record: RouteRecord) -> u64 {
        let mut control = self.control.lock().unwrap();
        control.put(code, record);
        control.head().seq
    }

    /// What a control plane does before it acknowledges a change.
    fn publish(&mut self, code: &str, record: RouteRecord) {
        // To the end: who asks meanwhile how far the feed goes would tell of a change that was not announced.
        let mut control = self.control.lock().unwrap();
        control.put(code, record.clone());
        let seq = control.head().seq;
        self.redis.put(code, record.clone());
        self.redis.announce(seq, seq, vec![change(code, record)]);
    }
}
