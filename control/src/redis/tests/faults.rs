//! Redis is killed, stopped, emptied, restarted with older data or with another policy. What is
//! asked each time is what an edge asks: if the lease is valid, is each link there that was
//! acknowledged before?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::task::JoinSet;

use super::support::{Plane, TestRedis, eventually};

/// Creates at once; each waits for its answer.
const CALLERS: usize = 32;

/// What became of creates.
#[derive(Default)]
struct Tally {
    made: AtomicU64,
    /// An edge could tell at once that the link is there.
    seen: AtomicU64,
    /// Answered no sooner than every lease was over.
    waited: AtomicU64,
}

/// Makes links until it is told to stop, and looks for each at once, as an edge does.
async fn caller(
    plane: Arc<Plane>,
    server_url: String,
    n: usize,
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
) {
    let keys = plane.keys().await;
    let at = super::RedisAt::new(&server_url, std::path::Path::new("")).unwrap();
    let mut connection = None;
    for i in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let code = format!("c{n}-{i}");
        let began = Instant::now();
        assert_eq!(plane.create(&code).await.status(), StatusCode::CREATED, "{code}");
        let took = began.elapsed();
        tally.made.fetch_add(1, Ordering::Relaxed);
        if took >= super::ACK_WAIT {
            tally.waited.fetch_add(1, Ordering::Relaxed);
        }
        if connection.is_none() {
            connection = at.connect(Duration::from_millis(100)).await.ok();
        }
        let Some(to_server) = &mut connection else { continue };
        match plane.as_an_edge(to_server, &keys, &code).await {
            Some(true) => drop(tally.seen.fetch_add(1, Ordering::Relaxed)),
            Some(false) => panic!("{code} was acknowledged after {took:?} and is not in Redis"),
            None => {
                let is_alive = redis::cmd("PING").exec_async(to_server).await.is_ok();
                if !is_alive {
                    connection = None;
                }
            }
        }
    }
}

/// Runs a fault several times while links are made, and then looks for all of them.
async fn under(arguments: &[&str], mut fault: impl AsyncFnMut(&mut TestRedis)) {
    let mut server = TestRedis::start(arguments);
    let plane = Arc::new(Plane::on_file(&server.url).await);
    eventually("the first lease", || plane.has_lease(&server)).await;
    let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        let (plane, stop, tally) = (Arc::clone(&plane), Arc::clone(&stop), Arc::clone(&tally));
        callers.spawn(caller(plane, server.url.clone(), n, stop, tally));
    }
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        fault(&mut server).await;
    }
    eventually("a lease after the fault", || plane.has_lease(&server)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    let head = plane.app.feed_head().await.unwrap().seq;
    assert_eq!(head, tally.made.load(Ordering::Relaxed));
    assert!(tally.seen.load(Ordering::Relaxed) > 0, "nothing was looked at");
    eventually("every change in Redis", async || plane.upto(&server).await == Some(head)).await;
    let mut connection = server.try_connect().await.unwrap();
    let routes: Vec<String> =
        redis::cmd("KEYS").arg("carom:*:route:*").query_async(&mut connection).await.unwrap();
    assert_eq!(routes.len() as u64, head);
    plane.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_with_nothing() {
    under(&[], async |server| {
        server.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.start_again();
    })
    .await;
}

/// With what it wrote to its disk at the last full second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_with_older_data() {
    under(&["--appendonly", "yes"], async |server| {
        server.kill();
        server.start_again();
    })
    .await;
}

