//! Several control planes that count in one Redis: a server of the test's own.

use std::time::Instant;

use carom_shared::{SystemClock, SystemRandom};

use super::*;
use crate::metrics::LimitMetrics;
use crate::redis::tests::support::{TestRedis, eventually};

/// Limits as a control plane has them.
struct Plane {
    limits: Arc<Limits>,
    metrics: Arc<LimitMetrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Plane {
    fn start(server: &TestRedis, config: &LimitsConfig) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let metrics = Arc::<LimitMetrics>::default();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let limits = Limits::new(config, &clock, true, &metrics);
        let at = RedisAt::new(&server.url, std::path::Path::new("")).unwrap();
        limits.start(Some(at), &SystemRandom, &tasks, &stop);
        Self { limits, metrics, tasks, stop }
    }

    async fn is_shared(&self, expected: bool) {
        let is_so = async || self.metrics.is_shared.get() == u64::from(expected);
        eventually("Redis", is_so).await;
    }

    async fn ask(&self, id: i64) -> bool {
        is_allowed(&self.limits.key(key(id), None, workspace(1)).await)
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn per_minute(key_per_minute: u32) -> LimitsConfig {
    LimitsConfig { key_per_minute, workspace_per_minute: 0, ..LimitsConfig::default() }
}

async fn two(server: &TestRedis, config: &LimitsConfig) -> [Plane; 2] {
    let planes = [Plane::start(server, config), Plane::start(server, config)];
    for plane in &planes {
        plane.is_shared(true).await;
    }
    // Each says that it is there when it connects, and hears of the other then or a little later.
    for plane in &planes {
        let shared = plane.limits.shared.as_ref().unwrap();
        eventually("the other one", async || shared.instances() == 2).await;
    }
    planes
}

/// What both allow together is what one would: the burst, and what came back meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_planes_allow_together_what_the_quota_says() {
    const PER_MINUTE: u32 = 1200;
    let server = TestRedis::start(&[]);
    let planes = two(&server, &per_minute(PER_MINUTE)).await;
    // A round in which Redis did not answer in time, on a machine that is busy, says nothing.
    for round in 1..=5 {
        let failures = planes.each_ref().map(|plane| plane.metrics.shared_failures.get());
        let began = Instant::now();
        let ask = async |plane: &Plane| {
            let mut allowed = 0_u32;
            while began.elapsed() < Duration::from_millis(1500) {
                let asked = tokio::join!(plane.ask(round), plane.ask(round), plane.ask(round));
                allowed += u32::from(asked.0) + u32::from(asked.1) + u32::from(asked.2);
            }
            allowed
        };
        let (a, b) = tokio::join!(ask(&planes[0]), ask(&planes[1]));
        let took = began.elapsed().as_secs_f64();
        for plane in &planes {
            plane.is_shared(true).await;
        }
        if failures != planes.each_ref().map(|plane| plane.metrics.shared_failures.get()) {
            continue;
        }
        let expected = f64::from(PER_MINUTE) * (1.0 + took / 60.0);
        let sum = f64::from(a + b);
        assert!((sum / expected - 1.0).abs() < 0.01, "{a} + {b} of {expected} in {took} s");
        assert!(a > 0 && b > 0);
        for plane in planes {
            plane.end().await;
        }
        return;
    }
    panic!("Redis never answered in time");
}

/// Redis is killed: each counts its part, at once; and counts in Redis again when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_counts_its_part() {
    let mut server = TestRedis::start(&[]);
    let planes = two(&server, &per_minute(60)).await;
    assert!(planes[0].ask(1).await && planes[1].ask(1).await);
    server.kill();
    for (n, plane) in planes.iter().enumerate() {
        let began = Instant::now();
        let mut allowed = 0;
        for _ in 0..200 {
            allowed += usize::from(plane.ask(2).await);
        }
        let took = began.elapsed();
        // Half of the quota, less one that the shield had counted when Redis did not answer, and
        // what comes back in the time that it takes: one each second, or two.
        let most = 31 + 2 * usize::try_from(took.as_secs() + 1).unwrap();
        assert!((29..=most).contains(&allowed), "{n}: {allowed} in {took:?}");
        // If each of them waited for Redis, it would take five seconds.
        assert!(took < Duration::from_millis(2500), "{took:?}");
        plane.is_shared(false).await;
    }
    // Nobody signs in more often because of it.
    let login = async |plane: &Plane| !is_limited(plane.limits.login(None, &[1; 32]).await);
    let mut logins = 0;
    for _ in 0..50 {
        logins += usize::from(login(&planes[0]).await) + usize::from(login(&planes[1]).await);
    }
    assert_eq!(logins, 10);
    server.start_again();
    for plane in &planes {
        plane.is_shared(true).await;
    }
    assert!(planes[0].ask(3).await);
    assert_eq!(planes[0].metrics.is_shared.get(), 1);
    for plane in planes {
        plane.end().await;
    }
}

/// A server that hangs holds up one request for 25 ms, and the others not at all: a hundred would take 2.5 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_holds_nobody_up() {
    let server = TestRedis::start(&[]);
    let plane = Plane::start(&server, &per_minute(1000));
    plane.is_shared(true).await;
    server.pause();
    let began = Instant::now();
    for _ in 0..100 {
        assert!(plane.ask(1).await);
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(25) && took < Duration::from_millis(1250), "{took:?}");
    server.resume();
    plane.is_shared(true).await;
    plane.end().await;
}

/// A time in Redis that makes no sense for the quota, from another one or from a clock that was set
/// back, shuts nobody out for longer than the quota's window.
#[tokio::test]
async fn nobody_is_shut_out_for_longer_than_the_window() {
    let server = TestRedis::start(&[]);
    let plane = Plane::start(&server, &per_minute(600));
    plane.is_shared(true).await;
    let name = format!("carom:limit:key:{}", Subject::key(key(1)).text());
    let shared = plane.limits.shared.as_ref().unwrap();
    let ask = async |time: &str| {
        for _ in 0..50 {
            eventually("Redis", async || shared.is_there()).await;
            server.run(&["SET", &name, time]).await;
            let decisions = plane.limits.key(key(1), None, workspace(1)).await;
            // Where Redis did not answer in time, on a machine that is busy, it was counted here.
            if shared.is_there() {
                return decisions[0];
            }
        }
        panic!("Redis never answered in time");
    };
    let refused = ask("9000000000000000").await;
    assert!(!refused.is_allowed);
    assert!(refused.reset <= Duration::from_millis(200), "{refused:?}");
    let allowed = ask("0").await;
    assert_eq!((allowed.is_allowed, allowed.remaining), (true, 599));
    // It goes when it says nothing any more, after 100 ms: not there is -2, and for ever is -1.
    let mut connection = server.try_connect().await.unwrap();
    let left: i64 = redis::cmd("PTTL").arg(&name).query_async(&mut connection).await.unwrap();
    assert!(left == -2 || (0..=100).contains(&left), "{left}");
    plane.end().await;
}
