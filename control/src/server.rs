//! Accepts connections and serves a router on them, within limits, until told to stop.
//!
//! Not `axum::serve`: it has no timeouts, so a client that sends half a request head holds its
//! connection for ever.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::address::Peer;

/// A socket that listens, made by the program.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What a listener and its connections may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; more wait in the kernel's backlog.
    pub connections: u32,
    /// For a whole request head; also how long an idle connection is kept.
    pub header_read: Duration,
    /// After this age a connection is closed as soon as its request is answered.
    pub connection_age: Duration,
    /// How long requests may still take once the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_read: Duration::from_secs(15),
            connection_age: Duration::from_hours(1),
            drain: Duration::from_secs(12),
        }
    }
}

/// Request headers, at most.
const HEADERS_MAX: usize = 64;
/// Bytes of a request head, at most.
const HEAD_MAX: usize = 16 * 1024;
/// Bytes of a connection's read buffer, at most.
const BUFFER_MAX: usize = 64 * 1024;
/// Pause after an accept that failed: mostly because files ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `shutdown`; then takes no more, lets requests end within `limits.drain`,
/// cuts off the rest, and returns how many were cut off.
pub async fn serve(
    router: Router,
    listener: Listener,
    limits: Limits,
    shutdown: CancellationToken,
) -> usize {
    let slots = Arc::new(Semaphore::new(limits.connections as usize));
    let connections = TaskTracker::new();
    let cut_off = CancellationToken::new();
    loop {
        // The slot first: a connection that cannot be served is not taken from the backlog.
        let slot = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (stream, peer) = stream;
        let (router, shutdown, cut_off) = (router.clone(), shutdown.clone(), cut_off.clone());
        connections.spawn(async move {
            tokio::select! {
                () = converse(stream, peer, router, limits, shutdown) => {}
                () = cut_off.cancelled() => {}
            }
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    let is_drained = tokio::time::timeout(limits.drain, connections.wait()).await.is_ok();
    let left = if is_drained { 0 } else { connections.len() };
    cut_off.cancel();
    connections.wait().await;
    left
}

impl Listener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are small and written whole: nothing is gained by waiting for more. It
                // fails for a client that is gone again, and is no reason to pause accepting.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "connection ended early");
                }
                (Box::new(stream), Peer(Some(peer.ip())))
            }
            Self::Unix(listener) => (Box::new(listener.accept().await?.0), Peer(None)),
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Answers requests on one connection until it closes, `shutdown`, or the end of its age.
async fn converse(
    stream: Box<dyn Stream>,
    peer: Peer,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shutdown.cancelled() => None,
        () = tokio::time::sleep(limits.connection_age) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(limits.drain, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        // Clients go away and send nonsense: nothing that the operator must act on.
        tracing::debug!(%error, "connection ended early");
    }
}
