//! Lets whoever waits for a change of this process hear of those that other control planes made.
//!
//! One look at the head for all who wait, and none while nobody does: what a control plane asks of
//! the database does not grow with its edges. Polled, and not `LISTEN`: a notification that is lost
//! with its connection would have to be missed and asked for all the same, and the head is one row.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::store::feed_head;
use crate::db::Db;
use crate::publish::Publisher;

/// How long a change of another control plane may go unnoticed here.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The task that looks.
pub(crate) struct WatchTask {
    pub(crate) read: Db,
    pub(crate) publisher: Arc<Publisher>,
}

impl WatchTask {
    /// Looks until `stop`. Where nobody else can write, there is nothing to look for.
    pub(crate) async fn run(self, stop: CancellationToken) {
        if matches!(self.read, Db::Sqlite(_)) {
            return;
        }
        let work = async {
            loop {
                sleep(LOOK_EVERY).await;
                if !self.publisher.is_watched() {
                    continue;
                }
                match feed_head(&self.read).await {
                    Ok(head) => self.publisher.observe(head),
                    // Whoever waits asks the database itself when its time is up, and hears of it.
                    Err(error) => tracing::debug!(%error, "the feed's head cannot be read"),
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }
}
