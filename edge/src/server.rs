//! Sockets and threads: accept, serve, drain.
//!
//! Each thread `edge-N` has a runtime, a listener on the shared port (`SO_REUSEPORT`: the kernel
//! spreads connections) and a recorder of its own. A request that memory can answer waits for
//! nothing and makes no system call but the two on its socket; what threads share are the routes
//! in memory.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use carom_shared::{AddressBlock, Clock, Code, DomainId, Salts, UnixMillis};

use crate::config::OnOverload;
use crate::domains::Domains;
use crate::metrics::{Metrics, WorkerMetrics};
use crate::missing::MissingCodes;
use crate::pressure::Pressure;
use crate::proxy;
use crate::record;
use crate::request::{Ask, Form, Resource, Visitor};
use crate::resolve::{Key, Known, Resolver, Route, Unavailable};
use crate::respond::{self, Body, ErrorPage, Redirect, file, preview};
use crate::spool::losses::{Loss, Losses};
use crate::spool::ring::Recorder;
use crate::spool::sync::Synced;

/// Connections that the kernel holds until a thread accepts them.
const BACKLOG: i32 = 4096;
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 << 10;
const BUFFER_BYTES_MAX: usize = 32 << 10;
/// Wait after `accept` failed, which mostly means that the process has no descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// One listener per thread, all on one address. `patience` is how long a client may leave an answer
/// in our buffers before its connection is ended; connections inherit it from their listener. (hyper
/// limits how long a client may take to ask; not, how long it may take to listen.)
///
/// # Errors
/// If the address cannot be bound, or another process listens there.
pub(crate) fn bind(
    address: SocketAddr,
    threads: usize,
    patience: Duration,
) -> io::Result<Vec<TcpListener>> {
    // Alone first: sharing the port with another process would mean sharing its visitors, half of
    // whom would ask the wrong one.
    let mut address = socket(address, false)?.local_addr()?.as_socket().unwrap_or(address);
    let mut listeners = Vec::with_capacity(threads);
    for _ in 0..threads {
        let socket = socket(address, true)?;
        socket.set_tcp_user_timeout(Some(patience))?;
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

/// What the threads of an edge share.
pub(crate) struct Shared {
    pub(crate) resolver: Resolver,
    pub(crate) domains: ArcSwap<Domains>,
    /// The drainer's, who is told of new ones.
    pub(crate) salts: Arc<ArcSwap<Salts>>,
    pub(crate) missing: Arc<MissingCodes>,
    pub(crate) trusted_proxies: Box<[AddressBlock]>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) header_timeout: Duration,
    /// How long a stop waits for requests under way.
    pub(crate) request_drain: Duration,
    pub(crate) losses: Arc<Losses>,
    /// Whether a response waits until its click is on the disk.
    pub(crate) is_synced: bool,
    pub(crate) on_overload: OnOverload,
}

/// One thread's own.
struct Worker {
    shared: Arc<Shared>,
    index: usize,
    recorder: RefCell<Recorder>,
    http: http1::Builder,
    stop: CancellationToken,
    end: CancellationToken,
}

/// Bytes of the stack below a frame that [`scrub_stack`] overwrites: more than answering takes.
const STACK_SCRUBBED: usize = 32 * 1024;

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
    listener: TcpListener,
    recorder: Recorder,
    stop: &CancellationToken,
    end: CancellationToken,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(shared.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .half_close(false);
    // A child of its own: connections look at the token at each wake, and a token is a lock.
    let stop = stop.child_token();
    let recorder = RefCell::new(recorder);
    let worker = Rc::new(Worker { shared, index, recorder, http, stop, end });
    LocalSet::new().block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        worker.accept(listener).await;
        Ok(())
    })
}

impl Worker {
    fn metrics(&self) -> &WorkerMetrics {
        &self.shared.metrics.workers[self.index]
    }

