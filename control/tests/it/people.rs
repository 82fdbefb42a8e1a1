//! Workspaces, members, invitations and the audit log, as their members see them.

mod operators;

use super::*;
use serde_json::{Value, json};
use std::time::Duration;

const ORIGIN: &str = "https://admin.example";
const PASSWORD: &str = "seven purple lanterns drift";
const COOKIE: &str = "__Host-carom_session";

/// An installation in which people are made and signed in. It sends no mail.
pub(crate) struct People {
    pub(crate) app: App,
    pub(crate) clock: Arc<TestClock>,
    _folder: tempfile::TempDir,
    _database: TestDatabase,
}

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) token: String,
    /// The workspace that they mean; `None`: their first.
    pub(crate) workspace: Option<String>,
}

impl People {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::new(NOW));
        let database = TestDatabase::new(folder.path()).await;
        let mut config = config(folder.path());
        config.control.public_url = ORIGIN.into();
        config.database.url = database.url();
        config.accounts.password_memory_kib = 7168;
        config.accounts.password_iterations = 5;
        config.domains.max_per_workspace = 200;
        let app = open(config, Arc::clone(&clock), 1).await.unwrap();
        Self { app, clock, _folder: folder, _database: database }
    }

    pub(crate) async fn operator(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        send(operator_surface::router(&self.app), request).await
    }

    /// Somebody who has this role in the first workspace.
    pub(crate) async fn member(&self, email: &str, role: &str) -> Person {
        let body = json!({"email": email, "role": role});
        let made = self.operator(Method::POST, "/v1/users", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let link = made.json()["link"].as_str().unwrap().to_owned();
        let token = link.split_once('#').unwrap().1;
        let body = json!({"token": token, "password": PASSWORD});
        let nobody = Person { id: String::new(), token: String::new(), workspace: None };
        let set = self.call(&nobody, Method::POST, "/password-resets/confirm", &body).await;
        assert_eq!(set.status, 204, "{}", set.body);
        let body = json!({"email": email, "password": PASSWORD});
        let answer = self.call(&nobody, Method::POST, "/sessions", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        let token = cookie.strip_prefix(COOKIE).unwrap().strip_prefix('=').unwrap();
        let token = token.split_once(';').unwrap().0.to_owned();
        Person { id: made.json()["id"].as_str().unwrap().to_owned(), token, workspace: None }
    }

    pub(crate) fn signed(
        &self,
        request: http::request::Builder,
        person: &Person,
    ) -> http::request::Builder {
        let mut request = request.header("origin", ORIGIN);
        if !person.token.is_empty() {
            request = request.header("cookie", format!("{COOKIE}={}", person.token));
        }
        match &person.workspace {
            Some(workspace) => request.header("carom-workspace", workspace),
            None => request,
        }
    }

    pub(crate) async fn call(
        &self,
        person: &Person,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("content-type", "application/json");
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        send(api_router(&self.app), self.signed(request, person).body(body).unwrap()).await
    }

    async fn get(&self, person: &Person, path: &str) -> Answer {
        self.call(person, Method::GET, path, &Value::Null).await
    }

    pub(crate) async fn by_key(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json");
        send(api_router(&self.app), request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn actions(&self, person: &Person) -> Vec<String> {
        let page = self.get(person, "/audit?limit=1000").await.json();
        let action = |entry: &Value| entry["action"].as_str().unwrap().to_owned();
        page["data"].as_array().unwrap().iter().map(action).collect()
    }
}

fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn links_remember_who_made_and_changed_them_and_the_log_tells() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let link = json!({"url": "https://example.com/1", "code": "a"});
    let made = people.call(&ada, Method::POST, "/links", &link).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let shown = made.json();
    assert_eq!(
        (&shown["created_by"], &shown["created_by_account"]),
        (&Value::Null, &json!(ada.id))
    );
    let path = format!("/links/{}", id(&made));

    let body = json!({"name": "k", "scopes": ["links:write", "links:delete"]});
    let key = people.call(&ada, Method::POST, "/keys", &body).await;
    let (key_id, key) = (id(&key), key.json()["key"].as_str().unwrap().to_owned());
    let change = json!({"url": "https://example.com/2", "title": "T"});
    let changed = people.by_key(&key, Method::PATCH, &path, &change).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let history = people.get(&ada, &format!("{path}/history")).await.json();
    let targets = history["data"].as_array().unwrap();
    let by = |target: &Value| (target["by"].clone(), target["by_account"].clone());
    assert_eq!(by(&targets[0]), (json!(key_id), json!(ada.id)));
    assert_eq!(by(&targets[1]), (Value::Null, json!(ada.id)));

    // What changes nothing is no change.
    people.by_key(&key, Method::PATCH, &path, &change).await;
    assert_eq!(people.call(&ada, Method::DELETE, &path, &Value::Null).await.status, 204);
    let restore = format!("{path}/restore");
    assert_eq!(people.call(&ada, Method::POST, &restore, &Value::Null).await.status, 200);
    let object = format!("link:{}", id(&made));
    let page = people.get(&ada, &format!("/audit?object={object}")).await.json();
    let entries = page["data"].as_array().unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["link.restore", "link.delete", "link.change", "link.create"]);
    let change = &entries[2];
    assert_eq!((&change["account_id"], &change["key_id"]), (&json!(ada.id), &json!(key_id)));
    assert_eq!(
        change["detail"],
        json!({
            "code": "a", "changed": ["url", "title"],
            "url": {"from": "https://example.com/1", "to": "https://example.com/2"},
        })
    );
    assert_eq!(entries[3]["detail"], json!({"code": "a", "url": "https://example.com/1"}));
    assert_eq!(entries[3]["at"], "2026-01-01T00:00:00Z");
    assert_eq!(entries[3]["request"], made.headers["x-request-id"].to_str().unwrap());
}

#[tokio::test]
async fn the_log_is_paged_filtered_and_safe_in_a_spreadsheet() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let viewer = people.member("vic@example.com", "viewer").await;
    for n in 0..5 {
        let link = json!({"url": format!("https://example.com/{n}")});
        people.call(&ada, Method::POST, "/links", &link).await;
    }
    let (mut path, mut seen) = ("/audit?action=link.create&limit=2".to_owned(), 0);
    loop {
        let page = people.get(&ada, &path).await.json();
        seen += page["data"].as_array().unwrap().len();
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        // Another list's cursor is refused.
        let other = people.get(&ada, &format!("/audit?cursor={cursor}")).await;
        assert_eq!(other.status, 400);
        path = format!("/audit?action=link.create&limit=2&cursor={cursor}");
    }
    assert_eq!(seen, 5);
    assert_eq!(people.get(&viewer, "/audit").await.status, 403);
    for bad in ["limit=0", "limit=1001", "from=x", "account_id=x", "nothing=1"] {
        assert_eq!(people.get(&ada, &format!("/audit?{bad}")).await.status, 400, "{bad}");
    }
    let made = people.call(&ada, Method::POST, "/workspaces", &json!({"name": "=1+1"})).await;
    let there = Person { workspace: Some(id(&made)), ..ada.clone() };
    let csv = people.get(&there, "/audit?format=csv").await;
    assert!(csv.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
    let lines: Vec<&str> = csv.body.lines().collect();
    assert_eq!(lines.len(), 2, "{}", csv.body);
    assert!(lines[0].starts_with("id,at,workspace_id,account_id,key_id,action,object"));
    assert!(!csv.body.contains(",="), "{}", csv.body);
    // The operator sees everybody's, and a workspace its own.
    let all = people.operator(Method::GET, "/v1/audit?limit=1000", &Value::Null).await.json();
    assert!(all["data"].as_array().unwrap().len() > 6, "{all}");
    assert_eq!(people.actions(&there).await, ["workspace.create"]);
}

#[tokio::test]
async fn somebody_is_invited_accepts_once_and_is_let_go() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let made = people.call(&ada, Method::POST, "/workspaces", &json!({"name": "Team"})).await;
    let team = id(&made);
    let ada = Person { workspace: Some(team.clone()), ..ada };
    let bob = people.member("bob@example.com", "viewer").await;
    let eve = people.member("eve@example.com", "viewer").await;

    for bad in [
        json!({"email": "x", "role": "viewer"}),
        json!({"email": "b@example.com", "role": "owner"}),
        json!({"email": "b@example.com", "role": "viewer", "workspace_id": "1"}),
    ] {
        let refused = people.call(&ada, Method::POST, "/invitations", &bad).await;
        assert_eq!(refused.status, 422, "{}", refused.body);
    }
    let body = json!({"email": "Bob@Example.com", "role": "editor"});
    let invited = people.call(&ada, Method::POST, "/invitations", &body).await;
    assert_eq!(invited.status, 201, "{}", invited.body);
    let link = invited.json()["link"].as_str().unwrap().to_owned();
    let token = link.strip_prefix("https://admin.example/invitation#").unwrap();
    let listed = people.get(&ada, "/invitations").await;
    assert!(!listed.body.contains(token) && listed.body.contains("bob@example.com"));

    let accept = json!({"token": token});
    let stranger = people.call(&eve, Method::POST, "/invitations/accept", &accept).await;
    assert_eq!(stranger.status, 409, "{}", stranger.body);
    let bad = json!({"token": "x"});
    assert_eq!(people.call(&bob, Method::POST, "/invitations/accept", &bad).await.status, 404);
    let accepted = people.call(&bob, Method::POST, "/invitations/accept", &accept).await;
    assert_eq!(accepted.status, 200, "{}", accepted.body);
    assert_eq!(accepted.json()["role"], "editor");
    assert_eq!(people.call(&bob, Method::POST, "/invitations/accept", &accept).await.status, 404);
    people.clock.advance(Duration::from_secs(120));
    assert_eq!(people.call(&ada, Method::POST, "/invitations", &body).await.status, 409);

    // An editor sees who is there, without addresses; a role counts for the next request.
    let there = Person { workspace: Some(team.clone()), ..bob.clone() };
    let members = people.get(&there, "/members").await;
    assert_eq!(members.json()["data"].as_array().unwrap().len(), 2);
    assert!(!members.body.contains("example.com"), "{}", members.body);
    assert!(people.get(&ada, "/members").await.body.contains("bob@example.com"));
    let body = json!({"url": "https://example.com/"});
    assert_eq!(people.call(&there, Method::POST, "/links", &body).await.status, 201);
    let path = format!("/members/{}", bob.id);
    let role = async |role: &str| {
        people.call(&ada, Method::PATCH, &path, &json!({"role": role})).await.status
    };
    assert_eq!(role("viewer").await, 204);
    assert_eq!(people.call(&there, Method::POST, "/links", &body).await.status, 403);
    assert_eq!(role("admin").await, 204);
    let key = people
        .call(&there, Method::POST, "/keys", &json!({"name": "k", "scopes": ["links:read"]}))
        .await;
    assert_eq!(key.status, 201, "{}", key.body);
    let key = key.json()["key"].as_str().unwrap().to_owned();
    let by_key = async || people.by_key(&key, Method::GET, "/links", &Value::Null).await.status;
    assert_eq!(by_key().await, 200);
    // An admin neither makes owners nor decides about them.
    let owner = format!("/members/{}", ada.id);
    for (path, body) in [(&path, json!({"role": "owner"})), (&owner, json!({"role": "viewer"}))] {
        assert_eq!(people.call(&there, Method::PATCH, path, &body).await.status, 409);
    }
    assert_eq!(people.call(&there, Method::DELETE, &owner, &Value::Null).await.status, 409);

    // Out of this workspace with all keys, and still in the other.
    assert_eq!(people.call(&ada, Method::DELETE, &path, &Value::Null).await.status, 204);
    assert_eq!(by_key().await, 401);
    assert_eq!(people.get(&there, "/links").await.status, 404);
    assert_eq!(people.get(&bob, "/links").await.status, 200);
    let actions = people.actions(&ada).await;
    for action in ["invitation.create", "invitation.accept", "member.change", "member.remove"] {
        assert!(actions.iter().any(|of| of == action), "{action} is not in {actions:?}");
    }
}

