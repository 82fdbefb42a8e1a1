//! [`ControlClient`]: what this edge asks of a control plane elsewhere, and brings to it, over the
//! internal plane ([`carom_shared::internal`]).
//!
//! ```text
//! visitors' questions   a pool of their own, behind the breaker      Origin
//! everything else       another pool: feed, bundle, clicks, ...      ClickSink, Follower
//! ```
//!
//! So a flood of unknown codes does not hold up the feed. The breaker opens after failures in a row
//! and lets visitors of unknown codes have their 503 at once; whatever succeeds, the feed among it,
//! closes it. Every request has a deadline, every answer a size that it may have.

mod breaker;
mod pool;
mod url;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use tokio::time::timeout;

use carom_shared::batch::Token;
use carom_shared::internal::{
    BUNDLE_PATH, CHANGES_PATH, CLICKS_PATH, MISSING_PATH, MissingCounts, ROUTES_PATH, TOKEN_MIN_LEN,
};
use carom_shared::settings::InvalidSetting;
use carom_shared::{Bundle, Code, DomainId, FeedPage, FeedPosition, Random, RouteRecord};

use crate::resolve::{Origin, OriginError, OriginFuture};
use crate::ship::{ClickSink, SinkError, SinkFuture, Stored};

pub use self::url::ControlUrl;
use breaker::Breaker;
use pool::{Answer, Pool, Repeat};

/// Connections for visitors' questions, and for everything else.
const QUESTION_CONNECTIONS: usize = 32;
const OTHER_CONNECTIONS: usize = 16;

/// Beside what a question asks to wait.
const CHANGES_MAX: Duration = Duration::from_secs(4);
const BUNDLE_MAX: Duration = Duration::from_secs(5);
const MISSING_MAX: Duration = Duration::from_secs(5);
/// A batch is megabytes, and a store may be busy.
const CLICKS_MAX: Duration = Duration::from_secs(60);

/// Bytes of answers, at most. A record has a length of 16 bits, a page so many of them.
const RECORD_BYTES: usize = 1 << 16;
const PAGE_BYTES: usize = FeedPage::CHANGES_MAX * (RECORD_BYTES + 128);
const BUNDLE_BYTES: usize = 16 << 20;
const TEXT_BYTES: usize = 64 << 10;
/// Of a text in an answer, so much is in the log.
const REASON_CHARS: usize = 200;

/// The control plane did not do what it was asked; the text is for the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the control plane: {0}")]
pub struct CallError(String);

impl CallError {
    fn new(error: impl Into<Box<dyn std::error::Error>>) -> Self {
        let error = error.into();
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        Self(causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
    }

    fn status(answer: &Answer) -> Self {
        let hint = match answer.status {
            StatusCode::UNAUTHORIZED => ": internal.token is not the control plane's",
            StatusCode::NOT_FOUND => ": what edge.control_url names is no internal plane of Carom",
            _ => "",
        };
        Self(format!("it answered {}{hint}", answer.status))
    }
}

/// Speaks to a control plane. Cheap to clone; used on the background runtime.
#[derive(Clone)]
pub struct ControlClient(Arc<Inner>);

struct Inner {
    questions: Pool,
    others: Pool,
    breaker: Breaker,
    authorization: HeaderValue,
    question_max: Duration,
    random: Arc<dyn Random>,
}

impl ControlClient {
    /// A client of this control plane, whose `internal.token` is `token`. `resolve_max` is how long a
    /// visitor waits for the origin: the client gives up a little before that, to know that it did.
    ///
    /// # Errors
    /// [`InvalidSetting`] for a token that no control plane takes.
    pub fn new(
        url: &ControlUrl,
        token: &str,
        resolve_max: Duration,
        random: Arc<dyn Random>,
    ) -> Result<Self, InvalidSetting> {
        Ok(Self(Arc::new(Inner {
            questions: Pool::new(url.clone(), QUESTION_CONNECTIONS),
            others: Pool::new(url.clone(), OTHER_CONNECTIONS),
            breaker: Breaker::default(),
            authorization: authorization(token)?,
            question_max: resolve_max / 10 * 9,
            random,
        })))
    }

