//! Links after they were made, as a client sees them.

use super::*;
use carom_shared::{Code, RouteState};
use insta::assert_snapshot;
use serde_json::{Value, json};

const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

impl Test {
    /// Makes a link; gives its address in the API.
    async fn link(&self, body: &Value) -> String {
        let made = self.post("/api/v1/links", &body.to_string()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        made.headers["location"].to_str().unwrap().to_owned()
    }

    async fn call_if(
        &self,
        method: Method,
        path: &str,
        header: (&str, &str),
        body: &str,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/merge-patch+json")
            .header(header.0, header.1);
        send(self.api(), request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn codes(&self, query: &str) -> Vec<String> {
        let list = self.get(&format!("/api/v1/links?{query}")).await.json();
        let data = list["data"].as_array().unwrap_or_else(|| panic!("{query}: {list}"));
        let mut codes: Vec<_> =
            data.iter().map(|link| link["code"].as_str().unwrap().to_owned()).collect();
        codes.sort();
        codes
    }
}

#[tokio::test]
async fn a_patch_answers_with_the_link_as_it_is_now() {
    let test = Test::new().await;
    let link = test
        .link(&json!({"url": "https://example.com/a", "code": "x", "title": "t", "tags": ["a"]}))
        .await;
    test.clock.advance(std::time::Duration::from_secs(60));
    let patch = r#"{"url":"https://example.com/b","title":null,"query":{"forward":"all"},
        "state":"disabled","archived":true}"#;
    let changed = test.call(PATCH, &link, patch).await;
    assert_snapshot!(changed.shown(), @r##"
200 OK
content-type: application/json
etag: "2"

{
  "archived": true,
  "clicks": 0,
  "code": "x",
  "created_at": "2026-01-01T00:00:00Z",
  "created_by": "3706140701493103459",
  "created_by_account": null,
  "deleted_at": null,
  "domain": "go.example",
  "expires_at": null,
  "fallback_url": null,
  "id": "3706140701492208904",
  "imported_clicks": 0,
  "last_click_at": null,
  "max_age": 300,
  "not_before": null,
  "notes": null,
  "query": {
    "forward": "all",
    "prefer": "target"
  },
  "redirect_status": 302,
  "short_url": "https://go.example/x",
  "state": "disabled",
  "tags": [
    "a"
  ],
  "title": null,
  "updated_at": "2026-01-01T00:01:00Z",
  "url": "https://example.com/b",
  "version": 2
}
"##);
    let read = test.get(&link).await;
    assert_eq!((read.json(), &read.headers["etag"]), (changed.json(), &changed.headers["etag"]));

    let domain = test.app.domains()[0].id;
    let code = Code::parse("x").unwrap();
    let record = test.app.resolve(domain, &code).await.unwrap().unwrap();
    assert_eq!((record.state, record.version), (RouteState::Disabled, 2));

    // Neither an empty patch nor the same one again makes a version.
    for patch in ["{}", patch] {
        assert_eq!(test.call(PATCH, &link, patch).await.headers["etag"], "\"2\"");
    }
}

#[tokio::test]
async fn a_code_cannot_change() {
    let test = Test::new().await;
    let link = test.link(&json!({"url": "https://example.com/a"})).await;
    let patch = r#"{"code":"other","url":null,"fallback_url":"x"}"#;
    assert_snapshot!(test.call(PATCH, &link, patch).await.shown(), @r##"
422 Unprocessable Entity
content-type: application/problem+json

{
  "code": "validation",
  "detail": "The member errors has one entry per field: pointer says which, code and detail say why.",
  "errors": [
    {
      "code": "required",
      "detail": "say where the link leads to",
      "pointer": "#/url"
    },
    {
      "code": "immutable",
      "detail": "a link keeps its code and its domain; make another link instead",
      "pointer": "#/code"
    },
    {
      "code": "target-not-http",
      "detail": "the URL does not begin with http:// or https:// and a host; write it out in full",
      "pointer": "#/fallback_url"
    }
  ],
  "instance": "urn:uuid:(request id)",
  "status": 422,
  "title": "Some fields do not make sense",
  "type": "http://localhost:8081/problems/validation"
}
"##);
    for (patch, status) in [
        (r#"{"id":"5"}"#, 422),
        (r#"{"version":5}"#, 422),
        (r#"{"query":{"to":1}}"#, 422),
        (r#"{"query":{"forward":1}}"#, 422),
        (r#"{"query":["all"]}"#, 422),
        (r#"{"title":"a","title":"b"}"#, 422),
        ("[]", 422),
        ("null", 422),
        ("", 400),
        ("{", 400),
    ] {
        assert_eq!(test.call(PATCH, &link, patch).await.status, status, "{patch}");
    }
    assert_eq!(test.get(&link).await.headers["etag"], "\"1\"");
    let request = Request::patch(&link).header("authorization", format!("Bearer {}", test.key));
    let request = request.header("content-type", "text/plain").body(Body::from("{}")).unwrap();
    assert_eq!(send(test.api(), request).await.status, 415);
}

#[tokio::test]
async fn conditions_are_kept() {
    let test = Test::new().await;
    let link = test.link(&json!({"url": "https://example.com/a"})).await;
    let title = r#"{"title":"t"}"#;
    let first = ("if-match", "\"1\"");
    let changed = test.call_if(PATCH, &link, first, title).await;
    assert_eq!(
        (changed.status.as_u16(), &changed.headers["etag"]),
        (200, &"\"2\"".parse().unwrap())
    );
    assert_snapshot!(test.call_if(PATCH, &link, first, title).await.shown(), @r##"
412 Precondition Failed
content-type: application/problem+json

{
  "code": "precondition-failed",
  "detail": "If-Match does not name the version that there is, \"2\"",
  "instance": "urn:uuid:(request id)",
  "status": 412,
  "title": "It has changed since",
  "type": "http://localhost:8081/problems/precondition-failed"
}
"##);
    assert_snapshot!(test.call_if(DELETE, &link, ("if-match", "2"), "").await.shown(), @r##"
400 Bad Request
content-type: application/problem+json

{
  "code": "malformed-request",
  "detail": "if-match is a star, or the ETag of an answer with its quotes; at most 16 of them",
  "instance": "urn:uuid:(request id)",
  "status": 400,
  "title": "The request cannot be read",
  "type": "http://localhost:8081/problems/malformed-request"
}
"##);
    assert_eq!(test.call_if(DELETE, &link, first, "").await.status, 412);
    assert_eq!(test.call_if(PATCH, &link, ("if-match", "W/\"2\""), title).await.status, 412);

    let known = test.call_if(Method::GET, &link, ("if-none-match", "\"2\""), "").await;
    assert_snapshot!(known.shown(), @r##"
304 Not Modified
etag: "2"
"##);
    assert_eq!(test.call_if(Method::GET, &link, ("if-none-match", "\"1\""), "").await.status, 200);
    assert_eq!(test.call_if(Method::GET, &link, ("if-none-match", "1"), "").await.status, 400);
    assert_eq!(test.call_if(DELETE, &link, ("if-match", "*"), "").await.status, 204);
    // What is not there has no version that could match.
    assert_eq!(test.call_if(DELETE, &link, ("if-match", "*"), "").await.status, 404);
}

/// Many who have seen the same version: one of them changes it, and the others are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_changes_to_one_version_one_wins() {
    let test = Arc::new(Test::new().await);
    let link = test.link(&json!({"url": "https://example.com/a"})).await;
    for version in 1..5 {
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..8 {
            let (test, link) = (Arc::clone(&test), link.clone());
            calls.spawn(async move {
                let etag = format!("\"{version}\"");
                let body = json!({"title": format!("{version}-{n}")}).to_string();
                let answer = test.call_if(PATCH, &link, ("if-match", &etag), &body).await;
                (answer.status, answer.json()["title"].clone())
            });
        }
        let answers = calls.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(status, _)| *status == StatusCode::OK);
        assert_eq!((won.len(), lost.len()), (1, 7));
        assert!(lost.iter().all(|(status, _)| *status == StatusCode::PRECONDITION_FAILED));
        assert_eq!(test.get(&link).await.json()["title"], won[0].1);
    }
}

#[tokio::test]
async fn a_deleted_link_is_gone_until_it_is_restored() {
    let test = Test::new().await;
    let link = test.link(&json!({"url": "https://example.com/a", "code": "x"})).await;
    let before = test.get(&link).await.json();
    assert_snapshot!(test.call(DELETE, &link, "").await.shown(), @r##"
204 No Content
"##);
    let history = format!("{link}/history");
    let stats = format!("{link}/stats");
    for path in [&link, &history, &stats] {
        assert_eq!(test.get(path).await.json()["code"], "not-found", "{path}");
    }
    assert_eq!(test.call(PATCH, &link, r#"{"title":"t"}"#).await.status, 404);
    assert_eq!(test.call(DELETE, &link, "").await.status, 404);
    assert_eq!(test.get("/api/v1/stats").await.json()["links"], 0);
    assert!(test.codes("").await.is_empty());
    let listed = test.get("/api/v1/links?state=deleted").await.json()["data"][0].clone();
    assert_eq!((&listed["code"], &listed["state"]), (&"x".into(), &"deleted".into()));
    assert_eq!(listed["deleted_at"], "2026-01-01T00:00:00Z");

    let restore = format!("{link}/restore");
    let restored = test.post(&restore, "").await;
    assert_eq!(
        (restored.status.as_u16(), restored.headers["etag"].to_str().unwrap()),
        (200, "\"3\"")
    );
    let mut expected = before;
    expected["version"] = 3.into();
    assert_eq!(restored.json(), expected);
    assert_eq!(test.get(&link).await.json(), expected);
    // Once more changes nothing.
    assert_eq!(test.post(&restore, "").await.json(), expected);
    assert_eq!(test.post("/api/v1/links/5/restore", "").await.status, 404);
}

#[tokio::test]
async fn a_code_that_was_taken_again_does_not_come_back() {
    let test = Test::new().await;
    let body = json!({"url": "https://example.com/a", "code": "x"});
    let old = test.link(&body).await;
    test.call(DELETE, &old, "").await;
    let new = test.link(&body).await;
    assert_ne!(old, new);
    assert_snapshot!(test.post(&format!("{old}/restore"), "").await.shown(), @r##"
409 Conflict
content-type: application/problem+json

{
  "code": "code-taken",
  "detail": "the code x is taken",
  "instance": "urn:uuid:(request id)",
  "status": 409,
  "title": "The code is not available",
  "type": "http://localhost:8081/problems/code-taken"
}
"##);
    let domain = test.app.domains()[0].id;
    let record = test.app.resolve(domain, &Code::parse("x").unwrap()).await.unwrap().unwrap();
    assert_eq!((record.state, record.version), (RouteState::Active, 3));
}

#[tokio::test]
async fn the_history_is_told_newest_first() {
    let test = Test::new().await;
    let link = test.link(&json!({"url": "https://example.com/a"})).await;
    test.clock.advance(std::time::Duration::from_secs(60));
    test.call(PATCH, &link, r#"{"url":"https://example.com/b"}"#).await;
    assert_snapshot!(test.get(&format!("{link}/history")).await.shown(), @r##"
200 OK
content-type: application/json

{
  "data": [
    {
      "at": "2026-01-01T00:01:00Z",
      "by": "3706140701493103459",
      "by_account": null,
      "revision": 2,
      "url": "https://example.com/b"
    },
    {
      "at": "2026-01-01T00:00:00Z",
      "by": "3706140701493103459",
      "by_account": null,
      "revision": 1,
      "url": "https://example.com/a"
    }
  ]
}
"##);
}

#[tokio::test]
async fn lists_are_filtered() {
    let test = Test::new().await;
    for body in [
        json!({"url": "https://example.com/a", "code": "plain"}),
        json!({"url": "https://example.com/b", "code": "off", "state": "disabled"}),
        json!({"url": "https://example.com/c", "code": "old", "archived": true}),
        json!({"url": "https://example.com/d", "code": "tagged", "tags": ["Été 2026"]}),
        json!({"url": "https://example.com/e", "code": "gone"}),
    ] {
        test.link(&body).await;
    }
    let list = test.get("/api/v1/links?q=GONE").await.json();
    test.call(DELETE, &format!("/api/v1/links/{}", list["data"][0]["id"].as_str().unwrap()), "")
        .await;
    for (query, expected) in [
        ("", "off plain tagged"),
        ("archived=false", "off plain tagged"),
        ("archived=true", "old"),
        ("archived=any", "off old plain tagged"),
        ("state=active", "plain tagged"),
        ("state=active&archived=any", "old plain tagged"),
        ("state=disabled", "off"),
        ("state=deleted", "gone"),
        ("tag=%C3%A9t%C3%A9+2026", "tagged"),
        ("q=EXAMPLE.com/b", "off"),
        ("domain=GO.example:443", "off plain tagged"),
        ("domain=go.example&q=plain", "plain"),
    ] {
        assert_eq!(test.codes(query).await.join(" "), expected, "{query}");
    }
    let long = format!("q={}", "x".repeat(201));
    for query in [
        "state=blocked", "archived=yes", "tag=", "tag=a%0Ab", "domain=other.example", "q=",
        "q=%00", "q=+", &long,
    ] {
        let answer = test.get(&format!("/api/v1/links?{query}")).await;
        assert_eq!(answer.json()["code"], "malformed-request", "{query}");
    }
}

#[tokio::test]
async fn a_cursor_works_for_its_own_list_only() {
    let test = Test::new().await;
    for n in 0..4 {
        test.link(&json!({"url": "https://example.com/", "code": format!("c{n}")})).await;
    }
    let page = test.get("/api/v1/links?limit=1&q=c").await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    // The size of a page is not what is listed.
    assert_eq!(test.codes(&format!("limit=3&q=c&cursor={cursor}")).await.len(), 3);
    for query in ["", "q=C0", "q=c&state=active", "q=c&archived=any", "q=c&domain=go.example"] {
        let answer = test.get(&format!("/api/v1/links?{query}&cursor={cursor}")).await;
        assert_eq!(answer.json()["code"], "malformed-request", "{query}");
    }
    let forged = cursor.replacen(|c| c != '0', "0", 1);
    assert_eq!(test.get(&format!("/api/v1/links?q=c&cursor={forged}")).await.status, 400);
    assert_snapshot!(test.get(&format!("/api/v1/links?cursor={cursor}")).await.shown(), @r##"
400 Bad Request
content-type: application/problem+json

{
  "code": "malformed-request",
  "detail": "cursor is not one that this list gave out with these filters and this order; start without one",
  "instance": "urn:uuid:(request id)",
  "status": 400,
  "title": "The request cannot be read",
  "type": "http://localhost:8081/problems/malformed-request"
}
"##);
}
