//! Several control planes on one database, and a database that goes away.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use carom_control::{
    App, Change, ClicksConfig, Config, DatabaseConfig, InternalConfig, OpenOptions, Subscriber,
    api_router, operator,
};
use carom_shared::{SeededRandom, TestClock, UnixMillis};
use http::{Method, Request, StatusCode};

use crate::it::postgres::TestPostgres;
use crate::it::{Answer, send};

/// 2026-01-01T00:00:00Z
pub(crate) const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// One of several control planes; its clicks are its own.
pub(crate) struct Plane {
    pub(crate) app: App,
    _folder: tempfile::TempDir,
}

impl Plane {
    pub(crate) async fn open(url: String, seed: u64) -> Self {
        Self::with_clicks(url, seed, ClicksConfig::default()).await
    }

    pub(crate) async fn with_clicks(url: String, seed: u64, clicks: ClicksConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            internal: InternalConfig { token: TOKEN.into(), ..InternalConfig::default() },
            database: DatabaseConfig { url, max_connections: 4 },
            clicks,
            ..Config::new(folder.path().into(), "https://go.example")
        };
        let clock = Arc::new(TestClock::new(NOW));
        let random = Arc::new(SeededRandom::new(seed));
        let app = App::open(OpenOptions { config, clock, random }).await.unwrap();
        Self { app, _folder: folder }
    }

    pub(crate) async fn key(&self) -> String {
        let request = Request::post("/v1/keys").header("content-type", "application/json");
        let request = request.body(Body::from(r#"{"name":"test"}"#)).unwrap();
        let made = send(operator::router(&self.app), request).await;
        made.json()["key"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn call(&self, key: &str, method: Method, path: &str, body: String) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json");
        send(api_router(&self.app), request.body(Body::from(body)).unwrap()).await
    }

    pub(crate) async fn create(&self, key: &str, code: &str) -> Answer {
        let body = format!(r#"{{"url":"https://example.com/{code}","code":"{code}"}}"#);
        self.call(key, Method::POST, "/api/v1/links", body).await
    }
}

pub(crate) async fn count(database: &TestPostgres, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&mut database.connect().await).await.unwrap()
}

/// Programs that meet an empty database at once make one workspace, one domain and one feed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_starts_at_once_make_one_installation() {
    let database = TestPostgres::new(false).await;
    let start = |seed| Plane::open(database.url.clone(), seed);
    let planes = tokio::join!(start(1), start(2), start(3), start(4));
    let planes = [planes.0, planes.1, planes.2, planes.3];
    let domains: Vec<_> = planes.iter().map(|plane| plane.app.domains()).collect();
    assert_eq!(domains[0].len(), 1);
    assert!(domains.iter().all(|of| *of == domains[0]), "{domains:?}");
    assert_eq!(count(&database, "select count(*) from workspace").await, 1);
    assert_eq!(count(&database, "select count(*) from feed").await, 1);
    let key = planes[0].key().await;
    assert_eq!(planes[3].create(&key, "shared").await.status, StatusCode::CREATED);
}

/// Keeps what it is told.
#[derive(Default)]
struct Seen(Mutex<Vec<Change>>);

impl Subscriber for Seen {
    fn apply(&self, changes: &[Change]) {
        self.0.lock().unwrap().extend_from_slice(changes);
    }

    fn missed(&self) {}
}

/// Nobody has to tell it; how soon, no test on a busy machine can say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_changed_elsewhere_is_noticed() {
    let database = TestPostgres::new(true).await;
    let plane = Plane::open(database.url.clone(), 1).await;
    assert_eq!(plane.app.domains().len(), 1);
    let mut connection = database.connect().await;
    let insert = "insert into domain (id, host, is_default, created_at_ms) \
         values (77, 'b.example', false, 1)";
    sqlx::query(insert).execute(&mut connection).await.unwrap();
    let begin = std::time::Instant::now();
    while plane.app.domains().len() == 1 {
        assert!(begin.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Two control planes take the same codes in opposite orders: each code once, no deadlock, and
/// numbers without a gap over both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_number_densely_and_take_each_code_once() {
    const CODES: usize = 100;
    let database = TestPostgres::new(true).await;
    let planes = [
        Arc::new(Plane::open(database.url.clone(), 1).await),
        Arc::new(Plane::open(database.url.clone(), 2).await),
    ];
    let seen = Arc::new(Seen::default());
    let key = planes[0].key().await;
    for plane in &planes {
        plane.app.subscribe(Arc::<Seen>::clone(&seen)).unwrap();
    }
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..CODES {
        for (plane, n) in planes.iter().zip([n, CODES - 1 - n]) {
            let (plane, key) = (Arc::clone(plane), key.clone());
            calls.spawn(async move { plane.create(&key, &format!("code{n}")).await.status });
        }
    }
    let answers = calls.join_all().await;
    let made = answers.iter().filter(|status| **status == StatusCode::CREATED).count();
    let taken = answers.iter().filter(|status| **status == StatusCode::CONFLICT).count();
    assert_eq!((made, taken), (CODES, CODES), "{answers:?}");
    let mut seqs: Vec<u64> = seen.0.lock().unwrap().iter().map(|change| change.seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=CODES as u64).collect::<Vec<_>>());
    let dense = "select count(*) from change where seq between 1 and 100";
    assert_eq!(count(&database, dense).await, 100);
}

/// Every connection is cut, again and again: whoever is hit is told to come back, and the next
/// request works. Nothing that was acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_are_a_503_at_worst_and_then_it_goes_on() {
    const CUT: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
         where datname = current_database() and pid <> pg_backend_pid()";
    let database = TestPostgres::new(true).await;
    let plane = Plane::open(database.url.clone(), 1).await;
    let key = plane.key().await;
    let list = async || plane.call(&key, Method::GET, "/api/v1/links", String::new()).await;
    for round in 1..=5 {
        assert_eq!(plane.create(&key, &format!("round{round}")).await.status, StatusCode::CREATED);
        let before = list().await;
        assert_eq!(before.status, StatusCode::OK);
        assert!(count(&database, CUT).await >= 2);
        // The writer asks its connection before it uses it, so that a command is not hit.
        let code = format!("after{round}");
        let made = plane.create(&key, &code).await;
        assert!(
            matches!(made.status, StatusCode::CREATED | StatusCode::SERVICE_UNAVAILABLE),
            "{}",
            made.body
        );
        // One dead connection after the other is found and left, at most as many as there are.
        let mut answers = Vec::new();
        for _ in 0..4 {
            let answer = list().await;
            answers.push(answer.status);
            if answer.status == StatusCode::OK {
                assert!(answer.body.contains(&format!("round{round}")));
                break;
            }
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
            assert_eq!(answer.headers["retry-after"], "1");
        }
        assert_eq!(answers.last(), Some(&StatusCode::OK), "{answers:?}");
    }
}

