//! Outbox → store: one task that gives each batch to the [`ClickSink`] until it has it.
//!
//! # In which order
//!
//! Batches are independent of each other. A store that was away finds a backlog, and people who look whether it
//! is back look at the clicks of just now. So, as long as the store answers, each oldest batch is followed by
//! a newest one: a fresh click waits for one batch, not for all of them, and the backlog still goes at half
//! of what the store can take. Not while the outbox is nearly full: what is behind the newest that was sent may
//! have been sent, too, and cannot be compacted any more. A store that does not answer is asked with the oldest.
//!
//! # How many at once
//!
//! A store that takes several at once is given two; where both have been without an answer for [`STUCK`],
//! another one, up to [`LANES`]: what the store is silent about, for as long as an answer may take, holds up no
//! others. The first answer ends the waits of all.

mod clickhouse;
pub(crate) mod losses;
mod straight;
mod url;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use carom_shared::Random;
use carom_shared::batch::Token;
use carom_shared::exposition::Exposition;
use carom_shared::internal::LossReport;
use carom_shared::trace::TARGET;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use tracing::field::Empty;

use crate::metrics::Metrics;
use crate::spool::Spool;
use crate::spool::outbox::{End, Outbox};

pub use straight::StraightSink;
pub use url::ClicksUrls;

/// Where batches of clicks are stored.
pub trait ClickSink: Send + Sync + 'static {
    /// Stores a batch under its token, all of it or nothing. The same token may come again, and is
    /// then recognised.
    fn store(&self, token: Token, batch: Bytes) -> SinkFuture;

    /// Tells who shows statistics what could not be kept. May come again.
    fn report_losses(&self, report: LossReport) -> LossFuture;

    /// What it counts, if it is a store of its own.
    fn counts(&self) -> SinkCounts {
        SinkCounts::default()
    }

    /// Whether it takes another batch while one is under way. A store with one writer would only let it
    /// wait.
    fn takes_several(&self) -> bool {
        false
    }
}

/// What an edge counts that stores its clicks itself; another one has zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkCounts {
    /// Batches.
    pub straight: u64,
    /// Batches that went by way of control.
    pub by_control: u64,
    /// Bytes of requests to the store.
    pub bytes: u64,
    /// Seconds since no batch could be stored straight; 0: the last one was.
    pub away_s: u64,
}

impl SinkCounts {
    /// Adds them to the page at `/metrics`.
    pub(crate) fn render(&self, page: &mut Exposition) {
        page.counter("carom_edge_batches_stored_total", "Batches that are to go straight, by way.")
            .sample(&[("way", "straight")], self.straight)
            .sample(&[("way", "control")], self.by_control);
        page.counter("carom_edge_store_bytes_total", "Bytes of requests to the store of clicks.")
            .sample(&[], self.bytes);
        page.gauge(
            "carom_edge_store_away_seconds", "Since when no batch could be stored straight.",
        )
        .sample(&[], self.away_s);
    }
}

pub type SinkFuture = Pin<Box<dyn Future<Output = Result<Stored, SinkError>> + Send>>;

pub type LossFuture = Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send>>;

/// The batch is in the store, and this call knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// By this call.
    New,
    /// Since an earlier one.
    Already,
}

/// Why a batch is not stored; the text is for the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SinkError {
    /// The store cannot take it now, or it is not known whether it did: ask again.
    #[error("{0}")]
    Unavailable(String),
    /// The store will never take it: the batch is damaged, or older than the store can recognise.
    #[error("{0}")]
    Refused(String),
}

const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// What clicks wait at most, beside what else they wait for, once the store is back: people look at
/// their figures and want to see that it is. A fleet that asks so often is no load for a store.
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// Batches that are under way at once, at most, and how many of them if none is stuck. Two: the store's
/// own work is what takes long.
const LANES: usize = 4;
const LANES_CALM: usize = 2;
/// A batch without an answer for so long makes room for another one.
const STUCK: Duration = Duration::from_secs(2);
/// How often a lane that is not in use looks whether it is.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Failed tries after which another batch may go first: what is wrong may be this one's own.
const TRIES: u32 = 10;

/// The batch that a lane has under way, and since when.
#[derive(Default)]
struct Lane(Mutex<Option<(Token, Instant)>>);

/// All of them, and who waits for the store to answer again.
#[derive(Default)]
struct Lanes {
    all: [Lane; LANES],
    answered: Notify,
}

impl Lanes {
    fn have(&self, token: &Token) -> bool {
        self.all.iter().any(|lane| lane.under_way().as_ref().is_some_and(|(held, _)| held == token))
    }

    /// Whether each of the first so many has been without an answer for too long.
    fn are_stuck(&self, first: usize) -> bool {
        let since = |lane: &Lane| lane.under_way().as_ref().map(|(_, since)| since.elapsed());
        self.all[..first].iter().all(|lane| since(lane).is_some_and(|time| time >= STUCK))
    }
}

impl Lane {
    fn take(&self, token: &Token) {
        *self.under_way() = Some((token.clone(), Instant::now()));
    }

    fn let_go(&self) {
        *self.under_way() = None;
    }

    fn under_way(&self) -> MutexGuard<'_, Option<(Token, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Shipper {
    /// The lock on the folder: nobody else may have it while a write of this is under way.
    pub(crate) spool: Arc<Spool>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) sink: Arc<dyn ClickSink>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) metrics: Arc<Metrics>,
    /// What waits for the disk. One that hangs must not hold up who else is on the same thread: look-ups,
    /// the feed, health.
    pub(crate) on_disk: TaskTracker,
    /// Cancelled: the time until everything ends is short, so waits are.
    pub(crate) stop: CancellationToken,
}

