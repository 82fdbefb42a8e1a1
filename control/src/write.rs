//! The one task that writes to the control database: waiting commands share a commit.
//!
//! A commit costs a disk flush, whatever is in it. So commands queue, and whoever commits takes all
//! that wait (at most [`BATCH_MAX`]): alone, a command waits for its own flush; among many, each
//! waits for at most two. A refused command has written nothing, and the others do not notice.
//! After the commit, changes are published in their order, and then each command is answered; in a
//! fleet those that changed a route are answered once Redis has the change ([`crate::redis`]).
//!
//! A command that is in the queue is carried out even if its client is gone. If something fails
//! before the commit, nothing is done, and each of its commands says so; if the commit itself
//! fails, nobody knows, and they say that.
//!
//! A request that came with an idempotency key is looked up and stored here, in the transaction of
//! its effect: see [`crate::idempotency`].

mod act;

pub(crate) use act::{Act, Writing};

use std::sync::Arc;
use std::time::Duration;

use carom_shared::trace::{TARGET, TraceContext};
use carom_shared::{Clock, Code, DomainId, Random, Salts, UnixMillis};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::audit::Noted;
use crate::audit::store::PRUNED_MAX as ENTRIES_PRUNED_MAX;
use crate::audit::store::{audit_append, audit_prune};
use crate::db::{Database, StoreError, Tx};
use crate::feed::NewChange;
use crate::feed::store::{PRUNED_MAX, feed_append, feed_prune};
use crate::idempotency::store::PRUNED_MAX as ANSWERS_PRUNED_MAX;
use crate::idempotency::store::{Known, once_find, once_insert, once_prune};
use crate::idempotency::{Answer, Begun, OnceId, UnderWay};
use crate::invitation::store::PRUNED_MAX as INVITATIONS_PRUNED_MAX;
use crate::invitation::store::invitations_prune;
use crate::link::clicks::{ClickCursor, LinkClicks};
use crate::link::command::{CreateLink, EditLink};
use crate::link::import::{ImportLink, Imported, OnConflict};
use crate::link::search::{Indexed, pages_index};
use crate::link::store::{
    CreateRefused, EditRefused, Edited, ImportDone, link_clicks_set, link_create, link_edit,
    links_import,
};
use crate::link::{Link, trail};
use crate::loss::store::{LOSSES_PRUNED_MAX, losses_prune};
use crate::metrics::Metrics;
use crate::missing::store::missing_note;
use crate::publish::{Change, Publisher};
use crate::redis::{Committed, Held, HeldCount, L2Queue, Tell};
use crate::report::store::{PRUNED_MAX as REPORTS_PRUNED_MAX, reports_prune};
use crate::salt::store::salt_roll;

/// Commands that wait, at most; more are refused at once.
const QUEUE_MAX: usize = 1024;
/// Commands of one commit, at most: how long the first of them waits for the last.
const BATCH_MAX: usize = 256;
/// Commands in the queue that write many links, at most. Each holds the writer for up to a second
/// while all others wait.
const BULK_MAX: usize = 4;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How often old changes are removed.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// A command that was carried out, and whom to tell once the outcome of the commit is known.
pub(crate) struct Answered {
    tell: Tell,
    asked: Asked,
    /// Given back with the commit: that is what other large commands wait for.
    permit: Option<OwnedSemaphorePermit>,
    effect: Effect,
}

/// What an answer may promise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing of any route.
    None,
    /// A route was changed here and now.
    Made,
    /// A route may have been changed by another process, just now.
    Repeated,
}

/// Where the result of a command goes.
pub(crate) struct Reply<T> {
    asked: Asked,
    sender: oneshot::Sender<Result<Performed<T>, WriteError>>,
    once: Option<Once<T>>,
}

/// When a command was queued, and its span: of whoever asked, from the queue to the answer.
#[derive(Clone)]
struct Asked {
    at: Instant,
    span: Span,
}

impl Asked {
    fn now() -> Self {
        let at = Instant::now();
        // The process's own chores are no traces.
        if TraceContext::current().is_none() {
            return Self { at, span: Span::none() };
        }
        let span = tracing::info_span!(
            target: TARGET,
            "commit",
            carom.queue_us = Empty,
            carom.commit_us = Empty,
            carom.commands = Empty,
            error = Empty,
        );
        Self { at, span }
    }

