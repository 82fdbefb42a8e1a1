//! ClickHouse's HTTP interface, as far as it is used: a statement, settings, a body, an answer.
//!
//! Of our own on hyper, like an edge's connections to control, and not the `clickhouse` crate: questions
//! have columns that are chosen when they are asked, where the crate derives rows from types; an insert's
//! bytes are ready and need a `Content-Length`; and what a failure means (was it carried out, or may it
//! be?) is decided from codes and from how far a request got, of which the crate leaves a text.
//!
//! There is no TLS: a server elsewhere is reached through a private network or a tunnel.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use url::Url;

/// Connections, at most; who finds none free waits.
const CONNECTIONS: usize = 16;
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// From a request to the end of its answer: more than any statement may take (`max_execution_time`).
const ANSWER_MAX: Duration = Duration::from_secs(150);
/// Servers close what was not used for so long (`keep_alive_timeout`, 3 s up to 24.x).
const IDLE_MAX: Duration = Duration::from_secs(2);
/// Bytes of an answer, at most.
const ANSWER_LEN_MAX: usize = 64 << 20;
/// Characters of an error of the server's that are repeated.
const ERROR_LEN: usize = 500;

/// Why a statement was not carried out, or is not known to be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClickHouseError {
    /// It was not sent.
    #[error("ClickHouse cannot be reached: {0}")]
    Away(String),
    /// It was sent, and no whole answer came.
    #[error("ClickHouse did not answer: {0}")]
    Lost(String),
    /// The server says why not.
    #[error("ClickHouse refused: {text}")]
    Refused { code: u32, text: String },
    #[error("ClickHouse gave an answer that cannot be read: {0}")]
    Answer(String),
    /// A batch is not stored yet.
    #[error("{0}")]
    Later(String),
}

impl ClickHouseError {
    /// Whether trying again later can help, without anybody doing anything.
    pub(crate) const fn is_unavailable(&self) -> bool {
        match self {
            Self::Away(_) | Self::Lost(_) | Self::Later(_) => true,
            Self::Answer(_) => false,
            // TIMEOUT_EXCEEDED, TOO_MANY_SIMULTANEOUS_QUERIES, SOCKET_TIMEOUT, NETWORK_ERROR,
            // TABLE_IS_READ_ONLY, MEMORY_LIMIT_EXCEEDED, TOO_MANY_PARTS, QUERY_WITH_SAME_ID,
            // NOT_ENOUGH_SPACE, KEEPER_EXCEPTION.
            Self::Refused { code, .. } => {
                matches!(*code, 159 | 202 | 209 | 210 | 242 | 241 | 252 | 216 | 243 | 999)
            }
        }
    }

    /// Whether the server gave up because a question takes too long or too much.
    pub(crate) const fn is_too_long(&self) -> bool {
        matches!(self, Self::Refused { code: 158 | 159 | 160 | 241 | 307, .. })
    }
}

/// Where a server is, and as whom it is asked.
#[derive(Clone)]
pub(crate) struct ClickHouseAt {
    host: String,
    port: u16,
    user: String,
    password: String,
    database: String,
}

/// Without the password.
impl std::fmt::Debug for ClickHouseAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl ClickHouseAt {
    /// Reads `http://USER:PASSWORD@HOST:PORT/DATABASE`. Errors say what to write, and repeat nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str =
            "is no address of ClickHouse; write http://USER:PASSWORD@HOST:8123/DATABASE";
        let url = Url::parse(text).map_err(|_| SHAPE)?;
        if url.scheme() == "https" {
            return Err(
                "asks for TLS, and there is none to ClickHouse yet; write http:// and reach \
                        it through a private network or a tunnel",
            );
        }
        let database = url.path().strip_prefix('/').unwrap_or_default();
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if url.scheme() != "http" || url.query().is_some() || url.fragment().is_some() {
            return Err(SHAPE);
        }
        if !is_name(database) {
            return Err("must name a database of letters, digits and underscores: \
                        http://USER:PASSWORD@HOST:8123/DATABASE");
        }
        let or_default = |text: String| if text.is_empty() { "default".to_owned() } else { text };
        let at = Self {
            host: url.host_str().ok_or(SHAPE)?.to_owned(),
            port: url.port().unwrap_or(8123),
            user: or_default(decoded(url.username()).ok_or(SHAPE)?),
            password: decoded(url.password().unwrap_or_default()).ok_or(SHAPE)?,
            database: database.to_owned(),
        };
        let is_header = |text: &str| HeaderValue::from_str(text).is_ok();
        if is_header(&at.user) && is_header(&at.password) { Ok(at) } else { Err(SHAPE) }
    }

    /// Where it is; never with the password.
    pub(crate) fn shown(&self) -> String {
        format!("http://{}:{}/{}", self.host, self.port, self.database)
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }
}