    /// Domains and salts.
    pub(crate) async fn bundle(&self) -> Result<Bundle, CallError> {
        let request = self.request(Method::GET, BUNDLE_PATH, Bytes::new())?;
        let answer = self.call(request, BUNDLE_MAX, BUNDLE_BYTES, Repeat::Harmless).await?;
        match answer.status {
            StatusCode::OK => serde_json::from_slice(&answer.body).map_err(CallError::new),
            _ => Err(CallError::status(&answer)),
        }
    }

    /// How far the feed goes.
    pub(crate) async fn head(&self) -> Result<FeedPosition, CallError> {
        let page = self.page(CHANGES_PATH, Duration::ZERO).await?;
        page.map(|page| page.head).ok_or_else(|| CallError("its feed has no head".to_owned()))
    }

    /// The changes after a position, once there are any, or none after this time; `None` if they are
    /// not known any more.
    pub(crate) async fn changes_after(
        &self,
        FeedPosition { epoch, seq }: FeedPosition,
        wait: Duration,
    ) -> Result<Option<FeedPage>, CallError> {
        let wait_ms = wait.as_millis();
        let path = format!("{CHANGES_PATH}?epoch={epoch}&after={seq}&wait_ms={wait_ms}");
        let page = self.page(&path, wait).await?;
        let follows = |page: &FeedPage| {
            page.head.epoch == epoch && (page.changes.is_empty() || page.first == seq + 1)
        };
        match page {
            Some(page) if !follows(&page) => {
                Err(CallError("it sent other changes than it was asked for".to_owned()))
            }
            page => Ok(page),
        }
    }

    async fn page(&self, path: &str, wait: Duration) -> Result<Option<FeedPage>, CallError> {
        let request = self.request(Method::GET, path, Bytes::new())?;
        let answer = self.call(request, CHANGES_MAX + wait, PAGE_BYTES, Repeat::Harmless).await?;
        match answer.status {
            StatusCode::OK => FeedPage::from_bytes(&answer.body).map(Some).map_err(CallError::new),
            StatusCode::GONE => Ok(None),
            _ => Err(CallError::status(&answer)),
        }
    }

    /// A route as it is now, for no visitor; `None` if there never was one.
    pub(crate) async fn route(
        &self,
        domain: DomainId,
        code: &Code,
    ) -> Result<Option<RouteRecord>, CallError> {
        let request = self.request(
            Method::GET,
            &format!("{ROUTES_PATH}/{domain}/{}", code.as_str()),
            Bytes::new(),
        )?;
        let answer = self.call(request, CHANGES_MAX, RECORD_BYTES, Repeat::Harmless).await?;
        record(&answer)
    }

    /// Brings codes that are missing. What may have arrived is not sent again: it would count twice.
    pub(crate) async fn report_missing(&self, counts: &MissingCounts) -> Result<(), CallError> {
        let body = serde_json::to_vec(counts).map_err(CallError::new)?;
        let mut request = self.request(Method::POST, MISSING_PATH, body.into())?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = self.call(request, MISSING_MAX, TEXT_BYTES, Repeat::Never).await?;
        if answer.status.is_success() { Ok(()) } else { Err(CallError::status(&answer)) }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, &self.0.authorization)
            .body(Full::new(body))
            .map_err(CallError::new)
    }

    /// A call that is no visitor's question. That it succeeds says that others may, too.
    async fn call(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
        body_max: usize,
        repeat: Repeat,
    ) -> Result<Answer, CallError> {
        let answer = within(limit, self.0.others.send(request, body_max, repeat)).await?;
        if !answer.status.is_server_error() {
            self.0.breaker.succeeded();
        }
        Ok(answer)
    }

