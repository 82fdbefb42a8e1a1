//! [`Edge`]: all the parts of a running edge, put together, and taken apart at a stop.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use carom_shared::{Clock, Random, Salts, WorkspaceId};

use crate::admin::Admin;
use crate::config::EdgeConfig;
use crate::domains::Domains;
use crate::drain::{DrainThread, Drainer};
use crate::enrich::Enricher;
use crate::handle::{EdgeFeed, EdgeState};
use crate::metrics::{Metrics, OnPanic};
use crate::missing::MissingCodes;
use crate::pressure::Pressure;
use crate::process::Inherited;
use crate::resolve::{Keeper, KeeperThread, Origin, Resolver, SnapshotCounts, SnapshotPlan};
use crate::server::descriptors::make_room;
use crate::server::listen::{Listening, Protocols, listen};
use crate::server::{Limits, Shared};
use crate::ship::losses::LossReporter;
use crate::ship::{ClickSink, Shipper};
use crate::spool::Spool;
use crate::spool::compact::Compactor;
use crate::spool::losses::Loss;
use crate::spool::outbox::Outbox;
use crate::spool::recover::Recovered;
use crate::spool::recover::Recovery;
use crate::spool::ring::{Recorder, RingReader, RingSize, segments};
use crate::spool::snapshot::SpoolAccess;
use crate::spool::sync::Durability;
use crate::spool::sync::{SyncThread, Syncer};
use crate::spool::{SpoolConfig, SpoolError};
#[cfg(feature = "tls")]
use crate::tls::{self, TlsError};

/// How long a stop waits for tasks that were told to end.
const TASKS_END: Duration = Duration::from_secs(1);
/// How long a stop waits for a store that does not take batches. They are on disk.
const STORE_AWAY_MAX: Duration = Duration::from_secs(1);

/// Everything an edge is made of.
pub struct EdgeParts {
    pub config: EdgeConfig,
    /// Sockets that whoever started this program listens on; empty: the edge binds its own.
    pub inherited: Inherited,
    pub spool: SpoolConfig,
    /// The folder for clicks that are not stored yet; one process at a time.
    pub spool_dir: PathBuf,
    /// The file that keeps what is known of routes for the next start; none: nothing is kept.
    pub snapshot: Option<PathBuf>,
    /// The hosts that are answered.
    pub domains: Domains,
    /// Workspaces that are out of service; [`EdgeFeed::set_disabled_workspaces`] brings later ones.
    pub disabled: Vec<WorkspaceId>,
    /// What today's visitors are told apart by; [`EdgeFeed::set_salts`] brings tomorrow's.
    pub salts: Salts,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub origin: Arc<dyn Origin>,
    pub sink: Arc<dyn ClickSink>,
    /// Where everything runs that is not answering visitors.
    pub background: Handle,
}

/// Why an edge does not start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("cannot make the ring for clicks in {}: {source}", .dir.display())]
    Ring { dir: PathBuf, source: std::io::Error },
    #[error("cannot listen on {address} (setting {setting}): {source}")]
    Listen { setting: &'static str, address: SocketAddr, source: std::io::Error },
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// A running edge.
pub struct Edge {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    recovered: Recovered,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    admin_address: SocketAddr,
    ring_segments_limit: usize,
    connections_limit: usize,
    drain_timeout: Duration,
    /// Cancelled: no new visitors.
    stop: CancellationToken,
    /// Cancelled: everything ends.
    end: CancellationToken,
    workers: Vec<JoinHandle<()>>,
    drainer: DrainThread,
    keeper: Option<KeeperThread>,
    snapshots: Arc<SnapshotCounts>,
    syncer: SyncThread,
    sink: Arc<dyn ClickSink>,
    tasks: TaskTracker,
    /// Its lock is held as long as this lives.
    spool: Arc<Spool>,
}

/// What a stop left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Clicks recorded by this run.
    pub clicks_recorded: u64,
    /// Batches on disk that the store has not taken yet; the next start ships them.
    pub batches_waiting: usize,
    /// Batches that the store refused; their files are set aside.
    pub batches_quarantined: u64,
    /// Whether every click left the ring; if not, the next start finds it there.
    pub ring_drained: bool,
}

