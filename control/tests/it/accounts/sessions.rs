use super::*;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use hyper::body::Frame;
use tokio::sync::oneshot;

/// Who signs in is told with a cookie for this host alone, and everything around it is closed.
#[tokio::test]
async fn signing_in_sets_one_closed_cookie() {
    let world = World::new().await;
    world.person(EMAIL).await;
    let mut browser = Browser::new();
    let body = json!({"email": " ADA@example.com ", "password": PASSWORD, "remember": true});
    let answer = browser.post(&world.app, "/sessions", &body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=2592000"),
        "{cookie}"
    );
    assert_eq!(browser.token.as_ref().unwrap().len(), 43);
    assert!(!answer.body.contains(browser.token.as_deref().unwrap()));
    for (name, value) in [
        ("cache-control", "no-store"),
        ("strict-transport-security", "max-age=63072000"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.headers[name], value, "{name}");
    }
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    let account = browser.get(&world.app, "/account").await.json();
    assert_eq!(account["email"], EMAIL);
    assert_eq!(account["must_confirm"], false);

    // A second sign-in is another session with another token; the first goes on.
    let first = browser.clone();
    browser.sign_in(&world.app, EMAIL, PASSWORD).await;
    assert_ne!(browser.token, first.token);
    assert_eq!(first.clone().status(&world.app).await, 200);
    world.app.close().await;
}

/// Item 7: whoever is not there, is disabled, or has no password is told what a wrong password is.
#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_the_same() {
    let world = World::new().await;
    world.person(EMAIL).await;
    world.operator(Method::POST, "/v1/users", &json!({"email": "new@example.com"})).await;
    let gone = world.person("gone@example.com").await;
    world.operator(Method::POST, &format!("/v1/users/{gone}/disable"), &json!({})).await;
    let mut seen = Vec::new();
    for (email, password) in [
        (EMAIL, "seven purple lanterns drift "),
        ("eve@example.com", PASSWORD),
        ("nobody", PASSWORD),
        ("new@example.com", PASSWORD),
        ("gone@example.com", PASSWORD),
        (EMAIL, ""),
    ] {
        let answer = Browser::new().sign_in(&world.app, email, password).await;
        let mut headers = answer.headers.clone();
        headers.remove("x-request-id");
        headers.remove("ratelimit");
        let body = answer.json();
        assert_eq!((answer.status.as_u16(), body["code"].as_str()), (401, Some("wrong-login")));
        seen.push((headers, body["title"].clone(), body["detail"].clone()));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    world.app.close().await;
}

/// The fastest of each: what else runs on the machine makes both slower, so it is asked until it is
/// quiet for a moment. Without a hash for who is not there the gap would stay.
#[tokio::test]
async fn it_takes_as_long_for_an_unknown_address() {
    const ROUNDS_MAX: usize = 60;
    let world = World::new().await;
    world.person(EMAIL).await;
    let mut least = [Duration::MAX; 2];
    for round in 1..=ROUNDS_MAX {
        for (least, email) in least.iter_mut().zip([EMAIL, "eve@example.com"]) {
            world.pass(Duration::from_mins(10));
            let begun = std::time::Instant::now();
            let answer = Browser::new().sign_in(&world.app, email, "not the password").await;
            assert_eq!(answer.status, 401);
            *least = begun.elapsed().min(*least);
        }
        let is_even = least[0].abs_diff(least[1]) < Duration::from_millis(5);
        if is_even && round > 5 {
            break;
        }
        assert!(round < ROUNDS_MAX, "{least:?}");
    }
    world.app.close().await;
}

/// Item 6, by account: ten tries at once, then they come in drops; nobody is locked out for good.
#[tokio::test]
async fn tries_are_limited_by_account_and_the_limit_ends() {
    let world = World::new().await;
    let mut inside = world.signed_in(EMAIL).await;
    world.pass(Duration::from_mins(10));
    for email in [EMAIL, "eve@example.com"] {
        let mut statuses = Vec::new();
        for _ in 0..11 {
            let answer = Browser::new().sign_in(&world.app, email, "wrong").await;
            statuses.push(answer.status.as_u16());
        }
        assert_eq!(statuses[..10], [401; 10], "{email}");
        assert_eq!(statuses[10], 429, "an address that is nobody's is counted too");
    }
    let limited = Browser::new().sign_in(&world.app, EMAIL, PASSWORD).await;
    assert_eq!(limited.status, 429);
    // Whoever is signed in is not kept out by whoever is not.
    let confirm = json!({"password": PASSWORD});
    assert_eq!(inside.post(&world.app, "/sessions/current/confirm", &confirm).await.status, 204);
    let wait: u64 = limited.headers["retry-after"].to_str().unwrap().parse().unwrap();
    world.pass(Duration::from_secs(wait));
    assert_eq!(Browser::new().sign_in(&world.app, EMAIL, PASSWORD).await.status, 201);
    world.app.close().await;
}

