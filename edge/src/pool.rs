//! Kept-alive HTTP/1.1 connections to one name: a control plane's, or that of a store of clicks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use carom_process::Tls;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// How long one address may take to accept a connection: there may be another.
const CONNECT_MAX: Duration = Duration::from_secs(1);
const HEADERS_MAX: usize = 32;

/// What may be done when it is not known whether a request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It asks, or changes nothing the second time.
    Harmless,
    Never,
}

/// What a request has come to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Whom connections are made to.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// A name, looked up at each new connection, or an address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The header `Host`.
    pub(crate) authority: HeaderValue,
    /// Whose certificate it has to have; `None`: plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// What was not used for so long is closed: there, or half-way, may be who has forgotten it.
    pub(crate) idle_max: Duration,
}

/// An exchange that failed; the text is for the log.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) text: String,
    /// Whether the other side may have the request.
    pub(crate) may_have_arrived: bool,
}

impl Failed {
    /// With what it comes from.
    fn new(error: impl Into<Box<dyn std::error::Error>>, may_have_arrived: bool) -> Self {
        let error = error.into();
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        Self { text, may_have_arrived }
    }

    fn not_sent(error: impl Into<Box<dyn std::error::Error>>) -> Self {
        Self::new(error, false)
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// A kept connection that is used; dropped without an answer, it takes all others with it: they lead to the
/// same peer, which may have died without a word, and each would cost the next one who asks its whole time.
struct Suspect<'a>(Option<&'a Pool>);

impl Drop for Suspect<'_> {
    fn drop(&mut self) {
        if let Some(pool) = self.0 {
            pool.idle().clear();
        }
    }
}

/// Connections that are open, at most so many; who finds none free waits for one.
pub(crate) struct Pool {
    peer: Peer,
    permits: Semaphore,
    idle: Mutex<Vec<(Sender, Instant)>>,
    /// Which address is tried first next time: behind a name there may be several control planes.
    turn: AtomicUsize,
    tasks: TaskTracker,
}

impl Pool {
    pub(crate) fn new(peer: Peer, connections: usize) -> Self {
        Self {
            peer,
            permits: Semaphore::new(connections),
            idle: Mutex::default(),
            turn: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
        }
    }

    /// Sends a request and reads its answer, of `body_max` bytes at most. A connection that was
    /// kept may have ended unnoticed: then it is sent again on a new one, if it may be.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        body_max: usize,
        repeat: Repeat,
    ) -> Result<Answer, Failed> {
        request.headers_mut().insert(HOST, self.peer.authority.clone());
        let _permit = self.permits.acquire().await.map_err(Failed::not_sent)?;
        if let Some(kept) = self.take() {
            // Also if nobody waits any longer.
            let mut suspect = Suspect(Some(self));
            let answer = self.exchange(kept, request.clone(), body_max).await;
            match answer {
                Ok(answer) => {
                    suspect.0 = None;
                    return Ok(answer);
                }
                Err(failed) if failed.may_have_arrived && repeat == Repeat::Never => {
                    return Err(failed);
                }
                Err(_) => {}
            }
        }
        let new = self.connect().await?;
        self.exchange(new, request, body_max).await
    }

    /// The connections that are kept.
    fn idle(&self) -> MutexGuard<'_, Vec<(Sender, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle();
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < self.peer.idle_max);
        // The one used last: the others may grow old, and go.
        idle.pop().map(|(sender, _)| sender)
    }

    async fn exchange(
        &self,
        mut sender: Sender,
        request: Request<Full<Bytes>>,
        body_max: usize,
    ) -> Result<Answer, Failed> {
        sender.ready().await.map_err(Failed::not_sent)?;
        let response = sender.try_send_request(request).await.map_err(|mut error| {
            let may_have_arrived = error.take_message().is_none();
            Failed::new(error.into_error(), may_have_arrived)
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, body_max).collect().await;
        let body = body.map_err(|error| Failed::new(error.to_string(), true))?;
        self.idle().push((sender, Instant::now()));
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    /// The name is looked up each time: what it means may change while this runs.
    async fn connect(&self) -> Result<Sender, Failed> {
        let name = (self.peer.host.as_str(), self.peer.port);
        let mut addresses: Vec<_> = lookup_host(name).await.map_err(Failed::not_sent)?.collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if !addresses.is_empty() {
            let first = turn % addresses.len();
            addresses.rotate_left(first);
        }
        let mut failed = Failed::not_sent("its name has no address");
        for address in addresses {
            match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.seal(stream).await.map_err(Failed::not_sent),
                Ok(Err(error)) => failed = Failed::not_sent(format!("{address}: {error}")),
                Err(_) => failed = Failed::not_sent(format!("{address}: it does not accept")),
            }
        }
        Err(failed)
    }

    async fn seal(&self, stream: TcpStream) -> Result<Sender, Box<dyn std::error::Error>> {
        stream.set_nodelay(true)?;
        match &self.peer.tls {
            None => self.begin(stream).await,
            Some(tls) => self.begin(tls.connect(&self.peer.host, stream).await?).await,
        }
    }

    async fn begin<S>(&self, stream: S) -> Result<Sender, Box<dyn std::error::Error>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut http = Builder::new();
        http.max_headers(HEADERS_MAX);
        let (sender, connection) = http.handshake(TokioIo::new(stream)).await?;
        // It ends when its sender is dropped, or the other side wants it.
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a kept connection ended");
            }
        });
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each request of a connection after a moment, while it is there.
    async fn serve(mut stream: TcpStream, is_there: Arc<AtomicBool>) {
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if is_there.load(Ordering::SeqCst) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn one_connection_without_an_answer_ends_all_that_are_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_there = Arc::new(AtomicBool::new(true));
        let (tasks, answers) = (TaskTracker::new(), Arc::clone(&is_there));
        let serving = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(serve(stream, Arc::clone(&answers)));
            }
        });
        let peer = Peer {
            host: "127.0.0.1".to_owned(),
            port,
            authority: HeaderValue::from_static("peer.test"),
            tls: None,
            idle_max: Duration::from_secs(60),
        };
        let pool = Pool::new(peer, 8);
        let ask_for = |time| {
            let request = Request::new(Full::new(Bytes::new()));
            timeout(time, pool.send(request, 100, Repeat::Never))
        };
        let ask = || ask_for(Duration::from_secs(20));
        let (one, two, three) = tokio::join!(ask(), ask(), ask());
        assert!([one, two, three].iter().all(|answer| matches!(answer, Ok(Ok(_)))));
        assert_eq!(pool.idle().len(), 3);
        assert!(matches!(ask().await, Ok(Ok(_))));
        assert_eq!(pool.idle().len(), 3, "an answer ends none");
        is_there.store(false, Ordering::SeqCst);
        assert!(ask_for(Duration::from_millis(200)).await.is_err(), "it has died without a word");
        assert_eq!(pool.idle().len(), 0);
    }
}
