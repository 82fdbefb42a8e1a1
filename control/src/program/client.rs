//! Just enough of an HTTP client to speak to another process of Carom on this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 4 << 20;
const TIMEOUT: Duration = Duration::from_secs(15);

/// Asks a local address for a path. An address that stands for all interfaces is asked on loopback.
pub async fn get(address: SocketAddr, path: &str) -> io::Result<(StatusCode, Bytes)> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let request = Request::get(path).body(Full::default()).map_err(io::Error::other)?;
    within(async { exchange(TcpStream::connect((ip, address.port())).await?, request).await }).await
}

/// Sends a request over a Unix socket.
pub async fn send(socket: &Path, request: Request<Full<Bytes>>) -> io::Result<(StatusCode, Bytes)> {
    within(async { exchange(UnixStream::connect(socket).await?, request).await }).await
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer in {} s", TIMEOUT.as_secs()),
        ))
    })
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    mut request: Request<Full<Bytes>>,
) -> io::Result<(StatusCode, Bytes)> {
    request.headers_mut().insert(HOST, http::HeaderValue::from_static("localhost"));
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        Ok((status, body.map_err(io::Error::other)?.to_bytes()))
    };
    let (answer, _closed) = tokio::join!(answer, connection);
    answer
}
