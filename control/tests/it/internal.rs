//! The internal plane, as an edge sees it.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use carom_control::internal_router;
use carom_shared::batch::{BatchBuilder, BatchFile, Token};
use carom_shared::internal::RoutePage;
use carom_shared::{Bundle, FeedPage, FeedPosition, RouteRecord, RouteState};
use http::{Method, Request, StatusCode};
use tower::ServiceExt;

use super::{NOW, Test, open};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PREVIOUS: &str = "previous-previous-previous-previous";

/// An installation whose internal plane is open.
struct Internal(Test);

impl Internal {
    async fn new() -> Self {
        let mut test = Test::new().await;
        let mut config = test.config();
        config.internal.token = TOKEN.into();
        config.internal.previous_token = PREVIOUS.into();
        config.home_url = "https://example.com/welcome".into();
        test.app.close().await;
        test.reopened(open(config, test.clock.clone(), 2).await.unwrap());
        Self(test)
    }

    async fn ask(&self, request: http::request::Builder, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
        let request = request.body(Body::from(body)).unwrap();
        let answer = internal_router(&self.0.app).unwrap().oneshot(request).await.unwrap();
        let status = answer.status();
        (status, to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec())
    }

    async fn get(&self, path: &str) -> (StatusCode, Vec<u8>) {
        let request = Request::get(path).header("authorization", format!("Bearer {TOKEN}"));
        self.ask(request, Vec::new()).await
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json");
        self.ask(request, body).await
    }

    async fn page(&self, after: FeedPosition, wait_ms: u64) -> FeedPage {
        let FeedPosition { epoch, seq } = after;
        let path = format!("/internal/v1/changes?epoch={epoch}&after={seq}&wait_ms={wait_ms}");
        let (status, body) = self.get(&path).await;
        assert_eq!(status, 200);
        FeedPage::from_bytes(&body).unwrap()
    }

    async fn head(&self) -> FeedPosition {
        let (status, body) = self.get("/internal/v1/changes").await;
        assert_eq!(status, 200);
        FeedPage::from_bytes(&body).unwrap().head
    }
}

#[tokio::test]
async fn there_is_no_internal_plane_without_a_token() {
    assert!(internal_router(&Test::new().await.app).is_none());
}

#[tokio::test]
async fn both_tokens_are_taken_and_nothing_else() {
    let internal = Internal::new().await;
    for (header, status) in [
        (format!("Bearer {TOKEN}"), 200),
        (format!("Bearer {PREVIOUS}"), 200),
        (format!("Bearer {TOKEN}x"), 401),
        (format!("Bearer {}", internal.0.key), 401),
        ("Bearer ".to_owned(), 401),
        (format!("Basic {TOKEN}"), 401),
    ] {
        let request = Request::get("/internal/v1/bundle").header("authorization", &header);
        assert_eq!(internal.ask(request, Vec::new()).await.0, status, "{header}");
    }
    let bare = internal.ask(Request::get("/internal/v1/bundle"), Vec::new()).await;
    assert_eq!(bare.0, 401);
}

#[tokio::test]
async fn the_bundle_has_domains_homes_and_the_same_salts_for_everybody() {
    let internal = Internal::new().await;
    let (status, body) = internal.get("/internal/v1/bundle").await;
    assert_eq!(status, 200);
    let bundle: Bundle = serde_json::from_slice(&body).unwrap();
    assert_eq!(bundle.domains.len(), 1);
    let domain = &bundle.domains[0];
    assert_eq!((domain.host.as_str(), domain.is_default), ("go.example", true));
    assert_eq!(domain.home.as_deref(), Some("https://example.com/welcome"));
    assert_eq!(bundle.salts.iter().count(), 2);
    assert_eq!(internal.get("/internal/v1/bundle").await.1, body);
    // A day later yesterday's is still known, and tomorrow's is new.
    internal.0.clock.advance(Duration::from_hours(24));
    let later: Bundle =
        serde_json::from_slice(&internal.get("/internal/v1/bundle").await.1).unwrap();
    assert_eq!(later.salts.iter().count(), 3);
    assert!(bundle.salts.iter().all(|salt| later.salts.of(salt.day) == Some(*salt)));
}

