//! A Redis server of a test's own, and a control plane that uses it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use carom_shared::redis::{PAGE_FIELD, RedisKeys, RouteValue, info_field};
use carom_shared::{Code, FeedPage, RouteRecord, SystemClock, SystemRandom};
use http::{Method, Request, Response};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use tower::ServiceExt as _;

use super::super::RedisAt;
use crate::{
    App, ClicksConfig, Config, ControlConfig, DatabaseConfig, InternalConfig, OpenOptions,
    RedisConfig, api_router,
};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server that tests share which do it no harm.
#[expect(clippy::disallowed_methods, reason = "tests are told in the environment where to go")]
pub(super) fn shared_server() -> RedisAt {
    let url = std::env::var("TEST_REDIS_URL").unwrap_or_else(|_| {
        panic!(
            "the feature redis-tests is on and TEST_REDIS_URL is not set: run deploy/test, or \
             eval \"$(deploy/services up redis)\" and export TEST_REDIS_URL=$REDIS_URL"
        )
    });
    RedisAt::parse(&url).unwrap()
}

/// A server on a unix socket, which ends with this.
pub(super) struct TestRedis {
    pub(super) url: String,
    folder: tempfile::TempDir,
    child: Child,
    arguments: Vec<String>,
}

impl TestRedis {
    pub(super) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("redis+unix://{}", folder.path().join("r").display());
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let child = spawn(folder.path(), &arguments);
        Self { url, folder, child, arguments }
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn start_again(&mut self) {
        self.child = spawn(self.folder.path(), &self.arguments);
    }

    pub(super) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(super) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// A connection of somebody else, if there is one to be had.
    pub(super) async fn try_connect(&self) -> Option<MultiplexedConnection> {
        let at = RedisAt::parse(&self.url).unwrap();
        at.connect(Duration::from_millis(500)).await.ok()
    }

