//! `/api/v1/keys`: for admins and owners, and for keys with the scopes.
//!
//! Making a key, and making one stronger, needs a session that is fresh. A request with an idempotency
//! key is refused: the answer holds a secret, and nothing that holds one is kept.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::ApiKeyId;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Grant;
use super::act::{CreateKey, EditKey, RevokeKey, RotateKey, Rotator};
use super::command::{KeyBody, KeyRules, NewKeyBody, Secret, check_key, check_key_change};
use super::store::{NewKey, key_list, key_read};
use super::view::{KeyCreated, KeyList, KeyView};
use crate::access::{Scopes, allow};
use crate::app::App;
use crate::http::auth::{By, Caller};
use crate::http::extract::{Id, Json, MergePatch, NoParams, Params};
use crate::http::problem::{ApiError, FieldError};
use crate::idempotency::api::IDEMPOTENCY_KEY;
use crate::openapi::responses::{Any, MayConflict, OfOne, WithBody};
use crate::openapi::schema;

/// Hours that a key can be used beside its successor.
pub(super) const OVERLAP_MAX: u32 = 7 * 24;
pub(super) const OVERLAP_DEFAULT: u32 = 24;

/// The path of a key.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by its derive alone")]
struct KeyPath {
    #[param(schema_with = schema::id)]
    id: ApiKeyId,
}

/// Lists API keys
///
/// Those of the workspace that were not revoked, newest first; at most 1,000.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    tag = "keys",
    security(("api_key" = ["keys:read"]), ("session" = ["keys:read"])),
    responses((status = 200, body = KeyList), Any),
    operation_id = "list_keys",
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: By<allow::KeysRead>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let rows = key_list(app.read(), Some(caller.workspace)).await?;
    Ok(Json(KeyList { data: rows.into_iter().map(KeyView::from).collect() }).into_response())
}

/// Shows an API key
#[utoipa::path(
    get,
    path = "/api/v1/keys/{id}",
    tag = "keys",
    params(KeyPath),
    security(("api_key" = ["keys:read"]), ("session" = ["keys:read"])),
    responses((status = 200, body = KeyView), Any, OfOne),
    operation_id = "get_key",
)]
pub(crate) async fn fetch(
    State(app): State<App>,
    caller: By<allow::KeysRead>,
    Id(id): Id<ApiKeyId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let key = key_read(app.read(), caller.workspace, id).await?;
    Ok(Json(KeyView::from(key.ok_or(ApiError::NotFound("key"))?)).into_response())
}

/// Makes an API key
///
/// The answer shows it, once. Its scopes are of those that you have yourself, and it can never do
/// more than your role allows: when you leave the workspace it is dead.
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    tag = "keys",
    security(("api_key" = ["keys:write"]), ("session" = ["keys:write"])),
    request_body = NewKeyBody,
    responses(
        (
            status = 201,
            body = KeyCreated,
            headers(("Location" = String, description = "The key's path in this API")),
        ),
        Any, WithBody, MayConflict,
    ),
    operation_id = "create_key",
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: By<allow::KeysWrite>,
    headers: HeaderMap,
    _: Params<NoParams>,
    Json(body): Json<KeyBody>,
) -> Result<Response, ApiError> {
    caller.credentials.require_fresh(app.now())?;
    refuse_once(&headers)?;
    let maker = maker(&caller);
    let (name, grant) =
        check_key(&body, &rules(&app, &caller, &maker)).map_err(ApiError::Invalid)?;
    let secret = Secret::generate(app.random());
    let (hash, hint) = (secret.hash(), secret.hint());
    let (workspace, account) = (caller.workspace, caller.actor.account);
    let key = NewKey { workspace, account, name, hash, hint, grant };
    let row = app.act(CreateKey { actor: caller.actor.clone(), key }).await??;
    Ok(show_once(secret, row.into()))
}

/// Changes an API key
///
/// A merge patch (RFC 7396). It takes effect with the key's next request. A key that you let do more than
/// before can do no more than you.
#[utoipa::path(
    patch,
    path = "/api/v1/keys/{id}",
    tag = "keys",
    params(KeyPath),
    security(("api_key" = ["keys:write"]), ("session" = ["keys:write"])),
    request_body(
        content((KeyBody = "application/merge-patch+json"), (KeyBody = "application/json"))
    ),
    responses((status = 200, body = KeyView), Any, OfOne, WithBody, MayConflict),
    operation_id = "change_key",
)]
pub(crate) async fn change(
    State(app): State<App>,
    caller: By<allow::KeysWrite>,
    Id(id): Id<ApiKeyId>,
    _: Params<NoParams>,
    MergePatch(body): MergePatch<KeyBody>,
) -> Result<Response, ApiError> {
    caller.credentials.require_fresh(app.now())?;
    let maker = maker(&caller);
    let change =
        check_key_change(&body, &rules(&app, &caller, &maker)).map_err(ApiError::Invalid)?;
    let (actor, workspace) = (caller.actor.clone(), caller.workspace);
    let row = app.act(EditKey { actor, workspace, id, change, by: maker }).await??;
    Ok(Json(KeyView::from(row)).into_response())
}

