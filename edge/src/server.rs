//! Sockets and threads: accept, serve, drain.
//!
//! Each thread `edge-N` has a runtime, a listener on the shared port ([`listen`]) and a recorder of its
//! own. A request that memory can answer waits for nothing and makes no system call but the two on its
//! socket; what threads share are the routes in memory.
//!
//! ```text
//! listen      sockets, bound or inherited
//! descriptors room for connections, made before they come
//! server      accept within the limits; stop
//! connection  who it is from, and what is spoken on it
//! watch       how long it may do what
//! turnstile   where connections with much to ask wait for their turn
//! plain       requests that are like most: read, answered and written without hyper
//! answer      one request
//! ```
//!
//! # Overload
//!
//! With routes in memory a request waits for nothing but its turn: what queues is in the kernel, and a
//! refusal costs what a redirect costs. So requests of connections that are open are answered, whatever
//! comes; what is turned away is what takes more than it is worth. Connections beyond the limits wait
//! (all) or are closed (of one block). Look-ups beyond theirs are answered 503. And while a thread
//! *lags*, because more comes than it can answer, connections that are new to it are told so with 503
//! and closed before anything is read: their handshake and their task are most of the cost, and those
//! who are connected keep their answers' times. (Redirects alone hardly make a thread lag: 50,000
//! connections that all ask at once are half a second of work. Handshakes of TLS do.)

mod answer;
mod connection;
pub(crate) mod descriptors;
pub(crate) mod listen;
mod plain;
#[cfg(feature = "tls")]
mod secure;
mod turnstile;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use carom_shared::{AddressBlock, Clock, Random, Salts, WorkspaceId};

use crate::config::{EdgeConfig, OnOverload};
use crate::domains::Domains;
use crate::limit::Blocks;
use crate::limit::connections::{Connections, Counted};
use crate::limit::misses::Misses;
use crate::metrics::{Metrics, WorkerMetrics};
use crate::missing::MissingCodes;
use crate::request::plain::{HEAD_BYTES_MAX, HEADERS_MAX};
use crate::resolve::Resolver;
use crate::respond::HttpDate;
use crate::spool::losses::Losses;
use crate::spool::ring::Recorder;
use connection::refuse;
use listen::{BACKLOG, Listening, Protocols};
use plain::Scratch;
use turnstile::Turnstile;
use watch::{Patience, Watches};

const BUFFER_BYTES_MAX: usize = 32 << 10;
/// Connections that are accepted until others run: with what they ask at once, some 100 us.
const ACCEPTS_PER_TURN: usize = 8;
/// Wait after `accept` failed, which mostly means that the process has no descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);
/// Of the time that requests have at a stop, the part for which connections without one stay open.
const LINGER_PART: u32 = 8;
/// Of the questions to the origin under way, the part that those may ask who missed too often.
const GUESSES_PART: usize = 8;
/// How often a thread looks at how late it is.
const LAG_SAMPLE: Duration = Duration::from_millis(100);
/// Bytes of a request that are read before its connection is closed.
const SHED_READ: usize = 4096;
const OVERLOADED: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\n\
    cache-control: no-store\r\nconnection: close\r\n\r\n";

/// What the threads of an edge share.
pub(crate) struct Shared {
    pub(crate) resolver: Resolver,
    pub(crate) domains: ArcSwap<Domains>,
    /// Workspaces that are out of service.
    pub(crate) disabled: ArcSwap<HashSet<WorkspaceId>>,
    /// The drainer's, who is told of new ones.
    pub(crate) salts: Arc<ArcSwap<Salts>>,
    pub(crate) missing: Arc<MissingCodes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) losses: Arc<Losses>,
    /// Whether a response waits until its click is on the disk.
    pub(crate) is_synced: bool,
    pub(crate) on_overload: OnOverload,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<crate::tls::Tls>>,
}

