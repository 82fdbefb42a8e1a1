//! The header and the answer over HTTP.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::command::{IdempotencyKey, fingerprint};
use super::{Answer, OnceId};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::extract::{JsonBody, read_bytes, to_json};
use crate::http::problem::ApiError;
use crate::write::OnceRequest;

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The body of a request that may come with a key, and what makes it this request.
#[derive(Clone, Debug)]
pub(crate) struct Keyed<B> {
    pub(crate) body: B,
    once: Option<(IdempotencyKey, [u8; 32])>,
}

impl<B> Keyed<B> {
    /// The request as the writer knows it, with what is to be stored of its result; `None` if it
    /// came without a key.
    pub(crate) fn request<T>(
        &self,
        caller: &Caller,
        route: &'static str,
        store: impl FnOnce(&T) -> Option<Answer> + Send + 'static,
    ) -> Option<OnceRequest<T>> {
        let (key, fingerprint) = self.once.clone()?;
        let id = OnceId { workspace: caller.workspace, route, key };
        Some(OnceRequest { id, fingerprint, store: Box::new(store) })
    }
}

impl<B: JsonBody> FromRequest<App> for Keyed<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &App) -> Result<Self, ApiError> {
        let key = key(request.headers())?;
        let query = request.uri().query().unwrap_or_default().to_owned();
        let (media_type, bytes) = read_bytes::<B>(request).await?;
        let once = key.map(|key| (key, fingerprint(&query, &media_type, &bytes)));
        Ok(Self { body: B::parse(&bytes)?, once })
    }
}

fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::Request("there is more than one Idempotency-Key header".into()));
    }
    let key = IdempotencyKey::parse(value.as_bytes());
    key.map(Some).map_err(|error| ApiError::Request(error.to_string()))
}

impl Answer {
    /// An answer with a JSON body.
    pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<Self, ApiError> {
        let body = to_json(body)?;
        Ok(Self { status: status.as_u16(), location: None, etag: None, body })
    }

    /// The answer to a request that was answered before.
    pub(crate) fn replay(self) -> Response {
        let mut response = self.into_response();
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Body::from(self.body).into_response();
        // Both were written by this program; what is stored is read back as it was.
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, text) in [(header::LOCATION, self.location), (header::ETAG, self.etag)] {
            if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}