    /// What it was part of: a transaction that began then, is over now, and had so many commands.
    fn committed(&self, begun: Instant, commands: usize) {
        if self.span.is_disabled() {
            return;
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.span.record("carom.queue_us", micros(begun.saturating_duration_since(self.at)));
        self.span.record("carom.commit_us", micros(begun.elapsed()));
        self.span.record("carom.commands", commands as u64);
    }
}

/// What a request with an idempotency key brings with it.
struct Once<T> {
    begun: Begun,
    fingerprint: [u8; 32],
    store: Store<T>,
}

/// The answer to a result, if it is one to be given again.
type Store<T> = Box<dyn FnOnce(&T) -> Option<Answer> + Send>;

/// A request that came with an idempotency key.
pub(crate) struct OnceRequest<T> {
    pub(crate) id: OnceId,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) store: Store<T>,
}

/// What became of a command.
#[derive(Debug)]
pub(crate) enum Performed<T> {
    Now(T),
    /// The same request was answered before.
    Before(Answer),
}

/// What can be written.
pub(crate) enum Command {
    CreateLink(Box<CreateLink>, Reply<Result<Link, CreateRefused>>),
    /// As many creates, each with its own result. The permit is given back with the answer.
    CreateLinks(Vec<CreateLink>, OwnedSemaphorePermit, Reply<Vec<Result<Link, CreateRefused>>>),
    /// Links of a file, each with what became of it.
    ImportLinks(ImportLinks, OwnedSemaphorePermit, Reply<Vec<Imported>>),
    EditLink(Box<EditLink>, Reply<Result<Link, EditRefused>>),
    /// As many edits, each with its own result.
    EditLinks(Vec<EditLink>, OwnedSemaphorePermit, Reply<Vec<Result<Link, EditRefused>>>),
    /// What links were clicked, and up to where that is.
    SetLinkClicks(Vec<LinkClicks>, ClickCursor, Reply<()>),
    /// Some new and changed links go into the index of texts: more, the longer ago this was asked.
    IndexLinks(Instant, Reply<Indexed>),
    /// Requests for codes of a domain that do not exist, each code once.
    NoteMissing(DomainId, Vec<(Code, u64)>, Reply<()>),
    /// What the numbers of visitors are made with at this time.
    RollSalts(Reply<Salts>),
    /// Whatever else a noun does: see [`Act`].
    Act(Box<dyn act::Queued>),
}

/// Links of a file, checked.
#[derive(Clone, Debug)]
pub(crate) struct ImportLinks {
    pub(crate) links: Vec<ImportLink>,
    pub(crate) on_conflict: OnConflict,
    /// Nothing is written.
    pub(crate) is_dry_run: bool,
}

/// Why a command was not carried out, or why nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("too many commands are waiting to be written")]
    Busy,
    #[error("the control plane is closing")]
    Closing,
    /// Nothing was done.
    #[error("the transaction failed before its commit; the writer logged why")]
    Failed,
    /// It is done, or it is not.
    #[error("the commit failed; the writer logged why")]
    Unknown,
    #[error("a request with this idempotency key is under way")]
    KeyUnderWay,
    #[error("the idempotency key was used for another request")]
    KeyUsed,
}

/// The way into the queue.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Command>,
    bulk: Arc<Semaphore>,
    under_way: UnderWay,
    held: HeldCount,
}

/// The other end of the queue.
pub(crate) struct WriterTask {
    pub(crate) db: Database,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) metrics: Arc<Metrics>,
    /// Told when links were written.
    pub(crate) written: Arc<Notify>,
    /// Who tells edges in other processes, if there are any.
    pub(crate) l2: Option<L2Queue>,
    /// How long entries of the audit log are kept; 0: for ever.
    pub(crate) audit_days: u32,
    /// How long it is kept when clicks were lost; 0: as long as anything is.
    pub(crate) loss_days: u32,
    held: HeldCount,
    commands: mpsc::Receiver<Command>,
    prune_after: UnixMillis,
}