impl Edge {
    /// Recovers what the last run left in the spool, then answers visitors.
    ///
    /// # Errors
    /// [`EdgeError`] if the spool is locked or broken, or an address cannot be bound.
    pub fn start(parts: EdgeParts) -> Result<Self, EdgeError> {
        let (config, threads) = (&parts.config, parts.config.thread_count());
        let listeners = Listeners::bind(config, parts.inherited)?;
        let Listeners { address, tls_address, admin_address, .. } = listeners;

        let spool = Arc::new(Spool::open(&parts.spool_dir, &*parts.random)?);
        let outbox = Arc::new(open_outbox(&spool, parts.spool.max_bytes)?);
        let losses = Arc::new(spool.losses()?);
        let metrics = Arc::new(Metrics::new(threads));
        #[cfg(feature = "tls")]
        let tls = open_tls(config, &metrics)?;
        let salts = Arc::new(ArcSwap::from_pointee(parts.salts));
        let mut enricher = Enricher::new(&config.enrich, &salts, &*parts.random, &metrics);
        let recovered =
            Recovery::new(&spool, &outbox, &losses, &*parts.clock).run(&mut enricher)?;
        metrics.clicks_recovered.add(recovered.clicks);
        let (recorders, rings) = rings(&spool, threads, &parts.spool, &parts.random)?;
        let syncer = Syncer::new(&rings, &parts.spool, Arc::clone(&losses), Arc::clone(&metrics));
        let syncer = SyncThread::start(syncer).map_err(EdgeError::Thread)?;

        let resolver = Resolver::new(&config.resolve, parts.origin, parts.background.clone());
        let (keeper, snapshots) =
            keeper(&resolver, parts.snapshot, config.resolve.snapshot_max_bytes, &parts.clock)?;

        let shared = Arc::new(Shared {
            resolver,
            domains: ArcSwap::from_pointee(parts.domains),
            disabled: ArcSwap::from_pointee(parts.disabled.into_iter().collect()),
            salts,
            missing: Arc::default(),
            limits: Limits::new(config, &*parts.random),
            clock: Arc::clone(&parts.clock),
            metrics: Arc::clone(&metrics),
            losses: Arc::clone(&losses),
            is_synced: parts.spool.durability == Durability::Always,
            on_overload: config.on_overload,
            #[cfg(feature = "tls")]
            tls,
        });
        let drainer = DrainThread::start(Drainer {
            spool: Arc::clone(&spool),
            rings,
            enricher,
            compactor: Compactor::default(),
            outbox: Arc::clone(&outbox),
            losses,
            clock: parts.clock,
            metrics: Arc::clone(&metrics),
            flush: Duration::from_millis(parts.spool.flush_ms),
        })
        .map_err(EdgeError::Thread)?;

        let edge = Self {
            outbox,
            recovered,
            address,
            tls_address,
            admin_address,
            ring_segments_limit: threads * segments(parts.spool.ring_bytes),
            connections_limit: config.max_connections,
            drain_timeout: Duration::from_millis(config.drain_timeout_ms),
            stop: CancellationToken::new(),
            end: CancellationToken::new(),
            workers: Vec::with_capacity(threads),
            drainer,
            keeper,
            snapshots,
            syncer,
            sink: parts.sink,
            tasks: TaskTracker::new(),
            shared,
            spool,
        };
        edge.run_helpers(&parts.background, parts.random, listeners.admin);
        edge.run_workers(listeners.workers, recorders)
    }

    fn run_workers(
        mut self,
        listeners: Vec<Vec<Listening>>,
        recorders: Vec<Recorder>,
    ) -> Result<Self, EdgeError> {
        if let Some(listening) = listeners.iter().flatten().next()
            && let Err(error) = make_room(self.connections_limit, &listening.socket)
        {
            tracing::warn!(%error, "there is no room for connections yet: some of them will wait");
        }
        for (index, (listeners, recorder)) in listeners.into_iter().zip(recorders).enumerate() {
            let shared = Arc::clone(&self.shared);
            let (stop, end) = (self.stop.clone(), self.end.clone());
            let run = move || {
                let metrics = Arc::clone(&shared.metrics);
                let _lost = OnPanic(|| metrics.threads_lost.add(1));
                if let Err(error) =
                    crate::server::run_worker(shared, index, listeners, recorder, &stop, end)
                {
                    tracing::error!(%error, thread = index, "an edge thread could not start");
                    metrics.threads_lost.add(1);
                }
            };
            let worker = std::thread::Builder::new().name(format!("edge-{index}")).spawn(run);
            self.workers.push(worker.map_err(EdgeError::Thread)?);
        }
        Ok(self)
    }

