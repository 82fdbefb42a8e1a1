//! The operator's surface: keys, totals, health; for whoever holds the data folder.
//!
//! There is no authentication. The router is served on `control.sock` in the data folder (0600), or
//! called in process by a command that holds the folder's lock: whoever gets here can read the
//! database anyway. It must never be put behind a TCP listener.
//!
//! ```text
//! GET    /v1/health
//! GET    /v1/keys
//! POST   /v1/keys                     {"name", "scopes", "expires_in_s"}
//! DELETE /v1/keys/{id}
//! POST   /v1/keys/{id}/rotate          {"overlap_hours"}
//! GET    /v1/users
//! POST   /v1/users       {"email", "name"?, "workspace"?, "role"?, "operator"?}
//! POST   /v1/users/{id}/link|disable|enable|promote|demote|reset-second-factor
//! GET    /v1/workspaces
//! POST   /v1/workspaces/{id}/disable|enable
//! GET    /v1/audit                     the audit log of everybody: carom audit
//! GET    /v1/stats?top=N
//! GET    /v1/report                    parameters and answer of the API's statistics
//! GET    /v1/links/{link}              an id, a code, or a short URL
//! GET    /v1/links/{link}/report
//! POST   /v1/links/{link}/block        take a link down, until it is unblocked
//! POST   /v1/links/{link}/unblock
//! GET    /v1/reports?all&before        what the public reports: carom report
//! POST   /v1/reports/{id}/close        {"block"}
//! POST   /v1/import                    links of a file: carom import
//! POST   /v1/import/clicks             clicks of a file: carom import --clicks
//! GET    /v1/export/links              all links, page by page: carom export
//! GET    /v1/export/clicks             all clicks, page by page: carom export --clicks
//! ```

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use carom_shared::{Code, Host, LinkId, WorkspaceId};
use serde::{Deserialize, Serialize};

use crate::apikey::operator as keys;
use crate::app::App;
use crate::click::api::answer;
use crate::click::export::all::export_clicks;
use crate::click::import::api::import_clicks;
use crate::click::report::ReportScope;
use crate::click::report::params::ReportParams;
use crate::click::{TopLink, Totals};
use crate::http::extract::{Json, Params};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::link::export::api::export_links;
use crate::link::import::api::import;
use crate::link::store::{link_count, link_fetch, link_owner};
use crate::report::operator as reports;
use crate::workspace::operator as workspaces;

pub use crate::account::operator::{UserLink, UserList, UserRequest, UserView};
pub use crate::apikey::operator::{KeyRequest, RotateRequest};
pub use crate::apikey::view::{KeyCreated, KeyList, KeyView};
pub use crate::audit::api::{AuditPage, AuditView};
pub use crate::click::export::all::{ClicksFormat, ClicksText};
pub use crate::click::export::api::columns as click_columns;
pub use crate::click::import::ClickRow;
pub use crate::click::import::api::{ClickAnswer, ImportClicksAnswer, ImportClicksRequest};
pub use crate::link::csv;
pub use crate::link::export::api::LinksPage;
pub use crate::link::import::api::{ImportAnswer, ImportRequest, RowAnswer};
pub use crate::link::import::{ForwardRecord, LinkRecord, OnConflict, QueryRecord};
pub use crate::report::operator::{CloseRequest, Closed, ReportList, ReportView};
pub use crate::workspace::operator::{OperatorWorkspace, OperatorWorkspaces};

/// Links in the list of the most clicked.
const TOP_MAX: u32 = 100;
const TOP_DEFAULT: u32 = 10;

/// The router of the operator's surface.
pub fn router(app: &App) -> Router {
    let router = Router::new()
        .route("/v1/health", get(health))
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{id}", delete(keys::revoke))
        .route("/v1/keys/{id}/rotate", post(keys::rotate))
        .route("/v1/stats", get(stats))
        .route("/v1/report", get(report))
        .route("/v1/links/{link}", get(link))
        .route("/v1/links/{link}/report", get(link_report))
        .route("/v1/links/{link}/block", post(reports::block))
        .route("/v1/links/{link}/unblock", post(reports::unblock))
        .route("/v1/reports", get(reports::list))
        .route("/v1/reports/{id}/close", post(reports::close))
        .route("/v1/import", post(import))
        .route("/v1/import/clicks", post(import_clicks))
        .route("/v1/export/links", get(export_links))
        .route("/v1/export/clicks", get(export_clicks))
        .route("/v1/workspaces", get(workspaces::list))
        .route("/v1/workspaces/{id}/disable", post(workspaces::disable))
        .route("/v1/workspaces/{id}/enable", post(workspaces::enable))
        .route("/v1/audit", get(crate::audit::api::list_all))
        .merge(crate::account::operator::routes());
    crate::http::finish(app, "operator", router)
}

