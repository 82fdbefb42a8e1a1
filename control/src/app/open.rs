//! How the control plane is opened: both stores, what every database has, and the tasks that keep it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use carom_shared::settings::InvalidSetting;
use carom_shared::{
    Clock, FeedPosition, Host, OwnHosts, Random, TargetPolicy, UnixMillis, WorkspaceId,
};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{App, Inner};
use crate::account::Accounts;
use crate::blocklist::Policy;
use crate::blocklist::task::Files;
use crate::click::ClickStore;
use crate::click::leader::{LeaderTask, Leads};
use crate::click::moving::{self, ClicksNotServed};
use crate::click::retention::RetentionTask;
use crate::click::sole::Keeps;
use crate::config::{Checked, ClicksAt, Config, Origin};
use crate::db::moving::{NotServed, may_be_served};
use crate::db::{Database, DbOpenError, StoreError};
use crate::domain::live::target_policy;
use crate::domain::store::{domain_ensure_default, domain_list};
use crate::domain::{Domains, TxtResolver};
use crate::feed::store::feed_ensure;
use crate::feed::watch::WatchTask;
use crate::http::cursor::CursorKey;
use crate::http::download::Downloads;
use crate::limit::Limits;
use crate::link::clicks::CarryTask;
use crate::link::search::IndexTask;
use crate::mail::{Mailer, MailerParts};
use crate::metrics::Metrics;
use crate::publish::Publisher;
use crate::redis;
use crate::secret::seal::SealKey;
use crate::secret::store::{seal_key_ensure, secret_ensure};
use crate::workspace::store::workspace_ensure_first;
use crate::workspace::sweep::sweep;
use crate::write::Writer;

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
    #[error(transparent)]
    ClicksNotServed(#[from] ClicksNotServed),
    #[error("cannot prepare the database")]
    Prepare(#[from] StoreError),
}

/// What every control database has.
struct Prepared {
    first_workspace: WorkspaceId,
    feed: FeedPosition,
    domains: Domains,
    cursor_key: CursorKey,
    seal_key: SealKey,
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
        let seal_key = seal_key_ensure(&mut tx, random).await?;
        tx.commit().await?;
        Ok(Self { first_workspace, feed, domains, cursor_key, seal_key })
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
        let Checked { public_url, control_url, home, database, clicks, redis, mail } =
            config.checked()?;
        let db = Database::open(&database).await?;
        let metrics = Arc::new(Metrics::default());
        let Prepared { first_workspace, feed, domains, cursor_key, seal_key } =
            Prepared::of(&db, public_url, clock.now(), &*random).await?;
        metrics.feed_seq.set(feed.seq);

        let (leads, leader) = Leads::new(&database, clicks.as_ref());
        let clicks = open_clicks(clicks).await?;
        let mut blocklists = Files::new(&config.abuse.blocklists);
        let policy = first_policy(&config, &domains, &mut blocklists, &metrics);
        let publisher = Arc::new(Publisher::new(feed));
        let (writer, mut task) = Writer::new(
            db.clone(),
            Arc::clone(&clock),
            Arc::clone(&random),
            Arc::clone(&publisher),
            Arc::clone(&metrics),
        );
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let limits = Limits::new(&config.limits, &clock, redis.is_some(), &metrics.limits);
        limits.start(redis.clone(), &*random, &tasks, &stop);
        task.l2 = redis.map(|at| redis::start(&at, &database, &db, feed, &metrics, &tasks, &stop));
        task.audit_days = config.audit.retention_days;
        task.loss_days = config.clicks.retention_days;
        tasks.spawn(IndexTask::new(&task, writer.clone()).run(stop.clone()));
        tasks.spawn(task.run(stop.clone()));
        let (base, parts) = (control_url.as_str(), (&clock, &random, &metrics));
        let mailer = mail.map(|at| Mailer::new(at, mailer_parts(base, parts, &tasks, &stop)));
        let accounts = Accounts::new(&config.accounts, seal_key, mailer, control_url.as_str())?;
        let app = Self(Arc::new(Inner {
            dns: TxtResolver::new(config.domains.dns_server),
            config,
            control_url,
            accounts,
            db,
            clicks,
            keeps_clicks: Keeps::default(),
            clicks_stored: Arc::default(),
            carrying: Arc::default(),
            live: Arc::default(),
            downloads: Downloads::default(),
            writer,
            cursor_key,
            publisher,
            home,
            salts: ArcSwap::default(),
            metrics,
            limits,
            key_uses: Arc::default(),
            domains: ArcSwap::from_pointee(domains),
            domains_lock: Mutex::default(),
            policy: ArcSwap::from_pointee(policy),
            blocked: Notify::new(),
            hosts: Notify::new(),
            first_workspace,
            clock,
            random,
            tasks,
            stop,
            draining: CancellationToken::new(),
        }));
        app.keep_click_store(leads, leader);
        app.keep_the_rest(blocklists);
        Ok(app)
    }

    /// Starts what a store of clicks needs to have done.
    fn keep_click_store(&self, leads: Leads, leader: Option<LeaderTask>) {
        if let Some(leader) = leader {
            self.0.tasks.spawn(leader.run(self.0.stop.clone()));
        }
        let Some(clicks) = self.0.clicks.clone() else { return };
        let (metrics, stop) = (Arc::clone(&self.0.metrics), self.0.stop.clone());
        self.0.tasks.spawn(clicks.clone().keep(metrics, stop));
        let retention = RetentionTask {
            links: self.0.db.read.clone(),
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
            clock: Arc::clone(&self.0.clock),
            leads,
        };
        self.0.tasks.spawn(carry.run(self.0.stop.clone()));
    }

    /// Starts what follows changes that were made elsewhere, and what goes on where it was left.
    fn keep_the_rest(&self, blocklists: Files) {
        let (tasks, stop) = (&self.0.tasks, &self.0.stop);
        let publisher = Arc::clone(&self.0.publisher);
        let watch = WatchTask { read: self.0.db.read.clone(), publisher };
        tasks.spawn(watch.run(stop.clone()));
        let uses = Arc::clone(&self.0.key_uses).write(self.0.writer.clone(), stop.clone());
        tasks.spawn(uses);
        tasks.spawn(self.clone().keep_domains(stop.clone()));
        tasks.spawn(self.clone().keep_blocklists(blocklists, stop.clone()));
        sweep(self);
    }
}

