//! API keys: who may use the API, for which workspace, and for what.
//!
//! ```text
//! secret ──► checksum ──► SHA-256 ──► one query: key, maker's role and state ──► address, limits ──► caller
//! ```
//!
//! A key can do what its scopes say and what the role of whoever made it allows now: it is dead at
//! once when they leave the workspace. One that an operator made has no role to lose. Nobody hands
//! on more than they have: see [`command::check_within`].

pub(crate) mod act;
pub(crate) mod api;
pub(crate) mod command;
pub(crate) mod operator;
pub(crate) mod store;
pub(crate) mod uses;
pub(crate) mod view;

use std::net::IpAddr;
use std::num::NonZeroU32;

use carom_shared::{AccountId, AddressBlock, ApiKeyId, DomainId, UnixMillis, WorkspaceId};

use crate::access::Scopes;

/// What a key may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) scopes: Scopes,
    /// Only links on these. Empty: on any that its workspace may use.
    pub(crate) domains: Vec<DomainId>,
    /// Only from these. Empty: from anywhere.
    pub(crate) addresses: Vec<AddressBlock>,
    /// `None`: never.
    pub(crate) expires_at: Option<UnixMillis>,
    /// Requests a minute. `None`: as many as `limits.key_per_minute` says.
    pub(crate) rate_per_minute: Option<NonZeroU32>,
}

impl Grant {
    /// These scopes, everywhere and for ever.
    pub(crate) const fn of(scopes: Scopes) -> Self {
        Self {
            scopes,
            domains: Vec::new(),
            addresses: Vec::new(),
            expires_at: None,
            rate_per_minute: None,
        }
    }

    /// Whether it may be used from there. An address that is not known is of no block.
    pub(crate) fn allows_address(&self, address: Option<IpAddr>) -> bool {
        let is_in = |address| self.addresses.iter().any(|block| block.contains(address));
        self.addresses.is_empty() || address.is_some_and(is_in)
    }

    pub(crate) fn allows_domain(&self, domain: DomainId) -> bool {
        self.domains.is_empty() || self.domains.contains(&domain)
    }
}

/// A key as lists show it: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) id: ApiKeyId,
    pub(crate) workspace: WorkspaceId,
    /// Who made it. `None`: an operator.
    pub(crate) account: Option<AccountId>,
    pub(crate) name: String,
    /// The last four characters of the key.
    pub(crate) hint: String,
    pub(crate) grant: Grant,
    pub(crate) created_at: UnixMillis,
    pub(crate) revoked_at: Option<UnixMillis>,
    /// Up to a minute late.
    pub(crate) last_used_at: Option<UnixMillis>,
    pub(crate) last_used_from: Option<IpAddr>,
    /// The key that took its place.
    pub(crate) replaced_by: Option<ApiKeyId>,
}
