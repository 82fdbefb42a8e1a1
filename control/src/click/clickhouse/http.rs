//! ClickHouse's HTTP interface, as far as it is used: a statement, settings, a body, an answer.
//!
//! Of our own on hyper, like an edge's connections to control, and not the `clickhouse` crate: questions
//! have columns that are chosen when they are asked, where the crate derives rows from types; an insert's
//! bytes are ready and need a `Content-Length`; and what a failure means (was it carried out, or may it
//! be?) is decided from codes and from how far a request got, of which the crate leaves a text.
//!
//! With `https://` all of it goes through TLS ([`Tls`]); sealed connections are kept as others are, and a new
//! one is cheaper than the first (RFC 8446, 2.2).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use carom_process::Tls;
use carom_shared::clickhouse::{
    ClickHouseAt, ClickHouseError, EXCEPTION_HEADER, MAY_WANT_TLS, PASSWORD_HEADER, Statement,
    StatementRequest, USER_HEADER,
};
use carom_shared::settings::InvalidSetting;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// Connections, at most; who finds none free waits.
const CONNECTIONS: usize = 16;
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// From a request to the end of its answer: more than any statement may take (`max_execution_time`).
const ANSWER_MAX: Duration = Duration::from_secs(150);
/// Servers close what was not used for so long (`keep_alive_timeout`, 3 s up to 24.x).
const IDLE_MAX: Duration = Duration::from_secs(2);
/// Bytes of an answer, at most.
const ANSWER_LEN_MAX: usize = 64 << 20;

type Sender = SendRequest<Full<Bytes>>;

/// A database on a server, and whose certificate the server has to have.
#[derive(Clone, Debug)]
pub(crate) struct ClickHouseServer {
    at: ClickHouseAt,
    /// `None`: plain HTTP.
    tls: Option<Tls>,
    /// Whether anything was ever answered: then its port is not one for something else.
    has_answered: Arc<AtomicBool>,
}

impl ClickHouseServer {
    /// With the authorities of this file, or with those of this machine if its path is empty.
    ///
    /// # Errors
    /// [`InvalidSetting`] for a file that cannot be used.
    pub(crate) fn new(at: ClickHouseAt, ca_path: &Path) -> Result<Self, InvalidSetting> {
        const SETTING: &str = "clicks.ca_path";
        if !at.is_tls() && !ca_path.as_os_str().is_empty() {
            let problem = "is of no use with http://: write https:// in clicks.url";
            return Err(InvalidSetting::new(SETTING, problem));
        }
        let tls = at.is_tls().then(|| Tls::new(ca_path, SETTING)).transpose()?;
        Ok(Self { at, tls, has_answered: Arc::default() })
    }

    /// Where it is; never with the password.
    pub(crate) fn shown(&self) -> String {
        self.at.shown()
    }
}

/// Connections to a server.
#[derive(Debug)]
pub(super) struct Client {
    server: ClickHouseServer,
    host: HeaderValue,
    user: HeaderValue,
    password: HeaderValue,
    permits: Semaphore,
    idle: Mutex<Vec<(Sender, Instant)>>,
    tasks: TaskTracker,
    /// Whether it may be asked: not before its schema was looked at.
    pub(super) is_open: AtomicBool,
}

impl Client {
    /// One that refuses everything until it is opened.
    pub(super) fn shut(server: ClickHouseServer) -> Result<Self, ClickHouseError> {
        Ok(Self { is_open: AtomicBool::new(false), ..Self::new(server)? })
    }

    pub(super) fn new(server: ClickHouseServer) -> Result<Self, ClickHouseError> {
        let at = &server.at;
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|error| ClickHouseError::Away(error.to_string()))
        };
        let mut password = value(at.password())?;
        password.set_sensitive(true);
        Ok(Self {
            host: value(&at.authority())?,
            user: value(at.user())?,
            password,
            permits: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
            tasks: TaskTracker::new(),
            is_open: AtomicBool::new(true),
            server,
        })
    }

    /// Which one.
    #[cfg(all(test, feature = "clickhouse-tests"))]
    pub(super) const fn server(&self) -> &ClickHouseServer {
        &self.server
    }

    pub(super) const fn at(&self) -> &ClickHouseAt {
        &self.server.at
    }

    /// Connections of its own to the same server, which may ask at once.
    pub(super) fn another(&self) -> Result<Self, ClickHouseError> {
        Self::new(self.server.clone())
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
        if !self.is_open.load(Ordering::Acquire) {
            return Err(ClickHouseError::Away("it was not there since the start".to_owned()));
        }
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
        let StatementRequest { target, body, encoding } = statement.request(self.at().database());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(target)
            .header(HOST, &self.host)
            .header(CONTENT_LENGTH, body.len())
            .header(USER_HEADER, &self.user)
            .header(PASSWORD_HEADER, &self.password);
        if let Some(encoding) = encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        let body = Full::new(Bytes::from(body));
        request.body(body).map_err(|error| ClickHouseError::Away(error.to_string()))
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
        let response = sent.map_err(|error| {
            let error = error.into_error();
            let has_answered = self.server.has_answered.load(Ordering::Relaxed);
            if has_answered || self.server.tls.is_some() {
                return lost(&error);
            }
            lost(&format!("{error}; {MAY_WANT_TLS}"))
        })?;
        self.server.has_answered.store(true, Ordering::Relaxed);
        let status = response.status();
        let code = response.headers().get(EXCEPTION_HEADER).cloned();
        let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
        let body = body.map_err(|error| lost(&error))?.to_bytes();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((sender, Instant::now()));
        drop(idle);
        let code = code.as_ref().and_then(|code| code.to_str().ok());
        ClickHouseError::judge(status.as_u16(), code, &body).map(|()| body)
    }

    async fn connect(&self) -> Result<Sender, ClickHouseError> {
        let away = |error: &dyn std::fmt::Display| ClickHouseError::Away(error.to_string());
        let address = (self.at().host(), self.at().port());
        let stream = timeout(CONNECT_MAX, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| away(&"it does not accept"))?;
        let stream = stream.map_err(|error| away(&error))?;
        stream.set_nodelay(true).map_err(|error| away(&error))?;
        match &self.server.tls {
            None => self.begin(stream).await,
            Some(tls) => {
                let sealed = tls.connect(self.at().host(), stream).await;
                self.begin(sealed.map_err(ClickHouseError::Away)?).await
            }
        }
    }

    async fn begin<S>(&self, stream: S) -> Result<Sender, ClickHouseError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let away = |error: &dyn std::fmt::Display| ClickHouseError::Away(error.to_string());
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
