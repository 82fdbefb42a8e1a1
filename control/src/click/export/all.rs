//! `GET /v1/export/clicks` of the operator's surface: every click of every link, page by page.
//!
//! Pages follow the store's own order: link, time, place in its batch. Each click that was stored
//! when the first page was read is on exactly one page. Clicks stored meanwhile are there if they
//! belong behind the page that is read.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::{LinkId, WorkspaceId};
use serde::{Deserialize, Serialize};

use super::api::{ClickView, LinkClick, csv_lines, json_line};
use super::{ClickPlace, StoredClick};
use crate::app::App;
use crate::click::api::domains;
use crate::http::extract::{Json, Params};
use crate::http::problem::ApiError;
use crate::link::store::link_places;

/// Clicks of a page.
const PAGE: u32 = 1000;

/// How clicks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClicksFormat {
    Csv,
    Jsonl,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllParams {
    after: Option<String>,
    format: ClicksFormat,
}

/// A page of clicks, as a file has them: the pages' texts one after the other are the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClicksText {
    pub text: String,
    pub clicks: u64,
    /// What to send as `after` for the next page; `None` at the end.
    pub next: Option<String>,
}

pub(crate) async fn export_clicks(
    State(app): State<App>,
    Params(params): Params<AllParams>,
) -> Result<Response, ApiError> {
    let after = params.after.as_deref().map(place).transpose()?;
    let (clicks, has_more) = app.clicks()?.clicks_after(after, PAGE).await?;
    let last = clicks.last().filter(|_| has_more);
    let next = last.map(|(link, click)| format!("{link}.{}.{}", click.place.at_s, click.place.seq));
    let rows = click_rows(&app, None, clicks).await?;
    let text = match params.format {
        ClicksFormat::Csv => csv_lines(&rows, after.is_none()),
        ClicksFormat::Jsonl => rows.iter().map(json_line).collect::<Result<_, _>>()?,
    };
    Ok(Json(ClicksText { text, clicks: rows.len() as u64, next }).into_response())
}

/// Clicks as files hold them; those of a workspace, or of anybody.
pub(super) async fn click_rows(
    app: &App,
    workspace: Option<WorkspaceId>,
    clicks: Vec<(LinkId, StoredClick)>,
) -> Result<Vec<LinkClick>, ApiError> {
    let hosts = domains(app, workspace);
    let mut links: Vec<LinkId> = clicks.iter().map(|(link, _)| *link).collect();
    links.dedup();
    let places = link_places(app.read(), &links).await?;
    let row = |(link_id, click)| {
        let code = places.get(&link_id).and_then(|place| place.code.clone());
        LinkClick { link_id, code, click: ClickView::new(click, &hosts) }
    };
    Ok(clicks.into_iter().map(row).collect())
}

fn place(text: &str) -> Result<(LinkId, ClickPlace), ApiError> {
    let read = || {
        let (link, rest) = text.split_once('.')?;
        let (at_s, seq) = rest.split_once('.')?;
        Some((link.parse().ok()?, ClickPlace { at_s: at_s.parse().ok()?, seq: seq.parse().ok()? }))
    };
    read().ok_or_else(|| ApiError::Request("after is not a place that a page named".into()))
}
