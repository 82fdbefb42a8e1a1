//! What an edge needs around it: routes to ask for, a store for clicks, a clock, a folder.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use carom_edge::process::Inherited;
use carom_edge::resolve::{Origin, OriginError, OriginFuture, ResolveConfig, RouteChange};
use carom_edge::ship::{ClickSink, LossFuture, SinkError, SinkFuture, Stored};
use carom_edge::{Domains, Edge, EdgeConfig, EdgeError, EdgeParts, SpoolConfig, Stopped};
use carom_shared::batch::{Batch, Token};
use carom_shared::click::{Detail, Kind, Via};
use carom_shared::internal::LossReport;
use carom_shared::{
    Click, Clock, Code, DomainId, FeedPage, FeedPosition, Host, LinkId, QueryPolicy,
    RedirectStatus, RouteRecord, RouteState, Salts, SystemRandom, TestClock, UnixMillis,
    WorkspaceId,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::client::{Client, PATIENCE};

/// 2026-01-01T00:00:00Z
pub(crate) const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);
/// The id of `go.example.com`; `localhost`, the default domain, has 1.
pub(crate) const DOMAIN: i64 = 2;
pub(crate) const WORKSPACE: i64 = 5;

pub(crate) fn domain(id: i64) -> DomainId {
    DomainId::try_from(id).unwrap()
}

/// An active route of version 1 to a target.
pub(crate) fn route(link: i64, target: &str) -> RouteRecord {
    RouteRecord {
        version: 1,
        state: RouteState::Active,
        link: LinkId::try_from(link).unwrap(),
        workspace: WorkspaceId::try_from(WORKSPACE).unwrap(),
        status: RedirectStatus::Found,
        target_revision: 1,
        not_before: None,
        expires_at: None,
        target: target.into(),
        fallback: None,
        query: QueryPolicy::default(),
        max_age_s: RouteRecord::MAX_AGE_MAX_S,
    }
}

pub(crate) fn change(code: &str, record: RouteRecord) -> RouteChange {
    RouteChange { domain: domain(DOMAIN), code: Code::parse(code).unwrap(), record }
}

/// The control plane's part: the routes on `go.example.com`.
#[derive(Default)]
pub(crate) struct Links {
    routes: Mutex<HashMap<String, RouteRecord>>,
    is_down: AtomicBool,
    delay_ms: AtomicU64,
    asked: AtomicUsize,
    /// What the feed has; it answers also while the rest is switched off.
    changes: Mutex<Vec<RouteChange>>,
}

impl Links {
    pub(crate) fn put(&self, code: &str, record: RouteRecord) {
        self.routes.lock().unwrap().insert(code.to_owned(), record);
    }

    /// A change that edges hear of when they ask.
    pub(crate) fn announce(&self, change: RouteChange) {
        self.changes.lock().unwrap().push(change);
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.is_down.store(down, Ordering::SeqCst);
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        self.delay_ms.store(delay.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    /// How many questions came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Origin for Links {
    fn resolve(&self, domain: DomainId, code: &Code) -> OriginFuture {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let is_down = self.is_down.load(Ordering::SeqCst);
        let delay = Duration::from_millis(self.delay_ms.load(Ordering::SeqCst));
        let found = self.routes.lock().unwrap().get(code.as_str()).cloned();
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            if is_down {
                return Err(OriginError("switched off".to_owned()));
            }
            Ok(found.filter(|_| domain.get() == DOMAIN))
        })
    }

    fn changes(&self, after: Option<FeedPosition>) -> OriginFuture<Option<FeedPage>> {
        let all = self.changes.lock().unwrap();
        let head = FeedPosition { epoch: 1, seq: all.len() as u64 };
        let after = after.map_or(head.seq, |after| after.seq);
        let changes = all.iter().skip(usize::try_from(after).unwrap()).cloned().collect();
        Box::pin(async move { Ok(Some(FeedPage { head, first: after + 1, changes })) })
    }
}

/// One row as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) link: i64,
    pub(crate) workspace: i64,
    pub(crate) domain: i64,
    pub(crate) at_s: u32,
    pub(crate) n: u32,
    pub(crate) kind: Kind,
    pub(crate) via: Via,
    pub(crate) status: u16,
    pub(crate) target_revision: u32,
    pub(crate) referrer: String,
}

/// What a store does with a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Stores,
    Unavailable,
    /// Stores it, and the answer is lost on the way.
    StoresInSilence,
    Refuses,
    /// Takes several at once, and has no answer about the first that it was ever given.
    SilentAboutFirst,
    /// Takes several at once, and 300 ms for each.
    Slow,
}

