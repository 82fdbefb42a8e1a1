//! Invitations: whom a workspace waits for.
//!
//! An invitation is for one address, works once and for seven days, and is a token of which the database
//! has the hash. It goes by mail; where none is sent, whoever invites is shown the link once and passes
//! it on. An account with that address accepts it, and no other. Where there is none yet, the link makes
//! it: see [`crate::account::invited`].

pub(crate) mod act;
pub(crate) mod api;
pub(crate) mod store;

use std::time::Duration;

use carom_shared::{AccountId, InvitationId, UnixMillis, WorkspaceId};

use crate::access::Role;
use crate::account::Email;

/// How long an invitation can be accepted.
pub(crate) const LIFE: Duration = Duration::from_hours(7 * 24);
/// Invitations of a workspace that can be accepted, at most.
pub(crate) const OPEN_MAX: i64 = 100;

/// An invitation, without its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invitation {
    pub(crate) id: InvitationId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) email: Email,
    pub(crate) role: Role,
    /// `None`: a key that an operator made.
    pub(crate) invited_by: Option<AccountId>,
    /// Whether its link went by mail; otherwise whoever invited was shown it.
    pub(crate) is_mailed: bool,
    pub(crate) created_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
}
