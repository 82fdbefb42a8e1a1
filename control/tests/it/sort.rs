//! Lists by clicks: what was stored shows up in the links themselves.

use super::*;
use carom_shared::batch::{BatchBuilder, Token};
use carom_shared::click::{Channel, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, Code};
use std::time::Duration;

impl Test {
    /// Stores a batch of clicks by people: of which code, and how many seconds from now.
    async fn clicked(&self, number: u32, clicks: &[(&str, u32)]) {
        let domain = self.app.domains()[0].id;
        let mut builder = BatchBuilder::new();
        for (code, at_s) in clicks {
            let record = self.app.resolve(domain, &Code::parse(code).unwrap()).await.unwrap();
            let record = record.unwrap();
            builder.push(&Click {
                workspace: record.workspace,
                link: record.link,
                domain,
                at_s: 1_767_225_600 + at_s,
                n: 1,
                kind: Kind::Human,
                via: Via::Link,
                variant: 0,
                status: 302,
                target_revision: record.target_revision,
                visitor: 0,
                privacy: Privacy::default(),
                channel: Channel::Direct,
                device: Device::Unknown,
                details: Details::default(),
            });
        }
        let file = builder.finish(NOW, &[]);
        let token = Token::new(1, 1, number, file.rows, file.crc);
        self.app.store_batch(&token, &file.bytes).await.unwrap();
    }

    async fn in_order(&self, query: &str) -> String {
        let list = self.get(&format!("/api/v1/links?{query}")).await.json();
        let data = list["data"].as_array().unwrap_or_else(|| panic!("{query}: {list}"));
        let show = |link: &serde_json::Value| {
            format!("{}:{}", link["code"].as_str().unwrap(), link["clicks"])
        };
        data.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    /// Waits until the links are in an order: clicks are carried over every two seconds.
    async fn comes_to(&self, query: &str, expected: &str) {
        let mut found = String::new();
        for _ in 0..200 {
            found = self.in_order(query).await;
            if found == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{query}: {found}, not {expected}");
    }
}

#[tokio::test]
async fn links_are_listed_by_their_clicks_also_after_a_restart() {
    let mut test = Test::new().await;
    for code in ["a", "b", "c"] {
        let body = format!(r#"{{"url":"https://example.com/","code":"{code}"}}"#);
        let made = test.post("/api/v1/links", &body).await;
        assert_eq!(made.status, StatusCode::CREATED);
        test.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(test.in_order("sort=clicks").await, "c:0 b:0 a:0");
    test.clicked(1, &[("a", 5), ("a", 1), ("b", 9)]).await;
    test.comes_to("sort=clicks", "a:2 b:1 c:0").await;
    assert_eq!(test.in_order("sort=last_click").await, "b:1 a:2 c:0");
    assert_eq!(test.in_order("sort=created").await, "c:0 b:1 a:2");
    assert_eq!(test.in_order("").await, "c:0 b:1 a:2");
    let a = &test.get("/api/v1/links?sort=clicks&limit=1").await.json()["data"][0];
    assert_eq!(a["last_click_at"], "2026-01-01T00:00:05Z");
    assert_eq!((&a["version"], &a["updated_at"]), (&1.into(), &a["created_at"]));

    // Stored and not yet carried over when it ends: the next start does it.
    test.clicked(2, &[("b", 2), ("b", 2)]).await;
    test.app.close().await;
    let config = test.config();
    test.reopened(open(config, Arc::clone(&test.clock), 2).await.unwrap());
    test.comes_to("sort=clicks", "b:3 a:2 c:0").await;
    assert_eq!(test.metric("carom_control_feed_seq").await, 3);
}

#[tokio::test]
async fn a_cursor_is_for_its_own_order() {
    let test = Test::new().await;
    for _ in 0..3 {
        test.post("/api/v1/links", r#"{"url":"https://example.com/"}"#).await;
    }
    for sort in ["created", "clicks", "last_click"] {
        let first = test.get(&format!("/api/v1/links?limit=1&sort={sort}")).await.json();
        let cursor = first["next_cursor"].as_str().unwrap();
        for other in ["created", "clicks", "last_click"] {
            let next =
                test.get(&format!("/api/v1/links?limit=1&sort={other}&cursor={cursor}")).await;
            let expected = if sort == other { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            assert_eq!(next.status, expected, "{sort} {other}");
        }
    }
    let unknown = test.get("/api/v1/links?sort=price").await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
}