/// Revokes an API key
///
/// At once, and for good.
#[utoipa::path(
    delete,
    path = "/api/v1/keys/{id}",
    tag = "keys",
    params(KeyPath),
    security(("api_key" = ["keys:write"]), ("session" = ["keys:write"])),
    responses((status = 204, description = "It is revoked"), Any, OfOne),
    operation_id = "revoke_key",
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: By<allow::KeysWrite>,
    Id(id): Id<ApiKeyId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let (actor, workspace) = (caller.actor.clone(), Some(caller.workspace));
    app.act(RevokeKey { actor, workspace, id }).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// How a key is replaced.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// Hours that both keys can be used; 24 unless it says otherwise, and with 0 the old one is dead
    /// at once.
    #[schema(maximum = 168)]
    overlap_hours: Option<u32>,
}

impl Rotation {
    pub(super) fn overlap(hours: Option<u32>) -> Result<Duration, ApiError> {
        let hours = hours.unwrap_or(OVERLAP_DEFAULT);
        if hours > OVERLAP_MAX {
            let detail = format!("both keys can be used for at most {OVERLAP_MAX} hours");
            return Err(ApiError::Invalid(vec![FieldError::new(
                "#/overlap_hours", "range", detail,
            )]));
        }
        Ok(Duration::from_secs(u64::from(hours) * 3600))
    }
}

/// Replaces an API key by a new one
///
/// The new one can do the same, for as long as the old one was made for, and belongs to whoever asks
/// for it. Until the overlap is over both can be used. The answer shows the new key, once. A key that
/// can do more than you can is not replaced.
#[utoipa::path(
    post,
    path = "/api/v1/keys/{id}/rotate",
    tag = "keys",
    params(KeyPath),
    security(("api_key" = ["keys:write"]), ("session" = ["keys:write"])),
    request_body = Rotation,
    responses(
        (
            status = 201,
            body = KeyCreated,
            headers(("Location" = String, description = "The new key's path in this API")),
        ),
        Any, OfOne, WithBody, MayConflict,
    ),
    operation_id = "rotate_key",
)]
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: By<allow::KeysWrite>,
    Id(id): Id<ApiKeyId>,
    headers: HeaderMap,
    _: Params<NoParams>,
    Json(body): Json<Rotation>,
) -> Result<Response, ApiError> {
    caller.credentials.require_fresh(app.now())?;
    refuse_once(&headers)?;
    let overlap = Rotation::overlap(body.overlap_hours)?;
    let secret = Secret::generate(app.random());
    let (hash, hint) = (secret.hash(), secret.hint());
    let (workspace, account) = (caller.workspace, caller.actor.account);
    let by = Some(Rotator { workspace, account, grant: maker(&caller) });
    let actor = caller.actor.clone();
    let row = app.act(RotateKey { actor, by, id, hash, hint, overlap }).await??;
    Ok(show_once(secret, row.into()))
}

/// What a caller can hand on.
fn maker(caller: &Caller) -> Grant {
    let own = caller.grant.as_deref().cloned();
    Grant { scopes: caller.scopes, ..own.unwrap_or_else(|| Grant::of(Scopes::NONE)) }
}

fn rules<'a>(app: &'a App, caller: &Caller, maker: &'a Grant) -> KeyRules<'a> {
    let workspace = caller.workspace;
    let (now, limits) = (app.now(), &app.config().limits);
    KeyRules { now, limits, maker, domains: app.domain_set(), workspace }
}

fn refuse_once(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        let detail = "a key is shown once, so this call takes no Idempotency-Key: if the answer got \
                      lost, revoke the key that the list shows";
        return Err(ApiError::Request(detail.to_owned()));
    }
    Ok(())
}

fn show_once(secret: Secret, view: KeyView) -> Response {
    let location = format!("/api/v1/keys/{}", view.id);
    let body = KeyCreated { key: secret.reveal(), view };
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".to_owned())];
    (StatusCode::CREATED, headers, Json(body)).into_response()
}
