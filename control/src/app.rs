//! [`App`]: the open control plane, and what the composing program asks of it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use carom_shared::batch::{Batch, Token};
use carom_shared::redis::ACK_WAIT;
use carom_shared::settings::InvalidSetting;
use carom_shared::{
    ApiKeyId, Clock, Code, DomainId, FeedPosition, Host, Random, RouteChange, RouteRecord, Salt,
    Salts, ServedDomain, TargetPolicy, TargetUrl, UnixMillis, WorkspaceId,
};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::apikey::KeyRow;
use crate::apikey::command::{Secret, check_name};
use crate::apikey::store::{NewKey, key_list};
use crate::click::leader::Leads;
use crate::click::live::Live;
use crate::click::retention::RetentionTask;
use crate::click::sole::Keeps;
use crate::click::{ClickStore, StoreBatchError, Stored};
use crate::config::{Checked, Config, Origin};
use crate::db::moving::{NotServed, may_be_served};
use crate::db::{Database, Db, DbOpenError, StoreError};
use crate::domain::store::{domain_ensure_default, domain_list};
use crate::domain::{Domain, Domains};
use crate::feed::store::feed_ensure;
use crate::feed::watch::WatchTask;
use crate::http::cursor::CursorKey;
use crate::http::problem::ApiError;
use crate::idempotency::Answer;
use crate::idempotency::store::{Known, once_read};
use crate::link::Link;
use crate::link::clicks::CarryTask;
use crate::link::command::{CreateLink, EditLink};
use crate::link::import::Imported;
use crate::link::search::IndexTask;
use crate::link::store::{CreateRefused, EditRefused, route_resolve, routes_after};
use crate::metrics::{Gauges, Metrics};
use crate::missing;
use crate::operator::{KeyCreated, KeyView};
use crate::publish::{Publisher, SubscribedError, Subscriber};
use crate::redis;
use crate::secret::store::secret_ensure;
use crate::workspace::store::workspace_ensure_first;
use crate::write::{Command, ImportLinks, OnceRequest, Performed, Reply, WriteError, Writer};

/// Routes that are read at once when all of them are.
const ROUTES_PAGE: u32 = 1024;

/// What [`App::open`] needs.
pub struct OpenOptions {
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// Why the control plane could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Config(#[from] InvalidSetting),
    #[error(transparent)]
    Database(#[from] DbOpenError),
    #[error(
        "public_url: {0} is the host of another domain already; name another host, or remove that \
         domain first"
    )]
    HostTaken(Host),
    #[error(transparent)]
    NotServed(#[from] NotServed),
    #[error("cannot prepare the database")]
    Prepare(#[from] StoreError),
}

/// The open control plane. Clones are the same one.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Config,
    problem_base: String,
    db: Database,
    /// `None`: another control plane on the same database has them.
    clicks: Option<ClickStore>,
    keeps_clicks: Keeps,
    clicks_stored: Arc<Notify>,
    carrying: Arc<Mutex<()>>,
    live: Arc<Live>,
    writer: Writer,
    cursor_key: CursorKey,
    publisher: Arc<Publisher>,
    home: Option<TargetUrl>,
    /// Those of the last time that somebody asked.
    salts: ArcSwap<Salts>,
    metrics: Arc<Metrics>,
    domains: Domains,
    policy: TargetPolicy,
    first_workspace: WorkspaceId,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Cancelled: readiness fails, and what would go on for ever ends.
    draining: CancellationToken,
}

/// What every control database has.
struct Prepared {
    first_workspace: WorkspaceId,
    feed: FeedPosition,
    domains: Domains,
    cursor_key: CursorKey,
}

