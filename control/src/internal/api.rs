//! The internal plane's handlers. What authenticates is a token that all edges share: an edge acts
//! for no workspace.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use carom_shared::batch::Token;
use carom_shared::internal::{
    BUNDLE_PATH, CHANGES_PATH, CLICKS_PATH, LOSSES_PATH, LossReport, MISSING_PATH, MissingCounts,
    ROUTES_PATH, RoutePage, WAIT_MAX_MS,
};
use carom_shared::{Bundle, Code, DomainId, FeedPage, FeedPosition};
use http::{StatusCode, header};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::click::{StoreBatchError, Stored};
use crate::http::auth::bearer;
use crate::http::extract::{Json, Params};
use crate::http::problem::ApiError;

/// Bytes of a batch of clicks, at most; one of an edge's has a few million.
const BATCH_MAX: usize = 64 << 20;
/// Pages of all routes that are read at once, over all edges: one for the database, and one that is
/// sent meanwhile. Who finds no place is told to come back; a listing is in no hurry.
const LISTINGS_MAX: usize = 2;
const OCTETS: (header::HeaderName, &str) = (header::CONTENT_TYPE, "application/octet-stream");

/// The router of the internal plane; `None` without `internal.token`: there is no default one.
#[must_use]
pub fn internal_router(app: &App) -> Option<Router> {
    let tokens = Tokens::new(app)?;
    let router = Router::new()
        .route(BUNDLE_PATH, get(bundle))
        .route(CHANGES_PATH, get(changes))
        .route(ROUTES_PATH, get(routes))
        .layer(Extension(Listings(Arc::new(Semaphore::new(LISTINGS_MAX)))))
        .route(&format!("{ROUTES_PATH}/{{domain}}/{{code}}"), get(route))
        .route(&format!("{CLICKS_PATH}/{{token}}"), post(clicks))
        .route(MISSING_PATH, post(missing))
        .route(LOSSES_PATH, post(losses))
        .layer(DefaultBodyLimit::max(BATCH_MAX))
        .layer(from_fn_with_state(tokens, authenticate));
    Some(crate::http::finish(app, "internal", router))
}

/// Hashes of the tokens that are taken: to compare them says nothing of the tokens.
#[derive(Clone)]
struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    fn new(app: &App) -> Option<Self> {
        let config = &app.config().internal;
        let taken = [&config.token, &config.previous_token];
        let taken = taken.into_iter().filter(|token| !token.is_empty());
        let hashes: Vec<_> = taken.map(|token| Sha256::digest(token).into()).collect();
        (!hashes.is_empty()).then_some(Self(hashes))
    }
}

async fn authenticate(
    State(Tokens(taken)): State<Tokens>,
    request: Request,
    next: Next,
) -> Response {
    match bearer(request.headers()) {
        Ok(token) if taken.contains(&Sha256::digest(token).into()) => next.run(request).await,
        Ok(_) => ApiError::BadCredentials.into_response(),
        Err(error) => error.into_response(),
    }
}

async fn bundle(State(app): State<App>) -> Result<Json<Bundle>, ApiError> {
    app.bundle().await.map(Json).map_err(|error| ApiError::from_text(&error))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangesParams {
    epoch: Option<u64>,
    after: Option<u64>,
    wait_ms: Option<u64>,
}

async fn changes(
    State(app): State<App>,
    Params(params): Params<ChangesParams>,
) -> Result<Response, ApiError> {
    let page = match (params.epoch, params.after) {
        (Some(epoch), Some(seq)) => {
            let wait = Duration::from_millis(params.wait_ms.unwrap_or(0).min(WAIT_MAX_MS));
            app.changes_after(FeedPosition { epoch, seq }, wait).await?
        }
        (None, None) => {
            let head = app.feed_head().await?;
            Some(FeedPage { head, first: 0, changes: Vec::new() })
        }
        _ => return Err(ApiError::Request("epoch and after go together".into())),
    };
    Ok(match page {
        Some(page) => ([OCTETS], page.to_bytes()).into_response(),
        None => plain(StatusCode::GONE, "these changes are not known any more\n"),
    })
}

/// What an edge reads of a path; anything else is not its question.
struct Part<T>(T);

impl<T: serde::de::DeserializeOwned + Send> FromRequestParts<App> for Part<T> {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        app: &App,
    ) -> Result<Self, ApiError> {
        let path = Path::from_request_parts(parts, app).await;
        path.map(|Path(part)| Self(part))
            .map_err(|_| ApiError::Request("the path cannot be read".into()))
    }
}

async fn route(
    State(app): State<App>,
    Part((domain, code)): Part<(DomainId, Code)>,
) -> Result<Response, ApiError> {
    Ok(match app.resolve(domain, &code).await? {
        Some(record) => ([OCTETS], record.to_bytes()).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Who may read a page of all routes now.
#[derive(Clone)]
struct Listings(Arc<Semaphore>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutesParams {
    domain: Option<DomainId>,
    code: Option<Code>,
}

async fn routes(
    State(app): State<App>,
    Extension(Listings(places)): Extension<Listings>,
    Params(params): Params<RoutesParams>,
) -> Result<Response, ApiError> {
    let after = match (params.domain, params.code) {
        (Some(domain), Some(code)) => Some((domain, code)),
        (None, None) => None,
        _ => return Err(ApiError::Request("domain and code go together".into())),
    };
    let Ok(_place) = places.try_acquire() else { return Err(ApiError::Busy) };
    let page = RoutePage(app.routes_after(after).await?);
    Ok(([OCTETS], page.to_bytes()).into_response())
}

async fn clicks(
    State(app): State<App>,
    Part(token): Part<String>,
    batch: Bytes,
) -> Result<Response, ApiError> {
    let token: Token =
        token.parse().map_err(|_| ApiError::Request("the token cannot be read".into()))?;
    let never = |why: String| plain(StatusCode::UNPROCESSABLE_ENTITY, why + "\n");
    match app.store_batch(&token, &batch).await {
        Ok(Stored::New { .. }) => Ok(plain(StatusCode::CREATED, "stored\n")),
        Ok(Stored::Duplicate) => Ok(plain(StatusCode::OK, "stored before\n")),
        Ok(Stored::TooOld) => {
            Ok(never("it is older than the store's memory of what it has".into()))
        }
        Err(error @ (StoreBatchError::Batch { .. } | StoreBatchError::Refused { .. })) => {
            Ok(never(chain(&error)))
        }
        Err(StoreBatchError::Store { source, .. }) => Err(source.into()),
    }
}

async fn missing(
    State(app): State<App>,
    Json(counts): Json<MissingCounts>,
) -> Result<StatusCode, ApiError> {
    let counts = counts.missing.into_iter().map(|count| (count.domain, count.code, count.requests));
    app.note_missing(counts).await.map_err(|error| ApiError::from_text(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn losses(
    State(app): State<App>,
    Json(report): Json<LossReport>,
) -> Result<StatusCode, ApiError> {
    if !report.is_possible() {
        return Err(ApiError::Request("this is no report of an edge".into()));
    }
    app.note_losses(report).await.map_err(|error| ApiError::from_text(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

fn plain(status: StatusCode, text: impl IntoResponse) -> Response {
    (status, text).into_response()
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
