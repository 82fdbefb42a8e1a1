//! The load: many connections from one thread, with every answer checked.
//!
//! Made to cost less than the servers do: one wait for many events, one receive and one send for
//! each request, and nothing is allocated or drawn at random meanwhile. Where the client is the
//! slower one all the same, the server rests now and then, and the report's `busy` says so.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with, sockopt,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::answer;
use super::requests::{CODE, Draw};
use crate::failure::Failure;
use crate::http::EXCHANGE_MAX;
use crate::latency::Latencies;
use crate::traffic::{Faults, Until, write_request};

/// Bytes of an answer, head and body.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Events of one wait.
const EVENTS: usize = 256;
/// Faults that are described; the others are counted.
const EXAMPLES_MAX: usize = 5;
/// Where visitors say that they come from.
const REFERRER: &str = "https://news.example.org/item?id=46480000";
/// Where the code stands in a request: after `GET /`.
const CODE_AT: usize = 5;
/// What the queue of events says when the clock of a constant rate ticked.
const TICK: u64 = u64::MAX;

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Each connection asks again when it has its answer.
    Closed,
    /// So many a second, each at its time, however long the ones before take. Latency counts from
    /// that time, also while a request waits for a free connection.
    PerSecond(u32),
}

/// What a server has to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// 302 to the link's target, or 404 if there is no such link.
    TheLink,
    /// 302, wherever to.
    AnyRedirect,
}

/// Which load a server gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddr,
    /// Where connections come from; `None`: as the kernel likes.
    pub(crate) source: Option<Ipv4Addr>,
    /// What visitors' browsers are called; each connection has one.
    pub(crate) user_agents: &'a [String],
    /// One after another, and again from the first.
    pub(crate) draws: &'a [Draw],
    pub(crate) expect: Expect,
    pub(crate) arrival: Arrival,
    pub(crate) connections: usize,
    /// Whether each request has a connection of its own.
    pub(crate) reconnects: bool,
    pub(crate) until: Until,
    /// Whether to wait without sleeping: with a core of its own, that is the most exact.
    pub(crate) spins: bool,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Right answers.
    pub(crate) answered: u64,
    pub(crate) faults: Faults,
    pub(crate) latencies: Latencies,
    /// How late requests were sent because this thread did not run: part of their latencies that is
    /// not the server's.
    pub(crate) lateness: Latencies,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
}

impl Load<'_> {
    pub(crate) fn run(self) -> Result<Seen, Failure> {
        let broken = |error| Failure::new(format!("the load generator cannot go on: {error}"));
        let queue = epoll::create(CreateFlags::CLOEXEC).map_err(broken)?;
        let mut slots = Vec::with_capacity(self.connections);
        for place in 0..self.connections {
            let agent = &self.user_agents[place % self.user_agents.len()];
            let mut slot = Slot::new(place, &self, agent);
            if !self.reconnects {
                slot.connect(&queue, &self)?;
            }
            slots.push(slot);
        }
        let idle = (0..slots.len()).rev().collect();
        let begun = Instant::now();
        let seen = Seen {
            answered: 0,
            faults: Faults::default(),
            latencies: Latencies::new(),
            lateness: Latencies::new(),
            elapsed: Duration::ZERO,
        };
        let clock = self.clock(&queue).map_err(broken)?;
        let mut run = Run {
            load: self,
            queue,
            clock,
            slots,
            idle,
            begun,
            last: begun,
            looked: begun,
            sent: 0,
            flying: 0,
            seen,
        };
        run.go().map_err(broken)?;
        run.seen.elapsed = run.last.duration_since(begun);
        Ok(run.seen)
    }

    /// Wakes a thread that sleeps whenever a request of a constant rate is due: the timeout of a wait
    /// for events is in whole milliseconds, longer than most servers take.
    fn clock(&self, queue: &OwnedFd) -> rustix::io::Result<Option<OwnedFd>> {
        let Arrival::PerSecond(rate) = self.arrival else { return Ok(None) };
        if self.spins {
            return Ok(None);
        }
        let clock = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let every = Duration::from_secs(1) / rate.max(1);
        let every = Timespec {
            tv_sec: i64::try_from(every.as_secs()).unwrap_or_default(),
            tv_nsec: i64::from(every.subsec_nanos()),
        };
        let ticks = Itimerspec { it_interval: every, it_value: every };
        timerfd_settime(&clock, TimerfdTimerFlags::empty(), &ticks)?;
        epoll::add(queue, &clock, EventData::new_u64(TICK), EventFlags::IN)?;
        Ok(Some(clock))
    }

    /// How many requests there will be; `None` if time decides.
    fn total(&self) -> Option<u64> {
        match (self.until, self.arrival) {
            (Until::Requests(total), _) => Some(total),
            (Until::Elapsed(time), Arrival::PerSecond(rate)) => {
                let total = u128::from(rate) * time.as_micros() / 1_000_000;
                Some(u64::try_from(total).unwrap_or(u64::MAX))
            }
            (Until::Elapsed(_), Arrival::Closed) => None,
        }
    }
}

