//! Workspaces for the operator: taking one out of service, and bringing it back.
//!
//! ```text
//! GET    /v1/workspaces
//! POST   /v1/workspaces/{id}/disable
//! POST   /v1/workspaces/{id}/enable
//! ```

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::WorkspaceId;
use serde::{Deserialize, Serialize};

use super::Workspace;
use super::act::DisableWorkspace;
use super::store::workspace_list;
use crate::app::App;
use crate::audit::Actor;
use crate::http::extract::{Id, Json};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;

/// A workspace as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorWorkspace {
    pub id: WorkspaceId,
    pub name: String,
    pub created_at: String,
    /// Since when it is out of service.
    pub disabled_at: Option<String>,
}

/// Workspaces, oldest first; at most 1,000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorWorkspaces {
    pub data: Vec<OperatorWorkspace>,
}

impl From<Workspace> for OperatorWorkspace {
    fn from(workspace: Workspace) -> Self {
        Self {
            id: workspace.id,
            name: workspace.name,
            created_at: rfc3339(workspace.created_at),
            disabled_at: workspace.disabled_at.map(rfc3339),
        }
    }
}

pub(crate) async fn list(State(app): State<App>) -> Result<Response, ApiError> {
    let data = workspace_list(app.read()).await?.into_iter().map(Into::into).collect();
    Ok(Json(OperatorWorkspaces { data }).into_response())
}

pub(crate) async fn disable(
    State(app): State<App>,
    Id(id): Id<WorkspaceId>,
) -> Result<Response, ApiError> {
    set(&app, id, true).await
}

pub(crate) async fn enable(
    State(app): State<App>,
    Id(id): Id<WorkspaceId>,
) -> Result<Response, ApiError> {
    set(&app, id, false).await
}

async fn set(app: &App, id: WorkspaceId, is_disabled: bool) -> Result<Response, ApiError> {
    let actor = Actor::default();
    let workspace = app.act(DisableWorkspace { actor, id, is_disabled }).await??;
    Ok(Json(OperatorWorkspace::from(workspace)).into_response())
}
