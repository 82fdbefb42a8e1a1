//! Workspaces for the operator: taking one out of service, and bringing it back; on the operator's surface,
//! and for operators who are signed in.
//!
//! ```text
//! GET    /v1/workspaces
//! POST   /v1/workspaces/{id}/disable     POST   /api/v1/operator/workspaces/{id}/disable
//! POST   /v1/workspaces/{id}/enable      POST   /api/v1/operator/workspaces/{id}/enable
//! ```

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::WorkspaceId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Workspace;
use super::act::DisableWorkspace;
use super::store::workspace_list;
use crate::app::App;
use crate::audit::Actor;
use crate::http::auth::ByOperator;
use crate::http::extract::{Id, Json};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::openapi::responses::{Any, Fresh, OfOne};
use crate::openapi::schema;

/// A workspace as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperatorWorkspace {
    #[schema(schema_with = schema::id)]
    pub id: WorkspaceId,
    pub name: String,
    #[schema(schema_with = schema::time)]
    pub created_at: String,
    /// Since when it is out of service.
    #[schema(schema_with = schema::optional_time, required = true)]
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
    set(&app, id, true, Actor::default()).await
}

pub(crate) async fn enable(
    State(app): State<App>,
    Id(id): Id<WorkspaceId>,
) -> Result<Response, ApiError> {
    set(&app, id, false, Actor::default()).await
}

/// The path of a workspace.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by its derive alone")]
struct WorkspacePath {
    #[param(schema_with = schema::id)]
    id: WorkspaceId,
}

/// Takes a workspace out of service
///
/// Its links answer 410 within seconds, its members and keys only read, until it is brought back.
#[utoipa::path(
    post,
    path = "/api/v1/operator/workspaces/{id}/disable",
    tag = "operator",
    params(WorkspacePath),
    security(("session" = ["operator"])),
    responses((status = 200, body = OperatorWorkspace), Any, OfOne, Fresh),
    operation_id = "disable_workspace",
)]
pub(crate) async fn disable_signed_in(
    State(app): State<App>,
    by: ByOperator,
    Id(id): Id<WorkspaceId>,
) -> Result<Response, ApiError> {
    by.signed_in.require_fresh(app.now())?;
    set(&app, id, true, by.actor).await
}

/// Brings a workspace back into service
#[utoipa::path(
    post,
    path = "/api/v1/operator/workspaces/{id}/enable",
    tag = "operator",
    params(WorkspacePath),
    security(("session" = ["operator"])),
    responses((status = 200, body = OperatorWorkspace), Any, OfOne, Fresh),
    operation_id = "enable_workspace",
)]
pub(crate) async fn enable_signed_in(
    State(app): State<App>,
    by: ByOperator,
    Id(id): Id<WorkspaceId>,
) -> Result<Response, ApiError> {
    by.signed_in.require_fresh(app.now())?;
    set(&app, id, false, by.actor).await
}

async fn set(
    app: &App,
    id: WorkspaceId,
    is_disabled: bool,
    actor: Actor,
) -> Result<Response, ApiError> {
    let workspace = app.act(DisableWorkspace { actor, id, is_disabled }).await??;
    Ok(Json(OperatorWorkspace::from(workspace)).into_response())
}
