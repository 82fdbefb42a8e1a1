//! `GET /api/v1/clicks/export`: every click of a workspace as a file.
//!
//! Pages follow the store's own order: link, time, place in its batch; in the files of SQLite, part by
//! part. Each click that was stored when the first page was read is in it once.

use axum::extract::State;
use axum::response::Response;
use carom_shared::{LinkId, WorkspaceId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::ClickPlace;
use super::all::click_rows;
use super::api::{csv_lines, json_line};
use crate::access::{Scope, allow};
use crate::app::App;
use crate::http::auth::By;
use crate::http::download::{FileFormat, Pages, download};
use crate::http::extract::Params;
use crate::http::problem::ApiError;
use crate::openapi::responses::Any;

/// Clicks of a page.
const PAGE: u32 = 1000;

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ClicksFileParams {
    /// `csv` unless it says otherwise; `jsonl`: a JSON object a line.
    #[param(inline)]
    format: Option<FileFormat>,
}

/// Exports all clicks
///
/// Of all links of the workspace, also of those that were deleted: click by click, as long as they are
/// kept so. For one link's, ask for the link's clicks.
#[utoipa::path(
    get,
    path = "/api/v1/clicks/export",
    tag = "statistics",
    security(("api_key" = ["stats:read"]), ("session" = ["stats:read"])),
    params(ClicksFileParams),
    responses(
        (
            status = 200,
            content((String = "text/csv"), (String = "application/jsonl")),
            headers(("Content-Disposition" = String, description = "The file's name")),
        ),
        Any,
    ),
    operation_id = "export_all_clicks",
)]
pub(crate) async fn export(
    State(app): State<App>,
    caller: By<allow::StatsRead>,
    Params(params): Params<ClicksFileParams>,
) -> Result<Response, ApiError> {
    let format = params.format.unwrap_or_default();
    let workspace = caller.workspace;
    let pages = ClickPages { workspace, format, after: None, has_more: true };
    download(&app, caller.lasting(Scope::StatsRead), "clicks", format, pages).await
}

struct ClickPages {
    workspace: WorkspaceId,
    format: FileFormat,
    after: Option<(LinkId, ClickPlace)>,
    has_more: bool,
}

impl Pages for ClickPages {
    async fn next(&mut self, app: &App) -> Result<Option<String>, ApiError> {
        if !self.has_more {
            return Ok(None);
        }
        let is_first = self.after.is_none();
        let (clicks, has_more) =
            app.clicks()?.clicks_of_workspace(self.workspace, self.after, PAGE).await?;
        self.has_more = has_more;
        self.after = clicks.last().map(|(link, click)| (*link, click.place)).or(self.after);
        let rows = click_rows(app, Some(self.workspace), clicks).await?;
        Ok(Some(match self.format {
            FileFormat::Csv => csv_lines(&rows, is_first),
            FileFormat::Jsonl => rows.iter().map(json_line).collect::<Result<_, _>>()?,
        }))
    }
}