    pub(super) async fn run(&self, command: &[&str]) {
        let mut connection = self.try_connect().await.unwrap();
        let mut run = redis::cmd(command[0]);
        run.arg(&command[1..]).exec_async(&mut connection).await.unwrap();
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        // A server that stands still takes no other signal.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts a server and waits until it answers.
fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let socket = folder.join("r");
    drop(std::fs::remove_file(&socket));
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .arg("--dir")
        .arg(folder)
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server cannot be started from PATH: {error}"));
    let began = std::time::Instant::now();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(began.elapsed() < PATIENCE, "redis-server does not answer");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

/// Waits for what has to come.
pub(super) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A control plane.
pub(super) struct Plane {
    pub(super) app: App,
    pub(super) key: String,
    config: Config,
    _folder: Option<tempfile::TempDir>,
}

impl Plane {
    /// One with files of its own.
    pub(super) async fn on_file(redis: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path().into(), DatabaseConfig::default(), redis);
        Self { _folder: Some(folder), ..Self::open(config).await }
    }

    /// One of several on a PostgreSQL database.
    #[cfg(feature = "postgres-tests")]
    pub(super) async fn on_postgres(database: &str, redis: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = DatabaseConfig { url: database.to_owned(), max_connections: 4 };
        let mut config = config(folder.path().into(), database, redis);
        config.clicks.url = "none".to_owned();
        Self { _folder: Some(folder), ..Self::open(config).await }
    }

    async fn open(config: Config) -> Self {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let options = OpenOptions { config: config.clone(), clock, random };
        let app = App::open(options).await.unwrap();
        let key = app.key_create("test").await.unwrap().key;
        Self { app, key, config, _folder: None }
    }

    /// The same files, after this process: with Redis or without.
    pub(super) async fn open_again(self, redis: &str) -> Self {
        self.app.close().await;
        let mut config = self.config;
        config.redis.url = redis.to_owned();
        Self { _folder: self._folder, ..Self::open(config).await }
    }

    async fn call(&self, request: http::request::Builder, body: String) -> Response<Body> {
        let request = request
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json");
        api_router(&self.app).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }

    fn new_link(code: &str) -> String {
        format!(r#"{{"url":"https://example.com/{code}","code":"{code}"}}"#)
    }

    pub(super) async fn create(&self, code: &str) -> Response<Body> {
        self.call(Request::post("/api/v1/links"), Self::new_link(code)).await
    }

    pub(super) async fn create_once(&self, code: &str, key: &str) -> Response<Body> {
        let request = Request::post("/api/v1/links").header("idempotency-key", key);
        self.call(request, Self::new_link(code)).await
    }

    async fn path(&self, code: &str) -> String {
        let record = self.app.resolve(self.app.domains()[0].id, &Code::parse(code).unwrap()).await;
        format!("/api/v1/links/{}", record.unwrap().unwrap().link)
    }

    pub(super) async fn edit(&self, code: &str, patch: &str) -> Response<Body> {
        let request = Request::builder().method(Method::PATCH).uri(self.path(code).await);
        self.call(request, patch.to_owned()).await
    }

    pub(super) async fn delete(&self, code: &str) -> Response<Body> {
        let request = Request::builder().method(Method::DELETE).uri(self.path(code).await);
        self.call(request, String::new()).await
    }

    pub(super) async fn keys(&self) -> RedisKeys {
        RedisKeys::new(self.app.feed_head().await.unwrap().epoch)
    }

    fn route_key(&self, keys: &RedisKeys, code: &str) -> String {
        keys.route(self.app.domains()[0].id, &Code::parse(code).unwrap())
    }

    /// What Redis has of a code.
    pub(super) async fn route(&self, server: &TestRedis, code: &str) -> Option<RouteRecord> {
        let key = self.route_key(&self.keys().await, code);
        let mut connection = server.try_connect().await?;
        let held: Option<Vec<u8>> =
            redis::cmd("GET").arg(key).query_async(&mut connection).await.ok()?;
        held.map(|bytes| RouteValue::from_bytes(&bytes).unwrap().0)
    }

    /// What an edge would say of a code, asking Redis alone: whether there is a route, if it may
    /// conclude anything.
    pub(super) async fn as_an_edge(
        &self,
        connection: &mut MultiplexedConnection,
        keys: &RedisKeys,
        code: &str,
    ) -> Option<bool> {
        let info: String = redis::cmd("INFO").arg("server").query_async(connection).await.ok()?;
        let mut ask = redis::pipe();
        ask.cmd("GET").arg(keys.lease()).cmd("EXISTS").arg(self.route_key(keys, code));
        let (lease, found): (Option<String>, bool) = ask.query_async(connection).await.ok()?;
        (lease.as_deref() == info_field(&info, "run_id")).then_some(found)
    }

    pub(super) async fn has_lease(&self, server: &TestRedis) -> bool {
        let keys = self.keys().await;
        let Some(mut connection) = server.try_connect().await else { return false };
        self.as_an_edge(&mut connection, &keys, "anything").await.is_some()
    }

    pub(super) async fn upto(&self, server: &TestRedis) -> Option<u64> {
        let mut connection = server.try_connect().await?;
        let key = self.keys().await.upto();
        redis::cmd("GET").arg(key).query_async(&mut connection).await.unwrap()
    }

    /// The numbers of all changes in the stream, in its order.
    pub(super) async fn changes(&self, server: &TestRedis) -> Vec<u64> {
        let mut connection = server.try_connect().await.unwrap();
        let mut range = redis::cmd("XRANGE");
        range.arg(self.keys().await.changes()).arg("-").arg("+");
        let range: StreamRangeReply = range.query_async(&mut connection).await.unwrap();
        let page = |entry: redis::streams::StreamId| {
            let bytes: Vec<u8> = entry.get(PAGE_FIELD).unwrap();
            FeedPage::from_bytes(&bytes).unwrap()
        };
        let pages = range.ids.into_iter().map(page);
        pages.flat_map(|page| (0..page.changes.len() as u64).map(move |n| page.first + n)).collect()
    }

    pub(super) async fn metric(&self, name: &str) -> u64 {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let answer = crate::admin::router(&self.app).oneshot(request).await.unwrap();
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.into()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

fn config(data_dir: std::path::PathBuf, database: DatabaseConfig, redis: &str) -> Config {
    Config {
        data_dir,
        public_url: "https://go.example".into(),
        home_url: String::new(),
        control: ControlConfig::default(),
        internal: InternalConfig::default(),
        database,
        clicks: ClicksConfig::default(),
        redis: RedisConfig { url: redis.to_owned() },
    }
}
