//! The listener for operators: is it alive, is it ready, what does it count.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use carom_shared::Clock;
use carom_shared::exposition::{self, Exposition};

use crate::limit::misses::Misses;
use crate::metrics::{Gauges, Metrics};
use crate::pressure::Pressure;
use crate::resolve::{Resolver, SnapshotCounts};
use crate::ship::ClickSink;
use crate::spool::losses::Losses;
use crate::spool::outbox::Outbox;

const CONNECTIONS_MAX: usize = 64;
const ACCEPT_RETRY: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) resolver: Resolver,
    pub(crate) snapshots: Arc<SnapshotCounts>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) losses: Arc<Losses>,
    pub(crate) ring_segments_limit: usize,
    pub(crate) connections_limit: usize,
    pub(crate) misses: Arc<Misses>,
    /// Cancelled once the edge drains: it is alive, and wants no new visitors.
    pub(crate) draining: CancellationToken,
    pub(crate) sink: Arc<dyn ClickSink>,
}

impl Admin {
    /// Serves until it is dropped; connections end with it.
    pub(crate) async fn run(self: Arc<Self>, listener: std::net::TcpListener) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the edge's admin listener is lost");
                return;
            }
        };
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                    match accepted {
                        Ok((stream, _)) => {
                            connections.spawn(Arc::clone(&self).connection(stream));
                        }
                        Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request| {
            let response = self.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(TIMEOUT).half_close(false);
        if let Err(error) = pin!(http.serve_connection(TokioIo::new(stream), service)).await {
            tracing::debug!(%error, "an admin connection ended early");
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/livez" if self.metrics.threads_lost.get() > 0 => {
                text(StatusCode::SERVICE_UNAVAILABLE, "a thread is lost: restart me\n")
            }
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" if self.draining.is_cancelled() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            // No store is asked: what the edge knows, it can answer without them.
            "/readyz" => match Pressure::of(&self.metrics, &self.outbox) {
                Pressure::None => text(StatusCode::OK, "ready\n"),
                pressure => {
                    let (level, meaning) = (pressure.level(), pressure.as_str());
                    text(StatusCode::OK, format!("ready; pressure {level} of 5: {meaning}\n"))
                }
            },
            "/metrics" => self.metrics(),
            _ => text(StatusCode::NOT_FOUND, "here are /livez, /readyz and /metrics\n"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let gauges = Gauges {
            connections_limit: self.connections_limit as u64,
            missing_blocks: self.misses.len() as u64,
            held: self.resolver.held(),
            snapshots: (self.snapshots.written(), self.snapshots.failed()),
            now: self.clock.now(),
            batches_waiting: self.outbox.len(),
            outbox_bytes: self.outbox.fill(),
            pressure: Pressure::of(&self.metrics, &self.outbox),
            ring_segments_limit: self.ring_segments_limit,
        };
        let mut page = self.metrics.render(&gauges, &self.losses);
        page.push_str(&self.resolver.render_feed(gauges.now));
        let mut of_sink = Exposition::new();
        self.sink.counts().render(&mut of_sink);
        page.push_str(&of_sink.finish());
        let mut response = text(StatusCode::OK, page);
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
        response
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
