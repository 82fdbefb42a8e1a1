//! The live feed, as clients see it.

use std::time::{Duration, Instant};

use super::*;
use carom_control::{Limits, Listener, serve};
use carom_shared::batch::{BatchBuilder, Token};
use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, Code};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// What is there comes at once, unless the machine is busy.
const PATIENCE: Duration = Duration::from_secs(30);

const HOSTILE: &str = "x\"}\n\nevent: end\r\ndata: \u{1b}[2J<script>";

/// Stores clicks on the link `a`, each with another referrer; `number` is the batch's.
async fn click(test: &Test, number: u32, referrers: &[&str]) -> String {
    let domain = test.app.domains()[0].id;
    let record = test.app.resolve(domain, &Code::parse("a").unwrap()).await.unwrap().unwrap();
    let mut builder = BatchBuilder::new();
    for referrer in referrers {
        builder.push(&Click {
            workspace: record.workspace,
            link: record.link,
            domain,
            at_s: 1_767_225_600,
            n: 1,
            kind: Kind::Human,
            via: Via::Qr,
            variant: 0,
            status: 302,
            target_revision: 1,
            visitor: 7,
            privacy: Privacy::default(),
            channel: Channel::Mail,
            device: Device::Mobile,
            details: Details::of(&[(Detail::Country, "DE"), (Detail::Referrer, referrer)]),
        });
    }
    let file = builder.finish(NOW, &[]);
    let token = Token::new(1, 1, number, file.rows, file.crc);
    test.app.store_batch(&token, &file.bytes).await.unwrap();
    record.link.to_string()
}

/// An open stream.
struct Feed(Body);

impl Feed {
    async fn open(test: &Test, path: &str) -> Self {
        let request = Request::get(path).header("authorization", format!("Bearer {}", test.key));
        let answer = test.api().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let mut feed = Self(answer.into_body());
        assert_eq!(feed.next().await.unwrap(), "retry: 2000\n\n");
        assert!(test.app.bundle().await.unwrap().are_clicks_watched, "edges are told");
        feed
    }

    /// What comes next; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let frame = tokio::time::timeout(PATIENCE, self.0.frame()).await.unwrap()?;
        Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
    }
}

#[tokio::test]
async fn clicks_are_seen_as_they_are_stored() {
    let test = Test::new().await;
    assert!(!test.app.bundle().await.unwrap().are_clicks_watched);
    let tagged = r#"{"url":"https://example.com/","code":"a","tags":["Red"]}"#;
    test.post("/api/v1/links", tagged).await;
    test.post("/api/v1/links", r#"{"url":"https://example.com/","code":"b"}"#).await;
    let domain = test.app.domains()[0].id;
    let other = test.app.resolve(domain, &Code::parse("b").unwrap()).await.unwrap().unwrap().link;
    // What was before is not seen.
    let link = click(&test, 1, &["early.example"]).await;

    let mut all = Feed::open(&test, "/api/v1/live").await;
    let mut one = Feed::open(&test, &format!("/api/v1/live?link={link}")).await;
    let mut quiet = Feed::open(&test, &format!("/api/v1/live?link={other}")).await;
    let host = test.app.domains()[0].host.to_string();
    let mut tagged = Feed::open(&test, &format!("/api/v1/live?tag=RED&domain={host}")).await;
    let mut untagged = Feed::open(&test, "/api/v1/live?tag=blue").await;
    assert_eq!(test.metric("carom_control_live_streams").await, 5);
    click(&test, 2, &["news.example", HOSTILE]).await;
    let seen = all.next().await.unwrap();
    assert_eq!(one.next().await.unwrap(), seen);
    assert_eq!(tagged.next().await.unwrap(), seen);
    let lines: Vec<_> = seen.lines().collect();
    let [event, first, "", "event: click", second, ""] = lines[..] else { panic!("{seen}") };
    assert_eq!(event, "event: click");
    let data = |line: &str| -> serde_json::Value {
        serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap()
    };
    let expected = serde_json::json!({
        "at": "2026-01-01T00:00:00Z", "link_id": link, "n": 1, "kind": "human", "via": "qr",
        "channel": "mail", "device": "mobile", "country": "DE", "city": null, "browser": null,
        "os": null, "language": null, "referrer": "news.example",
    });
    assert_eq!(data(first), expected);
    assert_eq!(data(second)["referrer"], HOSTILE);

    // A batch that is known already is no news.
    click(&test, 2, &["news.example", HOSTILE]).await;
    test.app.drain();
    let end = "event: end\ndata: {\"reason\":\"stopping\"}\n\n";
    for feed in [&mut all, &mut one, &mut quiet, &mut tagged, &mut untagged] {
        assert_eq!(feed.next().await.as_deref(), Some(end));
        assert_eq!(feed.next().await, None);
    }
    assert_eq!(test.get("/api/v1/live").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn streams_are_limited_and_end_with_their_client() {
    let test = Test::new().await;
    let mut feeds = Vec::new();
    for _ in 0..20 {
        feeds.push(Feed::open(&test, "/api/v1/live").await);
    }
    let refused = test.get("/api/v1/live").await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"overloaded".into())
    );
    assert!(refused.headers.contains_key("retry-after"));
    drop(feeds);
    let give_up = Instant::now() + PATIENCE;
    while test.metric("carom_control_live_streams").await > 0 {
        assert!(Instant::now() < give_up);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(test.get("/api/v1/live?link=1").await.status, StatusCode::NOT_FOUND);
    for query in ["link=x", "domain=nowhere.example", "tag=", "link=1&tag=red"] {
        let path = format!("/api/v1/live?{query}");
        assert_eq!(test.get(&path).await.status, StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!(test.get("/api/v1/live?since=1").await.status, StatusCode::BAD_REQUEST);
}

/// Also for a client that reads nothing, whatever waits for it.
#[tokio::test]
async fn a_stop_is_not_held_up_by_open_streams() {
    let test = Test::new().await;
    test.post("/api/v1/links", r#"{"url":"https://example.com/","code":"a"}"#).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    let server = serve(test.api(), Listener::Tcp(listener), Limits::default(), shutdown.clone());
    let server = tasks.spawn(server);
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /api/v1/live HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
        test.key
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = [0; 4096];
    let mut text = String::new();
    while !text.contains("retry: 2000") {
        let read = client.read(&mut bytes).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    click(&test, 1, &["news.example"]).await;

    let begun = Instant::now();
    test.app.drain();
    shutdown.cancel();
    assert_eq!(server.await.unwrap(), 0, "no connection was cut");
    test.app.close().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("\r\n0\r\n\r\n") && text.contains("\"stopping\""), "{text}");
}
