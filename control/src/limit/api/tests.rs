//! As clients see it, with addresses that only tests can choose.

use super::*;
use std::net::IpAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use carom_shared::{Clock as _, SeededRandom, TestClock};
use http::{Method, Request, StatusCode};
use tower::ServiceExt as _;

use crate::http::address::Peer;
use crate::{Config, LimitsConfig, OpenOptions, api_router, operator};

struct Test {
    app: App,
    api: Router,
    clock: Arc<TestClock>,
    _folder: tempfile::TempDir,
}

impl Test {
    async fn new(limits: LimitsConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::new(crate::testing::NOW));
        let mut config = Config::new(folder.path().into(), "https://go.example");
        config.limits = limits;
        let random = Arc::new(SeededRandom::new(1));
        let options = OpenOptions { config, clock: Arc::clone(&clock) as _, random };
        let app = App::open(options).await.unwrap();
        Self { api: api_router(&app), app, clock, _folder: folder }
    }

    async fn key(&self, name: &str) -> String {
        self.app.key_create(name).await.unwrap().key
    }

    async fn send(&self, from: &str, request: http::request::Builder) -> Response {
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(from.parse::<IpAddr>().ok()));
        self.api.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, from: &str, key: &str) -> Response {
        let authorization = format!("Bearer {key}");
        let request = Request::get("/api/v1/links").header("authorization", authorization);
        self.send(from, request).await
    }

    async fn stranger(&self, from: &str) -> StatusCode {
        self.send(from, Request::get("/api/v1/links")).await.status()
    }
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn limits(key: u32, workspace: u32, address: u32) -> LimitsConfig {
    LimitsConfig {
        key_per_minute: key,
        workspace_per_minute: workspace,
        address_per_minute: address,
        ..LimitsConfig::default()
    }
}

async fn problem(response: Response) -> crate::Problem {
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn answers_say_what_is_left() {
    let test = Test::new(limits(3, 100, 60)).await;
    let (key, other) = (test.key("a").await, test.key("b").await);
    let first = test.get("192.0.2.1", &key).await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(header(&first, "ratelimit-policy"), r#""key";q=3;w=60, "workspace";q=100;w=60"#);
    assert_eq!(header(&first, "ratelimit"), r#""key";r=2;t=20, "workspace";r=99;t=1"#);
    for _ in 0..2 {
        assert_eq!(test.get("192.0.2.1", &key).await.status(), StatusCode::OK);
    }
    let refused = test.get("192.0.2.1", &key).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refused, "ratelimit-policy"), r#""key";q=3;w=60"#);
    assert_eq!(header(&refused, "ratelimit"), r#""key";r=0;t=20"#);
    assert_eq!(header(&refused, "retry-after"), "20");
    assert!(refused.headers().keys().all(|name| !name.as_str().starts_with("x-ratelimit")));
    let problem = problem(refused).await;
    assert_eq!((problem.code.as_str(), problem.status), ("rate-limited", 429));
    // From wherever it comes; and another key is as it was.
    assert_eq!(test.get("192.0.2.2", &key).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(test.get("192.0.2.1", &other).await.status(), StatusCode::OK);
    test.clock.advance(Duration::from_secs(20));
    assert_eq!(test.get("192.0.2.1", &key).await.status(), StatusCode::OK);
    let text = test.app.metrics().write(test.app.gauges());
    assert!(text.contains("carom_control_limited_total{limit=\"key\"} 2\n"), "{text}");
    test.app.close().await;
}

#[tokio::test]
async fn strangers_share_what_their_address_has() {
    let test = Test::new(limits(0, 0, 5)).await;
    let key = test.key("a").await;
    let unknown = Secret::generate(&SeededRandom::new(9)).reveal();
    // Without credentials, with wrong ones, and where nobody asks for any.
    assert_eq!(test.stranger("192.0.2.1").await, StatusCode::UNAUTHORIZED);
    for wrong in [unknown.as_str(), "crm_wrong"] {
        assert_eq!(test.get("192.0.2.1", wrong).await.status(), StatusCode::UNAUTHORIZED);
    }
    let public = test.send("192.0.2.1", Request::get("/problems/validation")).await;
    assert_eq!(public.status(), StatusCode::OK);
    assert_eq!(header(&public, "ratelimit"), r#""address";r=1;t=48"#);
    let nowhere = test.send("192.0.2.1", Request::get("/nowhere")).await;
    assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);
    assert_eq!(test.stranger("192.0.2.1").await, StatusCode::TOO_MANY_REQUESTS);
    let refused = test.get("192.0.2.1", &unknown).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refused, "retry-after"), "12");
    // Who has a key is no stranger, and neighbours are others.
    let known = test.get("192.0.2.1", &key).await;
    assert_eq!((known.status(), header(&known, "ratelimit")), (StatusCode::OK, ""));
    assert_eq!(test.stranger("192.0.2.2").await, StatusCode::UNAUTHORIZED);
    test.clock.advance(Duration::from_secs(60));
    assert_eq!(test.stranger("192.0.2.1").await, StatusCode::UNAUTHORIZED);
    test.app.close().await;
}

/// A checksum is no secret, and a cookie is anybody's to invent.
#[tokio::test]
async fn a_flood_of_invented_credentials_does_not_reach_the_database() {
    let test = Test::new(limits(0, 0, 5)).await;
    let key = test.key("a").await;
    let random = SeededRandom::new(9);
    for n in 0..120 {
        let invented = Secret::generate(&random).reveal();
        let status = test.get("192.0.2.1", &invented).await.status().as_u16();
        assert_eq!(status, if n < 5 { 401 } else { 429 }, "{n}");
    }
    assert_eq!(test.app.metrics().key_lookups.get(), 50, "ten times what strangers have");
    let cookie = Request::get("/api/v1/account").header("cookie", format!("{COOKIE}=x"));
    let refused = test.send("192.0.2.1", cookie).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&refused, "retry-after"), "2");
    assert_eq!(test.get("192.0.2.2", &key).await.status(), StatusCode::OK, "a neighbour");
    // One comes back each 1.2 s.
    test.clock.advance(Duration::from_millis(1200));
    assert_eq!(test.get("192.0.2.1", &key).await.status(), StatusCode::OK);
    let text = test.app.metrics().write(test.app.gauges());
    assert!(text.contains("carom_control_limited_total{limit=\"look-up\"} 71\n"), "{text}");
    test.app.close().await;
}

