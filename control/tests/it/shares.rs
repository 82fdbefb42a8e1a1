//! Shared statistics: what an editor shares, and what whoever has the address gets.

use super::people::{People, Person};
use super::*;
use carom_shared::Click;
use carom_shared::Code;
use carom_shared::batch::{BatchBuilder, Token};
use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use serde_json::{Value, json};
use std::time::Duration;

const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(1)>";

struct World {
    people: People,
    editor: Person,
    links: Vec<String>,
}

impl World {
    /// Two links with clicks: `open` with the tag `Red`, and `secret-code` without one.
    async fn new() -> Self {
        let people = People::new().await;
        let editor = people.member("e@example.com", "editor").await;
        let mut links = Vec::new();
        let mut clicks = BatchBuilder::new();
        for (code, tags, country) in
            [("open", json!(["Red"]), "DE"), ("secret-code", json!([]), "FR")]
        {
            let body =
                json!({"url": format!("https://{code}.example/"), "code": code, "tags": tags});
            let made = people.call(&editor, Method::POST, "/links", &body).await;
            assert_eq!(made.status, 201, "{}", made.body);
            links.push(made.json()["id"].as_str().unwrap().to_owned());
            let domain = people.app.domains()[0].id;
            let route = people.app.resolve(domain, &Code::parse(code).unwrap()).await.unwrap();
            let route = route.unwrap();
            clicks.push(&Click {
                workspace: route.workspace,
                link: route.link,
                domain,
                at_s: u32::try_from(NOW.as_secs()).unwrap() - 3600,
                n: 1,
                kind: Kind::Human,
                via: Via::Link,
                variant: 0,
                status: 302,
                target_revision: 1,
                visitor: 7,
                privacy: Privacy::default(),
                channel: Channel::Referral,
                device: Device::Mobile,
                details: Details::of(&[(Detail::Country, country), (Detail::Referrer, HOSTILE)]),
            });
        }
        let file = clicks.finish(NOW, &[]);
        let token = Token::new(1, 1, 1, file.rows, file.crc);
        people.app.store_batch(&token, &file.bytes).await.unwrap();
        Self { people, editor, links }
    }

    async fn share(&self, body: &Value) -> Value {
        let made = self.people.call(&self.editor, Method::POST, "/shares", body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.json()
    }

    /// What a stranger gets.
    async fn read(&self, path: &str, cookie: Option<&str>) -> Answer {
        let mut request = Request::builder().uri(path);
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        send(api_router(&self.people.app), request.body(Body::empty()).unwrap()).await
    }

    async fn open(&self, token: &str, password: &str) -> Answer {
        let nobody = Person { id: String::new(), token: String::new(), workspace: None };
        let body = json!({"token": token, "password": password});
        self.people.call(&nobody, Method::POST, "/shares/open", &body).await
    }
}

fn path(share: &Value) -> String {
    let url = share["url"].as_str().unwrap();
    url.strip_prefix("https://admin.example").unwrap().to_owned()
}

/// What is not shared is not there, whatever is asked for.
#[tokio::test]
async fn a_share_shows_what_it_says_and_nothing_else() {
    let world = World::new().await;
    let share = world.share(&json!({"name": "Ours", "link_id": world.links[0]})).await;
    let page = world.read(&path(&share), None).await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(page.headers["x-robots-tag"], "noindex, nofollow");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    assert_eq!(page.headers["cache-control"], "no-store");
    assert!(
        page.body.contains("<h1><bdi>Ours</bdi></h1>") && page.body.contains("go.example/open")
    );
    assert!(page.body.contains("data-region=\"DE\"") && !page.body.contains("data-region=\"FR\""));
    for bad in [
        "secret-code", "<script>alert", "<img", "/api/v1/", "/analytics", "data-stream", "Export",
        "filter=", "open.example", "Workspace", "/links",
    ] {
        assert!(!page.body.contains(bad), "the page has {bad}");
    }
    // By whatever it is not shared with.
    for query in [
        "filter=country==DE", "filter=link!=1", "tag=red", "domain=go.example", "period=whenever",
        "unknown=1",
    ] {
        let page = world.read(&format!("{}?{query}", path(&share)), None).await;
        assert_eq!(page.status, 400, "{query}: {}", page.body);
        assert!(page.body.contains("Back to the statistics"), "{query}");
    }

    let shows = json!({"filters": true, "places": false, "sources": true});
    let share = world.share(&json!({"name": "F", "tag": "RED", "shows": shows})).await;
    let page = world.read(&path(&share), None).await;
    assert!(!page.body.contains("data-region") && !page.body.contains("secret-code"));
    assert!(page.body.contains("<dd>1</dd>"), "{}", page.body);
    for (filter, status) in [
        ("device==mobile", 200),
        ("channel==referral;browser!=Firefox", 200),
        ("country==DE", 400),
        ("device==mobile;country!=FR", 400),
        ("link==1", 400),
    ] {
        let page = world.read(&format!("{}?filter={filter}", path(&share)), None).await;
        assert_eq!(page.status, status, "{filter}");
    }
    let all = json!({"name": "All", "shows": {"links": true}});
    let page = world.read(&path(&world.share(&all).await), None).await;
    assert!(page.body.contains("go.example/secret-code") && page.body.contains("<dd>2</dd>"));
}

#[tokio::test]
async fn a_password_opens_its_own_share_alone() {
    let world = World::new().await;
    let body = json!({"name": "Ours", "link_id": world.links[0], "password": "eight letters"});
    let (share, other) = (world.share(&body).await, world.share(&body).await);
    assert_eq!(share["has_password"], true);
    let path = path(&share);
    let token = path.strip_prefix("/share/").unwrap();
    let asks = |page: &Answer| page.body.contains("A password, please");
    let page = world.read(&path, None).await;
    assert!(asks(&page) && !page.body.contains("Ours") && !page.body.contains("go.example"));
    let wrong = world.open(token, "eight Letters").await;
    assert_eq!(wrong.status, 422);
    assert_eq!(wrong.json()["errors"][0]["pointer"], "#/password");
    assert!(wrong.headers.get("set-cookie").is_none());
    assert_eq!(world.open("nothing", "eight letters").await.status, 404);

    let right = world.open(token, " eight letters ").await;
    assert_eq!(right.status, 204, "{}", right.body);
    let cookie = right.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains(&format!("Path={path}; Secure; HttpOnly; SameSite=Lax")), "{cookie}");
    let cookie = cookie.split_once(';').unwrap().0.to_owned();
    assert!(world.read(&path, Some(&cookie)).await.body.contains("go.example/open"));
    let forged = cookie.replace("=0", "=f");
    assert!(asks(&world.read(&path, Some(&forged)).await));
    let of_other = self::path(&other);
    assert!(asks(&world.read(&of_other, Some(&cookie)).await));
    world.people.clock.advance(Duration::from_hours(13));
    assert!(asks(&world.read(&path, Some(&cookie)).await));