impl Writer {
    pub(crate) fn new(
        db: Database,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        publisher: Arc<Publisher>,
        metrics: Arc<Metrics>,
    ) -> (Self, WriterTask) {
        let (queue, commands) = mpsc::channel(QUEUE_MAX);
        let prune_after = UnixMillis::new(i64::MIN);
        let written = Arc::new(Notify::new());
        let held = HeldCount::default();
        let task = WriterTask {
            db,
            clock,
            random,
            publisher,
            metrics,
            written,
            l2: None,
            audit_days: 0,
            loss_days: 0,
            held: held.clone(),
            commands,
            prune_after,
        };
        let bulk = Arc::new(Semaphore::new(BULK_MAX));
        (Self { queue, bulk, under_way: UnderWay::default(), held }, task)
    }

    /// Queues a command and waits until it is durable and published.
    pub(crate) async fn run<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, WriteError> {
        match self.run_once(None, command).await? {
            Performed::Now(done) => Ok(done),
            // Only a request with a key can have been answered before.
            Performed::Before(_) => Err(WriteError::Failed),
        }
    }

    /// Queues what a noun does and waits until it is durable and published.
    pub(crate) async fn act<A: Act>(&self, act: A) -> Result<A::Done, WriteError> {
        self.run(|reply| Command::Act(act::queue(act, reply))).await
    }

    /// As [`Writer::run`], for a request that may come with an idempotency key.
    pub(crate) async fn run_once<T>(
        &self,
        once: Option<OnceRequest<T>>,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<Performed<T>, WriteError> {
        if self.held.is_full() {
            return Err(WriteError::Busy);
        }
        let begin = |OnceRequest { id, fingerprint, store }| {
            let begun = self.under_way.begin(id).ok_or(WriteError::KeyUnderWay)?;
            Ok(Once { begun, fingerprint, store })
        };
        let once = once.map(begin).transpose()?;
        let (sender, answer) = oneshot::channel();
        let asked = Asked::now();
        let span = asked.span.clone();
        self.queue.try_send(command(Reply { asked, sender, once })).map_err(
            |error| match error {
                mpsc::error::TrySendError::Full(_) => WriteError::Busy,
                mpsc::error::TrySendError::Closed(_) => WriteError::Closing,
            },
        )?;
        // The writer drops the replies of what failed before its commit.
        let done = answer.await.unwrap_or(Err(WriteError::Failed));
        if matches!(done, Err(WriteError::Failed | WriteError::Unknown)) {
            span.record("error", true);
        }
        done
    }

    /// Room for one command that writes many links.
    pub(crate) fn bulk_permit(&self) -> Result<OwnedSemaphorePermit, WriteError> {
        Arc::clone(&self.bulk).try_acquire_owned().map_err(|_| WriteError::Busy)
    }

    /// Whether a command that writes many links is on its way.
    pub(crate) fn is_bulk(&self) -> bool {
        self.bulk.available_permits() < BULK_MAX
    }

    /// Commands that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Answers that wait for Redis.
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }

    /// Whether anybody takes commands.
    pub(crate) fn is_alive(&self) -> bool {
        !self.queue.is_closed()
    }
}

