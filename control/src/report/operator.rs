//! Reports and blocked links, on the operator's surface; [`queue`](super::queue) has the same for
//! operators who are signed in.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use carom_shared::{LinkId, ReportId, WorkspaceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::act::CloseReport;
use super::store::reports_list;
use super::{Report, ReportState};
use crate::app::App;
use crate::audit::Actor;
use crate::http::extract::{Id, Json, Params};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::link::block::{Block, BlockLinks, Reason};
use crate::link::store::link_fetch;
use crate::openapi::schema;
use crate::operator::find_link;

/// Reports of a page.
pub(super) const LIMIT: u32 = 100;

/// A report, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OperatorReport)]
pub struct ReportView {
    #[schema(schema_with = schema::id)]
    pub id: ReportId,
    #[schema(schema_with = schema::id)]
    pub workspace_id: WorkspaceId,
    #[schema(schema_with = schema::id)]
    pub link_id: LinkId,
    #[schema(format = "uri")]
    pub short_url: String,
    /// Where the link leads now; `null` if it was deleted.
    #[schema(required = true, format = "uri")]
    pub url: Option<String>,
    #[schema(schema_with = schema::report_reason)]
    pub reason: String,
    /// May be empty.
    pub comment: String,
    /// By what whoever reported it can be reached; empty if they left nothing, and once it is closed.
    pub contact: String,
    #[schema(schema_with = schema::report_state)]
    pub state: String,
    #[schema(schema_with = schema::time)]
    pub created_at: String,
    #[schema(schema_with = schema::optional_time, required = true)]
    pub closed_at: Option<String>,
}

/// The newest reports, at most 100.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportList {
    pub data: Vec<ReportView>,
}

/// A body of `POST /v1/reports/{id}/close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CloseReport)]
pub struct CloseRequest {
    /// Whether its link is blocked; then all other open reports about it are closed too.
    pub block: bool,
}

/// What closing a report, or blocking a link, came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LinkBlocked)]
pub struct Closed {
    #[schema(schema_with = schema::id)]
    pub link_id: LinkId,
    /// What the link's code is good for now: `active`, `disabled`, `blocked`, `deleted`.
    pub state: String,
    /// Reports that were closed.
    pub closed: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Only those before this one.
    before: Option<ReportId>,
    /// Also those that are closed.
    all: Option<bool>,
}

pub(crate) async fn list(
    State(app): State<App>,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let state = if params.all == Some(true) { None } else { Some(ReportState::Open) };
    let mut data = Vec::new();
    for report in reports_list(app.read(), state, params.before, LIMIT).await? {
        data.push(view(&app, report).await?);
    }
    Ok(Json(ReportList { data }).into_response())
}

pub(super) async fn view(app: &App, report: Report) -> Result<ReportView, ApiError> {
    let link = link_fetch(app.read(), report.workspace, report.link).await?;
    Ok(ReportView {
        id: report.id,
        workspace_id: report.workspace,
        link_id: report.link,
        short_url: report.short_url,
        url: link.map(|link| link.target),
        reason: report.reason.as_str().into(),
        comment: report.comment,
        contact: report.contact,
        state: report.state.as_str().into(),
        created_at: rfc3339(report.created_at),
        closed_at: report.closed_at.map(rfc3339),
    })
}

pub(crate) async fn close(
    State(app): State<App>,
    Id(id): Id<ReportId>,
    Json(request): Json<CloseRequest>,
) -> Result<Response, ApiError> {
    Ok(Json(close_report(&app, id, request, Actor::default()).await?).into_response())
}

/// Closes a report. The link first: should it fail, the report is still open.
pub(super) async fn close_report(
    app: &App,
    id: ReportId,
    request: CloseRequest,
    actor: Actor,
) -> Result<Closed, ApiError> {
    let state = if request.block { ReportState::Blocked } else { ReportState::Dismissed };
    let after = ReportId::try_from(id.get().saturating_add(1)).ok();
    let found = reports_list(app.read(), None, after, 1).await?.into_iter().next();
    let report = found.filter(|report| report.id == id).ok_or(ApiError::NotFound("report"))?;
    if request.block {
        set_blocked(app, report.workspace, report.link, true, actor.clone()).await?;
    }
    let done = app.act(CloseReport { id, state, actor }).await?;
    let closed = done.map_or(0, |(_, closed)| closed);
    tracing::info!(report.id = %id, link.id = %report.link, state = state.as_str(), "report closed");
    answer(app, report.workspace, report.link, closed).await
}

pub(crate) async fn block(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    block_named(&app, &name, true).await
}

pub(crate) async fn unblock(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    block_named(&app, &name, false).await
}

async fn block_named(app: &App, name: &str, is_blocked: bool) -> Result<Response, ApiError> {
    let (workspace, link) = find_link(app, name).await?;
    set_blocked(app, workspace, link, is_blocked, Actor::default()).await?;
    tracing::info!(link.id = %link, is_blocked, "link blocked, or not any more, by an operator");
    Ok(Json(answer(app, workspace, link, 0).await?).into_response())
}

pub(super) async fn set_blocked(
    app: &App,
    workspace: WorkspaceId,
    link: LinkId,
    is_blocked: bool,
    actor: Actor,
) -> Result<(), ApiError> {
    let blocks = vec![Block { workspace, link, is_blocked }];
    let act = BlockLinks { actor, why: Reason::Operator, blocks };
    app.act(act).await?;
    Ok(())
}

pub(super) async fn answer(
    app: &App,
    workspace: WorkspaceId,
    link: LinkId,
    closed: u64,
) -> Result<Closed, ApiError> {
    let found = link_fetch(app.read(), workspace, link).await?;
    let state = found.map_or("deleted", |link| crate::link::api::state_word(link.route_state()));
    Ok(Closed { link_id: link, state: state.into(), closed })
}
