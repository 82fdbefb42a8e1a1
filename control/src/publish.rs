//! From a committed change to those who serve it.
//!
//! In one process the edge subscribes to [`crate::App`] and is told of each change before the
//! command that made it is answered, so create-then-follow never gives a 404. The lock of the write
//! transaction *is* the publisher's lock: changes are numbered in the transaction that makes them,
//! so a number is given exactly when its change is durable, and numbers are dense. In SQLite that is
//! the file's lock. In PostgreSQL it is the lock with which each [`Tx`](crate::db::Tx) begins, and
//! under it the row of `feed`, which the numbering updates and so holds until the commit: a program
//! that wrote without the first lock would still wait at the row. The lock is the server's, and a
//! transaction that lost it cannot commit: no clock, no lease, no number given twice.
//!
//! What is published here are the changes of this process. Those of other control planes on the
//! same PostgreSQL database are in `change`, in the same numbering: edges elsewhere follow that
//! ([`crate::internal_router`]).

use std::sync::{Arc, OnceLock};

use carom_shared::{Code, DomainId, FeedPosition, RouteRecord, ServedDomain};
use tokio::sync::watch;

/// One change of one route. Numbers are dense per epoch: who misses one asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Changes when numbers start over, because a backup was restored.
    pub epoch: u64,
    /// From 1.
    pub seq: u64,
    pub domain: DomainId,
    pub code: Code,
    pub record: RouteRecord,
}

/// Who serves routes and has to know of their changes.
pub trait Subscriber: Send + Sync {
    /// Applies changes in order, each only if its version is greater than the one held. It is
    /// called between a commit and its answer: it must not block.
    fn apply(&self, changes: &[Change]);

    /// Replaces the domains that are served, for whoever serves any. It must not block.
    fn domains(&self, _domains: &[ServedDomain]) {}

    /// A commit failed, and its changes may have been made all the same: they are in the feed, or
    /// not. It is called before anybody can hear of them, and must not block.
    fn missed(&self);
}

/// A subscriber was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change feed has a subscriber already")]
pub struct SubscribedError;

pub(crate) struct Publisher {
    subscriber: OnceLock<Arc<dyn Subscriber>>,
    head: watch::Sender<FeedPosition>,
}

impl Publisher {
    pub(crate) fn new(head: FeedPosition) -> Self {
        Self { subscriber: OnceLock::new(), head: watch::Sender::new(head) }
    }

    /// The last change of this process, and when there is another.
    pub(crate) fn watch(&self) -> watch::Receiver<FeedPosition> {
        self.head.subscribe()
    }

    /// Whether anybody waits for a change.
    pub(crate) fn is_watched(&self) -> bool {
        self.head.receiver_count() > 0
    }

    /// How far the feed goes, whoever wrote it: wakes those who wait, if it goes further than known.
    pub(crate) fn observe(&self, head: FeedPosition) {
        self.head.send_if_modified(|known| {
            let is_new = known.epoch != head.epoch || known.seq < head.seq;
            if is_new {
                *known = head;
            }
            is_new
        });
    }

    pub(crate) fn subscribe(&self, subscriber: Arc<dyn Subscriber>) -> Result<(), SubscribedError> {
        self.subscriber.set(subscriber).map_err(|_| SubscribedError)
    }

    /// Other domains are served from now on.
    pub(crate) fn domains(&self, domains: &[ServedDomain]) {
        if let Some(subscriber) = self.subscriber.get() {
            subscriber.domains(domains);
        }
    }

    /// Nobody knows whether a commit was done.
    pub(crate) fn missed(&self) {
        if let Some(subscriber) = self.subscriber.get() {
            subscriber.missed();
        }
    }

    pub(crate) fn publish(&self, changes: &[Change]) {
        let Some(last) = changes.last() else { return };
        if let Some(subscriber) = self.subscriber.get() {
            subscriber.apply(changes);
        }
        self.head.send_replace(FeedPosition { epoch: last.epoch, seq: last.seq });
    }
}
