//! The keeper: sees to it that Redis has every route, and says so with a lease. The argument is in
//! [`carom_shared::redis`]; the steps there have the same numbers here.
//!
//! One round is short, whatever there is to do: filling and replaying go on for [`STEP`], and then
//! the next round looks at the server and at the feed again. So edges are told how far the feed goes
//! while L2 is filled, and a server that was emptied or replaced meanwhile is noticed. Each page of
//! routes is a question of its own to the database: no transaction stays open.

use std::sync::Arc;
use std::time::Duration;

use carom_shared::redis::{ADVANCE, FILLED, LEASE_MAX, ROUND_EVERY, RedisKeys, STREAM_AGE};
use carom_shared::{Code, DomainId, FeedPage, FeedPosition};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::server::Server;
use super::write::add_page;
use super::{RedisAt, compare_and_set};
use crate::db::{Db, SessionLock, StoreError};
use crate::feed::store::{feed_head, feed_page};
use crate::link::store::routes_after;
use crate::metrics::Metrics;

/// How long the server has for an answer. A lease that is given later than this is over already.
const PATIENCE: Duration = LEASE_MAX;
/// How long a round fills or replays before the next one begins.
const STEP: Duration = Duration::from_millis(200);
/// Routes that are read and written at once.
const ROUTES_PAGE: u32 = 1000;
/// How often somebody who cannot go on tries again.
const RETRY_EVERY: Duration = ROUND_EVERY;
/// Pages without changes are at least so far apart.
const HEARTBEAT_APART: Duration = Duration::from_millis(250);
/// Keys of a server that one round looks at to find those of epochs that are over.
const SWEPT_PER_ROUND: usize = 500;

pub(super) struct KeeperTask {
    at: RedisAt,
    read: Db,
    /// `None`: nobody else can have this database.
    lock: Option<SessionLock>,
    epoch: u64,
    keys: RedisKeys,
    /// What is known of one run of one server, and worth nothing with another.
    session: Option<Session>,
    is_failing: bool,
    metrics: Arc<Metrics>,
}

struct Session {
    connection: MultiplexedConnection,
    filling: Option<Filling>,
    /// Keys that the server had thrown away when L2 was filled last.
    evicted: u64,
    /// Where the search for keys of other epochs goes on.
    sweep: Option<u64>,
    heartbeat_after: Instant,
}

struct Filling {
    /// What is in Redis as long as nobody empties it.
    mark: String,
    /// The head of the feed before it began.
    head: u64,
    after: Option<(DomainId, Code)>,
    routes: u64,
}

/// Step 1: what the server says, in one round trip.
struct Look {
    /// Milliseconds of its clock.
    time: u64,
    upto: Option<String>,
    filling: Option<String>,
    server: Server,
}

/// When the next round begins.
enum Next {
    AtOnce,
    Later,
}

#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error("Redis does not say its run_id, maxmemory_policy and evicted_keys (INFO)")]
    Unknown,
    #[error("the database")]
    Store(#[from] StoreError),
}

