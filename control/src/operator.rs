//! The operator's surface: keys, totals, health; for whoever holds the data folder.
//!
//! There is no authentication. The router is served on `control.sock` in the data folder (0600), or
//! called in process by a command that holds the folder's lock: whoever gets here can read the
//! database anyway. It must never be put behind a TCP listener.
//!
//! ```text
//! GET    /v1/health
//! GET    /v1/keys
//! POST   /v1/keys        {"name"}
//! DELETE /v1/keys/{id}
//! GET    /v1/stats?top=N
//! ```

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use carom_shared::{ApiKeyId, LinkId, WorkspaceId};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::apikey::KeyRow;
use crate::app::App;
use crate::click::{Scope, TopLink, Totals};
use crate::http::extract::{Id, Json, Params};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::link::store::{link_count, link_fetch};

/// Links in the list of the most clicked.
const TOP_MAX: u32 = 100;
const TOP_DEFAULT: u32 = 10;

/// The router of the operator's surface.
pub fn router(app: &App) -> Router {
    let router = Router::new()
        .route("/v1/health", get(health))
        .route("/v1/keys", get(keys).post(create_key))
        .route("/v1/keys/{id}", delete(revoke_key))
        .route("/v1/stats", get(stats));
    crate::http::finish(app, "operator", router)
}

/// A body of `POST /v1/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    pub name: String,
}

/// A key as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    pub id: ApiKeyId,
    pub name: String,
    /// The last four characters of the key.
    pub hint: String,
    pub workspace_id: WorkspaceId,
    pub created_at: String,
    pub revoked_at: Option<String>,
}

/// A new key. The only answer that holds the key itself: it cannot be shown again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCreated {
    pub key: String,
    #[serde(flatten)]
    pub view: KeyView,
}

impl std::fmt::Debug for KeyCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyCreated").field("view", &self.view).finish_non_exhaustive()
    }
}

/// All keys, newest first, revoked ones too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyList {
    pub data: Vec<KeyView>,
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

/// Whether the process works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok` or `draining`.
    pub status: String,
    pub version: String,
}

impl From<KeyRow> for KeyView {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            hint: row.hint,
            workspace_id: row.workspace,
            created_at: rfc3339(row.created_at),
            revoked_at: row.revoked_at.map(rfc3339),
        }
    }
}

async fn health(State(app): State<App>) -> Response {
    let status = if app.is_draining() { "draining" } else { "ok" };
    let version = env!("CARGO_PKG_VERSION");
    Json(Health { status: status.into(), version: version.into() }).into_response()
}

async fn create_key(
    State(app): State<App>,
    Json(body): Json<KeyRequest>,
) -> Result<Response, ApiError> {
    let created = app.key_create(&body.name).await?;
    tracing::info!(key.id = %created.view.id, "API key made");
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

async fn keys(State(app): State<App>) -> Result<Response, ApiError> {
    let data = app.key_list().await?.into_iter().map(KeyView::from).collect();
    Ok(Json(KeyList { data }).into_response())
}

async fn revoke_key(State(app): State<App>, Id(id): Id<ApiKeyId>) -> Result<Response, ApiError> {
    let row = app.key_revoke(id).await?.ok_or(ApiError::NotFound("key"))?;
    tracing::info!(key.id = %id, "API key revoked");
    Ok(Json(KeyView::from(row)).into_response())
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
    let summary = app.clicks().summary(Scope::All).await?;
    let mut top = Vec::new();
    for row in app.clicks().top(limit).await? {
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