#[tokio::test]
async fn what_is_for_everybody_counts_whatever_it_comes_with() {
    let test = Test::new(limits(0, 0, 3)).await;
    let with_cookie =
        |request: http::request::Builder| request.header("cookie", format!("{COOKIE}=x"));
    for (n, path) in ["/share/a", "/share/b", "/share/c", "/share/d"].into_iter().enumerate() {
        let answer = test.send("192.0.2.1", with_cookie(Request::get(path))).await;
        assert_eq!(answer.status().as_u16(), if n < 3 { 404 } else { 429 }, "{path}");
        let answer =
            test.send("192.0.2.2", with_cookie(Request::post("/api/v1/email-undos"))).await;
        assert_eq!(answer.status() == 429, n >= 3, "{n}: {}", answer.status());
    }
    test.app.close().await;
}

/// A typing error does not reach the database.
#[tokio::test]
async fn a_wrong_checksum_is_refused_without_a_question() {
    let test = Test::new(limits(0, 0, 0)).await;
    let key = test.key("a").await;
    let lookups = || test.app.metrics().key_lookups.get();
    for at in 4..key.len() {
        let mut wrong = key.clone().into_bytes();
        wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
        let wrong = String::from_utf8(wrong).unwrap();
        assert_eq!(test.get("192.0.2.1", &wrong).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(lookups(), 0);
    assert_eq!(test.get("192.0.2.1", &key).await.status(), StatusCode::OK);
    assert_eq!(lookups(), 1);
    test.app.close().await;
}

#[tokio::test]
async fn a_key_counts_in_its_header_only() {
    let test = Test::new(limits(0, 0, 0)).await;
    let key = test.key("a").await;
    for request in [
        Request::get(format!("/api/v1/links?key={key}")),
        Request::get(format!("/api/v1/links?access_token={key}")),
        Request::get("/api/v1/links").header("cookie", format!("key={key}")),
        Request::get("/api/v1/links").header("cookie", format!("{COOKIE}={key}")),
        Request::get("/api/v1/links").header("x-api-key", &key),
        Request::get("/api/v1/links").header("authorization", format!("Basic {key}")),
        Request::get("/api/v1/links").header("authorization", &key),
    ] {
        assert_eq!(test.send("192.0.2.1", request).await.status(), StatusCode::UNAUTHORIZED);
    }
    let body = format!(r#"{{"url":"https://example.com/","key":"{key}","access_token":"{key}"}}"#);
    let request = Request::post("/shorten").header("content-type", "application/json");
    let answer = test.api.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    test.app.close().await;
}

#[tokio::test]
async fn a_key_is_for_its_addresses() {
    let test = Test::new(limits(0, 0, 60)).await;
    let operator = test.key("a").await;
    let body =
        r#"{"name":"b","scopes":["links:read"],"addresses":["192.0.2.0/24","2001:db8::/32"]}"#;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/api/v1/keys")
        .header("authorization", format!("Bearer {operator}"))
        .header("content-type", "application/json");
    let made = test.api.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    let made: operator::KeyCreated =
        serde_json::from_slice(&to_bytes(made.into_body(), 10_000).await.unwrap()).unwrap();
    for (from, status) in [
        ("192.0.2.9", 200),
        ("::ffff:192.0.2.9", 200),
        ("2001:db8::1", 200),
        ("192.0.3.1", 403),
        ("2001:db9::1", 403),
        ("a unix socket", 403),
    ] {
        assert_eq!(test.get(from, &made.key).await.status().as_u16(), status, "{from}");
    }
    let elsewhere = test.get("192.0.3.1", &made.key).await;
    assert_eq!(header(&elsewhere, "ratelimit"), r#""address";r=58;t=2"#);
    assert_eq!(problem(elsewhere).await.code, "address-not-allowed");
    // It is noted beside the request when it was used, and from where.
    let used = async || {
        let key = crate::apikey::store::key_list(test.app.read(), None).await.unwrap();
        key.into_iter().find(|key| key.id == made.view.id).unwrap()
    };
    let began = std::time::Instant::now();
    while used().await.last_used_at.is_none() {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let used = used().await;
    assert_eq!(used.last_used_at, Some(test.clock.now()));
    assert_eq!(used.last_used_from, "2001:db8::1".parse().ok());
    test.app.close().await;
}
