//! Counting in Redis, for all control planes together.
//!
//! ```text
//! carom:limit:NAME:SUBJECT   decimal: microseconds of the server's clock at which the quota is whole
//!                            again (GCRA's theoretical arrival time); it expires then
//! carom:limit:instances      sorted set: control planes, by when they last said that they are there
//! ```
//!
//! Nothing here is worth keeping. A server that was emptied or replaced begins with whole quotas.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Decision;
use super::quota::Charge;
use crate::metrics::LimitMetrics;
use crate::redis::RedisAt;

/// How long a request waits for Redis. Then it is counted here.
const PATIENCE: Duration = Duration::from_millis(25);
/// How long Redis has for a new connection and its first answer.
const CONNECT_PATIENCE: Duration = Duration::from_millis(200);
/// How long nothing is asked after a failure.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a control plane says that it is there.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// After how many seconds of silence it is not there any more.
const SILENCE_S: u32 = 7;
const INSTANCES: &str = "carom:limit:instances";
const PREFIX: &str = "carom:limit:";

/// Counts one more for each key in turn, and ends with the first whose quota does not allow it.
///
/// `KEYS`: whose. `ARGV`: for each, the microseconds after which one more comes back, and how many
/// there are at once. Gives for each key that it came to: 1 or 0, how many are left, the
/// milliseconds until the quota is whole or, if refused, until there is one.
///
/// A time that is further away than the quota says is of another quota, or of a clock that was set
/// back: it counts as an empty one, so that nobody is shut out for longer.
const COUNT: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = {}
for i, key in ipairs(KEYS) do
  local every, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local whole = tonumber(redis.call('GET', key) or now)
  whole = math.min(math.max(whole, now), now + every * burst)
  local next = whole + every
  local early = next - every * burst - now
  if early > 0 then
    answers[i] = {0, 0, math.ceil(early / 1000)}
    return answers
  end
  redis.call('SET', key, string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
  answers[i] = {1, math.floor(-early / every), math.ceil((next - now) / 1000)}
end
return answers
";

/// Says that this control plane is there; gives how many are. `KEYS`: the set. `ARGV`: its name,
/// seconds of silence.
const BEAT: &str = "\
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
";

/// Redis, while it answers.
#[derive(Debug)]
pub(super) struct Shared {
    connection: ArcSwapOption<MultiplexedConnection>,
    broken: Notify,
    instances: AtomicU32,
    count: Script,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            connection: ArcSwapOption::empty(),
            broken: Notify::new(),
            instances: AtomicU32::new(1),
            count: Script::new(COUNT),
        })
    }

    pub(super) fn is_there(&self) -> bool {
        self.connection.load().is_some()
    }

    /// How many control planes there were when Redis last answered; at least 1.
    pub(super) fn instances(&self) -> u32 {
        self.instances.load(Ordering::Relaxed).max(1)
    }

    /// `None`: Redis did not answer in time, and nobody knows whether it counted. Nothing is asked
    /// of it for a while.
    pub(super) async fn count(&self, charges: &[Charge]) -> Option<Vec<Decision>> {
        let mut connection = MultiplexedConnection::clone(&*self.connection.load_full()?);
        let mut invocation = self.count.prepare_invoke();
        for Charge { limit, subject, quota } in charges {
            invocation.key(format!("{PREFIX}{}:{}", limit.name(), subject.text()));
            let every = u64::try_from(quota.every.as_micros()).unwrap_or(u64::MAX).max(1);
            invocation.arg(every).arg(quota.burst.get());
        }
        let answers = invocation.invoke_async::<Vec<(u8, u32, u64)>>(&mut connection);
        let answers = timeout(PATIENCE, answers).await;
        let Ok(Ok(answers)) = answers else {
            // Who comes later may find a new connection already: it stays.
            self.connection.store(None);
            self.broken.notify_one();
            return None;
        };
        let decide = |(charge, (is_allowed, remaining, ms)): (&Charge, (u8, u32, u64))| {
            let time = Duration::from_millis(ms);
            match is_allowed {
                0 => Decision::refused(charge, time),
                _ => Decision { reset: time, ..Decision::allowed(charge, remaining) },
            }
        };
        Some(charges.iter().zip(answers).map(decide).collect())
    }
}

/// Sees to the connection, so that no request waits for a new one.
pub(super) struct SharedTask {
    pub(super) at: RedisAt,
    pub(super) shared: Arc<Shared>,
    /// What this control plane is called among others.
    pub(super) name: String,
    pub(super) metrics: Arc<LimitMetrics>,
}

impl SharedTask {
    pub(super) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&self) {
        let mut is_failing = false;
        loop {
            let error = match self.connect().await {
                Ok(connection) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("limits are counted in Redis again");
                    }
                    self.metrics.is_shared.set(1);
                    self.hold(connection).await
                }
                Err(error) => Some(error),
            };
            self.shared.connection.store(None);
            self.metrics.is_shared.set(0);
            self.metrics.shared_failures.add(1);
            if !std::mem::replace(&mut is_failing, true) {
                let error =
                    error.map_or("it did not answer in time".to_owned(), |error| error.to_string());
                tracing::warn!(
                    error,
                    instances = self.shared.instances(),
                    "Redis does not count limits: each control plane counts its part"
                );
            }
            sleep(PAUSE).await;
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.at.connect(CONNECT_PATIENCE).await?;
        self.beat(&mut connection).await?;
        Ok(connection)
    }

    /// Lets requests use the connection until it fails.
    async fn hold(&self, mut connection: MultiplexedConnection) -> Option<RedisError> {
        self.shared.connection.store(Some(Arc::new(connection.clone())));
        loop {
            tokio::select! {
                () = self.shared.broken.notified() => return None,
                () = sleep(BEAT_EVERY) => {}
            }
            if let Err(error) = self.beat(&mut connection).await {
                return Some(error);
            }
        }
    }

    async fn beat(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let mut beat = redis::cmd("EVAL");
        beat.arg(BEAT).arg(1).arg(INSTANCES).arg(&self.name).arg(SILENCE_S);
        let instances: u32 = beat.query_async(connection).await?;
        self.shared.instances.store(instances, Ordering::Relaxed);
        Ok(())
    }
}
