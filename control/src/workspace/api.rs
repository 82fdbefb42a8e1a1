//! Workspaces over HTTP: for their members, and for keys with the scope.

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use carom_shared::{AccountId, WorkspaceId};
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::act::{CreateWorkspace, DeleteWorkspace, RenameWorkspace};
use super::store::workspace_list_of;
use super::sweep::sweep;
use super::{Membership, NAME_MAX, Workspace, check_name};
use crate::access::{Role, Scope, allow};
use crate::app::App;
use crate::http::auth::{Caller, Credentials};
use crate::http::extract::{Id, Json, MergePatch, NoParams, Params};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::member::act::{RemoveMember, Transfer};
use crate::member::store::member_find;
use crate::openapi::responses::{Any, Fresh, MayConflict, OfOne, WithBody};
use crate::openapi::schema;
use crate::session::api::{Client, SignedIn};

/// A workspace.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Workspace)]
pub(crate) struct WorkspaceView {
    #[schema(schema_with = schema::id)]
    id: WorkspaceId,
    name: String,
    #[schema(schema_with = schema::time)]
    created_at: String,
    /// Since when its links are out of service, by the operator.
    #[schema(schema_with = schema::optional_time, required = true)]
    disabled_at: Option<String>,
}

impl From<Workspace> for WorkspaceView {
    fn from(workspace: Workspace) -> Self {
        Self {
            id: workspace.id,
            name: workspace.name,
            created_at: rfc3339(workspace.created_at),
            disabled_at: workspace.disabled_at.map(rfc3339),
        }
    }
}

/// A workspace that you are in.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = MyWorkspace)]
pub(crate) struct MembershipView {
    #[serde(flatten)]
    workspace: WorkspaceView,
    /// What you are there.
    role: Role,
}

impl From<Membership> for MembershipView {
    fn from(membership: Membership) -> Self {
        Self { workspace: membership.workspace.into(), role: membership.role }
    }
}

/// The workspaces that you are in.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = MyWorkspaces)]
struct MembershipList {
    data: Vec<MembershipView>,
}

/// What a workspace is called.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WorkspaceName)]
pub(crate) struct NameBody {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

impl NameBody {
    fn check(&self) -> Result<String, ApiError> {
        check_name(&self.name).map_err(|error| ApiError::Invalid(vec![error]))
    }
}

/// The path of a workspace.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by its derive alone")]
struct WorkspacePath {
    #[param(schema_with = schema::id)]
    id: WorkspaceId,
}

/// The caller, as they are in the workspace that the path names.
async fn within(
    app: &App,
    caller: Caller,
    id: WorkspaceId,
    scope: Scope,
) -> Result<Caller, ApiError> {
    let caller = match (caller.credentials, caller.actor.account) {
        (Credentials::Session { id: session, auth_at, .. }, Some(account)) => {
            let role = role_in(app, account, id).await?;
            let credentials = Credentials::Session { id: session, role, auth_at };
            Caller { workspace: id, scopes: role.scopes(), credentials, ..caller }
        }
        _ if caller.workspace == id => caller,
        _ => return Err(ApiError::NotFound("workspace")),
    };
    caller.require(scope)?;
    Ok(caller)
}

/// A caller who may do what `P` names in the workspace that the path names. It is found out before a
/// body is read: who may not is not told what is wrong with it.
pub(crate) struct Within<P> {
    caller: Caller,
    id: WorkspaceId,
    permission: PhantomData<P>,
}

impl<P: allow::Permission> FromRequestParts<App> for Within<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let Id(id) = Id::from_request_parts(parts, app).await?;
        let caller = within(app, caller, id, P::SCOPE).await?;
        Ok(Self { caller, id, permission: PhantomData })
    }
}

/// Somebody who is signed in and owns the workspace that the path names.
pub(crate) struct Owner {
    signed_in: SignedIn,
    id: WorkspaceId,
}

impl FromRequestParts<App> for Owner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let signed_in = SignedIn::from_request_parts(parts, app).await?;
        let Id(id) = Id::from_request_parts(parts, app).await?;
        let scope = Scope::WorkspaceWrite;
        if !role_in(app, signed_in.account, id).await?.scopes().has(scope) {
            return Err(ApiError::Forbidden(scope));
        }
        Ok(Self { signed_in, id })
    }
}

async fn role_in(app: &App, account: AccountId, id: WorkspaceId) -> Result<Role, ApiError> {
    let found = member_find(app.read(), account, Some(id)).await?;
    Ok(found.ok_or(ApiError::NotFound("workspace"))?.1)
}

/// Lists the workspaces that you are in
///
/// In the order in which you came into them: a request without `Carom-Workspace` is about the first.
#[utoipa::path(
    get,
    path = "/api/v1/workspaces",
    tag = "workspaces",
    security(("session" = [])),
    responses((status = 200, body = MembershipList), Any),
    operation_id = "list_workspaces",
)]
pub(crate) async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let found = workspace_list_of(app.read(), signed_in.account).await?;
    let data = found.into_iter().map(MembershipView::from).collect();
    Ok(Json(MembershipList { data }).into_response())
}

