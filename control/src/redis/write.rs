//! From a commit to its answers, by way of Redis.
//!
//! One pipeline at a time carries all commits that wait: their routes, and a page of the feed each,
//! in the order of the commits. While it is under way the next ones gather, so Redis sees few and
//! large ones however many commits there are.
//!
//! # When Redis does not take it
//!
//! A pipeline that fails or takes longer than [`WRITE_DEADLINE`] leaves its commits to the keeper;
//! their answers are given [`ACK_WAIT`] after the commit. For [`PAUSE`] nothing is tried again: what
//! comes meanwhile waits as well. The same becomes of a commit that finds [`QUEUE_MAX`] others
//! before it. The answers wait, and the writer does not; once [`HELD_MAX`] of them do, further
//! commands are refused as busy before anything is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carom_shared::redis::{ACK_WAIT, PAGE_FIELD, RedisKeys, STREAM_ENTRIES};
use carom_shared::trace::TARGET;
use carom_shared::{FeedPage, FeedPosition, RouteChange};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use tracing::field::Empty;

use super::{RedisAt, compare_and_set};
use crate::metrics::Metrics;
use crate::publish::Change;
use crate::write::WriteError;

/// Answers that wait for Redis, at most. With Redis away that is how many commands are carried out
/// in [`ACK_WAIT`].
pub(crate) const HELD_MAX: usize = 4096;
/// How long Redis has for a pipeline, or for a new connection.
const WRITE_DEADLINE: Duration = Duration::from_millis(200);
/// How long nothing is tried after a failure.
const PAUSE: Duration = Duration::from_millis(100);
/// Commits that wait for the pipeline under way, at most.
const QUEUE_MAX: usize = 256;
/// Changes of a pipeline, at most, before the last commit of it.
const CHANGES_MAX: usize = 2048;

/// Tells a client, once the outcome is known.
pub(crate) type Tell = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// How many answers wait for Redis.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldCount(Arc<AtomicUsize>);

impl HeldCount {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.get() >= HELD_MAX
    }
}

/// Answers of a commit that wait for Redis.
pub(crate) struct Held {
    answers: Vec<Tell>,
    count: HeldCount,
}

impl Held {
    pub(crate) fn new(answers: Vec<Tell>, count: HeldCount) -> Self {
        count.0.fetch_add(answers.len(), Ordering::Relaxed);
        Self { answers, count }
    }

    fn tell(mut self) {
        self.finish(Ok(()));
    }

    fn finish(&mut self, outcome: Result<(), WriteError>) {
        self.count.0.fetch_sub(self.answers.len(), Ordering::Relaxed);
        self.answers.drain(..).for_each(|tell| tell(outcome));
    }
}

/// The process ends before it could be acknowledged: what was asked for is done, and nobody may
/// take it for not done.
impl Drop for Held {
    fn drop(&mut self) {
        self.finish(Err(WriteError::Unknown));
    }
}

/// What is committed, and not yet acknowledged.
pub(crate) struct Committed {
    /// When the commit had returned.
    pub(crate) at: Instant,
    pub(crate) changes: Vec<Change>,
    /// Of those who made the changes.
    pub(crate) made: Held,
    /// Of those who are told what another process did, which may be waiting with it still.
    pub(crate) repeated: Held,
}

/// The way to Redis, for the task that commits.
pub(crate) struct L2Queue {
    commits: mpsc::Sender<Committed>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

impl L2Queue {
    /// Has the answers of a commit given once its changes are in Redis, or no lease without them is
    /// valid any more. Returns at once.
    pub(crate) fn hand_over(&self, mut committed: Committed) {
        let at = committed.at;
        let repeated =
            std::mem::replace(&mut committed.repeated, Held::new(Vec::new(), HeldCount::default()));
        if !repeated.answers.is_empty() {
            wait(&self.tasks, at, repeated);
        }
        if committed.changes.is_empty() {
            return;
        }
        if let Err(refused) = self.commits.try_send(committed) {
            self.metrics.l2.write_failures.add(1);
            let (mpsc::error::TrySendError::Full(committed)
            | mpsc::error::TrySendError::Closed(committed)) = refused;
            wait(&self.tasks, at, committed.made);
        }
    }
}

/// Gives answers when no lease can be valid that was given before the commit.
fn wait(tasks: &TaskTracker, committed_at: Instant, held: Held) {
    tasks.spawn(async move {
        sleep_until(committed_at + ACK_WAIT).await;
        held.tell();
    });
}

/// The other end of the queue.
pub(super) struct WriteTask {
    at: RedisAt,
    commits: mpsc::Receiver<Committed>,
    connection: Option<MultiplexedConnection>,
    /// Nothing is tried before.
    paused_until: Instant,
    is_failing: bool,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

impl WriteTask {
    pub(super) fn new(at: RedisAt, metrics: Arc<Metrics>, tasks: TaskTracker) -> (L2Queue, Self) {
        let (sender, commits) = mpsc::channel(QUEUE_MAX);
        let queue =
            L2Queue { commits: sender, metrics: Arc::clone(&metrics), tasks: tasks.clone() };
        let (connection, paused_until) = (None, Instant::now());
        (queue, Self { at, commits, connection, paused_until, is_failing: false, metrics, tasks })
    }