#[tokio::test]
async fn changes_are_followed_one_after_another_and_waited_for() {
    let internal = Internal::new().await;
    let start = internal.head().await;
    let link = internal.0.post("/shorten", r#"{"url":"https://example.com/1"}"#).await.json();
    let page = internal.page(start, 0).await;
    assert_eq!((page.changes.len(), page.first), (1, start.seq + 1));
    assert_eq!(page.changes[0].code.as_str(), link["code"]);
    let at = page.end().unwrap();
    assert_eq!(internal.head().await, at);
    assert_eq!(internal.page(at, 1).await.changes, []);

    // Whoever waits is told at once, long before the time is up.
    let (page, _) = tokio::join!(internal.page(at, 5_000), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        internal.0.post("/shorten", r#"{"url":"https://example.com/2"}"#).await
    });
    assert_eq!(&*page.changes[0].record.target, "https://example.com/2");

    // Nobody waits for a server that is going.
    internal.0.app.drain();
    assert_eq!(internal.page(page.end().unwrap(), 5_000).await.changes, []);
}

#[tokio::test]
async fn changes_of_another_numbering_are_gone_and_half_a_question_is_none() {
    let internal = Internal::new().await;
    let FeedPosition { epoch, seq } = internal.head().await;
    for (query, status) in [
        (format!("epoch={}&after={seq}", epoch + 1), 410),
        (format!("epoch={epoch}&after={}", seq + 1), 410),
        (format!("epoch={epoch}"), 400),
        (format!("after={seq}"), 400),
        ("epoch=x&after=1".to_owned(), 400),
        ("since=1".to_owned(), 400),
    ] {
        let (found, _) = internal.get(&format!("/internal/v1/changes?{query}")).await;
        assert_eq!(found, status, "{query}");
    }
}

#[tokio::test]
async fn a_route_is_found_a_tombstone_too_and_what_never_was_is_no_content() {
    let internal = Internal::new().await;
    let domain = internal.0.app.domains()[0].id;
    let made = internal.0.post("/api/v1/links", r#"{"url":"https://example.com/"}"#).await.json();
    let path = format!("/internal/v1/routes/{domain}/{}", made["code"].as_str().unwrap());
    let (status, body) = internal.get(&path).await;
    assert_eq!(status, 200);
    assert_eq!(&*RouteRecord::from_bytes(&body).unwrap().target, "https://example.com/");
    let link = format!("/api/v1/links/{}", made["id"].as_str().unwrap());
    assert_eq!(internal.0.call(Method::DELETE, &link, "").await.status, 204);
    let (_, body) = internal.get(&path).await;
    assert_eq!(RouteRecord::from_bytes(&body).unwrap().state, RouteState::Deleted);

    let never = internal.get(&format!("/internal/v1/routes/{domain}/never")).await;
    assert_eq!(never, (StatusCode::NO_CONTENT, Vec::new()));
    // Not a question of an edge: neither an absence nor a 404, which anybody could have sent.
    for path in ["x/never", &format!("{domain}/a%2fb"), &format!("{domain}/{}", "a".repeat(65))] {
        assert_eq!(internal.get(&format!("/internal/v1/routes/{path}")).await.0, 400, "{path}");
    }
}

#[tokio::test]
async fn a_batch_of_clicks_is_stored_once_and_nonsense_never() {
    let internal = Internal::new().await;
    let BatchFile { bytes, rows, crc, .. } = BatchBuilder::new().finish(NOW, &[]);
    let token = Token::new(1, 1, 1, rows, crc);
    let path = format!("/internal/v1/clicks/{token}");
    assert_eq!(internal.post(&path, bytes.clone()).await.0, 201);
    assert_eq!(internal.post(&path, bytes.clone()).await.0, 200);
    let (status, why) = internal.post(&path, b"nonsense".to_vec()).await;
    assert_eq!(status, 422, "{}", String::from_utf8_lossy(&why));
    assert_eq!(internal.post("/internal/v1/clicks/nonsense", bytes).await.0, 400);
}

#[tokio::test]
async fn missing_codes_are_counted() {
    let internal = Internal::new().await;
    let domain = internal.0.app.domains()[0].id;
    let body = format!(r#"{{"missing":[{{"domain":"{domain}","code":"gone","requests":3}}]}}"#);
    assert_eq!(internal.post("/internal/v1/missing", body.into_bytes()).await.0, 204);
    let list = internal.0.get("/api/v1/missing").await.json();
    assert_eq!((&list["data"][0]["code"], &list["data"][0]["count"]), (&"gone".into(), &3.into()));
}

#[tokio::test]
async fn lost_clicks_are_shown_in_the_time_they_are_of() {
    let internal = Internal::new().await;
    let quarter = NOW.as_secs() / 900 * 900;
    let report = |spool: &str, at_s: i64, dropped: u32| {
        let text = format!(
            r#"{{"spool":"{spool}","quarters":[{{"at_s":{at_s},"counted":7,"compacted":1,
                "dropped":{dropped},"power":0,"damaged":0}}]}}"#
        );
        text.into_bytes()
    };
    let note = async |body| internal.post("/internal/v1/losses", body).await.0;
    let today = "/api/v1/stats?interval=day";
    assert!(internal.0.get(today).await.json().get("lost").is_none());
    assert_eq!(note(report("00000000000000ab", quarter, 5)).await, 204);
    assert_eq!(note(report("00000000000000ab", quarter, 3)).await, 204, "it comes again, late");
    assert_eq!(note(report("00000000000000cd", quarter, 1)).await, 204);
    let lost = &internal.0.get(today).await.json()["lost"];
    assert_eq!(*lost, serde_json::json!({"clicks": 6, "without_detail": 16}));
    let before = "/api/v1/stats?interval=day&from=2020-01-01&to=2020-01-31";
    assert!(internal.0.get(before).await.json().get("lost").is_none());
    for nonsense in [report("ab", quarter, 1), report("00000000000000ab", quarter + 1, 1)] {
        assert_eq!(note(nonsense).await, 400);
    }
}

