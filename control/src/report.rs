//! Reports of abuse: what the public says about links, and the queue of it.
//!
//! Anybody may report a link that exists. Operators close reports, and block the link with it or not, on
//! the machine (`operator`) or signed in (`queue`);
//! admins of the link's workspace see what is said of their links, and not who said it. What somebody
//! left to be reached by is for the operator alone, and is gone once the report is closed.

pub(crate) mod act;
pub(crate) mod api;
pub(crate) mod command;
pub(crate) mod operator;
mod page;
pub(crate) mod queue;
pub(crate) mod store;

use carom_shared::{LinkId, ReportId, UnixMillis, WorkspaceId};

/// Open reports of one link, at most; further ones are thanked for and not kept.
const OPEN_OF_LINK_MAX: u64 = 20;
/// Open reports of the installation, at most; likewise.
const OPEN_MAX: u64 = 10_000;

/// What is wrong with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportReason {
    Phishing,
    Malware,
    Spam,
    Illegal,
    Other,
}

impl ReportReason {
    pub(crate) const ALL: [Self; 5] =
        [Self::Phishing, Self::Malware, Self::Spam, Self::Illegal, Self::Other];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Phishing => "phishing",
            Self::Malware => "malware",
            Self::Spam => "spam",
            Self::Illegal => "illegal",
            Self::Other => "other",
        }
    }

    /// As the database holds it.
    pub(crate) const fn number(self) -> i64 {
        self as i64
    }
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportState {
    Open,
    Dismissed,
    /// The link was blocked.
    Blocked,
}

impl ReportState {
    pub(crate) const ALL: [Self; 3] = [Self::Open, Self::Dismissed, Self::Blocked];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Dismissed => "dismissed",
            Self::Blocked => "blocked",
        }
    }

    /// As the database holds it.
    pub(crate) const fn number(self) -> i64 {
        self as i64
    }
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) id: ReportId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) link: LinkId,
    pub(crate) short_url: String,
    pub(crate) reason: ReportReason,
    /// Empty if there is none.
    pub(crate) comment: String,
    /// By what the person can be reached; empty if they left nothing.
    pub(crate) contact: String,
    pub(crate) state: ReportState,
    pub(crate) created_at: UnixMillis,
    pub(crate) closed_at: Option<UnixMillis>,
}