impl KeeperTask {
    pub(super) fn new(
        at: RedisAt,
        read: Db,
        lock: Option<SessionLock>,
        feed: FeedPosition,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (epoch, keys) = (feed.epoch, RedisKeys::new(feed.epoch));
        Self { at, read, lock, epoch, keys, session: None, is_failing: false, metrics }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => break,
                next = self.turn() => next,
            };
            if matches!(next, Next::AtOnce) {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(ROUND_EVERY) => {}
            }
        }
        // The next keeper need not wait until the server misses this one.
        if let Some(lock) = self.lock {
            lock.release().await;
        }
    }

    /// A round, if this is the keeper.
    async fn turn(&mut self) -> Next {
        let is_keeper = match &mut self.lock {
            None => Ok(true),
            Some(lock) => lock.hold().await,
        };
        let ended = match is_keeper {
            Ok(true) => {
                self.metrics.l2.keeper.set(1);
                self.round().await
            }
            Ok(false) => {
                self.session = None;
                self.metrics.l2.is_not_keeper();
                return Next::Later;
            }
            Err(error) => {
                self.metrics.l2.is_not_keeper();
                Err(error.into())
            }
        };
        match ended {
            Ok(next) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("Redis is kept up to date again");
                }
                next
            }
            Err(error) => {
                self.failed(&error).await;
                Next::Later
            }
        }
    }

    async fn failed(&mut self, error: &RoundError) {
        self.session = None;
        self.metrics.l2.rounds_failed.add(1);
        self.metrics.l2.lease_given.set(0);
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "Redis cannot be kept up to date: edges ask the control plane meanwhile"
            );
        }
        sleep(RETRY_EVERY).await;
    }

    async fn round(&mut self) -> Result<Next, RoundError> {
        let look = self.look().await?;
        let head = self.head().await?;
        if head.epoch != self.epoch {
            // A backup was restored: other numbers, other keys.
            self.epoch = head.epoch;
            self.keys = RedisKeys::new(head.epoch);
            self.session = None;
            return Ok(Next::AtOnce);
        }
        self.heartbeat(&look, head).await?;
        self.sweep().await?;
        if !self.may_be_believed(&look).await? {
            self.metrics.l2.lease_given.set(0);
            return Ok(Next::Later);
        }
        match look.upto.as_deref().map(str::parse::<u64>) {
            Some(Ok(upto)) if upto <= head.seq => self.replay(&look, upto, head).await,
            Some(Ok(upto)) => {
                self.metrics.l2.lease_given.set(0);
                tracing::error!(
                    upto,
                    head = head.seq,
                    "Redis has changes that the database does not have: an older state of it was \
                     brought back; see the runbook CaromRedisNoLease"
                );
                Ok(Next::Later)
            }
            None | Some(Err(_)) => self.fill(&look, head).await,
        }
    }

    /// Step 1.
    async fn look(&mut self) -> Result<Look, RoundError> {
        let session = match &mut self.session {
            Some(session) => session,
            None => self.session.insert(Session {
                connection: self.at.connect(PATIENCE).await?,
                filling: None,
                evicted: 0,
                sweep: Some(0),
                heartbeat_after: Instant::now(),
            }),
        };
        let mut ask = redis::pipe();
        ask.cmd("TIME").cmd("GET").arg(self.keys.upto());
        ask.cmd("GET").arg(self.keys.filling()).cmd("INFO");
        type Answer = ((u64, u64), Option<String>, Option<String>, String);
        let ((seconds, micros), upto, filling, info): Answer =
            ask.query_async(&mut session.connection).await?;
        let server = Server::of_info(&info).ok_or(RoundError::Unknown)?;
        Ok(Look { time: seconds * 1000 + micros / 1000, upto, filling, server })
    }

    /// Step 2: the head, from where nobody can have missed a commit that returned.
    async fn head(&mut self) -> Result<FeedPosition, RoundError> {
        Ok(match &mut self.lock {
            None => feed_head(&self.read).await?,
            Some(lock) => lock.feed_head().await?,
        })
    }

    /// Whether what is not in L2 was never written to it; if not, it is filled again.
    async fn may_be_believed(&mut self, look: &Look) -> Result<bool, RoundError> {
        let keys = &self.keys;
        let Some(session) = &mut self.session else { return Ok(false) };
        let has_evicted = look.server.evicted > session.evicted;
        if (!look.server.keeps_all() || has_evicted) && look.upto.is_some() {
            let mut forget = redis::pipe();
            forget.cmd("DEL").arg(keys.upto()).ignore().cmd("DEL").arg(keys.lease()).ignore();
            forget.exec_async(&mut session.connection).await?;
            tracing::warn!(
                policy = look.server.policy,
                evicted = look.server.evicted,
                "Redis throws keys away when its memory is full: set its maxmemory-policy to \
                 noeviction; no lease is given, and it will be filled again"
            );
            session.filling = None;
            session.evicted = look.server.evicted;
            return Ok(false);
        }
        session.evicted = look.server.evicted;
        Ok(look.server.keeps_all())
    }

    /// Steps 3 and 4 of a server that has been filled.
    async fn replay(
        &mut self,
        look: &Look,
        mut upto: u64,
        head: FeedPosition,
    ) -> Result<Next, RoundError> {
        let Some(session) = &mut self.session else { return Ok(Next::AtOnce) };
        session.filling = None;
        let until = Instant::now() + STEP;
        let lag = |upto: u64| self.metrics.l2.lag.set(head.seq.saturating_sub(upto));
        lag(upto);
        while upto < head.seq {
            let after = FeedPosition { epoch: self.epoch, seq: upto };
            let page = feed_page(&self.read, after, FeedPage::CHANGES_MAX).await?;
            let Some(end) = page.as_ref().and_then(FeedPage::end) else {
                // They are not kept any more.
                let mut forget = redis::cmd("DEL");
                forget.arg(self.keys.upto());
                forget.exec_async(&mut session.connection).await?;
                return Ok(Next::AtOnce);
            };
            let changes = page.iter().flat_map(|page| &page.changes);
            let routes = changes.map(|change| (change.domain, &change.code, &change.record));
            write_routes(&mut session.connection, &self.keys, routes).await?;
            self.metrics.l2.replayed.add(end.seq - upto);
            if !advance(&mut session.connection, &self.keys, upto, end.seq, None).await? {
                return Ok(Next::AtOnce);
            }
            upto = end.seq;
            lag(upto);
            if upto < head.seq && Instant::now() >= until {
                return Ok(Next::AtOnce);
            }
        }
        let end = look.time + u64::try_from(LEASE_MAX.as_millis()).unwrap_or(0);
        let lease = Some((&*look.server.run_id, end));
        let is_given = advance(&mut session.connection, &self.keys, upto, upto, lease).await?;
        self.metrics.l2.lease_given.set(u64::from(is_given));
        Ok(if is_given { Next::Later } else { Next::AtOnce })
    }

    /// Step 3 of a server that was never filled.
    async fn fill(&mut self, look: &Look, head: FeedPosition) -> Result<Next, RoundError> {
        self.metrics.l2.lease_given.set(0);
        let Some(session) = &mut self.session else { return Ok(Next::AtOnce) };
        let is_emptied = |filling: &Filling| look.filling.as_ref() != Some(&filling.mark);
        if session.filling.as_ref().is_some_and(is_emptied) {
            session.filling = None;
        }
        let filling = match &mut session.filling {
            Some(filling) => filling,
            None => {
                let mark = mark(&mut session.connection, &self.keys, look).await?;
                tracing::info!("Redis is filled with all routes");
                session.filling.insert(Filling { mark, head: head.seq, after: None, routes: 0 })
            }
        };
        self.metrics.l2.lag.set(head.seq.saturating_sub(filling.head));
        let until = Instant::now() + STEP;
        while Instant::now() < until {
            let page = routes_after(&self.read, filling.after.clone(), ROUTES_PAGE).await?;
            let Some(last) = page.last() else {
                let done = redis::cmd("EVAL")
                    .arg(FILLED)
                    .arg(2)
                    .arg(self.keys.filling())
                    .arg(self.keys.upto())
                    .arg(&filling.mark)
                    .arg(filling.head)
                    .query_async::<u64>(&mut session.connection)
                    .await?;
                if done == 1 {
                    tracing::info!(routes = filling.routes, "Redis has all routes");
                    self.metrics.l2.fills.add(1);
                    session.sweep = Some(0);
                }
                session.filling = None;
                return Ok(Next::AtOnce);
            };
            let after = Some((last.domain, last.code.clone()));
            let routes = page.iter().map(|route| (route.domain, &route.code, &route.record));
            write_routes(&mut session.connection, &self.keys, routes).await?;
            filling.after = after;
            filling.routes += page.len() as u64;
            self.metrics.l2.fill_routes.set(filling.routes);
        }
        Ok(Next::AtOnce)
    }

    /// Step 5: how far the feed goes; and entries of the stream that are old are removed.
    async fn heartbeat(&mut self, look: &Look, head: FeedPosition) -> Result<(), RoundError> {
        let Some(session) = &mut self.session else { return Ok(()) };
        if Instant::now() < session.heartbeat_after {
            return Ok(());
        }
        session.heartbeat_after = Instant::now() + HEARTBEAT_APART;
        let mut beat = redis::pipe();
        add_page(&mut beat, &self.keys, &FeedPage { head, first: 0, changes: Vec::new() });
        let oldest = look.time.saturating_sub(u64::try_from(STREAM_AGE.as_millis()).unwrap_or(0));
        beat.cmd("XTRIM").arg(self.keys.changes()).arg("MINID").arg("~").arg(oldest).ignore();
        Ok(beat.exec_async(&mut session.connection).await?)
    }

    /// Removes a few keys of epochs that are over: nobody asks for them, and they never expire.
    async fn sweep(&mut self) -> Result<(), RoundError> {
        let Some(Session { connection, sweep: at @ Some(_), .. }) = &mut self.session else {
            return Ok(());
        };
        let mut scan = redis::cmd("SCAN");
        scan.arg(at.unwrap_or(0)).arg("MATCH").arg(format!("{}*", RedisKeys::ALL));
        scan.arg("COUNT").arg(SWEPT_PER_ROUND);
        let (cursor, keys): (u64, Vec<String>) = scan.query_async(connection).await?;
        *at = (cursor != 0).then_some(cursor);
        let is_over = |key: &String| RedisKeys::epoch_of(key).is_some_and(|of| of < self.epoch);
        let over: Vec<String> = keys.into_iter().filter(is_over).collect();
        if over.is_empty() {
            return Ok(());
        }
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(over);
        Ok(unlink.exec_async(connection).await?)
    }
}