/// One connection, or a sequence of them, with one request in flight at most.
struct Slot {
    place: usize,
    stream: Option<TcpStream>,
    /// The request; only its code changes.
    request: Vec<u8>,
    buffer: Vec<u8>,
    filled: usize,
    draw: usize,
    due: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Asked,
    /// Answered; the server is to end the connection.
    Ending,
}

/// What came of a look at a connection.
enum Step {
    Waits,
    Answered {
        status: u16,
        is_right: bool,
    },
    /// Ended after its answer, as it should.
    Ended,
    Failed(&'static str),
}

impl Slot {
    fn new(place: usize, load: &Load<'_>, user_agent: &str) -> Self {
        let mut text = String::new();
        let host = load.address.to_string();
        write_request(&mut text, &"x".repeat(CODE), &host, user_agent, Some(REFERRER));
        if load.reconnects {
            text = text.replace("Connection: keep-alive\r\n", "Connection: close\r\n");
        }
        Self {
            place,
            stream: None,
            request: text.into_bytes(),
            buffer: vec![0; ANSWER_BYTES_MAX],
            filled: 0,
            draw: 0,
            due: Instant::now(),
            state: State::Idle,
        }
    }

    /// Blocks, which over the loopback is until the kernel has shaken hands with itself.
    fn connect(&mut self, queue: &OwnedFd, load: &Load<'_>) -> Result<(), Failure> {
        let address = load.address;
        let fail = |error| Failure::new(format!("cannot connect to {address}: {error}"));
        let stream = match load.source {
            None => TcpStream::connect_timeout(&address, EXCHANGE_MAX).map_err(fail)?,
            Some(source) => connect_from(source, address).map_err(|error| fail(error.into()))?,
        };
        let event = EventData::new_u64(self.place as u64);
        epoll::add(queue, &stream, event, EventFlags::IN | EventFlags::RDHUP)
            .map_err(|error| fail(error.into()))?;
        self.stream = Some(stream);
        Ok(())
    }

    fn ask(&mut self, code: [u8; CODE]) -> Result<(), &'static str> {
        self.request[CODE_AT..CODE_AT + CODE].copy_from_slice(&code);
        self.filled = 0;
        self.state = State::Asked;
        let stream = self.stream.as_ref().ok_or("there is no connection")?;
        match send(stream, &self.request, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(len) if len == self.request.len() => Ok(()),
            Ok(_) => Err("a request was not taken whole"),
            Err(_) => Err("a request could not be sent"),
        }
    }

