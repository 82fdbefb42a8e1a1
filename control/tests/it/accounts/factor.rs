use super::*;
use totp_rs::{Builder, Secret, Totp};

/// An app with a secret.
pub(super) struct Authenticator(Totp);

impl Authenticator {
    fn of(answer: &Value) -> Self {
        let secret = Secret::try_from_base32(answer["secret"].as_str().unwrap()).unwrap();
        let app = Self(Builder::new().with_secret(secret).build().unwrap());
        let scanned = Totp::from_url(answer["uri"].as_str().unwrap()).unwrap();
        assert_eq!(scanned.generate(59).to_string(), app.0.generate(59).to_string());
        app
    }

    /// The code of a step, counted from now.
    pub(super) fn code(&self, world: &World, steps: i64) -> String {
        use carom_shared::Clock as _;
        let at = world.clock.now().as_secs() + 30 * steps;
        self.0.generate(u64::try_from(at).unwrap()).to_string()
    }
}

/// Gives whoever is signed in a second factor.
pub(super) async fn add(world: &World, browser: &mut Browser) -> Authenticator {
    let begun = browser.post(&world.app, "/account/totp", &Value::Null).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let device = Authenticator::of(&begun.json());
    let right = json!({"code": device.code(world, 0)});
    let confirmed = browser.post(&world.app, "/account/totp/confirm", &right).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    device
}

/// A person with a second factor; the app and the recovery codes.
pub(super) async fn with_factor(world: &World) -> (Browser, Authenticator, Vec<String>) {
    let mut browser = world.signed_in(EMAIL).await;
    let begun = browser.post(&world.app, "/account/totp", &Value::Null).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let device = Authenticator::of(&begun.json());
    let wrong = json!({"code": device.code(world, 5)});
    assert_eq!(browser.post(&world.app, "/account/totp/confirm", &wrong).await.status, 401);
    let before = browser.token.clone();
    let right = json!({"code": device.code(world, 0)});
    let confirmed = browser.post(&world.app, "/account/totp/confirm", &right).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    assert_ne!(browser.token, before);
    let letter = world.mail.next(EMAIL).await;
    assert!(letter.head.contains("Subject: A second factor was added"), "{}", letter.head);
    let codes = confirmed.json()["recovery_codes"].as_array().unwrap().clone();
    let codes: Vec<_> = codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    assert_eq!(codes.len(), 10);
    world.pass(Duration::from_hours(1));
    (browser, device, codes)
}