#[tokio::test]
async fn a_key_gives_no_role_that_can_do_more_than_it() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let bob = people.member("bob@example.com", "viewer").await;
    let reads = ["links:read", "stats:read", "domains:read", "members:read", "members:write"];
    let key = async |body: Value| {
        let made = people.call(&ada, Method::POST, "/keys", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.json()["key"].as_str().unwrap().to_owned()
    };
    let alone = key(json!({"name": "k", "scopes": ["members:write"]})).await;
    let viewers = key(json!({"name": "k", "scopes": reads})).await;
    let bob = format!("/members/{}", bob.id);
    let invite = |role: &str, n: u32| json!({"email": format!("x{n}@example.com"), "role": role});
    for (n, (key, role, status)) in
        [(&alone, "viewer", 403), (&viewers, "admin", 403), (&viewers, "editor", 403)]
            .into_iter()
            .enumerate()
    {
        let body = invite(role, u32::try_from(n).unwrap());
        let invited = people.by_key(key, Method::POST, "/invitations", &body).await;
        assert_eq!(invited.status, status, "{role}: {}", invited.body);
        assert_eq!(invited.json()["code"], "insufficient-scope");
        let changed = people.by_key(key, Method::PATCH, &bob, &json!({"role": role})).await;
        assert_eq!(changed.status, status, "{role}: {}", changed.body);
    }
    let body = invite("viewer", 9);
    assert_eq!(people.by_key(&viewers, Method::POST, "/invitations", &body).await.status, 201);
}

