//! Signing in by a provider: one of the test's own, which signs real tokens, and false ones when it is
//! told to.

mod provider;

use super::*;
use carom_shared::Clock as _;
use provider::{CLIENT, Provider, SECRET, Twist};
use url::Url;

const COOKIE_OIDC: &str = "__Host-carom_oidc";

/// A browser with both cookies.
#[derive(Clone, Default)]
struct Visitor {
    session: Option<String>,
    question: Option<String>,
}

impl Visitor {
    async fn send(&mut self, app: &App, request: http::request::Builder, body: &Value) -> Answer {
        let pairs = [(COOKIE, &self.session), (COOKIE_OIDC, &self.question)];
        let pairs = pairs
            .iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")));
        let cookies = pairs.collect::<Vec<_>>().join("; ");
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = request.header("cookie", cookies).body(body).unwrap();
        let answer = send(api_router(app), request).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let (value, flags) = rest.split_once(';').unwrap();
            assert!(flags.starts_with(" Path=/; Secure; HttpOnly; SameSite=Lax"), "{flags}");
            let value = (!value.is_empty()).then(|| value.to_owned());
            match name {
                COOKIE => self.session = value,
                COOKIE_OIDC => self.question = value,
                other => panic!("{other}"),
            }
        }
        answer
    }

    async fn call(&mut self, app: &App, method: Method, path: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        let request = request.header("origin", ORIGIN).header("content-type", "application/json");
        self.send(app, request, body).await
    }

    /// Where a call sends the browser.
    async fn question(&mut self, app: &App, path: &str, body: &Value) -> Url {
        let answer = self.call(app, Method::POST, path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["authorization_url"].as_str().unwrap().parse().unwrap()
    }

    /// Comes back from the provider's own pages.
    async fn arrive(&mut self, app: &App, path: &str) -> Answer {
        let request = Request::get(path).header("sec-fetch-site", "cross-site");
        self.send(app, request, &Value::Null).await
    }

    /// The whole way.
    async fn sign_in(&mut self, app: &App, provider: &Provider) -> Answer {
        let url = self.question(app, "/oidc", &json!({})).await;
        let back = provider.authorize(&url);
        self.arrive(app, &back).await
    }

    async fn page(&mut self, app: &App, path: &str) -> String {
        let answer = self.send(app, Request::get(path), &Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    async fn email(&mut self, app: &App) -> Value {
        let account = self.call(app, Method::GET, "/account", &Value::Null).await;
        if account.status == 200 { account.json()["email"].clone() } else { Value::Null }
    }
}

async fn world(edit: impl Fn(&mut Config)) -> (World, Provider) {
    let provider = Provider::start(NOW).await;
    let world = World::with(|config| {
        let oidc = &mut config.accounts.oidc;
        oidc.issuer.clone_from(&provider.issuer);
        oidc.client_id = CLIENT.into();
        oidc.client_secret = SECRET.into();
        oidc.label = "Example ID".into();
        oidc.trust_email = true;
        config.accounts.password_memory_kib = 7168;
        config.accounts.password_iterations = 5;
        edit(config);
    })
    .await;
    (world, provider)
}

fn is_in(answer: &Answer) -> bool {
    answer.status == 303 && answer.headers["location"] == "/"
}

#[tokio::test]
async fn a_person_is_found_by_what_the_provider_calls_them() {
    let (world, provider) = world(|config| config.accounts.registration = Registration::Open).await;
    let app = &world.app;
    world.person(EMAIL).await;
    let page = Visitor::default()
        .send(app, Request::get("/sign-in").header("accept-encoding", "identity"), &Value::Null)
        .await;
    assert!(page.body.contains("Sign in with Example ID"), "{}", page.body);

    // An address that nobody has verified says nothing, and makes nothing.
    provider.says(json!({"sub": "1", "email": EMAIL, "email_verified": false}));
    let mut visitor = Visitor::default();
    let refused = visitor.sign_in(app, &provider).await;
    assert_eq!((refused.status.as_u16(), visitor.session.is_none()), (409, true));
    assert!(refused.body.contains("link the provider in your settings"), "{}", refused.body);

    // One that it has verified finds the account, once; from then on it is the subject that counts.
    provider.says(json!({"sub": "1", "email": "ADA@example.com", "email_verified": true}));
    assert!(is_in(&visitor.sign_in(app, &provider).await));
    assert_eq!((visitor.email(app).await, &visitor.question), (json!(EMAIL), &None));
    let letter = world.mail.next(EMAIL).await;
    assert!(letter.head.contains("in another way"), "{}", letter.head);
    provider.says(json!({"sub": "1", "email": "other@example.com", "email_verified": true}));
    let mut visitor = Visitor::default();
    assert!(is_in(&visitor.sign_in(app, &provider).await));
    assert_eq!(visitor.email(app).await, EMAIL);
    let list = visitor.call(app, Method::GET, "/account/identities", &Value::Null).await.json();
    assert_eq!(list["provider"]["label"], "Example ID");
    let identity = &list["data"][0];
    assert_eq!(
        (&identity["subject"], &identity["email"]),
        (&json!("1"), &json!("other@example.com"))
    );
    assert_eq!(list["data"].as_array().unwrap().len(), 1);

    // Who is new gets an account, where anybody may have one. Its name is what they are called.
    provider.says(
        json!({"sub": "2", "email": "new@example.com", "email_verified": true, "name": "Nia"}),
    );
    let mut visitor = Visitor::default();
    assert!(is_in(&visitor.sign_in(app, &provider).await));
    let account = visitor.call(app, Method::GET, "/account", &Value::Null).await.json();
    assert_eq!((&account["email"], &account["name"]), (&json!("new@example.com"), &json!("Nia")));

    // An address that stands at the provider's other door alone.
    provider.says(json!({"sub": "3"}));
    provider.user_info(json!({"sub": "3", "email": "door@example.com", "email_verified": true}));
    let mut visitor = Visitor::default();
    assert!(is_in(&visitor.sign_in(app, &provider).await));
    assert_eq!(visitor.email(app).await, "door@example.com");
    // Of somebody else it is not taken.
    provider.says(json!({"sub": "4"}));
    provider.user_info(json!({"sub": "3", "email": "door@example.com", "email_verified": true}));
    let mut visitor = Visitor::default();
    assert_ne!(visitor.sign_in(app, &provider).await.status, 303);
}

#[tokio::test]
async fn who_may_come_is_what_the_installation_says() {
    let (world, provider) = world(|config| {
        config.accounts.registration = Registration::Invitation;
    })
    .await;
    let app = &world.app;
    provider.says(json!({"sub": "1", "email": "guest@example.com", "email_verified": true}));
    assert_eq!(Visitor::default().sign_in(app, &provider).await.status, 409);
    let mut owner = world.signed_in(EMAIL).await;
    let body = json!({"email": "guest@example.com", "role": "viewer"});
    assert_eq!(owner.post(app, "/invitations", &body).await.status, 201);
    let mut visitor = Visitor::default();
    assert!(is_in(&visitor.sign_in(app, &provider).await));
    assert_eq!(visitor.email(app).await, "guest@example.com");
    // An account that is disabled stays so, by whatever way.
    let list = world.operator(Method::GET, "/v1/users", &Value::Null).await.json();
    let users = list["data"].as_array().unwrap();
    let guest = users.iter().find(|user| user["email"] == "guest@example.com").unwrap();
    let path = format!("/v1/users/{}/disable", guest["id"].as_str().unwrap());
    assert_eq!(world.operator(Method::POST, &path, &json!({})).await.status, 200);
    assert_eq!(Visitor::default().sign_in(app, &provider).await.status, 401);
}

/// A provider whose word on addresses is not taken signs in whom it was linked with.
#[tokio::test]
async fn an_identity_is_linked_by_who_is_signed_in() {
    let (world, provider) = world(|config| {
        config.accounts.registration = Registration::Open;
        config.accounts.oidc.trust_email = false;
    })
    .await;
    let app = &world.app;
    provider.says(json!({"sub": "1", "email": EMAIL, "email_verified": true}));
    let ada = world.signed_in(EMAIL).await;
    assert_eq!(Visitor::default().sign_in(app, &provider).await.status, 409);

    let mut visitor = Visitor { session: ada.token.clone(), question: None };
    let url = visitor.question(app, "/account/identities", &Value::Null).await;
    let back = provider.authorize(&url);
    // Somebody who sends their own answer to others links nothing: it is another browser.
    let mut ben =
        Visitor { session: world.signed_in("ben@example.com").await.token, question: None };
    assert_eq!(ben.arrive(app, &back).await.status, 401);
    let url = visitor.question(app, "/account/identities", &Value::Null).await;
    let before = visitor.session.clone();
    let linked = visitor.arrive(app, &provider.authorize(&url)).await;
    assert_eq!(
        (linked.status.as_u16(), &linked.headers["location"]),
        (303, &"/settings".parse().unwrap())
    );
    assert_ne!(visitor.session, before, "the session has a new token");
    let mut other = Visitor::default();
    assert!(is_in(&other.sign_in(app, &provider).await));
    assert_eq!(other.email(app).await, EMAIL);

    // It is nobody else's from then on.
    let url = ben.question(app, "/account/identities", &Value::Null).await;
    assert_eq!(ben.arrive(app, &provider.authorize(&url)).await.status, 409);

    // What signs in alone stays; beside a password it can go.
    let list = visitor.call(app, Method::GET, "/account/identities", &Value::Null).await.json();
    let path = format!("/account/identities/{}", list["data"][0]["id"].as_str().unwrap());
    let page = visitor.page(app, "/settings/profile").await;
    for shown in [
        &format!("data-call=\"DELETE /api/v1{path}\""),
        "Link an identity of Example ID",
        "Show it to Example ID instead",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert_eq!(ben.call(app, Method::DELETE, &path, &Value::Null).await.status, 404);
    assert_eq!(visitor.call(app, Method::DELETE, &path, &Value::Null).await.status, 204);
    assert_eq!(Visitor::default().sign_in(app, &provider).await.status, 409);
    assert_eq!(other.email(app).await, Value::Null, "other sessions end");

    let audit = world.operator(Method::GET, "/v1/audit", &Value::Null).await.body;
    for action in ["account.identity_add", "account.identity_remove"] {
        assert!(audit.contains(action), "{action}");
    }
}

#[tokio::test]
async fn the_only_way_in_stays() {
    let (world, provider) = world(|config| config.accounts.registration = Registration::Open).await;
    let app = &world.app;
    provider.says(json!({"sub": "1", "email": EMAIL, "email_verified": true}));
    let mut visitor = Visitor::default();
    assert!(is_in(&visitor.sign_in(app, &provider).await));
    let list = visitor.call(app, Method::GET, "/account/identities", &Value::Null).await.json();
    let path = format!("/account/identities/{}", list["data"][0]["id"].as_str().unwrap());
    let refused = visitor.call(app, Method::DELETE, &path, &Value::Null).await;
    assert_eq!(refused.status, 409, "{}", refused.body);

    // Who has no password shows once more who they are by the provider, which has to ask anew.
    world.pass(Duration::from_mins(11));
    provider.at(world.clock.now());
    assert_eq!(visitor.call(app, Method::DELETE, &path, &Value::Null).await.status, 403);
    let confirm = "/sessions/current/confirm-by-provider";
    for (auth_time, status) in [(None, 401), (Some(-660), 401), (Some(0), 303)] {
        let mut claims = json!({"sub": "1"});
        if let Some(ago) = auth_time {
            claims["auth_time"] = (world.clock.now().as_secs() + ago).into();
        }
        provider.says(claims);
        let url = visitor.question(app, confirm, &Value::Null).await;
        assert!(url.query().unwrap().contains("max_age=0"), "{url}");
        let answer = visitor.arrive(app, &provider.authorize(&url)).await;
        assert_eq!(answer.status, status, "{auth_time:?}: {}", answer.body);
    }
    assert_eq!(visitor.call(app, Method::DELETE, &path, &Value::Null).await.status, 409);
    // Somebody else's identity confirms nothing.
    provider.says(json!({"sub": "2", "auth_time": world.clock.now().as_secs()}));
    let url = visitor.question(app, confirm, &Value::Null).await;
    assert_eq!(visitor.arrive(app, &provider.authorize(&url)).await.status, 409);
}

/// Where no mail is sent, too: there is no other way to a password than this one.
#[tokio::test]
async fn who_has_no_password_sets_one() {
    let (world, provider) = world(|config| {
        config.accounts.registration = Registration::Open;
        config.mail.url = String::new();
    })
    .await;
    let app = &world.app;
    provider.says(json!({"sub": "1", "email": EMAIL, "email_verified": true}));
    let mut visitor = Visitor::default();
    assert!(is_in(&visitor.sign_in(app, &provider).await));
    let made = visitor.call(app, Method::POST, "/workspaces", &json!({"name": "Mine"})).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let mut other = Visitor::default();
    assert!(is_in(&other.sign_in(app, &provider).await));
    let page = visitor.page(app, "/settings/profile").await;
    assert!(page.contains("Set the password") && !page.contains("current_password"), "{page}");

    let path = "/account/password";
    let body = json!({"password": PASSWORD});
    let weak = json!({"password": "password password"});
    assert_eq!(visitor.call(app, Method::POST, path, &weak).await.status, 422);
    world.pass(Duration::from_mins(11));
    let stale = visitor.call(app, Method::POST, path, &body).await;
    assert_eq!(stale.json()["code"], "reauthentication-required");
    provider.at(world.clock.now());
    provider.says(json!({"sub": "1", "auth_time": world.clock.now().as_secs()}));
    let url = visitor.question(app, "/sessions/current/confirm-by-provider", &Value::Null).await;
    assert_eq!(visitor.arrive(app, &provider.authorize(&url)).await.status, 303);
    let set = visitor.call(app, Method::POST, path, &body).await;
    assert_eq!(set.status, 204, "{}", set.body);
    assert_eq!(visitor.email(app).await, EMAIL);
    assert_eq!(other.email(app).await, Value::Null, "other sessions end");
    assert_eq!(Browser::new().sign_in(app, EMAIL, PASSWORD).await.status, 201);
    // From now on the one of before is asked for.
    let again = visitor.call(app, Method::POST, path, &body).await;
    assert_eq!(again.json()["code"], "wrong-login");
    let page = visitor.page(app, "/settings/profile").await;
    assert!(page.contains("current_password"), "{page}");
}

#[tokio::test]
async fn the_second_factor_is_asked_for_after_the_provider_too() {
    let (world, provider) = world(|_| {}).await;
    let app = &world.app;
    let (mut owner, device, _) = super::factor::with_factor(&world).await;
    provider.at(world.clock.now());
    provider.says(json!({"sub": "1", "email": EMAIL, "email_verified": true}));
    let mut visitor = Visitor::default();
    let answer = visitor.sign_in(app, &provider).await;
    assert_eq!((answer.status.as_u16(), visitor.session.is_none()), (303, true));
    let location = answer.headers["location"].to_str().unwrap();
    let ticket = location.strip_prefix("/sign-in#ticket=").unwrap();
    // An address alone links nothing with an account that asks for more.
    let identities = owner.get(app, "/account/identities").await.json();
    assert_eq!(identities["data"], json!([]));
    let body = json!({"ticket": ticket, "code": device.code(&world, 0)});
    let signed = visitor.call(app, Method::POST, "/sessions/second-factor", &body).await;
    assert_eq!(signed.status, 201, "{}", signed.body);
    assert_eq!(visitor.email(app).await, EMAIL);
}

#[tokio::test]
async fn what_is_false_signs_nobody_in() {
    let (world, provider) = world(|config| config.accounts.registration = Registration::Open).await;
    let app = &world.app;
    provider.says(json!({"sub": "1", "email": EMAIL, "email_verified": true}));
    for twist in Twist::ALL {
        // The limit of ways to the provider is another test's.
        world.pass(Duration::from_mins(1));
        provider.at(world.clock.now());
        provider.twist(twist);
        let mut visitor = Visitor::default();
        let answer = visitor.sign_in(app, &provider).await;
        let is_right = twist == Twist::None;
        assert_eq!(is_in(&answer), is_right, "{twist:?}: {} {}", answer.status, answer.body);
        assert_eq!(visitor.session.is_some(), is_right, "{twist:?}");
        assert!(!answer.body.contains("eyJ"), "no token is shown");
    }
    // Keys that changed are asked for again, though not for each token that is signed by none.
    provider.twist(Twist::None);
    provider.change_key();
    assert!(is_in(&Visitor::default().sign_in(app, &provider).await));
    provider.change_key();
    assert_eq!(Visitor::default().sign_in(app, &provider).await.status, 401);
    world.pass(Duration::from_secs(11));
    provider.at(world.clock.now());
    assert!(is_in(&Visitor::default().sign_in(app, &provider).await));
}

#[tokio::test]
async fn an_answer_belongs_to_one_question_of_one_browser() {
    let (world, provider) = world(|config| config.accounts.registration = Registration::Open).await;
    let app = &world.app;
    provider.says(json!({"sub": "1", "email": EMAIL, "email_verified": true}));
    let asked = async || {
        world.pass(Duration::from_mins(1));
        provider.at(world.clock.now());
        let mut visitor = Visitor::default();
        let url = visitor.question(app, "/oidc", &json!({})).await;
        (visitor, provider.authorize(&url))
    };
    let without = |back: &str, name: &str| {
        let (path, query) = back.split_once('?').unwrap();
        let kept = query.split('&').filter(|pair| !pair.starts_with(&format!("{name}=")));
        format!("{path}?{}", kept.collect::<Vec<_>>().join("&"))
    };

    let (mut visitor, back) = asked().await;
    let mut replayed = visitor.clone();
    assert!(is_in(&visitor.arrive(app, &back).await));
    assert_eq!(replayed.arrive(app, &back).await.status, 401, "a state works once");

    let (visitor, back) = asked().await;
    assert_eq!(Visitor::default().arrive(app, &back).await.status, 401, "no cookie");
    assert_eq!(visitor.clone().arrive(app, &without(&back, "state")).await.status, 401);
    let (other, _) = asked().await;
    assert_eq!(other.clone().arrive(app, &back).await.status, 401, "another browser's");
    assert_eq!(visitor.clone().arrive(app, &back).await.status, 401, "and used up by that");

    let (mut visitor, back) = asked().await;
    world.pass(Duration::from_mins(11));
    assert_eq!(visitor.arrive(app, &back).await.status, 401, "too late");

    // Mix-up: the answer is another provider's, or says so; or does not say what it promised to.
    let (mut visitor, back) = asked().await;
    let foreign = format!("{}&iss=https%3A%2F%2Fevil.example", without(&back, "iss"));
    assert_eq!(visitor.arrive(app, &foreign).await.status, 401);
    let (mut visitor, back) = asked().await;
    assert_eq!(visitor.arrive(app, &without(&back, "iss")).await.status, 401);
    // A code of another question is not redeemed: it is bound to that one's PKCE.
    let (mut visitor, back) = asked().await;
    let (_, others) = asked().await;
    let code = others.split(['?', '&']).find(|pair| pair.starts_with("code=")).unwrap();
    let mixed = format!("{}&{code}", without(&back, "code"));
    assert_eq!(visitor.arrive(app, &mixed).await.status, 401);
    let (mut visitor, back) = asked().await;
    let refused = format!("{}&error=access_denied", without(&back, "code"));
    assert_eq!(visitor.arrive(app, &refused).await.status, 401, "the person says no");
    assert!(visitor.session.is_none());

    // The database has nothing with which a question could be answered.
    let (visitor, back) = asked().await;
    let cookie = visitor.question.clone().unwrap();
    let state = back.split(['?', '&']).find_map(|pair| pair.strip_prefix("state=")).unwrap();
    let dump = dump(&world).await;
    assert!(!contains(&dump, &cookie) && !contains(&dump, state));

    // Other sites begin nothing.
    let request = Request::post("/api/v1/oidc").header("origin", "https://evil.example");
    let request = request.header("content-type", "application/json");
    let answer = Visitor::default().send(app, request, &json!({})).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn a_provider_that_is_away_stops_neither_the_start_nor_passwords() {
    let (world, _) = world(|config| {
        // Nobody listens there.
        config.accounts.oidc.issuer = "http://127.0.0.1:9".into();
    })
    .await;
    let mut browser = world.signed_in(EMAIL).await;
    assert_eq!(browser.status(&world.app).await, 200);
    let answer = Visitor::default().call(&world.app, Method::POST, "/oidc", &json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["code"].as_str()),
        (503, Some("provider-unavailable"))
    );
    assert!(answer.headers.contains_key("retry-after"));
}