/// Marks that L2 is being filled, or joins who does that already.
async fn mark(
    connection: &mut MultiplexedConnection,
    keys: &RedisKeys,
    look: &Look,
) -> Result<String, RedisError> {
    let mut ask = redis::pipe();
    let own = format!("{}:{}", look.server.run_id, look.time);
    ask.cmd("SET").arg(keys.filling()).arg(own).arg("NX").ignore();
    ask.cmd("GET").arg(keys.filling());
    let (mark,): (String,) = ask.query_async(connection).await?;
    Ok(mark)
}

async fn write_routes<'a>(
    connection: &mut MultiplexedConnection,
    keys: &RedisKeys,
    routes: impl Iterator<Item = (DomainId, &'a Code, &'a carom_shared::RouteRecord)>,
) -> Result<(), RedisError> {
    let mut pipeline = Pipeline::new();
    compare_and_set(&mut pipeline, keys, routes);
    pipeline.exec_async(connection).await
}

/// Says how far L2 is, and gives the lease with its end; `false` if somebody else said something
/// since it was read.
async fn advance(
    connection: &mut MultiplexedConnection,
    keys: &RedisKeys,
    from: u64,
    to: u64,
    lease: Option<(&str, u64)>,
) -> Result<bool, RedisError> {
    let (run_id, end) = lease.unwrap_or_default();
    let mut advance = redis::cmd("EVAL");
    advance.arg(ADVANCE).arg(2).arg(keys.upto()).arg(keys.lease());
    advance.arg(from).arg(to).arg(run_id).arg(end);
    Ok(advance.query_async::<u64>(connection).await? == 1)
}
