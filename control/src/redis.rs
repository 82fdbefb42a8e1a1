//! Redis: what control writes there for edges in other processes. What it is, and why absence in it
//! may be believed, says [`carom_shared::redis`].
//!
//! ```text
//! a commit ──► L2Queue ──► WriteTask: routes and page in one pipeline ──► answers
//!              full, or Redis away: the answers wait ACK_WAIT from the commit
//! the feed ──► KeeperTask: fill, replay, lease, heartbeat
//! ```
//!
//! Nothing here holds up the task that writes to the database, and nothing fails because of Redis:
//! the worst is an answer that comes [`ACK_WAIT`](carom_shared::redis::ACK_WAIT) after its commit.

mod keeper;
mod server;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use carom_process::{Tls, explain_tls};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, TlsCertificates};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use carom_shared::redis::{COMPARE_AND_SET, RedisKeys, RouteValue};
use carom_shared::settings::InvalidSetting;
use carom_shared::{Code, DomainId, FeedPosition, RouteRecord};

use crate::config::DatabaseAt;
use crate::db::{Database, KEEPER_LOCK, PostgresAt, SessionLock};
use crate::metrics::Metrics;

use keeper::KeeperTask;
pub use server::{RedisFacts, redis_facts};
use write::WriteTask;
pub(crate) use write::{Committed, Held, HeldCount, L2Queue, Tell};

const CA_PATH: &str = "redis.ca_path";

/// Which Redis server and which of its databases.
#[derive(Clone)]
pub(crate) struct RedisAt(Client);

/// Not shown: it may hold a password.
impl std::fmt::Debug for RedisAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisAt")
    }
}

impl RedisAt {
    /// Reads a `redis://` or `rediss://` URL; the latter's server has to be of an authority in that file,
    /// or, if its path is empty, of one that this machine trusts.
    ///
    /// # Errors
    /// What is wrong with it, without the URL: it may hold a password.
    pub(crate) fn new(url: &str, ca_path: &Path) -> Result<Self, InvalidSetting> {
        const LIKE: &str = "must look like redis://USER:PASSWORD@HOST:6379/0, with TLS rediss://..., or \
             redis+unix:///PATH?db=0";
        let malformed = || InvalidSetting::new("redis.url", LIKE);
        let parsed = Url::parse(url).map_err(|_| malformed())?;
        if parsed.fragment().is_some() {
            let problem = "must have no # in it: a certificate is always verified";
            return Err(InvalidSetting::new("redis.url", problem));
        }
        let has_file = !ca_path.as_os_str().is_empty();
        if !matches!(parsed.scheme(), "rediss" | "valkeys") {
            if has_file {
                let problem = "is of no use without TLS: write rediss:// in redis.url";
                return Err(InvalidSetting::new(CA_PATH, problem));
            }
            return Client::open(parsed).map(Self).map_err(|_| malformed());
        }
        // Whether the file can be used is found out here, and not at each connection.
        Tls::new(ca_path, CA_PATH)?;
        let unreadable = |error| InvalidSetting::new(CA_PATH, format!("cannot be read: {error}"));
        let root_cert = has_file.then(|| std::fs::read(ca_path)).transpose().map_err(unreadable)?;
        let certificates = TlsCertificates { client_tls: None, root_cert };
        Client::build_with_tls(parsed, certificates).map(Self).map_err(|_| malformed())
    }

    /// A connection that gives up after this time, also when it waits for an answer. It never
    /// connects again by itself: each is to one run of one server.
    pub(crate) async fn connect(
        &self,
        patience: Duration,
    ) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        let connected = self.0.get_multiplexed_async_connection_with_config(&config).await;
        connected.map_err(|error| match explain_tls(&error, CA_PATH) {
            Some(problem) => RedisError::from((ErrorKind::Io, "TLS", problem)),
            None => error,
        })
    }
}

/// Starts what writes to Redis. What comes back is told of each commit.
pub(crate) fn start(
    at: &RedisAt,
    database: &DatabaseAt,
    db: &Database,
    feed: FeedPosition,
    metrics: &Arc<Metrics>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> L2Queue {
    metrics.l2.enabled.set(1);
    let lock = match database {
        DatabaseAt::Sqlite(_) => None,
        DatabaseAt::Postgres(at) => Some(SessionLock::new(PostgresAt::clone(at), KEEPER_LOCK)),
    };
    let (queue, task) = WriteTask::new(at.clone(), Arc::clone(metrics), tasks.clone());
    tasks.spawn(task.run());
    let keeper = KeeperTask::new(at.clone(), db.read.clone(), lock, feed, Arc::clone(metrics));
    tasks.spawn(keeper.run(stop.clone()));
    queue
}

/// Routes of one command of a pipeline, at most: it holds up the server's other clients for about a
/// millisecond.
const ROUTES_PER_SCRIPT: usize = 1000;

/// Adds the routes to a pipeline, none over a newer one.
fn compare_and_set<'a>(
    pipeline: &mut Pipeline,
    keys: &RedisKeys,
    routes: impl Iterator<Item = (DomainId, &'a Code, &'a RouteRecord)>,
) {
    let mut routes = routes.peekable();
    while routes.peek().is_some() {
        let chunk: Vec<_> = routes.by_ref().take(ROUTES_PER_SCRIPT).collect();
        // With the text and not its hash: a restarted server knows no hash, and beside the routes
        // the text is small.
        let script = pipeline.cmd("EVAL").arg(COMPARE_AND_SET).arg(chunk.len());
        for (domain, code, _) in &chunk {
            script.arg(keys.route(*domain, code));
        }
        for (_, _, record) in &chunk {
            script.arg(RouteValue((*record).clone()).to_bytes());
        }
        script.ignore();
    }
}

#[cfg(test)]
#[cfg(feature = "redis-tests")]
pub(crate) mod tests;