/// Whoever is out does not come back by an invitation of their own.
#[tokio::test]
async fn an_invitation_ends_with_whoever_invited() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let bob = people.member("bob@example.com", "admin").await;
    let second = people.member("second@example.com", "viewer").await;
    let made = people.call(&ada, Method::POST, "/workspaces", &json!({"name": "Team"})).await;
    let team = id(&made);
    let ada = Person { workspace: Some(team.clone()), ..ada };
    let link = async |by: &Person, email: &str, role: &str| {
        people.clock.advance(Duration::from_secs(120));
        let body = json!({"email": email, "role": role});
        let invited = people.call(by, Method::POST, "/invitations", &body).await;
        assert_eq!(invited.status, 201, "{}", invited.body);
        let link = invited.json()["link"].as_str().unwrap().to_owned();
        link.split_once('#').unwrap().1.to_owned()
    };
    let accept = async |who: &Person, token: &str| {
        let body = json!({"token": token});
        people.call(who, Method::POST, "/invitations/accept", &body).await.status
    };
    let token = link(&ada, "bob@example.com", "admin").await;
    assert_eq!(accept(&bob, &token).await, 200);
    let there = Person { workspace: Some(team), ..bob.clone() };
    let own = link(&there, "second@example.com", "admin").await;
    let path = format!("/members/{}", bob.id);
    let demoted = people.call(&ada, Method::PATCH, &path, &json!({"role": "editor"})).await;
    assert_eq!(demoted.status, 204, "{}", demoted.body);
    assert_eq!(accept(&second, &own).await, 404, "who invited may not any more");
    assert_eq!(people.get(&ada, "/invitations").await.json()["data"], json!([]));
    assert_eq!(people.call(&ada, Method::DELETE, &path, &Value::Null).await.status, 204);
    assert_eq!(accept(&second, &own).await, 404, "who invited is out");
}