    async fn question(&self, path: &str) -> Result<Option<RouteRecord>, CallError> {
        if !self.0.breaker.admits(Instant::now()) {
            return Err(CallError("it failed just now, and is not asked again yet".to_owned()));
        }
        let request = self.request(Method::GET, path, Bytes::new())?;
        let send = self.0.questions.send(request, RECORD_BYTES, Repeat::Harmless);
        let answer = within(self.0.question_max, send).await;
        let found = answer.and_then(|answer| record(&answer));
        match &found {
            Ok(_) => self.0.breaker.succeeded(),
            Err(error) => {
                // The breaker bounds how often.
                tracing::warn!(%error, "a route could not be looked up");
                let mut chance = [0];
                self.0.random.fill(&mut chance);
                self.0.breaker.failed(Instant::now(), chance[0]);
            }
        }
        found
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let slow = |_| Err(CallError(format!("no answer in {} ms", limit.as_millis())));
    timeout(limit, work).await.unwrap_or_else(slow)
}

/// 204 alone says that there is no such code: a 404 could be anybody's.
fn record(answer: &Answer) -> Result<Option<RouteRecord>, CallError> {
    match answer.status {
        StatusCode::OK => RouteRecord::from_bytes(&answer.body).map(Some).map_err(CallError::new),
        StatusCode::NO_CONTENT => Ok(None),
        _ => Err(CallError::status(answer)),
    }
}

/// The header by which a control plane knows its edges.
fn authorization(token: &str) -> Result<HeaderValue, InvalidSetting> {
    let invalid = |problem: String| InvalidSetting::new("internal.token", problem);
    if token.is_empty() {
        return Err(invalid(
            "is missing: give the one of the control plane, for example in a file that \
             CAROM_INTERNAL__TOKEN_FILE names"
                .to_owned(),
        ));
    }
    if token.len() < TOKEN_MIN_LEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid(format!(
            "must have at least {TOKEN_MIN_LEN} characters, without spaces, as the control plane's"
        )));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| invalid("cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Origin for ControlClient {
    fn resolve(&self, domain: DomainId, code: &Code) -> OriginFuture {
        let (client, path) = (self.clone(), format!("{ROUTES_PATH}/{domain}/{}", code.as_str()));
        Box::pin(async move {
            client.question(&path).await.map_err(|error| OriginError(error.to_string()))
        })
    }

    fn changes(&self, after: Option<FeedPosition>) -> OriginFuture<Option<FeedPage>> {
        let client = self.clone();
        Box::pin(async move {
            let page = match after {
                Some(after) => client.changes_after(after, Duration::ZERO).await,
                None => client
                    .head()
                    .await
                    .map(|head| Some(FeedPage { head, first: 0, changes: Vec::new() })),
            };
            page.map_err(|error| OriginError(error.to_string()))
        })
    }

    fn is_followed(&self) -> bool {
        true
    }
}

impl ClickSink for ControlClient {
    fn store(&self, token: Token, batch: Bytes) -> SinkFuture {
        let client = self.clone();
        Box::pin(async move {
            let away = |error: CallError| SinkError::Unavailable(error.to_string());
            let path = format!("{CLICKS_PATH}/{token}");
            let request = client.request(Method::POST, &path, batch).map_err(away)?;
            let sent = client.call(request, CLICKS_MAX, TEXT_BYTES, Repeat::Harmless);
            let answer = sent.await.map_err(away)?;
            match answer.status {
                StatusCode::CREATED => Ok(Stored::New),
                StatusCode::OK => Ok(Stored::Already),
                StatusCode::UNPROCESSABLE_ENTITY => {
                    let reason = String::from_utf8_lossy(&answer.body);
                    Err(SinkError::Refused(reason.trim().chars().take(REASON_CHARS).collect()))
                }
                _ => Err(away(CallError::status(&answer))),
            }
        })
    }
}

#[cfg(test)]
mod tests;
