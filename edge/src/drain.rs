//! Ring → batch → outbox: the one thread that turns recorded clicks into batches.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use carom_process::stand_back;
use carom_shared::batch::{BatchBuilder, Range};
use carom_shared::trace::TARGET;
use carom_shared::{Clock, RawClick};
use tracing::field::Empty;

use crate::enrich::Enricher;
use crate::metrics::{Metrics, OnPanic};
use crate::server::scrub_stack;
use crate::spool::Spool;
use crate::spool::compact::Compactor;
use crate::spool::losses::{Loss, Losses};
use crate::spool::outbox::{Outbox, Waiting};
use crate::spool::ring::RingReader;
use crate::spool::snapshot::{SnapshotOrder, SpoolAccess, SpoolSnapshot};

/// Rows at which a batch is cut before its time: a store takes so many in one transaction without
/// keeping others waiting.
const CUT_ROWS: usize = 50_000;

/// The wait of a batch's first click grows by the setting with each so many batches that are not stored
/// yet, up to this limit. A store takes its time for a batch, however few clicks are in it: many small
/// ones, cut while it was away or slow, would take it longer than they took to come. Rejected: to merge
/// them later, for a file is the batch. The limit is what clicks, and addresses in the ring, then
/// wait; while the store answers it is lower, for then somebody could see them.
const BACKLOG_STEP: usize = 8;
const BACKLOG_FLUSH_MAX: Duration = Duration::from_secs(2);
const AWAY_FLUSH_MAX: Duration = Duration::from_secs(5);

/// Where visitors take all of a processor, a quarter of it is left for reading their clicks; one redirect
/// in ten microseconds needs a tenth. Where they ask faster than that, turns wait (`server/turnstile.rs`).
const NICENESS: i32 = 5;

/// Clicks, some 200 us, after which the drainer gives way: niceness says how much it gets of a processor that
/// visitors want, not in which pieces, and the kernel's are up to 4 ms.
const PIECE: usize = 256;

/// How often an idle drainer looks. A ring's spare segments last longer at any rate that a thread
/// can answer.
const IDLE: Duration = Duration::from_millis(50);

/// Wait after a failed write: the disk is full or broken, and clicks stay in the ring.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) struct Drainer {
    /// The lock on the folder: nobody else may have it while a write of this thread is under way,
    /// however long the disk takes.
    pub(crate) spool: Arc<Spool>,
    pub(crate) rings: Vec<RingReader>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) losses: Arc<Losses>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) enricher: Enricher,
    pub(crate) compactor: Compactor,
    pub(crate) flush: Duration,
}

/// The drainer's thread.
pub(crate) struct DrainThread {
    /// Ends with whether the rings are empty.
    thread: Option<JoinHandle<bool>>,
    orders: Arc<Orders>,
}

#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// Nothing will be recorded any more: empty the rings and end.
    finish: AtomicBool,
    /// Waiting is over: what is not written by now stays in the ring for the next start.
    give_up: AtomicBool,
    /// Empty the rings, and take a snapshot of the spool.
    snapshot: Mutex<Option<SnapshotOrder>>,
    snapshots: AtomicU32,
}

impl Orders {
    /// Asks for a snapshot, instead of one that was asked for and not begun. The drainer is to be
    /// woken.
    pub(crate) fn ask_for_snapshot(&self) -> Receiver<io::Result<SpoolSnapshot>> {
        let number = self.snapshots.fetch_add(1, Ordering::Relaxed);
        let (order, answer) = SnapshotOrder::new(number);
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
        answer
    }

    fn take_snapshot_order(&self) -> Option<SnapshotOrder> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl DrainThread {
    pub(crate) fn start(drainer: Drainer) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let taken = Arc::clone(&orders);
        let thread = std::thread::Builder::new().name("drainer".to_owned()).spawn(move || {
            stand_back(NICENESS);
            let metrics = Arc::clone(&drainer.metrics);
            let _lost = OnPanic(|| metrics.threads_lost.add(1));
            let is_empty = drainer.run(&taken);
            // Whoever waits for one hears that there will be none.
            drop(taken.take_snapshot_order());
            is_empty
        })?;
        Ok(Self { thread: Some(thread), orders })
    }