#[tokio::test]
async fn an_invitation_ends_by_time_by_hand_and_by_a_newer_one() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let made = people.call(&ada, Method::POST, "/workspaces", &json!({"name": "Team"})).await;
    let ada = Person { workspace: Some(id(&made)), ..ada };
    let bob = people.member("bob@example.com", "viewer").await;
    let invite = async || {
        let body = json!({"email": "bob@example.com", "role": "viewer"});
        let made = people.call(&ada, Method::POST, "/invitations", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let link = made.json()["link"].as_str().unwrap().to_owned();
        (id(&made), link.split_once('#').unwrap().1.to_owned())
    };
    let accept = async |token: &str| {
        let body = json!({"token": token});
        people.call(&bob, Method::POST, "/invitations/accept", &body).await.status
    };
    let (first, token) = invite().await;
    let path = format!("/invitations/{first}");
    assert_eq!(people.call(&ada, Method::DELETE, &path, &Value::Null).await.status, 204);
    assert_eq!(people.call(&ada, Method::DELETE, &path, &Value::Null).await.status, 404);
    assert_eq!(accept(&token).await, 404);
    people.clock.advance(Duration::from_secs(120));
    let (_, older) = invite().await;
    people.clock.advance(Duration::from_secs(120));
    let (_, newer) = invite().await;
    assert_eq!(accept(&older).await, 404);
    assert_eq!(people.get(&ada, "/invitations").await.json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(accept(&newer).await, 200);
}

#[tokio::test]
async fn a_workspace_keeps_an_owner_whoever_goes_at_once() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let bob = people.member("bob@example.com", "owner").await;
    let mine = people.get(&ada, "/workspaces").await.json();
    let team = mine["data"][0]["id"].as_str().unwrap();
    let leave = format!("/workspaces/{team}/leave");
    // Fifty at once, of two owners: one goes.
    let people = Arc::new(people);
    let mut tries = tokio::task::JoinSet::new();
    for n in 0..50 {
        let person = if n % 2 == 0 { ada.clone() } else { bob.clone() };
        let (people, leave) = (Arc::clone(&people), leave.clone());
        tries.spawn(async move {
            people.call(&person, Method::POST, &leave, &Value::Null).await.status.as_u16()
        });
    }
    let mut statuses = tries.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [204, 404, 409].contains(status)), "{statuses:?}");
    let is_adas = people.get(&ada, "/members").await.status == 200;
    let (left, gone) = if is_adas { (&ada, &bob) } else { (&bob, &ada) };
    assert_eq!(people.get(gone, "/members").await.status, 404);
    let path = format!("/members/{}", left.id);
    let refused = people.call(left, Method::PATCH, &path, &json!({"role": "admin"})).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(people.call(left, Method::DELETE, &path, &Value::Null).await.status, 409);
}