/// The row of the feed is locked by somebody who does not let go: commands fail within the time
/// that a lock is waited for, readers do not notice, and afterwards all is as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_ends_the_wait_and_not_the_service() {
    let database = TestPostgres::new(true).await;
    let plane = Plane::open(database.url.clone(), 1).await;
    let key = plane.key().await;
    let mut other = database.connect().await;
    sqlx::raw_sql("begin").execute(&mut other).await.unwrap();
    sqlx::raw_sql("select from feed for update").execute(&mut other).await.unwrap();
    let started = std::time::Instant::now();
    let (refused, listed) = tokio::join!(
        plane.create(&key, "waits"),
        plane.call(&key, Method::GET, "/api/v1/links", String::new())
    );
    assert_eq!(listed.status, StatusCode::OK);
    assert!(refused.status.is_server_error(), "{}", refused.body);
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    assert_eq!(plane.create(&key, "waits").await.status, StatusCode::CREATED);
    assert_eq!(count(&database, "select count(*) from change").await, 1);
}

/// Each control plane indexes texts: no link is left out, none fails, and each finds what the other
/// made, before and after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_index_the_same_links() {
    const LINKS: usize = 60;
    let database = TestPostgres::new(true).await;
    let planes =
        [Plane::open(database.url.clone(), 1).await, Plane::open(database.url.clone(), 2).await];
    let key = planes[0].key().await;
    let found = async |plane: &Plane, n: usize| {
        let path = format!("/api/v1/links?q=indexed{n:03}");
        plane.call(&key, Method::GET, &path, String::new()).await.json()["data"].clone()
    };
    for n in 0..LINKS {
        let made = planes[n % 2].create(&key, &format!("indexed{n:03}")).await;
        assert_eq!(made.status, StatusCode::CREATED);
        assert_eq!(found(&planes[1 - n % 2], n).await.as_array().unwrap().len(), 1);
    }
    let unindexed = async || count(&database, "select count(*) from link_unindexed").await;
    let begun = std::time::Instant::now();
    while unindexed().await > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(count(&database, "select count(*) from link_search").await, LINKS as i64);
    for n in 0..LINKS {
        assert_eq!(found(&planes[n % 2], n).await.as_array().unwrap().len(), 1);
    }
}