    /// Empties the rings and ends, at the latest at `until`; whether they are empty.
    pub(crate) fn finish(&mut self, until: Instant) -> bool {
        self.orders.finish.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return false };
        thread.thread().unpark();
        while !thread.is_finished() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.orders.give_up.store(true, Ordering::Release);
        thread.thread().unpark();
        thread.is_finished() && thread.join().unwrap_or(false)
    }

    pub(crate) fn access(&self) -> SpoolAccess {
        let drainer = self.thread.as_ref().map(|thread| thread.thread().clone());
        SpoolAccess { orders: Arc::clone(&self.orders), drainer }
    }

    /// Tells it to end without writing anything more, and does not wait for it.
    pub(crate) fn give_up(&self) -> Option<&JoinHandle<bool>> {
        self.orders.finish.store(true, Ordering::Release);
        self.orders.give_up.store(true, Ordering::Release);
        self.thread.as_ref().inspect(|thread| thread.thread().unpark())
    }
}

impl Drainer {
    /// Runs until it is told to finish, and every ring is empty or it is told to give up; returns
    /// whether they are empty.
    fn run(mut self, orders: &Orders) -> bool {
        let mut builder = BatchBuilder::new();
        let mut oldest: Option<Instant> = None;
        let mut counted_at = Instant::now();
        let mut snapshot: Option<SnapshotOrder> = None;
        loop {
            // Before reading: whatever was recorded before the order is then read.
            let finishing = orders.finish.load(Ordering::Acquire);
            snapshot = snapshot.or_else(|| orders.take_snapshot_order());
            let flushing = finishing || snapshot.is_some();
            if orders.give_up.load(Ordering::Acquire) {
                return false;
            }
            self.enricher.refresh(Instant::now());
            let room = CUT_ROWS - builder.len();
            let read = self.read(&mut builder);
            if !builder.is_empty() {
                oldest.get_or_insert_with(Instant::now);
            }
            let is_away = self.metrics.store_away.get() > 0;
            let flush = patience(self.flush, self.outbox.len(), is_away);
            let due = oldest.is_some_and(|oldest| oldest.elapsed() >= flush);
            let mut is_idle = read == 0;
            if !builder.is_empty() && (flushing || due || builder.len() >= CUT_ROWS) {
                (oldest, is_idle) = (None, false);
                if self.cut(&mut builder, orders).is_err() {
                    return false;
                }
            }
            if builder.is_empty() && (flushing || counted_at.elapsed() >= self.flush) {
                counted_at = Instant::now();
                match self.cut_counts(&mut builder, orders) {
                    Ok(tables) => is_idle &= tables == 0,
                    Err(GivenUp) => return false,
                }
            }
            // There was room for more: every ring was read to its end.
            if read < room
                && let Some(order) = snapshot.take()
            {
                order.carry_out(&self.spool);
            }
            match (is_idle, finishing) {
                (true, true) => return true,
                (true, false) => {
                    // The last click's address does not outlive it here either.
                    scrub_stack();
                    std::thread::park_timeout(IDLE);
                }
                (false, _) => {}
            }
        }
    }

    fn read(&mut self, builder: &mut BatchBuilder) -> usize {
        let Self { rings, enricher, metrics, losses, .. } = self;
        let mut read = 0;
        for ring in &mut *rings {
            let most = CUT_ROWS - builder.len();
            read += ring.read(most, |payload| {
                match RawClick::decode(payload) {
                    Ok(click) => builder.push(&enricher.enrich(&click)),
                    Err(error) => {
                        metrics.clicks_unreadable.add(1);
                        losses.add(Loss::Damaged, 1);
                        tracing::error!(%error, "a recorded click cannot be read");
                    }
                }
                if builder.len().is_multiple_of(PIECE) {
                    std::thread::yield_now();
                }
            });
            metrics.sync_errors.add(ring.take_failures());
        }
        let in_use = rings.iter().map(RingReader::segments_in_use).sum::<usize>();
        metrics.ring_segments.set(in_use as u64);
        read
    }

    /// Writes what was read as a batch, then lets the ring have its room back.
    fn cut(&mut self, builder: &mut BatchBuilder, orders: &Orders) -> Result<(), GivenUp> {
        let ranges: Vec<Range> = self.rings.iter().flat_map(RingReader::ranges).collect();
        let rows = builder.len() as u64;
        self.ship(builder, &ranges, false, orders, |drainer| {
            drainer.rings.iter_mut().try_for_each(RingReader::mark_drained)
        })?;
        self.metrics.clicks_drained.add(rows);
        Ok(())
    }

