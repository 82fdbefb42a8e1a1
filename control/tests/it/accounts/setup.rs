use super::*;

fn body(token: &str, email: &str) -> Value {
    json!({"token": token, "email": email, "name": "Ada", "password": PASSWORD})
}

fn token_of(link: &str) -> String {
    let (page, token) = link.split_once('#').unwrap();
    assert_eq!(page, format!("{ORIGIN}/setup"));
    token.to_owned()
}

/// Fifty at once: one makes the first account, and then the call is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_setup_link_makes_one_owner_and_is_gone() {
    let world = World::new().await;
    let token = token_of(&world.app.setup_link().await.unwrap().unwrap());
    let mut tries = tokio::task::JoinSet::new();
    for at in 0..50 {
        let (app, body) = (world.app.clone(), body(&token, &format!("person{at}@example.com")));
        tries.spawn(async move {
            let mut browser = Browser::new();
            let answer = browser.post(&app, "/setup", &body).await;
            (answer.status.as_u16(), browser)
        });
    }
    let mut winners = Vec::new();
    while let Some(done) = tries.join_next().await {
        match done.unwrap() {
            (201, browser) => winners.push(browser),
            // Somebody was quicker, or the pool of hashes was full.
            (404 | 422 | 503, _) => {}
            other => panic!("{}", other.0),
        }
    }
    let [mut owner] = <[Browser; 1]>::try_from(winners).map_err(|all| all.len()).unwrap();
    assert_eq!(owner.status(&world.app).await, 200);
    assert_eq!(owner.get(&world.app, "/links").await.status, 200);
    let link = json!({"url": "https://example.com/"});
    assert_eq!(owner.post(&world.app, "/links", &link).await.status, 201);

    let users = world.operator(Method::GET, "/v1/users", &Value::Null).await.json();
    assert_eq!(users["data"].as_array().unwrap().len(), 1);
    assert_eq!(world.app.setup_link().await.unwrap(), None);
    let late = Browser::new().post(&world.app, "/setup", &body(&token, EMAIL)).await;
    assert_eq!((late.status.as_u16(), late.json()["code"].as_str()), (404, Some("not-found")));
    world.app.close().await;
}

#[tokio::test]
async fn a_setup_link_is_known_and_young() {
    let world = World::new().await;
    let first = token_of(&world.app.setup_link().await.unwrap().unwrap());
    let unknown = Browser::new().post(&world.app, "/setup", &body("guess", EMAIL)).await;
    assert_eq!(unknown.status, 422);
    assert_eq!(unknown.json()["errors"][0]["pointer"], "#/token");
    // Another program on the same database has a link of its own, and both work.
    let second = token_of(&world.app.setup_link().await.unwrap().unwrap());
    let mut weak = body(&second, EMAIL);
    weak["password"] = "passwordpassword".into();
    let weak = Browser::new().post(&world.app, "/setup", &weak).await;
    assert_eq!(weak.json()["errors"][0]["code"], "too-weak", "{}", weak.body);
    let mut more = body(&second, EMAIL);
    more["role"] = "owner".into();
    assert_eq!(Browser::new().post(&world.app, "/setup", &more).await.status, 422);
    world.pass(Duration::from_mins(30));
    let old = Browser::new().post(&world.app, "/setup", &body(&first, EMAIL)).await;
    assert_eq!(old.status, 422);
    let third = token_of(&world.app.setup_link().await.unwrap().unwrap());
    let made = Browser::new().post(&world.app, "/setup", &body(&third, EMAIL)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.json()["account"]["email"], EMAIL);
    world.app.close().await;
}

#[tokio::test]
async fn an_operator_makes_disables_and_enables_accounts() {
    let world = World::new().await;
    let id = world.person(EMAIL).await;
    let again =
        world.operator(Method::POST, "/v1/users", &json!({"email": "ADA@example.com"})).await;
    assert_eq!(again.status, 409);
    for (field, bad) in [("role", "king"), ("email", "nobody"), ("workspace", "5")] {
        let mut body = json!({"email": "eve@example.com"});
        body[field] = bad.into();
        let refused = world.operator(Method::POST, "/v1/users", &body).await;
        let expected = if field == "workspace" { 404 } else { 422 };
        assert_eq!(refused.status, expected, "{}", refused.body);
    }
    let mut browser = Browser::new();
    assert_eq!(browser.sign_in(&world.app, EMAIL, PASSWORD).await.status, 201);
    let disabled =
        world.operator(Method::POST, &format!("/v1/users/{id}/disable"), &json!({})).await;
    assert_eq!(disabled.json()["state"], "disabled");
    assert_eq!(browser.status(&world.app).await, 401);
    assert_eq!(browser.sign_in(&world.app, EMAIL, PASSWORD).await.status, 401);
    let link =
        world.operator(Method::POST, &format!("/v1/users/{id}/link"), &json!({})).await.json();
    let token = link["link"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
    let body = json!({"token": token, "password": PASSWORD});
    let refused = Browser::new().post(&world.app, "/password-resets/confirm", &body).await;
    assert_eq!(refused.status, 422);
    world.operator(Method::POST, &format!("/v1/users/{id}/enable"), &json!({})).await;
    assert_eq!(browser.sign_in(&world.app, EMAIL, PASSWORD).await.status, 201);
    let unknown = world.operator(Method::POST, "/v1/users/5/disable", &json!({})).await;
    assert_eq!(unknown.status, 404);
    world.app.close().await;
}
