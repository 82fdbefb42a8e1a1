//! `GET /api/v1/links/{id}/clicks`: JSON, or CSV with `format=csv`. The next page's address is in
//! the header `Link` (RFC 8288) of both, its cursor in JSON's `next_cursor` too.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::click::Detail;
use carom_shared::{Code, LinkId, UnixMillis};
use http::{HeaderValue, Uri, header};
use serde::Serialize;
use url::form_urlencoded::{Serializer, parse};
use utoipa::ToSchema;

use super::super::api::domains;
use super::{ExportParams, StoredClick, check_export};
use crate::access::allow;
use crate::app::App;
use crate::click::csv::Csv;
use crate::click::report::params::Format;
use crate::http::auth::By;
use crate::http::extract::{Id, Json, Params};
use crate::http::problem::ApiError;
use crate::link::api::{LinkPath, rfc3339};
use crate::link::store::link_fetch;
use crate::openapi::responses::{Any, OfOne};
use crate::openapi::schema;

/// A page of clicks.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Clicks)]
struct ClickPage {
    data: Vec<ClickView>,
    /// What to send as `cursor` for the next page; `null` at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// A click. What is unknown is `null`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Click)]
pub(super) struct ClickView {
    #[schema(schema_with = schema::time)]
    at: String,
    /// How many clicks it stands for.
    n: u64,
    kind: &'static str,
    via: &'static str,
    status: u64,
    variant: u64,
    target_revision: u64,
    domain: String,
    /// Alike for a day (UTC) and a workspace.
    #[schema(required = true)]
    visitor: Option<String>,
    do_not_track: bool,
    global_privacy_control: bool,
    channel: &'static str,
    device: &'static str,
    /// What else is known of it, under the names of the dimensions.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    details: BTreeMap<&'static str, Option<String>>,
}

impl ClickView {
    pub(super) fn new(click: StoredClick, domains: &[(i64, String)]) -> Self {
        let domain = domains.iter().find(|(id, _)| *id == click.domain);
        let names = Detail::ALL.iter().zip(click.names);
        Self {
            at: rfc3339(UnixMillis::new(i64::from(click.place.at_s) * 1000)),
            n: click.n,
            kind: click.kind,
            via: click.via,
            status: click.status,
            variant: click.variant,
            target_revision: click.target_revision,
            domain: domain.map_or_else(|| click.domain.to_string(), |(_, host)| host.clone()),
            visitor: (click.visitor != 0).then(|| format!("{:016x}", click.visitor)),
            do_not_track: click.do_not_track,
            global_privacy_control: click.global_privacy_control,
            channel: click.channel,
            device: click.device,
            details: names
                .map(|(detail, name)| (detail.as_str(), Some(name).filter(|name| !name.is_empty())))
                .collect(),
        }
    }
}

/// Exports a link's clicks
///
/// Click by click, in the order of time.
#[utoipa::path(
    get,
    path = "/api/v1/links/{id}/clicks",
    tag = "statistics",
    security(("api_key" = ["stats:read"]), ("session" = ["stats:read"])),
    params(LinkPath, ExportParams),
    responses(
        (
            status = 200,
            content((ClickPage = "application/json"), (String = "text/csv")),
            headers(("Link" = String, description = "The next page's path, if there is one")),
        ),
        Any, OfOne,
    ),
    operation_id = "export_clicks",
)]
pub(crate) async fn link_clicks(
    State(app): State<App>,
    caller: By<allow::StatsRead>,
    Id(id): Id<LinkId>,
    uri: Uri,
    Params(params): Params<ExportParams>,
) -> Result<Response, ApiError> {
    let link = link_fetch(app.read(), caller.workspace, id).await?;
    let link = link.ok_or(ApiError::NotFound("link"))?.id;
    let query = check_export(&params, caller.workspace, link, app.now(), app.cursor_key())?;
    let (clicks, has_more) = app.clicks()?.clicks_page(&query).await?;
    let last = clicks.last().filter(|_| has_more).map(|click| click.place);
    let next_cursor = last.map(|place| query.cursor_after(place, app.cursor_key()));
    let next = next_cursor.as_deref().and_then(|cursor| next_page(&uri, cursor));
    let domains = domains(&app, Some(caller.workspace));
    let data: Vec<ClickView> =
        clicks.into_iter().map(|click| ClickView::new(click, &domains)).collect();
    let mut response = match query.format {
        Format::Json => Json(ClickPage { data, next_cursor }).into_response(),
        Format::Csv => csv(&data).into_response(),
    };
    if let Some(next) = next {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

/// What the header `Link` says of the next page.
pub(crate) fn next_page(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let mut query = Serializer::new(String::new());
    let parameters = parse(uri.query().unwrap_or_default().as_bytes());
    query.extend_pairs(parameters.filter(|(name, _)| name != "cursor"));
    query.append_pair("cursor", cursor);
    HeaderValue::try_from(format!("<{}?{}>; rel=\"next\"", uri.path(), query.finish())).ok()
}

/// A click of any link.
#[derive(Serialize)]
pub(super) struct LinkClick {
    pub(super) link_id: LinkId,
    /// `None`: another link has taken it.
    pub(super) code: Option<Code>,
    #[serde(flatten)]
    pub(super) click: ClickView,
}

/// A click as a line of JSON.
pub(super) fn json_line(click: &LinkClick) -> Result<String, ApiError> {
    let line = serde_json::to_string(click);
    line.map(|line| line + "\n").map_err(|error| ApiError::Internal(Arc::new(error)))
}

/// Clicks of any links as lines of CSV, with its head if they are the first.
pub(super) fn csv_lines(clicks: &[LinkClick], with_head: bool) -> String {
    let mut csv = Csv::default();
    if with_head {
        columns().for_each(|name| csv.text(name));
        csv.end_line();
    }
    for of in clicks {
        csv.text(&of.link_id.to_string());
        csv.text(of.code.as_ref().map_or("", Code::as_str));
        line(&mut csv, &of.click);
    }
    csv.into_text()
}

/// Columns of a click, before its details.
const HEAD: [&str; 13] = [
    "at", "n", "kind", "via", "status", "variant", "target_revision", "domain", "visitor",
    "do_not_track", "global_privacy_control", "channel", "device",
];

fn head() -> impl Iterator<Item = &'static str> {
    HEAD.into_iter().chain(Detail::ALL.iter().map(|detail| detail.as_str()))
}

/// The columns of a file of clicks, in their order.
pub fn columns() -> impl Iterator<Item = &'static str> {
    ["link_id", "code"].into_iter().chain(head())
}

/// Where a column of a file of clicks is.
pub(crate) fn place_of(column: &str) -> Option<usize> {
    columns().position(|name| name == column)
}

fn csv(clicks: &[ClickView]) -> Csv {
    let mut csv = Csv::new(&head().collect::<Vec<_>>());
    clicks.iter().for_each(|click| line(&mut csv, click));
    csv
}

fn line(csv: &mut Csv, click: &ClickView) {
    csv.text(&click.at);
    csv.numbers(&[click.n]);
    csv.text(click.kind);
    csv.text(click.via);
    csv.numbers(&[click.status, click.variant, click.target_revision]);
    csv.text(&click.domain);
    csv.text(click.visitor.as_deref().unwrap_or_default());
    csv.numbers(&[click.do_not_track.into(), click.global_privacy_control.into()]);
    csv.text(click.channel);
    csv.text(click.device);
    for detail in Detail::ALL {
        let name = click.details.get(detail.as_str()).and_then(Option::as_deref);
        csv.text(name.unwrap_or_default());
    }
    csv.end_line();
}
