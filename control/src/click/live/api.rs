//! The live feed over HTTP: `GET /api/v1/live`, as Server-Sent Events (WHATWG HTML, 9.2).
//!
//! Each stream is a task that the control plane knows of, with a body that holds one chunk: where
//! the client does not read, the task waits, and the feed overwrites what it has not read. The body
//! is written by hand, because axum's takes a `Stream`, which would be another dependency for ten
//! lines.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::LinkId;
use http::{HeaderName, header};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep, timeout};
use utoipa::IntoParams;

use super::{Watch, event};
use crate::access::allow;
use crate::app::App;
use crate::http::auth::{By, Credentials};
use crate::http::extract::Params;
use crate::http::problem::ApiError;
use crate::link::store::link_fetch;
use crate::openapi::responses::{Any, OfOne};
use crate::openapi::schema;

/// How often a stream says something, whatever happens, and its key is looked at.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How old a stream gets: less than a connection does, which would be cut.
const LIFE: Duration = Duration::from_secs(50 * 60);
/// How long a client may read nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first words: a client that lost the stream tries again after 2 s.
const GREETING: &[u8] = b"retry: 2000\n\n";

/// Whose clicks a client watches.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LiveParams {
    /// Only clicks on this link.
    #[param(schema_with = schema::id, required = false)]
    link: Option<LinkId>,
}

/// Follows clicks as they are stored
///
/// Server-Sent Events, each with JSON as its data, until either side ends them:
///
/// - `click`: a click, with `at`, `link_id`, `n` (how many clicks it stands for), `kind`, `via`,
///   `channel`, `device`, `country`, `city`, `browser`, `os`, `language` and `referrer`, as the export
///   of clicks has them. At most 50 in a second.
/// - `more`: `{"clicks": 7}`, how many more there were in that second.
/// - `missed`: `{"clicks": 7}`, how many this client missed because it read too slowly.
/// - `end`: `{"reason": "stopping"}`, the last event: the service stops (`stopping`), the stream is
///   50 minutes old (`age`; call again), or its key was revoked (`key`).
///
/// Comments keep the connection alive. A click shows up a second or two after it happened, and what
/// happened while nobody listened does not. An installation has 100 streams; beyond them a client is
/// told `overloaded`.
#[utoipa::path(
    get,
    path = "/api/v1/live",
    tag = "statistics",
    security(("api_key" = ["stats:read"]), ("session" = ["stats:read"])),
    params(LiveParams),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        Any, OfOne,
    ),
    operation_id = "live_clicks",
)]
pub(crate) async fn live(
    State(app): State<App>,
    caller: By<allow::StatsRead>,
    Params(params): Params<LiveParams>,
) -> Result<Response, ApiError> {
    if params.link.is_none() {
        caller.require_whole()?;
    }
    if let Some(id) = params.link {
        caller.require_link(&app, id).await?;
        link_fetch(app.read(), caller.workspace, id).await?.ok_or(ApiError::NotFound("link"))?;
    }
    if app.is_draining() {
        return Err(ApiError::Closing);
    }
    let watch = app.live().watch((caller.workspace, params.link)).ok_or(ApiError::Busy)?;
    let (chunks, body) = mpsc::channel(1);
    app.spawn(Stream { app: app.clone(), credentials: caller.credentials, watch, chunks }.run());
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // nginx would hold events back until it has a buffer full of them.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::new(Chunks(body))).into_response())
}

/// A stream's body.
struct Chunks(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

struct Stream {
    app: App,
    credentials: Credentials,
    watch: Watch,
    chunks: mpsc::Sender<Bytes>,
}

impl Stream {
    /// Sends until the client is gone or does not read, or one of the reasons to end comes up.
    async fn run(self) {
        let Self { app, credentials, mut watch, chunks } = self;
        let mut keep_alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        let mut life = pin!(sleep(LIFE));
        let mut chunk = Bytes::from_static(GREETING);
        loop {
            tokio::select! {
                biased;
                () = app.draining() => break end(&chunks, "stopping"),
                sent = timeout(PATIENCE, chunks.send(chunk)) => {
                    if !matches!(sent, Ok(Ok(()))) {
                        return;
                    }
                }
            }
            chunk = tokio::select! {
                biased;
                () = chunks.closed() => return,
                () = app.draining() => break end(&chunks, "stopping"),
                () = &mut life => break end(&chunks, "age"),
                _ = keep_alive.tick() => {
                    // Where the database does not answer, nobody is sent away for it.
                    if credentials.are_valid(&app).await.is_ok_and(|are_valid| !are_valid) {
                        break end(&chunks, "key");
                    }
                    Bytes::from_static(b":\n\n")
                }
                text = watch.next() => text.into(),
            };
        }
    }
}

/// The last event, if the client has read those before it.
fn end(chunks: &mpsc::Sender<Bytes>, reason: &str) {
    let text = event("end", &format!("{{\"reason\":\"{reason}\"}}"));
    // Who has not read them does not read this either.
    drop(chunks.try_send(text.into()));
}
