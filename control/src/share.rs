//! Shares: statistics that whoever has an address may read, and nobody else.
//!
//! ```text
//! POST /api/v1/shares -> command (checked) -> act (row, audit) -> /share/{token} -> page::share
//! ```
//!
//! An editor makes one, of a link, of a tag or of all links, and says what is shown. The address has a
//! [`Token`](crate::secret::token::Token), which is found by its hash. The token is also kept sealed, so
//! that the address can be copied again: it is for passing on, and what it opens is less than whoever
//! reads the database sees anyway. The other way, a new address each time somebody needs it, breaks those
//! that were passed on before.
//!
//! A password is one more thing to know: whoever entered it has a cookie for this share alone
//! ([`visit`]), which is void once the share is gone.

pub(crate) mod act;
pub(crate) mod api;
pub(crate) mod command;
pub(crate) mod store;
pub(crate) mod visit;

use carom_shared::{LinkId, ShareId, UnixMillis, WorkspaceId};

use crate::secret::token::TokenHash;

/// Shares of a workspace, at most; those that have expired are among them.
const SHARES_MAX: u64 = 500;

/// Whose statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ShareOf {
    /// Of all links of the workspace.
    Workspace,
    Link(LinkId),
    /// Folded.
    Tag(String),
}

/// A part of a report that is shown or not. Totals and their course always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Part {
    Sources,
    Places,
    Devices,
    Campaigns,
    /// When in a week.
    Times,
    /// Which links, and where each led to.
    Links,
    /// That a reader may filter, by what is shown: tells how parts hang together.
    Filters,
}

impl Part {
    pub(crate) const ALL: [Self; 7] = [
        Self::Sources,
        Self::Places,
        Self::Devices,
        Self::Campaigns,
        Self::Times,
        Self::Links,
        Self::Filters,
    ];

    /// Its name in the API and in forms.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Places => "places",
            Self::Devices => "devices",
            Self::Campaigns => "campaigns",
            Self::Times => "times",
            Self::Links => "links",
            Self::Filters => "filters",
        }
    }
}

/// What of a report is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown(u8);

impl Shown {
    /// To members: everything.
    pub(crate) const ALL: Self = Self(0x7f);

    pub(crate) const fn has(self, part: Part) -> bool {
        self.0 & 1 << part as u8 != 0
    }

    pub(crate) const fn with(self, part: Part) -> Self {
        Self(self.0 | 1 << part as u8)
    }

    pub(crate) fn parts(self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(move |part| self.has(*part))
    }

    /// As the database holds it.
    pub(crate) const fn number(self) -> i64 {
        self.0 as i64
    }

    /// Bits that nobody knows show nothing.
    pub(crate) fn from_number(number: i64) -> Self {
        Self(u8::try_from(number & 0x7f).unwrap_or_default())
    }
}

/// Statistics that are shown to whoever has their address.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) id: ShareId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) of: ShareOf,
    /// What its readers see above it.
    pub(crate) name: String,
    pub(crate) token_hash: TokenHash,
    /// The token, sealed for [`owner`].
    pub(crate) token_sealed: Vec<u8>,
    /// Of the password, in the PHC form; empty where none is asked for.
    pub(crate) password_hash: String,
    pub(crate) shown: Shown,
    pub(crate) created_at: UnixMillis,
    pub(crate) expires_at: Option<UnixMillis>,
}

impl Share {
    pub(crate) fn has_expired(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// For whom a share's token is sealed: no account's number is below zero.
pub(crate) const fn owner(id: ShareId) -> i64 {
    -id.get()
}
