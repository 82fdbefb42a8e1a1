//! Members over HTTP.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::AccountId;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Member;
use super::act::{ChangeRole, RemoveMember};
use super::store::member_list;
use crate::access::{Role, Scope, allow};
use crate::app::App;
use crate::http::auth::By;
use crate::http::extract::{Id, Json, MergePatch, NoParams, Params};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::openapi::responses::{Any, Fresh, MayConflict, OfOne, WithBody};
use crate::openapi::schema;

/// Members of a page.
const PAGE_MAX: u32 = 100;

/// Somebody in the workspace.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Member)]
struct MemberView {
    #[schema(schema_with = schema::id)]
    account_id: AccountId,
    /// May be empty.
    name: String,
    /// For those who manage members; `null` for others.
    #[schema(required = true)]
    email: Option<String>,
    role: Role,
    #[schema(schema_with = schema::time)]
    since: String,
}

impl MemberView {
    fn new(member: Member, with_email: bool) -> Self {
        Self {
            account_id: member.account,
            name: member.name,
            email: with_email.then(|| member.email.to_string()),
            role: member.role,
            since: rfc3339(member.since),
        }
    }
}

/// A page of members.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Members)]
struct MemberList {
    data: Vec<MemberView>,
    /// What to send as `after` for the next page; `null` at the end.
    #[schema(schema_with = schema::optional_id, required = true)]
    next_after: Option<AccountId>,
}

#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MemberParams {
    /// Members of a page; 100 unless it says otherwise.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `next_after` of the page before.
    #[param(schema_with = schema::id, required = false)]
    after: Option<AccountId>,
}

/// The path of a member.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by its derive alone")]
struct MemberPath {
    /// The member's account.
    #[param(schema_with = schema::id)]
    id: AccountId,
}

/// What a member is to be.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MemberRole)]
pub(crate) struct RoleBody {
    role: Role,
}

/// Lists the members of the workspace
#[utoipa::path(
    get,
    path = "/api/v1/members",
    tag = "workspaces",
    params(MemberParams),
    security(("api_key" = ["members:read"]), ("session" = ["members:read"])),
    responses((status = 200, body = MemberList), Any),
    operation_id = "list_members",
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: By<allow::MembersRead>,
    Params(params): Params<MemberParams>,
) -> Result<Response, ApiError> {
    let limit = params.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::Request(format!("limit is from 1 to {PAGE_MAX}")));
    }
    let mut found = member_list(app.read(), caller.workspace, params.after, limit + 1).await?;
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_after = found.last().filter(|_| has_more).map(|member| member.account);
    let with_email = caller.scopes.has(Scope::MembersWrite);
    let data = found.into_iter().map(|member| MemberView::new(member, with_email)).collect();
    Ok(Json(MemberList { data, next_after }).into_response())
}

/// Gives a member another role
///
/// It counts for their next request. Only an owner makes owners, and decides about them; the last
/// owner stays one. A key gives roles whose scopes it has itself.
#[utoipa::path(
    patch,
    path = "/api/v1/members/{id}",
    tag = "workspaces",
    params(MemberPath),
    security(("api_key" = ["members:write"]), ("session" = ["members:write"])),
    request_body(
        content((RoleBody = "application/merge-patch+json"), (RoleBody = "application/json"))
    ),
    responses((status = 204, description = "It is so"), Any, OfOne, Fresh, WithBody, MayConflict),
    operation_id = "change_member",
)]
pub(crate) async fn change(
    State(app): State<App>,
    caller: By<allow::MembersWrite>,
    Id(account): Id<AccountId>,
    _: Params<NoParams>,
    MergePatch(body): MergePatch<RoleBody>,
) -> Result<Response, ApiError> {
    caller.credentials.require_fresh(app.now())?;
    caller.require_role(body.role)?;
    let by_owner = caller.scopes.has(Scope::WorkspaceWrite);
    let (actor, workspace) = (caller.actor.clone(), caller.workspace);
    app.act(ChangeRole { actor, by_owner, workspace, account, role: body.role }).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Takes a member out of the workspace
///
/// Keys that they made here are dead; where else they are, nothing changes.
#[utoipa::path(
    delete,
    path = "/api/v1/members/{id}",
    tag = "workspaces",
    params(MemberPath),
    security(("api_key" = ["members:write"]), ("session" = ["members:write"])),
    responses((status = 204, description = "They are out"), Any, OfOne, Fresh, MayConflict),
    operation_id = "remove_member",
)]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: By<allow::MembersWrite>,
    Id(account): Id<AccountId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    caller.credentials.require_fresh(app.now())?;
    let by_owner = caller.scopes.has(Scope::WorkspaceWrite);
    let (actor, workspace) = (caller.actor.clone(), caller.workspace);
    app.act(RemoveMember { actor, by_owner, workspace, account }).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}
