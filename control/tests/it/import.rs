//! Links of files, over the operator's surface.

use super::*;
use carom_control::operator::{ImportAnswer, LinksPage, RowAnswer};
use serde_json::json;

async fn import(test: &Test, rows: &serde_json::Value, dry_run: bool) -> Vec<RowAnswer> {
    let body = json!({ "on_conflict": "refuse", "dry_run": dry_run, "rows": rows }).to_string();
    let answer = test.operator(Method::POST, "/v1/import", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    serde_json::from_str::<ImportAnswer>(&answer.body).unwrap().rows
}

#[tokio::test]
async fn imported_links_are_links_like_others() {
    let test = Test::new().await;
    let rows = json!([
        { "code": "Old", "url": "https://example.com/a", "created_at": "2020-01-02T03:04:05.678Z",
          "clicks": 12, "tags": ["x"] },
        { "code": "x", "url": "ftp://example.com" },
        { "code": "Old", "url": "https://example.com/b" },
    ]);
    let dry = import(&test, &rows, true).await;
    assert!(matches!(
        dry[..],
        [RowAnswer::Would { .. }, RowAnswer::Refused(_), RowAnswer::Refused(_)]
    ));
    assert_eq!(test.get("/api/v1/links").await.json()["data"], json!([]));
    let made = import(&test, &rows, false).await;
    assert!(matches!(made[..], [RowAnswer::Made, RowAnswer::Refused(_), RowAnswer::Refused(_)]));
    assert_eq!(import(&test, &rows, false).await[0], RowAnswer::Present);

    let list = test.get("/api/v1/links?tag=X&q=example").await.json();
    let link = &list["data"][0];
    assert_eq!(
        (&link["code"], &link["created_at"]),
        (&json!("Old"), &json!("2020-01-02T03:04:05.678Z"))
    );
    assert_eq!((&link["imported_clicks"], &link["clicks"]), (&json!(12), &json!(0)));
    assert_eq!(link["created_by"], json!(null));
    // Its first target has no author either.
    let path = format!("/api/v1/links/{}", link["id"].as_str().unwrap());
    let patched = test.call(Method::PATCH, &path, r#"{"url":"https://example.com/c"}"#).await;
    assert_eq!(patched.status, StatusCode::OK, "{}", patched.body);

    let page = test.operator(Method::GET, "/v1/export/links", "").await;
    let page: LinksPage = serde_json::from_str(&page.body).unwrap();
    assert_eq!((page.data.len(), page.data[0].clicks, page.next), (1, Some(12), None));
}

#[tokio::test]
async fn a_batch_has_a_limit() {
    let test = Test::new().await;
    let rows = vec![json!({}); 1001];
    let body = json!({ "on_conflict": "skip", "dry_run": false, "rows": rows }).to_string();
    let answer = test.operator(Method::POST, "/v1/import", &body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}
