//! Ring → batch → outbox: the one thread that turns recorded clicks into batches.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use carom_shared::batch::{BatchBuilder, Range};
use carom_shared::{Clock, RawClick};

use crate::enrich::Enricher;
use crate::metrics::{Metrics, OnPanic};
use crate::spool::Spool;
use crate::spool::outbox::Outbox;
use crate::spool::ring::RingReader;

/// Rows at which a batch is cut before its time: a store takes so many in one transaction without
/// keeping others waiting.
const CUT_ROWS: usize = 50_000;

/// How often an idle drainer looks. A ring's spare segments last longer at any rate that a thread
/// can answer.
const IDLE: Duration = Duration::from_millis(50);

/// Wait after a failed write: the disk is full or broken, and clicks stay in the ring.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) struct Drainer {
    /// The lock on the folder: nobody else may have it while a write of this thread is under way,
    /// however long the disk takes.
    pub(crate) _spool: Arc<Spool>,
    pub(crate) rings: Vec<RingReader>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) flush: Duration,
}

/// The drainer's thread.
pub(crate) struct DrainThread {
    /// Ends with whether the rings are empty.
    thread: JoinHandle<bool>,
    orders: Arc<Orders>,
}

#[derive(Default)]
struct Orders {
    /// Nothing will be recorded any more: empty the rings and end.
    finish: AtomicBool,
    /// Waiting is over: what is not written by now stays in the ring for the next start.
    give_up: AtomicBool,
}

impl DrainThread {
    pub(crate) fn start(drainer: Drainer) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let taken = Arc::clone(&orders);
        let thread = std::thread::Builder::new().name("drainer".to_owned()).spawn(move || {
            let metrics = Arc::clone(&drainer.metrics);
            let _lost = OnPanic(|| metrics.threads_lost.add(1));
            drainer.run(&taken)
        })?;
        Ok(Self { thread, orders })
    }

    /// Empties the rings and ends, at the latest at `until`; whether they are empty.
    pub(crate) fn finish(self, until: Instant) -> bool {
        self.orders.finish.store(true, Ordering::Release);
        self.thread.thread().unpark();
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.orders.give_up.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.is_finished() && self.thread.join().unwrap_or(false)
    }
}

impl Drainer {
    /// Runs until it is told to finish, and every ring is empty or it is told to give up; returns
    /// whether they are empty.
    fn run(mut self, orders: &Orders) -> bool {
        let mut builder = BatchBuilder::new();
        let mut enricher = Enricher::default();
        let mut oldest: Option<Instant> = None;
        loop {
            // Before reading: whatever was recorded before the order is then read.
            let finishing = orders.finish.load(Ordering::Acquire);
            let Ok(read) = self.until_done(orders, "read the click ring", |drainer| {
                drainer.read(&mut builder, &mut enricher)
            }) else {
                return false;
            };
            if !builder.is_empty() {
                oldest.get_or_insert_with(Instant::now);
            }
            let due = oldest.is_some_and(|oldest| oldest.elapsed() >= self.flush);
            if !builder.is_empty() && (finishing || due || builder.len() >= CUT_ROWS) {
                oldest = None;
                if self.cut(&mut builder, orders).is_err() {
                    return false;
                }
            } else if finishing {
                return true;
            } else if read == 0 {
                std::thread::park_timeout(IDLE);
            }
        }
    }

    fn read(&mut self, builder: &mut BatchBuilder, enricher: &mut Enricher) -> io::Result<usize> {
        let mut read = 0;
        for ring in &mut self.rings {
            read +=
                ring.read(CUT_ROWS - builder.len(), |payload| match RawClick::decode(payload) {
                    Ok(click) => builder.push(&enricher.enrich(&click)),
                    Err(error) => {
                        self.metrics.clicks_unreadable.add(1);
                        tracing::error!(%error, "a recorded click cannot be read");
                    }
                })?;
        }
        let in_use = self.rings.iter().map(RingReader::segments_in_use).sum::<usize>();
        self.metrics.ring_segments.set(in_use as u64);
        Ok(read)
    }

    /// Writes what was read as a batch, then lets the ring have its room back. The error is that it
    /// was told to give up; the clicks are then still in the ring.
    fn cut(&mut self, builder: &mut BatchBuilder, orders: &Orders) -> Result<(), GivenUp> {
        let ranges: Vec<Range> = self.rings.iter().flat_map(RingReader::ranges).collect();
        let rows = builder.len() as u64;
        let batch = builder.finish(self.clock.now(), &ranges);
        let token = self.outbox.name(&batch);
        self.until_done(orders, "write a batch of clicks", |drainer| {
            drainer.outbox.put(&token, &batch)
        })?;
        // A batch whose segments are not marked must not be shipped: were it stored, removed, and
        // the machine then stopped, its clicks would be drained again.
        self.until_done(orders, "mark clicks as drained", |drainer| {
            drainer.rings.iter_mut().try_for_each(RingReader::mark_drained)
        })?;
        self.outbox.hand_over(token);
        self.metrics.clicks_drained.add(rows);
        self.metrics.batch_bytes.add(batch.bytes.len() as u64);
        Ok(())
    }

    fn until_done<T>(
        &mut self,
        orders: &Orders,
        what: &str,
        mut attempt: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> Result<T, GivenUp> {
        loop {
            match attempt(self) {
                Ok(done) => return Ok(done),
                Err(error) => {
                    self.metrics.spool_errors.add(1);
                    tracing::error!(%error, "cannot {what}; clicks wait in the ring");
                }
            }
            if orders.give_up.load(Ordering::Acquire) {
                return Err(GivenUp);
            }
            std::thread::park_timeout(RETRY);
        }
    }
}

struct GivenUp;
