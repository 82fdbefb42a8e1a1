//! [`Proxy`]: a wire of our own between members, that can be slow or cut.
//!
//! Bytes are neither lost nor put in another order. A slow wire holds up what goes either way by half
//! of its delay, so that an answer comes later by all of it, and takes as much at a time as before. A
//! cut wire swallows: connections stay open and nobody answers, as when a cable is pulled.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::failure::Failure;

/// How long the other end may take to accept.
const CONNECT_MAX: Duration = Duration::from_secs(1);
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces that are on the way in one direction of a connection, at most: 1 MiB.
const PIECES_MAX: usize = 64;

/// A wire that runs. It ends with this.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    wire: Arc<Wire>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Wire {
    /// Of each direction, in microseconds.
    delay_us: AtomicU64,
    is_cut: AtomicBool,
    mended: Notify,
}

impl Proxy {
    /// Listens on an address, and passes on to another one.
    pub(super) async fn start(address: SocketAddr, to: SocketAddr) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::new(format!("cannot listen on {address}: {error}"));
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let wire = Arc::<Wire>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, to, Arc::clone(&wire)));
        Ok(Self { address, wire, _tasks: tasks })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on an answer comes so much later.
    pub(super) fn set_delay(&self, delay: Duration) {
        let half = u64::try_from(delay.as_micros() / 2).unwrap_or(u64::MAX);
        self.wire.delay_us.store(half, Ordering::Relaxed);
    }

    /// Cuts the wire, or mends it: what was sent meanwhile arrives then.
    pub(super) fn set_cut(&self, is_cut: bool) {
        self.wire.is_cut.store(is_cut, Ordering::SeqCst);
        if !is_cut {
            self.wire.mended.notify_waiters();
        }
    }
}

impl Wire {
    /// Returns while the wire is whole.
    async fn whole(&self) {
        loop {
            // Before the look, so that nothing is missed after it.
            let mended = self.mended.notified();
            if !self.is_cut.load(Ordering::SeqCst) {
                return;
            }
            mended.await;
        }
    }

    fn delay(&self) -> Duration {
        Duration::from_micros(self.delay_us.load(Ordering::Relaxed))
    }
}

async fn listen(listener: TcpListener, to: SocketAddr, wire: Arc<Wire>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        connections.spawn(join(client, to, Arc::clone(&wire)));
        while connections.try_join_next().is_some() {}
    }
}

/// That either side goes away ends both: it is what a member's death looks like.
async fn join(client: TcpStream, to: SocketAddr, wire: Arc<Wire>) {
    wire.whole().await;
    let Ok(Ok(server)) = timeout(CONNECT_MAX, TcpStream::connect(to)).await else { return };
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return;
    }
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::select! {
        () = carry(client_read, server_write, &wire) => {}
        () = carry(server_read, client_write, &wire) => {}
    }
}

/// Carries one direction to its end.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, wire: &Wire) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let read = async move {
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            match from.read_buf(&mut piece).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
            if sender.send((Instant::now() + wire.delay(), piece)).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            wire.whole().await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    // What was read before the end is still written.
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back what it gets.
    async fn echo() -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut echoes = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                echoes.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    drop(tokio::io::copy(&mut read, &mut write).await);
                });
            }
        });
        (address, tasks)
    }

    async fn round_trip(stream: &mut TcpStream) -> Duration {
        let begun = Instant::now();
        stream.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
        begun.elapsed()
    }

    #[tokio::test]
    async fn answers_come_later_by_the_delay_and_not_while_it_is_cut() {
        let (to, _echo) = echo().await;
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), to).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut stream).await;
        proxy.set_delay(Duration::from_millis(60));
        assert!(round_trip(&mut stream).await >= Duration::from_millis(60));
        proxy.set_delay(Duration::ZERO);
        proxy.set_cut(true);
        let cut = timeout(Duration::from_millis(50), round_trip(&mut stream)).await;
        assert!(cut.is_err(), "nobody answers");
        proxy.set_cut(false);
        let mut late = [0; 5];
        stream.read_exact(&mut late).await.unwrap();
        round_trip(&mut stream).await;
    }

    #[tokio::test]
    async fn who_is_away_is_gone_on_this_side_too() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = nobody.local_addr().unwrap();
        drop(nobody);
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), to).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let mut answer = [0];
        let read = timeout(Duration::from_secs(20), stream.read(&mut answer)).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)));
    }
}
