//! People: the first account, signing in and out, second factors, letters, and what the database
//! holds of it all.

mod ending;
mod factor;
mod letters;
#[cfg(feature = "oidc")]
mod oidc;
#[cfg(feature = "passkeys")]
mod passkeys;
mod sessions;
mod setup;

use std::fs;

use super::*;
use carom_control::Registration;
use serde_json::{Value, json};
use smtp::Sink;
use std::time::Duration;

#[path = "../support/smtp.rs"]
mod smtp;

/// Where browsers have the control plane.
const ORIGIN: &str = "https://admin.example";
const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "seven purple lanterns drift";
const COOKIE: &str = "__Host-carom_session";

/// A fresh installation with a mail server, and nobody in it.
struct World {
    app: App,
    clock: Arc<TestClock>,
    folder: tempfile::TempDir,
    database: TestDatabase,
    mail: Sink,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(edit: impl Fn(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::new(NOW));
        let database = TestDatabase::new(folder.path()).await;
        let mail = Sink::start().await;
        let mut config = Self::config(&folder, &database, &mail);
        edit(&mut config);
        let app = open(config, Arc::clone(&clock), 1).await.unwrap();
        Self { app, clock, folder, database, mail }
    }

    fn config(folder: &tempfile::TempDir, database: &TestDatabase, mail: &Sink) -> Config {
        let mut config = config(folder.path());
        config.control.public_url = ORIGIN.into();
        config.database.url = database.url();
        config.mail.url.clone_from(&mail.url);
        config.mail.from = "Carom <carom@admin.example>".into();
        config
    }

    /// Another control plane on the same database and the same clock.
    async fn other(&self) -> App {
        let mut config = Self::config(&self.folder, &self.database, &self.mail);
        config.clicks.url = "sqlite://{data_dir}/other.db".into();
        open(config, Arc::clone(&self.clock), 2).await.unwrap()
    }

    async fn operator(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        send(operator_surface::router(&self.app), request).await
    }

    /// Makes an account with the password; gives its id.
    async fn person(&self, email: &str) -> String {
        let made = self.operator(Method::POST, "/v1/users", &json!({"email": email})).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let link = made.json()["link"].as_str().unwrap().to_owned();
        let token = link.split_once('#').unwrap().1;
        let body = json!({"token": token, "password": PASSWORD});
        let set = Browser::new().post(&self.app, "/password-resets/confirm", &body).await;
        assert_eq!(set.status, 204, "{}", set.body);
        self.mail.next(email).await;
        made.json()["id"].as_str().unwrap().to_owned()
    }

    /// A person who is signed in.
    async fn signed_in(&self, email: &str) -> Browser {
        self.person(email).await;
        let mut browser = Browser::new();
        let answer = browser.sign_in(&self.app, email, PASSWORD).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        browser
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

/// A browser with one cookie.
#[derive(Clone, Default)]
struct Browser {
    token: Option<String>,
    agent: String,
}

impl Browser {
    fn new() -> Self {
        Self { token: None, agent: "Browser 1".into() }
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("origin", ORIGIN)
            .header("user-agent", &self.agent)
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("cookie", format!("theme=dark; {COOKIE}={token}"));
        }
        request
    }

    /// Sends a request and keeps the cookie of its answer.
    async fn call(&mut self, app: &App, method: Method, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let answer = send(api_router(app), self.request(method, path).body(body).unwrap()).await;
        let mut cookies = answer.headers.get_all("set-cookie").iter();
        if let Some(cookie) = cookies.next() {
            assert!(cookies.next().is_none());
            let value = cookie.to_str().unwrap().strip_prefix(COOKIE).unwrap();
            let (token, flags) = value.strip_prefix('=').unwrap().split_once(';').unwrap();
            assert!(flags.starts_with(" Path=/; Secure; HttpOnly; SameSite=Lax"), "{flags}");
            self.token = (!token.is_empty()).then(|| token.to_owned());
        }
        answer
    }

    async fn get(&mut self, app: &App, path: &str) -> Answer {
        self.call(app, Method::GET, path, &Value::Null).await
    }

    async fn post(&mut self, app: &App, path: &str, body: &Value) -> Answer {
        self.call(app, Method::POST, path, body).await
    }

    async fn delete(&mut self, app: &App, path: &str) -> Answer {
        self.call(app, Method::DELETE, path, &Value::Null).await
    }

    async fn sign_in(&mut self, app: &App, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password});
        self.post(app, "/sessions", &body).await
    }

    /// The status of a call that needs a session.
    async fn status(&mut self, app: &App) -> u16 {
        self.get(app, "/account").await.status.as_u16()
    }
}

/// All that a copy of the database holds, as bytes.
#[cfg_attr(
    not(feature = "postgres-tests"),
    expect(clippy::unused_async, reason = "a server's database is asked, a file is read")
)]
async fn dump(world: &World) -> Vec<u8> {
    match &world.database {
        TestDatabase::Sqlite(path) => {
            let files = ["", "-wal"].map(|end| format!("{}{end}", path.display()));
            files.iter().flat_map(|file| fs::read(file).unwrap_or_default()).collect()
        }
        #[cfg(feature = "postgres-tests")]
        TestDatabase::Postgres(database) => {
            const TABLES: [&str; 6] = [
                "select coalesce(string_agg(t::text, ' '), '') from account t",
                "select coalesce(string_agg(t::text, ' '), '') from account_token t",
                "select coalesce(string_agg(t::text, ' '), '') from recovery_code t",
                "select coalesce(string_agg(t::text, ' '), '') from session t",
                "select coalesce(string_agg(t::text, ' '), '') from session_replaced t",
                "select coalesce(string_agg(t::text, ' '), '') from audit t",
            ];
            let mut connection = database.connect().await;
            let mut all = Vec::new();
            for table in TABLES {
                let text: String =
                    sqlx::query_scalar(table).fetch_one(&mut connection).await.unwrap();
                all.extend(text.into_bytes());
            }
            all
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
