//! Statistics over HTTP. What is not recorded yet is absent: no field is made up.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::LinkId;
use serde::Serialize;

use super::{Scope, Summary, Totals};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::extract::{Id, Json, NoParams, Params};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::link::store::{link_count, link_fetch};

#[derive(Clone, Debug, Serialize)]
struct LinkStats {
    link_id: LinkId,
    totals: Totals,
    last_click_at: Option<String>,
}

/// `GET /api/v1/links/{id}/stats`
pub(crate) async fn link_stats(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let link = link_fetch(app.read(), caller.workspace, id).await?;
    let link = link.ok_or(ApiError::NotFound("link"))?;
    let Summary { totals, last_click_at } =
        app.clicks().summary(Scope::Link(caller.workspace, link.id)).await?;
    let last_click_at = last_click_at.map(rfc3339);
    Ok(Json(LinkStats { link_id: link.id, totals, last_click_at }).into_response())
}

#[derive(Clone, Debug, Serialize)]
struct WorkspaceStats {
    links: u64,
    totals: Totals,
    last_click_at: Option<String>,
}

/// `GET /api/v1/stats`
pub(crate) async fn workspace_stats(
    State(app): State<App>,
    caller: Caller,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let links = link_count(app.read(), Some(caller.workspace)).await?;
    let Summary { totals, last_click_at } =
        app.clicks().summary(Scope::Workspace(caller.workspace)).await?;
    let last_click_at = last_click_at.map(rfc3339);
    Ok(Json(WorkspaceStats { links, totals, last_click_at }).into_response())
}
