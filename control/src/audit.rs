//! The audit log: who changed what, when, from where. An entry is written in the transaction of its
//! change, so there is none without the other. Nothing changes one, and only time removes it: see
//! `audit.retention_days`.
//!
//! What is refused is not in it, but for wrong passwords and codes of an account that there is, which are
//! limited before they are looked at: strangers could fill the table. Refusals are in the process's log,
//! so many a second, and in its metrics.

pub(crate) mod api;
pub(crate) mod list;
pub(crate) mod store;

use std::net::IpAddr;
use std::sync::Arc;

use carom_shared::{AccountId, ApiKeyId, WorkspaceId};

/// Who did something, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Actor {
    /// Who is signed in, or who made the key.
    pub(crate) account: Option<AccountId>,
    /// `None`: a person in a browser, or an operator on the command line.
    pub(crate) key: Option<ApiKeyId>,
    /// `None`: over `control.sock`, or by the process itself.
    pub(crate) address: Option<IpAddr>,
    /// The request's name, as its answer and the log have it.
    pub(crate) request: String,
    /// They act for the installation: the log of a workspace tells what was done, and that it was an
    /// operator; who and from where is in the installation's.
    pub(crate) for_installation: bool,
}

/// Who made or changed something, as it remembers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Author {
    pub(crate) account: Option<AccountId>,
    pub(crate) key: Option<ApiKeyId>,
}

impl Actor {
    pub(crate) const fn author(&self) -> Author {
        Author { account: self.account, key: self.key }
    }

    /// Whether nobody of a workspace does this: whoever holds the machine does, or the process itself.
    pub(crate) const fn is_machine(&self) -> bool {
        self.account.is_none() && self.key.is_none()
    }
}

/// An entry that is written with the commit of what it tells of.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) by: Arc<Actor>,
    pub(crate) entry: Entry,
}

/// One change, as the log tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `None`: of the installation, or of an account.
    pub(crate) workspace: Option<WorkspaceId>,
    /// `noun.verb`, such as `link.create`.
    pub(crate) action: &'static str,
    /// What it was done to: a noun and an id, such as `link:123`, or a list's name.
    pub(crate) object: String,
    /// What is worth knowing of it, without secrets: an object.
    pub(crate) detail: serde_json::Value,
}
