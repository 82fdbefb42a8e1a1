//! What a provider is asked with: one request of HTTP/1.1 on a connection of its own, by hyper and
//! rustls, which are in the program anyway. No redirect is followed: it could lead anywhere.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use carom_process::Tls;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Requests at once; who comes later is told that the provider is away.
const REQUESTS_MAX: usize = 16;
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// From the request to the end of its answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Bytes of an answer. A discovery document has a few thousand, a set of keys ten.
const ANSWER_LEN_MAX: usize = 256 << 10;

/// Why a request had no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("its address cannot be used: {0}")]
    Address(String),
    #[error("no certificates of authorities are found on this machine")]
    Roots,
    #[error("too many requests are under way")]
    Busy,
    #[error("cannot connect to {0}: {1}")]
    Connect(String, std::io::Error),
    #[error("cannot connect to {0}: {1}")]
    Tls(String, String),
    #[error("{0} does not answer in time")]
    Time(String),
    #[error("the connection to {0} failed: {1}")]
    Exchange(String, hyper::Error),
    #[error("the answer of {0} cannot be read, or has more than {ANSWER_LEN_MAX} bytes")]
    Answer(String),
}

/// Clones are the same one.
#[derive(Clone)]
pub(super) struct Client(Arc<Inner>);

struct Inner {
    /// `None`: this machine trusts nobody.
    tls: Option<Tls>,
    /// Whether plain HTTP is spoken too: to this machine.
    is_plain_allowed: bool,
    requests: Semaphore,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(is_plain_allowed: bool) -> Self {
        let requests = Semaphore::new(REQUESTS_MAX);
        // `SSL_CERT_FILE` names others than the machine's.
        let tls = Tls::new(Path::new(""), "SSL_CERT_FILE").ok();
        Self(Arc::new(Inner { tls, is_plain_allowed, requests }))
    }

    /// Sends a request and reads all of its answer.
    pub(super) async fn call(
        self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, HttpError> {
        let uri = request.uri().clone();
        let host = uri.host().unwrap_or_default().to_owned();
        let is_plain = uri.scheme() == Some(&Scheme::HTTP);
        if host.is_empty() || is_plain && !(self.0.is_plain_allowed && is_loopback(&host)) {
            return Err(HttpError::Address(format!("{uri} is not https")));
        }
        let _permit = self.0.requests.try_acquire().map_err(|_| HttpError::Busy)?;
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let late = |_| HttpError::Time(host.clone());
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = timeout(CONNECT_MAX, TcpStream::connect((bare, port))).await.map_err(late)?;
        let stream = stream.map_err(|error| HttpError::Connect(host.clone(), error))?;
        let request = in_origin_form(request, &uri)?;
        if is_plain {
            return timeout(ANSWER_MAX, exchange(stream, request, &host)).await.map_err(late)?;
        }
        let tls = self.0.tls.as_ref().ok_or(HttpError::Roots)?;
        let sealed = timeout(CONNECT_MAX, tls.connect(bare, stream)).await.map_err(late)?;
        let sealed = sealed.map_err(|problem| HttpError::Tls(host.clone(), problem))?;
        timeout(ANSWER_MAX, exchange(sealed, request, &host)).await.map_err(late)?
    }
}

fn is_loopback(host: &str) -> bool {
    url::Url::parse(&format!("http://{host}/"))
        .is_ok_and(|url| crate::config::is_this_machine(&url))
}

/// As a server gets it (RFC 9112, 3.2.1).
fn in_origin_form(request: Request<Vec<u8>>, uri: &Uri) -> Result<Request<Full<Bytes>>, HttpError> {
    let bad = |error: &dyn fmt::Display| HttpError::Address(error.to_string());
    let (mut parts, body) = request.into_parts();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).map_err(|error| bad(&error))?;
    parts.headers.insert(header::HOST, host);
    parts.headers.insert(header::USER_AGENT, HeaderValue::from_static("Carom"));
    let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    parts.uri = path.into();
    Ok(Request::from_parts(parts, Full::from(body)))
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
    host: &str,
) -> Result<Response<Vec<u8>>, HttpError> {
    let failed = |error| HttpError::Exchange(host.to_owned(), error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let answering = async {
        let (parts, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
        let body = Limited::new(body, ANSWER_LEN_MAX).collect().await;
        let body = body.map_err(|_| HttpError::Answer(host.to_owned()))?.to_bytes();
        Ok(Response::from_parts(parts, body.to_vec()))
    };
    // The connection is driven here, and ends with the answer: no task is left behind.
    tokio::pin!(connection, answering);
    tokio::select! {
        biased;
        answer = &mut answering => answer,
        _ = &mut connection => answering.await,
    }
}
