//! Two control planes on one PostgreSQL database and one Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::support::{Plane, TestRedis, eventually};
use crate::testing::postgres::TestPostgres;
use crate::{LimitsConfig, api_router};

/// Which of them is the keeper; `None` while it moves.
async fn keeper(planes: &[Arc<Plane>]) -> Option<usize> {
    let mut found = None;
    for (n, plane) in planes.iter().enumerate() {
        if plane.metric("carom_control_l2_keeper").await == 1 {
            // The old one may not have noticed yet.
            if found.replace(n).is_some() {
                return None;
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_write_and_one_keeps() {
    const CREATES: u64 = 200;
    let (server, database) = (TestRedis::start(&[]), TestPostgres::new(true).await);
    let mut planes = Vec::new();
    for _ in 0..2 {
        planes.push(Arc::new(Plane::on_postgres(&database.url, &server.url).await));
    }
    let mut creates = JoinSet::new();
    for n in 0..CREATES {
        let plane = Arc::clone(&planes[usize::try_from(n % 2).unwrap()]);
        creates.spawn(async move { plane.create(&format!("c{n}")).await.status() });
    }
    let answers = creates.join_all().await;
    assert!(answers.iter().all(|status| *status == StatusCode::CREATED), "{answers:?}");
    for n in 0..CREATES {
        assert!(planes[0].route(&server, &format!("c{n}")).await.is_some(), "c{n}");
    }
    let mut numbers = planes[0].changes(&server).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=CREATES).collect::<Vec<_>>());
    eventually("a lease", || planes[0].has_lease(&server)).await;
    eventually("all changes", async || planes[1].upto(&server).await == Some(CREATES)).await;

    // The keeper's session is ended: somebody has the lock again, and gives the lease.
    assert!(keeper(&planes).await.is_some());
    let mut other = database.connect().await;
    const END: &str = "select cast(count(pg_terminate_backend(pid)) as bigint) from pg_locks \
         where locktype = 'advisory' and granted and pid <> pg_backend_pid() \
           and database = (select oid from pg_database where datname = current_database())";
    let ended: i64 = sqlx::query_scalar(END).fetch_one(&mut other).await.unwrap();
    assert!(ended >= 1);
    let failed = async || {
        let mut sum = 0;
        for plane in &planes {
            sum += plane.metric("carom_control_l2_rounds_failed_total").await;
        }
        sum > 0
    };
    eventually("the keeper's error", failed).await;
    eventually("a keeper", async || keeper(&planes).await.is_some()).await;
    eventually("a lease", || planes[0].has_lease(&server)).await;

    // The keeper closes: the other one takes over.
    let first = keeper(&planes).await.unwrap();
    let second = 1 - first;
    planes[first].app.close().await;
    eventually("the other keeper", async || {
        planes[second].metric("carom_control_l2_keeper").await == 1
    })
    .await;
    assert_eq!(planes[second].create("last").await.status(), StatusCode::CREATED);
    eventually("every change", async || planes[second].upto(&server).await == Some(CREATES + 1))
        .await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(planes[second].has_lease(&server).await);
    planes[second].app.close().await;
}

/// Whether a request with this key is answered.
async fn ask(api: &Router, key: &str) -> u32 {
    let mut request = Request::get("/api/v1/links?limit=1").body(Body::empty()).unwrap();
    let authorization = format!("Bearer {key}").parse().unwrap();
    request.headers_mut().insert("authorization", authorization);
    match api.clone().oneshot(request).await.unwrap().status() {
        StatusCode::OK => 1,
        StatusCode::TOO_MANY_REQUESTS => 0,
        other => panic!("{other}"),
    }
}

/// Asks until nothing is left, and half a second more; how often that was answered.
async fn spend(api: &Router, key: &str) -> u32 {
    let (mut allowed, mut until) = (0, None);
    while until.is_none_or(|until| Instant::now() < until) {
        let got = ask(api, key).await;
        if got == 0 && until.is_none() {
            until = Some(Instant::now() + Duration::from_millis(500));
        }
        allowed += got;
    }
    allowed
}

/// As clients see it: two control planes give one key together what its quota says, and without Redis
/// each its part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_limit_a_key_together() {
    const PER_MINUTE: u32 = 600;
    let (mut server, database) = (TestRedis::start(&[]), TestPostgres::new(true).await);
    let limits = LimitsConfig {
        key_per_minute: PER_MINUTE,
        workspace_per_minute: 0,
        ..LimitsConfig::default()
    };
    let mut planes = Vec::new();
    for _ in 0..2 {
        let plane = Plane::on_postgres_limited(&database.url, &server.url, limits.clone()).await;
        planes.push(plane);
    }
    // Made once: it writes the API's whole document.
    let apis: Vec<Router> = planes.iter().map(|plane| api_router(&plane.app)).collect();
    for plane in &planes {
        eventually("Redis", async || plane.metric("carom_control_limits_shared").await == 1).await;
    }
    // A round in which Redis did not answer in time, on a machine that is busy, says nothing.
    let mut is_measured = false;
    for round in 1..=5 {
        let key = planes[0].app.key_create(&format!("key {round}")).await.unwrap().key;
        let failures = async || {
            let mut all = 0;
            for plane in &planes {
                all += plane.metric("carom_control_limits_shared_failures_total").await;
            }
            all
        };
        let before = failures().await;
        let began = Instant::now();
        let (a, b) = tokio::join!(spend(&apis[0], &key), spend(&apis[1], &key));
        let expected = f64::from(PER_MINUTE) * (1.0 + began.elapsed().as_secs_f64() / 60.0);
        if failures().await != before {
            continue;
        }
        let off = f64::from(a + b) / expected - 1.0;
        assert!(off.abs() < 0.01, "{a} + {b} of {expected}");
        assert!(a > 0 && b > 0);
        is_measured = true;
        break;
    }
    assert!(is_measured, "Redis never answered in time");

    let key = planes[0].app.key_create("without Redis").await.unwrap().key;
    assert_eq!(ask(&apis[0], &key).await, 1);
    for plane in &planes {
        eventually("the other one", async || plane.app.limits().instances() == 2).await;
    }
    server.kill();
    for (n, api) in apis.iter().enumerate() {
        let began = Instant::now();
        let mut allowed = 0;
        for _ in 0..450 {
            allowed += ask(api, &key).await;
        }
        let back = began.elapsed().as_secs_f64() * f64::from(PER_MINUTE) / 120.0;
        let half = f64::from(PER_MINUTE) / 2.0;
        assert!(f64::from(allowed) <= half + back + 5.0, "{n}: {allowed} and {back} came back");
        assert!(f64::from(allowed) >= half - 5.0, "{n}: {allowed}");
    }
    for plane in planes {
        plane.app.close().await;
    }
}