    /// Reads what is there. `is_hung_up`: the server has ended the connection.
    fn read(&mut self, load: &Load<'_>, is_hung_up: bool) -> Step {
        let Some(stream) = self.stream.as_ref() else { return Step::Waits };
        let room = &mut self.buffer[self.filled..];
        let len = match recv(stream, room, RecvFlags::DONTWAIT) {
            Ok((len, _)) => len,
            Err(Errno::AGAIN | Errno::INTR) => return Step::Waits,
            Err(_) => return Step::Failed("the connection was reset"),
        };
        if len == 0 {
            return match self.state {
                State::Ending => Step::Ended,
                State::Asked => Step::Failed("the connection ended before the answer did"),
                State::Idle => Step::Failed("the connection ended while nothing was asked"),
            };
        }
        self.filled += len;
        let answer = match answer::read(&self.buffer[..self.filled]) {
            Ok(Some(answer)) => answer,
            Ok(None) if self.filled == self.buffer.len() => {
                return Step::Failed("an answer of more than 16 KiB");
            }
            Ok(None) => return Step::Waits,
            Err(what) => return Step::Failed(what),
        };
        if answer.len != self.filled || self.state != State::Asked {
            return Step::Failed("bytes follow the answer");
        }
        let draw = &load.draws[self.draw];
        let is_right = match (load.expect, answer.location) {
            (Expect::AnyRedirect, location) => answer.status == 302 && location.is_some(),
            (Expect::TheLink, Some(location)) => answer.status == 302 && draw.is_target(location),
            (Expect::TheLink, None) => answer.status == 404 && draw.link.is_none(),
        };
        let ends = answer.close || load.reconnects;
        let status = answer.status;
        self.state = if ends { State::Ending } else { State::Idle };
        if ends && is_hung_up {
            self.stream = None;
            self.state = State::Idle;
        }
        Step::Answered { status, is_right }
    }
}

fn connect_from(source: Ipv4Addr, address: SocketAddr) -> rustix::io::Result<TcpStream> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The limit of a connect, too (socket(7)).
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(EXCHANGE_MAX))?;
    bind(&socket, &SocketAddrV4::new(source, 0))?;
    connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

struct Run<'a> {
    load: Load<'a>,
    queue: OwnedFd,
    /// Ticks at a constant rate.
    clock: Option<OwnedFd>,
    slots: Vec<Slot>,
    /// Places of connections that can take a request.
    idle: Vec<usize>,
    begun: Instant,
    /// When the last answer came.
    last: Instant,
    /// When this thread looked for what is due before.
    looked: Instant,
    sent: u64,
    flying: usize,
    seen: Seen,
}

