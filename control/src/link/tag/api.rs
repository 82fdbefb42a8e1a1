//! `GET /api/v1/tags`

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::allow;
use crate::app::App;
use crate::http::auth::By;
use crate::http::extract::{Json, NoParams, Params};
use crate::http::problem::ApiError;
use crate::link::store::tag_names;
use crate::openapi::responses::Any;

/// Tags of an answer.
const TAGS_MAX: u32 = 1000;

/// Tags that links of the workspace have, in lower case and in their order; at most 1,000.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Tags)]
struct TagList {
    data: Vec<String>,
}

/// Lists tags
#[utoipa::path(
    get,
    path = "/api/v1/tags",
    tag = "links",
    security(("api_key" = ["links:read"]), ("session" = ["links:read"])),
    responses((status = 200, body = TagList), Any),
    operation_id = "list_tags",
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: By<allow::LinksRead>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let data = tag_names(app.read(), caller.workspace, TAGS_MAX).await?;
    Ok(Json(TagList { data }).into_response())
}
