//! The audit log over HTTP, and for the operator: JSON, or CSV with `format=csv`. The next page's
//! address is in the header `Link` (RFC 8288) of both, its cursor in JSON's `next_cursor` too.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::{AuditId, UnixMillis, WorkspaceId};
use http::{HeaderValue, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::list::{AuditParams, check_audit};
use super::store::{AuditRow, audit_list};
use crate::access::allow;
use crate::app::App;
use crate::click::csv::Csv;
use crate::click::export::api::next_page;
use crate::click::report::params::Format;
use crate::db::StoreError;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::openapi::responses::Any;
use crate::openapi::schema;

/// Columns of the log as CSV.
const HEAD: [&str; 10] = [
    "id", "at", "workspace_id", "account_id", "key_id", "action", "object", "address", "request",
    "detail",
];

/// A change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditView {
    /// Rises from change to change.
    #[schema(schema_with = schema::id)]
    pub id: String,
    #[schema(schema_with = schema::time)]
    pub at: String,
    #[schema(schema_with = schema::optional_id, required = true)]
    pub workspace_id: Option<String>,
    /// Who is signed in, or who made the key; neither with `key_id` `null` too: an operator, or the
    /// process itself.
    #[schema(schema_with = schema::optional_id, required = true)]
    pub account_id: Option<String>,
    #[schema(schema_with = schema::optional_id, required = true)]
    pub key_id: Option<String>,
    /// A noun and a verb, such as `link.change`.
    pub action: String,
    /// What it was done to, such as `link:123`.
    pub object: String,
    /// From where; empty if it was not over a network.
    pub address: String,
    /// `X-Request-Id` of the answer.
    pub request: String,
    /// What is worth knowing of it.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// A page of the audit log, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntries)]
pub struct AuditPage {
    pub data: Vec<AuditView>,
    /// What to send as `cursor` for the next page; `null` at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

impl TryFrom<AuditRow> for AuditView {
    type Error = StoreError;

    fn try_from(row: AuditRow) -> Result<Self, StoreError> {
        let text = |id: Option<i64>| id.map(|id| id.to_string());
        Ok(Self {
            id: row.id.to_string(),
            at: rfc3339(UnixMillis::new(row.at_ms)),
            workspace_id: text(row.workspace_id),
            account_id: text(row.account_id),
            key_id: text(row.key_id),
            action: row.action,
            object: row.object,
            address: row.address,
            request: row.request,
            detail: serde_json::from_str(&row.detail)
                .map_err(|_| StoreError::Corrupt("audit row"))?,
        })
    }
}

/// Shows who changed what
///
/// Newest first. What was refused is not in it.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "workspaces",
    params(AuditParams),
    security(("api_key" = ["audit:read"]), ("session" = ["audit:read"])),
    responses(
        (
            status = 200,
            content((AuditPage = "application/json"), (String = "text/csv")),
            headers(("Link" = String, description = "The next page's path, if there is one")),
        ),
        Any,
    ),
    operation_id = "read_audit",
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: By<allow::AuditRead>,
    uri: Uri,
    Params(params): Params<AuditParams>,
) -> Result<Response, ApiError> {
    page(&app, Some(caller.workspace), &uri, &params).await
}

/// The same of the whole installation, for the operator.
pub(crate) async fn list_all(
    State(app): State<App>,
    uri: Uri,
    Params(params): Params<AuditParams>,
) -> Result<Response, ApiError> {
    page(&app, None, &uri, &params).await
}

/// A page of the log, of a workspace or of the installation. `uri` is where it was asked for.
pub(crate) async fn page(
    app: &App,
    workspace: Option<WorkspaceId>,
    uri: &Uri,
    params: &AuditParams,
) -> Result<Response, ApiError> {
    let query = check_audit(params, workspace, app.cursor_key())?;
    let mut rows = audit_list(app.read(), &query, query.limit + 1).await?;
    let has_more = rows.len() > query.limit as usize;
    rows.truncate(query.limit as usize);
    let last = rows.last().filter(|_| has_more).and_then(|row| AuditId::try_from(row.id).ok());
    let next_cursor = last.map(|last| query.cursor_after(last, app.cursor_key()));
    let next: Option<HeaderValue> =
        next_cursor.as_deref().and_then(|cursor| next_page(uri, cursor));
    let data: Result<Vec<AuditView>, StoreError> =
        rows.into_iter().map(TryInto::try_into).collect();
    let mut response = match query.format {
        Format::Json => Json(AuditPage { data: data?, next_cursor }).into_response(),
        Format::Csv => csv(&data?)?.into_response(),
    };
    if let Some(next) = next {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

fn csv(entries: &[AuditView]) -> Result<Csv, ApiError> {
    let mut csv = Csv::new(&HEAD);
    for entry in entries {
        let detail = serde_json::to_string(&entry.detail);
        let detail = detail.map_err(|error| ApiError::Internal(Arc::new(error)))?;
        let id = |id: &Option<String>| id.clone().unwrap_or_default();
        for cell in [
            &entry.id,
            &entry.at,
            &id(&entry.workspace_id),
            &id(&entry.account_id),
            &id(&entry.key_id),
            &entry.action,
            &entry.object,
            &entry.address,
            &entry.request,
            &detail,
        ] {
            csv.text(cell);
        }
        csv.end_line();
    }
    Ok(csv)
}
