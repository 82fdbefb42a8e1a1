//! Brings new and changed links into the index of texts, behind their commits.
//!
//! An index of texts costs several times what all else of a link does. So a create only notes that
//! its link is not in there yet, searches look at what is noted, and this task indexes it, some
//! hundred links in a commit, when the writer has little else to do. All of it is in transactions:
//! whatever is killed, whenever, the next start goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::store::{links_index, unindexed_count};
use crate::db::{Db, StoreError, Tx};
use crate::metrics::Metrics;
use crate::write::{Command, WriteError, Writer, WriterTask};

/// How long a round waits after the last one: indexed one by one, each new link would cost a commit
/// more.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// How long a backlog waits for the writer to be idle. Then a page is due all the same: searches
/// look at every link of the backlog.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long others wait for pages that are indexed at once, but for the last one.
const PAGES_TIME_MAX: Duration = Duration::from_millis(250);
/// How often a backlog is counted, which looks at all of it.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);
/// Commands that wait while the writer counts as idle.
const IDLE_WAITING_MAX: usize = 2;
/// How often in a row it must be found so: between two commits of a busy one, few wait as well.
const IDLE_POLLS: u32 = 3;
const IDLE_POLL: Duration = Duration::from_millis(5);

/// The task that indexes.
pub(crate) struct IndexTask {
    read: Db,
    writer: Writer,
    /// Told when links were written.
    written: Arc<Notify>,
    metrics: Arc<Metrics>,
}

/// What was indexed.
pub(crate) struct Indexed {
    pub(crate) is_more: bool,
    /// Of the writer's time, without its waiting for other commands.
    pub(crate) took: Duration,
}

/// Indexes a page, and more for as long as this waited for others since it was `asked`: where many
/// links come at once, one page in each commit would never reach the end of them.
pub(crate) async fn pages_index(tx: &mut Tx, asked: Instant) -> Result<Indexed, StoreError> {
    let begun = Instant::now();
    let waited = begun.duration_since(asked).min(PAGES_TIME_MAX);
    loop {
        let is_more = links_index(tx).await?;
        let took = begun.elapsed();
        if !is_more || took >= waited {
            return Ok(Indexed { is_more, took });
        }
    }
}

/// Why links could not be indexed.
#[derive(Debug, thiserror::Error)]
enum IndexError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl IndexTask {
    /// Goes with the task that takes the writer's commands.
    pub(crate) fn new(task: &WriterTask, writer: Writer) -> Self {
        Self {
            read: task.db.read.clone(),
            writer,
            written: Arc::clone(&task.written),
            metrics: Arc::clone(&task.metrics),
        }
    }

    /// Indexes until `stop`; what is left then comes at the next start.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let work = async {
            loop {
                match self.round().await {
                    Ok(()) => {}
                    Err(IndexError::Write(WriteError::Closing)) => return,
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "new links are not indexed yet and slow searches down: trying again"
                        );
                        self.written.notify_one();
                    }
                }
                sleep(ROUND_INTERVAL).await;
                self.written.notified().await;
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Indexes all that is waiting.
    async fn round(&self) -> Result<(), IndexError> {
        let mut counted = None;
        loop {
            let begun = Instant::now();
            let Indexed { is_more, took } =
                self.writer.run(|reply| Command::IndexLinks(begun, reply)).await?;
            if !is_more || counted.is_none_or(|at: Instant| at.elapsed() >= COUNT_INTERVAL) {
                self.metrics.links_unindexed.set(unindexed_count(&self.read).await?);
                counted = Some(Instant::now());
            }
            if !is_more {
                return Ok(());
            }
            // A backlog takes half of the writer's time at most.
            sleep(took).await;
            self.idle_or_due(begun).await;
        }
    }

    /// Waits until the writer is idle, or the page after the one that was `begun` is due.
    async fn idle_or_due(&self, begun: Instant) {
        let mut polls = 0;
        while polls < IDLE_POLLS && begun.elapsed() < PATIENCE {
            sleep(IDLE_POLL).await;
            // An import has one command on its way at a time, and the next one right behind it.
            let is_idle = self.writer.waiting() <= IDLE_WAITING_MAX && !self.writer.is_bulk();
            polls = if is_idle { polls + 1 } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests;
