//! Links over HTTP.

pub(crate) mod bulk;
mod view;

pub(crate) use view::rfc3339;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::LinkId;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::Link;
use super::command::{Edit, EditLink, Field, LinkBody, Rules, check_change, check_create};
use super::list::{ListParams, check_list};
use super::store::{CreateRefused, link_fetch, link_list, target_history};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::extract::{Id, Json, MergePatch, NoParams, Params};
use crate::http::precondition::{IfMatch, etag, is_known, tag_of};
use crate::http::problem::ApiError;
use crate::idempotency::Answer;
use crate::idempotency::api::Keyed;
use crate::write::{Command, Performed};
use view::{LinkView, TargetView};

/// `POST /api/v1/links`
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    request: Keyed<Json<LinkBody>>,
) -> Result<Response, ApiError> {
    let answer = |app: &App, link: &Link| {
        let location = Some(format!("/api/v1/links/{}", link.id));
        let etag = Some(tag_of(link.version));
        let answer = Answer::json(StatusCode::CREATED, &LinkView::new(app, link.clone()))?;
        Ok(Answer { location, etag, ..answer })
    };
    make(&app, caller, &request.body.0, &request, "POST /api/v1/links", answer).await
}

/// The body of `POST /shorten`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShortenBody {
    #[serde(default)]
    url: Field<String>,
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
    request: Keyed<Json<ShortenBody>>,
) -> Result<Response, ApiError> {
    let body = LinkBody { url: request.body.0.url.clone(), ..LinkBody::default() };
    let answer = |app: &App, link: &Link| {
        let short_url = app.domain_set().short_url(link.domain, &link.code);
        let view = ShortenView { code: link.code.to_string(), short_url };
        Answer::json(StatusCode::CREATED, &view)
    };
    make(&app, caller, &body, &request, "POST /shorten", answer).await
}

async fn make<B: Sync>(
    app: &App,
    caller: Caller,
    body: &LinkBody,
    request: &Keyed<B>,
    route: &'static str,
    answer: fn(&App, &Link) -> Result<Answer, ApiError>,
) -> Result<Response, ApiError> {
    let rules = Rules { domains: app.domain_set(), policy: app.policy(), now: app.now() };
    let stored = app.clone();
    let once = request.request(caller, route, move |made: &Result<Link, CreateRefused>| {
        made.as_ref().ok().and_then(|link| answer(&stored, link).ok())
    });
    let command = match check_create(body, caller.workspace, caller.key, rules) {
        Ok(command) => command,
        // What makes no sense any more may have made sense when it was done.
        Err(refusal) => match once {
            Some(once) => {
                return app.answered_before(once).await?.map(Answer::replay).ok_or(refusal.into());
            }
            None => return Err(refusal.into()),
        },
    };
    match app.link_create(command, once).await? {
        Performed::Now(made) => Ok(answer(app, &made?)?.into_response()),
        Performed::Before(answer) => Ok(answer.replay()),
    }
}

/// `GET /api/v1/links/{id}`
pub(crate) async fn fetch(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let link = link_fetch(app.read(), caller.workspace, id).await?;
    let link = link.ok_or(ApiError::NotFound("link"))?;
    if is_known(&headers, link.version)? {
        return Ok((StatusCode::NOT_MODIFIED, [etag(link.version)]).into_response());
    }
    Ok(show(&app, link))
}

fn show(app: &App, link: Link) -> Response {
    ([etag(link.version)], Json(LinkView::new(app, link))).into_response()
}

/// `PATCH /api/v1/links/{id}`
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
    headers: HeaderMap,
    MergePatch(body): MergePatch<LinkBody>,
) -> Result<Response, ApiError> {
    let change = check_change(&body, app.policy())?;
    let link = edit(&app, caller, id, &headers, Edit::Change(Box::new(change))).await?;
    Ok(show(&app, link))
}

/// `DELETE /api/v1/links/{id}`
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    edit(&app, caller, id, &headers, Edit::Delete).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/links/{id}/restore`: takes a deletion back. A link that is there stays as it is.
pub(crate) async fn restore(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let link = edit(&app, caller, id, &headers, Edit::Restore).await?;
    Ok(show(&app, link))
}

async fn edit(
    app: &App,
    caller: Caller,
    link: LinkId,
    headers: &HeaderMap,
    edit: Edit,
) -> Result<Link, ApiError> {
    let if_match = IfMatch::from_headers(headers)?;
    let Caller { key: edited_by, workspace } = caller;
    let command = Box::new(EditLink { workspace, link, edited_by, if_match, edit });
    Ok(app.write(|reply| Command::EditLink(command, reply)).await??)
}

#[derive(Clone, Debug, Serialize)]
struct History {
    data: Vec<TargetView>,
}

/// `GET /api/v1/links/{id}/history`
pub(crate) async fn history(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let link = link_fetch(app.read(), caller.workspace, id).await?;
    let link = link.ok_or(ApiError::NotFound("link"))?;
    let targets = target_history(app.read(), &link).await?;
    let data = targets.into_iter().map(TargetView::from).collect();
    Ok(Json(History { data }).into_response())
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
    let query = check_list(&params, caller.workspace, app.domain_set(), app.cursor_key())?;
    // One more than asked for tells whether there is a next page.
    let mut links = link_list(app.read(), &query.filter, query.below, query.limit + 1).await?;
    let has_more = links.len() > query.limit as usize;
    links.truncate(query.limit as usize);
    let last = links.last().filter(|_| has_more);
    let next_cursor = last.map(|last| query.filter.cursor_after(last, app.cursor_key()));
    let data = links.into_iter().map(|link| LinkView::new(&app, link)).collect();
    Ok(Json(Page { data, next_cursor }).into_response())
}
