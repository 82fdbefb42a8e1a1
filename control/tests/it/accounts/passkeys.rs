//! Passkeys: an authenticator of the test's own, which signs what is right, and what is not when it is told
//! to.

mod authenticator;

use super::*;
use authenticator::{Authenticator, COPIED, Draft, MAY_BE_COPIED, PRESENT, VERIFIED};

const COOKIE_ASKING: &str = "__Host-carom_passkey";

/// A browser with both cookies.
#[derive(Clone, Default)]
struct Visitor {
    session: Option<String>,
    asking: Option<String>,
}

impl Visitor {
    async fn call(&mut self, app: &App, method: Method, path: &str, body: &Value) -> Answer {
        self.send(app, method, &format!("/api/v1{path}"), body).await
    }

    async fn page(&mut self, app: &App, path: &str) -> String {
        let answer = self.send(app, Method::GET, path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    async fn send(&mut self, app: &App, method: Method, path: &str, body: &Value) -> Answer {
        let pairs = [(COOKIE, &self.session), (COOKIE_ASKING, &self.asking)];
        let pairs = pairs
            .iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")));
        let cookies = pairs.collect::<Vec<_>>().join("; ");
        let request = Request::builder().method(method).uri(path).header("cookie", cookies);
        let request = request.header("origin", ORIGIN).header("content-type", "application/json");
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let answer = super::send(api_router(app), request.body(body).unwrap()).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let (value, flags) = rest.split_once(';').unwrap();
            let value = (!value.is_empty()).then(|| value.to_owned());
            let (site, place) = match name {
                COOKIE => ("Lax", &mut self.session),
                COOKIE_ASKING => ("Strict", &mut self.asking),
                other => panic!("{other}"),
            };
            let expected = format!(" Path=/; Secure; HttpOnly; SameSite={site}");
            assert!(flags.starts_with(&expected), "{flags}");
            *place = value;
        }
        answer
    }

    async fn post(&mut self, app: &App, path: &str, body: &Value) -> Answer {
        self.call(app, Method::POST, path, body).await
    }

    async fn options(&mut self, app: &App, path: &str) -> Value {
        let answer = self.post(app, path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Adds a passkey, as whoever is signed in.
    async fn add(&mut self, app: &App, edit: impl Fn(&mut Draft)) -> (Authenticator, Answer) {
        let options = self.options(app, "/account/passkeys/options").await;
        let mut device = Authenticator::new();
        let mut draft = device.make(&options);
        edit(&mut draft);
        let body = json!({"name": " Phone ", "credential": device.made(&draft)});
        let answer = self.post(app, "/account/passkeys", &body).await;
        (device, answer)
    }

    /// Signs in with what an authenticator is told to write.
    async fn sign_in(
        &mut self,
        app: &App,
        device: &mut Authenticator,
        edit: impl Fn(&mut Draft),
    ) -> Answer {
        let options = self.options(app, SIGN_IN_OPTIONS).await;
        let mut draft = device.show(&options);
        edit(&mut draft);
        self.post(app, SIGN_IN, &json!({"credential": device.shown(&draft)})).await
    }

    async fn email(&mut self, app: &App) -> Value {
        let account = self.call(app, Method::GET, "/account", &Value::Null).await;
        if account.status == 200 { account.json()["email"].clone() } else { Value::Null }
    }
}

const SIGN_IN: &str = "/sessions/passkey";
const SIGN_IN_OPTIONS: &str = "/sessions/passkey/options";
const CONFIRM: &str = "/sessions/current/confirm-by-passkey";
const CONFIRM_OPTIONS: &str = "/sessions/current/confirm-by-passkey/options";

fn as_it_is(_: &mut Draft) {}

/// Somebody who is signed in, with a passkey.
async fn with_passkey(world: &World, email: &str) -> (Visitor, Authenticator) {
    let browser = world.signed_in(email).await;
    let mut visitor = Visitor { session: browser.token, asking: None };
    let (device, added) = visitor.add(&world.app, as_it_is).await;
    assert_eq!(added.status, 201, "{}", added.body);
    let letter = world.mail.next(email).await;
    assert!(letter.head.contains("Subject: A passkey was added"), "{}", letter.head);
    (visitor, device)
}

/// The path of whoever is signed in's only passkey.
async fn path_of(visitor: &mut Visitor, app: &App) -> String {
    let list = visitor.call(app, Method::GET, "/account/passkeys", &Value::Null).await.json();
    format!("/account/passkeys/{}", list["data"][0]["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_passkey_is_added_and_signs_in_by_itself() {
    let world = World::new().await;
    let app = &world.app;
    let (browser, _, codes) = super::factor::with_factor(&world).await;
    let mut visitor = Visitor { session: browser.token, asking: None };
    let stale = visitor.post(app, "/account/passkeys/options", &Value::Null).await;
    assert_eq!(stale.status, 403, "it is long ago that it was shown who asks: {}", stale.body);
    let confirm = json!({"code": codes[0]});
    assert_eq!(visitor.post(app, "/sessions/current/confirm", &confirm).await.status, 204);

    let options = visitor.options(app, "/account/passkeys/options").await;
    assert_eq!(options["rp"], json!({"id": "admin.example", "name": "Carom"}));
    assert_eq!(options["user"]["name"], EMAIL);
    assert_eq!(options["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
    let before = visitor.clone();
    let (mut device, added) = visitor.add(app, as_it_is).await;
    assert_eq!(added.status, 201, "{}", added.body);
    let view = added.json();
    assert_eq!((&view["name"], &view["last_used_at"]), (&json!("Phone"), &Value::Null));
    assert_ne!(visitor.session, before.session, "the session has a new token");
    let letter = world.mail.next(EMAIL).await;
    assert!(letter.head.contains("Subject: A passkey was added"), "{}", letter.head);
    // Whoever has one already is told not to make a second one.
    let again = visitor.options(app, "/account/passkeys/options").await;
    let excluded = &again["excludeCredentials"][0];
    assert_eq!(excluded["transports"], json!(["internal", "hybrid", "something-new"]));

    // It stands for both factors: no code is asked for.
    let mut stranger = Visitor::default();
    let signed = stranger.sign_in(app, &mut device, as_it_is).await;
    assert_eq!(signed.status, 201, "{}", signed.body);
    assert_eq!(stranger.asking, None, "that cookie is gone");
    assert_eq!(stranger.email(app).await, EMAIL);
    let sessions = stranger.call(app, Method::GET, "/sessions", &Value::Null).await.json();
    let all = sessions["data"].as_array().unwrap();
    let current = all.iter().find(|session| session["current"] == true).unwrap();
    assert_eq!((&current["second_factor"], all.len()), (&json!(true), 2));
    let list = stranger.call(app, Method::GET, "/account/passkeys", &Value::Null).await.json();
    assert_eq!((&list["available"], list["data"].as_array().unwrap().len()), (&json!(true), 1));
    assert!(list["data"][0]["last_used_at"].is_string());
    // The next change ends the other sessions, as every one does.
    let (_, added) = visitor.add(app, as_it_is).await;
    assert_eq!((added.status.as_u16(), stranger.email(app).await), (201, Value::Null));

    let page = Visitor::default().page(app, "/sign-in").await;
    assert!(page.contains("username webauthn") && page.contains("passkey.js"), "{page}");
    let page = visitor.page(app, "/settings/second-factor").await;
    for shown in ["Phone", "DELETE /api/v1/account/passkeys/", "confirm-by-passkey"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let audit = world.operator(Method::GET, "/v1/audit", &Value::Null).await.body;
    assert!(audit.contains("account.passkey_add"), "{audit}");
    world.app.close().await;
}

type Edit = fn(&mut Draft);

#[tokio::test]
async fn what_is_false_signs_nobody_in() {
    let world = World::new().await;
    let app = &world.app;
    let (_, mut device) = with_passkey(&world, EMAIL).await;
    let stranger = Visitor::default().sign_in(app, &mut Authenticator::new(), as_it_is).await;
    assert_eq!(stranger.status, 401, "{}", stranger.body);
    let edits: [(&str, Edit); 16] = [
        ("a registration's", |it| it.kind = "webauthn.create"),
        ("another challenge", |it| it.challenge = "A".repeat(43)),
        ("no challenge", |it| it.challenge.clear()),
        ("another origin", |it| it.origin = "https://evil.example".into()),
        ("another scheme", |it| it.origin = "http://admin.example".into()),
        ("another port", |it| it.origin = "https://admin.example:8443".into()),
        ("a frame of another site", |it| it.is_framed = true),
        ("another RP", |it| it.rp_id = "evil.example".into()),
        ("a part of the RP's host", |it| it.rp_id = "example".into()),
        ("nobody present", |it| it.flags &= !PRESENT),
        ("nobody verified", |it| it.flags &= !VERIFIED),
        ("copied, though that cannot be", |it| it.flags |= COPIED),
        ("it may be copied since", |it| it.flags |= MAY_BE_COPIED),
        ("another person's handle", |it| it.handle = Some("c29tZWJvZHkgZWxzZQ".into())),
        ("another signature", |it| it.is_spoilt = true),
        ("not base64url", |it| it.id.push('=')),
    ];
    for (what, edit) in edits {
        // The limit is another test's.
        world.pass(Duration::from_mins(1));
        let mut visitor = Visitor::default();
        let answer = visitor.sign_in(app, &mut device, edit).await;
        assert_eq!((answer.status.as_u16(), visitor.session.is_none()), (401, true), "{what}");
        let told = |answer: &Answer| {
            let mut problem = answer.json();
            problem["instance"] = Value::Null;
            problem
        };
        assert_eq!(told(&answer), told(&stranger), "{what}: as of a credential that is nobody's");
    }
    // A handle is no must (Web Authentication, 7.2); the credential says who it is.
    let signed = Visitor::default().sign_in(app, &mut device, |it| it.handle = None).await;
    assert_eq!(signed.status, 201, "{}", signed.body);
    assert_eq!(Visitor::default().sign_in(app, &mut device, as_it_is).await.status, 201);
    world.app.close().await;
}

#[tokio::test]
async fn a_challenge_is_for_one_answer_of_one_browser() {
    let world = World::new().await;
    let app = &world.app;
    let (mut ada, mut device) = with_passkey(&world, EMAIL).await;
    let asked = async |device: &mut Authenticator| {
        world.pass(Duration::from_mins(1));
        let mut visitor = Visitor::default();
        let options = visitor.options(app, SIGN_IN_OPTIONS).await;
        let draft = device.show(&options);
        (visitor, json!({"credential": device.shown(&draft)}))
    };
    let (mut visitor, body) = asked(&mut device).await;
    let mut replayed = visitor.clone();
    assert_eq!(visitor.post(app, SIGN_IN, &body).await.status, 201);
    assert_eq!(replayed.post(app, SIGN_IN, &body).await.status, 401, "it works once");

    let (visitor, body) = asked(&mut device).await;
    assert_eq!(Visitor::default().post(app, SIGN_IN, &body).await.status, 401, "no cookie");
    let (mut other, _) = asked(&mut device).await;
    assert_eq!(other.post(app, SIGN_IN, &body).await.status, 401, "another browser's");
    assert_eq!(visitor.clone().post(app, SIGN_IN, &body).await.status, 401, "used up by that");

    // A second tab, opened before the first one's challenge is answered.
    let (mut visitor, body) = asked(&mut device).await;
    let before = visitor.asking.clone();
    visitor.options(app, SIGN_IN_OPTIONS).await;
    assert_eq!(visitor.asking, before);
    assert_eq!(visitor.post(app, SIGN_IN, &body).await.status, 201);

    let (mut visitor, body) = asked(&mut device).await;
    world.pass(Duration::from_secs(299));
    assert_eq!(visitor.post(app, SIGN_IN, &body).await.status, 201);
    let (mut visitor, body) = asked(&mut device).await;
    world.pass(Duration::from_mins(5));
    assert_eq!(visitor.post(app, SIGN_IN, &body).await.status, 401, "too late");

    // One for one thing is not for another.
    let (_, body) = asked(&mut device).await;
    assert_eq!(ada.post(app, CONFIRM, &body).await.status, 401);
    let options = ada.options(app, CONFIRM_OPTIONS).await;
    let draft = device.show(&options);
    let body = json!({"credential": device.shown(&draft)});
    let (mut visitor, _) = asked(&mut device).await;
    assert_eq!(visitor.post(app, SIGN_IN, &body).await.status, 401);

    // The database has of a challenge its hash.
    let mut visitor = Visitor::default();
    let options = visitor.options(app, SIGN_IN_OPTIONS).await;
    let dump = dump(&world).await;
    for text in [options["challenge"].as_str().unwrap(), &visitor.asking.unwrap()] {
        assert!(!contains(&dump, text));
    }
    // Other sites begin nothing.
    let request = Request::post("/api/v1/sessions/passkey/options");
    let request = request.header("origin", "https://evil.example").body(Body::empty()).unwrap();
    assert_eq!(send(api_router(app), request).await.status, 403);
    world.app.close().await;
}

#[tokio::test]
async fn a_counter_does_not_go_back() {
    let world = World::new().await;
    let app = &world.app;
    let (mut ada, mut device) = with_passkey(&world, EMAIL).await;
    let mut at = async |counter: u32, is_spoilt: bool| {
        world.pass(Duration::from_mins(1));
        let edit = |it: &mut Draft| (it.counter, it.is_spoilt) = (counter, is_spoilt);
        Visitor::default().sign_in(app, &mut device, edit).await.status.as_u16()
    };
    // Not counting is right, until it counts.
    for (counter, status) in
        [(0, 201), (0, 201), (7, 201), (7, 401), (6, 401), (0, 401), (8, 201), (u32::MAX, 201)]
    {
        assert_eq!(at(counter, false).await, status, "{counter}");
    }
    let entries = async || {
        let audit = world.operator(Method::GET, "/v1/audit", &Value::Null).await.body;
        audit.matches("passkey_counter").count()
    };
    assert_eq!(entries().await, 3, "somebody may have a copy of it");
    // A number that nobody has signed is no sign of a copy.
    assert_eq!(at(1, true).await, 401);
    assert_eq!(entries().await, 3);
    assert_eq!(ada.email(app).await, EMAIL, "who is signed in stays so");
    world.app.close().await;
}

#[tokio::test]
async fn what_is_no_passkey_is_not_added() {
    let world = World::new().await;
    let app = &world.app;
    let (mut ada, mut device) = with_passkey(&world, EMAIL).await;
    let edits: [(&str, Edit); 9] = [
        ("nobody verified", |it| it.flags &= !VERIFIED),
        ("nobody present", |it| it.flags &= !PRESENT),
        ("another origin", |it| it.origin = "https://evil.example".into()),
        ("another RP", |it| it.rp_id = "evil.example".into()),
        ("a sign-in's", |it| it.kind = "webauthn.get"),
        ("another challenge", |it| it.challenge = "A".repeat(43)),
        ("an algorithm that was not asked for (ESP256)", |it| it.algorithm = 0x28),
        ("another credential's id", |it| it.id = "AAAA".into()),
        ("a frame of another site", |it| it.is_framed = true),
    ];
    for (what, edit) in edits {
        let (_, answer) = ada.add(app, edit).await;
        assert_eq!(answer.status, 422, "{what}: {}", answer.body);
        assert_eq!(answer.json()["errors"][0]["pointer"], "#/credential", "{what}");
    }
    // Without a session, or with another's challenge, or with one that was used.
    let mut ben = Visitor { session: world.signed_in("ben@example.com").await.token, asking: None };
    let options = ben.options(app, "/account/passkeys/options").await;
    let draft = device.make(&options);
    let body = json!({"name": "Phone", "credential": device.made(&draft)});
    assert_eq!(Visitor::default().post(app, "/account/passkeys", &body).await.status, 401);
    assert_eq!(ada.post(app, "/account/passkeys", &body).await.status, 422);
    assert_eq!(ben.post(app, "/account/passkeys", &body).await.status, 422, "used up by that");
    // A credential that is somebody's stays theirs.
    let options = ben.options(app, "/account/passkeys/options").await;
    let draft = device.make(&options);
    let body = json!({"name": "Phone", "credential": device.made(&draft)});
    assert_eq!(ben.post(app, "/account/passkeys", &body).await.status, 409);
    for name in ["", " ", "a\nb", &"x".repeat(61)] {
        let options = ben.options(app, "/account/passkeys/options").await;
        let mut device = Authenticator::new();
        let draft = device.make(&options);
        let body = json!({"name": name, "credential": device.made(&draft)});
        let answer = ben.post(app, "/account/passkeys", &body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["errors"][0]["pointer"].as_str()),
            (422, Some("#/name"))
        );
    }
    // At most twenty.
    for _ in 0..20 {
        let (_, answer) = ben.add(app, as_it_is).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    let answer = ben.post(app, "/account/passkeys/options", &Value::Null).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    world.app.close().await;
}

#[tokio::test]
async fn a_passkey_shows_once_more_who_somebody_is() {
    let world = World::new().await;
    let app = &world.app;
    let (mut ada, mut device) = with_passkey(&world, EMAIL).await;
    let (mut ben, mut of_ben) = with_passkey(&world, "ben@example.com").await;
    let path = path_of(&mut ada, app).await;
    world.pass(Duration::from_mins(11));
    assert_eq!(ada.call(app, Method::DELETE, &path, &Value::Null).await.status, 403);

    // Another person's does not, though it signs in as them.
    let options = ada.options(app, CONFIRM_OPTIONS).await;
    assert_eq!(options["allowCredentials"].as_array().unwrap().len(), 1);
    let draft = of_ben.show(&options);
    let body = json!({"credential": of_ben.shown(&draft)});
    assert_eq!(ada.post(app, CONFIRM, &body).await.status, 401);
    // Nor does one that looks like ada's, signed by ben's.
    let options = ada.options(app, CONFIRM_OPTIONS).await;
    let draft = device.show(&options);
    assert_eq!(
        ada.post(app, CONFIRM, &json!({"credential": of_ben.shown(&draft)})).await.status,
        401
    );

    let before = ada.session.clone();
    let options = ada.options(app, CONFIRM_OPTIONS).await;
    let draft = device.show(&options);
    let confirmed = ada.post(app, CONFIRM, &json!({"credential": device.shown(&draft)})).await;
    assert_eq!(confirmed.status, 204, "{}", confirmed.body);
    assert_ne!(ada.session, before, "the session has a new token");
    // Another person's is not there.
    world.pass(Duration::from_mins(1));
    assert_eq!(Visitor::default().call(app, Method::DELETE, &path, &Value::Null).await.status, 401);
    let of_ada = path.clone();
    let signed = ben.sign_in(app, &mut of_ben, as_it_is).await;
    assert_eq!(signed.status, 201, "{}", signed.body);
    assert_eq!(ben.call(app, Method::DELETE, &of_ada, &Value::Null).await.status, 404);

    assert_eq!(ada.call(app, Method::DELETE, &path, &Value::Null).await.status, 204);
    let letter = world.mail.next(EMAIL).await;
    assert!(
        letter.head.contains("Subject: A passkey of your account was removed"),
        "{}",
        letter.head
    );
    assert_eq!(Visitor::default().sign_in(app, &mut device, as_it_is).await.status, 401);
    let none = ada.post(app, CONFIRM_OPTIONS, &Value::Null).await;
    assert_eq!(none.status, 404, "there is none to show: {}", none.body);
    let audit = world.operator(Method::GET, "/v1/audit", &Value::Null).await.body;
    assert!(audit.contains("account.passkey_remove"), "{audit}");
    world.app.close().await;
}

/// What ends otherwise takes passkeys along.
#[tokio::test]
async fn passkeys_end_with_what_they_are_of() {
    let world = World::new().await;
    let app = &world.app;
    let (mut ada, mut device) = with_passkey(&world, EMAIL).await;
    let id = ada.call(app, Method::GET, "/account", &Value::Null).await.json()["id"].clone();
    let users = |verb: &str| format!("/v1/users/{}/{verb}", id.as_str().unwrap());
    let mut status = async || {
        world.pass(Duration::from_mins(1));
        Visitor::default().sign_in(app, &mut device, as_it_is).await.status.as_u16()
    };
    for (verb, expected) in [("disable", 401), ("enable", 201)] {
        let done = world.operator(Method::POST, &users(verb), &json!({})).await;
        assert_eq!((done.status.as_u16(), &done.json()["passkeys"]), (200, &json!(1)));
        assert_eq!(status().await, expected, "{verb}");
    }
    let count = async || {
        let list = world.operator(Method::GET, "/v1/users", &Value::Null).await.json();
        list["data"][0]["passkeys"].clone()
    };
    assert_eq!(count().await, 1);
    // A reset of what was lost, by the operator: also where there are passkeys alone.
    let reset = users("reset-second-factor");
    assert_eq!(world.operator(Method::POST, &reset, &json!({})).await.status, 200);
    assert_eq!((status().await, count().await), (401, json!(0)));
    assert_eq!(world.operator(Method::POST, &reset, &json!({})).await.status, 409);

    let (mut ben, mut of_ben) = with_passkey(&world, "ben@example.com").await;
    let path = path_of(&mut ben, app).await;
    let body = json!({"email": "new@example.com"});
    assert_eq!(ben.post(app, "/account/email", &body).await.status, 202);
    let token = world.mail.next("new@example.com").await.token();
    let answer = ben.post(app, "/account/email/confirm", &json!({"token": token})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    // Whoever changed the address may have added the passkey: who takes it back is rid of both.
    let letter = world.mail.next("ben@example.com").await;
    let (_, undo) = letter.link();
    let undone = Visitor::default().post(app, "/email-undos", &json!({"token": undo})).await;
    assert_eq!(undone.status, 204, "{}", undone.body);
    world.pass(Duration::from_mins(1));
    assert_eq!(Visitor::default().sign_in(app, &mut of_ben, as_it_is).await.status, 401);
    assert_eq!(ben.call(app, Method::DELETE, &path, &Value::Null).await.status, 401);
    world.app.close().await;
}
