//! One connection: who it is from, what is spoken on it, and how it ends.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Worker;
use super::answer::Peer;
use super::listen::Protocols;
use super::watch::{Fate, Watch};
use crate::limit::connections::Counted;
use crate::proxy::protocol;

impl Worker {
    /// Serves an accepted connection until it ends.
    pub(super) async fn visit(
        self: &Rc<Self>,
        stream: TcpStream,
        address: IpAddr,
        protocols: Protocols,
    ) {
        let (address, _counted) = if self.shared.limits.proxy_protocol {
            let Some(client) = self.introduce(&stream, address).await else {
                return refuse(&stream);
            };
            let Some(counted) = self.count(client) else {
                return refuse(&stream);
            };
            (client, counted)
        } else {
            (address, None)
        };
        match protocols {
            Protocols::Http => {
                let watched = self.watch().await;
                self.http1(stream, Peer { address, server_name: None }, &watched.watch).await;
            }
            #[cfg(feature = "tls")]
            Protocols::Tls => self.tls(stream, address).await,
        }
    }

    /// Counts a connection of an address: the outer `None` if it has too many, the inner one if it is
    /// not counted.
    pub(super) fn count(&self, address: IpAddr) -> Option<Option<Counted>> {
        let Some(block) = self.shared.limits.blocks.of(address) else {
            return Some(None);
        };
        let counted = self.shared.limits.connections_by_block.open(block);
        if counted.is_none() {
            self.shared.metrics.connections_refused.block.add(1);
        }
        counted.map(Some)
    }

    /// Whom a trusted proxy speaks for.
    async fn introduce(&self, stream: &TcpStream, proxy: IpAddr) -> Option<IpAddr> {
        let is_trusted =
            self.shared.limits.trusted_proxies.iter().any(|block| block.contains(proxy));
        let client = match is_trusted {
            true => protocol::read(stream).await,
            false => Err(protocol::ProxyError::Stranger),
        };
        match client {
            Ok(client) => Some(client.unwrap_or(proxy)),
            Err(error) => {
                self.shared.metrics.connections_refused.proxy.add(1);
                tracing::debug!(%error, "a connection is refused");
                None
            }
        }
    }

    /// Serves HTTP/1: plain requests here, and from the first that is not on, hyper.
    pub(super) async fn http1<S>(self: &Rc<Self>, mut stream: S, peer: Peer, watch: &Rc<Watch>)
    where
        S: Stream,
    {
        if let Some(unread) = self.plain(&mut stream, &peer, watch).await {
            // Apart: an idle connection would hold the room for it.
            Box::pin(self.hyper(stream, unread, &peer, watch)).await;
        }
    }

    /// Serves HTTP/1 with hyper, beginning with what was read already.
    async fn hyper<S>(self: &Rc<Self>, stream: S, unread: Vec<u8>, peer: &Peer, watch: &Rc<Watch>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let service = service_fn(|request| {
            let worker = Rc::clone(self);
            async move { Ok::<_, Infallible>(worker.serve(&request, peer, watch).await) }
        });
        let stream = TokioIo::new(Heard { unread: unread.into(), stream, watch: Rc::clone(watch) });
        let connection = pin!(self.http1.serve_connection(stream, service));
        let close = http1::Connection::graceful_shutdown;
        note(self.drive(watch, connection, Fate::Closes, close).await);
    }

    /// Runs a connection by turns, closes it once its fate is at least `closes_at`, and drops it if that
    /// is to be cut.
    pub(super) async fn drive<C: Future<Output = hyper::Result<()>>>(
        &self,
        watch: &Rc<Watch>,
        mut connection: Pin<&mut C>,
        closes_at: Fate,
        close: impl Fn(Pin<&mut C>),
    ) -> hyper::Result<()> {
        let mut is_closing = false;
        poll_fn(|context| {
            let fate = watch.fate();
            if fate == Fate::IsCut {
                return Poll::Ready(Ok(()));
            }
            if fate >= closes_at && !is_closing {
                is_closing = true;
                close(connection.as_mut());
            }
            if watch.has_had_its_turn() {
                self.turnstile.enter(watch);
            }
            if watch.waits() {
                return Poll::Pending;
            }
            connection.as_mut().poll(context)
        })
        .await
    }

    /// Lets the thread's sweep watch over the connection of this task.
    pub(super) async fn watch(self: &Rc<Self>) -> Watched {
        let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        Watched { worker: Rc::clone(self), watch: self.watches.enter(waker) }
    }
}

/// What a connection of HTTP/1 runs on.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Whether its end needs no words: to close a socket says all that there is to say.
    const ENDS_BY_CLOSE: bool;
}

impl Stream for TcpStream {
    const ENDS_BY_CLOSE: bool = true;
}

#[cfg(feature = "tls")]
impl Stream for tokio_rustls::server::TlsStream<TcpStream> {
    const ENDS_BY_CLOSE: bool = false;
}

/// A connection that is watched until this is dropped.
pub(super) struct Watched {
    worker: Rc<Worker>,
    pub(super) watch: Rc<Watch>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.worker.watches.leave(&self.watch);
    }
}

/// Clients go away and send nonsense all day; hyper has answered what can be answered.
pub(super) fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Ends a connection that gets no answer with a reset: nothing of it stays in the kernel, as it would
/// for a minute after a close (TIME-WAIT), and floods are many.
pub(super) fn refuse(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection is closed instead of reset");
    }
}

/// A stream that begins with what was read of it, and tells when something came.
struct Heard<S> {
    unread: Bytes,
    stream: S,
    watch: Rc<Watch>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let len = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(len));
            if self.unread.is_empty() {
                self.unread = Bytes::new();
            }
            self.watch.heard();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            self.watch.rests();
        }
        if buffer.filled().len() > before {
            self.watch.heard();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
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