#[tokio::test]
async fn a_workspace_is_made_renamed_handed_over_and_deleted() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let bob = people.member("bob@example.com", "viewer").await;
    let mine = people.get(&ada, "/workspaces").await.json();
    let first = format!("/workspaces/{}", mine["data"][0]["id"].as_str().unwrap());
    assert_eq!(mine["data"][0]["role"], "owner");
    for bad in [json!({"name": " "}), json!({"name": "a\nb"}), json!({"name": "a", "owner": "1"})] {
        let refused = people.call(&ada, Method::POST, "/workspaces", &bad).await;
        assert_eq!(refused.status, 422, "{}", refused.body);
    }
    let made = people.call(&ada, Method::POST, "/workspaces", &json!({"name": " Team "})).await;
    assert_eq!(made.json()["name"], "Team");
    let path = format!("/workspaces/{}", id(&made));
    let there = Person { workspace: Some(id(&made)), ..ada.clone() };
    // A stranger's are not there at all.
    for (method, path) in [
        (Method::PATCH, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/leave")),
    ] {
        let body = json!({"name": "x"});
        assert_eq!(
            people.call(&bob, method.clone(), &path, &body).await.status,
            404,
            "{method} {path}"
        );
    }
    let renamed = people.call(&ada, Method::PATCH, &path, &json!({"name": "Crew"})).await;
    assert_eq!(renamed.json()["name"], "Crew");
    // Only a member can be handed it.
    let transfer = format!("{path}/transfer");
    let to = json!({"account_id": bob.id});
    assert_eq!(people.call(&ada, Method::POST, &transfer, &to).await.status, 404);
    // The installation's own stays, and who may not is told so.
    assert_eq!(people.call(&ada, Method::DELETE, &first, &Value::Null).await.status, 409);
    assert_eq!(people.call(&bob, Method::DELETE, &first, &Value::Null).await.status, 403);
    let to_bob = format!("{first}/transfer");
    assert_eq!(people.call(&bob, Method::POST, &to_bob, &to).await.status, 403);
    assert_eq!(people.call(&ada, Method::POST, &to_bob, &to).await.status, 204);
    assert_eq!(people.call(&ada, Method::PATCH, &first, &json!({"name": "x"})).await.status, 403);
    assert_eq!(people.call(&bob, Method::PATCH, &first, &json!({"name": "x"})).await.status, 200);

    it_is_deleted(&people, ada, there, &path).await;
}

