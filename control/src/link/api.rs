//! Links over HTTP.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::{ApiKeyId, LinkId, RouteState, UnixMillis};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Link;
use super::command::{LinkBody, Rules, check_create};
use super::store::{Place, link_fetch, link_list};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::extract::{Id, Json, NoParams, Params};
use crate::http::problem::ApiError;

/// Links of a page.
const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 50;

/// A link as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct LinkView {
    id: LinkId,
    code: String,
    domain: Option<String>,
    short_url: String,
    url: String,
    title: Option<String>,
    redirect_status: u16,
    state: &'static str,
    not_before: Option<String>,
    expires_at: Option<String>,
    version: u64,
    created_at: String,
    updated_at: String,
    created_by: Option<ApiKeyId>,
}

impl LinkView {
    fn new(app: &App, link: Link) -> Self {
        let domains = app.domain_set();
        Self {
            id: link.id,
            short_url: domains.short_url(link.domain, &link.code),
            domain: domains.by_id(link.domain).map(|domain| domain.host.to_string()),
            code: link.code.to_string(),
            url: link.target,
            title: Some(link.title).filter(|title| !title.is_empty()),
            redirect_status: link.redirect_status.code(),
            state: match link.state {
                RouteState::Deleted => "deleted",
                RouteState::Active => "active",
                RouteState::Disabled => "disabled",
                RouteState::Blocked => "blocked",
            },
            not_before: link.not_before.map(rfc3339),
            expires_at: link.expires_at.map(rfc3339),
            version: link.version,
            created_at: rfc3339(link.created_at),
            updated_at: rfc3339(link.updated_at),
            created_by: link.created_by,
        }
    }
}

/// A time as the API writes it. Years outside of jiff's range cannot be stored by any command.
pub(crate) fn rfc3339(time: UnixMillis) -> String {
    Timestamp::from_millisecond(time.get()).unwrap_or_default().to_string()
}

/// `POST /api/v1/links`
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<LinkBody>,
) -> Result<Response, ApiError> {
    let link = make(&app, caller, &body).await?;
    let location = header_value(format!("/api/v1/links/{}", link.id));
    let headers = [(header::LOCATION, location), (header::ETAG, etag(&link))];
    let view = Json(LinkView::new(&app, link));
    Ok((StatusCode::CREATED, headers, view).into_response())
}

/// The body of `POST /shorten`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShortenBody {
    url: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct ShortenView {
    code: String,
    short_url: String,
}

/// `POST /shorten`: the simplest call.
pub(crate) async fn shorten(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<ShortenBody>,
) -> Result<Response, ApiError> {
    let link = make(&app, caller, &LinkBody { url: body.url, ..LinkBody::default() }).await?;
    let short_url = app.domain_set().short_url(link.domain, &link.code);
    let view = Json(ShortenView { code: link.code.to_string(), short_url });
    Ok((StatusCode::CREATED, view).into_response())
}

async fn make(app: &App, caller: Caller, body: &LinkBody) -> Result<Link, ApiError> {
    let rules = Rules { domains: app.domain_set(), policy: app.policy(), now: app.now() };
    let command = check_create(body, caller.workspace, caller.key, rules)?;
    Ok(app.link_create(command).await??)
}

/// `GET /api/v1/links/{id}`
pub(crate) async fn fetch(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let link = link_fetch(app.read(), caller.workspace, id).await?;
    let link = link.ok_or(ApiError::NotFound("link"))?;
    let headers = [(header::ETAG, etag(&link))];
    Ok((headers, Json(LinkView::new(&app, link))).into_response())
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    limit: Option<u32>,
    cursor: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Page {
    data: Vec<LinkView>,
    /// `null` at the end.
    next_cursor: Option<String>,
}

/// `GET /api/v1/links`
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let limit = params.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::Request(format!("limit is from 1 to {PAGE_MAX}")));
    }
    let below = params.cursor.as_deref().map(read_cursor).transpose()?;
    // One more than asked for tells whether there is a next page.
    let mut links = link_list(app.read(), caller.workspace, below, limit + 1).await?;
    let has_more = links.len() > limit as usize;
    links.truncate(limit as usize);
    let next_cursor = links.last().filter(|_| has_more).map(write_cursor);
    let data = links.into_iter().map(|link| LinkView::new(&app, link)).collect();
    Ok(Json(Page { data, next_cursor }).into_response())
}

/// A cursor names the last link of a page. It holds nothing that the page did not show, and any
/// value of it stays within the caller's workspace.
fn write_cursor(link: &Link) -> String {
    format!("{:x}-{:x}", link.created_at.get(), link.id.get())
}

fn read_cursor(cursor: &str) -> Result<Place, ApiError> {
    let read = || {
        let (created_at, id) = cursor.split_once('-')?;
        let hex = |text: &str| {
            let value = i64::from_str_radix(text, 16).ok()?;
            (format!("{value:x}") == text).then_some(value)
        };
        let id = LinkId::try_from(hex(id)?).ok()?;
        Some(Place { created_at: UnixMillis::new(hex(created_at)?), id })
    };
    read().ok_or_else(|| {
        ApiError::Request("cursor is not one that this list gave out; start without one".into())
    })
}

fn etag(link: &Link) -> HeaderValue {
    header_value(format!("\"{}\"", link.version))
}

fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits and ASCII literals are a header value")
}
