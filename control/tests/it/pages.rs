//! Pages, as a browser gets them. What a person does with them is tried in a real browser by hand.

mod language;
mod settings;

use super::people::{People, Person};
use super::*;
use serde_json::{Value, json};

/// What people write into fields, and what must stay text.
const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&";

async fn page(people: &People, person: Option<&Person>, path: &str) -> Answer {
    let mut request = Request::builder().uri(path);
    if let Some(person) = person {
        request = people.signed(request, person);
    }
    send(api_router(&people.app), request.body(Body::empty()).unwrap()).await
}

/// Where a page sends whoever is not signed in, and what they see before.
#[tokio::test]
async fn nobody_gets_behind_the_gate() {
    let people = People::new().await;
    for path in ["/links", "/links/1", "/analytics?period=7d", "/missing"] {
        let sent = page(&people, None, path).await;
        assert_eq!(sent.status, 303, "{path}");
        let next = path.replace('/', "%2F").replace('?', "%3F").replace('=', "%3D");
        assert_eq!(sent.headers["location"], format!("/sign-in?next={next}"));
    }
    for path in [
        "/sign-in", "/setup", "/register", "/forgot", "/reset", "/account/email", "/undo-email",
        "/invitation",
    ] {
        let gate = page(&people, None, path).await;
        assert_eq!(gate.status, 200, "{path}");
        assert_eq!(gate.headers["content-type"], "text/html; charset=utf-8");
        let policy = gate.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && !gate.body.contains("style="), "{path}");
        assert!(!gate.body.contains("://"), "{path} names another host");
    }
}

#[tokio::test]
async fn files_are_kept_and_compressed() {
    let people = People::new().await;
    let gate = page(&people, None, "/sign-in").await.body;
    let path = gate.split('"').find(|part| part.starts_with("/assets/")).unwrap().to_owned();
    for (asked, coding) in [("br", Some("br")), ("gzip", None), ("gzip, br;q=0.9", Some("br"))] {
        let request = Request::builder().uri(&path).header("accept-encoding", asked);
        let router = api_router(&people.app);
        let (head, _) =
            router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().into_parts();
        assert_eq!((head.status, asked), (StatusCode::OK, asked));
        let found = head.headers.get("content-encoding").map(|it| it.to_str().unwrap());
        assert_eq!(found, coding, "{asked}");
        assert_eq!(head.headers["cache-control"], "public, max-age=31536000, immutable");
    }
    assert_eq!(page(&people, None, "/assets/0/nothing.js").await.status, 404);
}

/// Whatever a person or a visitor wrote, it is shown and does nothing.
#[tokio::test]
async fn what_people_wrote_stays_text() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let body = json!({
        "url": format!("https://example.com/?{HOSTILE}"), "code": "x", "title": HOSTILE,
        "notes": HOSTILE, "tags": ["</a><script>"],
    });
    let made = people.call(&ada, Method::POST, "/links", &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let search = "/links?q=%3Cscript%3E&tag=%3C%2Fa%3E%3Cscript%3E".to_owned();
    let filter = "?filter=referrer%3D%3D%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned();
    for path in [
        "/links".to_owned(),
        search,
        format!("/links/{id}"),
        format!("/links/{id}{filter}"),
        format!("/analytics{filter}"),
        "/analytics?tag=%3C%2Fa%3E%3Cscript%3E&more=links".to_owned(),
        "/missing".to_owned(),
    ] {
        let page = page(&people, Some(&ada), &path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        for bad in ["<script>", "<img src=x", "onerror=alert(1)>", "javascript:"] {
            assert!(!page.body.contains(bad), "{path} has {bad}");
        }
    }
    let list = page(&people, Some(&ada), "/links").await.body;
    assert!(list.contains("&#60;/script&#62;&#60;script&#62;alert(1)"), "{list}");
}

/// A viewer is not offered what they may not do; a link of others is not there.
#[tokio::test]
async fn pages_show_what_a_role_may_do() {
    let people = People::new().await;
    let editor = people.member("e@example.com", "editor").await;
    let viewer = people.member("v@example.com", "viewer").await;
    let body = json!({"url": "https://example.com/", "code": "x"});
    let made = people.call(&editor, Method::POST, "/links", &body).await;
    let path = format!("/links/{}", made.json()["id"].as_str().unwrap());
    for (person, may) in [(&editor, true), (&viewer, false)] {
        let link = page(&people, Some(person), &path).await;
        assert_eq!((link.status, link.body.contains("data-api=\"PATCH")), (StatusCode::OK, may));
        assert_eq!(link.body.contains("id=\"new-link\""), may);
    }
    let gone = page(&people, Some(&editor), "/links/999").await;
    assert_eq!(gone.status, 404);
    assert!(gone.body.contains("<h1>There is nothing here</h1>"), "{}", gone.body);
    let bad = page(&people, Some(&editor), "/analytics?period=whenever").await;
    assert_eq!(bad.status, 400);
    // What is refused before the page looks at it is a page too, for who goes there.
    for path in ["/links?state=x", "/analytics?country=DE", "/links/x"] {
        for (accept, kind) in
            [("text/html", "text/html; charset=utf-8"), ("*/*", "application/problem+json")]
        {
            let request = people.signed(Request::builder().uri(path), &editor);
            let request = request.header("accept", accept).body(Body::empty()).unwrap();
            let refused = send(api_router(&people.app), request).await;
            assert!(refused.status.is_client_error(), "{path}: {}", refused.status);
            assert_eq!(refused.headers["content-type"], kind, "{path}: {}", refused.body);
        }
    }
    for period in ["today", "24h", "7d", "last-month", "12mo", "5y", "all"] {
        let stats = page(&people, Some(&editor), &format!("/analytics?period={period}")).await;
        assert_eq!(stats.status, 200, "{period}: {}", stats.body);
    }
}
