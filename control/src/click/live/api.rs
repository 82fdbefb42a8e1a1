//! The live feed over HTTP: `GET /api/v1/live`, as Server-Sent Events (WHATWG HTML, 9.2).
//!
//! Each stream is a task that the control plane knows of, with a body that holds one chunk: where
//! the client does not read, the task waits, and the feed overwrites what it has not read. The body
//! is written by hand, because axum's takes a `Stream`, which would be another dependency for ten
//! lines.

use std::collections::HashSet;
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

use super::{Watch, Watched, event};
use crate::access::{Scope, allow};
use crate::app::App;
use crate::click::tagged::links;
use crate::http::auth::{By, Lasting};
use crate::http::extract::Params;
use crate::http::problem::ApiError;
use crate::link::list;
use crate::link::store::link_fetch;
use crate::openapi::responses::{Any, OfOne};
use crate::openapi::schema;

/// How often a stream says something, whatever happens, and its key and its tag's links are looked at.
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
    /// Only clicks on links that have this tag: at most 2000. Which these are is looked up every 15 s.
    tag: Option<String>,
    /// Only clicks on links of this domain: its host.
    domain: Option<String>,
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
///   50 minutes old (`age`; call again), or whoever follows may not any more (`key`).
///
/// Comments keep the connection alive. A click shows up a second or two after it happened, and what
/// happened while nobody listened does not. A workspace has 20 streams, and an installation 100; beyond
/// them a client is told `overloaded`.
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
    let workspace = caller.workspace;
    let domain = params.domain.as_deref();
    let domain = domain.map(|host| list::domain(host, workspace, &app.domain_set())).transpose()?;
    match (params.link, domain) {
        (Some(_), _) if params.tag.is_some() || domain.is_some() => {
            return Err(ApiError::Request("link goes without tag and domain".to_owned()));
        }
        (Some(id), _) => {
            caller.require_link(&app, id).await?;
            link_fetch(app.read(), workspace, id).await?.ok_or(ApiError::NotFound("link"))?;
        }
        (None, Some(domain)) => drop(caller.domain_of(Some(domain))?),
        (None, None) => caller.require_whole()?,
    }
    let tag = params.tag.as_deref().map(list::tag).transpose()?;
    let watched = Watched { workspace, link: params.link, domain, tag };
    let links = tagged(&app, &watched).await?;
    if app.is_draining() {
        return Err(ApiError::Closing);
    }
    let watch = app.live().watch(watched, links).ok_or(ApiError::Busy)?;
    let (chunks, body) = mpsc::channel(1);
    let lasting = caller.lasting(Scope::StatsRead);
    app.spawn(Stream { app: app.clone(), lasting, watch, chunks }.run());
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // nginx would hold events back until it has a buffer full of them.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::new(Chunks(body))).into_response())
}

/// Links that have the tag that is watched.
async fn tagged(app: &App, watched: &Watched) -> Result<HashSet<LinkId>, ApiError> {
    match &watched.tag {
        Some(tag) => Ok(links(app, watched.workspace, tag).await?.into_iter().collect()),
        None => Ok(HashSet::new()),
    }
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
    lasting: Lasting,
    watch: Watch,
    chunks: mpsc::Sender<Bytes>,
}

impl Stream {
    /// Sends until the client is gone or does not read, or one of the reasons to end comes up.
    async fn run(self) {
        let Self { app, lasting, mut watch, chunks } = self;
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
                    if lasting.is_valid(&app).await.is_ok_and(|is_valid| !is_valid) {
                        break end(&chunks, "key");
                    }
                    // Neither is it for a tag that too many links have by now: it goes on as it was.
                    if watch.watched().tag.is_some()
                        && let Ok(links) = tagged(&app, watch.watched()).await
                    {
                        watch.renew(links);
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
