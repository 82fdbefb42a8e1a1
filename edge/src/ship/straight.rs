//! [`StraightSink`]: batches go straight into ClickHouse, and by way of control where that is better.
//!
//! ```text
//! somebody watches clicks live              control, which shows them; else straight
//! the store answers                         straight
//! it wants what only control may do         control
//! it is away, not longer than patience      later
//! it is away for longer                     control, if that can reach it; a look at it now and then
//! ```
//!
//! A batch may go one way, then the other, and the first again, with its fate unknown in between:
//! both ways end in the same table, under the same names, and both count a batch's rows before anything
//! is done and before anything is said ([`carom_shared::clickhouse`]). So the choice is free, each time.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use carom_shared::Clock;
use carom_shared::batch::Token;
use carom_shared::clickhouse::{ClickHouseAt, ClickHouseError, PreparedBatch};
use carom_shared::internal::LossReport;
use carom_shared::settings::InvalidSetting;

use super::clickhouse::{NotStored, Server};
use super::{ClickSink, ClicksUrls, LossFuture, SinkCounts, SinkError, SinkFuture, Stored};
use crate::control::ControlClient;

/// How often a store that is away is looked at, at least; if looks take their time, they are rarer.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The rest between two looks, in times of what one took.
const LOOK_REST: u32 = 4;

/// Stores batches in ClickHouse. Clones are the same one.
#[derive(Clone)]
pub struct StraightSink(Arc<Inner>);

struct Inner {
    /// At least one.
    servers: Box<[Server]>,
    /// Which of them is asked.
    turn: AtomicUsize,
    control: ControlClient,
    clock: Arc<dyn Clock>,
    patience: Duration,
    away: Mutex<Away>,
    straight: AtomicU64,
    by_control: AtomicU64,
}

/// What is known of a store that does not take batches.
#[derive(Debug, Default)]
struct Away {
    /// The first failure since it last took one.
    since: Option<Instant>,
    /// When it is looked at again.
    look_at: Option<Instant>,
}

impl StraightSink {
    /// A sink for these servers, in their order; `None` if none is named. `ca_path` is a file of the
    /// authorities of which their certificates have to be, or empty. `patience` is how long the store may be
    /// away before batches go by way of control.
    ///
    /// # Errors
    /// [`InvalidSetting`] for a file that cannot be used.
    pub fn new(
        urls: &ClicksUrls,
        ca_path: &Path,
        control: ControlClient,
        clock: Arc<dyn Clock>,
        patience: Duration,
    ) -> Result<Option<Self>, InvalidSetting> {
        let tls = urls.tls(ca_path)?;
        let server = |at: &ClickHouseAt| Server::new(at.clone(), tls.clone());
        let servers: Box<[Server]> = urls.hosts().iter().map(server).collect();
        Ok((!servers.is_empty()).then(|| {
            Self(Arc::new(Inner {
                servers,
                turn: AtomicUsize::new(0),
                control,
                clock,
                patience,
                away: Mutex::default(),
                straight: AtomicU64::new(0),
                by_control: AtomicU64::new(0),
            }))
        }))
    }
}

impl Inner {
    async fn store(&self, token: Token, bytes: Bytes) -> Result<Stored, SinkError> {
        if self.control.are_clicks_watched()
            && let Ok(stored) = self.bring(&token, &bytes).await
        {
            return Ok(stored);
        }
        if !self.is_looked_at() {
            return self.bring(&token, &bytes).await;
        }
        // What cannot be read here is shown to control before it is given up.
        let Ok(batch) = PreparedBatch::new(&token, &bytes) else {
            return self.bring(&token, &bytes).await;
        };
        let begun = Instant::now();
        match self.straight(&token, &batch).await {
            Ok(stored) => {
                *self.away() = Away::default();
                self.straight.fetch_add(1, Ordering::Relaxed);
                Ok(stored)
            }
            Err(NotStored::TooOld) => {
                let why = "it is older than the store's memory of what it has";
                Err(SinkError::Refused(why.to_owned()))
            }
            Err(NotStored::ForControl(why)) => {
                tracing::warn!(why, batch = %token, "a batch of clicks is left to control");
                self.bring(&token, &bytes).await
            }
            Err(NotStored::Later(error)) if self.is_patient(begun) => {
                Err(SinkError::Unavailable(error.to_string()))
            }
            Err(NotStored::Later(error)) => {
                tracing::warn!(%error, batch = %token, "the store is away: clicks go by way of control");
                self.bring(&token, &bytes).await
            }
        }
    }

    /// Asks one server; another one only if nothing was sent to it.
    async fn straight(&self, token: &Token, batch: &PreparedBatch) -> Result<Stored, NotStored> {
        let now = || self.clock.now();
        let first = self.turn.load(Ordering::Relaxed);
        let mut failed = None;
        for server in (0..self.servers.len()).map(|n| (first + n) % self.servers.len()) {
            let stored = self.servers[server].store(token, batch, &now).await;
            match stored {
                Err(NotStored::Later(error @ ClickHouseError::Away(_))) => failed = Some(error),
                Err(NotStored::Later(error)) => {
                    // The next call begins with another one.
                    self.turn.store((server + 1) % self.servers.len(), Ordering::Relaxed);
                    return Err(NotStored::Later(error));
                }
                stored => {
                    if self.turn.swap(server, Ordering::Relaxed) != server {
                        tracing::warn!(
                            server = self.servers[server].shown(),
                            "clicks go to it now"
                        );
                    }
                    return stored;
                }
            }
        }
        let nobody = || ClickHouseError::Away("none of its servers was asked".to_owned());
        Err(NotStored::Later(failed.unwrap_or_else(nobody)))
    }

    /// By way of control.
    async fn bring(&self, token: &Token, bytes: &Bytes) -> Result<Stored, SinkError> {
        let stored = self.control.store(token.clone(), bytes.clone()).await?;
        self.by_control.fetch_add(1, Ordering::Relaxed);
        Ok(stored)
    }

    /// Whether the store is asked now: it is not away, or may be back.
    fn is_looked_at(&self) -> bool {
        self.away().look_at.is_none_or(|at| Instant::now() >= at)
    }

    /// Notes a failure of a call that began then. Whether clicks wait for the store a while.
    fn is_patient(&self, begun: Instant) -> bool {
        let mut away = self.away();
        let since = *away.since.get_or_insert(begun);
        let is_patient = since.elapsed() < self.patience;
        if !is_patient {
            away.look_at = Some(Instant::now() + LOOK_EVERY.max(begun.elapsed() * LOOK_REST));
        }
        is_patient
    }

    fn away(&self) -> MutexGuard<'_, Away> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClickSink for StraightSink {
    fn store(&self, token: Token, batch: Bytes) -> SinkFuture {
        let sink = self.clone();
        Box::pin(async move { sink.0.store(token, batch).await })
    }

    fn report_losses(&self, report: LossReport) -> LossFuture {
        self.0.control.report_losses(report)
    }

    fn takes_several(&self) -> bool {
        true
    }

    fn counts(&self) -> SinkCounts {
        let Inner { straight, by_control, servers, .. } = &*self.0;
        SinkCounts {
            straight: straight.load(Ordering::Relaxed),
            by_control: by_control.load(Ordering::Relaxed),
            bytes: servers.iter().map(Server::bytes_sent).sum(),
            away_s: self.0.away().since.map_or(0, |since| since.elapsed().as_secs()),
        }
    }
}
