use super::*;
use insta::assert_snapshot;

#[tokio::test]
async fn the_simplest_call() {
    let test = Test::new().await;
    let answer = test.post("/shorten", r#"{"url":"https://example.com/a b?c=d#e"}"#).await;
    assert_snapshot!(answer.shown(), @r##"
201 Created
content-type: application/json

{
  "code": "B5tM8V3",
  "short_url": "https://go.example/B5tM8V3"
}
"##);
}

#[tokio::test]
async fn a_link_with_everything_is_made_and_read_back() {
    let test = Test::new().await;
    let made = test
        .post(
            "/api/v1/links",
            r#"{"url":"https://example.com/sale","code":"Sale-2026","domain":"GO.example",
                "title":" Winter sale ","notes":"For the newsletter.\nNot before February.",
                "tags":["Sale"," Été 2026"],"redirect_status":307,"max_age":60,
                "fallback_url":"https://example.com/over",
                "query":{"forward":["utm_source","ref"],"prefer":"visitor"},
                "not_before":"2026-02-01T00:00:00+01:00","expires_at":"2026-03-01T00:00:00Z"}"#,
        )
        .await;
    assert_snapshot!(made.shown(), @r##"
201 Created
content-type: application/json
location: /api/v1/links/3706140701492208904
etag: "1"

{
  "archived": false,
  "clicks": 0,
  "code": "Sale-2026",
  "created_at": "2026-01-01T00:00:00Z",
  "created_by": "3706140701493103459",
  "created_by_account": null,
  "deleted_at": null,
  "domain": "go.example",
  "expires_at": "2026-03-01T00:00:00Z",
  "fallback_url": "https://example.com/over",
  "id": "3706140701492208904",
  "imported_clicks": 0,
  "last_click_at": null,
  "max_age": 60,
  "not_before": "2026-01-31T23:00:00Z",
  "notes": "For the newsletter.\nNot before February.",
  "query": {
    "forward": [
      "utm_source",
      "ref"
    ],
    "prefer": "visitor"
  },
  "redirect_status": 307,
  "short_url": "https://go.example/Sale-2026",
  "state": "active",
  "tags": [
    "Sale",
    "Été 2026"
  ],
  "title": "Winter sale",
  "updated_at": "2026-01-01T00:00:00Z",
  "url": "https://example.com/sale",
  "version": 1
}
"##);
    let read = test.get(made.headers["location"].to_str().unwrap()).await;
    assert_eq!(read.status, StatusCode::OK);
    assert_eq!(
        (read.headers["etag"].clone(), read.json()),
        (made.headers["etag"].clone(), made.json())
    );
}

#[tokio::test]
async fn the_list_pages_newest_first() {
    let test = Test::new().await;
    for n in 0..5 {
        let body = format!(r#"{{"url":"https://example.com/{n}","code":"c{n}"}}"#);
        assert_eq!(test.post("/api/v1/links", &body).await.status, StatusCode::CREATED);
    }
    let mut codes = Vec::new();
    let mut path = "/api/v1/links?limit=2".to_owned();
    loop {
        let page = test.get(&path).await.json();
        let data = page["data"].as_array().unwrap();
        codes.push(
            data.iter().map(|link| link["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/links?limit=2&cursor={cursor}");
    }
    // All share a millisecond: within it, the order is that of their random ids.
    assert_eq!(codes.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    let mut all = codes.concat();
    all.sort();
    assert_eq!(all, ["c0", "c1", "c2", "c3", "c4"]);
    assert_eq!(
        test.get("/api/v1/links?limit=100").await.json()["next_cursor"],
        serde_json::Value::Null
    );
}

#[tokio::test]
async fn an_empty_list_is_a_list() {
    let test = Test::new().await;
    assert_snapshot!(test.get("/api/v1/links").await.shown(), @r##"
200 OK
content-type: application/json

{
  "data": [],
  "next_cursor": null
}
"##);
}

#[tokio::test]
async fn another_workspaces_link_is_as_if_it_were_not_there() {
    let test = Test::new().await;
    let made = test.post("/api/v1/links", r#"{"url":"https://example.com/"}"#).await.json();
    let id = made["id"].as_str().unwrap();
    for move_away in [
        "insert into workspace (id, name, created_at_ms) values (5, 'other', 0)",
        "update link set workspace_id = 5",
    ] {
        test.database.execute(move_away).await;
    }
    for path in [format!("/api/v1/links/{id}"), format!("/api/v1/links/{id}/stats")] {
        let hidden = test.get(&path).await;
        let random = test.get(&path.replace(id, "123456789")).await;
        assert_eq!(hidden.status, StatusCode::NOT_FOUND);
        let without_instance = |answer: &Answer| {
            let mut json = answer.json();
            json["instance"].take();
            json
        };
        assert_eq!(without_instance(&hidden), without_instance(&random));
    }
    assert_eq!(test.get("/api/v1/links").await.json()["data"], serde_json::json!([]));
    assert_eq!(test.get("/api/v1/stats").await.json()["links"], 0);
}

#[tokio::test]
async fn statistics_before_the_first_click() {
    let test = Test::new().await;
    let made = test.post("/api/v1/links", r#"{"url":"https://example.com/"}"#).await.json();
    let path = format!("/api/v1/links/{}/stats", made["id"].as_str().unwrap());
    for path in [path.as_str(), "/api/v1/stats"] {
        let stats = test.get(path).await.json();
        assert!(stats["last_click_at"].is_null() && stats["detail_since"].is_null());
        let totals = r#"{"bots":0,"clicks":0,"heads":0,"prefetches":0,"previews":0,"visitors":0}"#;
        assert_eq!(stats["totals"].to_string(), totals);
        assert_eq!(stats["series"].as_array().unwrap().len(), 30);
    }
}

#[tokio::test]
async fn markup_and_line_breaks_are_inert_or_refused() {
    let test = Test::new().await;
    let body = r#"{"url":"https://a.example/?<script>'\"","title":"<script>alert(1)</script>"}"#;
    let made = test.post("/api/v1/links", body).await;
    assert_eq!(made.headers["content-type"], "application/json");
    assert_eq!(made.json()["title"], "<script>alert(1)</script>");
    assert_eq!(made.json()["url"], "https://a.example/?%3Cscript%3E%27%22");
    for body in [
        r#"{"url":"https://a.example/\r\nSet-Cookie: a=b"}"#,
        r#"{"url":"https://a.example/\u0000"}"#, r#"{"url":"https://a.example/\u2028"}"#,
        r#"{"url":"https://a.example/","title":"a\r\nb"}"#,
        r#"{"url":"https://a.example/","code":"a\r\nb"}"#,
        r#"{"url":"https://a.example/","domain":"go.example\r\n"}"#,
        r#"{"url":"data:text/html,<script>"}"#,
    ] {
        assert_eq!(test.post("/api/v1/links", body).await.status, 422, "{body}");
    }
}
