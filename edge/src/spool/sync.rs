//! The thread that puts clicks on the disk behind the backs of those who record and drain them, and
//! keeps the pages of the next segments in memory.
//!
//! What the power failing costs is a setting, [`Durability`]:
//!
//! - `process`: this thread syncs nothing; clicks are on the disk once they are in a batch.
//! - `interval`: it syncs what lies behind the writers, so often that a click is on the disk
//!   within the interval. No edge thread waits for it or knows of it.
//! - `always`: an edge thread asks for a sync after each click and sends the response when it has
//!   happened. One sync serves all who asked before it began.
//!
//! A sync that fails is not repeated: the segment is retired (`map`), its clicks are drained from
//! memory into a batch, which is another file.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use carom_process::{BEHIND_VISITORS, stand_back};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::SpoolConfig;
use super::losses::Losses;
use super::map::{Reach, Tail, Tailed};
use super::ring::{Exchange, POPULATED, RingReader, lock};
use crate::metrics::{Metrics, OnPanic};

/// What the power failing may cost. A kill of the process costs nothing in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Clicks that are in no batch yet: about `spool.flush_ms`.
    Process,
    /// Clicks of the last `spool.sync_interval_ms`.
    #[default]
    Interval,
    /// Nothing: a response waits until its click is on the disk.
    Always,
}

/// How long a response waits for its sync, at most: a disk that hangs must not keep every visitor.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How often pages are looked after where nothing is to be synced.
const IDLE: Duration = Duration::from_millis(200);

/// Where a recorder asks for a sync and waits for it.
#[derive(Debug)]
pub(super) struct Gate {
    /// Clicks recorded when a sync was last asked for.
    asked: AtomicU64,
    /// Clicks that were recorded before a sync that has ended.
    synced: watch::Sender<u64>,
    syncer: OnceLock<Thread>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { asked: AtomicU64::new(0), synced: watch::Sender::new(0), syncer: OnceLock::new() }
    }
}

impl Gate {
    pub(super) fn ask(&self, recorded: u64) -> Synced {
        self.asked.store(recorded, Ordering::Release);
        if let Some(syncer) = self.syncer.get() {
            syncer.unpark();
        }
        Synced { recorded, synced: self.synced.subscribe() }
    }
}

/// A sync to come.
#[derive(Debug)]
pub(crate) struct Synced {
    recorded: u64,
    synced: watch::Receiver<u64>,
}

impl Synced {
    /// Waits for it; whether it came in time.
    pub(crate) async fn wait(mut self) -> bool {
        let came = self.synced.wait_for(|&synced| synced >= self.recorded);
        matches!(tokio::time::timeout(WAIT_MAX, came).await, Ok(Ok(_)))
    }
}

/// The syncing thread's part of a ring.
pub(crate) struct RingSync {
    exchange: Arc<Mutex<Exchange>>,
    gate: Arc<Gate>,
    tails: Vec<Tail>,
}

impl RingSync {
    pub(super) const fn new(exchange: Arc<Mutex<Exchange>>, gate: Arc<Gate>) -> Self {
        Self { exchange, gate, tails: Vec::new() }
    }

    /// Syncs once; returns the errors.
    pub(super) fn sync(&mut self, reach: Reach) -> Vec<io::Error> {
        // Before looking at what there is: all that was recorded by then will be seen.
        let asked = self.gate.asked.load(Ordering::Acquire);
        let counted = {
            let mut exchange = lock(&self.exchange);
            self.tails.append(&mut exchange.tails);
            exchange.counted()
        };
        let mut errors = Vec::new();
        self.tails.retain_mut(|tail| match tail.sync(reach) {
            Tailed::Open => true,
            Tailed::Done => false,
            Tailed::Failed(error) => {
                errors.push(error);
                false
            }
        });
        errors.extend(counted.filter_map(|words| words.sync().err()));
        // After an error, too: the clicks are in memory and will be drained from there, and a
        // visitor can do nothing about a disk.
        self.gate.synced.send_replace(asked);
        errors
    }

    fn is_asked(&self) -> bool {
        self.gate.asked.load(Ordering::Acquire) > *self.gate.synced.borrow()
    }

    fn populate(&self) {
        let populate: Vec<_> = {
            let exchange = lock(&self.exchange);
            let top = exchange.spares.iter().rev().take(POPULATED);
            top.filter_map(|(_, reader)| reader.populate()).collect()
        };
        populate.into_iter().for_each(|populate| populate());
    }
}

/// The syncing thread.
pub(crate) struct Syncer {
    rings: Vec<RingSync>,
    durability: Durability,
    interval: Duration,
    losses: Arc<Losses>,
    metrics: Arc<Metrics>,
}

/// A syncing thread that runs; ends when this is dropped.
pub(crate) struct SyncThread {
    thread: Option<JoinHandle<()>>,
    finish: Arc<AtomicBool>,
}

impl SyncThread {
    pub(crate) fn start(syncer: Syncer) -> io::Result<Self> {
        let finish = Arc::new(AtomicBool::new(false));
        let finished = Arc::clone(&finish);
        let gates: Vec<_> = syncer.rings.iter().map(|ring| Arc::clone(&ring.gate)).collect();
        let thread = std::thread::Builder::new().name("syncer".to_owned()).spawn(move || {
            // With `always`, responses wait for this thread.
            if syncer.durability != Durability::Always {
                stand_back(BEHIND_VISITORS);
            }
            let metrics = Arc::clone(&syncer.metrics);
            let _lost = OnPanic(|| metrics.threads_lost.add(1));
            syncer.run(&finished);
        })?;
        for gate in gates {
            // Nobody set it before: a gate has one syncer.
            drop(gate.syncer.set(thread.thread().clone()));
        }
        Ok(Self { thread: Some(thread), finish })
    }

    /// Tells it to end, without waiting for it.
    pub(crate) fn finish(&self) -> Option<&JoinHandle<()>> {
        self.finish.store(true, Ordering::Release);
        self.thread.as_ref().inspect(|thread| thread.thread().unpark())
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Syncer {
    pub(crate) fn new(
        rings: &[RingReader],
        config: &SpoolConfig,
        losses: Arc<Losses>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            rings: rings.iter().map(RingReader::sync).collect(),
            durability: config.durability,
            interval: Duration::from_millis(config.sync_interval_ms),
            losses,
            metrics,
        }
    }

    fn run(mut self, finish: &AtomicBool) {
        let pause = match self.durability {
            // A page that is written to is put off by one look: two looks are the interval.
            Durability::Interval => self.interval / 2,
            Durability::Process | Durability::Always => IDLE,
        };
        while !finish.load(Ordering::Acquire) {
            let is_asked = self.rings.iter().any(RingSync::is_asked);
            if !is_asked {
                self.rings.iter().for_each(RingSync::populate);
                std::thread::park_timeout(pause);
            }
            let reach = match self.durability {
                Durability::Process => continue,
                Durability::Interval => Reach::Behind,
                Durability::Always => Reach::End,
            };
            for ring in &mut self.rings {
                for error in ring.sync(reach) {
                    self.metrics.sync_errors.add(1);
                    tracing::error!(%error, "clicks could not be put on the disk; their file is given up, and they go on from memory");
                }
            }
        }
        drop(self.losses.sync());
    }
}
