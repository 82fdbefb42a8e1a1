//! `POST /api/v1/links/import`: links of a file, at most a thousand at once.
//!
//! The client reads the file, however long it is, and sends it in parts: so a browser can show how far
//! it is and what is wrong with which line, and nothing of a file is kept here. What was imported is
//! there already when it comes again: whoever is interrupted begins again, or goes on.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{RowAnswer, import_rows};
use super::{LinkRecord, OnConflict};
use crate::access::allow;
use crate::app::App;
use crate::http::auth::By;
use crate::http::extract::{BulkJson, Json, Object};
use crate::http::problem::{ApiError, FieldError};
use crate::openapi::responses::{Any, WithBody};

/// Links of a file. Rows that conflict with what is here are refused, unless `on_conflict` says
/// otherwise.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LinkImport)]
pub(crate) struct ImportBody {
    #[serde(default)]
    #[schema(inline)]
    on_conflict: OnConflict,
    /// Nothing is written; each row is answered as if it were.
    #[serde(default)]
    dry_run: bool,
    #[schema(value_type = Vec<LinkRecord>, max_items = 1000)]
    rows: Vec<Object<LinkRecord>>,
}

/// What became of each row, in their order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LinkImportResults)]
struct ImportView {
    results: Vec<RowView>,
}

/// What became of a row.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LinkImportResult)]
struct RowView {
    /// The row's place in the request, from 0.
    index: usize,
    #[schema(inline)]
    outcome: Outcome,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Made,
    /// The same code with the same target was there.
    Present,
    Skipped,
    Replaced,
    Refused,
}

/// Imports links
///
/// Rows as an export has them. Those that can be imported are, in one commit; each has its own result.
/// Rows that are sent again change nothing. A row's `id` is left out of account: the link gets
/// another.
#[utoipa::path(
    post,
    path = "/api/v1/links/import",
    tag = "links",
    security(("api_key" = ["links:write"]), ("session" = ["links:write"])),
    request_body = ImportBody,
    responses((status = 200, body = ImportView), Any, WithBody),
    operation_id = "import_links",
)]
pub(crate) async fn import(
    State(app): State<App>,
    caller: By<allow::LinksWrite>,
    BulkJson(body): BulkJson<ImportBody>,
) -> Result<Response, ApiError> {
    let ImportBody { on_conflict, dry_run, rows } = body;
    // An id may have been another workspace's, and be asked for with its clicks.
    let rows: Vec<LinkRecord> =
        rows.into_iter().map(|Object(row)| LinkRecord { id: None, ..row }).collect();
    let by = Arc::new(caller.actor.clone());
    let answers = import_rows(&app, caller.workspace, &by, on_conflict, dry_run, &rows).await?;
    let results = answers.into_iter().enumerate().map(|(index, answer)| {
        let (outcome, errors) = match answer {
            RowAnswer::Made | RowAnswer::Would { .. } => (Outcome::Made, Vec::new()),
            RowAnswer::Present => (Outcome::Present, Vec::new()),
            RowAnswer::Skipped => (Outcome::Skipped, Vec::new()),
            RowAnswer::Replaced => (Outcome::Replaced, Vec::new()),
            RowAnswer::Refused(errors) => (Outcome::Refused, errors),
        };
        RowView { index, outcome, errors }
    });
    Ok(Json(ImportView { results: results.collect() }).into_response())
}
