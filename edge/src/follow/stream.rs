//! Reads the stream of changes in Redis, in a task of its own, and tells the loop that applies them.
//!
//! The end of the stream is noted first and read from on afterwards. Between the two control is asked
//! for all changes so far: what was added before the noting was committed before that question, and
//! what was added after it is read.
//!
//! The stream may lose entries and repeat them, and nothing here minds: numbers tell.

use std::time::Duration;

use carom_shared::FeedPage;
use carom_shared::redis::PAGE_FIELD;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamRangeReply, StreamReadReply};
use redis::{RedisError, from_redis_value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::l2::L2;

/// How long a read waits for an entry.
const BLOCK: Duration = Duration::from_millis(1000);
/// How long an answer may take beside that.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// Entries that are read at once.
const ENTRIES_MAX: usize = 32;
/// What was read and waits to be applied.
const QUEUE: usize = 4;
/// A try that failed is followed by a pause: from, and up to.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A session that lasted so long was a good one: the next try is soon.
const LASTED: Duration = Duration::from_secs(5);

/// What is heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// From now on what is added is read.
    Open,
    Pages {
        pages: Vec<FeedPage>,
        /// There were no more.
        is_end: bool,
    },
    /// Nothing is read until it is open again.
    Lost,
}

/// The stream of the epoch that L2 is of; it ends when it is dropped.
pub(super) struct Stream {
    heard: mpsc::Receiver<Heard>,
    _reader: JoinSet<()>,
}

impl Stream {
    pub(super) fn read(l2: L2) -> Self {
        let (sender, heard) = mpsc::channel(QUEUE);
        let mut reader = JoinSet::new();
        reader.spawn(async move { drop(read(l2, sender).await) });
        Self { heard, _reader: reader }
    }

    /// What comes next. Dropped before that, it has missed nothing.
    pub(super) async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            // The reader does not end.
            None => std::future::pending().await,
        }
    }
}

/// Why a session ended; the text is for the log.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("an entry cannot be read: {0}")]
    Entry(String),
    #[error("nobody listens")]
    Unheard,
}

/// Ends when nobody listens any more.
async fn read(l2: L2, heard: mpsc::Sender<Heard>) -> Result<(), mpsc::error::SendError<Heard>> {
    let mut epoch = l2.epoch();
    let mut backoff = BACKOFF_MIN;
    let mut is_told = false;
    loop {
        let of = epoch.borrow_and_update().clone();
        let Some(of) = of else {
            // Whoever could say it is gone.
            drop(epoch.changed().await);
            continue;
        };
        let begin = Instant::now();
        let key = of.keys.changes();
        let ended = tokio::select! {
            ended = session(&l2, &key, &heard, &mut is_told) => Some(ended),
            _ = epoch.changed() => None,
        };
        heard.send(Heard::Lost).await?;
        let Some(error) = ended else { continue };
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!(%error, "changes are not heard of from Redis, but from control");
        }
        if begin.elapsed() >= LASTED {
            backoff = BACKOFF_MIN;
        }
        sleep(l2.jittered(backoff)).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Reads until something fails.
async fn session(l2: &L2, key: &str, heard: &mpsc::Sender<Heard>, is_told: &mut bool) -> Ended {
    let told = async {
        let mut connection = l2.open(BLOCK + ANSWER_MAX).await?;
        let mut last = end(&mut connection, key).await?;
        heard.send(Heard::Open).await.map_err(|_| Ended::Unheard)?;
        if std::mem::take(is_told) {
            tracing::info!("changes are heard of from Redis again");
        }
        loop {
            let entries = next(&mut connection, key, last).await?;
            let is_end = entries.len() < ENTRIES_MAX;
            let Some((newest, _)) = entries.last() else {
                // A stream that was emptied may begin anew with smaller ids.
                last = last.min(end(&mut connection, key).await?);
                continue;
            };
            last = *newest;
            let pages = entries.into_iter().map(|(_, page)| page).collect();
            heard.send(Heard::Pages { pages, is_end }).await.map_err(|_| Ended::Unheard)?;
        }
    };
    match told.await {
        Ok(never) => never,
        Err(ended) => ended,
    }
}

/// Milliseconds of the server's clock, and a number within them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Id(u64, u64);

impl Id {
    fn parse(text: &str) -> Result<Self, Ended> {
        let parse = || {
            let (ms, number) = text.split_once('-')?;
            Some(Self(ms.parse().ok()?, number.parse().ok()?))
        };
        parse().ok_or_else(|| Ended::Entry(format!("its id is {text}")))
    }
}

/// The last entry there is.
async fn end(connection: &mut MultiplexedConnection, key: &str) -> Result<Id, Ended> {
    let mut command = redis::cmd("XREVRANGE");
    command.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
    let reply: StreamRangeReply = command.query_async(connection).await?;
    reply.ids.first().map_or(Ok(Id::default()), |entry| Id::parse(&entry.id))
}

/// What comes after an entry, once there is something; nothing after a while.
async fn next(
    connection: &mut MultiplexedConnection,
    key: &str,
    Id(ms, number): Id,
) -> Result<Vec<(Id, FeedPage)>, Ended> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(ENTRIES_MAX).arg("BLOCK").arg(BLOCK.as_millis().to_string());
    command.arg("STREAMS").arg(key).arg(format!("{ms}-{number}"));
    let reply: Option<StreamReadReply> = command.query_async(connection).await?;
    let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
    let read = entries.map(|mut entry| {
        let page = entry.map.remove(PAGE_FIELD);
        let page = page.ok_or_else(|| Ended::Entry(format!("{} has no page", entry.id)))?;
        let bytes: Vec<u8> =
            from_redis_value(page).map_err(|error| Ended::Entry(error.to_string()))?;
        let page = FeedPage::from_bytes(&bytes).map_err(|error| Ended::Entry(error.to_string()))?;
        Ok((Id::parse(&entry.id)?, page))
    });
    read.collect()
}
