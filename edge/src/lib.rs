//! Carom's edge: from a visitor's request to a redirect and a recorded click.
//!
//! # The path of a redirect
//!
//! ```text
//! server   accepts, reads what comes within its limits
//! request  -> Head         a plain request's bytes, or hyper's request           pure
//! request  -> Ask          host to domain, path to resource; or a refusal        pure
//! resolve  -> Route        memory; else once for all who wait, the Origin
//! respond  -> Redirect     the link's state and times decide; or an error page   pure
//! record   -> RawClick     into the thread's ring, before the response exists
//! respond  -> Answer       with what the link's policy passes on of the query    pure
//! server   sends
//! ```
//!
//! For a route in memory nothing on this path waits, and no other service is asked.
//!
//! # The path of a click
//!
//! ```text
//! spool    ring: a record in memory that belongs to the kernel                   edge-N
//! enrich   RawClick -> Click: kinds and names; the address ends here             pure
//! sync     what is recorded goes to the disk, as often as the setting says       syncer
//! drain    clicks -> a batch in the outbox, synced                               drainer
//! ship     batch -> ClickSink, until it is stored                                background
//! ```
//!
//! A 302 that was sent promises: the click is recorded, and will be stored once, though the process
//! be killed at any moment. It does not promise that the visitor arrived.

mod admin;
mod config;
pub mod control;
mod domains;
mod drain;
mod edge;
pub mod enrich;
pub mod follow;
mod handle;
mod heap;
pub mod l2;
mod limit;
mod metrics;
mod missing;
mod pool;
pub mod pressure;
mod proxy;
pub mod query;
pub mod record;
pub mod request;
pub mod resolve;
pub mod respond;
mod server;
pub mod ship;
pub mod spool;
mod stamp;
#[cfg(feature = "tls")]
mod tls;

pub use carom_process as process;
pub use config::{EdgeConfig, OnOverload, OnStale, TlsConfig};
pub use domains::Domains;
pub use edge::{Edge, EdgeError, EdgeParts, Stopped};
pub use enrich::EnrichConfig;
pub use handle::{EdgeFeed, EdgeState};
pub use missing::{MissingCode, MissingCodes};
pub use pressure::Pressure;
pub use spool::losses::Loss;
pub use spool::recover::Recovered;
pub use spool::snapshot::{SnapshotError, SpoolAccess, SpoolAtRest, SpoolSnapshot};
pub use spool::sync::Durability;
pub use spool::{SpoolConfig, SpoolError};
#[cfg(feature = "tls")]
pub use tls::TlsError;