/// Makes a workspace
///
/// You own it. One account owns at most 20.
#[utoipa::path(
    post,
    path = "/api/v1/workspaces",
    tag = "workspaces",
    security(("session" = [])),
    request_body = NameBody,
    responses((status = 201, body = MembershipView), Any, Fresh, WithBody, MayConflict),
    operation_id = "create_workspace",
)]
pub(crate) async fn create(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Json(body): Json<NameBody>,
) -> Result<Response, ApiError> {
    let (account, name) = (signed_in.account, body.check()?);
    let actor = client.acting(account);
    let workspace = app.act(CreateWorkspace { actor, account, name }).await??;
    let view = MembershipView { workspace: workspace.into(), role: Role::Owner };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Gives a workspace another name
#[utoipa::path(
    patch,
    path = "/api/v1/workspaces/{id}",
    tag = "workspaces",
    params(WorkspacePath),
    security(("api_key" = ["workspace:write"]), ("session" = ["workspace:write"])),
    request_body(
        content((NameBody = "application/merge-patch+json"), (NameBody = "application/json"))
    ),
    responses((status = 200, body = WorkspaceView), Any, OfOne, WithBody),
    operation_id = "rename_workspace",
)]
pub(crate) async fn rename(
    State(app): State<App>,
    Within { caller, id, .. }: Within<allow::WorkspaceWrite>,
    _: Params<NoParams>,
    MergePatch(body): MergePatch<NameBody>,
) -> Result<Response, ApiError> {
    let name = body.check()?;
    let renamed = app.act(RenameWorkspace { actor: caller.actor, id, name }).await??;
    Ok(Json(WorkspaceView::from(renamed)).into_response())
}

#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteParams {
    /// The workspace's name, if it has links.
    #[param(max_length = 100)]
    confirm: Option<String>,
}

/// Deletes a workspace
///
/// For good. Its links answer 410 within seconds, its keys and invitations are void, and its members
/// are out of it. One with links is deleted only if `confirm` is its name; one with domains of its own
/// is not, and neither is the installation's first. No key can do this: nobody could be asked once more.
#[utoipa::path(
    delete,
    path = "/api/v1/workspaces/{id}",
    tag = "workspaces",
    params(WorkspacePath, DeleteParams),
    security(("session" = ["workspace:write"])),
    responses(
        (status = 204, description = "It is deleted"),
        Any, OfOne, Fresh, MayConflict,
    ),
    operation_id = "delete_workspace",
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Owner { signed_in, id }: Owner,
    client: Client,
    Params(params): Params<DeleteParams>,
) -> Result<Response, ApiError> {
    if params.confirm.as_ref().is_some_and(|confirm| confirm.chars().count() > NAME_MAX) {
        return Err(ApiError::Request(format!("confirm has at most {NAME_MAX} characters")));
    }
    signed_in.require_fresh(app.now())?;
    let (first, confirm) = (app.first_workspace(), params.confirm);
    let actor = client.acting(signed_in.account);
    app.act(DeleteWorkspace { actor, id, first, confirm }).await??;
    sweep(&app);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// To whom a workspace is handed over.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WorkspaceTransfer)]
pub(crate) struct TransferBody {
    /// A member.
    #[schema(schema_with = schema::id)]
    account_id: AccountId,
}

/// Hands a workspace over
///
/// The member becomes an owner, and you an admin.
#[utoipa::path(
    post,
    path = "/api/v1/workspaces/{id}/transfer",
    tag = "workspaces",
    params(WorkspacePath),
    security(("session" = ["workspace:write"])),
    request_body = TransferBody,
    responses(
        (status = 204, description = "It is theirs"),
        Any, OfOne, Fresh, WithBody, MayConflict,
    ),
    operation_id = "transfer_workspace",
)]
pub(crate) async fn transfer(
    State(app): State<App>,
    Owner { signed_in, id }: Owner,
    client: Client,
    Json(body): Json<TransferBody>,
) -> Result<Response, ApiError> {
    let from = signed_in.account;
    signed_in.require_fresh(app.now())?;
    let actor = client.acting(from);
    app.act(Transfer { actor, workspace: id, from, to: body.account_id }).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Leaves a workspace
///
/// Keys that you made there are dead. The last owner cannot.
#[utoipa::path(
    post,
    path = "/api/v1/workspaces/{id}/leave",
    tag = "workspaces",
    params(WorkspacePath),
    security(("session" = [])),
    responses((status = 204, description = "You are out"), Any, OfOne, Fresh, MayConflict),
    operation_id = "leave_workspace",
)]
pub(crate) async fn leave(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Id(id): Id<WorkspaceId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let account = signed_in.account;
    role_in(&app, account, id).await?;
    let actor = client.acting(account);
    app.act(RemoveMember { actor, by_owner: false, workspace: id, account }).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}