/// A body that comes when it is told to.
struct Slow {
    /// Told when it is read first: then it is known who asks.
    begun: Option<oneshot::Sender<()>>,
    goes_on: oneshot::Receiver<()>,
    body: Option<Bytes>,
}

impl hyper::body::Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(begun) = self.begun.take() {
            begun.send(()).unwrap();
        }
        if self.body.is_some() {
            ready!(Pin::new(&mut self.goes_on).poll(cx)).unwrap();
        }
        Poll::Ready(self.body.take().map(|body| Ok(Frame::data(body))))
    }
}

/// Step by step: who begins a change, and is signed out before it is carried out, changes nothing.
#[tokio::test]
async fn a_change_that_began_before_its_session_ended_is_refused() {
    let world = World::new().await;
    let thief = world.signed_in(EMAIL).await;
    let mut owner = Browser::new();
    assert_eq!(owner.sign_in(&world.app, EMAIL, PASSWORD).await.status, 201);
    let (begun, is_begun) = oneshot::channel();
    let (go_on, goes_on) = oneshot::channel();
    let new = "grey owls count seven tides";
    let body = json!({"current_password": PASSWORD, "password": new}).to_string();
    let slow = Body::new(Slow { begun: Some(begun), goes_on, body: Some(body.into()) });
    let request = thief.request(Method::POST, "/account/password").body(slow).unwrap();
    let changing = send(api_router(&world.app), request);
    let ending = async {
        is_begun.await.unwrap();
        assert_eq!(owner.delete(&world.app, "/sessions").await.status, 204);
        go_on.send(()).unwrap();
    };
    let (changed, ()) = tokio::join!(changing, ending);
    assert_eq!(changed.status, 401, "{}", changed.body);
    assert_eq!(owner.status(&world.app).await, 200, "the owner's session is not ended by it");
    assert_eq!(Browser::new().sign_in(&world.app, EMAIL, PASSWORD).await.status, 201);
    world.app.close().await;
}

/// Items 17 and 37: what ends a session ends it on every control plane, at the next request.
#[tokio::test]
async fn what_ends_a_session_ends_it_everywhere_at_once() {
    let world = World::new().await;
    let other = world.other().await;
    let mut one = world.signed_in(EMAIL).await;
    let mut browsers = Vec::new();
    for _ in 0..3 {
        let mut browser = Browser::new();
        assert_eq!(browser.sign_in(&other, EMAIL, PASSWORD).await.status, 201);
        browsers.push(browser);
    }
    let list = one.get(&world.app, "/sessions").await.json();
    let sessions = list["data"].as_array().unwrap();
    assert_eq!(sessions.len(), 4);
    assert_eq!(sessions.iter().filter(|session| session["current"] == true).count(), 1);

    // Signing out, with what the browser shall forget.
    let mut first = browsers.remove(0);
    let token = first.token.clone();
    let out = first.delete(&other, "/sessions/current").await;
    assert_eq!(out.status, 204);
    assert_eq!(out.headers["clear-site-data"], "\"cache\", \"storage\"");
    assert_eq!(first.token, None);
    first.token = token;
    assert_eq!(first.status(&world.app).await, 401);
    assert_eq!(first.token, None, "a dead cookie is taken back");

    // One of a list, named from elsewhere; not somebody else's.
    let mut second = browsers.remove(0);
    let list = second.get(&other, "/sessions").await.json();
    let current = list["data"].as_array().unwrap().iter().find(|it| it["current"] == true).unwrap();
    let path = format!("/sessions/{}", current["id"].as_str().unwrap());
    let mut eve = world.signed_in("eve@example.com").await;
    assert_eq!(eve.delete(&world.app, &path).await.status, 404);
    assert_eq!(one.delete(&world.app, &path).await.status, 204);
    assert_eq!(one.delete(&world.app, &path).await.status, 404);
    assert_eq!(second.status(&other).await, 401);

    // All others.
    let mut third = browsers.remove(0);
    assert_eq!(one.delete(&world.app, "/sessions").await.status, 204);
    assert_eq!(third.status(&other).await, 401);
    assert_eq!(one.status(&other).await, 200);
    assert_eq!(eve.status(&other).await, 200);
    other.close().await;
    world.app.close().await;
}

