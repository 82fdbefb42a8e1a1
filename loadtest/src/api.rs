//! The control plane's API as an experiment uses it: create a link, read links and totals.

use std::collections::BTreeMap;
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

/// A page of links as `GET /api/v1/links` answers.
#[derive(Debug, Deserialize)]
pub(crate) struct LinkPage {
    pub(crate) data: Vec<Link>,
    /// Where the next page begins; `None` if this is the last.
    pub(crate) next_cursor: Option<String>,
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

    /// `GET /api/v1/links`: the first page, or the one that begins at `cursor`.
    pub(crate) async fn links(&mut self, cursor: Option<&str>) -> Result<LinkPage, ApiError> {
        let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        self.get(&format!("/api/v1/links?limit=100{from}")).await
    }

    /// `POST /api/v1/links/bulk`: makes all of these; gives their codes.
    pub(crate) async fn create_bulk(
        &mut self,
        links: &[serde_json::Value],
    ) -> Result<Vec<String>, Failure> {
        #[derive(Deserialize)]
        struct Bulk {
            results: Vec<Made>,
        }
        #[derive(Deserialize)]
        struct Made {
            link: Link,
        }
        let body = serde_json::json!({ "links": links }).to_string();
        let made: Result<Bulk, _> = self.call("POST", "/api/v1/links/bulk", &body, 200).await;
        let made =
            made.map_err(|error| Failure::new(format!("POST /api/v1/links/bulk: {error}")))?;
        Ok(made.results.into_iter().map(|made| made.link.code).collect())
    }

    /// A list of links, by its path: how many there are on its page.
    pub(crate) async fn list(&mut self, path: &str) -> Result<u64, ApiError> {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<serde::de::IgnoredAny>,
        }
        let page: Page = self.get(path).await?;
        Ok(page.data.len() as u64)
    }

    /// How many clicks the link shows that has the most.
    pub(crate) async fn most_clicks(&mut self) -> Result<u64, Failure> {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<Clicked>,
        }
        #[derive(Deserialize)]
        struct Clicked {
            clicks: u64,
        }
        const PATH: &str = "/api/v1/links?sort=clicks&limit=1";
        let page: Result<Page, _> = self.get(PATH).await;
        let page = page.map_err(|error| Failure::new(format!("GET {PATH}: {error}")))?;
        Ok(page.data.first().map_or(0, |link| link.clicks))
    }

    /// How many links the key's workspace has.
    pub(crate) async fn links_count(&mut self) -> Result<u64, Failure> {
        #[derive(Deserialize)]
        struct Stats {
            links: u64,
        }
        let stats: Result<Stats, _> = self.get("/api/v1/stats").await;
        let stats = stats.map_err(|error| Failure::new(format!("GET /api/v1/stats: {error}")))?;
        Ok(stats.links)
    }

    /// A page of links, most clicked first: id and clicks of each, and where the next page begins.
    pub(crate) async fn links_by_clicks(
        &mut self,
        cursor: Option<&str>,
    ) -> Result<(Vec<(String, u64)>, Option<String>), Failure> {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<Clicked>,
            next_cursor: Option<String>,
        }
        #[derive(Deserialize)]
        struct Clicked {
            id: String,
            clicks: u64,
        }
        let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let path = format!("/api/v1/links?sort=clicks&limit=100{from}");
        let page: Result<Page, _> = self.get(&path).await;
        let page = page.map_err(|error| Failure::new(format!("GET {path}: {error}")))?;
        let links = page.data.into_iter().map(|link| (link.id, link.clicks));
        Ok((links.collect(), page.next_cursor))
    }

    /// A report, by its path.
    pub(crate) async fn report(&mut self, path: &str) -> Result<Report, Failure> {
        let report = self.get(path).await;
        report.map_err(|error| Failure::new(format!("GET {path}: {error}")))
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
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ApiError> {
        let kept = self.connection.is_some();
        match self.call("GET", path, "", 200).await {
            Err(ApiError::Http(HttpError::Cut | HttpError::Io(_))) if kept => {
                self.call("GET", path, "", 200).await
            }
            result => result,
        }
    }

    /// One call, never repeated. Success is the status `success` and nothing else; an empty body is
    /// read as `null`.
    pub(crate) async fn call<T: DeserializeOwned>(
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
                let body = if response.body.is_empty() { b"null" } else { response.body };
                serde_json::from_slice(body)
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

/// What experiments read of a report.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) totals: ReportTotals,
    /// By dimension.
    pub(crate) top: BTreeMap<String, Vec<TopValue>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ReportTotals {
    #[serde(flatten)]
    pub(crate) totals: Totals,
    pub(crate) visitors: u64,
}

/// Clicks with one value of a dimension.
#[derive(Debug, Deserialize)]
pub(crate) struct TopValue {
    pub(crate) value: String,
    pub(crate) clicks: u64,
    pub(crate) visitors: u64,
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
