//! Outbox → store: one task that gives each batch to the [`ClickSink`] until it has it.
//!
//! A store that takes several at once is given [`LANES`]: one that it is slow with, or silent about for as
//! long as an answer may take, does not hold up all others.

mod clickhouse;
mod straight;
mod url;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use carom_shared::Random;
use carom_shared::batch::Token;
use carom_shared::exposition::Exposition;
use carom_shared::trace::TARGET;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing::field::Empty;

use crate::metrics::Metrics;
use crate::spool::outbox::Outbox;

pub use straight::StraightSink;
pub use url::ClicksUrls;

/// Where batches of clicks are stored.
pub trait ClickSink: Send + Sync + 'static {
    /// Stores a batch under its token, all of it or nothing. The same token may come again, and is
    /// then recognised.
    fn store(&self, token: Token, batch: Bytes) -> SinkFuture;

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
/// Batches that are under way at once, at most. Two: the store's own work is what takes long.
const LANES: usize = 2;
/// How often it is asked whether the store takes several.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Failed tries after which another batch may go first: what is wrong may be this one's own.
const TRIES: u32 = 10;

/// The batch that a lane has under way.
#[derive(Default)]
struct Lane(Mutex<Option<Token>>);

type Lanes = [Lane; LANES];

impl Lane {
    fn has(&self, token: &Token) -> bool {
        self.token().as_ref() == Some(token)
    }

    fn take(&self, token: &Token) {
        *self.token() = Some(token.clone());
    }

    fn let_go(&self) {
        *self.token() = None;
    }

    fn token(&self) -> MutexGuard<'_, Option<Token>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Shipper {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) sink: Arc<dyn ClickSink>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) metrics: Arc<Metrics>,
    /// Cancelled: the time until everything ends is short, so waits are.
    pub(crate) stop: CancellationToken,
}

impl Shipper {
    /// Ships batches, oldest first, for ever. Cancelled between any two steps it loses nothing: a
    /// batch leaves the outbox only after the store has it.
    pub(crate) async fn run(self) {
        let lanes = Lanes::default();
        // On one task: what is noted durably before a batch is sent is noted by one of them at a time.
        tokio::join!(self.lane(&lanes[0], &lanes[1], true), self.lane(&lanes[1], &lanes[0], false));
    }

    /// Ships what the other lane does not have; the second only where the store takes several.
    async fn lane(&self, own: &Lane, other: &Lane, is_first: bool) {
        let Self { outbox, sink, metrics, .. } = self;
        let mut backoff = BACKOFF_MIN;
        let mut failed = 0_u32;
        loop {
            while !is_first && !sink.takes_several() {
                tokio::time::sleep(ASK_EVERY).await;
            }
            let token = outbox.next(|token| other.has(token)).await;
            own.take(&token);
            let span = tracing::info_span!(
                target: TARGET,
                "ship",
                carom.batch = %token,
                error = Empty,
            );
            let shipped = ship(outbox, &**sink, &token, metrics).instrument(span.clone()).await;
            own.let_go();
            span.record("error", shipped.is_err());
            drop(span);
            let Err(error) = shipped else {
                (backoff, failed) = (BACKOFF_MIN, 0);
                metrics.store_away.set(0);
                continue;
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
            self.wait(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Waits for half of the time at least, and for a random part of the rest: the edges of a fleet
    /// should not come back to their store at once. A stop ends the wait, and makes later ones
    /// short.
    async fn wait(&self, backoff: Duration) {
        let mut byte = [0];
        self.random.fill(&mut byte);
        let jittered = backoff / 2 + backoff / 512 * u32::from(byte[0]);
        if self.stop.is_cancelled() {
            return tokio::time::sleep(jittered.min(BACKOFF_MIN)).await;
        }
        tokio::select! {
            () = tokio::time::sleep(jittered) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// One try. `Ok` means that the batch has left the outbox.
async fn ship(
    outbox: &Outbox,
    sink: &dyn ClickSink,
    token: &Token,
    metrics: &Metrics,
) -> Result<(), ShipError> {
    let batch = match outbox.read(token) {
        Ok(batch) => Bytes::from(batch),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::error!(batch = %token, "a batch of clicks was removed from the outbox by someone else");
            outbox.forget(token);
            return Ok(());
        }
        Err(error) => return Err(ShipError::Io(error)),
    };
    outbox.may_be_sent(token).map_err(ShipError::Io)?;
    match sink.store(token.clone(), batch).await {
        Ok(stored) => {
            outbox.remove(token).map_err(ShipError::Io)?;
            metrics.batches_shipped.add(1);
            if stored == Stored::Already {
                metrics.batches_repeated.add(1);
            }
            Ok(())
        }
        Err(SinkError::Refused(reason)) => {
            let aside = outbox.quarantine(token).map_err(ShipError::Io)?;
            metrics.batches_quarantined.add(1);
            tracing::error!(path = %aside.display(), reason, "a batch of clicks was refused and set aside");
            Ok(())
        }
        Err(error @ SinkError::Unavailable(_)) => Err(ShipError::Sink(error)),
    }
}

#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error("outbox: {0}")]
    Io(std::io::Error),
    #[error("store: {0}")]
    Sink(SinkError),
}
