//! Many links at once, as a client sees them.

use super::*;
use insta::assert_snapshot;
use serde_json::{Value, json};

const BULK: &str = "/api/v1/links/bulk";

#[tokio::test]
async fn each_item_has_its_own_result() {
    let test = Test::new().await;
    let body = json!({"links": [
        {"url": "https://example.com/a", "code": "a"},
        {"url": "https://example.com/b", "code": "a"},
        {"url": "ftp://example.com/c"},
        {"url": "https://example.com/d", "code": "d", "tags": ["x"]},
    ]});
    let answer = test.post(BULK, &body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let results = answer.json()["results"].clone();
    let outcomes: Vec<(u64, u64, &str)> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            let shown = match (&result["link"], &result["problem"]) {
                (link, Value::Null) => &link["code"],
                (Value::Null, problem) => &problem["code"],
                _ => panic!("both a link and a problem: {result}"),
            };
            let number = |name: &str| result[name].as_u64().unwrap();
            (number("index"), number("status"), shown.as_str().unwrap())
        })
        .collect();
    assert_eq!(
        outcomes,
        [(0, 201, "a"), (1, 409, "code-taken"), (2, 422, "validation"), (3, 201, "d")]
    );
    let instance = format!("urn:uuid:{}", answer.headers["x-request-id"].to_str().unwrap());
    assert_eq!(results[1]["problem"]["instance"], instance);
    // What is told of a link is the link.
    let path = format!("/api/v1/links/{}", results[3]["link"]["id"].as_str().unwrap());
    assert_eq!(test.get(&path).await.json(), results[3]["link"]);
    assert_eq!(test.metric("carom_control_links_created_total").await, 2);
    assert_eq!(test.metric("carom_control_feed_seq").await, 2);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_makes_no_link() {
    let test = Test::new().await;
    let body = r#"{"links":[{"url":"https://example.com/"},{"url":"https://example.com/","x":1}]}"#;
    assert_snapshot!(test.post(BULK, body).await.shown(), @r##"
422 Unprocessable Entity
content-type: application/problem+json

{
  "code": "validation",
  "detail": "The member errors has one entry per field: pointer says which, code and detail say why.",
  "errors": [
    {
      "code": "malformed",
      "detail": "unknown field `x`, expected one of `url`, `code`, `domain`, `title`, `notes`, `tags`, `redirect_status`, `max_age`, `state`, `archived`, `not_before`, `expires_at`, `fallback_url`, `query` at line 1 column 74",
      "pointer": "#/links/1/x"
    }
  ],
  "instance": "urn:uuid:(request id)",
  "status": 422,
  "title": "Some fields do not make sense",
  "type": "http://localhost:8081/problems/validation"
}
"##);
    let many = json!({"links": vec![json!({"url": "https://a.example/"}); 1001]}).to_string();
    let large = format!(r#"{{"links":[{{"url":"{}"}}]}}"#, "x".repeat(1024 * 1024));
    for (body, status) in [
        (many.as_str(), 422),
        (&large, 413),
        (r#"{"links":{}}"#, 422),
        (r#"{"links":[["https://example.com/"]]}"#, 422),
        ("{}", 422),
        ("[]", 422),
    ] {
        assert_eq!(test.post(BULK, body).await.status, status);
    }
    assert_eq!(test.get("/api/v1/stats").await.json()["links"], 0);
    assert_eq!(test.post(BULK, r#"{"links":[]}"#).await.json(), json!({"results": []}));
}

#[tokio::test]
async fn as_many_as_are_allowed_share_one_commit() {
    let test = Test::new().await;
    let before = test.metric("carom_control_commits_total").await;
    let links: Vec<Value> =
        (0..1000).map(|n| json!({"url": format!("https://example.com/{n}")})).collect();
    let answer = test.post(BULK, &json!({ "links": links }).to_string()).await.json();
    let results = answer["results"].as_array().unwrap();
    assert!(results.iter().all(|result| result["status"] == 201));
    assert_eq!(results[999]["link"]["url"], "https://example.com/999");
    assert_eq!(test.get("/api/v1/stats").await.json()["links"], 1000);
    // On PostgreSQL a control plane that has just started says meanwhile which blocklists it has.
    let commits = test.metric("carom_control_commits_total").await - before;
    assert!((1..=2).contains(&commits), "{commits}");
}

/// Each holds the writer for long: a few may wait, and more are told to come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_few_wait_at_a_time() {
    let test = Arc::new(Test::new().await);
    let lock = test.database.lock_writes().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let test = Arc::clone(&test);
        calls.spawn(async move {
            test.post(BULK, r#"{"links":[{"url":"https://example.com/"}]}"#).await
        });
    }
    // Only refusals are answered while the lock is held.
    for _ in 0..6 {
        let refused = calls.join_next().await.unwrap().unwrap();
        assert_eq!(refused.json()["code"], "overloaded");
    }
    lock.release().await;
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    assert_eq!(test.get("/api/v1/stats").await.json()["links"], 4);
    // Those that are done make room.
    let again = test.post(BULK, r#"{"links":[{"url":"https://example.com/"}]}"#).await;
    assert_eq!(again.status, StatusCode::OK);
}

#[tokio::test]
async fn links_are_changed_deleted_and_restored_together() {
    let test = Test::new().await;
    let mut ids = Vec::new();
    for code in ["a", "b", "c", "d"] {
        let body = json!({"url": "https://example.com/", "code": code}).to_string();
        let made = test.post("/api/v1/links", &body).await.json();
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    test.call(Method::DELETE, &format!("/api/v1/links/{}", ids[2]), "").await;
    let before = test.metric("carom_control_commits_total").await;
    let body = json!({"links": [
        {"id": ids[0], "change": {"title": "new", "tags": ["x"]}},
        {"id": ids[1], "action": "delete", "version": 1},
        {"id": ids[2], "action": "restore"},
        {"id": ids[3], "version": 7, "change": {"title": "lost"}},
        {"id": "1", "action": "delete"},
        {"id": ids[3], "change": {"url": "ftp://example.com/"}},
        {"id": ids[3]},
        {"id": ids[3], "action": "delete", "change": {}},
    ]});
    let answer = test.call(Method::PATCH, BULK, &body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    // On PostgreSQL a control plane that has just started says meanwhile which blocklists it has.
    let commits = test.metric("carom_control_commits_total").await - before;
    assert!((1..=2).contains(&commits), "{commits}");
    let results = answer.json()["results"].clone();
    let results = results.as_array().unwrap();
    let outcomes: Vec<(u64, &Value)> = results
        .iter()
        .map(|result| (result["status"].as_u64().unwrap(), &result["problem"]["code"]))
        .collect();
    let failed = |status, code: &str| (status, Value::from(code));
    let expected = [
        (200, Value::Null),
        (204, Value::Null),
        (200, Value::Null),
        failed(412, "precondition-failed"),
        failed(404, "not-found"),
        failed(422, "validation"),
        failed(422, "validation"),
        failed(422, "validation"),
    ];
    assert_eq!(outcomes, expected.iter().map(|(status, code)| (*status, code)).collect::<Vec<_>>());
    for (index, id) in [(0, &ids[0]), (2, &ids[2])] {
        let link = test.get(&format!("/api/v1/links/{id}")).await;
        assert_eq!(link.json(), results[index]["link"]);
    }
    assert_eq!(results[0]["link"]["title"], "new");
    assert_eq!(test.get(&format!("/api/v1/links/{}", ids[1])).await.status, StatusCode::NOT_FOUND);
    assert_eq!(test.get(&format!("/api/v1/links/{}", ids[3])).await.json()["version"], 1);
}
