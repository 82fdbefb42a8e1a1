//! Requests that are sent again, as a client sees them.

use super::*;
use serde_json::json;

const LINKS: &str = "/api/v1/links";
const BODY: &str = r#"{"url":"https://example.com/a"}"#;

impl Test {
    async fn keyed(&self, method: Method, path: &str, key: &str, body: &str) -> Answer {
        keyed(self.api(), &self.key, method, path, key, body).await
    }

    async fn links(&self) -> u64 {
        self.get("/api/v1/stats").await.json()["links"].as_u64().unwrap()
    }
}

async fn keyed(
    api: Router,
    api_key: &str,
    method: Method,
    path: &str,
    key: &str,
    body: &str,
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {api_key}"))
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    send(api, request.body(Body::from(body.to_owned())).unwrap()).await
}

fn is_replay(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

#[tokio::test]
async fn the_same_request_is_answered_again_and_done_once() {
    let test = Test::new().await;
    let bulk = json!({"links": [{"url": "https://example.com/"}, {"url": "nonsense"}]}).to_string();
    for (path, body) in [(LINKS, BODY), ("/shorten", BODY), ("/api/v1/links/bulk", &*bulk)] {
        let links = test.links().await;
        // The same key on another route is another request.
        let first = test.keyed(Method::POST, path, "\"k-1\"", body).await;
        assert!(first.status.is_success() && !is_replay(&first), "{}", first.body);
        // Without quotes it is the same key.
        for key in ["\"k-1\"", "k-1"] {
            let again = test.keyed(Method::POST, path, key, body).await;
            assert!(is_replay(&again));
            assert_eq!(again.shown(), first.shown());
        }
        assert_eq!(test.links().await, links + 1);
        let other = test.keyed(Method::POST, path, "k-1", &body.replace(".com", ".org")).await;
        assert_eq!(
            (other.status.as_u16(), &other.json()["code"]),
            (422, &"idempotency-mismatch".into())
        );
        let other = test.keyed(Method::POST, &format!("{path}?x"), "k-1", body).await;
        assert_eq!(other.json()["code"], "idempotency-mismatch");
        assert_eq!(test.links().await, links + 1);
    }
    assert_eq!(test.metric("carom_control_links_created_total").await, 3);
}

#[tokio::test]
async fn an_answer_stays_as_it_was_for_a_day() {
    let test = Test::new().await;
    let body = r#"{"url":"https://example.com/a","expires_at":"2026-01-01T00:10:00Z"}"#;
    let first = test.keyed(Method::POST, LINKS, "k", body).await;
    let path = first.headers["location"].to_str().unwrap().to_owned();
    test.call(Method::PATCH, &path, r#"{"title":"new"}"#).await;
    test.clock.advance(std::time::Duration::from_hours(23));
    // The time it names is over: sent for the first time, it would be refused.
    let again = test.keyed(Method::POST, LINKS, "k", body).await;
    assert_eq!(again.shown(), first.shown());
    let mismatch = test.keyed(Method::POST, LINKS, "k", "{}").await;
    assert_eq!(mismatch.json()["code"], "idempotency-mismatch");
    test.clock.advance(std::time::Duration::from_hours(1));
    assert_eq!(test.keyed(Method::POST, LINKS, "k", body).await.json()["code"], "validation");
    let made = test.keyed(Method::POST, LINKS, "k", BODY).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert!(!is_replay(&made));
    assert_eq!(test.links().await, 2);
}

#[tokio::test]
async fn a_refusal_has_done_nothing_and_may_be_tried_again() {
    let test = Test::new().await;
    let body = r#"{"url":"https://example.com/a","code":"x"}"#;
    let taken = test.post(LINKS, body).await;
    assert_eq!(test.keyed(Method::POST, LINKS, "k", body).await.json()["code"], "code-taken");
    test.call(Method::DELETE, taken.headers["location"].to_str().unwrap(), "").await;
    let made = test.keyed(Method::POST, LINKS, "k", body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert!(is_replay(&test.keyed(Method::POST, LINKS, "k", body).await));
}

#[tokio::test]
async fn keys_that_are_none_are_refused() {
    let test = Test::new().await;
    let long = "x".repeat(256);
    for key in ["", "\"", "\"a", &long] {
        let refused = test.keyed(Method::POST, LINKS, key, BODY).await;
        assert_eq!(refused.json()["code"], "malformed-request", "{key}");
    }
    let twice = Request::post(LINKS)
        .header("authorization", format!("Bearer {}", test.key))
        .header("content-type", "application/json")
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    let twice = send(test.api(), twice.body(Body::from(BODY)).unwrap()).await;
    assert_eq!(twice.json()["code"], "malformed-request");
    assert_eq!(test.links().await, 0);
}

/// All at once: one does it, and the others hear that it is under way, or its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once_make_one_link() {
    let test = Arc::new(Test::new().await);
    let lock = test.database.lock_writes().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let test = Arc::clone(&test);
        calls.spawn(async move { test.keyed(Method::POST, LINKS, "k", BODY).await });
    }
    for _ in 0..49 {
        let refused = calls.join_next().await.unwrap().unwrap();
        assert_eq!(refused.status, StatusCode::CONFLICT);
        assert_eq!(refused.json()["code"], "idempotency-in-progress");
        assert_eq!(refused.headers["retry-after"], "1");
    }
    lock.release().await;
    let first = calls.join_next().await.unwrap().unwrap();
    assert_eq!(first.status, StatusCode::CREATED);
    for _ in 0..50 {
        let test = Arc::clone(&test);
        calls.spawn(async move { test.keyed(Method::POST, LINKS, "k", BODY).await });
    }
    let answers = calls.join_all().await;
    for answer in answers {
        match answer.status {
            StatusCode::CONFLICT => assert_eq!(answer.json()["code"], "idempotency-in-progress"),
            _ => assert_eq!(answer.shown(), first.shown()),
        }
    }
    assert_eq!(test.links().await, 1);
}

/// Whoever asks a process that was started since gets the answer of the one before.
#[tokio::test]
async fn answers_outlive_the_process() {
    let test = Test::new().await;
    let first = test.keyed(Method::POST, LINKS, "k", BODY).await;
    test.app.close().await;
    let app = open(test.config(), Arc::clone(&test.clock), 2).await.unwrap();
    let again = keyed(api_router(&app), &test.key, Method::POST, LINKS, "k", BODY).await;
    assert!(is_replay(&again));
    assert_eq!(again.shown(), first.shown());
}
