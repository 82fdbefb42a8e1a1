//! The attacker: a process of its own, so that its connections are not the good client's, and the
//! scheduler can give it only what the good client leaves.
//!
//! It runs until its standard input ends, and then prints what it did as one line of JSON.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with, sockopt,
};
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};

use super::h2;
use super::script::{Kind, Script, Then};
use crate::failure::Failure;
use crate::population::Rng;

/// Events of one wait.
const EVENTS: usize = 256;
/// What is read at once; nobody looks at it.
const READ_BYTES: usize = 64 * 1024;
/// What a client takes in that hardly reads.
const SIP_BYTES: usize = 5;
/// Longest wait for events.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// What says that the attack is over.
const INPUT: u64 = u64::MAX;

/// An attack, as the experiment tells its attacker.
#[derive(Clone, Debug, Args)]
pub(crate) struct AttackerArgs {
    #[arg(long)]
    pub(crate) kind: Kind,
    #[arg(long)]
    pub(crate) target: SocketAddr,
    /// Connections at a time.
    #[arg(long)]
    pub(crate) connections: usize,
    /// New connections a second, at most.
    #[arg(long)]
    pub(crate) rate: u32,
    /// Whether each connection comes from an address of its own.
    #[arg(long)]
    pub(crate) of_many: bool,
    /// A link that exists.
    #[arg(long)]
    pub(crate) code: String,
    /// The certificate of the edge.
    #[arg(long)]
    pub(crate) certificate: PathBuf,
}

/// What an attacker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Did {
    /// Connections that were made.
    pub(crate) opened: u64,
    /// Connections that could not be made.
    pub(crate) not_opened: u64,
    /// Connections that the edge ended.
    pub(crate) ended: u64,
    /// Requests, streams or frames that were sent.
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) read_bytes: u64,
}

/// Attacks until standard input ends.
pub(crate) fn run(args: &AttackerArgs, seed: u64) -> Result<(), Failure> {
    let broken = |error: Errno| Failure::new(format!("the attacker cannot go on: {error}"));
    let did = match args.kind.script() {
        Some(script) => Crowd::new(args, script, seed).and_then(Crowd::attack).map_err(broken)?,
        None => h2::attack(args)?,
    };
    let text = serde_json::to_string(&did)
        .map_err(|error| Failure::new(format!("cannot say what was done: {error}")))?;
    writeln!(std::io::stdout(), "{text}")
        .map_err(|error| Failure::new(format!("cannot say what was done: {error}")))
}

/// Waits until standard input ends.
pub(super) fn wait_for_the_end() {
    let mut rest = Vec::new();
    // An error is an end, too.
    drop(std::io::stdin().read_to_end(&mut rest));
}

/// Addresses from which attackers come: 127.0.0.3, or one after another from 127.16.0.1 on.
pub(super) fn source(of_many: bool, number: u64) -> Ipv4Addr {
    if !of_many {
        return Ipv4Addr::new(127, 0, 0, 3);
    }
    let [.., a, b, c] = (number % (200 << 16)).to_be_bytes();
    // No address ends with 0 or 255.
    Ipv4Addr::new(127, 16 + a % 200, b, 1 + c % 250)
}

/// A connection of the attacker, or the place for one.
#[derive(Default)]
struct Slot {
    socket: Option<OwnedFd>,
    /// What is still to be sent, from `sent` on.
    pending: Vec<u8>,
    sent: usize,
    said: u32,
    drips_at: Option<Instant>,
}

/// What became of a connection.
#[derive(PartialEq, Eq)]
enum After {
    Goes,
    Ended,
    Left,
}

struct Crowd<'a> {
    args: &'a AttackerArgs,
    script: Script,
    host: String,
    queue: OwnedFd,
    slots: Vec<Slot>,
    /// Places without a connection.
    free: Vec<usize>,
    rng: Rng,
    begun: Instant,
    tried: u64,
    buffer: Vec<u8>,
    did: Did,
}