/// The store of clicks; one that cannot be reached now is there later.
async fn open_clicks(at: Option<ClicksAt>) -> Result<Option<ClickStore>, OpenError> {
    let Some(at) = at else { return Ok(None) };
    let store = ClickStore::open(&at).await?;
    match moving::may_be_served(&store).await {
        // It is asked again when it is there.
        Err(ClicksNotServed::Store(error)) if error.is_unavailable() => {}
        judged => judged?,
    }
    Ok(Some(store))
}

/// What targets are judged by from the first one on.
fn first_policy(
    config: &Config,
    domains: &Domains,
    blocklists: &mut Files,
    metrics: &Metrics,
) -> Policy {
    let policy = TargetPolicy {
        max_len: config.control.max_target_bytes,
        allow_private: config.control.allow_private_targets,
        own_hosts: OwnHosts::default(),
    };
    let policy = Policy::from(target_policy(&policy, domains));
    match blocklists.look(&metrics.blocklist) {
        Some(list) => policy.with_blocklist(Arc::new(list)),
        None => policy,
    }
}

fn mailer_parts(
    base: &str,
    (clock, random, metrics): (&Arc<dyn Clock>, &Arc<dyn Random>, &Arc<Metrics>),
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> MailerParts {
    MailerParts {
        base: base.to_owned(),
        clock: Arc::clone(clock),
        random: Arc::clone(random),
        metrics: Arc::clone(metrics),
        tasks: tasks.clone(),
        stop: stop.clone(),
    }
}
