//! The connection that visitors' questions share, and whoever replaces it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use carom_process::explain_tls;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, RedisResult};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use carom_shared::redis::info_field;

use super::L2;
use super::client::CA_PATH;

/// How long a server may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// A try that failed is followed by a pause: from, and up to.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A connection that lasted so long was a good one: the next try is soon.
const LASTED: Duration = Duration::from_secs(5);
/// How often a connection is tried that nobody uses, so that no visitor finds out that it is dead.
const PING_EVERY: Duration = Duration::from_secs(1);

/// A connection to one server.
pub(super) struct Link {
    connection: MultiplexedConnection,
    /// The server's name for this life of its own.
    pub(super) run_id: String,
    /// Questions that failed, in a row.
    pub(super) failures: AtomicU32,
}

impl Link {
    /// What two keys hold at one moment.
    pub(super) async fn read(
        &self,
        first: &str,
        second: &str,
    ) -> RedisResult<(Option<Vec<u8>>, Option<Vec<u8>>)> {
        let mut connection = self.connection.clone();
        redis::cmd("MGET").arg(first).arg(second).query_async(&mut connection).await
    }

    async fn ping(&self) -> RedisResult<()> {
        redis::cmd("PING").query_async(&mut self.connection.clone()).await
    }
}

impl L2 {
    /// Keeps a connection until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_connected() => {}
        }
        self.0.link.store(None);
    }

    async fn keep_connected(&self) {
        let mut backoff = BACKOFF_MIN;
        let mut is_told = false;
        loop {
            match self.connect().await {
                Ok(link) => {
                    let begin = Instant::now();
                    if std::mem::take(&mut is_told) {
                        tracing::info!("Redis answers again");
                    }
                    self.use_up(Arc::new(link)).await;
                    if begin.elapsed() >= LASTED {
                        backoff = BACKOFF_MIN;
                    }
                }
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(%error, "Redis is not asked: what is not known here, control is");
                }
                Err(_) => {}
            }
            sleep(self.jittered(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// A connection whose server answers as soon as it must.
    async fn connect(&self) -> RedisResult<Link> {
        let mut connection = self.open(self.0.question_max).await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let run_id = info_field(&info, "run_id").ok_or_else(|| {
            let what = "INFO has no run_id: what redis.url names is no server of Redis";
            RedisError::from((redis::ErrorKind::UnexpectedReturnType, what))
        })?;
        Ok(Link { connection, run_id: run_id.to_owned(), failures: AtomicU32::new(0) })
    }

    /// Another connection, whose every command may take so long.
    pub(crate) async fn open(&self, response_max: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(response_max));
        let opened = self.0.client.get_multiplexed_async_connection_with_config(&config).await;
        opened.map_err(|error| match explain_tls(&error, CA_PATH) {
            Some(problem) => RedisError::from((redis::ErrorKind::Io, "TLS", problem)),
            None => error,
        })
    }

    /// Lets visitors' questions have a link until it is let go.
    async fn use_up(&self, link: Arc<Link>) {
        self.0.counts.connections.add(1);
        self.0.link.store(Some(Arc::clone(&link)));
        while self.0.link.load().is_some() {
            if timeout(PING_EVERY, self.0.lost.notified()).await.is_err()
                && let Err(error) = link.ping().await
            {
                self.failed(&link, &error);
            }
        }
    }

    /// Nobody asks on this link any more.
    pub(super) fn let_go(&self, link: &Arc<Link>) {
        let held = self.0.link.load();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, link)) {
            self.0.link.compare_and_swap(&*held, None);
            self.0.lost.notify_one();
        }
    }

    /// Half of a time at least, and a random part of the rest: edges should not come back at once.
    pub(crate) fn jittered(&self, time: Duration) -> Duration {
        let mut byte = [0];
        self.0.random.fill(&mut byte);
        time / 2 + time / 512 * u32::from(byte[0])
    }
}
