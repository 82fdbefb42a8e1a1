//! Settings: what each role is shown, and that it is text whatever people wrote.

use super::*;
use std::time::Duration;

/// With the role that each needs.
pub(super) const PARTS: [(&str, &str); 12] = [
    ("/settings/profile", "viewer"),
    ("/settings/sessions", "viewer"),
    ("/settings/second-factor", "viewer"),
    ("/settings/workspace", "viewer"),
    ("/settings/members", "viewer"),
    ("/settings/domains", "viewer"),
    ("/settings/limits", "viewer"),
    ("/settings/keys", "admin"),
    ("/settings/audit", "admin"),
    ("/settings/reports", "admin"),
    ("/settings/abuse", "operator"),
    ("/settings/about", "operator"),
];

/// What the controls of a page call, without their ids.
fn controls(body: &str) -> Vec<String> {
    let calls = ["data-api=\"", "data-call=\""];
    let found = calls.iter().flat_map(|attribute| body.split(attribute).skip(1));
    let words = |rest: &str| rest.split('"').next().unwrap_or_default().to_owned();
    let is_id = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let nameless = |call: String| {
        let parts = call.split('/').map(|part| if is_id(&part) { "ID" } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    let mut all: Vec<_> = found.map(words).map(nameless).collect();
    all.sort();
    all.dedup();
    all
}

pub(super) async fn furnished(people: &People, owner: &Person, text: &str) {
    let name = json!({ "name": text });
    let workspaces = people.call(owner, Method::GET, "/workspaces", &Value::Null).await.json();
    let path = format!("/workspaces/{}", workspaces["data"][0]["id"].as_str().unwrap());
    for (method, path, body) in [
        (Method::PATCH, "/account", name.clone()),
        (Method::PATCH, path.as_str(), name.clone()),
        (
            Method::POST,
            "/keys",
            json!({"name": text, "scopes": ["links:read"], "addresses": ["192.0.2.0/24"]}),
        ),
        (
            Method::POST,
            "/domains",
            json!({"host": "own.example.com", "home_url": format!("https://example.com/?{text}")}),
        ),
        (Method::POST, "/invitations", json!({"email": "new@example.com", "role": "viewer"})),
        (
            Method::POST,
            "/links",
            json!({"url": format!("https://example.com/?{text}"), "code": "bad", "title": text}),
        ),
    ] {
        let made = people.call(owner, method, path, &body).await;
        assert!(made.status.is_success(), "{path}: {}", made.body);
    }
    let report = json!({"short_url": "https://go.example/bad", "reason": "spam", "comment": text});
    let request = Request::post("/report").header("content-type", "application/json");
    let request = request.body(Body::from(report.to_string())).unwrap();
    assert_eq!(send(api_router(&people.app), request).await.status, 202);
}

pub(super) async fn ids(people: &People, owner: &Person) -> [String; 2] {
    let first = async |path: &str, at: usize| {
        let list = people.call(owner, Method::GET, path, &Value::Null).await.json();
        list["data"][at]["id"].as_str().unwrap().to_owned()
    };
    [
        format!("/settings/keys/{}", first("/keys", 0).await),
        // The first is the installation's.
        format!("/settings/domains/{}", first("/domains", 1).await),
    ]
}

#[tokio::test]
async fn each_part_is_for_those_who_may_see_it() {
    let people = People::new().await;
    let owner = people.member("o@example.com", "owner").await;
    let admin = people.member("a@example.com", "admin").await;
    let viewer = people.member("v@example.com", "viewer").await;
    furnished(&people, &owner, "Text").await;
    let [key, domain] = ids(&people, &owner).await;
    let more = [(key.as_str(), "admin"), (domain.as_str(), "viewer")];
    for (path, least) in PARTS.into_iter().chain(more) {
        // The first account is an operator.
        let allowed = [(&owner, true), (&admin, least != "operator"), (&viewer, least == "viewer")];
        for (person, may) in allowed {
            let shown = page(&people, Some(person), path).await;
            let status = if may { 200 } else { 403 };
            assert_eq!(shown.status, status, "{path}: {}", shown.body);
            assert!(!shown.body.contains("style="), "{path}");
            if may {
                assert!(shown.body.contains("aria-current=\"page\""), "{path}");
            } else if least == "admin" {
                assert!(shown.body.contains("needs the role Admin"), "{}", shown.body);
            } else {
                assert!(shown.body.contains("operators of the installation"), "{}", shown.body);
            }
        }
    }
    assert_eq!(page(&people, None, "/settings/keys").await.status, 303);
    assert_eq!(
        page(&people, Some(&owner), "/settings").await.headers["location"],
        "/settings/profile"
    );
    // What is of others, or of the installation, is not there.
    let shared = people.call(&owner, Method::GET, "/domains", &Value::Null).await.json();
    let shared = format!("/settings/domains/{}", shared["data"][0]["id"].as_str().unwrap());
    for path in ["/settings/keys/999", "/settings/domains/999", &shared] {
        assert_eq!(page(&people, Some(&owner), path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn nobody_is_offered_what_they_may_not_do() {
    let people = People::new().await;
    people.member("operator@example.com", "viewer").await;
    let owner = people.member("o@example.com", "owner").await;
    let admin = people.member("a@example.com", "admin").await;
    let viewer = people.member("v@example.com", "viewer").await;
    furnished(&people, &owner, "Text").await;
    let [key, domain] = ids(&people, &owner).await;
    let paths = async |person: &Person| {
        let mut all = Vec::new();
        let parts = PARTS.map(|(path, _)| path);
        for path in parts.into_iter().chain([key.as_str(), domain.as_str()]) {
            let shown = page(&people, Some(person), path).await;
            all.extend(controls(&shown.body));
        }
        all.sort();
        all.dedup();
        all
    };
    let own = [
        "DELETE /api/v1/account", "DELETE /api/v1/sessions/current", "PATCH /api/v1/account",
        "POST /api/v1/account/password", "POST /api/v1/account/totp",
        "POST /api/v1/sessions/current/confirm", "POST /api/v1/workspaces",
        "POST /api/v1/workspaces/ID/leave",
    ];
    assert_eq!(paths(&viewer).await, own);
    let of_admin = paths(&admin).await;
    for call in [
        "DELETE /api/v1/members/ID", "PATCH /api/v1/members/ID", "POST /api/v1/invitations",
        "DELETE /api/v1/invitations/ID", "POST /api/v1/keys", "PATCH /api/v1/keys/ID",
        "POST /api/v1/keys/ID/rotate", "DELETE /api/v1/keys/ID", "POST /api/v1/domains",
        "POST /api/v1/domains/ID/verify", "PATCH /api/v1/domains/ID", "DELETE /api/v1/domains/ID",
        "PATCH /api/v1/links/ID",
    ] {
        assert!(of_admin.iter().any(|it| it == call), "{call} is not in {of_admin:?}");
    }
    // An admin neither decides about owners nor about the workspace.
    assert!(!of_admin.iter().any(|it| it == "PATCH /api/v1/workspaces/ID"), "{of_admin:?}");
    let members = page(&people, Some(&admin), "/settings/members").await.body;
    assert!(!members.contains(&format!("/members/{}", owner.id)), "{members}");
    assert!(
        !members.contains("{&#34;role&#34;:&#34;owner&#34;}") && !members.contains("\"owner\"}")
    );
    assert!(paths(&owner).await.iter().any(|it| it == "PATCH /api/v1/workspaces/ID"));

    // Who is in a workspace that is out of service reads, is told so, and keeps what is their own.
    let id = people.operator(Method::GET, "/v1/workspaces", &Value::Null).await.json();
    let disable = format!("/v1/workspaces/{}/disable", id["data"][0]["id"].as_str().unwrap());
    assert_eq!(people.operator(Method::POST, &disable, &json!({})).await.status, 200);
    let shown = page(&people, Some(&owner), "/settings/workspace").await;
    assert!(shown.body.contains("Out of service since"), "{}", shown.body);
    assert_eq!(page(&people, Some(&owner), "/settings/keys").await.status, 403);
    assert!(paths(&owner).await.iter().all(|it| own.contains(&it.as_str())));
}

#[tokio::test]
async fn what_people_wrote_stays_text_in_settings() {
    let people = People::new().await;
    let owner = people.member("o@example.com", "owner").await;
    furnished(&people, &owner, HOSTILE).await;
    let [key, domain] = ids(&people, &owner).await;
    let filter = "/settings/audit?action=%3Cscript%3E&object=%22%3E%3Cimg&who=key:1";
    let paths = PARTS.map(|(path, _)| path);
    for path in paths.into_iter().chain([key.as_str(), domain.as_str(), filter]) {
        let shown = page(&people, Some(&owner), path).await;
        assert_eq!(shown.status, 200, "{path}: {}", shown.body);
        for bad in ["<script>", "<img", "onerror=alert(1)>", "javascript:"] {
            assert!(!shown.body.contains(bad), "{path} has {bad}: {}", shown.body);
        }
    }
    let members = page(&people, Some(&owner), "/settings/members").await.body;
    assert!(members.contains("&#60;script&#62;alert(1)"), "{members}");
    let reports = page(&people, Some(&owner), "/settings/reports").await.body;
    assert!(reports.contains("&#60;script&#62;alert(1)"), "{reports}");
}

#[tokio::test]
async fn a_secret_that_is_set_up_is_shown_to_who_was_just_asked() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "viewer").await;
    let path = "/settings/second-factor";
    let begun = people.call(&ada, Method::POST, "/account/totp", &Value::Null).await;
    let secret = begun.json()["secret"].as_str().unwrap().to_owned();
    let shown = page(&people, Some(&ada), path).await;
    assert!(shown.body.contains(&secret) && shown.body.contains("<svg xmlns"), "{}", shown.body);
    let request = Request::builder().uri(path).header("accept-encoding", "br");
    let request = people.signed(request, &ada).body(Body::empty()).unwrap();
    let plain = send(api_router(&people.app), request).await;
    assert!(!plain.headers.contains_key("content-encoding") && plain.body.contains(&secret));
    // Later somebody else may sit there.
    people.clock.advance(Duration::from_secs(601));
    let later = page(&people, Some(&ada), path).await;
    assert!(!later.body.contains(&secret) && later.body.contains("Begin again"), "{}", later.body);
}

#[tokio::test]
async fn the_log_is_filtered_by_its_address_and_a_file() {
    let people = People::new().await;
    let owner = people.member("o@example.com", "owner").await;
    furnished(&people, &owner, "Text").await;
    let log =
        async |query: &str| page(&people, Some(&owner), &format!("/settings/audit{query}")).await;
    let all = log("").await.body;
    for action in ["link.create", "key.create", "domain.add", "report.take", "workspace.rename"] {
        assert!(
            all.contains(&format!("<strong class=\"mono\" translate=\"no\">{action}</strong>")),
            "{action}"
        );
    }
    let id = &owner.id;
    let query = format!("?who=account:{id}&action=key.create&from=2025-12-31&to=2026-01-01");
    let some = log(&query).await.body;
    assert_eq!(some.matches("<strong class=\"mono\" translate=\"no\">").count(), 1, "{some}");
    assert!(log("?from=2026-01-02").await.body.contains("No entry fits"));
    assert_eq!(log("?who=somebody").await.status, 400);
    let csv = log(".csv?action=key.create").await;
    assert!(csv.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
    assert_eq!(csv.body.lines().count(), 2, "{}", csv.body);
    let viewer = people.member("v@example.com", "viewer").await;
    assert_eq!(page(&people, Some(&viewer), "/settings/audit.csv").await.status, 403);
}

#[tokio::test]
async fn who_is_in_no_workspace_can_make_one() {
    let people = People::new().await;
    let owner = people.member("o@example.com", "owner").await;
    let leaver = people.member("l@example.com", "viewer").await;
    let mine = people.call(&leaver, Method::GET, "/workspaces", &Value::Null).await.json();
    let leave = format!("/workspaces/{}/leave", mine["data"][0]["id"].as_str().unwrap());
    assert_eq!(people.call(&leaver, Method::POST, &leave, &Value::Null).await.status, 204);
    let shown = page(&people, Some(&leaver), "/links").await;
    assert!(shown.body.contains("You are in no workspace"), "{}", shown.body);
    assert!(controls(&shown.body).iter().any(|it| it == "POST /api/v1/workspaces"));
    let body = json!({"name": "Mine"});
    assert_eq!(people.call(&leaver, Method::POST, "/workspaces", &body).await.status, 201);
    let shown = page(&people, Some(&leaver), "/settings/workspace").await;
    assert!(shown.body.contains("you are an owner"), "{}", shown.body);
    let workspace = page(&people, Some(&owner), "/settings/workspace").await.body;
    assert!(workspace.contains("first workspace"), "{workspace}");
}
