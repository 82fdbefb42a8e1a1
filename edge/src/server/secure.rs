//! TLS on a connection, and HTTP/2 in it. Nothing here is on the way of plain HTTP.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::answer::Peer;
use super::connection::{drive, note, refuse};
use super::watch::Fate;
use super::{HEADER_BYTES_MAX, Worker};

/// From the first byte to the last of a handshake; less, if a head has less.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests under way on a connection, at most (RFC 9113 5.1.2).
const STREAMS_MAX: u32 = 100;
/// Streams that a client opened and reset before they were looked at, at most: beyond, the connection
/// is ended (rapid reset, CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 20;
/// Streams that a client made this end reset, at most (CVE-2025-8671).
const LOCAL_RESETS_MAX: usize = 1024;
/// Bytes that a client may send before it is told to go on: no request here has a body.
const WINDOW: u32 = 64 << 10;
/// Bytes of an answer that wait for the client's window: more than any answer has.
const SEND_BUFFER: usize = 16 << 10;
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// Runs the streams of connections on their thread.
#[derive(Clone)]
pub(super) struct Streams(pub(super) TaskTracker);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn_local(stream);
    }
}

/// HTTP/2 within its limits.
pub(super) fn http2(streams: Streams) -> http2::Builder<Streams> {
    let mut http2 = http2::Builder::new(streams);
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    http2
}

impl Worker {
    /// Shakes hands, then serves what was agreed on.
    pub(super) async fn tls(self: &Rc<Self>, stream: TcpStream, address: IpAddr) {
        let Some(tls) = &self.shared.tls else {
            return refuse(&stream);
        };
        let patience = HANDSHAKE_TIMEOUT.min(self.shared.limits.patience.head);
        let handshake = timeout(patience, tls.acceptor.accept(stream));
        let Ok(Ok(stream)) = handshake.await else {
            self.shared.metrics.connections_refused.tls.add(1);
            return;
        };
        let (_, session) = stream.get_ref();
        let peer = Peer { address, server_name: session.server_name().map(Into::into) };
        if session.alpn_protocol() == Some(b"h2") {
            self.http2(stream, peer).await;
        } else {
            self.http1(stream, peer).await;
        }
    }

    async fn http2(self: &Rc<Self>, stream: TlsStream<TcpStream>, peer: Peer) {
        let watched = self.watch().await;
        let visit = Rc::new((Rc::clone(self), Rc::clone(&watched.watch), peer));
        let service = service_fn(move |request| {
            let visit = Rc::clone(&visit);
            async move {
                let (worker, watch, peer) = &*visit;
                Ok::<_, Infallible>(worker.serve(&request, peer, watch).await)
            }
        });
        let connection = pin!(self.http2.serve_connection(TokioIo::new(stream), service));
        // A last answer is what GOAWAY leads to: streams under way are answered, new ones refused.
        let close = http2::Connection::graceful_shutdown;
        note(drive(&watched.watch, connection, Fate::LastAnswer, close).await);
    }
}