/// What visitors and proxies may do.
pub(crate) struct Limits {
    trusted_proxies: Box<[AddressBlock]>,
    /// Whether connections begin with a PROXY header.
    proxy_protocol: bool,
    /// Room for connections in all.
    connections: Arc<Semaphore>,
    connections_by_block: Arc<Connections>,
    blocks: Blocks,
    pub(crate) misses: Arc<Misses>,
    /// Room for look-ups of those who have no miss left.
    guesses: Semaphore,
    patience: Patience,
    /// How late a thread may be before it sheds.
    max_lag: Duration,
    /// How long a stop waits for requests under way.
    request_drain: Duration,
}

impl Limits {
    pub(crate) fn new(config: &EdgeConfig, random: &dyn Random) -> Self {
        let exempt = config.trusted_proxies.iter().chain(&config.exempt).cloned();
        Self {
            trusted_proxies: config.trusted_proxies.as_slice().into(),
            proxy_protocol: config.proxy_protocol,
            connections: Arc::new(Semaphore::new(config.max_connections)),
            connections_by_block: Arc::new(Connections::new(config.max_connections_per_block)),
            blocks: Blocks::new(exempt, random),
            misses: Arc::new(Misses::new(config.miss_burst, config.misses_per_minute)),
            guesses: Semaphore::new((config.resolve.max_in_flight / GUESSES_PART).max(1)),
            patience: Patience {
                head: Duration::from_millis(config.header_timeout_ms),
                idle: Duration::from_millis(config.idle_timeout_ms),
                age: Duration::from_secs(config.max_connection_age_s),
            },
            max_lag: Duration::from_millis(config.max_lag_ms),
            request_drain: Duration::from_millis(config.drain_timeout_ms / 2),
        }
    }
}

/// One thread's own.
struct Worker {
    shared: Arc<Shared>,
    index: usize,
    recorder: RefCell<Recorder>,
    scratch: RefCell<Scratch>,
    date: RefCell<HttpDate>,
    http1: http1::Builder,
    #[cfg(feature = "tls")]
    http2: hyper::server::conn::http2::Builder<secure::Streams>,
    watches: Watches,
    turnstile: Turnstile,
    /// Of those who shake hands.
    #[cfg(feature = "tls")]
    handshakes: Turnstile,
    tasks: TaskTracker,
    is_lagging: Cell<bool>,
    /// What visitors' tasks have left on the stack is to be overwritten.
    is_scrub_due: Arc<AtomicBool>,
    stop: CancellationToken,
    end: CancellationToken,
}

/// Bytes of the stack below a frame that [`scrub_stack`] overwrites: more than answering takes, also
/// in a build that is not optimised.
const STACK_SCRUBBED: usize = 64 * 1024;

/// Overwrites what calls have left on this thread's stack: the last visitor's address among it.
#[inline(never)]
pub(crate) fn scrub_stack() {
    let mut below = [0_u8; STACK_SCRUBBED];
    std::hint::black_box(&mut below);
}

/// Runs one thread of the edge until `stop`, then until its requests are answered, the drain
/// timeout is over, or `end`.
pub(crate) fn run_worker(
    shared: Arc<Shared>,
    index: usize,
    listeners: Vec<Listening>,
    recorder: Recorder,
    stop: &CancellationToken,
    end: CancellationToken,
) -> io::Result<()> {
    let is_scrub_due = Arc::new(AtomicBool::new(false));
    let is_due = Arc::clone(&is_scrub_due);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // From where the thread waits, because no frame of a task begins above that. Not at the end of each
    // connection, which would cost it a microsecond and the processor's fastest cache.
    runtime.on_thread_park(move || {
        if is_due.swap(false, Ordering::Relaxed) {
            scrub_stack();
        }
    });
    let runtime = runtime.enable_all().build_local(LocalOptions::default())?;
    let mut http1 = http1::Builder::new();
    // Times are the watch's.
    http1
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .half_close(false);
    let tasks = TaskTracker::new();
    let worker = Rc::new(Worker {
        watches: Watches::new(shared.limits.patience, shared.limits.request_drain / LINGER_PART),
        date: RefCell::new(HttpDate::of(shared.clock.now())),
        shared,
        index,
        recorder: RefCell::new(recorder),
        scratch: RefCell::default(),
        http1,
        #[cfg(feature = "tls")]
        http2: secure::http2(secure::Streams(tasks.clone())),
        turnstile: Turnstile::default(),
        #[cfg(feature = "tls")]
        handshakes: Turnstile::default(),
        tasks,
        is_lagging: Cell::new(false),
        is_scrub_due,
        stop: stop.clone(),
        end,
    });
    let ended = runtime.block_on(worker.run(listeners));
    scrub_stack();
    ended
}

