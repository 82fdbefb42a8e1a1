//! The control plane from outside: its API through the router, as a client sees it.
//!
//! The target `it` runs all of it on SQLite, and the target `it_postgres` includes these files and
//! runs them on PostgreSQL: which one is asked in `database` alone.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod abuse;
mod accounts;
mod admin;
mod api;
mod bulk;
mod clicks;
mod create;
mod database;
mod domains;
mod edit;
mod idempotency;
mod import;
mod internal;
mod keys;
mod links;
mod live;
mod matrix;
mod missing;
mod openapi;
mod operator;
mod pages;
mod people;
#[cfg(feature = "postgres-tests")]
#[path = "../support/postgres.rs"]
pub(crate) mod postgres;
mod problems;
mod server;
mod shares;
mod sort;
mod start;
mod stats;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use carom_control::{
    App, Config, OpenError, OpenOptions, admin as admin_surface, api_router,
    operator as operator_surface,
};
use carom_shared::{SeededRandom, TestClock, UnixMillis};
use http::{HeaderMap, Method, Request, StatusCode};
use tower::ServiceExt;

use database::TestDatabase;

/// 2026-01-01T00:00:00Z
const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

/// Settings for a folder, without limits of requests: both stores are files in it.
fn config(folder: &Path) -> Config {
    let mut config = Config::new(folder.into(), "https://go.example");
    // Time stands still in most tests, and no quota comes back.
    config.limits.key_per_minute = 0;
    config.limits.workspace_per_minute = 0;
    config.limits.address_per_minute = 0;
    config
}

async fn open(config: Config, clock: Arc<TestClock>, seed: u64) -> Result<App, OpenError> {
    App::open(OpenOptions { config, clock, random: Arc::new(SeededRandom::new(seed)) }).await
}

/// A fresh installation with one API key.
struct Test {
    app: App,
    /// Made once: it writes the API's whole document.
    router: Router,
    clock: Arc<TestClock>,
    folder: tempfile::TempDir,
    database: TestDatabase,
    key: String,
}

impl Test {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::new(NOW));
        let database = TestDatabase::new(folder.path()).await;
        let mut config = config(folder.path());
        config.database.url = database.url();
        let app = open(config, Arc::clone(&clock), 1).await.unwrap();
        let router = api_router(&app);
        let mut test = Self { app, router, clock, folder, database, key: String::new() };
        let made = test.operator(Method::POST, "/v1/keys", r#"{"name":"test"}"#).await;
        test.key = made.json()["key"].as_str().unwrap().to_owned();
        test
    }

    /// The settings to open the same installation again.
    fn config(&self) -> Config {
        let mut config = config(self.folder.path());
        config.database.url = self.database.url();
        config
    }

    /// The same installation, opened again.
    fn reopened(&mut self, app: App) {
        self.router = api_router(&app);
        self.app = app;
    }

    fn api(&self) -> Router {
        self.router.clone()
    }

    /// A call with the key and a JSON body.
    async fn call(&self, method: Method, path: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json");
        send(self.api(), request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        self.call(Method::POST, path, body).await
    }

    async fn operator(&self, method: Method, path: &str, body: &str) -> Answer {
        let request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_owned())).unwrap();
        send(operator_surface::router(&self.app), request).await
    }

    async fn admin(&self, path: &str) -> Answer {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        send(admin_surface::router(&self.app), request).await
    }

    /// The value of a metric without labels.
    async fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").await.body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// What a client sees: status, the headers that matter, the body.
    fn shown(&self) -> String {
        let mut text = self.status.to_string();
        for name in ["content-type", "location", "etag", "allow", "www-authenticate", "retry-after"]
        {
            if let Some(value) = self.headers.get(name) {
                write!(text, "\n{name}: {}", value.to_str().unwrap()).unwrap();
            }
        }
        let body = match serde_json::from_str::<serde_json::Value>(&self.body) {
            Ok(mut json) => {
                if let Some(instance) = json.get_mut("instance") {
                    assert!(instance.as_str().unwrap().starts_with("urn:uuid:"));
                    *instance = "urn:uuid:(request id)".into();
                }
                serde_json::to_string_pretty(&json).unwrap()
            }
            Err(_) => self.body.clone(),
        };
        write!(text, "\n\n{body}").unwrap();
        text
    }
}

pub(crate) async fn send(router: Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, 10 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}