impl Run<'_> {
    fn go(&mut self) -> rustix::io::Result<()> {
        let event = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = vec![event; EVENTS];
        let mut heard = Instant::now();
        self.send_due(heard);
        while self.flying > 0 || self.wants_more(Instant::now()) {
            let count = match epoll::wait(&self.queue, &mut *events, Some(&self.patience())) {
                Err(Errno::INTR) => 0,
                other => other?,
            };
            let mut has_heard = false;
            for event in &events[..count] {
                if event.data.u64() == TICK {
                    self.rewind();
                    continue;
                }
                has_heard = true;
                let place = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                let hung_up = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
                let flags = event.flags;
                self.look(place, flags.intersects(hung_up));
            }
            let now = Instant::now();
            if has_heard {
                heard = now;
            } else if self.flying > 0 && now.duration_since(heard) > EXCHANGE_MAX {
                self.give_up();
                break;
            }
            self.send_due(now);
        }
        Ok(())
    }

    /// Takes note of a tick: only then the clock goes on (`timerfd_create(2)`).
    fn rewind(&self) {
        let mut ticks = [0; 8];
        if let Some(clock) = &self.clock {
            // How many there were does not matter, nor does that there was none.
            rustix::io::read(clock, &mut ticks).ok();
        }
    }

    /// How long to wait for events.
    fn patience(&self) -> Timespec {
        let wait = match self.load.arrival {
            Arrival::PerSecond(_) if self.load.spins => Duration::ZERO,
            Arrival::PerSecond(_) | Arrival::Closed => Duration::from_millis(100),
        };
        Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) }
    }

    fn wants_more(&self, now: Instant) -> bool {
        match (self.load.total(), self.load.until) {
            (Some(total), _) => self.sent < total,
            (None, Until::Elapsed(time)) => now.duration_since(self.begun) < time,
            (None, Until::Requests(_)) => false,
        }
    }

    /// When the next request is due; in a closed loop, at once.
    fn next_due(&self, now: Instant) -> Instant {
        match self.load.arrival {
            Arrival::Closed => now,
            Arrival::PerSecond(rate) => {
                let ns = u128::from(self.sent) * 1_000_000_000 / u128::from(rate.max(1));
                self.begun + Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
            }
        }
    }

    /// Sends what is due on connections that are free.
    fn send_due(&mut self, now: Instant) {
        while self.wants_more(now)
            && let due = self.next_due(now)
            && due <= now
            && let Some(place) = self.idle.pop()
        {
            let place_of_draw = self.sent % self.load.draws.len() as u64;
            self.sent += 1;
            // Had it been due at the last look, it would have been sent then.
            self.seen.lateness.record(now.saturating_duration_since(due.max(self.looked)));
            let slot = &mut self.slots[place];
            slot.draw = usize::try_from(place_of_draw).unwrap_or_default();
            slot.due = due;
            let code = self.load.draws[slot.draw].code;
            let is_connected =
                slot.stream.is_some() || slot.connect(&self.queue, &self.load).is_ok();
            let asked = if is_connected {
                slot.ask(code)
            } else {
                slot.state = State::Asked;
                Err("no connection was made")
            };
            self.flying += 1;
            if let Err(what) = asked {
                self.failed(place, what);
            }
        }
        self.looked = now;
    }

    /// Looks at a connection that something happened to.
    fn look(&mut self, place: usize, is_hung_up: bool) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        match slot.read(&self.load, is_hung_up) {
            Step::Waits => {}
            Step::Ended => {
                slot.stream = None;
                slot.state = State::Idle;
                self.idle.push(place);
            }
            Step::Failed(what) => self.failed(place, what),
            Step::Answered { status, is_right } => {
                self.last = Instant::now();
                self.seen.latencies.record(self.last.saturating_duration_since(slot.due));
                self.flying -= 1;
                if slot.state == State::Idle {
                    self.idle.push(place);
                }
                if is_right {
                    self.seen.answered += 1;
                } else {
                    let draw = &self.load.draws[slot.draw];
                    let code = String::from_utf8_lossy(&draw.code).into_owned();
                    let text = format!("{}/{code}: {status}, not as expected", self.load.address);
                    self.seen.faults.wrong += 1;
                    self.example(text);
                }
            }
        }
    }

    /// Counts a request without an answer, and lets its connection go. One that ends while nothing
    /// is asked is no fault: servers may do so (RFC 9112, 9.3).
    fn failed(&mut self, place: usize, what: &str) {
        let slot = &mut self.slots[place];
        let (was, address) = (slot.state, self.load.address);
        slot.stream = None;
        slot.state = State::Idle;
        if was == State::Asked {
            self.flying -= 1;
            self.seen.faults.unanswered += 1;
            self.example(format!("{address}: {what}"));
        }
        if was != State::Idle {
            self.idle.push(place);
        }
    }

    fn give_up(&mut self) {
        let asked = |slot: &&Slot| slot.state == State::Asked;
        let lost = self.slots.iter().filter(asked).count() as u64;
        self.seen.faults.unanswered += lost;
        self.example(format!("{}: no answer within 10 s", self.load.address));
    }

    fn example(&mut self, text: String) {
        if self.seen.faults.examples.len() < EXAMPLES_MAX {
            self.seen.faults.examples.push(text);
        }
    }
}