    /// Writes until the task that commits is gone, and then what is still waiting.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.commits.recv().await {
            let mut changes = first.changes.len();
            let mut batch = vec![first];
            while changes < CHANGES_MAX
                && let Ok(next) = self.commits.try_recv()
            {
                changes += next.changes.len();
                batch.push(next);
            }
            self.write(batch, changes).await;
        }
    }

    async fn write(&mut self, batch: Vec<Committed>, changes: usize) {
        let written = if Instant::now() < self.paused_until {
            Err(None)
        } else {
            let span = tracing::info_span!(
                target: TARGET,
                "redis_write",
                otel.kind = "client",
                carom.commits = batch.len() as u64,
                carom.changes = changes as u64,
                error = Empty,
            );
            let sent = self.send(&pipeline(&batch)).instrument(span.clone()).await;
            if sent.is_err() {
                span.record("error", true);
            }
            sent.map_err(Some)
        };
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("Redis takes changes again");
                }
                self.metrics.l2.writes.add(changes as u64);
                batch.into_iter().for_each(|committed| committed.made.tell());
            }
            Err(error) => {
                self.failed(error.as_ref());
                self.metrics.l2.write_failures.add(batch.len() as u64);
                for Committed { at, made, .. } in batch {
                    wait(&self.tasks, at, made);
                }
            }
        }
    }

    async fn send(&mut self, pipeline: &Pipeline) -> Result<(), RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(self.at.connect(WRITE_DEADLINE).await?),
        };
        pipeline.exec_async(connection).await
    }

    /// The connection is left: what was sent on it may still be done, and harms nothing.
    fn failed(&mut self, error: Option<&RedisError>) {
        let Some(error) = error else { return };
        self.connection = None;
        self.paused_until = Instant::now() + PAUSE;
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                %error,
                "Redis does not take changes: those who make links wait {} ms for their answers",
                ACK_WAIT.as_millis()
            );
        }
    }
}

/// Routes and pages of commits, in their order.
fn pipeline(batch: &[Committed]) -> Pipeline {
    let mut pipeline = redis::pipe();
    for Committed { changes, .. } in batch {
        let Some(last) = changes.last() else { continue };
        let keys = RedisKeys::new(last.epoch);
        let routes = changes.iter().map(|change| (change.domain, &change.code, &change.record));
        compare_and_set(&mut pipeline, &keys, routes);
        let head = FeedPosition { epoch: last.epoch, seq: last.seq };
        for chunk in changes.chunks(FeedPage::CHANGES_MAX) {
            add_page(&mut pipeline, &keys, &page(head, chunk));
        }
    }
    pipeline
}

fn page(head: FeedPosition, changes: &[Change]) -> FeedPage {
    let change = |Change { domain, code, record, .. }: &Change| RouteChange {
        domain: *domain,
        code: code.clone(),
        record: record.clone(),
    };
    let first = changes.first().map_or(0, |change| change.seq);
    FeedPage { head, first, changes: changes.iter().map(change).collect() }
}

/// Adds a page to the stream.
pub(super) fn add_page(pipeline: &mut Pipeline, keys: &RedisKeys, page: &FeedPage) {
    let add = pipeline.cmd("XADD").arg(keys.changes()).arg("MAXLEN").arg("~").arg(STREAM_ENTRIES);
    add.arg("*").arg(PAGE_FIELD).arg(page.to_bytes()).ignore();
}
