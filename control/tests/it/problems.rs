//! Every kind of error, as a client sees it.

use super::*;
use insta::assert_snapshot;

#[tokio::test]
async fn fields_that_make_no_sense_are_told_one_by_one() {
    let test = Test::new().await;
    let body = r#"{"url":"javascript:alert(1)","code":"a/b","expires_at":"2020-01-01T00:00:00Z"}"#;
    assert_snapshot!(test.post("/api/v1/links", body).await.shown(), @r##"
422 Unprocessable Entity
content-type: application/problem+json

{
  "code": "validation",
  "detail": "The member errors has one entry per field: pointer says which, code and detail say why.",
  "errors": [
    {
      "code": "target-not-http",
      "detail": "the URL does not begin with http:// or https:// and a host; write it out in full",
      "pointer": "#/url"
    },
    {
      "code": "code-malformed",
      "detail": "a code is made of A-Z, a-z, 0-9, _ and -",
      "pointer": "#/code"
    },
    {
      "code": "time-order",
      "detail": "the link would have expired already; name a time to come",
      "pointer": "#/expires_at"
    }
  ],
  "instance": "urn:uuid:(request id)",
  "status": 422,
  "title": "Some fields do not make sense",
  "type": "http://localhost:8081/problems/validation"
}
"##);
}

#[tokio::test]
async fn bodies_that_are_not_the_expected_json() {
    let test = Test::new().await;
    assert_snapshot!(test.post("/api/v1/links", r#"{"url":"#).await.shown(), @r##"
400 Bad Request
content-type: application/problem+json

{
  "code": "malformed-json",
  "detail": "EOF while parsing a value at line 1 column 7",
  "instance": "urn:uuid:(request id)",
  "status": 400,
  "title": "The body is not JSON",
  "type": "http://localhost:8081/problems/malformed-json"
}
"##);
    assert_snapshot!(test.post("/api/v1/links", r#"{"url":7}"#).await.shown(), @r##"
422 Unprocessable Entity
content-type: application/problem+json

{
  "code": "validation",
  "detail": "The member errors has one entry per field: pointer says which, code and detail say why.",
  "errors": [
    {
      "code": "malformed",
      "detail": "invalid type: integer `7`, expected a string at line 1 column 8",
      "pointer": "#/url"
    }
  ],
  "instance": "urn:uuid:(request id)",
  "status": 422,
  "title": "Some fields do not make sense",
  "type": "http://localhost:8081/problems/validation"
}
"##);
    assert_snapshot!(test.post("/shorten", r#"{"url":"https://a.example/","code":"x"}"#).await.shown(), @r##"
422 Unprocessable Entity
content-type: application/problem+json

{
  "code": "validation",
  "detail": "The member errors has one entry per field: pointer says which, code and detail say why.",
  "errors": [
    {
      "code": "malformed",
      "detail": "unknown field `code`, expected `url` at line 1 column 34",
      "pointer": "#/code"
    }
  ],
  "instance": "urn:uuid:(request id)",
  "status": 422,
  "title": "Some fields do not make sense",
  "type": "http://localhost:8081/problems/validation"
}
"##);
    for (body, status) in [
        (r#"{"url":"https://a.example/"} x"#, 400),
        ("", 400),
        ("[]", 422),
        (r#"{"url":"https://a.example/","url":"https://b.example/"}"#, 422),
        (r#"{"url":"https://a.example/","redirect_status":70000}"#, 422),
    ] {
        assert_eq!(test.post("/api/v1/links", body).await.status, status, "{body}");
    }
    let deep = format!(r#"{{"url":{}"#, "[".repeat(60_000));
    assert!(test.post("/api/v1/links", &deep).await.status.is_client_error());
}

#[tokio::test]
async fn codes_that_are_not_available() {
    let test = Test::new().await;
    let body = r#"{"url":"https://example.com/","code":"mine"}"#;
    assert_eq!(test.post("/api/v1/links", body).await.status, StatusCode::CREATED);
    assert_snapshot!(test.post("/api/v1/links", body).await.shown(), @r##"
409 Conflict
content-type: application/problem+json

{
  "code": "code-taken",
  "detail": "the code mine is taken",
  "instance": "urn:uuid:(request id)",
  "status": 409,
  "title": "The code is not available",
  "type": "http://localhost:8081/problems/code-taken"
}
"##);
    let body = r#"{"url":"https://example.com/","code":"Admin"}"#;
    assert_snapshot!(test.post("/api/v1/links", body).await.shown(), @r##"
409 Conflict
content-type: application/problem+json

{
  "code": "code-taken",
  "detail": "the code Admin is a reserved word",
  "instance": "urn:uuid:(request id)",
  "status": 409,
  "title": "The code is not available",
  "type": "http://localhost:8081/problems/code-taken"
}
"##);
}

#[tokio::test]
async fn addresses_and_methods_that_are_not_there() {
    let test = Test::new().await;
    assert_snapshot!(test.get("/api/v1/nothing").await.shown(), @r##"
404 Not Found
content-type: application/problem+json

{
  "code": "not-found",
  "detail": "this address does not exist",
  "instance": "urn:uuid:(request id)",
  "status": 404,
  "title": "There is nothing here",
  "type": "http://localhost:8081/problems/not-found"
}
"##);
    assert_snapshot!(test.call(Method::DELETE, "/api/v1/links", "").await.shown(), @r##"
405 Method Not Allowed
content-type: application/problem+json
allow: GET,HEAD,POST

{
  "code": "method-not-allowed",
  "detail": "The Allow header lists the methods it takes.",
  "instance": "urn:uuid:(request id)",
  "status": 405,
  "title": "This address does not take this method",
  "type": "http://localhost:8081/problems/method-not-allowed"
}
"##);
    assert_snapshot!(test.get("/api/v1/links/x").await.shown(), @r##"
404 Not Found
content-type: application/problem+json

{
  "code": "not-found",
  "detail": "there is no such id",
  "instance": "urn:uuid:(request id)",
  "status": 404,
  "title": "There is nothing here",
  "type": "http://localhost:8081/problems/not-found"
}
"##);
    for path in ["/api/v1/links/%ff", "/api/v1/links/-1", "/api/v1/links/99999999999999999999"] {
        assert_eq!(test.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn queries_that_cannot_be_read() {
    let test = Test::new().await;
    assert_snapshot!(test.get("/api/v1/links?limit=101").await.shown(), @r##"
400 Bad Request
content-type: application/problem+json

{
  "code": "malformed-request",
  "detail": "limit is from 1 to 100",
  "instance": "urn:uuid:(request id)",
  "status": 400,
  "title": "The request cannot be read",
  "type": "http://localhost:8081/problems/malformed-request"
}
"##);
    for query in [
        "limit=0", "limit=-1", "limit=99999999999", "limit=1&limit=2", "sort=price", "cursor=",
        "cursor=zz", "cursor=1-0", "cursor=+1-2", "cursor=1-2-3", "cursor=%00",
    ] {
        let answer = test.get(&format!("/api/v1/links?{query}")).await;
        assert_eq!(answer.json()["code"], "malformed-request", "{query}");
    }
    for path in ["/api/v1/stats?from=soon", "/api/v1/links/5?x", "/api/v1/links/5/stats?days=1"] {
        assert_eq!(test.get(path).await.json()["code"], "malformed-request", "{path}");
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_or_of_another_type() {
    let test = Test::new().await;
    let large = format!(r#"{{"url":"https://a.example/","title":"{}"}}"#, "x".repeat(64 * 1024));
    assert_snapshot!(test.post("/api/v1/links", &large).await.shown(), @r##"
413 Payload Too Large
content-type: application/problem+json

{
  "code": "payload-too-large",
  "detail": "a body has at most 65536 bytes",
  "instance": "urn:uuid:(request id)",
  "status": 413,
  "title": "The body is too large",
  "type": "http://localhost:8081/problems/payload-too-large"
}
"##);
    let request = Request::post("/shorten").header("authorization", format!("Bearer {}", test.key));
    let request = request.header("content-type", "text/plain").body(Body::from("x")).unwrap();
    assert_snapshot!(send(test.api(), request).await.shown(), @r##"
415 Unsupported Media Type
content-type: application/problem+json

{
  "code": "unsupported-media-type",
  "detail": "Send the header Content-Type: application/json.",
  "instance": "urn:uuid:(request id)",
  "status": 415,
  "title": "The body has the wrong media type",
  "type": "http://localhost:8081/problems/unsupported-media-type"
}
"##);
}

#[tokio::test]
async fn calls_without_a_valid_key() {
    let test = Test::new().await;
    let ask = async |header: Option<&str>| {
        let mut request = Request::get("/api/v1/links");
        if let Some(value) = header {
            request = request.header("authorization", value);
        }
        send(test.api(), request.body(Body::empty()).unwrap()).await
    };
    assert_snapshot!(ask(None).await.shown(), @r##"
401 Unauthorized
content-type: application/problem+json
www-authenticate: Bearer

{
  "code": "authentication-required",
  "detail": "Send the header Authorization: Bearer crm_..., with a key made by carom key create.",
  "instance": "urn:uuid:(request id)",
  "status": 401,
  "title": "An API key is required",
  "type": "http://localhost:8081/problems/authentication-required"
}
"##);
    let mut wrong = test.key.clone();
    wrong.pop();
    let wrong = format!("Bearer {wrong}{}", if test.key.ends_with('0') { '1' } else { '0' });
    assert_snapshot!(ask(Some(&wrong)).await.shown(), @r##"
401 Unauthorized
content-type: application/problem+json
www-authenticate: Bearer error="invalid_token"

{
  "code": "invalid-credentials",
  "detail": "It is mistyped, or it was revoked. Make a new one with carom key create.",
  "instance": "urn:uuid:(request id)",
  "status": 401,
  "title": "The API key is not valid",
  "type": "http://localhost:8081/problems/invalid-credentials"
}
"##);
    assert_eq!(test.metric("carom_control_key_lookups_total").await, 0);
    for (header, status) in [
        (format!("bearer {}", test.key), 200),
        (format!("Basic {}", test.key), 401),
        (test.key.clone(), 401),
        ("Bearer ".to_owned(), 401),
        (format!("Bearer {}", "x".repeat(5000)), 401),
    ] {
        assert_eq!(ask(Some(&header)).await.status, status, "{header}");
    }
    // A key in the address is no key, and leaves no trace of itself.
    let request = Request::get(format!("/api/v1/stats?key={}", test.key));
    let answer = send(test.api(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(!answer.body.contains(&test.key));
}

#[tokio::test]
async fn a_store_that_fails_says_nothing_of_its_insides() {
    let test = Test::new().await;
    let path = test.folder.path().join("clicks.db");
    let db = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query("drop table workspace_quarter").execute(&db).await.unwrap();
    assert_snapshot!(test.get("/api/v1/stats").await.shown(), @r##"
500 Internal Server Error
content-type: application/problem+json

{
  "code": "internal",
  "detail": "The operator finds the cause in the log, under the request id that instance ends with.",
  "instance": "urn:uuid:(request id)",
  "status": 500,
  "title": "Something went wrong",
  "type": "http://localhost:8081/problems/internal"
}
"##);
}

#[tokio::test]
async fn a_service_that_closes_says_so_and_still_refuses_wrong_keys_by_itself() {
    let test = Test::new().await;
    test.app.close().await;
    assert_snapshot!(test.get("/api/v1/stats").await.shown(), @r##"
503 Service Unavailable
content-type: application/problem+json
retry-after: 1

{
  "code": "overloaded",
  "detail": "Nothing was done. Wait as long as the Retry-After header says, then try again.",
  "instance": "urn:uuid:(request id)",
  "status": 503,
  "title": "The service is busy",
  "type": "http://localhost:8081/problems/overloaded"
}
"##);
    let request = Request::get("/api/v1/stats").header("authorization", "Bearer crm_x");
    let answer = send(test.api(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn every_problem_leads_to_its_description() {
    let test = Test::new().await;
    let problem = test.get("/api/v1/links/x").await.json();
    let path = problem["type"].as_str().unwrap().strip_prefix("http://localhost:8081").unwrap();
    let request = Request::get(path).body(Body::empty()).unwrap();
    assert_snapshot!(send(test.api(), request).await.shown(), @r##"
200 OK
content-type: text/plain; charset=utf-8

There is nothing here (404 Not Found)

The address does not exist, or what it names belongs to another workspace.
"##);
}

#[tokio::test]
async fn every_answer_has_a_request_id_that_the_client_does_not_choose() {
    let test = Test::new().await;
    let request = Request::get("/nothing").header("x-request-id", "chosen");
    let answer = send(test.api(), request.body(Body::empty()).unwrap()).await;
    let id = answer.headers["x-request-id"].to_str().unwrap();
    assert_eq!(answer.json()["instance"], format!("urn:uuid:{id}"));
    assert_ne!(id, "chosen");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
}
