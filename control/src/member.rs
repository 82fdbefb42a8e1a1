//! Members: which role an account has in which workspace. A role is looked up with each request, so a
//! change of it counts for the next one.
//!
//! A workspace always has an owner: whoever is the last one cannot go, be removed or become less.

pub(crate) mod act;
pub(crate) mod api;
pub(crate) mod store;

use carom_shared::{AccountId, UnixMillis};

use crate::access::Role;
use crate::account::Email;

/// Members of a workspace, at most.
pub(crate) const MEMBERS_MAX: i64 = 1000;

/// Somebody in a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) account: AccountId,
    pub(crate) email: Email,
    /// May be empty.
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) since: UnixMillis,
}