impl WriterTask {
    /// Writes until `stop`, and then what is still waiting.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut waiting = Vec::with_capacity(BATCH_MAX);
        let mut is_stopping = false;
        loop {
            let count = tokio::select! {
                biased;
                count = self.commands.recv_many(&mut waiting, BATCH_MAX) => count,
                () = stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    self.commands.close();
                    continue;
                }
            };
            if count == 0 {
                return;
            }
            if let Err(error) = self.commit(&mut waiting).await {
                self.metrics.commits_failed.add(1);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    commands = count,
                    "a transaction of commands failed"
                );
                waiting.clear();
            }
        }
    }

    /// Carries out what waits and answers it. After an error all that was not answered is dropped:
    /// nothing of it was done.
    async fn commit(&mut self, waiting: &mut Vec<Command>) -> Result<(), StoreError> {
        let begun = Instant::now();
        let mut tx = self.db.begin_served().await?;
        let now = self.clock.now();
        let mut answers = Vec::with_capacity(waiting.len());
        let mut changes = Vec::with_capacity(waiting.len());
        let mut noted = Vec::with_capacity(waiting.len());
        for command in waiting.drain(..) {
            let before = changes.len();
            let writing = Writing {
                tx: &mut tx,
                now,
                random: &*self.random,
                changes: &mut changes,
                noted: &mut noted,
            };
            let mut answered = apply(writing, command).await?;
            if changes.len() > before {
                answered.effect = Effect::Made;
            }
            answers.push(answered);
        }
        audit_append(&mut tx, &noted, now).await?;
        let changes = feed_append(&mut tx, changes, now).await?;
        if now >= self.prune_after {
            let is_full = |pruned, max| pruned >= max;
            let more = is_full(feed_prune(&mut tx, now).await?, PRUNED_MAX)
                | is_full(once_prune(&mut tx, now).await?, ANSWERS_PRUNED_MAX)
                | is_full(self.audit_prune(&mut tx, now).await?, ENTRIES_PRUNED_MAX)
                | is_full(losses_prune(&mut tx, self.loss_days, now).await?, LOSSES_PRUNED_MAX)
                | is_full(invitations_prune(&mut tx, now).await?, INVITATIONS_PRUNED_MAX)
                | is_full(reports_prune(&mut tx, now).await?, REPORTS_PRUNED_MAX);
            // A full hand means that more is waiting: go on with the next commit.
            if !more {
                self.prune_after = now.saturating_add(PRUNE_INTERVAL);
            }
        }
        if let Err(error) = tx.commit().await {
            self.publisher.missed();
            answers.into_iter().for_each(|answer| (answer.tell)(Err(WriteError::Unknown)));
            return Err(error);
        }
        let at = Instant::now();
        answers.iter().for_each(|answer| answer.asked.committed(begun, answers.len()));
        self.metrics.commits.add(1);
        self.publisher.publish(&changes);
        if let Some(last) = changes.last() {
            self.metrics.feed_seq.set(last.seq);
            self.written.notify_one();
        }
        self.answer(at, changes, answers);
        Ok(())
    }

    async fn audit_prune(&self, tx: &mut Tx, now: UnixMillis) -> Result<u64, StoreError> {
        if self.audit_days == 0 {
            return Ok(0);
        }
        let life_ms = i64::from(self.audit_days) * DAY_MS;
        audit_prune(tx, UnixMillis::new(now.get().saturating_sub(life_ms))).await
    }

    /// Answers what is committed: at once, or when no edge can contradict it.
    fn answer(&self, at: Instant, changes: Vec<Change>, answers: Vec<Answered>) {
        let (mut made, mut repeated) = (Vec::new(), Vec::new());
        for Answered { tell, permit, effect, .. } in answers {
            drop(permit);
            match effect {
                Effect::Made if self.l2.is_some() => made.push(tell),
                Effect::Repeated if self.l2.is_some() => repeated.push(tell),
                _ => tell(Ok(())),
            }
        }
        let Some(l2) = &self.l2 else { return };
        let hold = |answers| Held::new(answers, self.held.clone());
        l2.hand_over(Committed { at, changes, made: hold(made), repeated: hold(repeated) });
    }
}

/// Carries out one command; what it answers waits for the commit.
async fn apply(writing: Writing<'_>, command: Command) -> Result<Answered, StoreError> {
    let Writing { tx, now, random, changes, noted } = writing;
    Ok(match command {
        Command::CreateLink(command, reply) => {
            perform(tx, reply, now, async |tx| {
                create(tx, *command, now, random, changes, noted).await
            })
            .await?
        }
        Command::CreateLinks(commands, permit, reply) => {
            let answer = perform(tx, reply, now, async |tx| {
                let mut results = Vec::with_capacity(commands.len());
                for command in commands {
                    results.push(create(tx, command, now, random, changes, noted).await?);
                }
                Ok(results)
            });
            holding(permit, answer.await?)
        }
        Command::ImportLinks(ImportLinks { links, on_conflict, is_dry_run }, permit, reply) => {
            let answer = perform(tx, reply, now, async |tx| {
                let imported = links_import(tx, &links, on_conflict, is_dry_run, now, random);
                let ImportDone { outcomes, changes: made, noted: entries } = imported.await?;
                changes.extend(made);
                noted.extend(entries);
                Ok(outcomes)
            });
            holding(permit, answer.await?)
        }
        Command::EditLink(command, reply) => {
            perform(tx, reply, now, async |tx| {
                let edited = link_edit(tx, *command, now).await?;
                Ok(noting(changes, noted, edited))
            })
            .await?
        }
        Command::EditLinks(commands, permit, reply) => {
            let answer = perform(tx, reply, now, async |tx| {
                let mut results = Vec::with_capacity(commands.len());
                for command in commands {
                    let edited = link_edit(tx, command, now).await?;
                    results.push(noting(changes, noted, edited));
                }
                Ok(results)
            });
            holding(permit, answer.await?)
        }
        Command::SetLinkClicks(links, cursor, reply) => {
            perform(tx, reply, now, async |tx| link_clicks_set(tx, &links, cursor).await).await?
        }
        Command::IndexLinks(asked, reply) => {
            perform(tx, reply, now, async |tx| pages_index(tx, asked).await).await?
        }
        Command::NoteMissing(domain, codes, reply) => {
            let note = async |tx: &mut Tx| missing_note(tx, domain, &codes, now).await;
            perform(tx, reply, now, note).await?
        }
        Command::RollSalts(reply) => {
            perform(tx, reply, now, async |tx| salt_roll(tx, now, random).await).await?
        }
        Command::Act(queued) => queued.apply(Writing { tx, now, random, changes, noted }).await?,
    })
}