    fn run_helpers(&self, background: &Handle, random: Arc<dyn Random>, admin: TcpListener) {
        let shipper = Shipper {
            spool: Arc::clone(&self.spool),
            outbox: Arc::clone(&self.outbox),
            sink: Arc::clone(&self.sink),
            random,
            metrics: Arc::clone(&self.shared.metrics),
            on_disk: self.tasks.clone(),
            stop: self.stop.clone(),
        };
        self.run_in_background(background, shipper.run());
        let losses = LossReporter::new(
            self.spool.id(),
            Arc::clone(&self.shared.losses),
            Arc::clone(&self.sink),
            Arc::clone(&self.shared.clock),
        );
        self.run_in_background(background, losses.run());
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.shared.tls {
            let metrics = Arc::clone(&self.shared.metrics);
            self.run_in_background(background, Arc::clone(tls).keep(metrics));
        }
        self.run_in_background(background, Admin::run(self.admin(), admin));
        self.run_in_background(background, crate::heap::keep_trimmed());
    }

    /// Runs a task until it ends or the edge does.
    fn run_in_background(
        &self,
        background: &Handle,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let end = self.end.clone();
        let task = async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = task => {}
            }
        };
        self.tasks.spawn_on(task, background);
    }

    fn admin(&self) -> Arc<Admin> {
        Arc::new(Admin {
            metrics: Arc::clone(&self.shared.metrics),
            resolver: self.shared.resolver.clone(),
            snapshots: Arc::clone(&self.snapshots),
            clock: Arc::clone(&self.shared.clock),
            outbox: Arc::clone(&self.outbox),
            losses: Arc::clone(&self.shared.losses),
            ring_segments_limit: self.ring_segments_limit,
            connections_limit: self.connections_limit,
            misses: Arc::clone(&self.shared.limits.misses),
            draining: self.stop.clone(),
            sink: Arc::clone(&self.sink),
        })
    }

    /// What says how it is, for operators.
    #[must_use]
    pub fn state(&self) -> EdgeState {
        EdgeState { shared: Arc::clone(&self.shared), outbox: Arc::clone(&self.outbox) }
    }

    /// How full the way of a click is.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        Pressure::of(&self.shared.metrics, &self.outbox)
    }

    /// What could not be kept, over all starts on this spool; clicks, but for torn and damaged
    /// records.
    #[must_use]
    pub fn lost(&self, loss: Loss) -> u64 {
        self.shared.losses.get(loss)
    }

    /// What takes snapshots of the spool, for backups.
    #[must_use]
    pub fn spool(&self) -> SpoolAccess {
        self.drainer.access()
    }

    #[must_use]
    pub fn feed(&self) -> EdgeFeed {
        EdgeFeed(Arc::clone(&self.shared))
    }

    /// Codes that were asked for and do not exist, to be taken from time to time.
    #[must_use]
    pub fn missing_codes(&self) -> Arc<MissingCodes> {
        Arc::clone(&self.shared.missing)
    }

    /// What the start found of the last run.
    #[must_use]
    pub const fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Where visitors are answered; with the real port where the setting said 0.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where visitors are answered in TLS.
    #[must_use]
    pub const fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Stops: no new visitors, requests under way are answered, clicks are drained and stored, all
    /// within the drain timeout. Waits on threads, so it belongs on a thread that may wait.
    #[must_use]
    pub fn stop(mut self) -> Stopped {
        let until = Instant::now() + self.drain_timeout;
        self.stop.cancel();
        for worker in std::mem::take(&mut self.workers) {
            drop(worker.join());
        }
        // The workers took their recorders with them: the rings are complete.
        let ring_drained = self.drainer.finish(until);
        if let Some(keeper) = &mut self.keeper {
            keeper.finish(until);
        }
        let until_away = Instant::now() + STORE_AWAY_MAX;
        let is_away = || self.shared.metrics.store_away.get() > 0 && Instant::now() >= until_away;
        while self.outbox.len() > 0 && Instant::now() < until && !is_away() {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.end_tasks();
        Stopped {
            clicks_recorded: self.shared.metrics.sum(|worker| &worker.clicks_recorded),
            batches_waiting: self.outbox.len(),
            batches_quarantined: self.shared.metrics.batches_quarantined.get(),
            ring_drained,
        }
    }

    /// Ends what runs in the background. It holds a port and looks into the spool: whoever starts
    /// next should find both free. Each task ends at its next step, which is never far.
    fn end_tasks(&self) {
        self.end.cancel();
        self.tasks.close();
        let syncer = self.syncer.finish();
        let until = Instant::now() + TASKS_END;
        while Instant::now() < until
            && !(self.tasks.is_empty() && syncer.is_none_or(JoinHandle::is_finished))
        {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// An edge that is dropped without [`Edge::stop`] ends at once: connections are cut, and what is in
/// the spool is the next start's. Waits for its threads, a second at most.
impl Drop for Edge {
    fn drop(&mut self) {
        self.stop.cancel();
        let drainer = self.drainer.give_up();
        self.end_tasks();
        let until = Instant::now() + TASKS_END;
        let is_ended = || {
            self.workers.iter().all(JoinHandle::is_finished)
                && drainer.is_none_or(JoinHandle::is_finished)
        };
        while Instant::now() < until && !is_ended() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// Loads what the last run knew of routes, and keeps it for the next one.
fn keeper(
    resolver: &Resolver,
    path: Option<PathBuf>,
    bytes_max: u64,
    clock: &Arc<dyn Clock>,
) -> Result<(Option<KeeperThread>, Arc<SnapshotCounts>), EdgeError> {
    let Some(path) = path.filter(|_| bytes_max > 0) else { return Ok(Default::default()) };
    let plan = SnapshotPlan { path, bytes_max, clock: Arc::clone(clock) };
    let keeper = Keeper::open(resolver.clone(), plan);
    let counts = keeper.counts();
    let thread = KeeperThread::start(keeper).map_err(EdgeError::Thread)?;
    Ok((Some(thread), counts))
}

struct Listeners {
    /// By thread.
    workers: Vec<Vec<Listening>>,
    admin: TcpListener,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    admin_address: SocketAddr,
}

impl Listeners {
    fn bind(config: &EdgeConfig, inherited: Inherited) -> Result<Self, EdgeError> {
        let failed =
            |setting, address| move |source| EdgeError::Listen { setting, address, source };
        let (threads, patience) =
            (config.thread_count(), Duration::from_millis(config.header_timeout_ms));
        let mut workers: Vec<Vec<Listening>> = (0..threads).map(|_| Vec::new()).collect();
        let mut add = |setting, address, inherited: Vec<TcpListener>, protocols| {
            let is_inherited = !inherited.is_empty();
            let (bound, sockets) =
                listen(address, &inherited, threads, patience).map_err(failed(setting, address))?;
            for (worker, sockets) in workers.iter_mut().zip(sockets) {
                let listening = |socket| Listening { socket, protocols, is_inherited };
                worker.extend(sockets.into_iter().map(listening));
            }
            Ok::<_, EdgeError>(bound)
        };
        let address = add("edge.listen", config.listen, inherited.http, Protocols::Http)?;
        #[cfg(feature = "tls")]
        let tls_address = match config.tls.listen {
            Some(on) => Some(add("edge.tls.listen", on, inherited.https, Protocols::Tls)?),
            None => None,
        };
        #[cfg(not(feature = "tls"))]
        let tls_address = None;
        let admin = TcpListener::bind(config.admin_listen)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(failed("edge.admin_listen", config.admin_listen))?;
        Ok(Self {
            address,
            tls_address,
            admin_address: admin.local_addr().unwrap_or(config.admin_listen),
            workers,
            admin,
        })
    }
}

fn open_outbox(spool: &Arc<Spool>, max_bytes: u64) -> Result<Outbox, SpoolError> {
    Outbox::open(spool, max_bytes)
        .map_err(|source| SpoolError::Io { path: spool.outbox_dir(), source })
}

#[cfg(feature = "tls")]
fn open_tls(config: &EdgeConfig, metrics: &Metrics) -> Result<Option<Arc<tls::Tls>>, TlsError> {
    let open = |_| tls::Tls::open(&config.tls, metrics).map(Arc::new);
    config.tls.listen.map(open).transpose()
}

fn rings(
    spool: &Spool,
    threads: usize,
    config: &SpoolConfig,
    random: &Arc<dyn Random>,
) -> Result<(Vec<Recorder>, Vec<RingReader>), EdgeError> {
    let made: Result<Vec<_>, _> = (0..threads)
        .map(|index| {
            let worker = u16::try_from(index).unwrap_or(u16::MAX);
            let size = RingSize { bytes: config.ring_bytes, count_bytes: config.count_bytes };
            RingReader::create(&spool.ring_dir(), worker, size, Arc::clone(random))
        })
        .collect();
    let made = made.map_err(|source| EdgeError::Ring { dir: spool.ring_dir(), source })?;
    Ok(made.into_iter().unzip())
}