/// Totals of the installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    pub links: u64,
    pub totals: Totals,
    pub last_click_at: Option<String>,
    /// The most clicked links, most first.
    pub top: Vec<TopView>,
}

/// One of the most clicked links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopView {
    pub link_id: LinkId,
    /// `None` if the link is not there any more, or moved to another workspace since.
    pub short_url: Option<String>,
    pub clicks: u64,
    pub bots: u64,
    pub last_click_at: Option<String>,
}

/// A link, as whoever names it knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkName {
    pub id: LinkId,
    /// `None` if it was deleted.
    pub short_url: Option<String>,
}

/// Whether the process works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok` or `draining`.
    pub status: String,
    pub version: String,
}

async fn health(State(app): State<App>) -> Response {
    let status = if app.is_draining() { "draining" } else { "ok" };
    let version = env!("CARGO_PKG_VERSION");
    Json(Health { status: status.into(), version: version.into() }).into_response()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatsParams {
    top: Option<u32>,
}

async fn stats(
    State(app): State<App>,
    Params(params): Params<StatsParams>,
) -> Result<Response, ApiError> {
    let limit = params.top.unwrap_or(TOP_DEFAULT);
    if limit > TOP_MAX {
        return Err(ApiError::Request(format!("top is at most {TOP_MAX}")));
    }
    let links = link_count(app.read(), None).await?;
    let summary = app.clicks()?.summary().await?;
    let mut top = Vec::new();
    for row in app.clicks()?.top(limit).await? {
        top.push(top_view(&app, row).await?);
    }
    let last_click_at = summary.last_click_at.map(rfc3339);
    Ok(Json(Stats { links, totals: summary.totals, last_click_at, top }).into_response())
}

async fn top_view(app: &App, row: TopLink) -> Result<TopView, ApiError> {
    let link = link_fetch(app.read(), row.workspace, row.link).await?;
    Ok(TopView {
        link_id: row.link,
        short_url: link.map(|link| app.domain_set().short_url(link.domain, &link.code)),
        clicks: row.clicks,
        bots: row.bots,
        last_click_at: row.last_click_at.map(rfc3339),
    })
}

/// Reports on everybody's clicks.
async fn report(
    State(app): State<App>,
    Params(params): Params<ReportParams>,
) -> Result<Response, ApiError> {
    answer(&app, ReportScope::All, &params).await
}

async fn link(State(app): State<App>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let (workspace, id) = find_link(&app, &name).await?;
    let link = link_fetch(app.read(), workspace, id).await?;
    let short_url = link.map(|link| app.domain_set().short_url(link.domain, &link.code));
    Ok(Json(LinkName { id, short_url }).into_response())
}

async fn link_report(
    State(app): State<App>,
    Path(name): Path<String>,
    Params(params): Params<ReportParams>,
) -> Result<Response, ApiError> {
    let (workspace, id) = find_link(&app, &name).await?;
    answer(&app, ReportScope::Link(workspace, id), &params).await
}

/// The link that an operator means: by its id, by its short URL, or by its code, on the default
/// domain if several have it. Also one that was deleted.
pub(crate) async fn find_link(app: &App, name: &str) -> Result<(WorkspaceId, LinkId), ApiError> {
    if let Ok(id) = name.parse::<LinkId>()
        && let Some(workspace) = link_owner(app.read(), id).await?
    {
        return Ok((workspace, id));
    }
    let address = name.split_once("://").map_or(name, |(_, address)| address);
    let (host, code) = match address.split_once('/') {
        Some((host, code)) => (Some(Host::parse(host)), code),
        None => (None, address),
    };
    let host = host.transpose().map_err(|_| ApiError::NotFound("link"))?;
    let code = Code::parse(code).map_err(|_| ApiError::NotFound("link"))?;
    let domains = app.domain_set();
    // The default domain comes first.
    for domain in
        domains.all().iter().filter(|of| host.as_ref().is_none_or(|host| of.host == *host))
    {
        if let Some(route) = app.resolve(domain.id, &code).await? {
            return Ok((route.workspace, route.link));
        }
    }
    Err(ApiError::NotFound("link"))
}
