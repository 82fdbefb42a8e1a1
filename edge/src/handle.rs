//! What others hold of a running edge: to tell it what it should know ([`EdgeFeed`]), and to see how it
//! is ([`EdgeState`]).

use std::sync::Arc;

use carom_shared::{Salts, WorkspaceId};

use crate::domains::Domains;
use crate::pressure::Pressure;
use crate::resolve::RouteChange;
use crate::server::Shared;
use crate::spool::outbox::Outbox;

/// Tells a running edge what it should know. Cheap to clone.
#[derive(Clone)]
pub struct EdgeFeed(pub(crate) Arc<Shared>);

impl EdgeFeed {
    /// Applies a change; when this returns, no answer is older than it.
    pub fn apply(&self, change: RouteChange) {
        self.0.resolver.apply(change);
    }

    /// The changes with these numbers of the feed are applied, which a snapshot will say. If some
    /// before them are not, they are asked for.
    pub fn advance(&self, epoch: u64, first: u64, last: u64) {
        self.0.resolver.advance(epoch, first, last);
    }

    /// Changes may have been made that were not told: they are asked for, in the background.
    pub fn missed(&self) {
        self.0.resolver.missed();
    }

    /// Replaces the hosts that are answered.
    pub fn set_domains(&self, domains: Domains) {
        self.0.domains.store(Arc::new(domains));
    }

    /// Replaces the workspaces that are out of service: whatever their links' routes say, they answer
    /// 410.
    pub fn set_disabled_workspaces(&self, workspaces: &[WorkspaceId]) {
        self.0.disabled.store(Arc::new(workspaces.iter().copied().collect()));
    }

    /// Replaces the salts by which visitors are told apart. Clicks of days without one have none.
    pub fn set_salts(&self, salts: Salts) {
        self.0.salts.store(Arc::new(salts));
    }
}

/// Says how a running edge is. Cheap to clone.
#[derive(Clone)]
pub struct EdgeState {
    pub(crate) shared: Arc<Shared>,
    pub(crate) outbox: Arc<Outbox>,
}

impl EdgeState {
    /// How full the way of a click is.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        Pressure::of(&self.shared.metrics, &self.outbox)
    }

    /// Batches that wait to be stored.
    #[must_use]
    pub fn batches_waiting(&self) -> usize {
        self.outbox.len()
    }

    /// Batches that the store refused in this run; their files are set aside.
    #[must_use]
    pub fn batches_quarantined(&self) -> u64 {
        self.shared.metrics.batches_quarantined.get()
    }

    /// Writes to the spool and syncs of it that failed in this run.
    #[must_use]
    pub fn disk_errors(&self) -> u64 {
        self.shared.metrics.spool_errors.get() + self.shared.metrics.sync_errors.get()
    }

    /// Threads that ended though they should not.
    #[must_use]
    pub fn threads_lost(&self) -> u64 {
        self.shared.metrics.threads_lost.get()
    }
}
