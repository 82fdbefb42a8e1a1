//! Clicks in a file, links in PostgreSQL: one control plane alone keeps the clicks.
//!
//! A file of clicks cannot be shared. Were there two, each would have half of the clicks and would
//! carry other sums over to the links. So whoever serves on PostgreSQL with clicks in SQLite holds an
//! advisory lock of the server for as long as it serves, on a connection of its own; a second one is
//! refused. The others say `clicks.url = none`: they answer batches and questions about clicks with
//! 503, and edges, which go through all addresses behind the control plane's name, find the one that
//! has them. ClickHouse is shared, and needs none of this.
//!
//! When the connection is lost, the lock is taken again on the next one. Until then, and if somebody
//! else was faster, clicks are refused here: edges keep them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{ClicksAt, DatabaseAt};
use crate::db::{CLICKS_LOCK, KEEPER_LOCK, SessionLock, StoreError};

// One who holds the one lock would keep others from the other.
const _: () = assert!(CLICKS_LOCK != KEEPER_LOCK);

/// How often the connection is asked whether it is there.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often a start asks for the lock: the server may not know yet that the last holder was killed.
const ASKS_AT_START: u32 = 3;

/// Why this control plane cannot keep clicks.
#[derive(Debug, thiserror::Error)]
pub enum KeepClicksError {
    #[error("cannot ask the database who keeps clicks")]
    Ask(#[from] StoreError),
    #[error(
        "setting clicks.url: another control plane on this database keeps the clicks in a file of its \
         own; write none here, or name a ClickHouse that all share in each"
    )]
    Taken,
}

/// Whether clicks may be taken now.
#[derive(Clone, Debug)]
pub(crate) struct Keeps(Arc<AtomicBool>);

impl Default for Keeps {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Keeps {
    pub(crate) fn now(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl App {
    /// Makes sure that nobody else keeps clicks of this database in a file. Once, before serving; the
    /// commands of operators, which serve nobody, do without.
    ///
    /// # Errors
    /// [`KeepClicksError`], if somebody does, or the database cannot be asked.
    pub async fn keep_clicks(&self) -> Result<(), KeepClicksError> {
        let Some(mut lock) = self.clicks_lock() else { return Ok(()) };
        for ask in 1.. {
            if lock.hold().await? {
                break;
            }
            if ask == ASKS_AT_START {
                return Err(KeepClicksError::Taken);
            }
            sleep(ASK_EVERY).await;
        }
        self.spawn(keep(lock, self.keeps().clone(), self.stopping()));
        Ok(())
    }

    /// The lock, if one is needed.
    fn clicks_lock(&self) -> Option<SessionLock> {
        let checked = self.config().checked().ok()?;
        match checked.database {
            DatabaseAt::Postgres(at) if matches!(checked.clicks, Some(ClicksAt::Sqlite(_))) => {
                Some(SessionLock::new(*at, CLICKS_LOCK))
            }
            _ => None,
        }
    }
}

/// Keeps the lock until `stop`.
async fn keep(mut lock: SessionLock, keeps: Keeps, stop: CancellationToken) {
    let work = async {
        loop {
            sleep(ASK_EVERY).await;
            let held = match lock.hold().await {
                // That it was held is not asked again: any question on its connection tells.
                Ok(true) => lock.feed_head().await.map(|_| true),
                held => held,
            };
            let is_held = matches!(held, Ok(true));
            if keeps.0.swap(is_held, Ordering::Relaxed) != is_held {
                tracing::warn!(is_held, "whether clicks are kept here");
            }
            match held {
                Ok(true) => {}
                Ok(false) => tracing::error!("{}", KeepClicksError::Taken),
                Err(error) => tracing::debug!(%error, "the database does not answer"),
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
    lock.release().await;
}
