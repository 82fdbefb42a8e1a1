//! What two control planes on one database must do as one: start, answer a request once, tell edges
//! of each other's changes, and keep clicks in one place.

use std::time::{Duration, Instant};

use axum::body::Body;
use carom_control::{ClicksConfig, KeepClicksError, internal_router};
use carom_shared::batch::{BatchBuilder, Token};
use carom_shared::internal::CLICKS_PATH;
use carom_shared::{Code, FeedPosition};
use http::{Method, Request, StatusCode};

use super::several::{NOW, Plane, TOKEN, count};
use crate::it::postgres::TestPostgres;
use crate::it::{Answer, send};

async fn pair(database: &TestPostgres) -> [Plane; 2] {
    [Plane::open(database.url.clone(), 1).await, Plane::open(database.url.clone(), 2).await]
}

/// Two that migrate an empty database at once, again and again: neither fails, and what every
/// installation has is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_first_starts_at_once_always_succeed() {
    for round in 0..20 {
        let database = TestPostgres::new(false).await;
        let start = |seed| Plane::open(database.url.clone(), seed);
        let (a, b) = tokio::join!(start(round), start(round + 100));
        assert_eq!(a.app.domains(), b.app.domains());
        let tables = [
            "select count(*) from workspace", "select count(*) from domain",
            "select count(*) from secret",
        ];
        for table in tables {
            assert_eq!(count(&database, table).await, 1, "{table}");
        }
    }
}

impl Plane {
    async fn create_once(&self, key: &str, idempotency_key: &str) -> Answer {
        let request = Request::post("/api/v1/links")
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .header("idempotency-key", idempotency_key);
        let body = Body::from(r#"{"url":"https://example.com/once"}"#);
        send(carom_control::api_router(&self.app), request.body(body).unwrap()).await
    }

    async fn internal(&self, request: http::request::Builder, body: Vec<u8>) -> Answer {
        let request = request.header("authorization", format!("Bearer {TOKEN}"));
        let router = internal_router(&self.app).unwrap();
        send(router, request.body(Body::from(body)).unwrap()).await
    }
}

/// The same request with the same key at both at once: both are answered, and with the same link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_idempotency_key_at_both_makes_one_link() {
    const KEYS: usize = 200;
    let database = TestPostgres::new(true).await;
    let [a, b] = pair(&database).await;
    let key = a.key().await;
    let mut replayed = 0;
    for n in 0..KEYS {
        let once = format!("key-{n}");
        let (one, other) = tokio::join!(a.create_once(&key, &once), b.create_once(&key, &once));
        assert_eq!((one.status, other.status), (StatusCode::CREATED, StatusCode::CREATED));
        assert_eq!(one.json()["id"], other.json()["id"]);
        let of = |answer: &Answer| usize::from(answer.headers.contains_key("idempotent-replayed"));
        assert_eq!(of(&one) + of(&other), 1);
        replayed += of(&other);
    }
    assert_eq!(count(&database, "select count(*) from link").await, KEYS as i64);
    assert!(replayed > 0, "the second one was never second");
}

/// An edge that waits at one hears at once of what the other one committed, and knows no other
/// numbers than its own would be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_at_one_hears_of_the_others_changes() {
    let database = TestPostgres::new(true).await;
    let [a, b] = pair(&database).await;
    let key = a.key().await;
    // Who heard of nothing would find the change at its end.
    const WAIT_MAX: Duration = Duration::from_secs(10);
    let mut at = b.app.feed_head().await.unwrap();
    let mut slowest = Duration::ZERO;
    for n in 0..20 {
        let code = format!("heard{n}");
        let waiting = b.app.changes_after(at, WAIT_MAX);
        let making = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(a.create(&key, &code).await.status, StatusCode::CREATED);
            Instant::now()
        };
        let (page, made) = tokio::join!(waiting, making);
        slowest = slowest.max(made.elapsed());
        let page = page.unwrap().unwrap();
        assert_eq!(page.first, at.seq + 1);
        assert_eq!(page.changes.len(), 1);
        assert_eq!(page.changes[0].code, Code::parse(&code).unwrap());
        at = FeedPosition { seq: at.seq + 1, ..at };
    }
    assert!(slowest < WAIT_MAX / 2, "{slowest:?}");
}

