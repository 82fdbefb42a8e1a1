//! People who look after the whole installation.

use super::*;

/// The same person with a fresh session.
async fn confirmed(people: &People, person: &Person) -> Person {
    let confirm = json!({"password": PASSWORD});
    let answer = people.call(person, Method::POST, "/sessions/current/confirm", &confirm).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    let token = cookie.split_once('=').unwrap().1.split_once(';').unwrap().0.to_owned();
    Person { token, ..person.clone() }
}

#[tokio::test]
async fn operators_close_reports_and_take_out_of_service_what_does_harm() {
    let people = People::new().await;
    let operator = people.member("operator@example.com", "viewer").await;
    let ada = people.member("ada@example.com", "owner").await;
    let team = people.call(&ada, Method::POST, "/workspaces", &json!({"name": "Team"})).await;
    let team = id(&team);
    let ada = Person { workspace: Some(team.clone()), ..ada };
    let body = json!({"url": "https://example.com/", "code": "bad"});
    let link = id(&people.call(&ada, Method::POST, "/links", &body).await);
    let report = async || {
        let body =
            json!({"short_url": "go.example/bad", "reason": "spam", "contact": "me@b.example"});
        let request = Request::post("/report").header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        assert_eq!(send(api_router(&people.app), request).await.status, 202);
    };
    let act = async |path: &str, body: Value| {
        let path = format!("/operator{path}");
        people.call(&operator, Method::POST, &path, &body).await
    };
    let state = async || {
        let link = people.get(&ada, &format!("/links/{link}")).await;
        link.json()["state"].as_str().unwrap().to_owned()
    };
    report().await;
    let refused = people.get(&ada, "/operator/reports").await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (403, &"operators-only".into()));
    let queue = people.get(&operator, "/operator/reports").await.json();
    assert_eq!(queue["data"][0]["contact"], "me@b.example", "{queue}");
    assert_eq!(queue["data"][0]["workspace_id"], team.as_str());
    let close = format!("/reports/{}/close", queue["data"][0]["id"].as_str().unwrap());
    assert_eq!(act(&close, json!({"block": false})).await.json()["state"], "active");
    report().await;
    let queue = people.get(&operator, "/operator/reports").await.json();
    assert_eq!(queue["data"].as_array().unwrap().len(), 1, "{queue}");
    let close = format!("/reports/{}/close", queue["data"][0]["id"].as_str().unwrap());
    assert_eq!(act(&close, json!({"block": true})).await.json()["closed"], 1);
    assert_eq!(state().await, "blocked");
    let all = people.get(&operator, "/operator/reports?all=true").await;
    assert!(all.json()["data"].as_array().unwrap().len() == 2 && !all.body.contains("me@b"));
    assert_eq!(act(&format!("/links/{link}/unblock"), Value::Null).await.status, 200);
    assert_eq!(state().await, "active");
    assert_eq!(act(&format!("/links/{link}/block"), Value::Null).await.status, 200);
    assert_eq!(act("/links/7/block", Value::Null).await.status, 404);

    let disable = format!("/workspaces/{team}/disable");
    assert_eq!(act(&disable, Value::Null).await.status, 200);
    let again =
        people.call(&ada, Method::POST, "/links", &json!({"url": "https://a.example/"})).await;
    assert_eq!(again.status, 403);
    people.clock.advance(Duration::from_secs(601));
    let enable = format!("/workspaces/{team}/enable");
    let stale = act(&enable, Value::Null).await;
    assert_eq!(stale.json()["code"], "reauthentication-required");
    let fresh = confirmed(&people, &operator).await;
    let path = format!("/operator{enable}");
    assert_eq!(people.call(&fresh, Method::POST, &path, &Value::Null).await.status, 200);

    // The workspace is told what was done, and not by whom or from where; the installation is.
    let told = people.get(&ada, "/audit?action=link.block").await.json();
    assert!(told["data"][0]["account_id"].is_null(), "{told}");
    let log =
        people.operator(Method::GET, "/v1/audit?action=link.block", &Value::Null).await.json();
    let by = |it: &&Value| it["account_id"] == operator.id.as_str() && it["workspace_id"].is_null();
    assert_eq!(log["data"].as_array().unwrap().iter().filter(by).count(), 2, "{log}");

    let demote = format!("/v1/users/{}/demote", operator.id);
    assert_eq!(people.operator(Method::POST, &demote, &json!({})).await.status, 200);
    assert_eq!(people.get(&fresh, "/operator/reports").await.status, 403);
    let promote = format!("/v1/users/{}/promote", ada.id);
    let promoted = people.operator(Method::POST, &promote, &json!({})).await;
    assert_eq!(promoted.json()["operator"], true);
    assert_eq!(people.get(&ada, "/operator/reports").await.status, 200);
}
