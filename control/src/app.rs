//! [`App`]: the open control plane, and what the composing program asks of it.

mod open;

pub use open::{OpenError, OpenOptions};

use std::sync::Arc;

use arc_swap::ArcSwap;
use carom_shared::batch::{Batch, Token};
use carom_shared::redis::ACK_WAIT;
use carom_shared::{
    Clock, Code, DomainId, Random, RouteChange, RouteRecord, RouteState, Salt, Salts, TargetUrl,
    UnixMillis, WorkspaceId,
};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::Accounts;
use crate::apikey::uses::Uses;
use crate::blocklist::{Blocklist, Policy};
use crate::click::live::Live;
use crate::click::sole::Keeps;
use crate::click::{ClickStore, StoreBatchError, Stored};
use crate::config::{Config, Origin};
use crate::db::{Database, Db, StoreError};
use crate::domain::live::target_policy;
use crate::domain::{Domains, TxtResolver};
use crate::http::cursor::CursorKey;
use crate::http::download::Downloads;
use crate::http::problem::ApiError;
use crate::idempotency::Answer;
use crate::idempotency::store::{Known, once_read};
use crate::limit::Limits;
use crate::link::Link;
use crate::link::command::{CreateLink, EditLink};
use crate::link::import::Imported;
use crate::link::store::{CreateRefused, EditRefused, route_resolve, routes_after};
use crate::metrics::{Gauges, Metrics};
use crate::missing;
use crate::publish::{Publisher, SubscribedError, Subscriber};
use crate::write::{Act, Command, ImportLinks, OnceRequest, Performed, Reply, WriteError, Writer};

/// Routes that are read at once when all of them are.
const ROUTES_PAGE: u32 = 1024;

/// The open control plane. Clones are the same one.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Config,
    db: Database,
    /// `None`: another control plane on the same database has them.
    clicks: Option<ClickStore>,
    keeps_clicks: Keeps,
    clicks_stored: Arc<Notify>,
    carrying: Arc<Mutex<()>>,
    live: Arc<Live>,
    downloads: Downloads,
    writer: Writer,
    cursor_key: CursorKey,
    publisher: Arc<Publisher>,
    home: Option<TargetUrl>,
    /// Those of the last time that somebody asked.
    salts: ArcSwap<Salts>,
    metrics: Arc<Metrics>,
    limits: Arc<Limits>,
    accounts: Accounts,
    control_url: Origin,
    key_uses: Arc<Uses>,
    domains: ArcSwap<Domains>,
    /// Held while domains are read.
    domains_lock: Mutex<()>,
    policy: ArcSwap<Policy>,
    dns: TxtResolver,
    /// Told when a link that is taken down was changed.
    blocked: Notify,
    /// Told when links are served on other hosts than before.
    hosts: Notify,
    first_workspace: WorkspaceId,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Cancelled: readiness fails, and what would go on for ever ends.
    draining: CancellationToken,
}

impl App {
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
        let metrics = self.metrics();
        let stored =
            clicks.store(token, &batch, self.now()).await.map_err(|source| match source {
                StoreError::BatchRefused(_) => {
                    metrics.batches_refused.add(1);
                    StoreBatchError::Refused { token: token.to_string(), source }
                }
                source => failed(source),
            })?;
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

    /// The settings it was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Whose links an operator imports and exports, and whose keys are made.
    pub(crate) fn first_workspace(&self) -> WorkspaceId {
        self.0.first_workspace
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
            // A file may lead links elsewhere that are taken down.
            if outcomes.iter().any(|outcome| matches!(outcome, Imported::Replaced)) {
                self.0.blocked.notify_one();
            }
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
        let edit = |reply| Command::EditLinks(commands, permit, reply);
        let performed = self.0.writer.run_once(once, edit).await?;
        if let Performed::Now(results) = &performed
            && results.iter().flatten().any(|link| link.state == RouteState::Blocked)
        {
            self.0.blocked.notify_one();
        }
        Ok(performed)
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

    /// Waits until what a noun does is durable and published.
    pub(crate) async fn act<A: Act>(&self, act: A) -> Result<A::Done, WriteError> {
        self.0.writer.act(act).await
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
    #[must_use]
    pub fn are_clicks_shared(&self) -> bool {
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

    pub(crate) fn downloads(&self) -> &Downloads {
        &self.0.downloads
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.0.live
    }

    /// Held while clicks are carried over to the links.
    pub(crate) fn carrying(&self) -> &Mutex<()> {
        &self.0.carrying
    }

    pub(crate) fn domain_set(&self) -> Arc<Domains> {
        self.0.domains.load_full()
    }

    /// Replaces the domains, and what targets are judged by with them. One at a time.
    pub(crate) fn set_domains(&self, domains: Domains) {
        let hosts = |domains: &Domains| -> Vec<_> {
            domains.verified().map(|domain| domain.host.clone()).collect()
        };
        let is_other = hosts(&domains) != hosts(&self.0.domains.load());
        self.0.policy.rcu(|policy| policy.with_target(target_policy(policy, &domains)));
        self.0.domains.store(Arc::new(domains));
        if is_other {
            self.0.hosts.notify_one();
        }
    }

    /// To be held while domains are read and set.
    pub(crate) fn domains_lock(&self) -> &Mutex<()> {
        &self.0.domains_lock
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.0.policy.load_full()
    }

    pub(crate) fn set_blocklist(&self, list: &Arc<Blocklist>) {
        self.0.policy.rcu(|policy| policy.with_blocklist(Arc::clone(list)));
    }

    pub(crate) fn dns(&self) -> &TxtResolver {
        &self.0.dns
    }

    /// Where `/` of the default domain leads.
    pub(crate) fn home(&self) -> Option<&str> {
        self.0.home.as_ref().map(TargetUrl::as_str)
    }

    /// Told when a link that is taken down was changed: it may lead elsewhere now.
    pub(crate) fn blocked_notify(&self) -> &Notify {
        &self.0.blocked
    }

    /// Told when links are served on other hosts than before.
    pub(crate) fn hosts_notify(&self) -> &Notify {
        &self.0.hosts
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn key_uses(&self) -> &Uses {
        &self.0.key_uses
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    /// What people's addresses of this control plane begin with.
    pub(crate) fn problem_base(&self) -> &str {
        self.0.control_url.as_str()
    }

    pub(crate) fn control_url(&self) -> &Origin {
        &self.0.control_url
    }

    pub(crate) fn is_control_https(&self) -> bool {
        self.0.control_url.scheme() == "https"
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.0.accounts
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