impl Worker {
    fn metrics(&self) -> &WorkerMetrics {
        &self.shared.metrics.workers[self.index]
    }

    /// Whether clicks come faster than they are read. Not so if they cannot be written: no visitor waits
    /// for a disk.
    fn is_drainer_behind(&self) -> bool {
        self.recorder.borrow().is_filling() && self.shared.metrics.drain_stalled.get() == 0
    }

    async fn run(self: Rc<Self>, listeners: Vec<Listening>) -> io::Result<()> {
        let acceptors = TaskTracker::new();
        for Listening { socket, protocols, is_inherited } in listeners {
            let listener = TcpListener::from_std(socket)?;
            acceptors.spawn_local(Rc::clone(&self).accept(listener, protocols, is_inherited));
        }
        acceptors.close();
        let sampler = Rc::clone(&self);
        let sampler = tokio::task::spawn_local(async move { sampler.sample_lag().await });
        // Until the runtime ends: there are turns to wait for while connections drain.
        let attendant = Rc::clone(&self);
        tokio::task::spawn_local(async move {
            let is_behind = || attendant.is_drainer_behind();
            attendant.turnstile.attend(&attendant.metrics().turns, is_behind).await;
        });
        #[cfg(feature = "tls")]
        {
            let attendant = Rc::clone(&self);
            tokio::task::spawn_local(async move {
                // They record no clicks.
                attendant.handshakes.attend(&attendant.metrics().turns, || false).await;
            });
        }
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.keep_sweeping() => {}
        }
        sampler.abort();
        self.watches.drain();
        let all = async {
            acceptors.wait().await;
            self.tasks.close();
            self.tasks.wait().await;
        };
        let waited = tokio::select! {
            () = self.end.cancelled() => return Ok(()),
            () = self.keep_sweeping() => return Ok(()),
            waited = tokio::time::timeout(self.shared.limits.request_drain, all) => waited,
        };
        if waited.is_err() {
            tracing::warn!(
                connections = self.tasks.len(),
                "connections are cut: they did not end in time"
            );
        }
        Ok(())
    }

    /// Never ends.
    async fn keep_sweeping(&self) {
        let pause = self.shared.limits.patience.sweep();
        loop {
            // At a stop those who linger should not wait for the next sweep.
            let pause = match self.stop.is_cancelled() {
                true => pause.min(self.shared.limits.request_drain / LINGER_PART),
                false => pause,
            };
            tokio::time::sleep(pause).await;
            self.watches.sweep(&self.shared.metrics).await;
            self.is_scrub_due.store(true, Ordering::Relaxed);
        }
    }

    /// Notes how late this thread's timers are: as late as its visitors are answered.
    async fn sample_lag(&self) {
        loop {
            let begin = Instant::now();
            tokio::time::sleep(LAG_SAMPLE).await;
            let lag = begin.elapsed().saturating_sub(LAG_SAMPLE);
            self.metrics().lag_ms.set(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
            self.is_lagging.set(lag > self.shared.limits.max_lag);
        }
    }

    async fn accept(self: Rc<Self>, listener: TcpListener, protocols: Protocols, inherited: bool) {
        let mut at_once = 0;
        loop {
            if at_once == ACCEPTS_PER_TURN {
                at_once = 0;
                tokio::task::yield_now().await;
            }
            at_once += 1;
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            // A stop does not come in between: who was accepted gets the room that others leave.
            let admitted = match accepted {
                Ok((stream, address)) => self.admit(stream, address, protocols).await,
                Err(error) => Err(error),
            };
            match admitted {
                Ok(Some(accepted)) => self.welcome(accepted, protocols),
                Ok(None) => {}
                Err(error) => {
                    self.shared.metrics.accept_errors.add(1);
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        if !inherited && let Err(error) = self.accept_rest(listener, protocols) {
            tracing::warn!(%error, "connections that waited were not accepted");
        }
    }

    /// Beyond the limit a connection waits here, and those after it in the kernel's queue. (Room
    /// first and accept then would let an idle thread hold the room that a busy one needs.)
    async fn admit(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        protocols: Protocols,
    ) -> io::Result<Option<Accepted>> {
        let address = address.ip().to_canonical();
        if self.is_lagging.get() {
            self.shed(&stream, protocols);
            return Ok(None);
        }
        // Before it waits: whoever has too many must not stand in the way of those who have none.
        let counted = match self.shared.limits.proxy_protocol {
            true => None,
            false => match self.count(address) {
                Some(counted) => counted,
                None => {
                    refuse(&stream);
                    return Ok(None);
                }
            },
        };
        let permit = Arc::clone(&self.shared.limits.connections).acquire_owned().await;
        let permit = permit.map_err(|_| io::Error::other("the edge is stopping"))?;
        Ok(Some(Accepted { stream, address, counted, permit }))
    }

    fn welcome(self: &Rc<Self>, accepted: Accepted, protocols: Protocols) {
        let worker = Rc::clone(self);
        self.tasks.spawn_local(async move {
            let Accepted { stream, address, counted, permit } = accepted;
            worker.metrics().connections.add(1);
            worker.visit(stream, address, protocols).await;
            worker.metrics().connections_closed.add(1);
            drop((counted, permit));
        });
    }

    /// Tells a connection that there is too much to do.
    fn shed(&self, stream: &TcpStream, protocols: Protocols) {
        self.shared.metrics.connections_refused.overload.add(1);
        // The buffer of a new socket takes this at once or never.
        if protocols != Protocols::Http || stream.try_write(OVERLOADED).is_err() {
            return refuse(stream);
        }
        // What it has asked meanwhile: closed with that unread it would be reset, and might not see the
        // answer.
        let mut unread = [MaybeUninit::new(0_u8); SHED_READ];
        drop(SockRef::from(stream).recv(&mut unread));
        self.is_scrub_due.store(true, Ordering::Relaxed);
    }

    /// Accepts what waits in the queue of a socket that nobody will accept from after this.
    fn accept_rest(self: &Rc<Self>, listener: TcpListener, protocols: Protocols) -> io::Result<()> {
        let listener = listener.into_std()?;
        for _ in 0..BACKLOG {
            let (stream, address) = match listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                accepted => accepted?,
            };
            let address = address.ip().to_canonical();
            let counted =
                if self.shared.limits.proxy_protocol { Some(None) } else { self.count(address) };
            let permit = Arc::clone(&self.shared.limits.connections).try_acquire_owned();
            if let (Some(counted), Ok(permit)) = (counted, permit) {
                stream.set_nonblocking(true)?;
                let stream = TcpStream::from_std(stream)?;
                self.welcome(Accepted { stream, address, counted, permit }, protocols);
            }
        }
        Ok(())
    }
}

/// A connection within the limits.
struct Accepted {
    stream: TcpStream,
    address: IpAddr,
    counted: Option<Counted>,
    permit: OwnedSemaphorePermit,
}
