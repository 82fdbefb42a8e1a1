//! As clients see it, with addresses that only tests can choose.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use carom_shared::{AccountId, SeededRandom, TestClock};
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::account::store::{account_fetch, account_find};
use crate::audit::list::{AuditFilter, AuditQuery};
use crate::audit::store::audit_list;
use crate::click::report::params::Format;
use crate::http::address::Peer;
use crate::{Config, OpenOptions, api_router, operator};

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "seven purple lanterns drift";

struct Test {
    app: App,
    clock: Arc<TestClock>,
    _folder: tempfile::TempDir,
}

impl Test {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::new(crate::testing::NOW));
        let mut config = Config::new(folder.path().into(), "https://go.example");
        config.accounts.password_memory_kib = 7168;
        config.accounts.password_iterations = 5;
        let random = Arc::new(SeededRandom::new(1));
        let options = OpenOptions { config, clock: Arc::clone(&clock) as _, random };
        let app = App::open(options).await.unwrap();
        Self { app, clock, _folder: folder }
    }

    async fn send(&self, from: &str, path: &str, body: &Value) -> u16 {
        // No limit is this test's.
        self.clock.advance(Duration::from_mins(6));
        let request =
            Request::post(format!("/api/v1{path}")).header("content-type", "application/json");
        let mut request = request.body(Body::from(body.to_string())).unwrap();
        request.extensions_mut().insert(Peer(from.parse::<IpAddr>().ok()));
        api_router(&self.app).oneshot(request).await.unwrap().status().as_u16()
    }

    async fn sign_in(&self, from: &str, password: &str) -> u16 {
        self.send(from, "/sessions", &json!({"email": EMAIL, "password": password})).await
    }

    async fn operator(&self, path: &str, body: &Value) -> Value {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let answer = operator::router(&self.app).oneshot(request).await.unwrap();
        serde_json::from_slice(&to_bytes(answer.into_body(), 10_000).await.unwrap()).unwrap()
    }

    async fn set_password(&self, made: &Value) {
        let token = made["link"].as_str().unwrap().split_once('#').unwrap().1;
        let body = json!({"token": token, "password": PASSWORD});
        assert_eq!(self.send("192.0.2.1", "/password-resets/confirm", &body).await, 204);
    }

    async fn tries(&self) -> i64 {
        let email = Email::parse(EMAIL, "#").unwrap();
        account_find(self.app.read(), &email).await.unwrap().unwrap().wrong_tries
    }

    /// What was wrong is counted after the answer.
    async fn tries_become(&self, expected: i64) {
        for _ in 0..2000 {
            if self.tries().await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} wrong tries, not {expected}", self.tries().await);
    }
}

/// Counts as many as if they had been sent.
struct Many(AccountId, i64);

impl Act for Many {
    type Done = Vec<bool>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Vec<bool>, StoreError> {
        let mut told = Vec::new();
        for _ in 0..self.1 {
            let full = wrong(writing, self.0, Tried::Code, &Actor::default()).await?;
            told.push(full.is_some());
        }
        Ok(told)
    }
}

#[tokio::test]
async fn after_a_hundred_wrong_tries_a_password_signs_in_where_its_owner_was() {
    let test = Test::new().await;
    let made = test.operator("/v1/users", &json!({"email": EMAIL})).await;
    test.set_password(&made).await;
    let id: AccountId = made["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(test.sign_in("192.0.2.1", PASSWORD).await, 201);

    assert_eq!(test.sign_in("203.0.113.9", "a wrong password").await, 401);
    test.tries_become(1).await;
    // Whoever signs in begins anew.
    assert_eq!(test.sign_in("203.0.113.9", PASSWORD).await, 201);
    assert_eq!(test.tries().await, 0);

    assert_eq!(test.app.act(Many(id, MAX - 1)).await.unwrap(), [false; 99]);
    assert_eq!(test.sign_in("198.51.100.7", PASSWORD).await, 201, "99 are not too many");
    assert_eq!(test.app.act(Many(id, MAX - 1)).await.unwrap(), [false; 99]);
    assert_eq!(test.sign_in("198.51.100.8", "a wrong password").await, 401);
    test.tries_become(MAX).await;
    for (from, status) in [
        ("198.51.100.9", 401),
        ("2001:db8::1", 401),
        // Nobody knows from where.
        ("", 401),
        ("192.0.2.1", 201),
    ] {
        assert_eq!(test.sign_in(from, PASSWORD).await, status, "{from}");
    }
    // What the owner does where they are ends it for everywhere.
    assert_eq!(test.sign_in("198.51.100.9", PASSWORD).await, 201);

    // So does a new password, wherever it is set.
    assert_eq!(test.app.act(Many(id, MAX + 1)).await.unwrap().iter().filter(|it| **it).count(), 1);
    assert_eq!(test.sign_in("198.51.100.10", PASSWORD).await, 401);
    let link = test.operator(&format!("/v1/users/{id}/link"), &json!({})).await;
    test.set_password(&link).await;
    assert_eq!(test.sign_in("198.51.100.10", PASSWORD).await, 201);

    // The log tells of each, with from where, and of nobody as who did it.
    let filter = AuditFilter {
        workspace: None,
        action: Some("session.refuse".into()),
        object: None,
        account: None,
        key: None,
        from: None,
        to: None,
    };
    let query = AuditQuery { filter, below: None, limit: 500, format: Format::default() };
    let refused = audit_list(test.app.read(), &query, 500).await.unwrap();
    assert_eq!(refused.len(), 2 + 99 + 99 + 101);
    assert!(
        refused.iter().all(|it| it.account_id.is_none() && it.object == format!("account:{id}"))
    );
    assert!(refused.iter().any(|it| it.address == "198.51.100.8"));
    assert!(account_fetch(test.app.read(), id).await.unwrap().is_some());
    test.app.close().await;
}
