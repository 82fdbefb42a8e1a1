//! Outbox → store: one task that gives each batch to the [`ClickSink`] until it has it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carom_shared::batch::Token;

use crate::metrics::Metrics;
use crate::spool::outbox::Outbox;

/// Where batches of clicks are stored.
pub trait ClickSink: Send + Sync + 'static {
    /// Stores a batch under its token, all of it or nothing. The same token may come again, and is
    /// then recognised.
    fn store(&self, token: Token, batch: Bytes) -> SinkFuture;
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
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Ships batches, oldest first, for ever. Cancelled between any two steps it loses nothing: a
/// batch leaves the outbox only after the store has it.
pub(crate) async fn run(outbox: Arc<Outbox>, sink: Arc<dyn ClickSink>, metrics: Arc<Metrics>) {
    loop {
        let token = outbox.next().await;
        let mut backoff = BACKOFF_MIN;
        while let Err(error) = ship(&outbox, &*sink, &token, &metrics).await {
            metrics.ship_errors.add(1);
            tracing::warn!(%error, batch = %token, retry_ms = backoff.as_millis(), "a batch of clicks is not stored yet");
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
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
