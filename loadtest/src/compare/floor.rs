//! The floor: the least that a server on epoll can do. It reads until a blank line, looks at nothing
//! before it, and sends the same 302; what another server costs above that is its own work.
//!
//! It answers one client, the generator, which does not pipeline and takes in what it is sent: a
//! request ends where a read does.

use std::io::{self, stdin};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use clap::Args;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};

use crate::failure::Failure;

/// The bytes of an answer of Carom's, but for its date.
const ANSWER: &[u8] = b"HTTP/1.1 302 Found\r\n\
    location: https://www.example.com/articles/made-up-for-load-0000000000\r\n\
    cache-control: private, no-store\r\nreferrer-policy: strict-origin-when-cross-origin\r\n\
    x-robots-tag: noindex, nofollow\r\ncontent-length: 0\r\n\
    date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n";
/// Bytes of one read; longer requests come in several.
const READ_BYTES: usize = 16 * 1024;
/// Events of one wait.
const EVENTS: usize = 256;

/// What wakes the floor, beside connections, which have the numbers of their descriptors.
const LISTENER: u64 = u64::MAX;
const CLOSING_LISTENER: u64 = u64::MAX - 1;
const PARENT: u64 = u64::MAX - 2;

#[derive(Debug, Args)]
pub(crate) struct FloorArgs {
    /// Where connections are kept.
    #[arg(long)]
    listen: SocketAddr,
    /// Where each connection is ended after its answer.
    #[arg(long)]
    listen_closing: SocketAddr,
}

/// Serves until standard input ends, so that it cannot outlive whoever started it.
pub(crate) fn run(args: &FloorArgs) -> Result<(), Failure> {
    serve(args).map_err(|error| Failure::new(format!("the floor cannot go on: {error}")))
}

struct Connection {
    socket: OwnedFd,
    closes: bool,
    /// The last bytes that were read: a blank line may come in parts.
    tail: [u8; 4],
}

fn serve(args: &FloorArgs) -> io::Result<()> {
    let queue = epoll::create(CreateFlags::CLOEXEC)?;
    let listeners = [(args.listen, LISTENER), (args.listen_closing, CLOSING_LISTENER)];
    let mut sockets = Vec::new();
    for (address, event) in listeners {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        epoll::add(&queue, &listener, EventData::new_u64(event), EventFlags::IN)?;
        sockets.push(listener);
    }
    epoll::add(&queue, stdin().as_fd(), EventData::new_u64(PARENT), EventFlags::IN)?;

    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    let event = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
    let mut events = vec![event; EVENTS];
    loop {
        let count = match epoll::wait(&queue, &mut *events, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        for event in &events[..count] {
            match event.data.u64() {
                PARENT => return Ok(()),
                LISTENER => accept(&queue, &sockets[0], false, &mut connections)?,
                CLOSING_LISTENER => accept(&queue, &sockets[1], true, &mut connections)?,
                number => {
                    let place = usize::try_from(number).map_err(io::Error::other)?;
                    let connection = connections[place].as_mut();
                    if connection.is_some_and(|connection| !connection.answer(&mut buffer)) {
                        connections[place] = None;
                    }
                }
            }
        }
    }
}

fn accept(
    queue: &OwnedFd,
    listener: &TcpListener,
    closes: bool,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    loop {
        let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            Err(error) => return Err(error.into()),
        };
        sockopt::set_tcp_nodelay(&socket, true)?;
        let place = usize::try_from(socket.as_raw_fd()).map_err(io::Error::other)?;
        epoll::add(queue, &socket, EventData::new_u64(place as u64), EventFlags::IN)?;
        connections.resize_with(connections.len().max(place + 1), || None);
        connections[place] = Some(Connection { socket, closes, tail: [0; 4] });
    }
}

impl Connection {
    /// Reads, and answers if that was the end of a request; whether the connection stays open.
    fn answer(&mut self, buffer: &mut [u8]) -> bool {
        let len = match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return false,
            Ok((len, _)) => len,
            Err(error) => return error == Errno::AGAIN,
        };
        let last = len.min(4);
        self.tail.rotate_left(last);
        self.tail[4 - last..].copy_from_slice(&buffer[len - last..len]);
        if self.tail != *b"\r\n\r\n" {
            return true;
        }
        // It always fits: the client has taken in the answer before.
        let sent = send(&self.socket, ANSWER, SendFlags::NOSIGNAL);
        sent == Ok(ANSWER.len()) && !self.closes
    }
}
