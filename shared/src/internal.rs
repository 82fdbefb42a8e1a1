//! The internal plane: what edges ask of control over HTTP, and bring to it.
//!
//! ```text
//! GET  /internal/v1/bundle                          JSON of a Bundle
//! GET  /internal/v1/changes?epoch&after&wait_ms     FeedPage; waits until there is a change, at
//!                                                   most so long; 410: they are not known any more
//! GET  /internal/v1/changes                         FeedPage without changes: how far the feed goes
//! GET  /internal/v1/routes?domain&code              RoutePage: the first of all routes after this
//!                                                   one, or of all; 503: too many ask just now
//! GET  /internal/v1/routes/{domain}/{code}          RouteRecord; 204: there never was such a code
//! POST /internal/v1/clicks/{token}                  a batch; 201 stored, 200 it was already, 422
//!                                                   it never will be, anything else: try again
//! POST /internal/v1/missing                         JSON of MissingCounts
//! POST /internal/v1/losses                          JSON of LossReport; may come again
//! ```
//!
//! Where several control planes are asked, a batch of clicks goes to one of them always, the one that is
//! named first, unless the bundle says `are_clicks_shared`: then to any, and again to any other if its
//! fate is not known, also while the first may still be at it ([`crate::clickhouse`] says why that is
//! harmless). What is 422 at one is so at each.
//!
//! Each request has `Authorization: Bearer TOKEN` with the setting `internal.token`. There is no
//! code in a 404: what answers 404 is not a control plane, and an edge must not take it for one.
//!
//! # All routes, page by page
//!
//! An edge that begins with nothing asks for all routes. Each page is what the database has when it
//! is asked, tombstones included; whoever lists follows the feed beside it, from before the first
//! page, and what changes meanwhile is applied by its version. The page after the last route is
//! empty. The bytes of a page, format 1 (little endian):
//!
//! ```text
//!  0  u8   format = 1
//!  1  u16  how many routes follow, at most 1,024
//!  3  ...  for each: what a page of the feed has for a change (feed.rs)
//! ```
//!
//! Nothing follows the last route.

mod losses;

use serde::{Deserialize, Serialize};

pub use losses::{LOSS_QUARTER_S, LOSS_QUARTERS_MAX, LossReport, LossTotals};

use crate::feed::{read_change, write_change};
use crate::{Code, DomainId, FeedPageError, RouteChange};

pub const BUNDLE_PATH: &str = "/internal/v1/bundle";
pub const CHANGES_PATH: &str = "/internal/v1/changes";
/// All of them, or followed by `/{domain}/{code}`.
pub const ROUTES_PATH: &str = "/internal/v1/routes";
/// Followed by `/{token}`.
pub const CLICKS_PATH: &str = "/internal/v1/clicks";
pub const MISSING_PATH: &str = "/internal/v1/missing";
pub const LOSSES_PATH: &str = "/internal/v1/losses";

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

const ROUTES_FORMAT: u8 = 1;
const ROUTES_HEADER_LEN: usize = 3;

/// Some of all routes, in the order of domains and codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePage(pub Vec<RouteChange>);

/// Why bytes are not a page of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutePageError {
    #[error("page of routes of unknown format {0}: written by another version of Carom")]
    Format(u8),
    #[error("page of routes has the wrong length")]
    Length,
    #[error("page of routes holds an impossible number of them")]
    Count,
    #[error(transparent)]
    Route(#[from] FeedPageError),
}

impl RoutePage {
    /// Routes in a page, at most.
    pub const ROUTES_MAX: usize = 1024;

    /// The bytes of format 1. Of more than [`Self::ROUTES_MAX`] routes only the first are in it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let routes = &self.0[..self.0.len().min(Self::ROUTES_MAX)];
        let mut bytes = Vec::with_capacity(ROUTES_HEADER_LEN + routes.len() * 160);
        bytes.push(ROUTES_FORMAT);
        bytes.extend(u16::try_from(routes.len()).unwrap_or(u16::MAX).to_le_bytes());
        routes.iter().for_each(|route| write_change(&mut bytes, route));
        bytes
    }

    /// Reads the bytes of any released format.
    ///
    /// # Errors
    /// [`RoutePageError`] for a format of a newer version, a wrong length or impossible values.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RoutePageError> {
        let format = *bytes.first().ok_or(RoutePageError::Length)?;
        if format != ROUTES_FORMAT {
            return Err(RoutePageError::Format(format));
        }
        let (header, mut rest) =
            bytes.split_first_chunk::<ROUTES_HEADER_LEN>().ok_or(RoutePageError::Length)?;
        let count = usize::from(u16::from_le_bytes([header[1], header[2]]));
        if count > Self::ROUTES_MAX {
            return Err(RoutePageError::Count);
        }
        let mut routes = Vec::with_capacity(count);
        for _ in 0..count {
            let (route, after) = read_change(rest)?;
            routes.push(route);
            rest = after;
        }
        if rest.is_empty() { Ok(Self(routes)) } else { Err(RoutePageError::Length) }
    }
}

#[cfg(test)]
mod tests;
