use super::*;

async fn reset(world: &World, email: &str) -> Answer {
    let body = json!({"email": email});
    Browser::new().post(&world.app, "/password-resets", &body).await
}

async fn set(world: &World, token: &str, password: &str) -> u16 {
    let body = json!({"token": token, "password": password});
    let answer = Browser::new().post(&world.app, "/password-resets/confirm", &body).await;
    answer.status.as_u16()
}

const NEW: &str = "grey owls count seven tides";

/// Item 8.
#[tokio::test]
async fn a_reset_link_works_once_and_only_for_what_it_was_made_for() {
    let world = World::new().await;
    let mut browser = world.signed_in(EMAIL).await;
    // Whoever is asked with another host sends links of its own.
    let request = Request::post("/api/v1/password-resets")
        .header("host", "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("content-type", "application/json")
        .body(Body::from(json!({"email": EMAIL}).to_string()));
    assert_eq!(send(api_router(&world.app), request.unwrap()).await.status, 202);
    let letter = world.mail.next(EMAIL).await;
    assert_eq!(letter.link().0, format!("{ORIGIN}/reset"));
    assert!(!format!("{}{}", letter.head, letter.body).contains("evil"));
    assert!(letter.head.contains("From: Carom <carom@admin.example>"), "{}", letter.head);

    let first = letter.token();
    assert_eq!(reset(&world, EMAIL).await.status, 202);
    let second = world.mail.next(EMAIL).await.token();
    assert_eq!(set(&world, &first, NEW).await, 422, "a newer one ends it");
    assert_eq!(
        set(&world, &second, "passwordpassword").await,
        422,
        "a weak one does not use it up"
    );
    assert_eq!(browser.status(&world.app).await, 200);
    assert_eq!(set(&world, &second, NEW).await, 204);
    assert_eq!(set(&world, &second, NEW).await, 422, "once");
    assert_eq!(browser.status(&world.app).await, 401, "every session ends");
    let notice = world.mail.next(EMAIL).await;
    assert!(notice.head.contains("Subject: Your password was changed"), "{}", notice.head);
    assert_eq!(browser.sign_in(&world.app, EMAIL, NEW).await.status, 201);

    world.pass(Duration::from_hours(1));
    reset(&world, EMAIL).await;
    let old = world.mail.next(EMAIL).await.token();
    world.pass(Duration::from_mins(30));
    assert_eq!(set(&world, &old, PASSWORD).await, 422, "half an hour");

    reset(&world, EMAIL).await;
    let bound = world.mail.next(EMAIL).await.token();
    let body = json!({"current_password": NEW, "password": PASSWORD});
    assert_eq!(browser.post(&world.app, "/account/password", &body).await.status, 204);
    assert_eq!(set(&world, &bound, NEW).await, 422, "the password has changed since");
    world.app.close().await;
}

/// Items 7 and 8: whoever asks learns nothing, and a second factor stays.
#[tokio::test]
async fn asking_for_a_letter_tells_nothing() {
    let world = World::with(|config| config.accounts.registration = Registration::Open).await;
    world.person(EMAIL).await;
    for path in ["/password-resets", "/registrations"] {
        let mut answers = Vec::new();
        for email in [EMAIL, "eve@example.com"] {
            let answer = Browser::new().post(&world.app, path, &json!({"email": email})).await;
            let mut headers = answer.headers;
            headers.remove("x-request-id");
            headers.remove("ratelimit");
            answers.push((answer.status, headers, answer.body));
        }
        assert_eq!(answers[0].0, 202);
        assert_eq!(answers[0], answers[1]);
    }
    let subject = |letter: &smtp::Arrived| {
        let line = letter.head.lines().find_map(|line| line.strip_prefix("Subject: "));
        line.unwrap().to_owned()
    };
    let mut to_ada =
        [world.mail.next(EMAIL).await, world.mail.next(EMAIL).await].map(|it| subject(&it));
    to_ada.sort();
    assert_eq!(to_ada, ["Set a new password", "You have an account"]);
    let to_eve = world.mail.next("eve@example.com").await;
    assert_eq!(subject(&to_eve), "Make your account");
    assert!(world.mail.waiting().is_empty());
    world.app.close().await;
}

#[tokio::test]
async fn a_letter_makes_an_account_and_a_link_does_nothing_by_being_looked_at() {
    let world = World::with(|config| config.accounts.registration = Registration::Open).await;
    let body = json!({"email": "Eve@Example.com"});
    assert_eq!(Browser::new().post(&world.app, "/registrations", &body).await.status, 202);
    let letter = world.mail.next("eve@example.com").await;
    let (page, token) = letter.link();
    assert_eq!(page, format!("{ORIGIN}/register"));
    // Item 15: what fetches links in advance finds nothing to do.
    for method in [Method::GET, Method::HEAD] {
        let path = format!("/email-verifications?token={token}");
        let answer = Browser::new().call(&world.app, method, &path, &Value::Null).await;
        assert_eq!(answer.status, 405);
    }
    let users = world.operator(Method::GET, "/v1/users", &Value::Null).await.json();
    assert_eq!(users["data"], json!([]), "nobody waits in another's name");
    let mut browser = Browser::new();
    let body = json!({"token": token, "name": "Eve", "password": PASSWORD});
    let made = browser.post(&world.app, "/email-verifications", &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.json()["account"]["email"], "eve@example.com");
    assert_eq!(browser.status(&world.app).await, 200);
    let again = Browser::new().post(&world.app, "/email-verifications", &body).await;
    assert_eq!(again.status, 422);
    // They are in nobody's workspace.
    assert_eq!(browser.get(&world.app, "/links").await.status, 404);
    world.app.close().await;
}

#[tokio::test]
async fn who_may_register_is_a_setting_and_mail_is_too() {
    let world = World::new().await;
    let body = json!({"email": EMAIL});
    let closed = Browser::new().post(&world.app, "/registrations", &body).await;
    assert_eq!(closed.status, 409, "{}", closed.body);
    world.app.close().await;

    let world = World::with(|config| config.accounts.registration = Registration::Invitation).await;
    let uninvited = Browser::new().post(&world.app, "/registrations", &body).await;
    assert_eq!(uninvited.status, 202);
    world.app.close().await;
    assert!(world.mail.waiting().is_empty(), "the answer is the same, and no letter goes");

    let world = World::with(|config| {
        config.accounts.registration = Registration::Open;
        config.mail.url.clear();
    });
    let world = world.await;
    for path in ["/registrations", "/password-resets"] {
        let answer = Browser::new().post(&world.app, path, &body).await;
        assert_eq!(answer.json()["code"], "mail-not-configured", "{path}");
    }
    world.app.close().await;
}

/// Item 14.
#[tokio::test]
async fn an_address_changes_by_who_has_both_and_goes_back_by_who_had_it() {
    let world = World::new().await;
    let mut browser = world.signed_in(EMAIL).await;
    let mut eve = world.signed_in("eve@example.com").await;
    let mut other = Browser::new();
    other.sign_in(&world.app, EMAIL, PASSWORD).await;
    let new = json!({"email": "lovelace@example.com"});
    assert_eq!(browser.post(&world.app, "/account/email", &new).await.status, 202);
    let token = world.mail.next("lovelace@example.com").await.token();
    let body = json!({"token": token});
    let foreign = eve.post(&world.app, "/account/email/confirm", &body).await;
    assert_eq!(foreign.status, 422, "another's sign-in: {}", foreign.body);
    let nobody = Browser::new().post(&world.app, "/account/email/confirm", &body).await;
    assert_eq!(nobody.status, 401);
    let before = browser.token.clone();
    let confirmed = browser.post(&world.app, "/account/email/confirm", &body).await;
    assert_eq!(confirmed.json()["email"], "lovelace@example.com", "{}", confirmed.body);
    assert_ne!(browser.token, before);
    assert_eq!(other.status(&world.app).await, 401);
    let notice = world.mail.next(EMAIL).await;
    assert!(notice.body.contains("lovelace@example.com"), "{}", notice.body);
    let (page, undo) = notice.link();
    assert_eq!(page, format!("{ORIGIN}/undo-email"));

    // Who took the account over changes it once more; the first link still takes all of it back.
    let third = json!({"email": "third@example.com"});
    assert_eq!(browser.post(&world.app, "/account/email", &third).await.status, 202);
    let token = world.mail.next("third@example.com").await.token();
    let body = json!({"token": token});
    assert_eq!(browser.post(&world.app, "/account/email/confirm", &body).await.status, 200);
    let second = world.mail.next("lovelace@example.com").await.token();
    super::factor::add(&world, &mut browser).await;
    world.mail.next("third@example.com").await;
    world.pass(Duration::from_hours(7 * 24 - 1));
    let undone = Browser::new().post(&world.app, "/email-undos", &json!({"token": undo})).await;
    assert_eq!(undone.status, 204, "{}", undone.body);
    assert_eq!(browser.status(&world.app).await, 401);
    assert_eq!(Browser::new().sign_in(&world.app, EMAIL, PASSWORD).await.status, 401);
    let letters = [world.mail.next(EMAIL).await, world.mail.next(EMAIL).await];
    let reset = letters.iter().find(|letter| letter.head.contains("Set a new password")).unwrap();
    assert_eq!(set(&world, &reset.token(), NEW).await, 204);
    // Not 200, for a code: the second factor was somebody else's.
    assert_eq!(Browser::new().sign_in(&world.app, EMAIL, NEW).await.status, 201);
    for (token, whose) in [(undo.to_owned(), "once"), (second, "of who took the account over")] {
        let again = Browser::new().post(&world.app, "/email-undos", &json!({"token": token})).await;
        assert_eq!(again.status, 422, "{whose}");
    }
    assert_eq!(Browser::new().sign_in(&world.app, EMAIL, NEW).await.status, 201);
    world.app.close().await;
}

/// An address of somebody else: the same answer, and a letter that says so.
#[tokio::test]
async fn an_address_that_is_taken_is_told_to_its_reader_alone() {
    let world = World::new().await;
    let mut browser = world.signed_in(EMAIL).await;
    world.person("eve@example.com").await;
    let taken =
        browser.post(&world.app, "/account/email", &json!({"email": "eve@example.com"})).await;
    let free = browser.post(&world.app, "/account/email", &json!({"email": "x@example.com"})).await;
    assert_eq!((taken.status, &taken.body), (free.status, &free.body));
    let letter = world.mail.next("eve@example.com").await;
    assert!(letter.head.contains("Subject: You have an account"), "{}", letter.head);
    world.app.close().await;
}

/// Item 13.
#[tokio::test]
async fn a_new_browser_is_told_of_and_a_known_one_is_not() {
    let world = World::new().await;
    let browser = world.signed_in(EMAIL).await;
    browser.clone().sign_in(&world.app, EMAIL, PASSWORD).await;
    let mut new = Browser { agent: "Other Browser".into(), ..Browser::new() };
    new.sign_in(&world.app, EMAIL, PASSWORD).await;
    let letter = world.mail.next(EMAIL).await;
    assert!(letter.head.contains("Subject: A new sign-in"), "{}", letter.head);
    assert!(letter.body.contains("Other Browser"), "{}", letter.body);
    new.sign_in(&world.app, EMAIL, PASSWORD).await;
    world.app.close().await;
    assert!(world.mail.waiting().is_empty());
}

/// A mail server that is not ready is asked again.
#[tokio::test]
async fn a_letter_waits_for_its_server() {
    let world = World::new().await;
    world.person(EMAIL).await;
    world.mail.refuse(1);
    let begun = std::time::Instant::now();
    assert_eq!(reset(&world, EMAIL).await.status, 202);
    assert!(world.mail.waiting().is_empty(), "nobody waits for mail");
    world.mail.next(EMAIL).await;
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "it was refused, and a second later asked again"
    );
    world.app.close().await;
}

