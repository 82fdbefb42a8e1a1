//! The internal plane: what edges ask of control over HTTP, and bring to it.
//!
//! ```text
//! GET  /internal/v1/bundle                          JSON of a Bundle
//! GET  /internal/v1/changes?epoch&after&wait_ms     FeedPage; waits until there is a change, at
//!                                                   most so long; 410: they are not known any more
//! GET  /internal/v1/changes                         FeedPage without changes: how far the feed goes
//! GET  /internal/v1/routes/{domain}/{code}          RouteRecord; 204: there never was such a code
//! POST /internal/v1/clicks/{token}                  a batch; 201 stored, 200 it was already, 422
//!                                                   it never will be, anything else: try again
//! POST /internal/v1/missing                         JSON of MissingCounts
//! ```
//!
//! Each request has `Authorization: Bearer TOKEN` with the setting `internal.token`. There is no
//! code in a 404: what answers 404 is not a control plane, and an edge must not take it for one.

use serde::{Deserialize, Serialize};

use crate::{Code, DomainId};

pub const BUNDLE_PATH: &str = "/internal/v1/bundle";
pub const CHANGES_PATH: &str = "/internal/v1/changes";
/// Followed by `/{domain}/{code}`.
pub const ROUTES_PATH: &str = "/internal/v1/routes";
/// Followed by `/{token}`.
pub const CLICKS_PATH: &str = "/internal/v1/clicks";
pub const MISSING_PATH: &str = "/internal/v1/missing";

/// The longest that a question for changes may ask to wait, in milliseconds.
pub const WAIT_MAX_MS: u64 = 5_000;
/// Codes of one report of missing codes, at most: its JSON stays below 64 KiB.
pub const MISSING_MAX: usize = 400;
/// A token has at least so many characters: it is all that guards the internal plane.
pub const TOKEN_MIN_LEN: usize = 32;

/// What visitors asked for and does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingCounts {
    /// At most [`MISSING_MAX`].
    pub missing: Vec<MissingCount>,
}

/// How often visitors asked for a code that does not exist, at least, since the last report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingCount {
    pub domain: DomainId,
    pub code: Code,
    pub requests: u64,
}
