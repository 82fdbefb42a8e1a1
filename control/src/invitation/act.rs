//! What is written of invitations, each in one transaction with its entry in the audit log.

use carom_shared::{AccountId, InvitationId, WorkspaceId};
use serde_json::{Value, json};

use super::store::{
    NewInvitation, Which, email_is_member, invitation_accept, invitation_count, invitation_insert,
    invitation_of, invitation_withdraw,
};
use super::{Invitation, OPEN_MAX};
use crate::account::store::account_now;
use crate::audit::{Actor, Entry};
use crate::db::StoreError;
use crate::http::problem::ApiError;
use crate::member::MEMBERS_MAX;
use crate::member::store::{member_count, member_now, member_put};
use crate::secret::token::TokenHash;
use crate::workspace::Workspace;
use crate::workspace::store::workspace_now;
use crate::write::{Act, Writing};

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvitationRefused {
    NotFound,
    TooMany,
    MembersTooMany,
    IsMember,
    /// It is for another address than the account's.
    OtherAddress,
}

impl From<InvitationRefused> for ApiError {
    fn from(refused: InvitationRefused) -> Self {
        Self::Conflict(match refused {
            InvitationRefused::NotFound => return Self::NotFound("invitation"),
            InvitationRefused::TooMany => {
                format!("{OPEN_MAX} invitations of the workspace are open; withdraw one")
            }
            InvitationRefused::MembersTooMany => {
                format!("a workspace has at most {MEMBERS_MAX} members")
            }
            InvitationRefused::IsMember => "they are a member of the workspace already".into(),
            InvitationRefused::OtherAddress => {
                "the invitation is for another e-mail address; sign in with the account that has it"
                    .into()
            }
        })
    }
}

fn entry(workspace: WorkspaceId, action: &'static str, id: InvitationId, detail: Value) -> Entry {
    Entry { workspace: Some(workspace), action, object: format!("invitation:{id}"), detail }
}

/// Invites somebody; an earlier invitation of theirs is void.
pub(crate) struct Invite {
    pub(crate) actor: Actor,
    pub(crate) new: NewInvitation,
}

impl Act for Invite {
    type Done = Result<(Invitation, Workspace), InvitationRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Self { actor, new } = self;
        let (id, now) = (new.workspace, writing.now);
        let Some(workspace) = workspace_now(writing.tx, id).await? else {
            return Ok(Err(InvitationRefused::NotFound));
        };
        if email_is_member(writing.tx, id, &new.email).await? {
            return Ok(Err(InvitationRefused::IsMember));
        }
        if invitation_count(writing.tx, id, now).await? >= OPEN_MAX {
            return Ok(Err(InvitationRefused::TooMany));
        }
        invitation_withdraw(writing.tx, id, Which::For(&new.email), now).await?;
        let made = invitation_insert(writing.tx, new, now, writing.random).await?;
        let by = if made.is_mailed { "mail" } else { "link" };
        let detail = json!({"email": made.email.as_str(), "role": made.role, "by": by});
        writing.note(&actor, entry(id, "invitation.create", made.id, detail)).await?;
        Ok(Ok((made, workspace)))
    }
}

/// Takes an invitation back.
pub(crate) struct Withdraw {
    pub(crate) actor: Actor,
    pub(crate) workspace: WorkspaceId,
    pub(crate) id: InvitationId,
}

impl Act for Withdraw {
    type Done = Result<(), InvitationRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Self { actor, workspace, id } = self;
        if !invitation_withdraw(writing.tx, workspace, Which::One(id), writing.now).await? {
            return Ok(Err(InvitationRefused::NotFound));
        }
        writing.note(&actor, entry(workspace, "invitation.withdraw", id, json!({}))).await?;
        Ok(Ok(()))
    }
}

/// Makes whoever was invited a member.
pub(crate) struct Accept {
    pub(crate) actor: Actor,
    pub(crate) account: AccountId,
    pub(crate) token: TokenHash,
}

impl Act for Accept {
    type Done = Result<(Invitation, Workspace), InvitationRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Self { actor, account, token } = self;
        let found = invitation_of(writing.tx, &token, writing.now).await?;
        let person = account_now(writing.tx, account).await?;
        let Some((invitation, person)) = found.zip(person) else {
            return Ok(Err(InvitationRefused::NotFound));
        };
        if person.email != invitation.email {
            return Ok(Err(InvitationRefused::OtherAddress));
        }
        let id = invitation.workspace;
        let Some(workspace) = workspace_now(writing.tx, id).await? else {
            return Ok(Err(InvitationRefused::NotFound));
        };
        if member_now(writing.tx, id, account).await?.is_some() {
            return Ok(Err(InvitationRefused::IsMember));
        }
        if member_count(writing.tx, id, None).await? >= MEMBERS_MAX {
            return Ok(Err(InvitationRefused::MembersTooMany));
        }
        if !invitation_accept(writing.tx, invitation.id, writing.now).await? {
            return Ok(Err(InvitationRefused::NotFound));
        }
        member_put(writing.tx, id, account, invitation.role, writing.now).await?;
        let detail = json!({"account": account, "role": invitation.role});
        writing.note(&actor, entry(id, "invitation.accept", invitation.id, detail)).await?;
        Ok(Ok((invitation, workspace)))
    }
}
