//! Links over HTTP.

pub(crate) mod bulk;
mod view;

pub(crate) use view::{rfc3339, state_word};

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::{LinkId, RouteState};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Link;
use super::command::{Edit, EditLink, Field, LinkBody, Rules, check_change, check_create};
use super::list::{ListParams, check_list_of};
use super::store::{CreateRefused, link_fetch, link_list, target_history};
use crate::access::allow;
use crate::app::App;
use crate::http::auth::{By, Caller};
use crate::http::extract::{Id, Json, MergePatch, NoParams, Params};
use crate::http::precondition::{IfMatch, etag, is_known, tag_of};
use crate::http::problem::ApiError;
use crate::idempotency::Answer;
use crate::idempotency::api::Keyed;
use crate::openapi::responses::{
    Any, Conditional, IfMatchHeader, IfNoneMatchHeader, MayConflict, OfOne, OnceHeader, WithBody,
};
use crate::openapi::schema::{LinkPatch, NewLink};
use crate::write::{Command, Performed};
use view::{LinkView, TargetView};

/// Makes a link
///
/// It resolves as soon as this is answered.
#[utoipa::path(
    post,
    path = "/api/v1/links",
    tag = "links",
    security(("api_key" = ["links:write"]), ("session" = ["links:write"])),
    params(OnceHeader),
    request_body = NewLink,
    responses(
        (
            status = 201,
            body = LinkView,
            headers(
                ("Location" = String, description = "The link's path in this API"),
                ("ETag" = String, description = "The link's version"),
            ),
            links(
                ("fetch" = (operation_id = "fetch_link", parameters(("id" = "$response.body#/id")))),
                ("change" = (operation_id = "change_link", parameters(("id" = "$response.body#/id")))),
                ("delete" = (operation_id = "delete_link", parameters(("id" = "$response.body#/id")))),
            ),
        ),
        Any, WithBody, MayConflict,
    ),
    operation_id = "create_link",
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: By<allow::LinksWrite>,
    request: Keyed<Json<LinkBody>>,
) -> Result<Response, ApiError> {
    let answer = |app: &App, link: &Link| {
        let location = Some(format!("/api/v1/links/{}", link.id));
        let etag = Some(tag_of(link.version));
        let answer = Answer::json(StatusCode::CREATED, &LinkView::new(app, link.clone()))?;
        Ok(Answer { location, etag, ..answer })
    };
    make(&app, &caller, &request.body.0, &request, "POST /api/v1/links", answer).await
}

/// The body of `POST /shorten`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Shorten)]
pub(crate) struct ShortenBody {
    /// Where the link leads to.
    #[serde(default)]
    #[schema(value_type = String, format = "uri", min_length = 1, max_length = 8192)]
    url: Field<String>,
}

/// A link in short.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ShortLink)]
struct ShortenView {
    code: String,
    #[schema(format = "uri")]
    short_url: String,
}

/// Makes a link with the least there is to say
#[utoipa::path(
    post,
    path = "/shorten",
    tag = "links",
    security(("api_key" = ["links:write"]), ("session" = ["links:write"])),
    params(OnceHeader),
    request_body = ShortenBody,
    responses((status = 201, body = ShortenView), Any, WithBody, MayConflict),
    operation_id = "shorten",
)]
pub(crate) async fn shorten(
    State(app): State<App>,
    caller: By<allow::LinksWrite>,
    request: Keyed<Json<ShortenBody>>,
) -> Result<Response, ApiError> {
    let body = LinkBody { url: request.body.0.url.clone(), ..LinkBody::default() };
    let answer = |app: &App, link: &Link| {
        let short_url = app.domain_set().short_url(link.domain, &link.code);
        let view = ShortenView { code: link.code.to_string(), short_url };
        Answer::json(StatusCode::CREATED, &view)
    };
    make(&app, &caller, &body, &request, "POST /shorten", answer).await
}

/// The path of a link.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) struct LinkPath {
    /// The link's id.
    #[param(pattern = "^[1-9][0-9]{0,18}$")]
    id: String,
}

async fn make<B: Sync>(
    app: &App,
    caller: &Caller,
    body: &LinkBody,
    request: &Keyed<B>,
    route: &'static str,
    answer: fn(&App, &Link) -> Result<Answer, ApiError>,
) -> Result<Response, ApiError> {
    let (domains, policy) = (app.domain_set(), app.policy());
    let rules = Rules { domains: &domains, policy: &policy, now: app.now() };
    let stored = app.clone();
    let once = request.request(caller, route, move |made: &Result<Link, CreateRefused>| {
        made.as_ref().ok().and_then(|link| answer(&stored, link).ok())
    });
    let command = match check_create(body, caller.workspace, &Arc::new(caller.actor.clone()), rules)
    {
        Ok(command) => command,
        // What makes no sense any more may have made sense when it was done.
        Err(refusal) => match once {
            Some(once) => {
                return app.answered_before(once).await?.map(Answer::replay).ok_or(refusal.into());
            }
            None => return Err(refusal.into()),
        },
    };
    caller.require_domain(command.domain)?;
    match app.link_create(command, once).await? {
        Performed::Now(made) => Ok(answer(app, &made?)?.into_response()),
        Performed::Before(answer) => Ok(answer.replay()),
    }
}

