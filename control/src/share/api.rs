//! Shares over HTTP: editors make, list and take them back; whoever has an address opens it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::{LinkId, ShareId};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::act::{CreateShare, RevokeShare};
use super::command::{NewShare, ShareBody, check};
use super::store::{share_find, share_list};
use super::{Part, SHARES_MAX, Share, ShareOf, Shown, owner, visit};
use crate::access::{Scope, allow};
use crate::account::command::SecretText;
use crate::account::{Password, Verified};
use crate::app::App;
use crate::http::auth::By;
use crate::http::extract::{Id, Json, NoParams, Params};
use crate::http::problem::{ApiError, FieldError};
use crate::idempotency::api::IDEMPOTENCY_KEY;
use crate::link::api::rfc3339;
use crate::link::store::link_fetch;
use crate::openapi::responses::{Any, MayConflict, OfOne, WithBody};
use crate::openapi::schema;
use crate::secret::token::Token;
use crate::session::api::Client;

/// Statistics that are shown to whoever has their address. What it does not have is `null`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Share)]
pub(crate) struct ShareView {
    #[schema(schema_with = schema::id)]
    pub(crate) id: ShareId,
    pub(crate) name: String,
    /// The address to pass on; `null` if you may not read statistics yourself, or if it was sealed with
    /// a key that the installation does not have any more.
    #[schema(format = "uri", required = true)]
    pub(crate) url: Option<String>,
    /// Without it and without `tag` it is of all links.
    #[schema(schema_with = schema::optional_id, required = true)]
    pub(crate) link_id: Option<LinkId>,
    #[schema(required = true)]
    pub(crate) tag: Option<String>,
    pub(crate) has_password: bool,
    pub(crate) shows: ShowsView,
    #[schema(schema_with = schema::time)]
    pub(crate) created_at: String,
    #[schema(schema_with = schema::optional_time, required = true)]
    pub(crate) expires_at: Option<String>,
}

/// What is shown beside totals and their course.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ShareShows)]
pub(crate) struct ShowsView {
    sources: bool,
    places: bool,
    devices: bool,
    campaigns: bool,
    times: bool,
    links: bool,
    filters: bool,
}

impl From<Shown> for ShowsView {
    fn from(shown: Shown) -> Self {
        Self {
            sources: shown.has(Part::Sources),
            places: shown.has(Part::Places),
            devices: shown.has(Part::Devices),
            campaigns: shown.has(Part::Campaigns),
            times: shown.has(Part::Times),
            links: shown.has(Part::Links),
            filters: shown.has(Part::Filters),
        }
    }
}

impl ShareView {
    pub(crate) fn new(app: &App, share: Share, with_url: bool) -> Self {
        let url = if with_url { address(app, &share) } else { None };
        let (link_id, tag) = match share.of {
            ShareOf::Workspace => (None, None),
            ShareOf::Link(link) => (Some(link), None),
            ShareOf::Tag(tag) => (None, Some(tag)),
        };
        Self {
            id: share.id,
            name: share.name,
            url,
            link_id,
            tag,
            has_password: !share.password_hash.is_empty(),
            shows: share.shown.into(),
            created_at: rfc3339(share.created_at),
            expires_at: share.expires_at.map(rfc3339),
        }
    }
}

/// The address of a share.
pub(crate) fn address(app: &App, share: &Share) -> Option<String> {
    let token = app.accounts().seal.open(owner(share.id), &share.token_sealed)?;
    let token = String::from_utf8(token).ok()?;
    Some(format!("{}/share/{token}", app.problem_base()))
}

/// All shares of a workspace.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Shares)]
struct ShareList {
    data: Vec<ShareView>,
}

/// Lists what is shared
///
/// All shares of the workspace, newest first, those that have expired among them; at most 500.
#[utoipa::path(
    get,
    path = "/api/v1/shares",
    tag = "statistics",
    security(("api_key" = ["links:write"]), ("session" = ["links:write"])),
    responses((status = 200, body = ShareList), Any),
    operation_id = "list_shares",
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: By<allow::LinksWrite>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let with_url = caller.scopes.has(Scope::StatsRead);
    let shares = share_list(app.read(), caller.workspace).await?;
    let data = shares.into_iter().map(|share| ShareView::new(&app, share, with_url)).collect();
    Ok(Json(ShareList { data }).into_response())
}