    // Guesses are counted: of one address ten, then they come back one by one.
    for _ in 0..9 {
        world.open(token, "guess").await;
    }
    let limited = world.open(token, "guess").await.status;
    assert!(limited == 422 || limited == 429, "{limited}");
}

#[tokio::test]
async fn a_share_ends() {
    let world = World::new().await;
    let share = world.share(&json!({"name": "Ours", "link_id": world.links[0]})).await;
    let id = format!("/shares/{}", share["id"].as_str().unwrap());
    let viewer = world.people.member("v@example.com", "viewer").await;
    let call = async |who: &Person, path: &str| {
        world.people.call(who, Method::DELETE, path, &Value::Null).await.status
    };
    assert_eq!(call(&viewer, &id).await, 403);
    assert_eq!(call(&world.editor, &id).await, 204);
    assert_eq!(call(&world.editor, &id).await, 404);
    let page = world.read(&path(&share), None).await;
    assert_eq!(page.status, 404);
    assert!(page.body.contains("There is nothing here") && !page.body.contains("Ours"));
    assert_eq!(world.read("/share/x", None).await.status, 404);

    // So it does with its link.
    let share = world.share(&json!({"name": "Ours", "link_id": world.links[0]})).await;
    assert_eq!(call(&world.editor, &format!("/links/{}", world.links[0])).await, 204);
    assert_eq!(world.read(&path(&share), None).await.status, 410);

    // And with its time.
    let at = |hours: i64| {
        let at = NOW.get() + hours * 3_600_000;
        jiff::Timestamp::from_millisecond(at).unwrap().to_string()
    };
    let body = json!({"name": "Ours", "link_id": world.links[1], "expires_at": at(2)});
    let share = world.share(&body).await;
    assert_eq!(world.read(&path(&share), None).await.status, 200);
    world.people.clock.advance(Duration::from_hours(2));
    let page = world.read(&path(&share), None).await;
    assert_eq!(page.status, 410);
    assert!(page.body.contains("not shared any more") && !page.body.contains("Ours"));
}

#[tokio::test]
async fn shares_are_listed_with_their_addresses_and_noted() {
    let world = World::new().await;
    let share = world.share(&json!({"name": HOSTILE, "tag": "<b>"})).await;
    let list = world.people.call(&world.editor, Method::GET, "/shares", &Value::Null).await;
    assert_eq!(list.json()["data"][0], share);
    let owner = world.people.member("o@example.com", "owner").await;
    let audit = world.people.call(&owner, Method::GET, "/audit?action=share.create", &Value::Null);
    let audit = audit.await.json();
    assert_eq!(audit["data"][0]["detail"]["tag"], "<b>");
    assert!(!audit.to_string().contains(share["url"].as_str().unwrap()));
    for (who, path, status) in [
        (&world.editor, "/shares?tag=%3Cscript%3E".to_owned(), 200),
        (&world.editor, format!("/shares?link={}", world.links[0]), 200),
        (&world.editor, "/shares?link=1".to_owned(), 404),
    ] {
        let request = world.people.signed(Request::builder().uri(&path), who);
        let page = send(api_router(&world.people.app), request.body(Body::empty()).unwrap()).await;
        assert_eq!(page.status, status, "{path}");
        assert!(!page.body.contains("<script>alert") && !page.body.contains("<img"), "{path}");
        assert!(status != 200 || page.body.contains(share["url"].as_str().unwrap()), "{path}");
    }
    for (body, pointer) in [
        (json!({"name": ""}), "#/name"),
        (json!({"name": "x", "link_id": "1"}), "#/link_id"),
        (json!({"name": "x", "password": "short"}), "#/password"),
    ] {
        let refused = world.people.call(&world.editor, Method::POST, "/shares", &body).await;
        assert_eq!(
            (refused.status, &refused.json()["errors"][0]["pointer"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer))
        );
    }
}
