//! Kept-alive HTTP/1.1 connections to one name.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{CallError, ControlUrl};

/// How long one address may take to accept a connection: there may be another.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// What was not used for so long is closed: half-way there may be who has forgotten it.
const IDLE_MAX: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 32;

/// What may be done when it is not known whether a request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It asks, or changes nothing the second time.
    Harmless,
    Never,
}

/// What a request has come to.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

type Sender = SendRequest<Full<Bytes>>;

/// Connections that are open, at most so many; who finds none free waits for one.
pub(super) struct Pool {
    url: ControlUrl,
    authority: HeaderValue,
    permits: Semaphore,
    idle: Mutex<Vec<(Sender, Instant)>>,
    /// Which address is tried first next time: behind a name there may be several control planes.
    turn: AtomicUsize,
    tasks: TaskTracker,
}

/// An exchange that failed, and whether the other side may have the request.
struct Failed {
    error: CallError,
    may_have_arrived: bool,
}

impl Pool {
    pub(super) fn new(url: ControlUrl, connections: usize) -> Self {
        Self {
            authority: url.authority(),
            url,
            permits: Semaphore::new(connections),
            idle: Mutex::default(),
            turn: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
        }
    }

    /// Sends a request and reads its answer, of `body_max` bytes at most. A connection that was
    /// kept may have ended unnoticed: then it is sent again on a new one, if it may be.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        body_max: usize,
        repeat: Repeat,
    ) -> Result<Answer, CallError> {
        request.headers_mut().insert(HOST, self.authority.clone());
        let _permit = self.permits.acquire().await.map_err(CallError::new)?;
        if let Some(kept) = self.take() {
            match self.exchange(kept, request.clone(), body_max).await {
                Ok(answer) => return Ok(answer),
                Err(failed) if failed.may_have_arrived && repeat == Repeat::Never => {
                    return Err(failed.error);
                }
                Err(_) => {}
            }
        }
        let new = self.connect().await?;
        self.exchange(new, request, body_max).await.map_err(|failed| failed.error)
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_MAX);
        // The one used last: the others may grow old, and go.
        idle.pop().map(|(sender, _)| sender)
    }

    async fn exchange(
        &self,
        mut sender: Sender,
        request: Request<Full<Bytes>>,
        body_max: usize,
    ) -> Result<Answer, Failed> {
        let not_sent = |error| Failed { error: CallError::new(error), may_have_arrived: false };
        sender.ready().await.map_err(not_sent)?;
        let response = sender.try_send_request(request).await.map_err(|mut error| Failed {
            may_have_arrived: error.take_message().is_none(),
            error: CallError::new(error.into_error()),
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), body_max).collect().await;
        let body = body.map_err(|error| Failed {
            error: CallError(error.to_string()),
            may_have_arrived: true,
        })?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((sender, Instant::now()));
        Ok(Answer { status, body: body.to_bytes() })
    }

    /// The name is looked up each time: what it means may change while this runs.
    async fn connect(&self) -> Result<Sender, CallError> {
        let mut addresses: Vec<_> =
            lookup_host(self.url.host_and_port()).await.map_err(CallError::new)?.collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if !addresses.is_empty() {
            let first = turn % addresses.len();
            addresses.rotate_left(first);
        }
        let mut failed = CallError("its name has no address".to_owned());
        for address in addresses {
            match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.begin(stream).await.map_err(CallError::new),
                Ok(Err(error)) => failed = CallError(format!("{address}: {error}")),
                Err(_) => failed = CallError(format!("{address}: it does not accept")),
            }
        }
        Err(failed)
    }

    async fn begin(&self, stream: TcpStream) -> Result<Sender, Box<dyn std::error::Error>> {
        stream.set_nodelay(true)?;
        let mut http = Builder::new();
        http.max_headers(HEADERS_MAX);
        let (sender, connection) = http.handshake(TokioIo::new(stream)).await?;
        // It ends when its sender is dropped, or the other side wants it.
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the control plane ended");
            }
        });
        Ok(sender)
    }
}
