//! Raw clicks of a link, page by page, in the order of time: what is asked for, and where a page
//! ends. Pure.

pub(crate) mod all;
pub(crate) mod api;
pub(crate) mod workspace;

use carom_shared::click::Detail;
use carom_shared::{LinkId, UnixMillis, WorkspaceId};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::report::params::Format;
use super::report::time::{Span, Zone};
use crate::http::cursor::CursorKey;
use crate::http::problem::ApiError;

/// Clicks of a page.
const PAGE_MAX: u32 = 1000;
const PAGE_DEFAULT: u32 = 100;

/// A page of clicks, as a client asks for it. Ranges are a report's; dates are those of UTC.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportParams {
    /// From when on: a time, or a date (UTC). From the first click on unless it says otherwise.
    #[param(example = "2026-01-01")]
    from: Option<String>,
    /// Until when: a time, or a date (UTC), which is included whole. Now unless it says otherwise.
    #[param(example = "2026-01-31")]
    to: Option<String>,
    /// Clicks of a page; 100 unless it says otherwise.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(max_length = 1000)]
    cursor: Option<String>,
    #[param(inline)]
    format: Option<Format>,
}

/// A page of clicks, checked.
#[derive(Clone, Debug)]
pub(crate) struct ExportQuery {
    pub(crate) workspace: WorkspaceId,
    pub(crate) link: LinkId,
    pub(crate) span: Span,
    /// `None`: from the first on.
    pub(crate) after: Option<ClickPlace>,
    pub(crate) limit: u32,
    pub(crate) format: Format,
}

/// A place among the clicks of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClickPlace {
    pub(crate) at_s: u32,
    pub(crate) seq: i64,
}

/// A click as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredClick {
    pub(crate) place: ClickPlace,
    pub(crate) domain: i64,
    pub(crate) n: u64,
    pub(crate) kind: &'static str,
    pub(crate) via: &'static str,
    pub(crate) variant: u64,
    pub(crate) status: u64,
    pub(crate) target_revision: u64,
    pub(crate) visitor: u64,
    pub(crate) do_not_track: bool,
    pub(crate) global_privacy_control: bool,
    pub(crate) channel: &'static str,
    pub(crate) device: &'static str,
    /// In the order of [`Detail::ALL`]; empty where unknown.
    pub(crate) names: [String; Detail::ALL.len()],
}

/// What tells lists apart.
#[derive(Serialize)]
struct List {
    clicks_of: LinkId,
    workspace: WorkspaceId,
    from_s: u32,
}

/// Checks what a client asks for. The end of a range may move from page to page, as it does when it
/// is now; its start may not.
pub(crate) fn check_export(
    params: &ExportParams,
    workspace: WorkspaceId,
    link: LinkId,
    now: UnixMillis,
    key: &CursorKey,
) -> Result<ExportQuery, ApiError> {
    let limit = params.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::Request(format!("limit is from 1 to {PAGE_MAX}")));
    }
    let utc = Zone::parse("UTC")?;
    let from = params.from.as_deref().unwrap_or("1970-01-01");
    let span = Span::parse(Some(from), params.to.as_deref(), &utc, now)?;
    let format = params.format.unwrap_or_default();
    let mut query = ExportQuery { workspace, link, span, after: None, limit, format };
    if let Some(cursor) = &params.cursor {
        let place = key.read(cursor, &query.list()).and_then(ClickPlace::from_bytes);
        query.after = Some(place.ok_or_else(|| {
            let detail = "cursor is not one that this list gave out with this start; begin without \
                          one";
            ApiError::Request(detail.into())
        })?);
    }
    Ok(query)
}

impl ExportQuery {
    pub(crate) fn cursor_after(&self, place: ClickPlace, key: &CursorKey) -> String {
        key.sign(place.to_bytes(), &self.list())
    }

    fn list(&self) -> Vec<u8> {
        let list =
            List { clicks_of: self.link, workspace: self.workspace, from_s: self.span.from_s };
        serde_json::to_vec(&list).expect("numbers are JSON")
    }
}

impl ClickPlace {
    fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.at_s) << 64 | u128::from(self.seq.cast_unsigned())).to_be_bytes()
    }

    fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let (at_s, seq) = bytes.split_first_chunk::<8>()?;
        let at_s = u32::try_from(u64::from_be_bytes(*at_s)).ok()?;
        Some(Self { at_s, seq: i64::from_be_bytes(seq.try_into().ok()?) })
    }
}
