use super::*;
use carom_control::operator::{Health, KeyCreated, KeyList, Stats};
use insta::assert_snapshot;

#[tokio::test]
async fn keys_are_made_shown_once_and_revoked() {
    let test = Test::new().await;
    let made = test.operator(Method::POST, "/v1/keys", r#"{"name":" CI "}"#).await;
    assert_snapshot!(made.shown(), @r##"
201 Created
content-type: application/json

{
  "account_id": null,
  "addresses": [],
  "created_at": "2026-01-01T00:00:00Z",
  "domains": [],
  "expires_at": null,
  "hint": "KFKI",
  "id": "3706140701492446892",
  "key": "crm_8drrtObe8BldgAeGW6gUyRTKJJMNEt43KFKI",
  "last_used_at": null,
  "last_used_from": null,
  "name": "CI",
  "rate_per_minute": null,
  "replaced_by": null,
  "revoked_at": null,
  "scopes": [
    "*"
  ],
  "workspace_id": "3706140701491354817"
}
"##);
    let made: KeyCreated = serde_json::from_str(&made.body).unwrap();
    assert!(made.key.ends_with(&made.view.hint));
    assert!(!format!("{made:?}").contains(&made.key));

    let list = test.operator(Method::GET, "/v1/keys", "").await;
    assert!(!list.body.contains(&made.key));
    let list: KeyList = serde_json::from_str(&list.body).unwrap();
    assert_eq!(list.data.len(), 2);
    assert!(list.data.contains(&made.view));

    let path = format!("/v1/keys/{}", made.view.id);
    let revoked = test.operator(Method::DELETE, &path, "").await;
    assert_eq!(revoked.json()["revoked_at"], "2026-01-01T00:00:00Z");
    let request =
        Request::get("/api/v1/stats").header("authorization", format!("Bearer {}", made.key));
    let answer = send(test.api(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(test.get("/api/v1/stats").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_has_a_name_of_one_line() {
    let test = Test::new().await;
    assert_snapshot!(test.operator(Method::POST, "/v1/keys", r#"{"name":" "}"#).await.shown(), @r##"
422 Unprocessable Entity
content-type: application/problem+json

{
  "code": "validation",
  "detail": "The member errors has one entry per field: pointer says which, code and detail say why.",
  "errors": [
    {
      "code": "required",
      "detail": "give the key a name that says who uses it",
      "pointer": "#/name"
    }
  ],
  "instance": "urn:uuid:(request id)",
  "status": 422,
  "title": "Some fields do not make sense",
  "type": "http://localhost:8081/problems/validation"
}
"##);
    assert_snapshot!(test.operator(Method::POST, "/v1/keys", "{}").await.shown(), @r##"
422 Unprocessable Entity
content-type: application/problem+json

{
  "code": "validation",
  "detail": "The member errors has one entry per field: pointer says which, code and detail say why.",
  "errors": [
    {
      "code": "malformed",
      "detail": "missing field `name` at line 1 column 2",
      "pointer": "#"
    }
  ],
  "instance": "urn:uuid:(request id)",
  "status": 422,
  "title": "Some fields do not make sense",
  "type": "http://localhost:8081/problems/validation"
}
"##);
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(101));
    assert_eq!(test.operator(Method::POST, "/v1/keys", &long).await.status, 422);
    assert_eq!(test.operator(Method::POST, "/v1/keys", r#"{"name":"a\nb"}"#).await.status, 422);
    assert_eq!(test.operator(Method::DELETE, "/v1/keys/5", "").await.status, 404);
}

#[tokio::test]
async fn answers_can_be_read_by_the_command_line() {
    let test = Test::new().await;
    let stats = test.operator(Method::GET, "/v1/stats", "").await;
    let stats: Stats = serde_json::from_str(&stats.body).unwrap();
    assert_eq!((stats.links, stats.top.len()), (0, 0));
    let health = test.operator(Method::GET, "/v1/health", "").await;
    let health: Health = serde_json::from_str(&health.body).unwrap();
    assert_eq!(health.status, "ok");
    assert_eq!(test.operator(Method::GET, "/v1/stats?top=101", "").await.status, 400);
    let error = test.operator(Method::GET, "/v2", "").await;
    let error: carom_control::Problem = serde_json::from_str(&error.body).unwrap();
    assert_eq!(error.code, "not-found");
}

/// What `carom stats` asks: the API's report over everybody's clicks or one link's, however named.
#[tokio::test]
async fn reports_are_of_the_installation_or_of_a_link_by_any_of_its_names() {
    let test = Test::new().await;
    let made = test.post("/api/v1/links", r#"{"url":"https://example.com/","code":"a"}"#).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let get = async |path: &str| test.operator(Method::GET, path, "").await;
    let all = get("/v1/report?by=country&compare=previous").await.json();
    assert_eq!((&all["links"], &all["totals"]["clicks"]), (&1.into(), &0.into()));
    assert!(all["compare"].is_object() && all["top"]["country"].is_array());
    let names = [id.as_str(), "a", "https%3A%2F%2Fgo.example%2Fa", "go.example:8080%2Fa"];
    for name in names {
        let report = get(&format!("/v1/links/{name}/report")).await.json();
        assert_eq!(report["link_id"], id, "{name}");
        let link = get(&format!("/v1/links/{name}")).await.json();
        assert_eq!(link["short_url"], "https://go.example/a", "{name}");
    }
    for name in ["b", "7", "other.example%2Fa", "a%2Fb%2Fc", "%20"] {
        assert_eq!(get(&format!("/v1/links/{name}/report")).await.status, 404, "{name}");
    }
    assert_eq!(get("/v1/report?days=7").await.status, 400);
    let csv = get("/v1/links/a/report?format=csv&table=totals").await;
    assert!(csv.body.starts_with("from,to,clicks,"), "{}", csv.body);

    test.call(Method::DELETE, &format!("/api/v1/links/{id}"), "").await;
    for name in names {
        let link = get(&format!("/v1/links/{name}")).await.json();
        assert_eq!((&link["id"], &link["short_url"]), (&id.as_str().into(), &().into()), "{name}");
    }
}