impl<'a> Crowd<'a> {
    fn new(args: &'a AttackerArgs, script: Script, seed: u64) -> rustix::io::Result<Self> {
        let queue = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&queue, std::io::stdin(), EventData::new_u64(INPUT), EventFlags::IN)?;
        Ok(Self {
            args,
            script,
            host: args.target.to_string(),
            queue,
            slots: (0..args.connections).map(|_| Slot::default()).collect(),
            free: (0..args.connections).rev().collect(),
            rng: Rng::new(seed),
            begun: Instant::now(),
            tried: 0,
            buffer: vec![0; READ_BYTES],
            did: Did::default(),
        })
    }

    fn attack(mut self) -> rustix::io::Result<Did> {
        let event = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = vec![event; EVENTS];
        loop {
            self.open_due();
            self.drip_due();
            let count = match epoll::wait(&self.queue, &mut *events, Some(&PATIENCE)) {
                Err(Errno::INTR) => 0,
                other => other?,
            };
            for event in &events[..count] {
                if event.data.u64() == INPUT {
                    return Ok(self.did);
                }
                let place = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                // A copy: the kernel's structure is packed.
                let flags = event.flags;
                let is_over = flags.intersects(EventFlags::HUP | EventFlags::ERR);
                let after = if is_over { After::Ended } else { self.look(place) };
                self.settle(place, &after);
            }
        }
    }

    /// Opens connections in free places, no faster than the rate.
    fn open_due(&mut self) {
        let due = self.begun.elapsed().as_micros() * u128::from(self.args.rate) / 1_000_000;
        while u128::from(self.tried) < due
            && let Some(place) = self.free.pop()
        {
            self.tried += 1;
            match self.open(place) {
                Ok(socket) => {
                    self.did.opened += 1;
                    let now = Instant::now();
                    let drips_at = match self.script.then {
                        Then::Drips(_, every) | Then::Sips(every) => Some(now + every),
                        _ => None,
                    };
                    self.slots[place] = Slot { socket: Some(socket), drips_at, ..Slot::default() };
                    self.say(place);
                    // What is there already raises no edge.
                    let after = self.look(place);
                    self.settle(place, &after);
                }
                Err(_) => {
                    self.did.not_opened += 1;
                    self.free.push(place);
                }
            }
        }
    }

    fn open(&self, place: usize) -> rustix::io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        if let Some(bytes) = self.script.receive_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        bind(&socket, &SocketAddrV4::new(source(self.args.of_many, self.tried), 0))?;
        match connect(&socket, &self.args.target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.queue, &socket, EventData::new_u64(place as u64), interest)?;
        Ok(socket)
    }

    /// Adds to what a connection is to send.
    fn say(&mut self, place: usize) {
        let said = self.script.say(&self.host, &self.args.code, &mut self.rng);
        let slot = &mut self.slots[place];
        slot.pending = said;
        slot.sent = 0;
        slot.said += 1;
        self.did.sent += self.script.requests;
    }

    /// Sends and reads what can be.
    fn look(&mut self, place: usize) -> After {
        loop {
            match self.flush(place) {
                Ok(true) => {}
                Ok(false) => return After::Goes,
                Err(_) => return After::Ended,
            }
            match self.script.then {
                Then::Sips(_) => return After::Goes,
                Then::Holds | Then::Drips(..) => {
                    return match self.read(place) {
                        Ok(_) => After::Goes,
                        Err(_) => After::Ended,
                    };
                }
                Then::Repeats => match self.read(place) {
                    Ok(0) => return After::Goes,
                    Ok(_) if self.has_said_enough(place) => return After::Left,
                    Ok(_) => self.say(place),
                    Err(_) => return After::Ended,
                },
            }
        }
    }

    fn has_said_enough(&self, place: usize) -> bool {
        self.script.leaves_after.is_some_and(|most| self.slots[place].said >= most)
    }

    /// Whether all was sent.
    fn flush(&mut self, place: usize) -> rustix::io::Result<bool> {
        let slot = &mut self.slots[place];
        let Some(socket) = &slot.socket else { return Ok(false) };
        while slot.sent < slot.pending.len() {
            let rest = &slot.pending[slot.sent..];
            match send(socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(len) => {
                    slot.sent += len;
                    self.did.sent_bytes += len as u64;
                }
                Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads all there is; how much it was. An end is an error.
    fn read(&mut self, place: usize) -> rustix::io::Result<usize> {
        let Some(socket) = &self.slots[place].socket else { return Ok(0) };
        let mut total = 0;
        loop {
            match recv(socket, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Errno::PIPE),
                Ok((len, _)) => {
                    total += len;
                    self.did.read_bytes += len as u64;
                }
                Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(total),
                Err(error) => return Err(error),
            }
        }
    }

    /// Frees the place of a connection that does not go on.
    fn settle(&mut self, place: usize, after: &After) {
        if *after == After::Goes {
            return;
        }
        if self.slots.get_mut(place).is_some_and(|slot| slot.socket.take().is_some()) {
            self.did.ended += u64::from(*after == After::Ended);
            self.free.push(place);
        }
    }

    fn drip_due(&mut self) {
        let (Then::Drips(_, every) | Then::Sips(every)) = self.script.then else { return };
        let now = Instant::now();
        for place in 0..self.slots.len() {
            let slot = &mut self.slots[place];
            if slot.drips_at.is_none_or(|at| at > now) {
                continue;
            }
            slot.drips_at = slot.socket.is_some().then_some(now + every);
            let after = match self.script.then {
                Then::Drips(bytes, _) if slot.sent == slot.pending.len() => {
                    slot.pending = bytes.to_vec();
                    slot.sent = 0;
                    self.look(place)
                }
                Then::Sips(_) => self.sip(place),
                _ => After::Goes,
            };
            self.settle(place, &after);
        }
    }

    fn sip(&mut self, place: usize) -> After {
        let Some(socket) = &self.slots[place].socket else { return After::Goes };
        match recv(socket, &mut self.buffer[..SIP_BYTES], RecvFlags::DONTWAIT) {
            Ok((0, _)) => After::Ended,
            Ok((len, _)) => {
                self.did.read_bytes += len as u64;
                After::Goes
            }
            Err(Errno::AGAIN | Errno::NOTCONN) => After::Goes,
            Err(_) => After::Ended,
        }
    }
}

/// Waits a little, for those whom the edge refuses.
pub(super) fn pause(rate: u32, connections: usize) {
    let each = Duration::from_secs(1) * u32::try_from(connections).unwrap_or(u32::MAX);
    std::thread::sleep(each / rate.max(1));
}
