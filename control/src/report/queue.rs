//! The queue of reports over HTTP, for operators who are signed in: what `carom report` and `carom link
//! block` do on the machine.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::{LinkId, ReportId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ReportState;
use super::operator::{
    CloseRequest, Closed, LIMIT, ReportView, answer, close_report, set_blocked, view,
};
use super::store::reports_list;
use crate::app::App;
use crate::http::auth::ByOperator;
use crate::http::extract::{Id, Json, Params};
use crate::http::problem::ApiError;
use crate::link::store::link_owner;
use crate::openapi::responses::{Any, Fresh, OfOne, WithBody};
use crate::openapi::schema;

/// Reports of the whole installation.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OperatorReports)]
struct ReportQueue {
    data: Vec<ReportView>,
    /// What to send as `before` for the next page; `null` at the end.
    #[schema(schema_with = schema::optional_id, required = true)]
    next_before: Option<ReportId>,
}

/// Which reports.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct QueueParams {
    /// Also those that are closed.
    #[param(required = false)]
    all: Option<bool>,
    /// Only those before this one.
    #[param(required = false, value_type = String, pattern = "^[1-9][0-9]{0,18}$")]
    before: Option<ReportId>,
}

/// The path of a report.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by its derive alone")]
struct ReportPath {
    #[param(schema_with = schema::id)]
    id: ReportId,
}

/// The path of a link of any workspace.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by its derive alone")]
struct LinkPath {
    #[param(schema_with = schema::id)]
    id: LinkId,
}

/// Lists what the public reports about links of all workspaces
///
/// Newest first, 100 at most.
#[utoipa::path(
    get,
    path = "/api/v1/operator/reports",
    tag = "operator",
    params(QueueParams),
    responses((status = 200, body = ReportQueue), Any),
    security(("session" = ["operator"])),
    operation_id = "list_all_reports",
)]
pub(crate) async fn list(
    State(app): State<App>,
    _: ByOperator,
    Params(params): Params<QueueParams>,
) -> Result<Response, ApiError> {
    let state = if params.all == Some(true) { None } else { Some(ReportState::Open) };
    let mut reports = reports_list(app.read(), state, params.before, LIMIT + 1).await?;
    let has_more = reports.len() > LIMIT as usize;
    reports.truncate(LIMIT as usize);
    let next_before = reports.last().filter(|_| has_more).map(|report| report.id);
    let mut data = Vec::with_capacity(reports.len());
    for report in reports {
        data.push(view(&app, report).await?);
    }
    Ok(Json(ReportQueue { data, next_before }).into_response())
}

/// Closes a report
///
/// And blocks its link, if asked: it answers 451 within seconds, whatever its owner does. What whoever
/// reported it left to be reached by is removed.
#[utoipa::path(
    post,
    path = "/api/v1/operator/reports/{id}/close",
    tag = "operator",
    params(ReportPath),
    request_body = CloseRequest,
    responses((status = 200, body = Closed), Any, OfOne, Fresh, WithBody),
    security(("session" = ["operator"])),
    operation_id = "close_report",
)]
pub(crate) async fn close(
    State(app): State<App>,
    by: ByOperator,
    Id(id): Id<ReportId>,
    Json(request): Json<CloseRequest>,
) -> Result<Response, ApiError> {
    Ok(Json(close_report(&app, id, request, by.actor).await?).into_response())
}

/// Blocks a link
///
/// Of whatever workspace: it answers 451 within seconds, whatever its owner does.
#[utoipa::path(
    post,
    path = "/api/v1/operator/links/{id}/block",
    tag = "operator",
    params(LinkPath),
    responses((status = 200, body = Closed), Any, OfOne, Fresh),
    security(("session" = ["operator"])),
    operation_id = "block_link",
)]
pub(crate) async fn block(
    State(app): State<App>,
    by: ByOperator,
    Id(id): Id<LinkId>,
) -> Result<Response, ApiError> {
    set(&app, id, true, by).await
}

/// Brings a link back that was blocked
///
/// It has the state then that it had before. One that a blocklist has stays down.
#[utoipa::path(
    post,
    path = "/api/v1/operator/links/{id}/unblock",
    tag = "operator",
    params(LinkPath),
    responses((status = 200, body = Closed), Any, OfOne, Fresh),
    security(("session" = ["operator"])),
    operation_id = "unblock_link",
)]
pub(crate) async fn unblock(
    State(app): State<App>,
    by: ByOperator,
    Id(id): Id<LinkId>,
) -> Result<Response, ApiError> {
    set(&app, id, false, by).await
}

async fn set(
    app: &App,
    id: LinkId,
    is_blocked: bool,
    by: ByOperator,
) -> Result<Response, ApiError> {
    let owner = link_owner(app.read(), id).await?;
    let workspace = owner.ok_or(ApiError::NotFound("link"))?;
    set_blocked(app, workspace, id, is_blocked, by.actor).await?;
    tracing::info!(link.id = %id, is_blocked, "link blocked, or not any more, by an operator");
    Ok(Json(answer(app, workspace, id, 0).await?).into_response())
}
