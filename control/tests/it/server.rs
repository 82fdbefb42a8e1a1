use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use carom_control::{Limits, Listener, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Server {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<usize>,
    /// Told when a slow request has come.
    has_come: Arc<Notify>,
}

async fn start(limits: Limits) -> Server {
    let has_come = Arc::new(Notify::new());
    let slow = |sleep: Duration| {
        let has_come = Arc::clone(&has_come);
        get(async move || {
            has_come.notify_one();
            tokio::time::sleep(sleep).await;
            "slept"
        })
    };
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/slow", slow(Duration::from_millis(400)))
        .route("/slower", slow(Duration::from_mins(1)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    let task = tasks.spawn(serve(router, Listener::Tcp(listener), limits, shutdown.clone()));
    Server { address, shutdown, task, has_come }
}

async fn connect(server: &Server, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn read_all(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    // A reset is an end too.
    stream.read_to_string(&mut text).await.unwrap_or_default();
    text
}

const CLOSE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn silent_and_half_heard_clients_are_let_go() {
    let limits = Limits { header_read: Duration::from_millis(200), ..Limits::default() };
    let server = start(limits).await;
    for text in ["", "GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let stream = connect(&server, text).await;
        let closed = tokio::time::timeout(Duration::from_secs(5), read_all(stream)).await;
        assert!(closed.is_ok(), "{text:?}");
    }
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_a_slot() {
    let server = start(Limits { connections: 1, ..Limits::default() }).await;
    let first = connect(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let second = connect(&server, CLOSE).await;
    let mut second = Box::pin(read_all(second));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut second).await;
    assert!(early.is_err(), "{early:?}");
    drop(first);
    let text = tokio::time::timeout(Duration::from_secs(5), second).await.unwrap();
    assert!(text.ends_with("hello"), "{text}");
}

#[tokio::test]
async fn shutdown_lets_requests_end() {
    let server = start(Limits::default()).await;
    let idle = connect(&server, "").await;
    let busy = connect(&server, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.has_come.notified().await;
    server.shutdown.cancel();
    let text = read_all(busy).await;
    assert!(text.ends_with("slept") && text.contains("connection: close"), "{text}");
    assert_eq!(server.task.await.unwrap(), 0);
    assert_eq!(read_all(idle).await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn shutdown_cuts_off_what_takes_too_long() {
    let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
    let server = start(limits).await;
    let busy = connect(&server, "GET /slower HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.has_come.notified().await;
    let started = Instant::now();
    server.shutdown.cancel();
    server.task.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(read_all(busy).await, "");
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let server = start(Limits::default()).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100));
    for text in [long, many] {
        let answer = read_all(connect(&server, &text).await).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_served_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let listener = Listener::Unix(UnixListener::bind(&path).unwrap());
    let router = Router::new().route("/", get(async || "hello"));
    let shutdown = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    let task = tasks.spawn(serve(router, listener, Limits::default(), shutdown.clone()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(CLOSE.as_bytes()).await.unwrap();
    assert!(read_all(stream).await.ends_with("hello"));
    shutdown.cancel();
    assert_eq!(task.await.unwrap(), 0);
}
