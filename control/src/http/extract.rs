//! What handlers take from a request, each of which answers with a problem document if it cannot;
//! and the JSON that they give back.

use axum::body::{Bytes, to_bytes};
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

/// A JSON body. In a request: one document, of a type that refuses unknown fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let body = to_json(&self.0);
        let header = [(header::CONTENT_TYPE, "application/json")];
        body.map(|body| (header, body)).into_response()
    }
}

/// The bytes of a JSON body, with a line end for those who read it in a terminal.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, ApiError> {
    let body = serde_json::to_vec(value);
    let mut body = body.map_err(|error| ApiError::Internal(Arc::new(error)))?;
    body.push(b'\n');
    Ok(body)
}

/// A body that is JSON.
pub(crate) trait JsonBody: Sized {
    /// The media types it may come as.
    const MEDIA_TYPES: &[&str];
    /// Bytes, at most.
    const MAX: usize;

    /// # Errors
    /// The bytes are not such a body.
    fn parse(bytes: &[u8]) -> Result<Self, ApiError>;
}

macro_rules! json_body {
    ($($name:ident: $media_types:expr, $max:expr;)+) => {$(
        impl<T: DeserializeOwned> JsonBody for $name<T> {
            const MEDIA_TYPES: &[&str] = $media_types;
            const MAX: usize = $max;

            fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
                from_json(bytes).map(Self)
            }
        }

        impl<T: DeserializeOwned> FromRequest<App> for $name<T> {
            type Rejection = ApiError;

            async fn from_request(request: Request, _: &App) -> Result<Self, ApiError> {
                Self::parse(&read_bytes::<Self>(request).await?.1)
            }
        }
    )+};
}

/// A JSON body with many items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BulkJson<T>(pub(crate) T);

/// A JSON body that says what to change (RFC 7396).
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergePatch<T>(pub(crate) T);

json_body! {
    Json: &["application/json"], BODY_MAX;
    BulkJson: &["application/json"], BULK_BODY_MAX;
    MergePatch: &["application/merge-patch+json", "application/json"], BODY_MAX;
}

/// The media type, in lower case, and the bytes of a body of the kind `B`.
pub(crate) async fn read_bytes<B: JsonBody>(request: Request) -> Result<(String, Bytes), ApiError> {
    let media_type = media_type(request.headers()).to_ascii_lowercase();
    if !B::MEDIA_TYPES.contains(&&*media_type) {
        return Err(ApiError::MediaType);
    }
    let body = to_bytes(request.into_body(), B::MAX).await.map_err(|error| {
        if error.source().is_some_and(<dyn Error>::is::<LengthLimitError>) {
            ApiError::BodyTooLarge { max: B::MAX }
        } else {
            ApiError::Request("the body ended before its length".into())
        }
    })?;
    Ok((media_type, body))
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
