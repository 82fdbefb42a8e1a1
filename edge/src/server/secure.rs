//! TLS on a connection, and HTTP/2 in it. Nothing here is on the way of plain HTTP.
//!
//! h2 limits what streams may do; what a connection may do besides, it does not: each PING and SETTINGS is
//! answered, however many come. So frames are counted on their way to h2 ([`Frames`]), and a connection with
//! too many for its requests ends. They also come in small pieces, and after a piece others have their
//! turn: a hundred requests at once are not a hundred before everybody else's next. A connection that
//! waits for its turn opens no streams, so the tasks of streams that are ready are those of one piece.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::answer::Peer;
use super::connection::{note, refuse};
use super::watch::{ANSWERS_PER_TURN, Fate, Watch};
use super::{HEAD_BYTES_MAX, Worker};

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
/// Bytes that h2 gets of a connection until others have their turn: the first request of a browser. A
/// turn also ends with as many requests as one of HTTP/1 has answers.
const TURN_BYTES: usize = 512;
/// Bytes that h2 gets at once: some requests of a client that has asked before, so that a turn ends not
/// far from its last one.
const PIECE_BYTES: usize = 64;
/// Bytes before each frame's payload (RFC 9113 4.1).
const FRAME_HEAD: usize = 9;
/// Of these, the ones that say how long that is, and what it is.
const KIND_BYTES: usize = 4;
/// The kind of a frame that begins a request.
const HEADERS: usize = 1;
/// The kind that takes a request back.
const RST_STREAM: usize = 3;
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
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
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
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
        let watched = self.watch().await;
        let watch = &watched.watch;
        let handshake = self.handshakes.by_turns(watch, tls.acceptor.accept(stream));
        let Ok(Ok(stream)) = timeout(patience, handshake).await else {
            self.shared.metrics.connections_refused.tls.add(1);
            return;
        };
        watch.renew();
        let (_, session) = stream.get_ref();
        let peer = Peer { address, server_name: session.server_name().map(Into::into) };
        if session.alpn_protocol() == Some(b"h2") {
            self.http2(stream, peer, watch).await;
        } else {
            self.http1(stream, peer, watch).await;
        }
    }

    async fn http2(self: &Rc<Self>, stream: TlsStream<TcpStream>, peer: Peer, watch: &Rc<Watch>) {
        let visit = Rc::new((Rc::clone(self), Rc::clone(watch), peer));
        let service = service_fn(move |request| {
            let visit = Rc::clone(&visit);
            async move {
                let (worker, watch, peer) = &*visit;
                Ok::<_, Infallible>(worker.serve(&request, peer, watch).await)
            }
        });
        let stream = TokioIo::new(Frames::of(stream, Rc::clone(watch)));
        let connection = pin!(self.http2.serve_connection(stream, service));
        // A last answer is what GOAWAY leads to: streams under way are answered, new ones refused.
        let close = http2::Connection::graceful_shutdown;
        note(self.drive(watch, connection, Fate::LastAnswer, close).await);
        if watch.has_too_many_frames() {
            self.shared.metrics.connections_ended.frames.add(1);
        }
    }
}

/// A stream of HTTP/2 whose frames are counted.
struct Frames<S> {
    stream: S,
    watch: Rc<Watch>,
    /// Bytes until the next frame begins.
    ahead: usize,
    /// What has come of a frame's head: the length of its payload, and its kind.
    head: usize,
    head_len: usize,
    /// Bytes and requests since others had their turn.
    taken: usize,
    requests: u32,
}

impl<S> Frames<S> {
    fn of(stream: S, watch: Rc<Watch>) -> Self {
        Self { stream, watch, ahead: PREFACE, head: 0, head_len: 0, taken: 0, requests: 0 }
    }

    /// Counts the frames that begin in these bytes; whether there are too many.
    fn count(&mut self, mut bytes: &[u8]) -> bool {
        let mut is_over = false;
        while !bytes.is_empty() {
            if self.ahead > 0 {
                let len = self.ahead.min(bytes.len());
                self.ahead -= len;
                bytes = &bytes[len..];
                continue;
            }
            self.head = self.head << 8 | usize::from(bytes[0]);
            self.head_len += 1;
            bytes = &bytes[1..];
            if self.head_len == KIND_BYTES {
                self.ahead = FRAME_HEAD - KIND_BYTES + (self.head >> 8);
                is_over |= match self.head & 0xff {
                    RST_STREAM => self.watch.reset(),
                    kind => {
                        self.requests += u32::from(kind == HEADERS);
                        self.watch.frame()
                    }
                };
                (self.head, self.head_len) = (0, 0);
            }
        }
        is_over
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken >= TURN_BYTES || this.requests >= ANSWERS_PER_TURN {
            (this.taken, this.requests) = (0, 0);
            this.watch.has_taken_its_turn();
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        // h2 reads on for each request that it hands out, in the same turn.
        if this.watch.has_had_its_turn() {
            return Poll::Pending;
        }
        let room = buffer.initialize_unfilled_to(buffer.remaining().min(PIECE_BYTES));
        let mut piece = ReadBuf::new(room);
        let Poll::Ready(came) = Pin::new(&mut this.stream).poll_read(context, &mut piece) else {
            (this.taken, this.requests) = (0, 0);
            this.watch.rests();
            return Poll::Pending;
        };
        came?;
        let len = piece.filled().len();
        this.taken += len;
        if this.count(&room[..len]) {
            return Poll::Ready(Err(io::Error::other("too many frames that are no requests")));
        }
        buffer.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::watch::{FRAMES_MAX, Patience, Watches};
    use std::task::Waker;

    /// However they are cut.
    #[test]
    fn frames_are_counted_where_they_begin() {
        let ms = Duration::from_millis;
        let patience = Patience { head: ms(100), idle: ms(100), age: ms(100) };
        let watches = Watches::new(patience, ms(100));
        let frame = |len: u8| [&[0, 0, len, 6, 0, 0, 0, 0, 0][..], &vec![255; len.into()]].concat();
        let begin = vec![b'P'; PREFACE];
        let enough =
            frame(200).repeat(2).into_iter().chain(frame(0).repeat(FRAMES_MAX as usize - 2));
        let bytes: Vec<u8> = begin.into_iter().chain(enough).collect();
        for piece in [1, 2, 7, 9, 512, bytes.len()] {
            let watch = watches.enter(Waker::noop().clone());
            let mut frames = Frames::of((), watch);
            assert!(bytes.chunks(piece).all(|bytes| !frames.count(bytes)), "{piece}");
            assert!(frames.count(&frame(0)), "{piece}");
        }
    }
}
