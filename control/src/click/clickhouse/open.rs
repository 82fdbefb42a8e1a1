//! Opens a store that may be away: a start does not wait for it.
//!
//! Links are made and followed without statistics, and clicks wait on the edges' disks: a server that is
//! down, or is started later, is no reason not to start. Until its schema was looked at, everything
//! that is asked of it fails as if it could not be reached. What only a person can put right (a wrong password, a
//! missing database, a newer schema) fails the start where the server says so by then, and is logged
//! again and again where it says so later.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carom_shared::clickhouse::{ClickHouseError, SETTINGS, Statement};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::http::{ClickHouseServer, Client};
use super::{ClickStore, Inner, schema};
use crate::db::DbOpenError;
use crate::metrics::Metrics;

/// How long a start waits for a server that accepts and does not answer.
const START_MAX: Duration = Duration::from_secs(5);
/// How often it is asked whether it is there, and for how long.
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_MAX: Duration = Duration::from_secs(5);
/// How often one that is not there is tried.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How long its schema may take to be changed, when it is there.
const PREPARE_MAX: Duration = Duration::from_mins(10);

impl ClickStore {
    /// Brings the schema up to date, or leaves that to [`keep`](Self::keep) where the server is away.
    ///
    /// # Errors
    /// What will not pass by itself.
    pub(crate) async fn open(server: ClickHouseServer, cluster: &str) -> Result<Self, DbOpenError> {
        let shown = server.shown();
        let failed = |source| DbOpenError::ClickHouse { at: shown, source };
        let client = Client::shut(server).map_err(failed)?;
        let store = Self(Arc::new(Inner {
            client,
            cluster: cluster.to_owned(),
            stamp: Mutex::new(0),
            importing: Mutex::new(()),
        }));
        // Cut off between any two statements, it goes on with the next try.
        match timeout(START_MAX, store.prepare()).await {
            Ok(Err(error)) if !is_away(&error) => return Err(error),
            Ok(Err(error)) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the store of clicks is away: clicks wait on the edges, and statistics are refused"
            ),
            Err(_) => tracing::warn!(
                at = store.0.client.at().shown(),
                "the store of clicks does not answer: clicks wait on the edges, and statistics are \
                 refused"
            ),
            Ok(Ok(())) => {}
        }
        Ok(store)
    }

    /// Brings the schema up to date; from then on the store can be used.
    ///
    /// # Errors
    /// Whatever keeps it from that.
    pub(crate) async fn prepare(&self) -> Result<(), DbOpenError> {
        let shown = || self.0.client.at().shown();
        // One of its own, which may ask before the store may be used.
        let client = self.0.client.another();
        let client = client.map_err(|source| DbOpenError::ClickHouse { at: shown(), source })?;
        schema::migrate(&client, &self.0.cluster).await?;
        self.0.client.is_open.store(true, Ordering::Release);
        Ok(())
    }

    /// Looks whether the server is there, and after each time that it was not at its schema, until
    /// `stop`: what comes back may be another one, or an older copy.
    pub(crate) async fn keep(&self, metrics: &Metrics, stop: CancellationToken) {
        let mut is_up = self.0.client.is_open.load(Ordering::Acquire);
        let work = async {
            loop {
                metrics.click_store_up.set(u64::from(is_up));
                sleep(if is_up { ASK_EVERY } else { TRY_EVERY }).await;
                let found = self.look(is_up).await;
                match &found {
                    Ok(()) if !is_up => tracing::info!("the store of clicks is there"),
                    Err(error) if is_up => tracing::warn!(
                        error = error as &dyn std::error::Error,
                        "the store of clicks is away"
                    ),
                    Err(error) if !is_away(error) => tracing::error!(
                        error = error as &dyn std::error::Error,
                        "the store of clicks cannot be used"
                    ),
                    Ok(()) | Err(_) => {}
                }
                is_up = found.is_ok();
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Whether it is there; where it was not, with its schema.
    async fn look(&self, was_up: bool) -> Result<(), DbOpenError> {
        let at = self.0.client.at();
        let failed = |source| DbOpenError::ClickHouse { at: at.shown(), source };
        let late = || failed(ClickHouseError::Lost("its time is up".to_owned()));
        let ask =
            async { self.0.client.another()?.run(Statement::new("SELECT 1", SETTINGS)).await };
        timeout(ASK_MAX, ask).await.map_err(|_| late())?.map_err(failed)?;
        if was_up {
            return Ok(());
        }
        timeout(PREPARE_MAX, self.prepare()).await.map_err(|_| late())??;
        let moved = timeout(ASK_MAX, self.refuse_moved()).await.map_err(|_| late())?;
        if moved.is_err() {
            self.0.client.is_open.store(false, Ordering::Release);
        }
        moved.map_err(failed)
    }
}

/// Whether nobody needs to do anything but start the server.
fn is_away(error: &DbOpenError) -> bool {
    matches!(error, DbOpenError::ClickHouse { source, .. } if source.is_unavailable())
}