impl Prepared {
    /// Reads it, or makes it where it is missing.
    async fn of(
        db: &Database,
        public_url: Origin,
        now: UnixMillis,
        random: &dyn Random,
    ) -> Result<Self, OpenError> {
        let mut tx = db.begin().await?;
        may_be_served(&mut tx).await?;
        let first_workspace = workspace_ensure_first(&mut tx, now, random).await?;
        if !domain_ensure_default(&mut tx, public_url.host(), now, random).await? {
            return Err(OpenError::HostTaken(public_url.host().clone()));
        }
        let feed = feed_ensure(&mut tx, now).await?;
        let domains = Domains::new(domain_list(&mut tx).await?, public_url);
        let cursor_key = secret_ensure(&mut tx, random).await?;
        tx.commit().await?;
        Ok(Self { first_workspace, feed, domains, cursor_key })
    }
}

impl App {
    /// Opens and migrates both stores, makes the first workspace and the default domain if there
    /// are none, and starts the task that writes. Nothing listens yet. The caller holds the data
    /// folder's lock, and this is called within a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] says which setting or which file is the cause.
    pub async fn open(options: OpenOptions) -> Result<Self, OpenError> {
        let OpenOptions { config, clock, random } = options;
        let Checked { public_url, control_url, home, database, clicks, redis } =
            config.checked()?;
        let db = Database::open(&database).await?;
        let metrics = Arc::new(Metrics::default());

        let prepared = Prepared::of(&db, public_url, clock.now(), &*random).await?;
        let Prepared { first_workspace, feed, domains, cursor_key } = prepared;
        metrics.feed_seq.set(feed.seq);

        let (leads, leader) = Leads::new(&database, clicks.as_ref());
        let clicks = match clicks {
            Some(at) => Some(ClickStore::open(&at).await?),
            None => None,
        };
        let policy = TargetPolicy {
            max_len: config.control.max_target_bytes,
            allow_private: config.control.allow_private_targets,
            own_hosts: domains.all().iter().map(|domain| domain.host.clone()).collect(),
        };
        let publisher = Arc::new(Publisher::new(feed));
        let (writer, mut task) = Writer::new(
            db.clone(),
            Arc::clone(&clock),
            Arc::clone(&random),
            Arc::clone(&publisher),
            Arc::clone(&metrics),
        );
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        task.l2 = redis.map(|at| redis::start(&at, &database, &db, feed, &metrics, &tasks, &stop));
        tasks.spawn(IndexTask::new(&task, writer.clone()).run(stop.clone()));
        tasks.spawn(task.run(stop.clone()));
        let watch = WatchTask { read: db.read.clone(), publisher: Arc::clone(&publisher) };
        tasks.spawn(watch.run(stop.clone()));
        let app = Self(Arc::new(Inner {
            config,
            problem_base: control_url.as_str().to_owned(),
            db,
            clicks,
            keeps_clicks: Keeps::default(),
            clicks_stored: Arc::default(),
            carrying: Arc::default(),
            live: Arc::default(),
            writer,
            cursor_key,
            publisher,
            home,
            salts: ArcSwap::default(),
            metrics,
            domains,
            policy,
            first_workspace,
            clock,
            random,
            tasks,
            stop,
            draining: CancellationToken::new(),
        }));
        if let Some(leader) = leader {
            app.0.tasks.spawn(leader.run(app.0.stop.clone()));
        }
        app.keep_click_store(leads);
        Ok(app)
    }

    /// Starts what a store of clicks needs to have done.
    fn keep_click_store(&self, leads: Leads) {
        let Some(clicks) = self.0.clicks.clone() else { return };
        let retention = RetentionTask {
            clicks: clicks.clone(),
            clock: Arc::clone(&self.0.clock),
            days: self.0.config.clicks.retention_days,
            metrics: Arc::clone(&self.0.metrics),
            leads: leads.clone(),
        };
        self.0.tasks.spawn(retention.run(self.0.stop.clone()));
        let carry = CarryTask {
            read: self.0.db.read.clone(),
            clicks,
            writer: self.0.writer.clone(),
            stored: Arc::clone(&self.0.clicks_stored),
            carrying: Arc::clone(&self.0.carrying),
            leads,
        };
        self.0.tasks.spawn(carry.run(self.0.stop.clone()));
    }