/// The store's part: batches by token, each token once.
#[derive(Default)]
pub(crate) struct Store {
    mood: Arc<Mutex<Mood>>,
    batches: Mutex<BTreeMap<Token, Bytes>>,
    /// The token of every try, in order.
    tries: Mutex<Vec<Token>>,
    /// What it was told of clicks that could not be kept.
    pub(crate) losses: Mutex<Vec<LossReport>>,
}

impl Store {
    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn tries(&self) -> Vec<Token> {
        self.tries.lock().unwrap().clone()
    }

    pub(crate) fn batches(&self) -> usize {
        self.batches.lock().unwrap().len()
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let batches = self.batches.lock().unwrap();
        let batches = batches.values().map(|bytes| Batch::from_bytes(bytes).unwrap());
        batches.flat_map(|batch| batch.clicks().map(Row::from).collect::<Vec<_>>()).collect()
    }

    /// What `of` makes of each click that is stored.
    pub(crate) fn each<T>(&self, of: impl Fn(&Click<'_>) -> T) -> Vec<T> {
        let batches = self.batches.lock().unwrap();
        let batches = batches.values().map(|bytes| Batch::from_bytes(bytes).unwrap());
        batches
            .flat_map(|batch| batch.clicks().map(|click| of(&click)).collect::<Vec<_>>())
            .collect()
    }

    /// How many clicks of each link are stored.
    pub(crate) fn clicks_by_link(&self) -> BTreeMap<i64, u32> {
        let mut clicks = BTreeMap::new();
        for row in self.rows() {
            *clicks.entry(row.link).or_default() += row.n;
        }
        clicks
    }

    /// The rows, once there are so many.
    pub(crate) fn wait_for(&self, rows: usize) -> Vec<Row> {
        eventually("the clicks are stored", || self.rows().len() >= rows);
        self.rows()
    }

    fn take(&self, token: Token, batch: Bytes) -> Result<Stored, SinkError> {
        self.tries.lock().unwrap().push(token.clone());
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Unavailable => return Err(SinkError::Unavailable("switched off".to_owned())),
            Mood::Refuses => return Err(SinkError::Refused("out of principle".to_owned())),
            Mood::Stores | Mood::StoresInSilence | Mood::SilentAboutFirst | Mood::Slow => {}
        }
        Batch::from_bytes(&batch).unwrap();
        let mut batches = self.batches.lock().unwrap();
        let stored = match batches.get(&token) {
            Some(held) => {
                assert_eq!(*held, batch, "a token names other bytes than before");
                Stored::Already
            }
            None => {
                batches.insert(token, batch);
                Stored::New
            }
        };
        if mood == Mood::StoresInSilence {
            return Err(SinkError::Unavailable("no answer".to_owned()));
        }
        Ok(stored)
    }
}