/// Item 37: a copy of the database opens nothing.
#[tokio::test]
async fn a_copy_of_the_database_holds_nothing_that_opens_anything() {
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let world = World::with(|config| {
        config.accounts.secret_key = key.into();
        config.accounts.registration = Registration::Open;
    });
    let world = world.await;
    let setup = world.app.setup_link().await.unwrap().unwrap();
    let mut browser = world.signed_in(EMAIL).await;
    let totp = browser.post(&world.app, "/account/totp", &Value::Null).await.json();
    reset(&world, EMAIL).await;
    let reset = world.mail.next(EMAIL).await.token();
    Browser::new().post(&world.app, "/registrations", &json!({"email": "x@example.com"})).await;
    let register = world.mail.next("x@example.com").await.token();
    let secret = totp_rs::Secret::try_from_base32(totp["secret"].as_str().unwrap()).unwrap();
    let code = totp_rs::Builder::new().with_secret(secret.clone()).build().unwrap();
    let code = code.generate(u64::try_from(NOW.as_secs()).unwrap()).to_string();
    let before = browser.token.clone().unwrap();
    let confirmed = browser.post(&world.app, "/account/totp/confirm", &json!({"code": code})).await;
    let recovery = confirmed.json()["recovery_codes"][0].as_str().unwrap().to_owned();
    let after = browser.token.clone().unwrap();

    let copy = dump(&world).await;
    assert!(contains(&copy, EMAIL), "this is the database");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let raw = hex(secret.as_ref());
    let setup = setup.split_once('#').unwrap().1;
    for (what, text) in [
        ("a password", PASSWORD),
        ("a session", &before),
        ("a session", &after),
        ("setup", setup),
        ("a reset link", &reset),
        ("a registration", &register),
        ("a recovery code", &recovery),
        ("a recovery code", &recovery.replace('-', "")),
        ("a second factor", totp["secret"].as_str().unwrap()),
        ("a second factor", &raw),
    ] {
        assert!(!contains(&copy, text), "{what} is in the database");
    }
    let bytes: &[u8] = secret.as_ref();
    assert!(!copy.windows(bytes.len()).any(|window| window == bytes));
    world.app.close().await;
}

#[tokio::test]
async fn where_mail_is_sent_an_invitation_goes_to_its_reader_alone() {
    let world = World::new().await;
    let mut ada = world.signed_in(EMAIL).await;
    let body = json!({"email": "cleo@example.com", "role": "editor"});
    let invited = ada.post(&world.app, "/invitations", &body).await;
    assert_eq!(invited.status, 201, "{}", invited.body);
    assert!(invited.json()["link"].is_null(), "{}", invited.body);
    let letter = world.mail.next("cleo@example.com").await;
    assert_eq!(letter.link().0, format!("{ORIGIN}/invitation"));
    let body = json!({"token": letter.token(), "password": PASSWORD});
    let made = Browser::new().post(&world.app, "/invitations/register", &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let log = world.operator(Method::GET, "/v1/audit?action=invitation.create", &Value::Null).await;
    assert_eq!(log.json()["data"][0]["detail"]["by"], "mail", "{}", log.body);
}
