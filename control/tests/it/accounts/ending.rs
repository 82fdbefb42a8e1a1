//! Accounts that end, and second factors that are lost.

use super::*;

#[tokio::test]
async fn an_account_ends_and_leaves_nothing_of_whom_it_was() {
    let world = World::new().await;
    let app = &world.app;
    let mut owner = world.signed_in(EMAIL).await;
    let wrong = owner.delete(app, "/account").await;
    assert_eq!(wrong.status, 409, "{}", wrong.body);
    let path = "/account?confirm=ada@example.com";
    let refused = owner.delete(app, path).await;
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("you are the only owner"), "{}", refused.body);

    let mut ben = world.signed_in("ben@example.com").await;
    let ben_id = ben.get(app, "/account").await.json()["id"].as_str().unwrap().to_owned();
    let workspace = owner.get(app, "/workspaces").await.json()["data"][0]["id"].clone();
    let transfer = format!("/workspaces/{}/transfer", workspace.as_str().unwrap());
    let handed = owner.post(app, &transfer, &json!({"account_id": ben_id})).await;
    assert_eq!(handed.status, 204, "{}", handed.body);
    let key = json!({"name": "k", "scopes": ["links:read"]});
    let key = owner.post(app, "/keys", &key).await.json()["key"].as_str().unwrap().to_owned();

    // Not long after it was shown who asks.
    world.pass(Duration::from_mins(11));
    assert_eq!(owner.delete(app, path).await.status, 403);
    let confirm = json!({"password": PASSWORD});
    assert_eq!(owner.post(app, "/sessions/current/confirm", &confirm).await.status, 204);
    let ended = owner.delete(app, path).await;
    assert_eq!((ended.status.as_u16(), owner.token.is_none()), (204, true), "{}", ended.body);
    let letter = world.mail.next(EMAIL).await;
    assert!(letter.head.contains("Your account is deleted"), "{}", letter.head);

    let mut again = Browser::new();
    assert_eq!(again.sign_in(app, EMAIL, PASSWORD).await.status, 401);
    let request = Request::get("/api/v1/links").header("authorization", format!("Bearer {key}"));
    let by_key = send(api_router(app), request.body(Body::empty()).unwrap()).await;
    assert!(matches!(by_key.status.as_u16(), 401 | 403), "{}", by_key.status);
    let users = world.operator(Method::GET, "/v1/users", &Value::Null).await.json();
    assert_eq!(users["data"].as_array().unwrap().len(), 1, "{users}");
    let members = ben.get(app, "/members").await.json();
    assert_eq!(members["data"].as_array().unwrap().len(), 1, "{members}");
    // Its address is free, and who has it now is somebody else.
    world.person(EMAIL).await;
    assert_eq!(again.sign_in(app, EMAIL, PASSWORD).await.status, 201);
}

#[tokio::test]
async fn an_operator_removes_a_second_factor_that_is_lost() {
    let world = World::new().await;
    let app = &world.app;
    let (mut browser, _, codes) = super::factor::with_factor(&world).await;
    let id = browser.get(app, "/account").await.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/users/{id}/reset-second-factor");
    let reset = world.operator(Method::POST, &path, &json!({})).await;
    assert_eq!(reset.status, 200, "{}", reset.body);
    assert_eq!(reset.json()["second_factor"], false);
    let letter = world.mail.next(EMAIL).await;
    assert!(letter.head.contains("second factor of your account was removed"), "{}", letter.head);
    // Neither what is left of it nor the password alone lets anybody in, nor a session that was there.
    assert_eq!(browser.status(app).await, 401);
    let mut again = Browser::new();
    assert_eq!(again.sign_in(app, EMAIL, PASSWORD).await.status, 401);
    assert_eq!(world.operator(Method::POST, &path, &json!({})).await.status, 409);
    let unknown = "/v1/users/1/reset-second-factor";
    assert_eq!(world.operator(Method::POST, unknown, &json!({})).await.status, 404);
    drop(codes);
    // What the operator hands over does.
    let link = reset.json()["link"].as_str().unwrap().to_owned();
    let body = json!({"token": link.split_once('#').unwrap().1, "password": PASSWORD});
    assert_eq!(again.post(app, "/password-resets/confirm", &body).await.status, 204);
    assert_eq!(again.sign_in(app, EMAIL, PASSWORD).await.status, 201);
}

#[tokio::test]
async fn wrong_passwords_and_codes_are_in_the_log() {
    let world = World::new().await;
    let app = &world.app;
    let (mut inside, device, _) = super::factor::with_factor(&world).await;
    let code = json!({"code": device.code(&world, 9)});
    assert_eq!(inside.post(app, "/sessions/current/confirm", &code).await.status, 401);
    let right = json!({"password": PASSWORD});
    assert_eq!(inside.post(app, "/sessions/current/confirm", &right).await.status, 204);
    let wrong = json!({"current_password": "not the password", "password": PASSWORD});
    assert_eq!(inside.post(app, "/account/password", &wrong).await.status, 401);
    let wrong = json!({"password": "not the password"});
    assert_eq!(inside.post(app, "/account/totp/remove", &wrong).await.status, 401);
    let mut browser = Browser::new();
    assert_eq!(browser.sign_in(app, EMAIL, "not the password").await.status, 401);
    assert_eq!(browser.sign_in(app, "nobody@example.com", PASSWORD).await.status, 401);
    let ticket = browser.sign_in(app, EMAIL, PASSWORD).await.json()["ticket"].clone();
    let body = json!({"ticket": ticket, "code": device.code(&world, 9)});
    assert_eq!(browser.post(app, "/sessions/second-factor", &body).await.status, 401);
    let mut found = Vec::new();
    for _ in 0..2000 {
        let log =
            world.operator(Method::GET, "/v1/audit?action=session.refuse", &Value::Null).await;
        assert_eq!(log.status, 200, "{}", log.body);
        found.clone_from(log.json()["data"].as_array().unwrap());
        if found.len() == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut wrong: Vec<_> =
        found.iter().map(|entry| entry["detail"]["wrong"].as_str().unwrap()).collect();
    wrong.sort_unstable();
    assert_eq!(wrong, ["code", "code", "password", "password", "password"]);
}