/// Item 18.
#[tokio::test]
async fn sessions_end_by_rest_and_by_age() {
    let world = World::new().await;
    let mut idle = world.signed_in(EMAIL).await;
    let mut used = idle.clone();
    world.pass(Duration::from_hours(12));
    assert_eq!(idle.status(&world.app).await, 401);
    used.sign_in(&world.app, EMAIL, PASSWORD).await;
    let mut hours = 0;
    while used.status(&world.app).await == 200 {
        world.pass(Duration::from_hours(6));
        hours += 6;
        assert!(hours <= 7 * 24, "it lasts for ever");
    }
    assert_eq!(hours, 7 * 24);
    world.app.close().await;
}

/// Items 16 and 19: a token is replaced once a day; the old one works for a minute more, and then shows
/// that somebody has it who should not.
#[tokio::test]
async fn a_stolen_token_ends_its_session() {
    let world = World::new().await;
    let mut browser = Browser::new();
    world.person(EMAIL).await;
    let body = json!({"email": EMAIL, "password": PASSWORD, "remember": true});
    browser.post(&world.app, "/sessions", &body).await;
    let mut thief = browser.clone();
    world.pass(Duration::from_hours(24));
    let old = browser.token.clone();
    assert_eq!(browser.status(&world.app).await, 200);
    assert_ne!(browser.token, old, "a day is over");
    // A request that was on its way.
    world.pass(Duration::from_secs(60));
    assert_eq!(thief.status(&world.app).await, 200);
    assert_eq!(thief.token, old, "a replaced token gives no new one");
    let new = browser.token.clone();
    assert_eq!(browser.status(&world.app).await, 200);
    assert_eq!(browser.token, new);
    world.pass(Duration::from_secs(1));
    assert_eq!(thief.status(&world.app).await, 401);
    assert_eq!(browser.status(&world.app).await, 401, "nobody knows which of the two is the owner");
    let letter = world.mail.next(EMAIL).await;
    assert!(
        letter.head.contains("Subject: A session of your account was ended"),
        "{}",
        letter.head
    );
    thief.token = old;
    assert_eq!(thief.status(&world.app).await, 401);
    assert!(world.mail.waiting().is_empty(), "it is told once");
    world.app.close().await;
}

/// The answer that brought a day's new token was lost: whoever has the old one is no thief. Once the new
/// one was used, it is as it was.
#[tokio::test]
async fn a_token_whose_answer_was_lost_is_replaced_again() {
    let world = World::new().await;
    world.person(EMAIL).await;
    let mut browser = Browser::new();
    let body = json!({"email": EMAIL, "password": PASSWORD, "remember": true});
    browser.post(&world.app, "/sessions", &body).await;
    let first = browser.clone();
    world.pass(Duration::from_hours(24));
    assert_eq!(first.clone().status(&world.app).await, 200);
    // Twice in a row, and each time of two requests side by side.
    for _ in 0..2 {
        world.pass(Duration::from_hours(2));
        let mut lost = first.clone();
        assert_eq!(lost.status(&world.app).await, 200);
        assert_ne!(lost.token, first.token);
        let mut beside = first.clone();
        assert_eq!(beside.status(&world.app).await, 200);
        assert_eq!(beside.token, first.token, "it has one new token");
        browser = lost;
    }
    // This answer was not lost.
    world.pass(Duration::from_secs(1));
    assert_eq!(browser.status(&world.app).await, 200);
    world.pass(Duration::from_secs(60));
    assert!(world.mail.waiting().is_empty());
    assert_eq!(first.clone().status(&world.app).await, 401);
    assert_eq!(browser.status(&world.app).await, 401);
    let letter = world.mail.next(EMAIL).await;
    assert!(letter.head.contains("A session of your account was ended"), "{}", letter.head);
    world.app.close().await;
}

/// A token that was replaced because a session became more is not given another chance.
#[tokio::test]
async fn a_token_that_was_replaced_on_purpose_is_not_regained() {
    let world = World::new().await;
    let mut browser = world.signed_in(EMAIL).await;
    world.pass(Duration::from_hours(2));
    assert_eq!(browser.status(&world.app).await, 200);
    let mut thief = browser.clone();
    let confirm = json!({"password": PASSWORD});
    assert_eq!(browser.post(&world.app, "/sessions/current/confirm", &confirm).await.status, 204);
    world.pass(Duration::from_secs(61));
    assert_eq!(thief.status(&world.app).await, 401);
    assert_eq!(browser.status(&world.app).await, 401);
    world.app.close().await;
}

