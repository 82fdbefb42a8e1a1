//! API keys over the API.

use std::time::Duration;

use super::*;

async fn with_key(test: &Test, key: &str, method: Method, path: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json");
    send(test.api(), request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn make(test: &Test, body: &str) -> serde_json::Value {
    let made = test.post("/api/v1/keys", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    made.json()
}

fn text<'j>(json: &'j serde_json::Value, name: &str) -> &'j str {
    json[name].as_str().unwrap()
}

/// The key with this id, of a list.
fn of_list(list: &Answer, id: &serde_json::Value) -> serde_json::Value {
    let json = list.json();
    json["data"].as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap().clone()
}

/// The id of the key that an operator made.
async fn operators_id(test: &Test) -> serde_json::Value {
    let list = test.operator(Method::GET, "/v1/keys", "").await.json();
    let keys = list["data"].as_array().unwrap();
    keys.iter().find(|key| key["name"] == "test").unwrap()["id"].clone()
}

fn pointers(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
    let json = answer.json();
    let errors = json["errors"].as_array().unwrap();
    errors.iter().map(|error| text(error, "pointer").to_owned()).collect()
}

#[tokio::test]
async fn a_key_is_made_shown_once_changed_and_revoked() {
    let test = Test::new().await;
    let made =
        test.post("/api/v1/keys", r#"{"name":" CI ","scopes":["links:write","links:read"]}"#).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!(made.headers["cache-control"], "no-store");
    let mut json = made.json();
    let secret = text(&json, "key").to_owned();
    let path = format!("/api/v1/keys/{}", text(&json, "id"));
    assert_eq!(made.headers["location"], path.as_str());
    assert!(secret.ends_with(text(&json, "hint")));
    assert_eq!(json["name"], "CI");
    assert_eq!(json["scopes"], serde_json::json!(["links:read", "links:write"]));
    // 90 days.
    assert_eq!(json["expires_at"], "2026-04-01T00:00:00Z");
    assert_eq!(json["last_used_at"], serde_json::Value::Null);

    json.as_object_mut().unwrap().remove("key");
    assert_eq!(test.get(&path).await.json(), json);
    let list = test.get("/api/v1/keys").await;
    let (listed, operators) =
        (of_list(&list, &json["id"]), of_list(&list, &operators_id(&test).await));
    assert_eq!((&listed, &operators["scopes"]), (&json, &serde_json::json!(["*"])));
    assert_eq!(list.json()["data"].as_array().unwrap().len(), 2);
    for answer in [list, test.operator(Method::GET, "/v1/keys", "").await] {
        assert!(!answer.body.contains(&secret));
    }

    let can = async |method, path: &str, body: &str| {
        with_key(&test, &secret, method, path, body).await.status.as_u16()
    };
    assert_eq!(can(Method::GET, "/api/v1/links", "").await, 200);
    assert_eq!(can(Method::GET, "/api/v1/keys", "").await, 403);
    assert_eq!(can(Method::POST, "/shorten", r#"{"url":"https://example.com/"}"#).await, 201);
    let patch = r#"{"name":"CI 2","scopes":["stats:read"],"rate_per_minute":null}"#;
    let patched = test.call(Method::PATCH, &path, patch).await;
    assert_eq!(
        (patched.status, &*patched.json()["name"].to_string()),
        (StatusCode::OK, "\"CI 2\"")
    );
    let refused = with_key(&test, &secret, Method::GET, "/api/v1/links", "").await;
    assert_eq!(refused.json()["code"], "insufficient-scope");
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"links:read\"";
    assert_eq!(refused.headers["www-authenticate"], challenge);
    assert_eq!(can(Method::GET, "/api/v1/stats", "").await, 200);

    let revoked = test.call(Method::DELETE, &path, "").await;
    assert_eq!((revoked.status, &*revoked.body), (StatusCode::NO_CONTENT, ""));
    assert_eq!(can(Method::GET, "/api/v1/stats", "").await, 401);
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        assert_eq!(test.call(method, &path, "{}").await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(test.get("/api/v1/keys").await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_with_a_secret_is_given_once() {
    let test = Test::new().await;
    for path in ["/api/v1/keys", "/api/v1/keys/1/rotate"] {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {}", test.key))
            .header("content-type", "application/json")
            .header("idempotency-key", "\"a\"");
        let body = r#"{"name":"a","scopes":["links:read"]}"#;
        let body = if path.ends_with("rotate") { "{}" } else { body };
        let answer = send(test.api(), request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    }
    assert_eq!(test.get("/api/v1/keys").await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_makes_none_that_can_do_more() {
    let test = Test::new().await;
    let maker = make(
        &test,
        r#"{"name":"maker","scopes":["keys:read","keys:write","links:read"],"rate_per_minute":50,
            "expires_at":"2026-01-11T00:00:00Z"}"#,
    )
    .await;
    let (maker, maker_id) = (text(&maker, "key").to_owned(), text(&maker, "id").to_owned());
    let post = async |body: &str| with_key(&test, &maker, Method::POST, "/api/v1/keys", body).await;
    let child = post(r#"{"name":"child","scopes":["links:read"]}"#).await.json();
    assert_eq!(child["rate_per_minute"], 50);
    assert_eq!(text(&child, "expires_at"), "2026-01-11T00:00:00Z");
    for (more, pointer) in [
        (r#""scopes":["links:write"]"#, "#/scopes"),
        (r#""scopes":["links:read","audit:read"]"#, "#/scopes"),
        (r#""scopes":["links:read"],"expires_at":"2026-01-12T00:00:00Z""#, "#/expires_at"),
        (r#""scopes":["links:read"],"rate_per_minute":51"#, "#/rate_per_minute"),
        (r#""scopes":["links:read"],"domains":["1"]"#, "#/domains"),
        (r#""scopes":[]"#, "#/scopes"),
    ] {
        assert_eq!(
            pointers(&post(&format!(r#"{{"name":"a",{more}}}"#)).await),
            [pointer],
            "{more}"
        );
    }
    // Not by changing one, nor by taking the place of one that can do more.
    let path = format!("/api/v1/keys/{}", text(&child, "id"));
    let patched =
        with_key(&test, &maker, Method::PATCH, &path, r#"{"scopes":["links:write"]}"#).await;
    assert_eq!(pointers(&patched), ["#/scopes"]);
    let strong = r#"{"name":"strong","scopes":["links:write"],"addresses":["192.0.2.0/24"],"rate_per_minute":9}"#;
    let strong = make(&test, strong).await;
    let path = format!("/api/v1/keys/{}", text(&strong, "id"));
    for (change, status) in [
        (r#"{"addresses":null}"#, 409),
        (r#"{"rate_per_minute":10}"#, 409),
        (r#"{"name":"s","rate_per_minute":8}"#, 200),
    ] {
        let patched = with_key(&test, &maker, Method::PATCH, &path, change).await;
        assert_eq!(patched.status, status, "{change}: {}", patched.body);
    }
    let path = format!("/api/v1/keys/{}/rotate", text(&strong, "id"));
    let rotated = with_key(&test, &maker, Method::POST, &path, "{}").await;
    assert_eq!(rotated.status, StatusCode::CONFLICT, "{}", rotated.body);
    assert_eq!(rotated.json()["code"], "conflict");
    // And it does not make itself live longer.
    test.clock.advance(Duration::from_secs(5 * 86_400));
    let path = format!("/api/v1/keys/{maker_id}/rotate");
    let rotated = with_key(&test, &maker, Method::POST, &path, "{}").await;
    assert_eq!(text(&rotated.json(), "expires_at"), "2026-01-11T00:00:00Z");
}

#[tokio::test]
async fn a_key_is_replaced_with_an_overlap() {
    let test = Test::new().await;
    let old = make(&test, r#"{"name":"CI","scopes":["links:read"]}"#).await;
    let path = format!("/api/v1/keys/{}/rotate", text(&old, "id"));
    for hours in ["169", "-1", "\"1\""] {
        let body = format!(r#"{{"overlap_hours":{hours}}}"#);
        assert_eq!(pointers(&test.post(&path, &body).await), ["#/overlap_hours"]);
    }
    test.clock.advance(Duration::from_secs(86_400));
    let new = test.post(&path, r#"{"overlap_hours":2}"#).await;
    assert_eq!(new.status, StatusCode::CREATED, "{}", new.body);
    let new = new.json();
    assert_eq!((text(&new, "name"), &new["scopes"]), ("CI", &old["scopes"]));
    assert_eq!(text(&new, "expires_at"), "2026-04-02T00:00:00Z");
    let list = test.get("/api/v1/keys").await;
    assert_eq!(list.json()["data"][0]["id"], new["id"], "newest first");
    let listed = of_list(&list, &old["id"]);
    assert_eq!(listed["replaced_by"], new["id"]);
    assert_eq!(text(&listed, "expires_at"), "2026-01-02T02:00:00Z");
    assert_eq!(test.post(&path, "{}").await.status, StatusCode::CONFLICT, "it has a successor");
    let can = async |key: &serde_json::Value| {
        with_key(&test, text(key, "key"), Method::GET, "/api/v1/links", "").await.status.as_u16()
    };
    assert_eq!((can(&old).await, can(&new).await), (200, 200));
    test.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!((can(&old).await, can(&new).await), (401, 200));
    let path = format!("/api/v1/keys/{}/rotate", text(&new, "id"));
    let newest = test.post(&path, r#"{"overlap_hours":0}"#).await.json();
    assert_eq!((can(&new).await, can(&newest).await), (401, 200));
}

#[tokio::test]
async fn keys_end_when_they_say_so() {
    let test = Test::new().await;
    let with =
        |expires| format!(r#"{{"name":"a","scopes":["links:read"],"expires_at":{expires}}}"#);
    for expires in ["null", "\"2025-12-31T23:59:59Z\"", "\"2027-01-03T00:00:00Z\"", "\"soon\""] {
        let answer = test.post("/api/v1/keys", &with(expires)).await;
        assert_eq!(pointers(&answer), ["#/expires_at"], "{expires}");
    }
    let key = make(&test, &with("\"2026-01-01T01:00:00Z\"")).await;
    let can = async || {
        let answer = with_key(&test, text(&key, "key"), Method::GET, "/api/v1/links", "").await;
        answer.status.as_u16()
    };
    assert_eq!(can().await, 200);
    test.clock.advance(Duration::from_secs(3600));
    assert_eq!(can().await, 401);
}

#[tokio::test]
async fn a_key_for_some_domains_sees_no_others() {
    let test = Test::new().await;
    let list = test.get("/api/v1/links").await;
    assert_eq!(list.status, StatusCode::OK);
    let made = test.post("/api/v1/links", r#"{"url":"https://example.com/"}"#).await;
    let made_path = made.headers["location"].to_str().unwrap().to_owned();
    let default = test.app.domains()[0].id.to_string();
    let body = |domain: &str| {
        format!(
            r#"{{"name":"a","scopes":["links:read","links:write","links:delete","stats:read","keys:read"],
                "domains":["{domain}"]}}"#
        )
    };
    assert_eq!(pointers(&test.post("/api/v1/keys", &body("1")).await), ["#/domains"]);
    let key = make(&test, &body(&default)).await;
    let key = text(&key, "key");
    let call =
        async |method, path: &str, body: &str| with_key(&test, key, method, path, body).await;
    for path in ["/api/v1/links", &made_path, &format!("{made_path}/stats"), "/api/v1/missing"] {
        assert_eq!(call(Method::GET, path, "").await.status, StatusCode::OK, "{path}");
    }
    let shortened = call(Method::POST, "/shorten", r#"{"url":"https://example.com/"}"#).await;
    assert_eq!(shortened.status, StatusCode::CREATED);
    // What is about the whole workspace is closed to it.
    for path in ["/api/v1/stats", "/api/v1/live", "/api/v1/keys"] {
        let answer = call(Method::GET, path, "").await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::FORBIDDEN, &"domain-restricted".into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_nobody_knows_of_is_refused() {
    let test = Test::new().await;
    for body in [
        r#"{"name":"a","scopes":["links:read"],"workspace_id":"1"}"#,
        r#"{"name":"a","scopes":["links:read"],"account_id":"1"}"#,
        r#"{"name":"a","scopes":["links:read"],"hash":"1"}"#,
    ] {
        let answer = test.post("/api/v1/keys", body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
    }
    assert_eq!(test.get("/api/v1/keys/1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(test.get("/api/v1/keys/a").await.status, StatusCode::NOT_FOUND);
    assert_eq!(test.get("/api/v1/keys?all=true").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn operators_bound_keys_too() {
    let test = Test::new().await;
    let body = r#"{"name":"a","scopes":["links:read"],"expires_in_s":60}"#;
    let made = test.operator(Method::POST, "/v1/keys", body).await.json();
    assert_eq!(text(&made, "expires_at"), "2026-01-01T00:01:00Z");
    let key = text(&made, "key").to_owned();
    let post = with_key(&test, &key, Method::POST, "/shorten", r#"{"url":"https://e.com/"}"#).await;
    assert_eq!(post.status, StatusCode::FORBIDDEN);
    let rotate = format!("/v1/keys/{}/rotate", text(&made, "id"));
    let new = test.operator(Method::POST, &rotate, r#"{"overlap_hours":0}"#).await;
    assert_eq!(new.status, StatusCode::CREATED, "{}", new.body);
    let old = with_key(&test, &key, Method::GET, "/api/v1/links", "").await;
    assert_eq!(old.status, StatusCode::UNAUTHORIZED);
    let wrong = r#"{"name":"a","scopes":["links:own"]}"#;
    assert_eq!(pointers(&test.operator(Method::POST, "/v1/keys", wrong).await), ["#/scopes"]);
}

/// A key of another workspace does not exist, whatever is asked of it.
#[tokio::test]
async fn keys_of_another_workspace_are_nowhere() {
    let people = super::people::People::new().await;
    let ada = people.member("ada@example.com", "owner").await;
    let body = serde_json::json!({"name": "B"});
    let other = people.call(&ada, Method::POST, "/workspaces", &body).await.json();
    let there = super::people::Person {
        workspace: Some(other["id"].as_str().unwrap().to_owned()),
        ..ada.clone()
    };
    let body = serde_json::json!({"name": "k", "scopes": ["links:read"]});
    let made = people.call(&there, Method::POST, "/keys", &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let path = format!("/keys/{}", made.json()["id"].as_str().unwrap());
    let random = "/keys/4611686018427387904".to_owned();
    let body = serde_json::json!({"name": "k", "scopes": ["keys:read", "keys:write"]});
    let operators = people.operator(Method::POST, "/v1/keys", &body).await;
    let operators = operators.json()["key"].as_str().unwrap().to_owned();
    let null = serde_json::Value::Null;
    let rename = serde_json::json!({"name": "mine"});
    let rotate = serde_json::json!({"overlap_hours": 1});
    for (method, end, body) in [
        (Method::GET, "", &null),
        (Method::PATCH, "", &rename),
        (Method::POST, "/rotate", &rotate),
        (Method::DELETE, "", &null),
    ] {
        let shown = |answer: Answer| {
            let mut json = answer.json();
            json.as_object_mut().unwrap().remove("instance");
            (answer.status.as_u16(), json)
        };
        let by_person = people.call(&ada, method.clone(), &format!("{path}{end}"), body).await;
        let by_key = people.by_key(&operators, method.clone(), &format!("{path}{end}"), body).await;
        let nothing = people.call(&ada, method.clone(), &format!("{random}{end}"), body).await;
        let nothing = shown(nothing);
        assert_eq!(nothing.0, 404, "{method} {end}: {}", nothing.1);
        assert_eq!(shown(by_person), nothing, "{method} {end}");
        assert_eq!(shown(by_key), nothing, "{method} {end}");
    }
    let mine = people.call(&there, Method::GET, &path, &null).await;
    assert_eq!((mine.status.as_u16(), mine.json()["name"].as_str()), (200, Some("k")));
}
