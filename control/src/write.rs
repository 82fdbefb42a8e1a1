//! The one task that writes to the control database: waiting commands share a commit.
//!
//! A commit costs a disk flush, whatever is in it. So commands queue, and whoever commits takes all
//! that wait (at most [`BATCH_MAX`]): alone, a command waits for its own flush; among many, each
//! waits for at most two. A refused command has written nothing, and the others do not notice.
//! After the commit, changes are published in their order, and then each command is answered.
//!
//! A command that is in the queue is carried out even if its client is gone. If the commit fails,
//! nothing of it is done, and each of its commands fails.

use std::sync::Arc;
use std::time::Duration;

use carom_shared::{ApiKeyId, Clock, Random, UnixMillis};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::apikey::KeyRow;
use crate::apikey::store::{NewKey, key_create, key_revoke};
use crate::db::{Database, StoreError, Tx};
use crate::feed::NewChange;
use crate::feed::store::{PRUNED_MAX, feed_append, feed_prune};
use crate::link::Link;
use crate::link::command::{CreateLink, EditLink};
use crate::link::store::{CreateRefused, EditRefused, link_create, link_edit};
use crate::metrics::Metrics;
use crate::publish::{Change, Publisher};

/// Commands that wait, at most; more are refused at once.
const QUEUE_MAX: usize = 1024;
/// Commands of one commit, at most: how long the first of them waits for the last.
const BATCH_MAX: usize = 256;
/// Commands in the queue that make many links, at most. Each holds the writer for up to a second
/// while all others wait.
const BULK_MAX: usize = 4;
/// How often old changes are removed.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

pub(crate) type Reply<T> = oneshot::Sender<T>;
/// Tells a client, once the commit is durable and published.
type Answer = Box<dyn FnOnce() + Send>;

/// What can be written.
pub(crate) enum Command {
    CreateLink(Box<CreateLink>, Reply<Result<Link, CreateRefused>>),
    /// As many creates, each with its own result. The permit is given back with the answer.
    CreateLinks(Vec<CreateLink>, OwnedSemaphorePermit, Reply<Vec<Result<Link, CreateRefused>>>),
    EditLink(Box<EditLink>, Reply<Result<Link, EditRefused>>),
    CreateKey(NewKey, Reply<KeyRow>),
    RevokeKey(ApiKeyId, Reply<Option<KeyRow>>),
}

/// Why a command was not carried out, or why nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("too many commands are waiting to be written")]
    Busy,
    #[error("the control plane is closing")]
    Closing,
    #[error("the commit failed; the writer logged why")]
    Failed,
}

/// The way into the queue.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Command>,
    bulk: Arc<Semaphore>,
}

/// The other end of the queue.
pub(crate) struct WriterTask {
    pub(crate) db: Database,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) metrics: Arc<Metrics>,
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
        let task = WriterTask { db, clock, random, publisher, metrics, commands, prune_after };
        (Self { queue, bulk: Arc::new(Semaphore::new(BULK_MAX)) }, task)
    }

    /// Queues a command and waits until it is durable and published.
    pub(crate) async fn run<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(command(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WriteError::Busy,
            mpsc::error::TrySendError::Closed(_) => WriteError::Closing,
        })?;
        // The writer drops the replies of a commit that failed.
        answer.await.map_err(|_| WriteError::Failed)
    }

    /// As [`Writer::run`], for many links to be made at once.
    pub(crate) async fn run_bulk(
        &self,
        links: Vec<CreateLink>,
    ) -> Result<Vec<Result<Link, CreateRefused>>, WriteError> {
        let permit = Arc::clone(&self.bulk).try_acquire_owned().map_err(|_| WriteError::Busy)?;
        self.run(|reply| Command::CreateLinks(links, permit, reply)).await
    }

    /// Commands that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
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
            match self.commit(&mut waiting).await {
                Ok((answers, changes)) => {
                    self.metrics.commits.add(1);
                    self.publisher.publish(&changes);
                    if let Some(last) = changes.last() {
                        self.metrics.feed_seq.set(last.seq);
                    }
                    answers.into_iter().for_each(|answer| answer());
                }
                Err(error) => {
                    self.metrics.commits_failed.add(1);
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        commands = count,
                        "commit failed: nothing of it was done"
                    );
                    waiting.clear();
                }
            }
        }
    }

    async fn commit(
        &mut self,
        waiting: &mut Vec<Command>,
    ) -> Result<(Vec<Answer>, Vec<Change>), StoreError> {
        let mut tx = self.db.begin().await?;
        let now = self.clock.now();
        let mut answers = Vec::with_capacity(waiting.len());
        let mut changes = Vec::with_capacity(waiting.len());
        for command in waiting.drain(..) {
            answers.push(apply(&mut tx, command, now, &*self.random, &mut changes).await?);
        }
        let changes = feed_append(&mut tx, changes, now).await?;
        if now >= self.prune_after {
            let pruned = feed_prune(&mut tx, now).await?;
            // A full hand means that more is waiting: go on with the next commit.
            if pruned < PRUNED_MAX {
                self.prune_after = now.saturating_add(PRUNE_INTERVAL);
            }
        }
        tx.commit().await?;
        Ok((answers, changes))
    }
}

/// Carries out one command; what it answers waits for the commit.
async fn apply(
    tx: &mut Tx,
    command: Command,
    now: UnixMillis,
    random: &dyn Random,
    changes: &mut Vec<NewChange>,
) -> Result<Answer, StoreError> {
    Ok(match command {
        Command::CreateLink(command, reply) => {
            let result = link_create(tx, *command, now, random).await?;
            let result = result.map(|(link, change)| {
                changes.push(change);
                link
            });
            answer(reply, result)
        }
        Command::CreateLinks(commands, permit, reply) => {
            let mut results = Vec::with_capacity(commands.len());
            for command in commands {
                let result = link_create(tx, command, now, random).await?;
                results.push(result.map(|(link, change)| {
                    changes.push(change);
                    link
                }));
            }
            let answer = answer(reply, results);
            // Held until the commit is done: that is what the others wait for.
            Box::new(move || {
                drop(permit);
                answer();
            })
        }
        Command::EditLink(command, reply) => {
            let result = link_edit(tx, *command, now).await?;
            let result = result.map(|(link, change)| {
                changes.extend(change);
                link
            });
            answer(reply, result)
        }
        Command::CreateKey(key, reply) => answer(reply, key_create(tx, key, now, random).await?),
        Command::RevokeKey(id, reply) => answer(reply, key_revoke(tx, id, now).await?),
    })
}

fn answer<T: Send + 'static>(reply: Reply<T>, value: T) -> Answer {
    // A client that is gone does not hear the answer; its command is done all the same.
    Box::new(move || drop(reply.send(value)))
}
