use super::*;
use carom_control::{StoreBatchError, Stored};
use carom_shared::batch::{BatchBuilder, BatchFile, Token};
use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, Code, DomainId, RouteRecord};
use insta::assert_snapshot;

/// A batch of 3 human clicks on one link, and 2, 1, 4 and 5 of the other kinds.
fn batch(record: &RouteRecord, domain: DomainId) -> BatchFile {
    let mut builder = BatchBuilder::new();
    for (kind, count) in Kind::ALL.iter().zip([3, 2, 1, 4, 5]) {
        for n in 0..count {
            builder.push(&Click {
                workspace: record.workspace,
                link: record.link,
                domain,
                at_s: 1_767_225_600 + n,
                n: 1,
                kind: *kind,
                via: Via::Link,
                variant: 0,
                status: 302,
                target_revision: record.target_revision,
                visitor: 0,
                privacy: Privacy::default(),
                channel: Channel::Direct,
                device: Device::Unknown,
                details: Details::of(&[(Detail::Referrer, "news.example")]),
            });
        }
    }
    builder.finish(NOW, &[])
}

#[tokio::test]
async fn stored_clicks_show_up_once_in_every_answer() {
    let test = Test::new().await;
    let made = test.post("/api/v1/links", r#"{"url":"https://example.com/","code":"a"}"#).await;
    let domain = test.app.domains()[0].id;
    let code = Code::parse("a").unwrap();
    let record = test.app.resolve(domain, &code).await.unwrap().unwrap();

    let file = batch(&record, domain);
    let token = Token::new(1, 1, 1, file.rows, file.crc);
    let stored = test.app.store_batch(&token, &file.bytes).await.unwrap();
    assert_eq!(stored, Stored::New { rows: 15, clicks: 15 });
    assert_eq!(test.app.store_batch(&token, &file.bytes).await.unwrap(), Stored::Duplicate);

    let path = format!("{}/stats", made.headers["location"].to_str().unwrap());
    for path in [path.as_str(), "/api/v1/stats"] {
        let stats = test.get(path).await.json();
        let totals = r#"{"bots":2,"clicks":3,"heads":5,"prefetches":4,"previews":1,"visitors":0}"#;
        assert_eq!(stats["totals"].to_string(), totals);
        assert_eq!(stats["last_click_at"], "2026-01-01T00:00:02Z");
    }
    for (format, lines) in [("csv", 16), ("jsonl", 15)] {
        let file = test.get(&format!("/api/v1/clicks/export?format={format}")).await.body;
        assert_eq!(file.lines().count(), lines, "{file}");
        assert_eq!(file.matches("news.example").count(), 15);
    }
    assert_snapshot!(test.operator(Method::GET, "/v1/stats?top=5", "").await.shown(), @r##"
200 OK
content-type: application/json

{
  "last_click_at": "2026-01-01T00:00:02Z",
  "links": 1,
  "top": [
    {
      "bots": 2,
      "clicks": 3,
      "last_click_at": "2026-01-01T00:00:02Z",
      "link_id": "3706140701492208904",
      "short_url": "https://go.example/a"
    }
  ],
  "totals": {
    "bots": 2,
    "clicks": 3,
    "heads": 5,
    "prefetches": 4,
    "previews": 1
  }
}
"##);
    assert_eq!(test.metric("carom_control_clicks_stored_total").await, 15);
    assert_eq!(test.metric("carom_control_click_batches_duplicate_total").await, 1);
}

#[tokio::test]
async fn damaged_bytes_are_told_from_a_store_that_fails() {
    let test = Test::new().await;
    let token = Token::new(1, 1, 1, 0, 0);
    let damaged = test.app.store_batch(&token, b"CAROMCLK").await;
    assert!(matches!(damaged, Err(StoreBatchError::Batch { .. })));
    let file = BatchBuilder::new().finish(NOW, &[]);
    test.app.close().await;
    let closed = test.app.store_batch(&token, &file.bytes).await;
    assert!(matches!(closed, Err(StoreBatchError::Store { .. })));
}

/// The clock does not matter to what is stored already, only to what is new.
#[tokio::test]
async fn a_known_batch_is_a_duplicate_at_any_age() {
    let test = Test::new().await;
    let file = BatchBuilder::new().finish(NOW, &[]);
    let token = Token::new(1, 1, 1, file.rows, file.crc);
    test.app.store_batch(&token, &file.bytes).await.unwrap();
    test.clock.advance(std::time::Duration::from_hours(24 * 91));
    assert_eq!(test.app.store_batch(&token, &file.bytes).await.unwrap(), Stored::Duplicate);
    let late = Token::new(1, 1, 2, file.rows, file.crc);
    assert_eq!(test.app.store_batch(&late, &file.bytes).await.unwrap(), Stored::TooOld);
}