#[tokio::test]
async fn all_routes_are_listed_page_by_page_and_few_may_list_at_once() {
    let internal = Internal::new().await;
    let mut made = Vec::new();
    for n in 0..3 {
        let body = format!(r#"{{"url":"https://e.test/{n}"}}"#);
        let link = internal.0.post("/api/v1/links", &body).await.json();
        made.push(link["code"].as_str().unwrap().to_owned());
    }
    made.sort();
    let list = async |query: &str| {
        let (status, body) = internal.get(&format!("/internal/v1/routes{query}")).await;
        assert_eq!(status, 200, "{query}");
        RoutePage::from_bytes(&body).unwrap().0
    };
    let all = list("").await;
    assert_eq!(all.iter().map(|of| of.code.as_str()).collect::<Vec<_>>(), made);
    let domain = all[0].domain;
    let after = |at: usize| format!("?domain={domain}&code={}", made[at]);
    assert_eq!(list(&after(0)).await, all[1..]);
    assert_eq!(list(&after(2)).await, []);
    for query in ["?domain=1", "?code=a", "?domain=0&code=a", "?domain=1&code=a%2Fb", "?more=1"] {
        assert_eq!(internal.get(&format!("/internal/v1/routes{query}")).await.0, 400, "{query}");
    }
    let bare = internal.ask(Request::get("/internal/v1/routes"), Vec::new()).await;
    assert_eq!(bare.0, 401);
}