/// Reads a link
#[utoipa::path(
    get,
    path = "/api/v1/links/{id}",
    tag = "links",
    security(("api_key" = ["links:read"]), ("session" = ["links:read"])),
    params(
        LinkPath,
        IfNoneMatchHeader,
    ),
    responses(
        (
            status = 200,
            body = LinkView,
            headers(("ETag" = String, description = "The link's version")),
        ),
        (status = 304, description = "The link has a version that `If-None-Match` names."),
        Any, OfOne,
    ),
    operation_id = "fetch_link",
)]
pub(crate) async fn fetch(
    State(app): State<App>,
    caller: By<allow::LinksRead>,
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

/// Changes a link
///
/// A merge patch (RFC 7396): what is left out stays as it is, and `null` gives a field the value
/// that it has in a link made without it.
#[utoipa::path(
    patch,
    path = "/api/v1/links/{id}",
    tag = "links",
    security(("api_key" = ["links:write"]), ("session" = ["links:write"])),
    params(LinkPath, IfMatchHeader),
    request_body(
        content((LinkPatch = "application/merge-patch+json"), (LinkPatch = "application/json"))
    ),
    responses(
        (
            status = 200,
            body = LinkView,
            headers(("ETag" = String, description = "The link's new version")),
        ),
        Any, WithBody, OfOne, Conditional,
    ),
    operation_id = "change_link",
)]
pub(crate) async fn change(
    State(app): State<App>,
    caller: By<allow::LinksWrite>,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
    headers: HeaderMap,
    MergePatch(body): MergePatch<LinkBody>,
) -> Result<Response, ApiError> {
    let change = check_change(&body, &app.policy())?;
    let link = edit(&app, &caller, id, &headers, Edit::Change(Box::new(change))).await?;
    Ok(show(&app, link))
}

/// Deletes a link
///
/// Its code answers 410 from now on. Only this workspace can use the code again, or restore the
/// link.
#[utoipa::path(
    delete,
    path = "/api/v1/links/{id}",
    tag = "links",
    security(("api_key" = ["links:delete"]), ("session" = ["links:delete"])),
    params(LinkPath, IfMatchHeader),
    responses((status = 204, description = "It is deleted."), Any, OfOne, Conditional),
    operation_id = "delete_link",
)]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: By<allow::LinksDelete>,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    edit(&app, &caller, id, &headers, Edit::Delete).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Takes a deletion back
///
/// A link that is there stays as it is.
#[utoipa::path(
    post,
    path = "/api/v1/links/{id}/restore",
    tag = "links",
    security(("api_key" = ["links:write"]), ("session" = ["links:write"])),
    params(LinkPath, IfMatchHeader),
    responses(
        (
            status = 200,
            body = LinkView,
            headers(("ETag" = String, description = "The link's new version")),
        ),
        Any, OfOne, Conditional, MayConflict,
    ),
    operation_id = "restore_link",
)]
pub(crate) async fn restore(
    State(app): State<App>,
    caller: By<allow::LinksWrite>,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let link = edit(&app, &caller, id, &headers, Edit::Restore).await?;
    Ok(show(&app, link))
}

async fn edit(
    app: &App,
    caller: &Caller,
    link: LinkId,
    headers: &HeaderMap,
    edit: Edit,
) -> Result<Link, ApiError> {
    let if_match = IfMatch::from_headers(headers)?;
    let (workspace, by) = (caller.workspace, Arc::new(caller.actor.clone()));
    let command = Box::new(EditLink { workspace, link, by, if_match, edit });
    let link = app.write(|reply| Command::EditLink(command, reply)).await??;
    if link.state == RouteState::Blocked {
        app.blocked_notify().notify_one();
    }
    Ok(link)
}

/// The targets of a link, newest first; at most 100.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct History {
    data: Vec<TargetView>,
}

/// Lists where a link led to
#[utoipa::path(
    get,
    path = "/api/v1/links/{id}/history",
    tag = "links",
    security(("api_key" = ["links:read"]), ("session" = ["links:read"])),
    params(LinkPath),
    responses((status = 200, body = History), Any, OfOne),
    operation_id = "link_history",
)]
pub(crate) async fn history(
    State(app): State<App>,
    caller: By<allow::LinksRead>,
    Id(id): Id<LinkId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let link = link_fetch(app.read(), caller.workspace, id).await?;
    let link = link.ok_or(ApiError::NotFound("link"))?;
    let targets = target_history(app.read(), &link).await?;
    let data = targets.into_iter().map(TargetView::from).collect();
    Ok(Json(History { data }).into_response())
}

/// A page of links.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Links)]
struct Page {
    data: Vec<LinkView>,
    /// What to send as `cursor` for the next page; `null` at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Lists and finds links
#[utoipa::path(
    get,
    path = "/api/v1/links",
    tag = "links",
    security(("api_key" = ["links:read"]), ("session" = ["links:read"])),
    params(ListParams),
    responses((status = 200, body = Page), Any),
    operation_id = "list_links",
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: By<allow::LinksRead>,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let (domains, key) = (app.domain_set(), app.cursor_key());
    let domain_of = |named| caller.domain_of(named);
    let query = check_list_of(&params, caller.workspace, &domains, key, domain_of)?;
    // One more than asked for tells whether there is a next page.
    let mut links = link_list(app.read(), &query, query.limit + 1).await?;
    let has_more = links.len() > query.limit as usize;
    links.truncate(query.limit as usize);
    let last = links.last().filter(|_| has_more);
    let next_cursor = last.map(|last| query.cursor_after(last, app.cursor_key()));
    let data = links.into_iter().map(|link| LinkView::new(&app, link)).collect();
    Ok(Json(Page { data, next_cursor }).into_response())
}
