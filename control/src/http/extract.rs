//! What handlers take from a request, each of which answers with a problem document if it cannot;
//! and the JSON that they give back.

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::LengthLimitError;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_path_to_error::Segment;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::problem::{ApiError, FieldError};
use crate::app::App;

/// Bytes of a request's body.
const BODY_MAX: usize = 64 * 1024;
/// Bytes of a body that holds many items.
const BULK_BODY_MAX: usize = 1024 * 1024;

/// A JSON body. In a request: one document, of a type that refuses unknown fields. In a response it
/// ends with a line end, for those who read it in a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut body) => {
                body.push(b'\n');
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(error) => ApiError::Internal(Arc::new(error)).into_response(),
        }
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &App) -> Result<Self, ApiError> {
        read_body(request, &["application/json"], BODY_MAX).await.map(Self)
    }
}

/// A JSON body with many items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BulkJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for BulkJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &App) -> Result<Self, ApiError> {
        read_body(request, &["application/json"], BULK_BODY_MAX).await.map(Self)
    }
}

/// A JSON body that says what to change (RFC 7396).
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergePatch<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for MergePatch<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &App) -> Result<Self, ApiError> {
        let media_types = ["application/merge-patch+json", "application/json"];
        read_body(request, &media_types, BODY_MAX).await.map(Self)
    }
}

async fn read_body<T: DeserializeOwned>(
    request: Request,
    media_types: &[&str],
    max: usize,
) -> Result<T, ApiError> {
    let media_type = media_type(request.headers());
    if !media_types.iter().any(|known| known.eq_ignore_ascii_case(media_type)) {
        return Err(ApiError::MediaType);
    }
    let body = to_bytes(request.into_body(), max).await.map_err(|error| {
        if error.source().is_some_and(<dyn Error>::is::<LengthLimitError>) {
            ApiError::BodyTooLarge { max }
        } else {
            ApiError::Request("the body ended before its length".into())
        }
    })?;
    from_json(&body)
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize::<_, Object<T>>(&mut reader).map_err(|error| {
        let detail = error.inner().to_string();
        if !error.inner().is_data() {
            return ApiError::Json(detail);
        }
        let pointer: String = error.path().iter().fold("#".into(), |pointer: String, segment| {
            let segment = match segment {
                Segment::Seq { index } => index.to_string(),
                Segment::Map { key } => key.clone(),
                Segment::Enum { variant } => variant.clone(),
                Segment::Unknown => String::new(),
            };
            // RFC 6901, 3: what separates segments is escaped within them.
            let segment = segment.replace('~', "~0").replace('/', "~1");
            format!("{pointer}/{segment}")
        });
        ApiError::Invalid(vec![FieldError::new(&pointer, "malformed", detail)])
    })?;
    reader.end().map_err(|error| ApiError::Json(error.to_string()))?;
    Ok(value.0)
}

/// A value whose JSON is an object. By itself a type with named fields takes an array as well, field
/// by field in the order of its source: a contract that nobody knows of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// The query's parameters, of a type that refuses unknown ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let Query(params) = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let cause = rejection.source().map_or_else(String::new, ToString::to_string);
            ApiError::Request(format!("cannot read the query: {cause}"))
        })?;
        Ok(Self(params))
    }
}

/// Parameters of an address that takes none. They are refused, not ignored: who asks for a week of
/// statistics must not be given all of them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// The id in the path. A text that is no id names nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Id<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let path = Path::from_request_parts(parts, app).await;
        path.map(|Path(id)| Self(id)).map_err(|_| ApiError::NotFound("id"))
    }
}