impl Shipper {
    /// Ships batches, for ever. Cancelled between any two steps it loses nothing: a batch leaves the
    /// outbox only after the store has it.
    pub(crate) async fn run(self) {
        let lanes = Lanes::default();
        let lane = |index| self.lane(&lanes, index);
        tokio::join!(lane(0), lane(1), lane(2), lane(3));
    }

    /// Ships what no other lane has under way.
    async fn lane(&self, lanes: &Lanes, index: usize) {
        let Self { outbox, metrics, .. } = self;
        let own = &lanes.all[index];
        let mut backoff = BACKOFF_MIN;
        let mut failed = 0_u32;
        let mut turn = End::Oldest;
        loop {
            let token = self.next(lanes, index, turn).await;
            own.take(&token);
            let span = tracing::info_span!(
                target: TARGET,
                "ship",
                carom.batch = %token,
                error = Empty,
            );
            let shipped = self.ship(&token).instrument(span.clone()).await;
            own.let_go();
            span.record("error", shipped.is_err());
            drop(span);
            let error = match shipped {
                Ok(Shipped::Done) => {
                    (backoff, failed, turn) = (BACKOFF_MIN, 0, turn.other());
                    metrics.store_away.set(0);
                    lanes.answered.notify_waiters();
                    continue;
                }
                Ok(Shipped::Gone) => continue,
                Err(error) => error,
            };
            if matches!(error, ShipError::Sink(_)) {
                metrics.store_away.set(1);
            }
            metrics.ship_errors.add(1);
            tracing::warn!(%error, batch = %token, retry_ms = backoff.as_millis(), "a batch of clicks is not stored yet");
            failed += 1;
            if failed.is_multiple_of(TRIES) {
                outbox.postpone(&token);
            }
            let was_answered = self.wait(backoff, &lanes.answered).await;
            backoff = if was_answered { BACKOFF_MIN } else { (backoff * 2).min(BACKOFF_MAX) };
        }
    }

    /// One try.
    async fn ship(&self, token: &Token) -> Result<Shipped, ShipError> {
        let metrics = &self.metrics;
        let Some(batch) = self.on_disk(token, begin).await? else { return Ok(Shipped::Gone) };
        match self.sink.store(token.clone(), Bytes::from(batch)).await {
            Ok(stored) => {
                self.on_disk(token, Outbox::remove).await?;
                metrics.batches_shipped.add(1);
                if stored == Stored::Already {
                    metrics.batches_repeated.add(1);
                }
                Ok(Shipped::Done)
            }
            Err(SinkError::Refused(reason)) => {
                let aside = self.on_disk(token, Outbox::quarantine).await?;
                metrics.batches_quarantined.add(1);
                tracing::error!(path = %aside.display(), reason, "a batch of clicks was refused and set aside");
                Ok(Shipped::Done)
            }
            Err(error @ SinkError::Unavailable(_)) => Err(ShipError::Sink(error)),
        }
    }

    /// Runs a step that waits for the disk; to its end, also if nobody waits for it any more.
    async fn on_disk<T: Send + 'static>(
        &self,
        token: &Token,
        step: impl FnOnce(&Outbox, &Token) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ShipError> {
        let (spool, outbox) = (Arc::clone(&self.spool), Arc::clone(&self.outbox));
        let token = token.clone();
        let step = move || {
            let done = step(&outbox, &token);
            drop(spool);
            done
        };
        let done = self.on_disk.spawn_blocking(step).await;
        done.map_err(io::Error::other).flatten().map_err(ShipError::Io)
    }

    /// What a lane ships next, once it is in use and there is something.
    async fn next(&self, lanes: &Lanes, index: usize, turn: End) -> Token {
        let is_free = |token: &Token| !lanes.have(token);
        loop {
            let is_in_use = match index {
                0 => true,
                1..LANES_CALM => self.sink.takes_several(),
                _ => self.sink.takes_several() && lanes.are_stuck(index),
            };
            let is_answering = self.metrics.store_away.get() == 0;
            let end =
                if is_answering && !self.outbox.is_under_pressure() { turn } else { End::Oldest };
            match self.outbox.first(end, is_free).filter(|_| is_in_use) {
                Some(token) => return token,
                // Those beside the first one are for what waits already.
                None if index > 0 => tokio::time::sleep(ASK_EVERY).await,
                None => self.outbox.handed_over().await,
            }
        }
    }

    /// Waits for half of the time at least, and for a random part of the rest: the edges of a fleet
    /// should not come back to their store at once. A stop ends the wait, and makes later ones
    /// short. So does an answer to another lane, and whether that came is returned.
    async fn wait(&self, backoff: Duration, answered: &Notify) -> bool {
        let mut byte = [0];
        self.random.fill(&mut byte);
        let jittered = backoff / 2 + backoff / 512 * u32::from(byte[0]);
        if self.stop.is_cancelled() {
            tokio::time::sleep(jittered.min(BACKOFF_MIN)).await;
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(jittered) => false,
            () = self.stop.cancelled() => false,
            () = answered.notified() => true,
        }
    }
}

/// Takes a batch in hand: from here on nobody compacts it. `None`: somebody does, or it is not there.
fn begin(outbox: &Outbox, token: &Token) -> io::Result<Option<Vec<u8>>> {
    if !outbox.may_be_sent(token)? {
        return Ok(None);
    }
    match outbox.read(token) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::error!(batch = %token, "a batch of clicks was removed from the outbox by someone else");
            outbox.forget(token);
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// What became of a batch that was tried.
enum Shipped {
    /// The store has said what it does with it, and it has left the outbox.
    Done,
    /// There was nothing to ship: it is being compacted.
    Gone,
}

#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error("outbox: {0}")]
    Io(io::Error),
    #[error("store: {0}")]
    Sink(SinkError),
}
