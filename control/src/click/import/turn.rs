//! Whose turn it is: files of clicks are imported page by page, one page at a time over all control planes
//! that share a ClickHouse.
//!
//! A page looks which of its clicks are there, and stores the others. Two control planes that did so at
//! once could both find that a click is missing, and have both stored it: the pages have names of their own.
//! So a page is imported under an advisory lock of the links' database (PostgreSQL). Links in SQLite are one
//! process's alone, where the store of clicks lets one page through at a time; a file of clicks does so by its
//! transaction.
//!
//! What remains: the connection that holds the lock is cut off between the look and the insert, and another
//! control plane imports the same clicks within these milliseconds.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::app::App;
use crate::config::DatabaseAt;
use crate::db::SessionLock;
use crate::http::problem::ApiError;

/// What the lock is called: `carom` in ASCII, and 5. Versions that run side by side during an upgrade
/// must agree on it.
const IMPORT_LOCK: i64 = 0x63_61_72_6f_6d_05;
/// How often it is asked for. A page takes some tens of milliseconds.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long a page waits for its turn; then its sender is told to try again.
const PATIENCE: Duration = Duration::from_secs(5);

/// A turn; released by [`Turn::end`], or when its connection ends.
pub(super) struct Turn(Option<SessionLock>);

impl App {
    /// Waits for the turn of a page.
    pub(super) async fn import_turn(&self) -> Result<Turn, ApiError> {
        let checked = self.config().checked();
        let at = match checked.map(|checked| checked.database) {
            Ok(DatabaseAt::Postgres(at)) if self.are_clicks_shared() => at,
            _ => return Ok(Turn(None)),
        };
        let mut lock = SessionLock::new(*at, IMPORT_LOCK);
        let give_up = Instant::now() + PATIENCE;
        while !lock.hold().await? {
            if Instant::now() > give_up {
                lock.release().await;
                return Err(ApiError::Busy);
            }
            sleep(ASK_EVERY).await;
        }
        Ok(Turn(Some(lock)))
    }
}

impl Turn {
    pub(super) async fn end(self) {
        if let Some(lock) = self.0 {
            lock.release().await;
        }
    }
}