/// Percent-decoded (RFC 3986, 2.1); `None` if it is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

type Sender = SendRequest<Full<Bytes>>;

/// A statement and what goes with it.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    pub(super) sql: &'a str,
    /// The bytes of an INSERT, and their `Content-Encoding`; the statement then goes into the URL.
    pub(super) data: Option<(Vec<u8>, Option<&'static str>)>,
    pub(super) query_id: Option<String>,
    pub(super) settings: &'a [(&'a str, &'a str)],
    /// Settings of this one beside those.
    pub(super) more: &'a [(&'a str, &'a str)],
}

impl<'a> Statement<'a> {
    pub(super) const fn new(sql: &'a str, settings: &'a [(&'a str, &'a str)]) -> Self {
        Self { sql, data: None, query_id: None, settings, more: &[] }
    }
}

/// Connections to a server.
#[derive(Debug)]
pub(super) struct Client {
    at: ClickHouseAt,
    host: HeaderValue,
    user: HeaderValue,
    password: HeaderValue,
    permits: Semaphore,
    idle: Mutex<Vec<(Sender, Instant)>>,
    tasks: TaskTracker,
}

impl Client {
    pub(super) fn new(at: ClickHouseAt) -> Result<Self, ClickHouseError> {
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|error| ClickHouseError::Away(error.to_string()))
        };
        let mut password = value(&at.password)?;
        password.set_sensitive(true);
        Ok(Self {
            host: value(&format!("{}:{}", at.host, at.port))?,
            user: value(&at.user)?,
            password,
            permits: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
            tasks: TaskTracker::new(),
            at,
        })
    }

    pub(super) const fn at(&self) -> &ClickHouseAt {
        &self.at
    }

    /// Reads rows that are asked for `FORMAT JSONCompactEachRow`: an array each.
    pub(super) async fn rows<T: DeserializeOwned>(
        &self,
        statement: Statement<'_>,
    ) -> Result<Vec<T>, ClickHouseError> {
        let answer = self.run(statement).await?;
        let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let read = lines.map(|line| serde_json::from_slice(line));
        read.collect::<Result<_, _>>().map_err(|error| ClickHouseError::Answer(error.to_string()))
    }

    /// Sends a statement, and reads all of its answer.
    pub(super) async fn run(&self, statement: Statement<'_>) -> Result<Bytes, ClickHouseError> {
        let request = self.request(statement)?;
        let away = |error: &dyn std::fmt::Display| ClickHouseError::Away(error.to_string());
        let _permit = self.permits.acquire().await.map_err(|error| away(&error))?;
        let sender = match self.take() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        match timeout(ANSWER_MAX, self.exchange(sender, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClickHouseError::Lost("its time is up".to_owned())),
        }
    }

    fn request(&self, statement: Statement<'_>) -> Result<Request<Full<Bytes>>, ClickHouseError> {
        let Statement { sql, data, query_id, settings, more } = statement;
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("database", &self.at.database);
        query.extend_pairs(settings).extend_pairs(more);
        if let Some(id) = &query_id {
            query.append_pair("query_id", id);
        }
        let (body, encoding) = match data {
            Some((bytes, encoding)) => {
                query.append_pair("query", sql);
                (Bytes::from(bytes), encoding)
            }
            None => (Bytes::from(sql.to_owned()), None),
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("/?{}", query.finish()))
            .header(HOST, &self.host)
            .header(CONTENT_LENGTH, body.len())
            .header("X-ClickHouse-User", &self.user)
            .header("X-ClickHouse-Key", &self.password);
        if let Some(encoding) = encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        request.body(Full::new(body)).map_err(|error| ClickHouseError::Away(error.to_string()))
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_MAX);
        idle.pop().map(|(sender, _)| sender)
    }

    async fn exchange(
        &self,
        mut sender: Sender,
        request: Request<Full<Bytes>>,
    ) -> Result<Bytes, ClickHouseError> {
        if sender.ready().await.is_err() {
            sender = self.connect().await?;
        }
        let mut sent = sender.try_send_request(request).await;
        // A kept connection that ended unnoticed gives the request back as long as nothing of it
        // was sent.
        if let Err(error) = &mut sent
            && let Some(request) = error.take_message()
        {
            sender = self.connect().await?;
            sent = sender.try_send_request(request).await;
        }
        let lost = |error: &dyn std::fmt::Display| ClickHouseError::Lost(error.to_string());
        let response = sent.map_err(|error| lost(&error.into_error()))?;
        let status = response.status();
        let code = response.headers().get("X-ClickHouse-Exception-Code").cloned();
        let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
        let body = body.map_err(|error| lost(&error))?.to_bytes();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((sender, Instant::now()));
        drop(idle);
        judge(status, code.as_ref(), body)
    }

    async fn connect(&self) -> Result<Sender, ClickHouseError> {
        let away = |error: &dyn std::fmt::Display| ClickHouseError::Away(error.to_string());
        let host = self.at.host.trim_start_matches('[').trim_end_matches(']');
        let stream = timeout(CONNECT_MAX, TcpStream::connect((host, self.at.port))).await;
        let stream = stream.map_err(|_| away(&"it does not accept"))?;
        let stream = stream.map_err(|error| away(&error))?;
        stream.set_nodelay(true).map_err(|error| away(&error))?;
        let (sender, connection) =
            Builder::new().handshake(TokioIo::new(stream)).await.map_err(|error| away(&error))?;
        // It ends when its sender is dropped, or the server wants it.
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to ClickHouse ended");
            }
        });
        Ok(sender)
    }
}

