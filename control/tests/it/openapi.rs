//! The API's document: it is committed, it is what the program says, and it breaks no client.

mod breaking;

use super::*;
use carom_control::openapi_document;
use serde_json::Value;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
/// Set, the document is written, if it breaks no client.
const UPDATE: &str = "UPDATE_OPENAPI";

/// A client is written against what is committed.
#[test]
fn the_committed_document_is_what_the_program_says() {
    let program = openapi_document();
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_else(|_| "{}".to_owned());
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let broken = breaking::changes(&parse(&committed), &parse(&program));
    assert!(
        broken.is_empty(),
        "clients of this version's API would break; find another way, or make it a new version:\n- {}",
        broken.join("\n- ")
    );
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(COMMITTED, program).unwrap();
        return;
    }
    assert!(
        committed == program,
        "docs/openapi.json is not what the program says. What changed breaks no client: write it \
         with {UPDATE}=1 cargo test -p carom-control --test it openapi"
    );
}

#[tokio::test]
async fn the_document_and_its_page_are_served_and_load_nothing_from_elsewhere() {
    let test = Test::new().await;
    let get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        test.api().oneshot(request).await.unwrap()
    };
    let document = get("/api/v1/openapi.json").await;
    assert_eq!(document.headers()["content-type"], "application/json");
    let document = to_bytes(document.into_body(), 10 << 20).await.unwrap();
    assert_eq!(document, openapi_document().as_bytes());

    assert_eq!(get("/docs").await.headers()["location"], "/docs/");
    for (path, media_type) in [
        ("/docs/", "text/html"),
        ("/docs/swagger-initializer.js", "text/javascript"),
        ("/docs/swagger-ui-bundle.js", "text/javascript"),
        ("/docs/swagger-ui.css", "text/css"),
    ] {
        let file = get(path).await;
        assert_eq!(file.status(), StatusCode::OK, "{path}");
        assert_eq!(file.headers()["content-type"], media_type, "{path}");
        let policy = file.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("http"), "{policy}");
    }
    assert_eq!(get("/docs/nothing.js").await.status(), StatusCode::NOT_FOUND);
}

/// What the document names is there, and asks for a key wherever it says so.
#[tokio::test]
async fn every_documented_call_exists() {
    let test = Test::new().await;
    let document: Value = serde_json::from_str(&openapi_document()).unwrap();
    let mut calls = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            calls += 1;
            let is_open = call["security"] == serde_json::json!([{}]);
            let path = path.replace("{id}", "1").replace("{code}", "validation");
            let method: Method = method.to_uppercase().parse().unwrap();
            let request = Request::builder().method(&method).uri(&path);
            let request = request.header("content-type", "application/json");
            let answer = send(test.api(), request.body(Body::from("{}")).unwrap()).await;
            let expected = match (is_open, &method) {
                (true, &Method::GET) => StatusCode::OK,
                // There is no provider to sign in by.
                (true, _) if path == "/api/v1/oidc" => StatusCode::NOT_FOUND,
                // It takes no body.
                (true, _) if path == "/api/v1/sessions/passkey/options" => {
                    if cfg!(feature = "passkeys") { StatusCode::OK } else { StatusCode::NOT_FOUND }
                }
                // It looks at the body, which says nothing.
                (true, _) => StatusCode::UNPROCESSABLE_ENTITY,
                (false, _) => StatusCode::UNAUTHORIZED,
            };
            assert_eq!(answer.status, expected, "{method} {path}");
            assert!(call["operationId"].is_string(), "{method} {path} has no operationId");
        }
    }
    assert!(calls > 10, "only {calls} calls are documented");
}
