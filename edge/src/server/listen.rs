//! Sockets that visitors come to: bound here, or inherited.
//!
//! Bound here, each thread has a socket of its own on the shared address (`SO_REUSEPORT`), so the
//! kernel spreads connections and threads do not meet. Such a socket ends with its process: what waits
//! in its queue is accepted before it is closed, but a connection that arrives in that moment is lost.
//!
//! Inherited (`LISTEN_FDS`), a socket stays open in whoever made it, and what comes while nobody
//! accepts waits for the next process. All threads accept from it, or, where there are several, each
//! from its share.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that the kernel holds until a thread accepts them.
pub(super) const BACKLOG: i32 = 4096;

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocols {
    Http,
    /// TLS, and in it what ALPN says.
    #[cfg(feature = "tls")]
    Tls,
}

/// A socket of one thread.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) socket: TcpListener,
    pub(crate) protocols: Protocols,
    /// Whether others go on with the socket's queue when this process ends.
    pub(crate) is_inherited: bool,
}

/// What a thread that accepts from sockets needs, for each of `threads`: sockets on `address`, or
/// `inherited` ones. `patience` is how long a client may leave an answer in the kernel's buffers before
/// its connection is ended. Connections inherit it, and that nothing is held back to be sent with more,
/// from their listener: one system call less for each.
///
/// # Errors
/// If the address cannot be bound, or another process listens there.
pub(crate) fn listen(
    address: SocketAddr,
    inherited: &[TcpListener],
    threads: usize,
    patience: Duration,
) -> io::Result<(SocketAddr, Vec<Vec<TcpListener>>)> {
    let sockets = if inherited.is_empty() {
        bind(address, threads)?.into_iter().map(|socket| vec![socket]).collect()
    } else {
        share(inherited, threads)?
    };
    for socket in sockets.iter().flatten() {
        SockRef::from(socket).set_tcp_user_timeout(Some(patience))?;
        SockRef::from(socket).set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
    }
    let bound = sockets.iter().flatten().next().map_or(Ok(address), TcpListener::local_addr)?;
    Ok((bound, sockets))
}

fn bind(address: SocketAddr, threads: usize) -> io::Result<Vec<TcpListener>> {
    // Alone first: sharing the port with another process would mean sharing its visitors, half of
    // whom would ask the wrong one.
    let mut address = socket(address, false)?.local_addr()?.as_socket().unwrap_or(address);
    let mut listeners = Vec::with_capacity(threads);
    for _ in 0..threads {
        let socket = socket(address, true)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Every socket has a thread, and every thread a socket.
fn share(inherited: &[TcpListener], threads: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    let mut sockets: Vec<Vec<TcpListener>> = (0..threads).map(|_| Vec::new()).collect();
    for at in 0..threads.max(inherited.len()) {
        let socket = inherited[at % inherited.len()].try_clone()?;
        sockets[at % threads].push(socket);
    }
    Ok(sockets)
}
