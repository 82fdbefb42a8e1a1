//! The control plane's API as an experiment uses it: create a link, read links and totals.

use std::fmt;
use std::net::SocketAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::http::{Connection, EXCHANGE_MAX, HttpError};

/// Where the API is, and the key that opens it.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) control: SocketAddr,
    pub(crate) key: String,
}

/// A link as `POST /api/v1/links` answers.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) code: String,
    /// The target as Carom keeps it: what `Location` must be, to the byte.
    pub(crate) url: String,
}

/// Clicks by kind. Each answered request is in exactly one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
pub(crate) struct Totals {
    pub(crate) clicks: u64,
    pub(crate) bots: u64,
    pub(crate) previews: u64,
    pub(crate) prefetches: u64,
    pub(crate) heads: u64,
}

impl Totals {
    pub(crate) const fn sum(&self) -> u64 {
        self.clicks + self.bots + self.previews + self.prefetches + self.heads
    }

    /// What came on top of `before`; `None` if a total went down, which none may.
    pub(crate) fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            clicks: self.clicks.checked_sub(before.clicks)?,
            bots: self.bots.checked_sub(before.bots)?,
            previews: self.previews.checked_sub(before.previews)?,
            prefetches: self.prefetches.checked_sub(before.prefetches)?,
            heads: self.heads.checked_sub(before.heads)?,
        })
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.clicks += other.clicks;
        self.bots += other.bots;
        self.previews += other.previews;
        self.prefetches += other.prefetches;
        self.heads += other.heads;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clicks, bots, previews, prefetches, heads } = self;
        write!(
            f,
            "{clicks} human, {bots} bots, {previews} previews, {prefetches} prefetches, \
             {heads} HEAD"
        )
    }
}

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// A whole answer with a status other than the one of success.
    Refused(Refusal),
    /// No answer: what was asked may have been done or not.
    Http(HttpError),
}

/// A refusal, from its problem document (RFC 9457) where there is one.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The kind of problem: the same text for the same reason.
    pub(crate) reason: String,
    /// What is wrong with this request.
    pub(crate) detail: String,
}

impl Refusal {
    /// Whether it is this request that the server does not like, not the caller, the rate or its
    /// own state. Only then does it make sense to go on with another URL.
    pub(crate) const fn is_about_the_request(&self) -> bool {
        matches!(self.status, 400 | 409 | 413 | 422)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {} {}: {}", self.status, self.reason, self.detail)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Http(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ApiError {}

impl From<HttpError> for ApiError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

/// One caller with one connection, opened when needed and kept alive.
pub(crate) struct ApiClient {
    api: Api,
    connection: Option<Connection>,
}

impl ApiClient {
    pub(crate) const fn new(api: Api) -> Self {
        Self { api, connection: None }
    }

    /// `POST /api/v1/links`. Not repeated: after [`ApiError::Http`] the link may exist.
    pub(crate) async fn create(&mut self, url: &str, code: Option<&str>) -> Result<Link, ApiError> {
        let body = match code {
            Some(code) => serde_json::json!({ "url": url, "code": code }),
            None => serde_json::json!({ "url": url }),
        };
        self.call("POST", "/api/v1/links", &body.to_string(), 201).await
    }

    /// `GET /api/v1/links/{id}`.
    pub(crate) async fn link(&mut self, id: &str) -> Result<Link, ApiError> {
        self.get(&format!("/api/v1/links/{id}")).await
    }

    /// `GET /api/v1/links/{id}/stats`: totals of one link.
    pub(crate) async fn link_totals(&mut self, id: &str) -> Result<Totals, ApiError> {
        let stats: Stats = self.get(&format!("/api/v1/links/{id}/stats")).await?;
        Ok(stats.totals)
    }

    /// `GET /api/v1/stats`: totals of the key's workspace.
    pub(crate) async fn totals(&mut self) -> Result<Totals, Failure> {
        let stats: Result<Stats, ApiError> = self.get("/api/v1/stats").await;
        match stats {
            Ok(stats) => Ok(stats.totals),
            Err(error) => Err(Failure::new(format!("GET /api/v1/stats: {error}"))),
        }
    }

    /// Reads; once more on a new connection if a kept one turns out to be gone, as servers close
    /// idle ones when they like.
    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ApiError> {
        let kept = self.connection.is_some();
        match self.call("GET", path, "", 200).await {
            Err(ApiError::Http(HttpError::Cut | HttpError::Io(_))) if kept => {
                self.call("GET", path, "", 200).await
            }
            result => result,
        }
    }

    async fn call<T: DeserializeOwned>(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
        success: u16,
    ) -> Result<T, ApiError> {
        let Api { control, key } = &self.api;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {control}\r\nAuthorization: Bearer {key}\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // Taken out, and put back only after a whole answer: no error leaves a bad one behind.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(*control).await?,
        };
        let exchange = async {
            connection.send(request.as_bytes()).await?;
            let head = connection.read_head().await?;
            let response = connection.read_body(&head).await?;
            let result = if response.status == success {
                serde_json::from_slice(response.body)
                    .map_err(|_| HttpError::Malformed("its JSON lacks a member that is promised"))
                    .map_err(ApiError::Http)
            } else {
                Err(ApiError::Refused(refusal(response.status, response.body)))
            };
            Ok::<_, HttpError>((result, head.close))
        };
        let (result, close) =
            timeout(EXCHANGE_MAX, exchange).await.unwrap_or(Err(HttpError::Timeout))?;
        self.connection = (!close).then_some(connection);
        result
    }
}

#[derive(Deserialize)]
struct Stats {
    totals: Totals,
}

/// Reads a problem document. One that names fields is known by its first.
fn refusal(status: u16, body: &[u8]) -> Refusal {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Problem {
        title: String,
        detail: String,
        errors: Vec<Field>,
    }
    #[derive(Deserialize)]
    struct Field {
        code: String,
        detail: String,
    }
    let Problem { title, detail, errors } = serde_json::from_slice(body).unwrap_or_default();
    match errors.into_iter().next() {
        Some(field) => Refusal { status, reason: field.code, detail: field.detail },
        None => Refusal { status, reason: title, detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_from_what_documents_there_are() {
        let field = r#"{"title":"Invalid","detail":"1 field","errors":[{"pointer":"/url",
            "code":"target-not-http","detail":"write it out"},{"code":"b","detail":"c"}]}"#;
        let cases = [
            (field, "target-not-http", "write it out"),
            (r#"{"title":"Taken","detail":"x is taken","status":409}"#, "Taken", "x is taken"),
            ("<html>", "", ""),
        ];
        for (body, reason, detail) in cases {
            let refusal = refusal(422, body.as_bytes());
            assert_eq!((refusal.reason.as_str(), refusal.detail.as_str()), (reason, detail));
        }
    }

    #[test]
    fn totals_that_shrink_have_no_difference() {
        let before = Totals { clicks: 2, bots: 1, ..Totals::default() };
        let after = Totals { clicks: 5, bots: 1, heads: 1, ..Totals::default() };
        assert_eq!(after.since(&before).map(|grown| grown.sum()), Some(4));
        assert_eq!(before.since(&after), None);
    }
}
