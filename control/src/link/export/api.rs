//! `GET /v1/export/links` of the operator's surface.
//!
//! Pages follow the ids, which never change: each link that was there when the first page was read
//! and is not deleted meanwhile is on exactly one page, as it is when that page is read. Links made
//! meanwhile may be there or not.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::LinkId;
use serde::{Deserialize, Serialize};

use super::record;
use crate::app::App;
use crate::http::extract::{Json, Params};
use crate::http::problem::ApiError;
use crate::link::import::LinkRecord;
use crate::link::store::links_after;

/// Links of a page.
const PAGE: u32 = 1000;
/// Bytes of targets and texts of a page, unless one link alone has more: links with long notes make
/// short pages.
const PAGE_BYTES: usize = 1024 * 1024;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportParams {
    after: Option<LinkId>,
    #[serde(default)]
    deleted: bool,
}

/// A page of links, in the order in which they were made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinksPage {
    pub data: Vec<LinkRecord>,
    /// What to send as `after` for the next page; `None` at the end.
    pub next: Option<LinkId>,
}

pub(crate) async fn export_links(
    State(app): State<App>,
    Params(params): Params<ExportParams>,
) -> Result<Response, ApiError> {
    let links =
        links_after(app.read(), app.first_workspace(), params.after, params.deleted, PAGE).await?;
    let is_full = links.len() == PAGE as usize;
    let count = links.len();
    let mut bytes = 0;
    let mut last = None;
    let data: Vec<LinkRecord> = links
        .into_iter()
        .take_while(|link| {
            let is_first = bytes == 0;
            bytes += link.target.len() + link.title.len() + link.notes.len() + 256;
            bytes += link.fallback.as_ref().map_or(0, String::len);
            let fits = is_first || bytes <= PAGE_BYTES;
            if fits {
                last = Some(link.id);
            }
            fits
        })
        .map(|link| record(link, &app.domain_set()))
        .collect();
    let next = last.filter(|_| is_full || data.len() < count);
    Ok(Json(LinksPage { data, next }).into_response())
}