    /// Writes what was only counted, a batch for each table; returns how many there were.
    fn cut_counts(
        &mut self,
        builder: &mut BatchBuilder,
        orders: &Orders,
    ) -> Result<usize, GivenUp> {
        let mut tables = 0;
        for index in 0..self.rings.len() {
            let has_counted = self.rings[index].take_counts();
            if !has_counted {
                // Also of a thread that refused visitors instead, or set it after its table was taken.
                self.calm(index);
                continue;
            }
            tables += 1;
            let (damaged, range) = self.rings[index].counts(|row| builder.push(&row));
            self.losses.add(Loss::Damaged, damaged as u64);
            let mark = |drainer: &mut Self| drainer.rings[index].mark_counts_drained();
            match range {
                Some(range) if !builder.is_empty() => {
                    // What it lacks was given up when it was counted, and is told.
                    self.ship(builder, &[range], true, orders, mark)?;
                }
                _ => self.until_done(orders, "mark counts as drained", mark)?,
            }
            self.calm(index);
        }
        Ok(tables)
    }

    /// What a thread's ring cannot hold it says again at the next click.
    fn calm(&self, index: usize) {
        if let Some(worker) = self.metrics.workers.get(index) {
            worker.pressure.set(0);
        }
    }

    /// Writes a batch, marks what is in it, and gives it to the shipper. The error is that it was
    /// told to give up; the clicks are then still where they were.
    fn ship(
        &mut self,
        builder: &mut BatchBuilder,
        ranges: &[Range],
        is_compact: bool,
        orders: &Orders,
        mark: impl FnMut(&mut Self) -> io::Result<()>,
    ) -> Result<(), GivenUp> {
        let span = tracing::info_span!(
            target: TARGET,
            "drain",
            carom.rows = builder.len() as u64,
            carom.bytes = Empty,
        );
        let _entered = span.enter();
        let batch = builder.finish(self.clock.now(), ranges);
        span.record("carom.bytes", batch.bytes.len() as u64);
        let token = self.outbox.name(&batch);
        self.until_done(orders, "write a batch of clicks", |drainer| {
            drainer.relieve();
            drainer.outbox.put(&token, &batch)
        })?;
        // A batch whose segments are not marked must not be shipped: were it stored, removed, and
        // the machine then stopped, its clicks would be drained again.
        self.until_done(orders, "mark clicks as drained", mark)?;
        let bytes = batch.bytes.len() as u64;
        self.outbox.hand_over(Waiting { token, bytes, is_compact });
        self.metrics.batch_bytes.add(bytes);
        Ok(())
    }

    /// Makes room in the outbox, where that is needed and possible.
    fn relieve(&mut self) {
        if self.outbox.is_above_limit() || self.compactor.is_pending() {
            let relieved = self.compactor.relieve(&self.outbox, &*self.clock, &self.losses);
            if let Err(error) = relieved {
                self.metrics.spool_errors.add(1);
                tracing::error!(%error, "cannot compact the outbox; it is tried again");
            }
        }
    }

    fn until_done<T>(
        &mut self,
        orders: &Orders,
        what: &str,
        mut attempt: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> Result<T, GivenUp> {
        loop {
            match attempt(self) {
                Ok(done) => {
                    self.metrics.drain_stalled.set(0);
                    return Ok(done);
                }
                Err(error) => {
                    self.metrics.drain_stalled.set(1);
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

/// How long a batch's first click waits, while so many batches are not stored.
fn patience(flush: Duration, waiting: usize, is_away: bool) -> Duration {
    let steps = u32::try_from(1 + waiting / BACKLOG_STEP).unwrap_or(u32::MAX);
    let max = if is_away { AWAY_FLUSH_MAX } else { BACKLOG_FLUSH_MAX };
    flush.saturating_mul(steps).min(flush.max(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clicks_are_gathered_for_longer_while_batches_wait_up_to_a_limit() {
        for (flush_ms, waiting, answers_ms, away_ms) in [
            (1000, 0, 1000, 1000),
            (1000, 7, 1000, 1000),
            (1000, 8, 2000, 2000),
            (1000, 31, 2000, 4000),
            (1000, 1_000_000, 2000, 5000),
            (100, 80, 1100, 1100),
            (0, 1_000_000, 0, 0),
            (60_000, 0, 60_000, 60_000),
            (60_000, 1000, 60_000, 60_000),
            (u64::MAX, usize::MAX, u64::MAX, u64::MAX),
        ] {
            for (is_away, expected_ms) in [(false, answers_ms), (true, away_ms)] {
                let found = patience(Duration::from_millis(flush_ms), waiting, is_away);
                assert_eq!(
                    found,
                    Duration::from_millis(expected_ms),
                    "{flush_ms} {waiting} {is_away}"
                );
            }
        }
    }
}