    async fn accept(self: Rc<Self>, listener: tokio::net::TcpListener) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = self.accept_one(&listener) => accepted,
            };
            match accepted {
                Ok((stream, peer, permit)) => {
                    let worker = Rc::clone(&self);
                    tasks.spawn_local(async move {
                        worker.metrics().connections.add(1);
                        worker.connection(stream, peer).await;
                        scrub_stack();
                        worker.metrics().connections_closed.add(1);
                        drop(permit);
                    });
                }
                Err(error) => {
                    self.shared.metrics.accept_errors.add(1);
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        drop(listener);
        tasks.close();
        let waited = tokio::select! {
            () = self.end.cancelled() => return,
            waited = tokio::time::timeout(self.shared.request_drain, tasks.wait()) => waited,
        };
        if waited.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "connections are cut: they did not end in time"
            );
        }
    }

    /// Beyond the limit a connection waits here, and those after it in the kernel's queue. (Room
    /// first and accept then would let an idle thread hold the room that a busy one needs.)
    async fn accept_one(
        &self,
        listener: &tokio::net::TcpListener,
    ) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
        let (stream, peer) = listener.accept().await?;
        let permit = Arc::clone(&self.shared.connections).acquire_owned().await;
        let permit = permit.map_err(|_| io::Error::other("the edge is stopping"))?;
        stream.set_nodelay(true)?;
        Ok((stream, peer.ip().to_canonical(), permit))
    }

    async fn connection(self: &Rc<Self>, stream: TcpStream, peer: IpAddr) {
        let service = service_fn(|request| {
            let worker = Rc::clone(self);
            async move { Ok::<_, Infallible>(worker.answer(&request, peer).await) }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // Clients go away and send nonsense all day; hyper has answered what can be answered.
            tracing::debug!(%error, "a connection ended early");
        }
    }

    async fn answer(&self, request: &Request<Incoming>, peer: IpAddr) -> Response<Body> {
        let has_body = !request.body().is_end_stream();
        let ask = {
            let domains = self.shared.domains.load();
            Ask::parse(request, has_body, &domains)
        };
        let answer = match ask {
            Ok(ask) => self.fulfil(&ask, request.headers(), peer).await,
            Err(refusal) => Err(refusal.into()),
        };
        answer.unwrap_or_else(|page| {
            self.metrics().error(page);
            page.response(Form::wanted(request.headers()))
        })
    }

    async fn fulfil(
        &self,
        ask: &Ask<'_>,
        headers: &HeaderMap,
        peer: IpAddr,
    ) -> Result<Response<Body>, ErrorPage> {
        let now = self.shared.clock.now();
        match ask.resource {
            Resource::Link(code) => {
                let route = self.route(ask.domain, code).await?;
                let redirect = Redirect::of(&route, now)?;
                if let Some(synced) = self.record(ask, headers, peer, &redirect, now)?
                    && !synced.wait().await
                {
                    self.metrics().clicks_unsynced.add(1);
                }
                self.metrics().redirects.add(1);
                Ok(redirect.response(ask.query, now))
            }
            Resource::Preview(code) => {
                let route = self.route(ask.domain, code).await?;
                let redirect = Redirect::of(&route, now)?;
                self.metrics().previews.add(1);
                Ok(preview::response(&redirect, Form::wanted(headers)))
            }
            Resource::Robots => {
                self.metrics().files.add(1);
                Ok(file::robots())
            }
            Resource::Favicon => {
                self.metrics().files.add(1);
                Ok(file::favicon())
            }
            Resource::Home => {
                let domains = self.shared.domains.load();
                let home = domains.home(ask.domain).ok_or(ErrorPage::NotFound)?;
                self.metrics().homes.add(1);
                Ok(respond::home(home))
            }
            Resource::Nothing => Err(ErrorPage::NotFound),
        }
    }

    async fn route(&self, domain: DomainId, code: &str) -> Result<Arc<Route>, ErrorPage> {
        let route = self.find_route(domain, code).await;
        if matches!(route, Err(ErrorPage::NotFound)) {
            self.shared.missing.count(domain, code);
        }
        route
    }

    async fn find_route(&self, domain: DomainId, code: &str) -> Result<Arc<Route>, ErrorPage> {
        let key = Key::new(domain, code);
        match self.shared.resolver.known(&key) {
            Known::Route(route) => {
                self.metrics().memory_hits.add(1);
                Ok(route)
            }
            Known::Absent => {
                self.metrics().absence_hits.add(1);
                Err(ErrorPage::NotFound)
            }
            Known::Unknown => {
                self.metrics().look_ups.add(1);
                let code = Code::parse(code).map_err(|_| ErrorPage::NotFound)?;
                match self.shared.resolver.look_up(&key, domain, code).await {
                    Ok(route) => route.ok_or(ErrorPage::NotFound),
                    Err(Unavailable) => Err(ErrorPage::Unavailable),
                }
            }
        }
    }

    /// Records before the response exists: what is answered is recorded, whatever happens next.
    ///
    /// With `spool.durability = always` there is something to wait for: the disk, in company.
    ///
    /// It does not wait here, and must not: what is held across a wait is kept in the connection's
    /// task, and the last visitor's address would stay in memory for as long as nobody else uses it.
    fn record(
        &self,
        ask: &Ask<'_>,
        headers: &HeaderMap,
        peer: IpAddr,
        redirect: &Redirect<'_>,
        now: UnixMillis,
    ) -> Result<Option<Synced>, ErrorPage> {
        let visitor = Visitor::read(headers);
        let address = proxy::client(&self.shared.trusted_proxies, peer, headers);
        let click = record::click(ask, &visitor, address, redirect, now);
        let recorded = self.recorder.borrow_mut().record(&click);
        if recorded.is_err() {
            return self.record_overload(&click).map(|()| None);
        }
        self.metrics().clicks_recorded.add(1);
        Ok(self.shared.is_synced.then(|| self.recorder.borrow_mut().synced()))
    }

    /// The ring is full: keeps the number, or the total, or nothing, as the operator wants it.
    #[cold]
    fn record_overload(&self, click: &carom_shared::RawClick<'_>) -> Result<(), ErrorPage> {
        if self.shared.on_overload == OnOverload::Refuse {
            return Err(ErrorPage::Unavailable);
        }
        let (loss, pressure) = match self.recorder.borrow_mut().count(click) {
            Ok(()) => (Loss::Counted, Pressure::Counting),
            Err(_) => (Loss::Dropped, Pressure::Dropping),
        };
        self.shared.losses.add(loss, 1);
        self.metrics().pressure.set(pressure.level().into());
        Ok(())
    }
}