    /// Writes what is waiting, refuses more, and closes both stores with their logs written back.
    /// Call it when nothing is served any more.
    pub async fn close(&self) {
        self.drain();
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.db.close().await;
        if let Some(clicks) = &self.0.clicks {
            clicks.close().await;
        }
    }

    /// Lets readiness fail from now on, so that load balancers look elsewhere, and ends live feeds,
    /// so that no listener waits for them.
    pub fn drain(&self) {
        self.0.draining.cancel();
    }

    /// Lets a subscriber know of each change before its command is answered. Once, before serving.
    ///
    /// # Errors
    /// [`SubscribedError`] if there is one already.
    pub fn subscribe(&self, subscriber: Arc<dyn Subscriber>) -> Result<(), SubscribedError> {
        self.0.publisher.subscribe(subscriber)
    }

    /// What a code leads to. A deleted code gives its tombstone; one that never was gives `None`.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn resolve(
        &self,
        domain: DomainId,
        code: &Code,
    ) -> Result<Option<RouteRecord>, StoreError> {
        route_resolve(&self.0.db.read, domain, code).await
    }

    /// Whether nobody else writes to the database while this is open: a file's lock sees to that, and
    /// a server's database may be shared. Who [subscribed](Self::subscribe) then hears of everything.
    #[must_use]
    pub fn is_only_writer(&self) -> bool {
        matches!(self.0.db.write, Db::Sqlite(_))
    }

    /// The first thousand or so of all routes after this one, tombstones included, in the order of
    /// domains and codes; none at the end.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn routes_after(
        &self,
        after: Option<(DomainId, Code)>,
    ) -> Result<Vec<RouteChange>, StoreError> {
        routes_after(&self.0.db.read, after, ROUTES_PAGE).await
    }

    /// What the numbers of visitors are made with: the salts of yesterday, today and tomorrow. Ask
    /// again within a day; the same process and every other on this database is told the same.
    ///
    /// # Errors
    /// A sentence for the log, if they cannot be had now.
    pub async fn salts(&self) -> Result<Salts, String> {
        let today = Salt::day_of(self.now());
        let known = self.0.salts.load();
        // A day's salt never changes: nothing is written while those of two days are there.
        if [today, today.saturating_add(1)].iter().all(|&day| known.of(day).is_some()) {
            return Ok(Salts::clone(&known));
        }
        let salts = self.0.writer.run(Command::RollSalts).await;
        let salts = salts
            .map_err(|error| format!("cannot read the salts of visitors' numbers: {error}"))?;
        self.0.salts.store(Arc::new(salts.clone()));
        Ok(salts)
    }

    /// Every domain, as edges serve it.
    #[must_use]
    pub fn domains(&self) -> Vec<ServedDomain> {
        let home = self.0.home.as_ref();
        let serve = |domain: &Domain| ServedDomain {
            id: domain.id,
            host: domain.host.clone(),
            is_default: domain.is_default,
            home: home.filter(|_| domain.is_default).map(ToString::to_string),
        };
        self.0.domains.all().iter().map(serve).collect()
    }

    /// Stores a batch of clicks, exactly once per token. Unpacking takes a few milliseconds of CPU
    /// for a large batch: call it where that disturbs nobody.
    ///
    /// # Errors
    /// [`StoreBatchError`] tells a batch that can never be stored from a store that failed.
    pub async fn store_batch(
        &self,
        token: &Token,
        bytes: &[u8],
    ) -> Result<Stored, StoreBatchError> {
        let failed = |source| StoreBatchError::Store { token: token.to_string(), source };
        let clicks = self.clicks().map_err(failed)?;
        let batch = Batch::from_bytes(bytes)
            .map_err(|source| StoreBatchError::Batch { token: token.to_string(), source })?;
        let stored = clicks.store(token, &batch, self.now()).await.map_err(failed)?;
        let metrics = self.metrics();
        match stored {
            Stored::New { rows: _, clicks } => {
                metrics.batches_stored.add(1);
                metrics.clicks_stored.add(clicks);
                self.0.clicks_stored.notify_one();
                self.0.live.publish(&batch);
            }
            Stored::Duplicate => metrics.batches_duplicate.add(1),
            Stored::TooOld => metrics.batches_too_old.add(1),
        }
        Ok(stored)
    }

    /// Counts requests for codes that do not exist. Each of them once or, where this fails, not at
    /// all: do not hand them over again, they may be counted.
    ///
    /// # Errors
    /// A sentence for the log; those of the domains before it in the order of ids are counted.
    pub async fn note_missing(
        &self,
        requests: impl IntoIterator<Item = (DomainId, Code, u64)>,
    ) -> Result<(), String> {
        for (domain, codes) in missing::by_domain(requests) {
            // A domain that is gone; its row would be missed and everybody's commit fail.
            if self.domain_set().by_id(domain).is_none() {
                continue;
            }
            let noted = self.0.writer.run(|reply| Command::NoteMissing(domain, codes, reply)).await;
            noted
                .map_err(|error| format!("requests for missing codes are not counted: {error}"))?;
        }
        Ok(())
    }

    /// Erases all clicks of a workspace: rows, rollups, totals. Returns how many rows there were.
    ///
    /// # Errors
    /// [`StoreError`] if the store of clicks fails; calling it again goes on.
    pub async fn erase_workspace_clicks(&self, workspace: WorkspaceId) -> Result<u64, StoreError> {
        self.clicks()?.erase_workspace(workspace, self.now()).await
    }

    /// The settings it was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) async fn key_create(&self, name: &str) -> Result<KeyCreated, ApiError> {
        let name = check_name(name).map_err(|error| ApiError::Invalid(vec![error]))?;
        let secret = Secret::generate(&*self.0.random);
        let key = NewKey {
            workspace: self.0.first_workspace,
            name,
            hash: secret.hash(),
            hint: secret.hint(),
        };
        let row = self.0.writer.run(|reply| Command::CreateKey(key, reply)).await?;
        Ok(KeyCreated { key: secret.reveal(), view: KeyView::from(row) })
    }

    /// Whose links an operator imports and exports, and whose keys are made.
    pub(crate) fn first_workspace(&self) -> WorkspaceId {
        self.0.first_workspace
    }

    pub(crate) async fn key_list(&self) -> Result<Vec<KeyRow>, StoreError> {
        key_list(&self.0.db.read).await
    }

    pub(crate) async fn key_revoke(&self, id: ApiKeyId) -> Result<Option<KeyRow>, WriteError> {
        self.0.writer.run(|reply| Command::RevokeKey(id, reply)).await
    }

    pub(crate) async fn link_create(
        &self,
        command: CreateLink,
        once: Option<OnceRequest<Result<Link, CreateRefused>>>,
    ) -> Result<Performed<Result<Link, CreateRefused>>, WriteError> {
        let create = |reply| Command::CreateLink(Box::new(command), reply);
        let performed = self.0.writer.run_once(once, create).await?;
        if let Performed::Now(Ok(_)) = performed {
            self.metrics().links_created.add(1);
        }
        Ok(performed)
    }

    pub(crate) async fn links_create(
        &self,
        commands: Vec<CreateLink>,
        once: Option<OnceRequest<Vec<Result<Link, CreateRefused>>>>,
    ) -> Result<Performed<Vec<Result<Link, CreateRefused>>>, WriteError> {
        let permit = self.0.writer.bulk_permit()?;
        let create = |reply| Command::CreateLinks(commands, permit, reply);
        let performed = self.0.writer.run_once(once, create).await?;
        if let Performed::Now(results) = &performed {
            self.metrics().links_created.add(results.iter().flatten().count() as u64);
        }
        Ok(performed)
    }

    /// Room for one command that writes many links.
    pub(crate) fn bulk_permit(&self) -> Result<OwnedSemaphorePermit, WriteError> {
        self.0.writer.bulk_permit()
    }

    /// Imports links of a file in one commit, with what became of each.
    pub(crate) async fn links_import(
        &self,
        import: ImportLinks,
        permit: OwnedSemaphorePermit,
    ) -> Result<Vec<Imported>, WriteError> {
        let is_dry_run = import.is_dry_run;
        let run = |reply| Command::ImportLinks(import, permit, reply);
        let outcomes = self.0.writer.run(run).await?;
        if !is_dry_run {
            let made = outcomes.iter().filter(|outcome| matches!(outcome, Imported::Made));
            self.metrics().links_created.add(made.count() as u64);
        }
        Ok(outcomes)
    }

    pub(crate) async fn links_edit(
        &self,
        commands: Vec<EditLink>,
        once: Option<OnceRequest<Vec<Result<Link, EditRefused>>>>,
    ) -> Result<Performed<Vec<Result<Link, EditRefused>>>, WriteError> {
        let permit = self.0.writer.bulk_permit()?;
        self.0.writer.run_once(once, |reply| Command::EditLinks(commands, permit, reply)).await
    }

    /// What a request was answered that is not to be carried out again.
    pub(crate) async fn answered_before<T>(
        &self,
        request: OnceRequest<T>,
    ) -> Result<Option<Answer>, ApiError> {
        match once_read(self.read(), &request.id, &request.fingerprint, self.now()).await? {
            Known::New => Ok(None),
            Known::Answered(answer) => {
                // Another process may have written it just now, and not answered yet.
                if self.0.metrics.l2.enabled.get() > 0 {
                    tokio::time::sleep(ACK_WAIT).await;
                }
                Ok(Some(answer))
            }
            Known::Other => Err(ApiError::KeyUsed),
        }
    }

    /// Waits until a command is durable and published.
    pub(crate) async fn write<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, WriteError> {
        self.0.writer.run(command).await
    }

    pub(crate) fn cursor_key(&self) -> &CursorKey {
        &self.0.cursor_key
    }

    pub(crate) fn read(&self) -> &Db {
        &self.0.db.read
    }

    /// The store of clicks.
    ///
    /// # Errors
    /// [`StoreError::NoClicks`] where another control plane has it.
    pub(crate) fn clicks(&self) -> Result<&ClickStore, StoreError> {
        let clicks = self.0.clicks.as_ref().filter(|_| self.0.keeps_clicks.now());
        clicks.ok_or(StoreError::NoClicks)
    }

    /// Whether clicks are stored where other control planes on this database store them too.
    pub(crate) fn are_clicks_shared(&self) -> bool {
        matches!(self.0.clicks, Some(ClickStore::ClickHouse(_)))
    }

    pub(crate) fn keeps(&self) -> &Keeps {
        &self.0.keeps_clicks
    }

    /// Cancelled when it closes.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// Lets the links' totals follow clicks that came by another way than [`App::store_batch`].
    pub(crate) fn clicks_were_stored(&self) {
        self.0.clicks_stored.notify_one();
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.0.live
    }

    /// Held while clicks are carried over to the links.
    pub(crate) fn carrying(&self) -> &Mutex<()> {
        &self.0.carrying
    }

    pub(crate) fn domain_set(&self) -> &Domains {
        &self.0.domains
    }

    pub(crate) fn policy(&self) -> &TargetPolicy {
        &self.0.policy
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    pub(crate) fn problem_base(&self) -> &str {
        &self.0.problem_base
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.0.clock.now()
    }

    pub(crate) fn random(&self) -> &dyn Random {
        &*self.0.random
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Returns once [`App::drain`] was called.
    pub(crate) async fn draining(&self) {
        self.0.draining.cancelled().await;
    }

    /// Runs a task that ends by itself once [`App::drain`] was called; closing waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(task);
    }

    /// Whether the one task without which nothing can be changed is there.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.writer.is_alive()
    }

    pub(crate) fn gauges(&self) -> Gauges {
        Gauges {
            writes_waiting: self.0.writer.waiting(),
            answers_held: self.0.writer.held(),
            live_streams: self.0.live.streams(),
            is_draining: self.is_draining(),
        }
    }
}