async fn ticket(world: &World) -> String {
    // The limit of sign-ins is another test's.
    world.pass(Duration::from_mins(5));
    let mut browser = Browser::new();
    let answer = browser.sign_in(&world.app, EMAIL, PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(browser.token, None, "the password alone is no session");
    answer.json()["ticket"].as_str().unwrap().to_owned()
}

async fn second(world: &World, ticket: &str, code: &str) -> u16 {
    let body = json!({"ticket": ticket, "code": code});
    let mut browser = Browser::new();
    let answer = browser.post(&world.app, "/sessions/second-factor", &body).await;
    assert_eq!(answer.status == 201, browser.token.is_some());
    answer.status.as_u16()
}

/// Item 9: a code works once, and from one step before to one step after.
#[tokio::test]
async fn a_code_works_once_and_for_a_step_to_each_side() {
    let world = World::new().await;
    let (_, device, _) = with_factor(&world).await;
    for (steps, status) in [(-2, 401), (2, 401), (0, 201), (0, 401), (-1, 401), (1, 201), (1, 401)]
    {
        // All within one step: the ticket is younger than that.
        let ticket = ticket_at_once(&world).await;
        let status_now = second(&world, &ticket, &device.code(&world, steps)).await;
        assert_eq!(status_now, status, "{steps}");
    }
    world.app.close().await;
}

async fn ticket_at_once(world: &World) -> String {
    let answer = Browser::new().sign_in(&world.app, EMAIL, PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["ticket"].as_str().unwrap().to_owned()
}

/// Item 9: after five codes a ticket is worth nothing, and after ten minutes.
#[tokio::test]
async fn a_ticket_takes_five_codes_and_ten_minutes() {
    let world = World::new().await;
    let (_, device, _) = with_factor(&world).await;
    let spent = ticket(&world).await;
    for _ in 0..5 {
        assert_eq!(second(&world, &spent, &device.code(&world, 9)).await, 401);
    }
    assert_eq!(second(&world, &spent, &device.code(&world, 0)).await, 401);
    world.pass(Duration::from_hours(1));
    let old = ticket(&world).await;
    world.pass(Duration::from_mins(10));
    assert_eq!(second(&world, &old, &device.code(&world, 0)).await, 401);
    let good = ticket(&world).await;
    assert_eq!(second(&world, "guess", &device.code(&world, 0)).await, 401);
    assert_eq!(second(&world, &good, "no code").await, 401);
    assert_eq!(second(&world, &good, &device.code(&world, 0)).await, 201);
    assert_eq!(second(&world, &good, &device.code(&world, 1)).await, 401, "a ticket works once");
    world.app.close().await;
}

/// Item 10.
#[tokio::test]
async fn a_recovery_code_works_once_and_until_there_are_new_ones() {
    let world = World::new().await;
    let (mut browser, _, codes) = with_factor(&world).await;
    let code = codes[0].to_lowercase().replace('-', " ");
    assert_eq!(second(&world, &ticket(&world).await, &code).await, 201);
    assert_eq!(second(&world, &ticket(&world).await, &codes[0]).await, 401);
    let account = browser.get(&world.app, "/account").await.json();
    assert_eq!(account["recovery_codes_left"], 9);
    let path = "/account/recovery-codes";
    let asked = browser.post(&world.app, path, &Value::Null).await;
    assert_eq!(asked.status, 403, "{}", asked.body);
    let confirm = json!({"code": codes[1]});
    let confirmed = browser.post(&world.app, "/sessions/current/confirm", &confirm).await;
    assert_eq!(confirmed.status, 204, "{}", confirmed.body);
    let renewed = browser.post(&world.app, path, &Value::Null).await;
    assert_eq!(renewed.status, 200, "{}", renewed.body);
    world.mail.next(EMAIL).await;
    world.pass(Duration::from_hours(1));
    assert_eq!(second(&world, &ticket(&world).await, &codes[2]).await, 401);
    let new = renewed.json()["recovery_codes"][0].as_str().unwrap().to_owned();
    assert_eq!(second(&world, &ticket(&world).await, &new).await, 201);
    world.app.close().await;
}

/// Beside a second factor a password may be short; it then cannot stand alone.
#[tokio::test]
async fn a_short_password_needs_its_second_factor() {
    const SHORT: &str = "k7#Tz9!qLm";
    let world = World::new().await;
    let (mut browser, device, _) = with_factor(&world).await;
    let begun = browser.post(&world.app, "/account/totp", &Value::Null).await;
    assert_eq!(begun.status, 403, "the session is not fresh");
    let body = json!({"current_password": PASSWORD, "password": SHORT});
    assert_eq!(browser.post(&world.app, "/account/password", &body).await.status, 204);
    world.mail.next(EMAIL).await;
    let again = browser.post(&world.app, "/account/totp", &Value::Null).await;
    assert_eq!(again.status, 409, "there is a second factor: {}", again.body);
    let remove = json!({"password": SHORT});
    let refused = browser.post(&world.app, "/account/totp/remove", &remove).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let body = json!({"current_password": SHORT, "password": PASSWORD});
    assert_eq!(browser.post(&world.app, "/account/password", &body).await.status, 204);
    let remove = json!({"password": PASSWORD});
    let removed = browser.post(&world.app, "/account/totp/remove", &remove).await;
    assert_eq!(removed.status, 204, "{}", removed.body);
    let body = json!({"current_password": PASSWORD, "password": SHORT});
    let refused = browser.post(&world.app, "/account/password", &body).await;
    assert_eq!(refused.json()["errors"][0]["code"], "too-short");
    world.pass(Duration::from_hours(1));
    assert_eq!(Browser::new().sign_in(&world.app, EMAIL, PASSWORD).await.status, 201);
    drop(device);
    world.app.close().await;
}

/// Two requests with the same code at once: one is signed in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_with_one_code_one_is_signed_in() {
    let world = World::new().await;
    let (_, device, _) = with_factor(&world).await;
    let (one, other) = (ticket(&world).await, ticket_at_once(&world).await);
    let code = device.code(&world, 0);
    let (a, b) = tokio::join!(second(&world, &one, &code), second(&world, &other, &code));
    assert_eq!([a, b].iter().filter(|status| **status == 201).count(), 1, "{a} {b}");
    world.app.close().await;
}