/// Shares statistics
///
/// Whoever has the address in the answer can read them, and with a password, whoever has both. It
/// needs `stats:read` beside `links:write`.
#[utoipa::path(
    post,
    path = "/api/v1/shares",
    tag = "statistics",
    security(("api_key" = ["links:write"]), ("session" = ["links:write"])),
    request_body = ShareBody,
    responses((status = 201, body = ShareView), Any, WithBody, MayConflict),
    operation_id = "create_share",
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: By<allow::LinksWrite>,
    headers: HeaderMap,
    _: Params<NoParams>,
    Json(body): Json<ShareBody>,
) -> Result<Response, ApiError> {
    caller.require(Scope::StatsRead)?;
    if headers.contains_key(IDEMPOTENCY_KEY) {
        let detail =
            "an answer with a secret address is not kept: send this without Idempotency-Key";
        return Err(ApiError::Request(detail.into()));
    }
    let NewShare { name, of, password, expires_at, shown } =
        check(&body, app.now()).map_err(ApiError::Invalid)?;
    if let ShareOf::Link(link) = of
        && link_fetch(app.read(), caller.workspace, link).await?.is_none()
    {
        let detail = "this workspace has no such link";
        return Err(ApiError::Invalid(vec![FieldError::new(
            "#/link_id",
            "link-unknown",
            detail.into(),
        )]));
    }
    let password_hash = match password {
        Some(password) => app.accounts().hasher.hash(password, app.random()).await?,
        None => String::new(),
    };
    let create = CreateShare {
        actor: caller.actor.clone(),
        workspace: caller.workspace,
        of,
        name,
        token: Token::generate(app.random()),
        seal: app.accounts().seal.clone(),
        password_hash,
        shown,
        expires_at,
    };
    let share = app.act(create).await?.ok_or_else(|| {
        ApiError::Conflict(format!("a workspace has at most {SHARES_MAX} shares; take one back"))
    })?;
    Ok((StatusCode::CREATED, Json(ShareView::new(&app, share, true))).into_response())
}

/// The path of a share.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by its derive alone")]
struct SharePath {
    #[param(schema_with = schema::id)]
    id: ShareId,
}

/// Takes a share back
///
/// Its address leads nowhere from then on.
#[utoipa::path(
    delete,
    path = "/api/v1/shares/{id}",
    tag = "statistics",
    security(("api_key" = ["links:write"]), ("session" = ["links:write"])),
    params(SharePath),
    responses((status = 204, description = "It is taken back."), Any, OfOne),
    operation_id = "revoke_share",
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: By<allow::LinksWrite>,
    Id(id): Id<ShareId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let (actor, workspace) = (caller.actor.clone(), caller.workspace);
    match app.act(RevokeShare { actor, workspace, id }).await? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(ApiError::NotFound("share")),
    }
}

/// What opens a share.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenShare {
    /// The last part of its address.
    #[schema(value_type = String, max_length = 100)]
    token: SecretText,
    #[schema(value_type = String, max_length = 128)]
    password: SecretText,
}

/// Opens a share that has a password
///
/// Answers with a cookie, with which the share's address can be read for twelve hours.
#[utoipa::path(
    post,
    path = "/api/v1/shares/open",
    tag = "statistics",
    security(()),
    request_body = OpenShare,
    responses(
        (
            status = 204,
            description = "It is open.",
            headers(("Set-Cookie" = String, description = "What opens it"))
        ),
        Any, WithBody, OfOne,
    ),
    operation_id = "open_share",
)]
pub(crate) async fn open(
    State(app): State<App>,
    client: Client,
    Json(body): Json<OpenShare>,
) -> Result<Response, ApiError> {
    let token = body.token.as_str();
    let hash = Token::hash_of(token);
    app.limits().share(client.actor.address, &hash).await?;
    let share = share_find(app.read(), &hash).await?.filter(|share| !share.has_expired(app.now()));
    let share = share.ok_or(ApiError::NotFound("share"))?;
    let wrong = || {
        let detail = "this is not the password; ask whoever gave you the address";
        ApiError::Invalid(vec![FieldError::new("#/password", "wrong-password", detail.into())])
    };
    if !share.password_hash.is_empty() {
        let password = Password::entered(body.password.as_str().trim()).ok_or_else(wrong)?;
        let hash = Some(share.password_hash.clone());
        // A hash of other parameters stays: it is as good as it was when the share was made.
        if app.accounts().hasher.verify(password, hash, app.random()).await? == Verified::Wrong {
            return Err(wrong());
        }
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let cookie = visit::begin(&share, token, app.now(), app.cursor_key());
    response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    Ok(response)
}
