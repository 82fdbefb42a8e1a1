//! What is written of members, each in one transaction with its entry in the audit log.

use carom_shared::{AccountId, WorkspaceId};
use serde_json::json;

use super::store::{member_count, member_now, member_put, member_remove};
use crate::access::Role;
use crate::audit::{Actor, Entry};
use crate::db::{StoreError, Tx};
use crate::http::problem::ApiError;
use crate::write::{Act, Writing};

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberRefused {
    /// They are no member.
    NotFound,
    /// Nobody would own the workspace.
    LastOwner,
    /// Only an owner makes owners, and decides about them.
    OwnersOnly,
}

impl From<MemberRefused> for ApiError {
    fn from(refused: MemberRefused) -> Self {
        let detail = match refused {
            MemberRefused::NotFound => return Self::NotFound("member"),
            MemberRefused::LastOwner => {
                "nobody would own the workspace; make somebody else an owner first, or delete it"
            }
            MemberRefused::OwnersOnly => "only an owner makes owners, and decides about them",
        };
        Self::Conflict(detail.into())
    }
}

/// An entry about a member.
pub(crate) fn entry(
    workspace: WorkspaceId,
    action: &'static str,
    account: AccountId,
    detail: serde_json::Value,
) -> Entry {
    Entry { workspace: Some(workspace), action, object: format!("account:{account}"), detail }
}

/// Refuses what would leave a workspace without an owner. The one who writes sees all of it: of two
/// owners who go at once, the second is refused.
async fn keep_an_owner(
    tx: &mut Tx,
    workspace: WorkspaceId,
    was: Role,
) -> Result<Result<(), MemberRefused>, StoreError> {
    let is_last = was == Role::Owner && member_count(tx, workspace, Some(Role::Owner)).await? <= 1;
    Ok(if is_last { Err(MemberRefused::LastOwner) } else { Ok(()) })
}

/// Gives a member another role.
pub(crate) struct ChangeRole {
    pub(crate) actor: Actor,
    /// Whether whoever asks may decide about owners.
    pub(crate) by_owner: bool,
    pub(crate) workspace: WorkspaceId,
    pub(crate) account: AccountId,
    pub(crate) role: Role,
}

impl Act for ChangeRole {
    type Done = Result<(), MemberRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Self { actor, by_owner, workspace, account, role } = self;
        let Some(was) = member_now(writing.tx, workspace, account).await? else {
            return Ok(Err(MemberRefused::NotFound));
        };
        if !by_owner && was.max(role) == Role::Owner {
            return Ok(Err(MemberRefused::OwnersOnly));
        }
        if was == role {
            return Ok(Ok(()));
        }
        if let Err(refused) = keep_an_owner(writing.tx, workspace, was).await? {
            return Ok(Err(refused));
        }
        member_put(writing.tx, workspace, account, role, writing.now).await?;
        let detail = json!({"from": was, "to": role});
        writing.note(&actor, entry(workspace, "member.change", account, detail)).await?;
        Ok(Ok(()))
    }
}

/// Takes a member out; also oneself.
pub(crate) struct RemoveMember {
    pub(crate) actor: Actor,
    /// Whether whoever asks may decide about owners.
    pub(crate) by_owner: bool,
    pub(crate) workspace: WorkspaceId,
    pub(crate) account: AccountId,
}

impl Act for RemoveMember {
    type Done = Result<(), MemberRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Self { actor, by_owner, workspace, account } = self;
        let Some(was) = member_now(writing.tx, workspace, account).await? else {
            return Ok(Err(MemberRefused::NotFound));
        };
        let is_leaving = actor.account == Some(account) && actor.key.is_none();
        if !by_owner && !is_leaving && was == Role::Owner {
            return Ok(Err(MemberRefused::OwnersOnly));
        }
        if let Err(refused) = keep_an_owner(writing.tx, workspace, was).await? {
            return Ok(Err(refused));
        }
        member_remove(writing.tx, workspace, account).await?;
        let action = if is_leaving { "member.leave" } else { "member.remove" };
        writing.note(&actor, entry(workspace, action, account, json!({"role": was}))).await?;
        Ok(Ok(()))
    }
}

/// Makes a member an owner, and whoever was one an admin.
pub(crate) struct Transfer {
    pub(crate) actor: Actor,
    pub(crate) workspace: WorkspaceId,
    pub(crate) from: AccountId,
    pub(crate) to: AccountId,
}

impl Act for Transfer {
    type Done = Result<(), MemberRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Self { actor, workspace, from, to } = self;
        // It was so when they asked; it may not be so any more.
        if member_now(writing.tx, workspace, from).await? != Some(Role::Owner) {
            return Ok(Err(MemberRefused::OwnersOnly));
        }
        if member_now(writing.tx, workspace, to).await?.is_none() {
            return Ok(Err(MemberRefused::NotFound));
        }
        if from == to {
            return Ok(Ok(()));
        }
        member_put(writing.tx, workspace, to, Role::Owner, writing.now).await?;
        member_put(writing.tx, workspace, from, Role::Admin, writing.now).await?;
        let detail = json!({"from": from, "to": to});
        writing.note(&actor, entry(workspace, "workspace.transfer", to, detail)).await?;
        Ok(Ok(()))
    }
}
