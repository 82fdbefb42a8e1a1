//! The change feed: which routes changed, densely numbered, kept for a day. One numbering per
//! database, over all control planes that write to it: `publish.rs` says how.

pub(crate) mod store;
pub(crate) mod watch;

use carom_shared::{Code, DomainId, RouteRecord};

/// A change that a command made and the feed has not numbered yet.
#[derive(Clone, Debug)]
pub(crate) struct NewChange {
    pub(crate) domain: DomainId,
    pub(crate) code: Code,
    pub(crate) record: RouteRecord,
}
