//! What is written of shares, each with its entry in the audit log.

use carom_shared::{ShareId, WorkspaceId};
use serde_json::json;

use super::store::{share_count, share_delete, share_id, share_insert};
use super::{Part, SHARES_MAX, Share, ShareOf, Shown, owner};
use crate::audit::{Actor, Entry};
use crate::db::StoreError;
use crate::link::api::rfc3339;
use crate::secret::seal::SealKey;
use crate::secret::token::Token;
use crate::write::{Act, Writing};

fn entry(action: &'static str, share: &Share) -> Entry {
    let (link, tag) = match &share.of {
        ShareOf::Workspace => (None, None),
        ShareOf::Link(link) => (Some(*link), None),
        ShareOf::Tag(tag) => (None, Some(tag)),
    };
    Entry {
        workspace: Some(share.workspace),
        action,
        object: format!("share:{}", share.id),
        detail: json!({
            "name": share.name,
            "link": link,
            "tag": tag,
            "shows": share.shown.parts().map(Part::as_str).collect::<Vec<_>>(),
            "has_password": !share.password_hash.is_empty(),
            "expires_at": share.expires_at.map(rfc3339),
        }),
    }
}

/// Shares statistics with whoever has the address.
pub(super) struct CreateShare {
    pub(super) actor: Actor,
    pub(super) workspace: WorkspaceId,
    pub(super) of: ShareOf,
    pub(super) name: String,
    pub(super) token: Token,
    pub(super) seal: SealKey,
    pub(super) password_hash: String,
    pub(super) shown: Shown,
    pub(super) expires_at: Option<carom_shared::UnixMillis>,
}

impl Act for CreateShare {
    /// `None`: the workspace has as many as it may.
    type Done = Option<Share>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Option<Share>, StoreError> {
        if share_count(writing.tx, self.workspace).await? >= SHARES_MAX {
            return Ok(None);
        }
        let id = share_id(writing.tx, writing.now, writing.random).await?;
        let sealed = self.seal.seal(owner(id), self.token.reveal().as_bytes(), writing.random);
        let share = Share {
            id,
            workspace: self.workspace,
            of: self.of,
            name: self.name,
            token_hash: self.token.hash(),
            token_sealed: sealed,
            password_hash: self.password_hash,
            shown: self.shown,
            created_at: writing.now,
            expires_at: self.expires_at,
        };
        share_insert(writing.tx, &share).await?;
        writing.note(&self.actor, entry("share.create", &share)).await?;
        Ok(Some(share))
    }
}

/// Takes a share back.
pub(super) struct RevokeShare {
    pub(super) actor: Actor,
    pub(super) workspace: WorkspaceId,
    pub(super) id: ShareId,
}

impl Act for RevokeShare {
    /// Whether there was one.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let Some(share) = share_delete(writing.tx, self.workspace, self.id).await? else {
            return Ok(false);
        };
        writing.note(&self.actor, entry("share.revoke", &share)).await?;
        Ok(true)
    }
}
