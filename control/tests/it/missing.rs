//! Codes that do not exist, as clients see them.

use super::*;
use carom_shared::{Code, DomainId};
use insta::assert_snapshot;

fn code(text: &str) -> Code {
    Code::parse(text).unwrap()
}

#[tokio::test]
async fn missing_codes_are_listed_until_they_are_links() {
    let test = Test::new().await;
    let domain = test.app.domains()[0].id;
    assert_eq!(test.get("/api/v1/missing").await.body, "{\"data\":[]}\n");
    let unknown = DomainId::try_from(5).unwrap();
    let requests = [
        (domain, code("poster"), 3),
        (domain, code("poster"), 1),
        (unknown, code("x"), 9),
        (domain, code("typo"), 2),
    ];
    test.app.note_missing(requests).await.unwrap();
    test.clock.advance(std::time::Duration::from_secs(60));
    test.app.note_missing([(domain, code("typo"), 1)]).await.unwrap();
    assert_snapshot!(test.get("/api/v1/missing").await.shown(), @r##"
200 OK
content-type: application/json

{
  "data": [
    {
      "code": "poster",
      "count": 4,
      "domain": "go.example",
      "first_seen": "2026-01-01T00:00:00Z",
      "last_seen": "2026-01-01T00:00:00Z"
    },
    {
      "code": "typo",
      "count": 3,
      "domain": "go.example",
      "first_seen": "2026-01-01T00:00:00Z",
      "last_seen": "2026-01-01T00:01:00Z"
    }
  ]
}
"##);
    let one = test.get("/api/v1/missing?limit=1&domain=GO.example").await.json();
    assert_eq!(
        (one["data"].as_array().unwrap().len(), &one["data"][0]["code"]),
        (1, &"poster".into())
    );

    test.post("/api/v1/links", r#"{"url":"https://example.com/","code":"poster"}"#).await;
    let rest = test.get("/api/v1/missing").await.json();
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    for query in ["limit=0", "limit=1001", "domain=other.example", "domain=%20", "q=x"] {
        let answer = test.get(&format!("/api/v1/missing?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn missing_codes_outlive_a_restart() {
    let test = Test::new().await;
    let domain = test.app.domains()[0].id;
    test.app.note_missing([(domain, code("poster"), 3)]).await.unwrap();
    test.app.close().await;
    let app = open(test.config(), Arc::clone(&test.clock), 2).await.unwrap();
    app.note_missing([(domain, code("poster"), 4)]).await.unwrap();
    let request = Request::get("/api/v1/missing")
        .header("authorization", format!("Bearer {}", test.key))
        .body(Body::empty());
    let list = send(api_router(&app), request.unwrap()).await.json();
    assert_eq!(
        (&list["data"][0]["code"], &list["data"][0]["count"]),
        (&"poster".into(), &7.into())
    );
}
