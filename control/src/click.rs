//! Clicks: stored exactly once per batch, and asked for as reports.

pub(crate) mod api;
pub(crate) mod clickhouse;
pub(crate) mod csv;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod leader;
pub(crate) mod live;
pub mod moving;
pub(crate) mod report;
pub(crate) mod retention;
pub(crate) mod sketch;
pub(crate) mod sole;
pub(crate) mod sqlite;
mod store;
pub(crate) mod tagged;
#[cfg(test)]
pub(crate) mod testing;

use carom_shared::click::Kind;
use carom_shared::{LinkId, UnixMillis, WorkspaceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::db::StoreError;
pub(crate) use store::ClickStore;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is durable, and was not here before.
    New { rows: usize, clicks: u64 },
    /// It was here already: nothing was changed.
    Duplicate,
    /// It was made before the ledger's oldest entry, so nobody can say whether it was here. It was
    /// not stored; its file belongs into quarantine, for a person to look at.
    TooOld,
}

/// Why a batch could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreBatchError {
    /// Its bytes are damaged or foreign: trying again will not help.
    #[error("cannot store the batch {token}")]
    Batch { token: String, source: carom_shared::batch::BatchError },
    /// The store refuses what is in it: trying again will not help, until somebody has changed the
    /// store.
    #[error("the batch {token} is refused")]
    Refused { token: String, source: StoreError },
    /// The store failed: try again later.
    #[error("cannot store the batch {token}")]
    Store { token: String, source: StoreError },
}

/// Clicks by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Kinds)]
pub struct Totals {
    /// By people: the number that is meant by "clicks" everywhere.
    pub clicks: u64,
    pub bots: u64,
    pub previews: u64,
    pub prefetches: u64,
    pub heads: u64,
}

impl Totals {
    fn add(&mut self, kind: Kind, n: u64) {
        let total = match kind {
            Kind::Human => &mut self.clicks,
            Kind::Bot => &mut self.bots,
            Kind::Preview => &mut self.previews,
            Kind::Prefetch => &mut self.prefetches,
            Kind::Head => &mut self.heads,
        };
        *total += n;
    }
}

/// Totals of all links, and when a person last clicked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) totals: Totals,
    pub(crate) last_click_at: Option<UnixMillis>,
}

/// A link among those with the most clicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopLink {
    pub(crate) workspace: WorkspaceId,
    pub(crate) link: LinkId,
    pub(crate) clicks: u64,
    pub(crate) bots: u64,
    pub(crate) last_click_at: Option<UnixMillis>,
}
