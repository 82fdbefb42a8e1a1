//! Reports over HTTP.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use carom_shared::{LinkId, ReportId, RouteState};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use utoipa::{IntoParams, ToSchema};

use super::act::TakeReport;
use super::command::{ReportBody, check, no_link};
use super::store::reports_of;
use super::{Report, ReportState, page};
use crate::access::allow;
use crate::app::App;
use crate::http::auth::{By, actor};
use crate::http::extract::{Json, JsonBody, Params, read_bytes};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::openapi::responses::{Any, WithBody};
use crate::openapi::schema;

/// Reports of a page.
const LIMIT_MAX: u32 = 100;
const LIMIT_DEFAULT: u32 = 50;
const FORM: &str = "application/x-www-form-urlencoded";

/// A report as a browser sends it (the URL standard, application/x-www-form-urlencoded).
struct Form(ReportBody);

impl JsonBody for Form {
    const MEDIA_TYPES: &[&str] = &["application/json", FORM];
    const MAX: usize = 16 * 1024;

    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = serde_json::Map::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            fields.insert(name.into_owned(), value.into_owned().into());
        }
        let body = serde_json::from_value(fields.into());
        body.map(Self).map_err(|error| ApiError::Request(error.to_string()))
    }
}

/// What somebody who reported a link is told.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ReportTaken)]
struct TakenView {
    /// Always `received`: whether it is kept depends on how many there are already.
    status: &'static str,
}

/// Reports a link as abuse
///
/// Needs no account. Browsers send it as a form, programs as JSON.
#[utoipa::path(
    post,
    path = "/report",
    tag = "reports",
    request_body(
        content((ReportBody = "application/json"), (ReportBody = "application/x-www-form-urlencoded"))
    ),
    responses((status = 202, body = TakenView), Any, WithBody),
    security(()),
    operation_id = "report_link",
)]
pub(crate) async fn report(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let actor = actor(&parts);
    // Before anything is read: who floods this is to be told so cheaply.
    app.limits().report(actor.address).await?;
    let request = Request::from_parts(parts, body);
    let (media_type, bytes) = read_bytes::<Form>(request).await?;
    let is_form = media_type == FORM;
    let body = match is_form {
        true => Form::parse(&bytes)?.0,
        false => Json::<ReportBody>::parse(&bytes)?.0,
    };
    let domains = app.domain_set();
    let new = check(&body, &domains).map_err(ApiError::Invalid)?;
    let route = app.resolve(new.domain.id, &new.code).await?;
    let route = route.filter(|route| route.state != RouteState::Deleted);
    let route = route.ok_or_else(|| ApiError::Invalid(vec![no_link()]))?;
    let report = Report {
        id: ReportId::generate(app.now(), app.random()),
        workspace: route.workspace,
        link: route.link,
        short_url: domains.short_url(new.domain.id, &new.code),
        reason: new.reason,
        comment: new.comment,
        contact: new.contact,
        state: ReportState::Open,
        created_at: app.now(),
        closed_at: None,
    };
    app.act(TakeReport { report, actor }).await?;
    Ok(match is_form {
        true => (StatusCode::ACCEPTED, page::thanks()).into_response(),
        false => (StatusCode::ACCEPTED, Json(TakenView { status: "received" })).into_response(),
    })
}

/// The form's parameters.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FormParams {
    url: Option<String>,
}

/// The form for people; it is no part of the API.
pub(crate) async fn form(Params(params): Params<FormParams>) -> Response {
    page::form(params.url.as_deref().unwrap_or_default())
}

/// A report about a link of the workspace. What it does not have is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Report)]
struct ReportView {
    #[schema(schema_with = schema::id)]
    id: ReportId,
    #[schema(schema_with = schema::id)]
    link_id: LinkId,
    #[schema(format = "uri")]
    short_url: String,
    #[schema(schema_with = schema::report_reason)]
    reason: &'static str,
    #[schema(required = true)]
    comment: Option<String>,
    /// What the operator made of it.
    #[schema(schema_with = schema::report_state)]
    state: &'static str,
    #[schema(schema_with = schema::time)]
    created_at: String,
    #[schema(schema_with = schema::optional_time, required = true)]
    closed_at: Option<String>,
}

impl From<Report> for ReportView {
    fn from(report: Report) -> Self {
        Self {
            id: report.id,
            link_id: report.link,
            short_url: report.short_url,
            reason: report.reason.as_str(),
            comment: Some(report.comment).filter(|comment| !comment.is_empty()),
            state: report.state.as_str(),
            created_at: rfc3339(report.created_at),
            closed_at: report.closed_at.map(rfc3339),
        }
    }
}

/// A page of reports.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Reports)]
struct ReportPage {
    data: Vec<ReportView>,
    /// What to send as `before` for the next page; `null` at the end.
    #[schema(schema_with = schema::optional_id, required = true)]
    next_before: Option<ReportId>,
}

/// Which reports.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReportParams {
    /// How many, at most.
    #[param(required = false, minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// Only those before this one.
    #[param(required = false, value_type = String, pattern = "^[1-9][0-9]{0,18}$")]
    before: Option<ReportId>,
}

/// Lists what the public reports about the workspace's links
///
/// Newest first. Operators close reports, and block links.
#[utoipa::path(
    get,
    path = "/api/v1/reports",
    tag = "reports",
    params(ReportParams),
    responses((status = 200, body = ReportPage), Any),
    security(("api_key" = ["audit:read"]), ("session" = ["audit:read"])),
    operation_id = "list_reports",
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: By<allow::AuditRead>,
    Params(params): Params<ReportParams>,
) -> Result<Response, ApiError> {
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::Request(format!("limit is from 1 to {LIMIT_MAX}")));
    }
    let mut reports = reports_of(app.read(), caller.workspace, params.before, limit + 1).await?;
    let has_more = reports.len() > limit as usize;
    reports.truncate(limit as usize);
    let next_before = reports.last().filter(|_| has_more).map(|report| report.id);
    let data = reports.into_iter().map(ReportView::from).collect();
    Ok(Json(ReportPage { data, next_before }).into_response())
}