impl ClickSink for Store {
    fn store(&self, token: Token, batch: Bytes) -> SinkFuture {
        let stored = self.take(token.clone(), batch);
        let mood = Arc::clone(&self.mood);
        let is_first = self.tries.lock().unwrap().first() == Some(&token);
        Box::pin(async move {
            if *mood.lock().unwrap() == Mood::Slow {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            while is_first && *mood.lock().unwrap() == Mood::SilentAboutFirst {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stored
        })
    }

    fn report_losses(&self, report: LossReport) -> LossFuture {
        self.losses.lock().unwrap().push(report);
        Box::pin(std::future::ready(Ok(())))
    }

    fn takes_several(&self) -> bool {
        matches!(*self.mood.lock().unwrap(), Mood::SilentAboutFirst | Mood::Slow)
    }
}

impl From<carom_shared::Click<'_>> for Row {
    fn from(click: carom_shared::Click<'_>) -> Self {
        Self {
            link: click.link.get(),
            workspace: click.workspace.get(),
            domain: click.domain.get(),
            at_s: click.at_s,
            n: click.n,
            kind: click.kind,
            via: click.via,
            status: click.status,
            target_revision: click.target_revision,
            referrer: click.details.get(Detail::Referrer).to_owned(),
        }
    }
}

/// How long a look at the clock takes, in milliseconds.
#[derive(Default)]
pub(crate) struct Slowness(AtomicU64);

impl Slowness {
    pub(crate) fn set(&self, time: Duration) {
        self.0.store(time.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }
}

/// A clock that holds up who looks at it: an edge thread that has too much to do.
struct SlowClock(Arc<TestClock>, Arc<Slowness>);

impl Clock for SlowClock {
    fn now(&self) -> UnixMillis {
        let is_edge = std::thread::current().name().is_some_and(|name| name.starts_with("edge-"));
        let ms = self.1.0.load(Ordering::SeqCst);
        if is_edge && ms > 0 {
            std::thread::sleep(Duration::from_millis(ms));
        }
        self.0.now()
    }
}

/// Everything around an edge. Edges may come and go in it, one at a time per folder.
pub(crate) struct World {
    pub(crate) links: Arc<Links>,
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Arc<TestClock>,
    /// Whether the clock takes its time, and with it the thread that asks.
    pub(crate) slowness: Arc<Slowness>,
    /// Sockets that outlive edges.
    pub(crate) sockets: Vec<TcpListener>,
    /// Workspaces that are out of service when an edge starts.
    pub(crate) disabled: Vec<WorkspaceId>,
    pub(crate) config: EdgeConfig,
    pub(crate) spool: SpoolConfig,
    runtime: Runtime,
    dir: TempDir,
}

impl World {
    /// A world in which links answer at once and clicks are stored at once.
    pub(crate) fn new() -> Self {
        let local = |port| ([127, 0, 0, 1], port).into();
        // A machine with much to do is no reason to refuse anybody, but where a test is about that.
        let resolve = ResolveConfig { timeout_ms: 10_000, ..ResolveConfig::default() };
        Self {
            links: Arc::default(),
            store: Arc::default(),
            clock: Arc::new(TestClock::new(NOW)),
            slowness: Arc::default(),
            sockets: Vec::new(),
            disabled: Vec::new(),
            config: EdgeConfig {
                listen: local(0),
                admin_listen: local(0),
                threads: 2,
                header_timeout_ms: 5000,
                max_lag_ms: 60_000,
                drain_timeout_ms: 5000,
                resolve,
                ..EdgeConfig::default()
            },
            spool: SpoolConfig { flush_ms: 20, ring_bytes: 8 << 20, ..SpoolConfig::default() },
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// The usual: a world with `/abc`, link 7, to `https://example.com/`.
    pub(crate) fn with_link() -> Self {
        let world = Self::new();
        world.links.put("abc", route(7, "https://example.com/"));
        world
    }

    pub(crate) fn spool_dir(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    pub(crate) fn start(&self) -> Running {
        self.start_on(&self.spool_dir(), &self.store).unwrap()
    }

    /// Starts an edge on a folder and a store of its own.
    pub(crate) fn start_on(&self, spool: &Path, store: &Arc<Store>) -> Result<Running, EdgeError> {
        let host = |name| Host::parse(name).unwrap();
        let edge = Edge::start(EdgeParts {
            config: self.config.clone(),
            inherited: Inherited {
                http: self.sockets.iter().map(|socket| socket.try_clone().unwrap()).collect(),
                https: Vec::new(),
            },
            spool: self.spool.clone(),
            spool_dir: spool.to_owned(),
            snapshot: Some(spool.with_extension("snapshot")),
            domains: Domains::new(&[
                (domain(1), host("localhost"), true),
                (domain(DOMAIN), host("go.example.com"), false),
            ]),
            disabled: self.disabled.clone(),
            salts: Salts::default().roll(NOW, &SystemRandom),
            clock: Arc::new(SlowClock(Arc::clone(&self.clock), Arc::clone(&self.slowness))),
            random: Arc::new(SystemRandom),
            origin: Arc::clone(&self.links) as _,
            sink: Arc::clone(store) as _,
            background: self.runtime.handle().clone(),
        })?;
        Ok(Running(Some(edge)))
    }
}

/// An edge that is stopped at the end of its test, however that ends.
pub(crate) struct Running(Option<Edge>);

impl Running {
    pub(crate) fn stop(mut self) -> Stopped {
        self.0.take().unwrap().stop()
    }

    /// As a program does that fails elsewhere.
    pub(crate) fn drop_without_stop(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(edge) = self.0.take() {
            let _stopped = edge.stop();
        }
    }
}

impl Deref for Running {
    type Target = Edge;

    fn deref(&self) -> &Edge {
        self.0.as_ref().unwrap()
    }
}

/// The value of one sample on the metrics page.
pub(crate) fn metric(edge: &Edge, sample: &str) -> u64 {
    let page = Client::connect(edge.admin_address()).get("/metrics");
    let value = page.body.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "it never came that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The files in a folder of the spool.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}
