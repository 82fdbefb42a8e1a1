//! One of several control planes looks after a store of clicks that all of them share.
//!
//! Each of them takes batches and answers questions. What is done once for all is the leader's: the
//! audit, which adds a difference, so that two at once would add it twice; retention; erasures that go on;
//! carrying clicks over to the links, where the slower of two would write older sums.
//!
//! The leader is who has an advisory lock of the links' database (PostgreSQL), for as long as its
//! connection lives. When that ends somebody else has the lock within seconds. Who lost it without
//! knowing may go on for [`ASK_EVERY`] and the time of an answer; what it does then is found and put
//! right by the next audit, and by the next carrying over.
//!
//! Links in SQLite are one process's alone, and so is their store of clicks: it leads always.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::{ClicksAt, DatabaseAt};
use crate::db::SessionLock;

/// What the leader's advisory lock is called: `carom` in ASCII, and 4. Versions that run side by
/// side during an upgrade must agree on it.
const LEADER_LOCK: i64 = 0x63_61_72_6f_6d_04;
/// How often it is asked for, and whether it is still held.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Whether this control plane leads.
#[derive(Clone, Debug)]
pub(crate) struct Leads {
    is_leader: watch::Receiver<bool>,
    has_others: bool,
}

/// Takes part in who leads; to be run.
pub(crate) struct LeaderTask {
    lock: SessionLock,
    is_leader: watch::Sender<bool>,
}

impl Leads {
    /// As the settings are: alone, or with a task that finds out.
    pub(crate) fn new(links: &DatabaseAt, clicks: Option<&ClicksAt>) -> (Self, Option<LeaderTask>) {
        let lock = match (links, clicks) {
            (DatabaseAt::Postgres(at), Some(ClicksAt::ClickHouse { .. })) => {
                Some(SessionLock::new((**at).clone(), LEADER_LOCK))
            }
            _ => None,
        };
        let (sender, is_leader) = watch::channel(lock.is_none());
        // Edges may store their clicks themselves.
        let has_others = matches!(clicks, Some(ClicksAt::ClickHouse { .. }));
        (Self { is_leader, has_others }, lock.map(|lock| LeaderTask { lock, is_leader: sender }))
    }

    pub(crate) fn now(&self) -> bool {
        *self.is_leader.borrow()
    }

    /// Others may store clicks without telling this process.
    pub(crate) const fn has_others(&self) -> bool {
        self.has_others
    }

    /// Returns once this control plane leads.
    pub(crate) async fn wait(&mut self) {
        if self.is_leader.wait_for(|is_leader| *is_leader).await.is_err() {
            // It is being closed, and whoever waits is ended.
            pending().await
        }
    }
}

impl LeaderTask {
    /// Takes the lock whenever nobody has it, until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let turn = async {
                let held = match self.lock.hold().await {
                    // That it was held is not asked again: any question on its connection tells.
                    Ok(true) => self.lock.feed_head().await.map(|_| true),
                    held => held,
                };
                if let Err(error) = &held {
                    tracing::debug!(%error, "the database does not say who looks after clicks");
                }
                let is_leader = matches!(held, Ok(true));
                if self.is_leader.send_replace(is_leader) != is_leader {
                    tracing::info!(is_leader, "whether this control plane looks after clicks");
                }
                sleep(ASK_EVERY).await;
            };
            tokio::select! {
                () = turn => {}
                () = stop.cancelled() => break,
            }
        }
        self.is_leader.send_replace(false);
        // The next one need not wait until the server misses this one.
        self.lock.release().await;
    }
}
