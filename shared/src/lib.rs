//! The vocabulary and the wire formats that Carom's programs must agree on, and nothing else.
//!
//! Raw text enters through types that cannot be wrong ([`Code`], [`Host`], [`TargetUrl`]); time and
//! randomness enter as parameters ([`Clock`], [`Random`]). What the edge serves is a
//! [`RouteRecord`]; what it saw is a [`RawClick`], which becomes a [`Click`], which travels in a
//! [`batch`]. Every format states its bytes above the code that writes them, carries a version, and
//! is pinned by golden bytes in its tests.
//!
//! This crate does no I/O: no runtime, no sockets, no files, no database. The two exceptions are
//! the two sources of truth that cannot be computed, [`SystemClock`] and [`SystemRandom`].
#![forbid(unsafe_code)]

mod address;
pub mod batch;
mod bundle;
pub mod click;
pub mod clickhouse;
mod code;
pub mod exposition;
mod feed;
mod host;
mod id;
pub mod internal;
mod query;
mod random;
pub mod redis;
mod route;
pub mod settings;
mod target;
mod text;
mod time;
pub mod trace;
mod visitor;

pub use address::{AddressBlock, AddressBlockError};
pub use bundle::{Bundle, ServedDomain};
pub use click::{Click, RawClick};
pub use code::{Code, CodeError};
pub use feed::{FeedPage, FeedPageError, FeedPosition, RouteChange};
pub use host::{Host, HostError};
pub use id::{
    AccountId, ApiKeyId, AuditId, DomainId, IdError, IdentityId, InvitationId, LinkId, PasskeyId,
    ReportId, SessionId, ShareId, WorkspaceId,
};
pub use query::{Forward, ParameterNames, ParameterNamesError, QueryPolicy};
pub use random::{Random, SeededRandom, SystemRandom};
pub use route::{CompactRoute, RedirectStatus, RouteRecord, RouteRecordError, RouteState};
pub use target::{OwnHosts, TargetError, TargetPolicy, TargetUrl};
pub use time::{Clock, SystemClock, TestClock, UnixMillis};
pub use visitor::{Salt, Salts, visitor};