/// A dump of some time ago holds a lease that may be valid by its time, and routes of then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn started_from_a_dump_that_is_older() {
    under(&[], async |server| {
        server.run(&["SAVE"]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.kill();
        server.start_again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_for_a_while() {
    under(&[], async |server| {
        server.pause();
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.resume();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied_while_it_runs() {
    under(&[], async |server| {
        server.run(&["FLUSHALL"]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.run(&["FLUSHALL"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delayed_by_its_other_clients() {
    under(&["--enable-debug-command", "yes"], async |server| {
        let mut connection = server.try_connect().await.unwrap();
        drop(redis::cmd("DEBUG").arg("SLEEP").arg("0.4").exec_async(&mut connection).await);
    })
    .await;
}

/// A thousand creates while Redis comes and goes: each was in Redis when it was answered, or the
/// answer came when every lease was over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_creates_are_in_redis_or_have_waited() {
    let mut server = TestRedis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let plane = Arc::new(Plane::on_file(&server.url).await);
    let tally = Arc::new(Tally::default());
    let callers = Arc::new(tokio::sync::Semaphore::new(64));
    let mut creates = JoinSet::new();
    for n in 0..1000 {
        let callers = Arc::clone(&callers);
        let (plane, tally) = (Arc::clone(&plane), Arc::clone(&tally));
        creates.spawn(async move {
            let _turn = callers.acquire_owned().await.unwrap();
            let (code, began) = (format!("c{n}"), Instant::now());
            assert_eq!(plane.create(&code).await.status(), StatusCode::CREATED);
            let has_waited = began.elapsed() >= super::ACK_WAIT;
            tally.waited.fetch_add(u64::from(has_waited), Ordering::Relaxed);
            (code, has_waited)
        });
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(350)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.start_again();
    }
    // It keeps all that it has said yes to: what was answered early must be there, whoever wrote it.
    let answered = creates.join_all().await;
    let waited = tally.waited.load(Ordering::Relaxed);
    assert!(waited > 0 && waited < 1000, "{waited}");
    for (code, has_waited) in answered {
        assert!(has_waited || plane.route(&server, &code).await.is_some(), "{code}");
    }
    eventually("a lease", || plane.has_lease(&server)).await;
    plane.app.close().await;
}

/// Control was killed between a commit and its write to Redis: here, by another process that knows
/// nothing of Redis. The lease comes after the change.
#[tokio::test]
async fn what_control_did_not_write_is_there_before_a_lease() {
    let server = TestRedis::start(&[]);
    let plane = Plane::on_file(&server.url).await;
    assert_eq!(plane.create("written").await.status(), StatusCode::CREATED);
    eventually("upto", async || plane.upto(&server).await == Some(1)).await;
    let plane = plane.open_again("").await;
    assert_eq!(plane.create("unwritten").await.status(), StatusCode::CREATED);
    assert!(plane.route(&server, "unwritten").await.is_none());
    // The lease of before is over: nobody gave one since.
    eventually("the lease's end", async || !plane.has_lease(&server).await).await;
    let plane = plane.open_again(&server.url).await;
    let keys = plane.keys().await;
    let mut connection = server.try_connect().await.unwrap();
    let began = Instant::now();
    while plane.as_an_edge(&mut connection, &keys, "unwritten").await != Some(true) {
        assert_ne!(plane.as_an_edge(&mut connection, &keys, "unwritten").await, Some(false));
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    assert_eq!(plane.metric("carom_control_l2_fills_total").await, 0);
    assert_eq!(plane.metric("carom_control_l2_changes_replayed_total").await, 1);
    plane.app.close().await;
}

/// The policy that throws keys away ends the lease; what was thrown away comes back before the next.
#[tokio::test]
async fn a_server_that_throws_keys_away_is_not_believed() {
    let server = TestRedis::start(&[]);
    let plane = Plane::on_file(&server.url).await;
    assert_eq!(plane.create("a").await.status(), StatusCode::CREATED);
    eventually("a lease", || plane.has_lease(&server)).await;
    server.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    eventually("the lease's end", async || !plane.has_lease(&server).await).await;
    eventually("upto's end", async || plane.upto(&server).await.is_none()).await;
    assert_eq!(plane.metric("carom_control_l2_lease_given").await, 0);
    let key = plane.keys().await.route(plane.app.domains()[0].id, &"a".parse().unwrap());
    server.run(&["DEL", &key]).await;
    server.run(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    eventually("a lease", || plane.has_lease(&server)).await;
    assert!(plane.route(&server, "a").await.is_some());
    plane.app.close().await;
}

/// A server that is full takes neither changes nor leases; answers come, later.
#[tokio::test]
async fn a_full_server_gets_no_lease() {
    let server = TestRedis::start(&[]);
    let plane = Plane::on_file(&server.url).await;
    eventually("a lease", || plane.has_lease(&server)).await;
    server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let began = Instant::now();
    assert_eq!(plane.create("a").await.status(), StatusCode::CREATED);
    assert!(began.elapsed() >= super::ACK_WAIT);
    assert!(!plane.has_lease(&server).await);
    server.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    eventually("a lease", || plane.has_lease(&server)).await;
    assert!(plane.route(&server, "a").await.is_some());
    plane.app.close().await;
}

/// An older state of the database came back under the same numbering: nothing is concluded from it.
#[tokio::test]
async fn a_database_that_is_behind_redis_gets_no_lease() {
    let server = TestRedis::start(&[]);
    let plane = Plane::on_file(&server.url).await;
    assert_eq!(plane.create("a").await.status(), StatusCode::CREATED);
    eventually("a lease", || plane.has_lease(&server)).await;
    let upto = plane.keys().await.upto();
    server.run(&["SET", &upto, "2"]).await;
    eventually("the lease's end", async || !plane.has_lease(&server).await).await;
    assert_eq!(plane.upto(&server).await, Some(2));
    server.run(&["SET", &upto, "1"]).await;
    eventually("a lease", || plane.has_lease(&server)).await;
    plane.app.close().await;
}

/// Keys of an epoch that is over are removed; those of a newer one are not this database's.
#[tokio::test]
async fn epochs_that_are_over_leave_nothing() {
    let server = TestRedis::start(&[]);
    for key in ["carom:1:route:1:a", "carom:1:upto", "carom:18446744073709551615:upto", "other"] {
        server.run(&["SET", key, "0"]).await;
    }
    let plane = Plane::on_file(&server.url).await;
    let mut connection = server.try_connect().await.unwrap();
    eventually("the end of epoch 1", async || {
        let ask = redis::cmd("KEYS").arg("carom:1:*").query_async(&mut connection).await;
        let left: Vec<String> = ask.unwrap();
        left.is_empty()
    })
    .await;
    for key in ["carom:18446744073709551615:upto", "other"] {
        let left: Result<bool, _> =
            redis::cmd("EXISTS").arg(key).query_async(&mut connection).await;
        assert!(left.unwrap(), "{key}");
    }
    plane.app.close().await;
}