/// What an answer means. An error that is not the server's own says nothing of what was done.
fn judge(
    status: StatusCode,
    code: Option<&HeaderValue>,
    body: Bytes,
) -> Result<Bytes, ClickHouseError> {
    let text = || String::from_utf8_lossy(&body).chars().take(ERROR_LEN).collect::<String>();
    let text = || text().trim().to_owned();
    let code = code.and_then(|code| code.to_str().ok()).and_then(|code| code.parse().ok());
    match code {
        Some(code) => Err(ClickHouseError::Refused { code, text: text() }),
        None if status == StatusCode::OK => Ok(body),
        None => Err(ClickHouseError::Lost(format!("HTTP {status}: {}", text()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_its_password_never_shown() {
        let at = ClickHouseAt::parse("http://carom:hunt%40er2@db.example/clicks").unwrap();
        assert_eq!((at.user.as_str(), at.password.as_str()), ("carom", "hunt@er2"));
        assert_eq!(format!("{at:?}"), "http://db.example:8123/clicks");
        let at = ClickHouseAt::parse("http://127.0.0.1:9/x_1").unwrap();
        assert_eq!((at.user.as_str(), at.password.as_str(), at.port), ("default", "", 9));
        for bad in [
            "https://a:hunter2@db/clicks", "http://a:hunter2@db/", "http://a:hunter2@db/a/b",
            "http://a:hunter2@db/x?y=1", "ftp://a:hunter2@db/x", "http://a:hunter2%0a@db/x",
            "http://a:hunter2@db/a-b", "clickhouse",
        ] {
            let error = ClickHouseAt::parse(bad).unwrap_err();
            assert!(!error.contains("hunter2"), "{bad}");
        }
    }

    #[test]
    fn only_the_servers_own_errors_say_that_nothing_was_done() {
        let code = HeaderValue::from_static("252");
        let body = || Bytes::from_static(b"Code: 252. DB::Exception: Too many parts\n");
        let refused = judge(StatusCode::INTERNAL_SERVER_ERROR, Some(&code), body());
        assert!(matches!(refused, Err(ClickHouseError::Refused { code: 252, .. })));
        // An exception that came after the head: the status is 200.
        assert!(judge(StatusCode::OK, Some(&code), body()).is_err());
        let proxy = judge(StatusCode::BAD_GATEWAY, None, Bytes::new());
        assert!(matches!(proxy, Err(ClickHouseError::Lost(_))));
        assert!(judge(StatusCode::OK, None, Bytes::new()).is_ok());
    }
}