/// By its name, by somebody who just said who they are; its links are gone then.
async fn it_is_deleted(people: &People, ada: Person, there: Person, path: &str) {
    let link = people
        .call(&there, Method::POST, "/links", &json!({"url": "https://example.com/", "code": "z"}))
        .await;
    assert_eq!(link.status, 201, "{}", link.body);
    let domain = link.json()["domain"].clone();
    assert_eq!(domain, "go.example");
    assert_eq!(people.call(&ada, Method::DELETE, path, &Value::Null).await.status, 409);
    assert_eq!(
        people
            .call(&ada, Method::DELETE, &format!("{path}?confirm=Team"), &Value::Null)
            .await
            .status,
        409
    );
    people.clock.advance(Duration::from_secs(601));
    let old =
        people.call(&ada, Method::DELETE, &format!("{path}?confirm=Crew"), &Value::Null).await;
    assert_eq!(
        (old.status.as_u16(), &old.json()["code"]),
        (403, &json!("reauthentication-required"))
    );
    let confirm = json!({"password": PASSWORD});
    let fresh = people.call(&ada, Method::POST, "/sessions/current/confirm", &confirm).await;
    let ada = match fresh.headers.get("set-cookie") {
        Some(cookie) => {
            let token = cookie.to_str().unwrap().split_once('=').unwrap().1;
            Person { token: token.split_once(';').unwrap().0.to_owned(), ..ada }
        }
        None => ada,
    };
    let gone =
        people.call(&ada, Method::DELETE, &format!("{path}?confirm=Crew"), &Value::Null).await;
    assert_eq!(gone.status, 204, "{}", gone.body);
    assert_eq!(
        people.get(&Person { token: ada.token.clone(), ..there }, "/links").await.status,
        404
    );
    // Its links become tombstones, without a place among those that are not served for ever.
    for _ in 0..1000 {
        if people.app.disabled_workspaces().await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(people.app.disabled_workspaces().await.unwrap(), []);
    let domain = people.app.domains()[0].id;
    let route = people.app.resolve(domain, &"z".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(route.state, carom_shared::RouteState::Deleted);
}

#[tokio::test]
async fn an_operator_takes_a_workspace_out_of_service_and_brings_it_back() {
    let people = People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let key = people.operator(Method::POST, "/v1/keys", &json!({"name": "k"})).await;
    let key = key.json()["key"].as_str().unwrap().to_owned();
    let list = people.operator(Method::GET, "/v1/workspaces", &Value::Null).await.json();
    let team = list["data"][0]["id"].as_str().unwrap().to_owned();
    let body = json!({"url": "https://example.com/"});
    let statuses = async || {
        let make = people.call(&ada, Method::POST, "/links", &body).await.status.as_u16();
        let by_key = people.by_key(&key, Method::POST, "/links", &body).await.status.as_u16();
        let read = people.get(&ada, "/links").await.status.as_u16();
        let disabled = people.app.bundle().await.unwrap().disabled_workspaces.len();
        (make, by_key, read, disabled)
    };
    assert_eq!(statuses().await, (201, 201, 200, 0));
    for (what, expected) in [("disable", (403, 403, 200, 1)), ("enable", (201, 201, 200, 0))] {
        let path = format!("/v1/workspaces/{team}/{what}");
        let done = people.operator(Method::POST, &path, &json!({})).await;
        assert_eq!(done.status, 200, "{}", done.body);
        assert_eq!(statuses().await, expected, "{what}");
    }
    assert_eq!(
        people.operator(Method::POST, "/v1/workspaces/1/disable", &json!({})).await.status,
        404
    );
}

#[tokio::test]
async fn who_was_invited_makes_an_account_with_the_link() {
    let people = People::new().await;
    let nobody = Person { id: String::new(), token: String::new(), workspace: None };
    let ada = people.member("ada@example.com", "owner").await;
    let bob = people.member("bob@example.com", "admin").await;
    let invite = async |by: &Person, email: &str| {
        let body = json!({"email": email, "role": "editor"});
        let made = people.call(by, Method::POST, "/invitations", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.json()["link"].as_str().unwrap().split_once('#').unwrap().1.to_owned()
    };
    let register = async |token: &str, password: &str| {
        let body = json!({"token": token, "name": "Cleo", "password": password});
        people.call(&nobody, Method::POST, "/invitations/register", &body).await
    };
    // Nobody makes accounts here but operators: the first account is one, an admin is none.
    let token = invite(&bob, "cleo@example.com").await;
    let closed = register(&token, PASSWORD).await;
    assert_eq!((closed.status.as_u16(), &closed.json()["code"]), (409, &"conflict".into()));
    people.clock.advance(Duration::from_secs(3600));

    let token = invite(&ada, "cleo@example.com").await;
    assert_eq!(register("x", PASSWORD).await.status, 422);
    assert_eq!(register(&token, "password password").await.status, 422);
    let made = register(&token, PASSWORD).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.json()["account"]["email"], "cleo@example.com");
    let cookie = made.headers["set-cookie"].to_str().unwrap();
    let cookie = cookie.split_once('=').unwrap().1.split_once(';').unwrap().0.to_owned();
    let cleo = Person { id: String::new(), token: cookie, workspace: None };
    let mine = people.get(&cleo, "/workspaces").await.json();
    assert_eq!(mine["data"][0]["role"], "editor", "{mine}");
    people.clock.advance(Duration::from_secs(3600));
    assert_eq!(register(&token, PASSWORD).await.status, 422, "once");

    // Somebody who has an account signs in.
    let made = people.call(&ada, Method::POST, "/workspaces", &json!({"name": "Team"})).await;
    let there = Person { workspace: Some(id(&made)), ..ada.clone() };
    let token = invite(&there, "bob@example.com").await;
    assert_eq!(register(&token, PASSWORD).await.status, 409);
    let log = people.get(&ada, "/audit?action=invitation.create").await.json();
    assert_eq!(log["data"][0]["detail"]["by"], "link", "{log}");
    let log = people.get(&ada, "/audit?action=invitation.accept").await.json();
    assert_eq!(log["data"][0]["detail"]["new_account"], true, "{log}");
}