/// The day's salts are made once, whoever asks first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn salts_are_the_same_everywhere() {
    let database = TestPostgres::new(true).await;
    let [a, b] = pair(&database).await;
    let (one, other) = tokio::join!(a.app.salts(), b.app.salts());
    assert_eq!(one.unwrap(), other.unwrap());
    assert_eq!(count(&database, "select count(*) from salt").await, 2);
}

/// One keeps the clicks in a file; who would be the second is refused, until the first is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_in_a_file_have_one_keeper() {
    let database = TestPostgres::new(true).await;
    let [a, b] = pair(&database).await;
    a.app.keep_clicks().await.unwrap();
    let refused = b.app.keep_clicks().await.unwrap_err();
    assert!(matches!(refused, KeepClicksError::Taken), "{refused}");
    a.app.close().await;
    b.app.keep_clicks().await.unwrap();
}

/// Clicks in a ClickHouse that both name: each takes batches, whoever has a batch already, and says so
/// to edges; one of them looks after the store, and the other one once that is gone.
#[cfg(feature = "clickhouse-tests")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_that_are_shared_have_one_leader() {
    const LEADERS: &str = "select count(*) from pg_locks where locktype = 'advisory' and granted \
         and classid = 25441 and objid = 1919905028 and database = (select oid from pg_database where datname = current_database())";
    let database = TestPostgres::new(true).await;
    let clicks = crate::clickhouse::TestClickHouse::new();
    let config = || ClicksConfig { url: clicks.url.clone(), ..ClicksConfig::default() };
    let a = Plane::with_clicks(database.url.clone(), 1, config()).await;
    let leads = async |n: i64| {
        let begun = Instant::now();
        while count(&database, LEADERS).await != n {
            assert!(begun.elapsed() < Duration::from_secs(30), "{n} leaders");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    leads(1).await;
    let b = Plane::with_clicks(database.url.clone(), 2, config()).await;
    assert!(a.app.bundle().await.unwrap().are_clicks_shared);
    assert!(b.app.bundle().await.unwrap().are_clicks_shared);

    let batch = one_click();
    let token = Token::new(1, 1, 1, batch.rows, batch.crc);
    for (plane, status) in [(&b, StatusCode::CREATED), (&a, StatusCode::OK), (&b, StatusCode::OK)] {
        let request = Request::post(format!("{CLICKS_PATH}/{token}"));
        assert_eq!(plane.internal(request, batch.bytes.to_vec()).await.status, status);
    }

    // The first leader has looked by now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    // A rollup that is off: nobody but the next leader looks within the hour.
    clicks.ask(
        "INSERT INTO click_quarter (workspace, link, quarter, kind, n, imported, last_at) \
         VALUES (1, 1, '2025-12-01 00:00:00', 0, 7, 0, '2025-12-01 00:00:00')",
    );
    const OFF: &str = "SELECT sum(n) FROM click_quarter";
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(clicks.ask(OFF), "8");
    a.app.close().await;
    let begun = Instant::now();
    while clicks.ask(OFF) != "1" {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", clicks.ask(OFF));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    leads(1).await;
    b.app.close().await;
    leads(0).await;
}

/// The same file of clicks through both at once: each click is stored once, whoever was first.
#[cfg(feature = "clickhouse-tests")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_clicks_through_both_at_once_counts_once() {
    use carom_control::operator::{self, ClickRow, ImportClicksRequest, click_columns as columns};

    let database = TestPostgres::new(true).await;
    let clicks = crate::clickhouse::TestClickHouse::new();
    let config = || ClicksConfig { url: clicks.url.clone(), ..ClicksConfig::default() };
    let a = Plane::with_clicks(database.url.clone(), 1, config()).await;
    let b = Plane::with_clicks(database.url.clone(), 2, config()).await;
    let key = a.key().await;
    assert_eq!(a.create(&key, "imported").await.status, StatusCode::CREATED);
    let page = |from: i64| {
        let rows = (from..from + 40).map(|second| {
            let mut cells = vec![String::new(); columns().count()];
            let place = |name: &str| columns().position(|column| column == name).unwrap();
            cells[place("code")] = "imported".to_owned();
            cells[place("at")] = format!("2025-12-01T00:{:02}:{:02}Z", second / 60, second % 60);
            ClickRow { nth: 0, cells }
        });
        let rows = rows.collect();
        serde_json::to_vec(&ImportClicksRequest { dry_run: false, rows }).unwrap()
    };
    // Pages that overlap, each through both.
    for round in 0..6 {
        let import = async |plane: &Plane| {
            let request = Request::post("/v1/import/clicks")
                .header("content-type", "application/json")
                .body(Body::from(page(round * 20)))
                .unwrap();
            send(operator::router(&plane.app), request).await.status
        };
        let (first, second) = tokio::join!(import(&a), import(&b));
        assert_eq!((first, second), (StatusCode::OK, StatusCode::OK), "round {round}");
        let stored = (40 + round * 20).to_string();
        assert_eq!(clicks.ask("SELECT count() FROM click"), stored);
        assert_eq!(clicks.ask("SELECT uniqExact(at) FROM click"), stored);
    }
    a.app.close().await;
    b.app.close().await;
}

/// One without clicks takes none and says nothing of them; everything else it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_without_clicks_says_so() {
    let database = TestPostgres::new(true).await;
    let none = ClicksConfig { url: "none".into(), ..ClicksConfig::default() };
    let plane = Plane::with_clicks(database.url.clone(), 1, none).await;
    plane.app.keep_clicks().await.unwrap();
    let key = plane.key().await;
    assert_eq!(plane.create(&key, "noclicks").await.status, StatusCode::CREATED);
    let stats = plane.call(&key, Method::GET, "/api/v1/stats", String::new()).await;
    assert_eq!(stats.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(stats.json()["code"], "clicks-elsewhere");
    let batch = BatchBuilder::new().finish(NOW, &[]);
    let token = Token::new(1, 1, 1, batch.rows, batch.crc);
    let request = Request::post(format!("{CLICKS_PATH}/{token}"));
    let refused = plane.internal(request, batch.bytes.to_vec()).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    // So that the edge's next try may come to another one.
    assert_eq!(refused.headers["connection"], "close");
}

/// ClickHouse is away when a control plane starts: links are made, statistics and clicks are refused for
/// now, it is ready and says what is missing. Once ClickHouse is there, it has its schema and answers.
#[cfg(feature = "clickhouse-tests")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_clicks_may_come_later() {
    let database = TestPostgres::new(true).await;
    let clicks = crate::clickhouse::TestClickHouse::new();
    let later = clicks.later();
    let config = ClicksConfig { url: later.url.clone(), ..ClicksConfig::default() };
    let plane = Plane::with_clicks(database.url.clone(), 1, config).await;
    let admin = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        send(carom_control::admin::router(&plane.app), request).await
    };
    let key = plane.key().await;
    assert_eq!(plane.create(&key, "early").await.status, StatusCode::CREATED);
    let stats = async || plane.call(&key, Method::GET, "/api/v1/stats", String::new()).await;
    let refused = stats().await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.json()["code"], "clicks-unavailable");
    assert!(refused.headers.contains_key("retry-after"));
    let batch = one_click();
    let token = Token::new(1, 1, 1, batch.rows, batch.crc);
    let bring = async || {
        let request = Request::post(format!("{CLICKS_PATH}/{token}"));
        plane.internal(request, batch.bytes.to_vec()).await.status
    };
    assert_eq!(bring().await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(admin("/readyz").await.status, StatusCode::OK);
    assert!(admin("/metrics").await.body.contains("\ncarom_control_click_store_up 0\n"));
    assert!(plane.app.migrate_clicks().await.is_err(), "a command that is for that says so");

    later.come();
    let begun = Instant::now();
    while stats().await.status != StatusCode::OK {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bring().await, StatusCode::CREATED);
    while !admin("/metrics").await.body.contains("\ncarom_control_click_store_up 1\n") {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    plane.app.close().await;
}

/// A batch with one click of yesterday.
#[cfg(feature = "clickhouse-tests")]
fn one_click() -> carom_shared::batch::BatchFile {
    use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
    use carom_shared::{Click, DomainId, LinkId, WorkspaceId};

    let mut batch = BatchBuilder::new();
    batch.push(&Click {
        workspace: WorkspaceId::try_from(1).unwrap(),
        link: LinkId::try_from(1).unwrap(),
        domain: DomainId::try_from(1).unwrap(),
        at_s: u32::try_from(NOW.as_secs() - 86_400).unwrap(),
        n: 1,
        kind: Kind::Human,
        via: Via::Link,
        variant: 0,
        status: 302,
        target_revision: 1,
        visitor: 0,
        privacy: Privacy::default(),
        channel: Channel::Direct,
        device: Device::Unknown,
        details: Details::of(&[(Detail::Referrer, "")]),
    });
    batch.finish(NOW, &[])
}