/// Item 21: what changes something comes from the dashboard, or not with a cookie.
#[tokio::test]
async fn other_sites_can_neither_change_nor_sign_in() {
    let world = World::new().await;
    let browser = world.signed_in(EMAIL).await;
    let send_with = async |headers: &[(&str, &str)], path: &str, body: Value| {
        let mut request = browser.request(Method::POST, path);
        request.headers_mut().unwrap().remove("origin");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        send(api_router(&world.app), request).await.status.as_u16()
    };
    let link = || json!({"url": "https://example.com/"});
    for (headers, expected) in [
        (&[][..], 403),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "https://sub.admin.example")], 403),
        (&[("origin", "http://admin.example")], 403),
        (&[("origin", "null")], 403),
        (&[("sec-fetch-site", "same-site")], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-origin")], 201),
        (&[("origin", ORIGIN)], 201),
    ] {
        assert_eq!(send_with(headers, "/links", link()).await, expected, "{headers:?}");
    }
    let login = || json!({"email": EMAIL, "password": PASSWORD});
    for (headers, expected) in [
        (&[][..], 201),
        (&[("origin", "https://evil.example")], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("origin", ORIGIN)], 201),
    ] {
        assert_eq!(send_with(headers, "/sessions", login()).await, expected, "{headers:?}");
    }
    // A form of another site cannot send JSON.
    let request = browser.request(Method::POST, "/sessions");
    let mut request = request.body(Body::from(login().to_string())).unwrap();
    request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(send(api_router(&world.app), request).await.status, 415);
    world.app.close().await;
}

/// Items 4, 5 and 16: a new password ends other sessions, and is judged.
#[tokio::test]
async fn a_new_password_is_judged_and_ends_other_sessions() {
    let world = World::new().await;
    let mut browser = world.signed_in(EMAIL).await;
    let mut other = Browser::new();
    other.sign_in(&world.app, EMAIL, PASSWORD).await;
    let change = async |browser: &mut Browser, current: &str, new: &str| {
        let body = json!({"current_password": current, "password": new});
        let answer = browser.post(&world.app, "/account/password", &body).await;
        let code = match answer.status.as_u16() {
            204 => String::new(),
            422 => answer.json()["errors"][0]["code"].as_str().unwrap().to_owned(),
            _ => answer.json()["code"].as_str().unwrap().to_owned(),
        };
        (answer.status.as_u16(), code)
    };
    let wide = "ünï côdé 木 ".repeat(8);
    for (new, code) in [
        ("fourteen chars", "too-short"),
        ("ada@example.com", "too-weak"),
        ("qwertyuiopasdfgh", "too-weak"),
        (&"long and ".repeat(15), "too-long"),
        (&"x".repeat(2000), "too-long"),
    ] {
        assert_eq!(change(&mut browser, PASSWORD, new).await, (422, code.into()), "{new}");
    }
    let wrong = change(&mut browser, "not the password", "grey owls count seven tides").await;
    assert_eq!(wrong, (401, "wrong-login".into()));
    let before = browser.token.clone();
    assert_eq!(change(&mut browser, PASSWORD, wide.trim()).await.0, 204);
    assert_ne!(browser.token, before);
    assert_eq!(browser.status(&world.app).await, 200);
    assert_eq!(other.status(&world.app).await, 401);
    let letter = world.mail.next(EMAIL).await;
    assert!(letter.head.contains("Subject: Your password was changed"), "{}", letter.head);
    world.pass(Duration::from_hours(1));
    assert_eq!(other.sign_in(&world.app, EMAIL, PASSWORD).await.status, 401);
    assert_eq!(other.sign_in(&world.app, EMAIL, wide.trim()).await.status, 201);
    world.app.close().await;
}

/// What is sensitive asks again after ten minutes, and who answers has a new token.
#[tokio::test]
async fn what_is_sensitive_asks_again() {
    let world = World::new().await;
    let mut browser = world.signed_in(EMAIL).await;
    let path = "/account/totp";
    world.pass(Duration::from_mins(10));
    assert_eq!(browser.post(&world.app, path, &Value::Null).await.status, 200);
    world.pass(Duration::from_millis(1));
    let asked = browser.post(&world.app, path, &Value::Null).await;
    assert_eq!(asked.json()["code"], "reauthentication-required");
    let erased = browser.delete(&world.app, "/links/1/clicks").await;
    assert_eq!(erased.json()["code"], "reauthentication-required");
    for (body, status) in [
        (json!({"password": "wrong"}), 401),
        (json!({"code": "123456"}), 401),
        (json!({}), 422),
        (json!({"password": PASSWORD, "code": "123456"}), 422),
    ] {
        let answer = browser.post(&world.app, "/sessions/current/confirm", &body).await;
        assert_eq!(answer.status, status, "{body}");
    }
    let before = browser.token.clone();
    let body = json!({"password": PASSWORD});
    let confirmed = browser.post(&world.app, "/sessions/current/confirm", &body).await;
    assert_eq!(confirmed.status, 204, "{}", confirmed.body);
    assert_ne!(browser.token, before);
    assert_eq!(browser.post(&world.app, path, &Value::Null).await.status, 200);
    world.app.close().await;
}