/// Does the work of a command, unless the same request was answered before.
async fn perform<T: Send + 'static>(
    tx: &mut Tx,
    reply: Reply<T>,
    now: UnixMillis,
    work: impl AsyncFnOnce(&mut Tx) -> Result<T, StoreError>,
) -> Result<Answered, StoreError> {
    let Reply { asked, sender, once } = reply;
    let span = asked.span.clone();
    let Some(Once { begun, fingerprint, store }) = once else {
        let done = Performed::Now(work(tx).instrument(span).await?);
        return Ok(answer(asked, sender, Ok(done), None));
    };
    let outcome = match once_find(tx, begun.id(), &fingerprint, now).await? {
        Known::New => {
            let done = work(tx).instrument(span).await?;
            if let Some(answer) = store(&done) {
                once_insert(tx, begun.id(), &fingerprint, &answer, now).await?;
            }
            Ok(Performed::Now(done))
        }
        Known::Answered(answer) => Ok(Performed::Before(answer)),
        Known::Other => Err(WriteError::KeyUsed),
    };
    Ok(answer(asked, sender, outcome, Some(begun)))
}

fn answer<T: Send + 'static>(
    asked: Asked,
    sender: oneshot::Sender<Result<Performed<T>, WriteError>>,
    outcome: Result<Performed<T>, WriteError>,
    begun: Option<Begun>,
) -> Answered {
    let is_repeated = matches!(outcome, Ok(Performed::Before(_)));
    let tell: Tell = Box::new(move |committed| {
        // Whoever comes with the same key from now on is told of what is stored.
        drop(begun);
        // A client that is gone does not hear the answer; its command is done all the same.
        drop(sender.send(committed.and(outcome)));
    });
    let effect = if is_repeated { Effect::Repeated } else { Effect::None };
    Answered { tell, asked, permit: None, effect }
}

/// Keeps the permit until the commit is done.
fn holding(permit: OwnedSemaphorePermit, answer: Answered) -> Answered {
    Answered { permit: Some(permit), ..answer }
}

/// Makes a link, and notes that for edges and for the audit log.
async fn create(
    tx: &mut Tx,
    command: CreateLink,
    now: UnixMillis,
    random: &dyn Random,
    changes: &mut Vec<NewChange>,
    noted: &mut Vec<Noted>,
) -> Result<Result<Link, CreateRefused>, StoreError> {
    let by = Arc::clone(&command.by);
    let created = link_create(tx, command, now, random).await?;
    Ok(created.map(|(link, change)| {
        changes.push(change);
        noted.push(Noted { by, entry: trail::created(&link) });
        link
    }))
}

/// Notes what an edit changes; gives what it answers.
fn noting(
    changes: &mut Vec<NewChange>,
    noted: &mut Vec<Noted>,
    result: Result<(Link, Option<Edited>), EditRefused>,
) -> Result<Link, EditRefused> {
    result.map(|(link, edited)| {
        if let Some(Edited { change, noted: entry }) = edited {
            changes.push(change);
            noted.push(entry);
        }
        link
    })
}
