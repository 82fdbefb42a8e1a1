//! What is written of workspaces, each in one transaction with its entry in the audit log.

use carom_shared::{AccountId, WorkspaceId};
use serde_json::{Value, json};

use super::store::{
    workspace_end, workspace_has_domains, workspace_has_links, workspace_insert, workspace_now,
    workspace_update,
};
use super::{OWNED_MAX, Workspace};
use crate::access::Role;
use crate::audit::{Actor, Entry};
use crate::db::StoreError;
use crate::http::problem::ApiError;
use crate::member::store::{member_put, owned_count};
use crate::write::{Act, Writing};

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkspaceRefused {
    NotFound,
    TooMany,
    /// The installation's own: what an operator makes and imports goes there.
    First,
    /// It has links, and whoever wants it deleted has not said its name.
    HasLinks,
    /// Domains are released one by one: each is somebody's host.
    HasDomains,
}

impl From<WorkspaceRefused> for ApiError {
    fn from(refused: WorkspaceRefused) -> Self {
        Self::Conflict(match refused {
            WorkspaceRefused::NotFound => return Self::NotFound("workspace"),
            WorkspaceRefused::TooMany => {
                format!(
                    "one account owns at most {OWNED_MAX} workspaces; hand one over, or delete it"
                )
            }
            WorkspaceRefused::First => {
                "this is the installation's first workspace, which an operator's keys and imports \
                 belong to; it stays"
                    .into()
            }
            WorkspaceRefused::HasLinks => {
                "the workspace has links, which would all end; send its name as confirm".into()
            }
            WorkspaceRefused::HasDomains => "the workspace has domains; release them first".into(),
        })
    }
}

fn entry(action: &'static str, id: WorkspaceId, detail: Value) -> Entry {
    Entry { workspace: Some(id), action, object: format!("workspace:{id}"), detail }
}

/// Makes a workspace that its maker owns.
pub(crate) struct CreateWorkspace {
    pub(crate) actor: Actor,
    pub(crate) account: AccountId,
    pub(crate) name: String,
}

impl Act for CreateWorkspace {
    type Done = Result<Workspace, WorkspaceRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Self { actor, account, name } = self;
        if owned_count(writing.tx, account).await? >= OWNED_MAX {
            return Ok(Err(WorkspaceRefused::TooMany));
        }
        let id = workspace_insert(writing.tx, &name, writing.now, writing.random).await?;
        member_put(writing.tx, id, account, Role::Owner, writing.now).await?;
        writing.note(&actor, entry("workspace.create", id, json!({"name": name}))).await?;
        Ok(Ok(Workspace { id, name, created_at: writing.now, disabled_at: None }))
    }
}

/// Gives a workspace another name.
pub(crate) struct RenameWorkspace {
    pub(crate) actor: Actor,
    pub(crate) id: WorkspaceId,
    pub(crate) name: String,
}

impl Act for RenameWorkspace {
    type Done = Result<Workspace, WorkspaceRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Some(before) = workspace_now(writing.tx, self.id).await? else {
            return Ok(Err(WorkspaceRefused::NotFound));
        };
        let after = Workspace { name: self.name, ..before.clone() };
        if after != before {
            workspace_update(writing.tx, &after).await?;
            let detail = json!({"from": before.name, "to": after.name});
            writing.note(&self.actor, entry("workspace.rename", self.id, detail)).await?;
        }
        Ok(Ok(after))
    }
}

/// Takes a workspace out of service, or brings it back.
pub(crate) struct DisableWorkspace {
    pub(crate) actor: Actor,
    pub(crate) id: WorkspaceId,
    pub(crate) is_disabled: bool,
}

impl Act for DisableWorkspace {
    type Done = Result<Workspace, WorkspaceRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Some(mut workspace) = workspace_now(writing.tx, self.id).await? else {
            return Ok(Err(WorkspaceRefused::NotFound));
        };
        if workspace.disabled_at.is_some() != self.is_disabled {
            workspace.disabled_at = self.is_disabled.then_some(writing.now);
            workspace_update(writing.tx, &workspace).await?;
            let action = if self.is_disabled { "workspace.disable" } else { "workspace.enable" };
            writing.note(&self.actor, entry(action, self.id, json!({}))).await?;
        }
        Ok(Ok(workspace))
    }
}

/// Ends a workspace, for good.
pub(crate) struct DeleteWorkspace {
    pub(crate) actor: Actor,
    pub(crate) id: WorkspaceId,
    pub(crate) first: WorkspaceId,
    /// The name that whoever wants it deleted has said.
    pub(crate) confirm: Option<String>,
}

impl Act for DeleteWorkspace {
    type Done = Result<(), WorkspaceRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Self { actor, id, first, confirm } = self;
        let Some(workspace) = workspace_now(writing.tx, id).await? else {
            return Ok(Err(WorkspaceRefused::NotFound));
        };
        if id == first {
            return Ok(Err(WorkspaceRefused::First));
        }
        if workspace_has_domains(writing.tx, id).await? {
            return Ok(Err(WorkspaceRefused::HasDomains));
        }
        let is_confirmed = confirm.as_deref() == Some(workspace.name.as_str());
        if !is_confirmed && workspace_has_links(writing.tx, id).await? {
            return Ok(Err(WorkspaceRefused::HasLinks));
        }
        workspace_end(writing.tx, id, writing.now).await?;
        let detail = json!({"name": workspace.name});
        writing.note(&actor, entry("workspace.delete", id, detail)).await?;
        Ok(Ok(()))
    }
}
