//! Keys for operators: of every workspace, with as much power as they say.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::ApiKeyId;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::act::{CreateKey, RevokeKey, RotateKey};
use super::api::Rotation;
use super::command::{Secret, check_name, scopes};
use super::store::{NewKey, key_list};
use super::view::{KeyCreated, KeyList, KeyView};
use super::{Grant, KeyRow};
use crate::access::Scopes;
use crate::app::App;
use crate::audit::Actor;
use crate::db::StoreError;
use crate::http::extract::{Id, Json};
use crate::http::problem::ApiError;

/// A body of `POST /v1/keys`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    pub name: String,
    /// `None`: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// A body of `POST /v1/keys/{id}/rotate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// Hours that both keys can be used, at most 168; 24 unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_hours: Option<u32>,
}

impl App {
    /// A key of the first workspace for everything.
    #[cfg(test)]
    pub(crate) async fn key_create(&self, name: &str) -> Result<KeyCreated, ApiError> {
        key_create(self, &KeyRequest { name: name.to_owned(), ..KeyRequest::default() }).await
    }
}

async fn key_create(app: &App, request: &KeyRequest) -> Result<KeyCreated, ApiError> {
    let name = check_name(&request.name).map_err(|error| ApiError::Invalid(vec![error]))?;
    let scopes = request.scopes.as_deref().map_or(Ok(Scopes::ALL), scopes);
    let scopes = scopes.map_err(|error| ApiError::Invalid(vec![error]))?;
    let expires_in = request.expires_in_s.map(Duration::from_secs);
    let expires_at = expires_in.map(|time| app.now().saturating_add(time));
    let secret = Secret::generate(app.random());
    let key = NewKey {
        workspace: app.first_workspace(),
        account: None,
        name,
        hash: secret.hash(),
        hint: secret.hint(),
        grant: Grant { expires_at, ..Grant::of(scopes) },
    };
    let row = app.act(CreateKey { actor: Actor::default(), key }).await??;
    Ok(KeyCreated { key: secret.reveal(), view: row.into() })
}

pub(crate) async fn create(
    State(app): State<App>,
    Json(body): Json<KeyRequest>,
) -> Result<Response, ApiError> {
    let created = key_create(&app, &body).await?;
    tracing::info!(key.id = %created.view.id, "API key made");
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

pub(crate) async fn list(State(app): State<App>) -> Result<Response, ApiError> {
    let rows: Result<Vec<KeyRow>, StoreError> = key_list(app.read(), None).await;
    Ok(Json(KeyList { data: rows?.into_iter().map(KeyView::from).collect() }).into_response())
}

pub(crate) async fn rotate(
    State(app): State<App>,
    Id(id): Id<ApiKeyId>,
    Json(body): Json<RotateRequest>,
) -> Result<Response, ApiError> {
    let overlap = Rotation::overlap(body.overlap_hours)?;
    let secret = Secret::generate(app.random());
    let (hash, hint) = (secret.hash(), secret.hint());
    let actor = Actor::default();
    let row = app.act(RotateKey { actor, by: None, id, hash, hint, overlap }).await??;
    tracing::info!(key.id = %id, new.id = %row.id, "API key rotated");
    let created = KeyCreated { key: secret.reveal(), view: row.into() };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

pub(crate) async fn revoke(
    State(app): State<App>,
    Id(id): Id<ApiKeyId>,
) -> Result<Response, ApiError> {
    let row = app.act(RevokeKey { actor: Actor::default(), workspace: None, id }).await??;
    tracing::info!(key.id = %id, "API key revoked");
    Ok(Json(KeyView::from(row)).into_response())
}
