//! Who asks: an API key, from the Authorization header only (RFC 6750, 2.1).

use axum::extract::FromRequestParts;
use carom_shared::{ApiKeyId, WorkspaceId};
use http::request::Parts;
use http::{HeaderMap, header};

use super::problem::ApiError;
use crate::apikey::command::Secret;
use crate::apikey::store::key_find;
use crate::app::App;

/// The key that a request came with, and what it may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) key: ApiKeyId,
    pub(crate) workspace: WorkspaceId,
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers)?;
        // The checksum first: a flood of invented keys does not reach the database.
        let secret = Secret::parse(token).ok_or(ApiError::BadCredentials)?;
        app.metrics().key_lookups.add(1);
        let found = key_find(app.read(), &secret.hash()).await?;
        let (key, workspace) = found.ok_or(ApiError::BadCredentials)?;
        Ok(Self { key, workspace })
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(ApiError::NoCredentials)?;
    if values.next().is_some() {
        return Err(ApiError::Request("there is more than one Authorization header".into()));
    }
    let value = value.to_str().map_err(|_| ApiError::BadCredentials)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(ApiError::NoCredentials),
    }
}
