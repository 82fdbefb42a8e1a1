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
use crate::{App, Config, DatabaseConfig, LimitsConfig, OpenOptions, RedisConfig, api_router};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server that tests share which do it no harm.
#[expect(clippy::disallowed_methods, reason = "tests are told in the environment where to go")]
pub(crate) fn shared_server() -> RedisAt {
    let url = std::env::var("TEST_REDIS_URL").unwrap_or_else(|_| {
        panic!(
            "the feature redis-tests is on and TEST_REDIS_URL is not set: run deploy/test, or \
             eval \"$(deploy/services up redis)\" and export TEST_REDIS_URL=$REDIS_URL"
        )
    });
    RedisAt::new(&url, Path::new("")).unwrap()
}

/// A server on a unix socket, which ends with this.
pub(crate) struct TestRedis {
    pub(crate) url: String,
    folder: tempfile::TempDir,
    child: Child,
    arguments: Vec<String>,
}

impl TestRedis {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("redis+unix://{}", folder.path().join("r").display());
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let child = spawn(folder.path(), &arguments);
        Self { url, folder, child, arguments }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.folder.path(), &self.arguments);
    }

    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// A connection of somebody else, if there is one to be had.
    pub(crate) async fn try_connect(&self) -> Option<MultiplexedConnection> {
        let at = RedisAt::new(&self.url, Path::new("")).unwrap();
        at.connect(PATIENCE).await.ok()
    }

    pub(crate) async fn run(&self, command: &[&str]) {
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
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A control plane.
pub(crate) struct Plane {
    pub(crate) app: App,
    pub(crate) key: String,
    config: Config,
    _folder: Option<tempfile::TempDir>,
}

impl Plane {
    /// One with files of its own.
    pub(crate) async fn on_file(redis: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path().into(), DatabaseConfig::default(), redis);
        Self { _folder: Some(folder), ..Self::open(config).await }
    }

    /// The same, with a Redis of an authority of this file.
    pub(crate) async fn on_file_with(redis: &str, ca_path: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path().into(), DatabaseConfig::default(), redis);
        ca_path.clone_into(&mut config.redis.ca_path);
        Self { _folder: Some(folder), ..Self::open(config).await }
    }

    /// One of several on a PostgreSQL database.
    #[cfg(feature = "postgres-tests")]
    pub(crate) async fn on_postgres(database: &str, redis: &str) -> Self {
        let limits = config(std::path::PathBuf::new(), DatabaseConfig::default(), "").limits;
        Self::on_postgres_limited(database, redis, limits).await
    }

    #[cfg(feature = "postgres-tests")]
    pub(crate) async fn on_postgres_limited(
        database: &str,
        redis: &str,
        limits: LimitsConfig,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = DatabaseConfig { url: database.to_owned(), max_connections: 4 };
        let mut config = config(folder.path().into(), database, redis);
        config.clicks.url = "none".to_owned();
        config.limits = limits;
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
    pub(crate) async fn open_again(self, redis: &str) -> Self {
        self.app.close().await;
        let mut config = self.config;
        config.redis.url = redis.to_owned();
        Self { _folder: self._folder, ..Self::open(config).await }
    }

    pub(crate) async fn call(
        &self,
        request: http::request::Builder,
        body: String,
    ) -> Response<Body> {
        let request = request
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json");
        api_router(&self.app).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }

    fn new_link(code: &str) -> String {
        format!(r#"{{"url":"https://example.com/{code}","code":"{code}"}}"#)
    }

    pub(crate) async fn create(&self, code: &str) -> Response<Body> {
        self.call(Request::post("/api/v1/links"), Self::new_link(code)).await
    }

    pub(crate) async fn create_once(&self, code: &str, key: &str) -> Response<Body> {
        let request = Request::post("/api/v1/links").header("idempotency-key", key);
        self.call(request, Self::new_link(code)).await
    }

    async fn path(&self, code: &str) -> String {
        let record = self.app.resolve(self.app.domains()[0].id, &Code::parse(code).unwrap()).await;
        format!("/api/v1/links/{}", record.unwrap().unwrap().link)
    }

    pub(crate) async fn edit(&self, code: &str, patch: &str) -> Response<Body> {
        let request = Request::builder().method(Method::PATCH).uri(self.path(code).await);
        self.call(request, patch.to_owned()).await
    }

    pub(crate) async fn delete(&self, code: &str) -> Response<Body> {
        let request = Request::builder().method(Method::DELETE).uri(self.path(code).await);
        self.call(request, String::new()).await
    }

    pub(crate) async fn keys(&self) -> RedisKeys {
        RedisKeys::new(self.app.feed_head().await.unwrap().epoch)
    }

    fn route_key(&self, keys: &RedisKeys, code: &str) -> String {
        keys.route(self.app.domains()[0].id, &Code::parse(code).unwrap())
    }

    /// What Redis has of a code.
    pub(crate) async fn route(&self, server: &TestRedis, code: &str) -> Option<RouteRecord> {
        let key = self.route_key(&self.keys().await, code);
        let mut connection = server.try_connect().await?;
        let held: Option<Vec<u8>> =
            redis::cmd("GET").arg(key).query_async(&mut connection).await.ok()?;
        held.map(|bytes| RouteValue::from_bytes(&bytes).unwrap().0)
    }

    /// What an edge would say of a code, asking Redis alone: whether there is a route, if it may
    /// conclude anything.
    pub(crate) async fn as_an_edge(
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

    pub(crate) async fn has_lease(&self, server: &TestRedis) -> bool {
        let keys = self.keys().await;
        let Some(mut connection) = server.try_connect().await else { return false };
        self.as_an_edge(&mut connection, &keys, "anything").await.is_some()
    }

    pub(crate) async fn upto(&self, server: &TestRedis) -> Option<u64> {
        let mut connection = server.try_connect().await?;
        let key = self.keys().await.upto();
        redis::cmd("GET").arg(key).query_async(&mut connection).await.unwrap()
    }

    /// The numbers of all changes in the stream, in its order.
    pub(crate) async fn changes(&self, server: &TestRedis) -> Vec<u64> {
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

    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let answer = crate::admin::router(&self.app).oneshot(request).await.unwrap();
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.into()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

/// Without limits: how fast tests are is no matter here.
fn config(data_dir: std::path::PathBuf, database: DatabaseConfig, redis: &str) -> Config {
    let limits = LimitsConfig {
        key_per_minute: 0,
        workspace_per_minute: 0,
        address_per_minute: 0,
        ..LimitsConfig::default()
    };
    let redis = RedisConfig { url: redis.to_owned(), ..RedisConfig::default() };
    Config { database, redis, limits, ..Config::new(data_dir, "https://go.example") }
}
