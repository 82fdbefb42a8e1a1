//! [`ControlClient`]: what this edge asks of its control planes, and brings to them, over the internal
//! plane ([`carom_shared::internal`]).
//!
//! ```text
//! visitors' questions   a pool of their own, behind a breaker        Origin
//! everything else       another pool: feed, bundle, clicks, ...      ClickSink, Follower
//! ```
//!
//! So a flood of unknown codes does not hold up the feed. A breaker opens after failures in a row
//! and lets visitors of unknown codes have their 503 at once; whatever succeeds, the feed among it,
//! closes it. Every request has a deadline, every answer a size that it may have.
//!
//! # Several control planes
//!
//! `edge.control_url` may name several of one installation. One is asked for everything until it
//! cannot be reached, does not answer in time, or answers something else than it should; then the
//! next one, which is asked from then on. They share a question's time. Each has a breaker.
//!
//! **Clicks go to the first one alone**, unless the last bundle said that all share a store of clicks.
//! A batch whose fate is not known must go where it is recognised: to the one whose own ledger may have
//! it, or to any, where there is one ledger.

mod breaker;
mod planes;
mod url;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use tokio::time::{sleep, timeout};

use tracing::Instrument;
use tracing::field::Empty;

use carom_shared::batch::Token;
use carom_shared::internal::{
    BUNDLE_PATH, CHANGES_PATH, CLICKS_PATH, LOSSES_PATH, LossReport, MISSING_PATH, MissingCounts,
    ROUTES_PATH, RoutePage, TOKEN_MIN_LEN,
};
use carom_shared::settings::InvalidSetting;
use carom_shared::trace::{TARGET, TRACEPARENT, TraceContext};
use carom_shared::{
    Bundle, Code, DomainId, FeedPage, FeedPosition, Random, RouteChange, RouteRecord,
};

use crate::resolve::{Origin, OriginError, OriginFuture};
use crate::ship::{ClickSink, LossFuture, SinkError, SinkFuture, Stored};

pub use self::url::{ControlUrl, ControlUrls};
use crate::pool::{Answer, Failed, Repeat};
use planes::{Plane, Planes};

/// How long all control planes together may take, beside what a question asks to wait.
const CHANGES_MAX: Duration = Duration::from_secs(4);
const BUNDLE_MAX: Duration = Duration::from_secs(5);
const MISSING_MAX: Duration = Duration::from_secs(5);
const LOSSES_MAX: Duration = Duration::from_secs(10);
/// How long a page of all routes may take, tries included; and the wait after the first try, which
/// doubles: control lets few read at once.
const LISTING_MAX: Duration = Duration::from_secs(9);
const LISTING_PAUSE: Duration = Duration::from_millis(200);
/// A batch is megabytes, and a store may be busy.
const CLICKS_MAX: Duration = Duration::from_secs(60);

/// Bytes of answers, at most. A record has a length of 16 bits, a page so many of them.
const RECORD_BYTES: usize = 1 << 16;
const PAGE_BYTES: usize = FeedPage::CHANGES_MAX * (RECORD_BYTES + 128);
const LISTING_BYTES: usize = RoutePage::ROUTES_MAX * (RECORD_BYTES + 128);
const BUNDLE_BYTES: usize = 16 << 20;
const TEXT_BYTES: usize = 64 << 10;
/// Of a text in an answer, so much is in the log.
const REASON_CHARS: usize = 200;

/// No control plane did what it was asked; the text is for the log.
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

    fn at(self, plane: &Plane) -> Self {
        Self(format!("{}: {}", plane.url, self.0))
    }
}

/// Speaks to the control planes. Cheap to clone; used on the background runtime.
#[derive(Clone)]
pub struct ControlClient(Arc<Inner>);

struct Inner {
    planes: Planes,
    authorization: HeaderValue,
    question_max: Duration,
    random: Arc<dyn Random>,
    /// Both as the last bundle said.
    are_clicks_shared: AtomicBool,
    are_clicks_watched: AtomicBool,
}

impl ControlClient {
    /// A client of these control planes, whose `internal.token` is `token`. `resolve_max` is how long
    /// a visitor waits for the origin: the client gives up a little before that, to know that it did.
    ///
    /// # Errors
    /// [`InvalidSetting`] for a token that no control plane takes.
    pub fn new(
        urls: &ControlUrls,
        token: &str,
        resolve_max: Duration,
        random: Arc<dyn Random>,
    ) -> Result<Self, InvalidSetting> {
        Ok(Self(Arc::new(Inner {
            planes: Planes::new(urls),
            authorization: authorization(token)?,
            question_max: resolve_max / 10 * 9,
            random,
            are_clicks_shared: AtomicBool::new(false),
            are_clicks_watched: AtomicBool::new(false),
        })))
    }

    /// Domains and salts.
    pub(crate) async fn bundle(&self) -> Result<Bundle, CallError> {
        let request = self.request(Method::GET, BUNDLE_PATH, Bytes::new())?;
        let read = |answer: &Answer| match answer.status {
            StatusCode::OK => serde_json::from_slice(&answer.body).map_err(CallError::new),
            _ => Err(CallError::status(answer)),
        };
        let bundle: Bundle = self.call(&request, BUNDLE_MAX, BUNDLE_BYTES, read).await?;
        self.0.are_clicks_shared.store(bundle.are_clicks_shared, Ordering::Relaxed);
        self.0.are_clicks_watched.store(bundle.are_clicks_watched, Ordering::Relaxed);
        Ok(bundle)
    }

    /// Whether somebody sees clicks there as they are stored by the control plane, as the last bundle
    /// said.
    pub(crate) fn are_clicks_watched(&self) -> bool {
        self.0.are_clicks_watched.load(Ordering::Relaxed)
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
        self.call(&request, CHANGES_MAX + wait * self.0.planes.len(), PAGE_BYTES, |answer| {
            match answer.status {
                StatusCode::OK => {
                    FeedPage::from_bytes(&answer.body).map(Some).map_err(CallError::new)
                }
                StatusCode::GONE => Ok(None),
                _ => Err(CallError::status(answer)),
            }
        })
        .await
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
        self.call(&request, CHANGES_MAX, RECORD_BYTES, record).await
    }

    /// The first of all routes after this one; none at the end. Who finds control busy tries again
    /// after a wait that is random, so that edges which start together do not stay together.
    pub(crate) async fn routes(
        &self,
        after: Option<(DomainId, Code)>,
    ) -> Result<Vec<RouteChange>, CallError> {
        let path = after.as_ref().map_or_else(
            || ROUTES_PATH.to_owned(),
            |(domain, code)| format!("{ROUTES_PATH}?domain={domain}&code={}", code.as_str()),
        );
        let request = self.request(Method::GET, &path, Bytes::new())?;
        let (until, mut pause) = (Instant::now() + LISTING_MAX, LISTING_PAUSE);
        loop {
            let goes_on = |page: &[RouteChange]| {
                let last = page.last().map(|last| (last.domain, last.code.clone()));
                last.is_none() || last != after
            };
            let error = match self.page_of_routes(&request, until).await {
                Ok(page) if goes_on(&page) => return Ok(page),
                Ok(_) => CallError("it sent the same routes again".to_owned()),
                Err(error) => error,
            };
            let mut chance = [0];
            self.0.random.fill(&mut chance);
            let wait = pause / 2 + pause / 256 * u32::from(chance[0]);
            if Instant::now() + wait >= until {
                return Err(error);
            }
            sleep(wait).await;
            pause *= 2;
        }
    }

    /// One control plane is asked after the other, and none of them for anything else because of that:
    /// it may only be that too many list its routes.
    async fn page_of_routes(
        &self,
        request: &Request<Full<Bytes>>,
        until: Instant,
    ) -> Result<Vec<RouteChange>, CallError> {
        let planes = &self.0.planes;
        let limit = until.saturating_duration_since(Instant::now()) / planes.len();
        let mut failed = None;
        for plane in planes.in_turn() {
            let sent = plane.others.send(request.clone(), LISTING_BYTES, Repeat::Harmless);
            let page = within(limit, sent).await.and_then(|answer| match answer.status {
                StatusCode::OK => RoutePage::from_bytes(&answer.body).map_err(CallError::new),
                _ => Err(CallError::status(&answer)),
            });
            match page {
                Ok(RoutePage(routes)) => return Ok(routes),
                Err(error) => failed = Some(error.at(plane)),
            }
        }
        Err(failed.unwrap_or_else(nobody))
    }

    /// Brings codes that are missing. What may have arrived is not sent again: it would count twice.
    pub(crate) async fn report_missing(&self, counts: &MissingCounts) -> Result<(), CallError> {
        let body = serde_json::to_vec(counts).map_err(CallError::new)?;
        let mut request = self.request(Method::POST, MISSING_PATH, body.into())?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let Some(plane) = self.0.planes.in_turn().next() else { return Ok(()) };
        let sent = plane.others.send(request, TEXT_BYTES, Repeat::Never);
        let answer = within(MISSING_MAX, sent).await.map_err(|error| error.at(plane))?;
        if answer.status.is_success() { Ok(()) } else { Err(CallError::status(&answer).at(plane)) }
    }

    /// Brings what could not be kept.
    async fn bring_losses(&self, report: &LossReport) -> Result<(), CallError> {
        let body = serde_json::to_vec(report).map_err(CallError::new)?;
        let mut request = self.request(Method::POST, LOSSES_PATH, body.into())?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let read = |answer: &Answer| {
            if answer.status.is_success() { Ok(()) } else { Err(CallError::status(answer)) }
        };
        self.call(&request, LOSSES_MAX, TEXT_BYTES, read).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, &self.0.authorization);
        if let Some(context) = TraceContext::current() {
            request = request.header(TRACEPARENT, context.to_string());
        }
        request.body(Full::new(body)).map_err(CallError::new)
    }

    /// A call that is no visitor's question and may be repeated: the first answer that can be read.
    /// That one succeeds says that others may, too.
    async fn call<T>(
        &self,
        request: &Request<Full<Bytes>>,
        limit: Duration,
        body_max: usize,
        read: impl Fn(&Answer) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let planes = &self.0.planes;
        let mut failed = None;
        for plane in planes.in_turn() {
            let sent = plane.others.send(request.clone(), body_max, Repeat::Harmless);
            match within(limit / planes.len(), sent).await.and_then(|answer| read(&answer)) {
                Ok(said) => {
                    planes.answered(plane);
                    return Ok(said);
                }
                Err(error) => failed = Some(error.at(plane)),
            }
        }
        Err(failed.unwrap_or_else(nobody))
    }

    async fn question(&self, path: &str) -> Result<Option<RouteRecord>, CallError> {
        let planes = &self.0.planes;
        let until = Instant::now() + self.0.question_max;
        let mut failed = None;
        for (left, plane) in (1..=planes.len()).rev().zip(planes.in_turn()) {
            let now = Instant::now();
            if !plane.breaker.admits(now) {
                continue;
            }
            let request = self.request(Method::GET, path, Bytes::new())?;
            let sent = plane.questions.send(request, RECORD_BYTES, Repeat::Harmless);
            let limit = until.saturating_duration_since(now) / left;
            match within(limit, sent).await.and_then(|answer| record(&answer)) {
                Ok(found) => {
                    planes.answered(plane);
                    return Ok(found);
                }
                Err(error) => {
                    let error = error.at(plane);
                    // The breaker bounds how often.
                    tracing::warn!(%error, "a route could not be looked up");
                    let mut chance = [0];
                    self.0.random.fill(&mut chance);
                    plane.breaker.failed(Instant::now(), chance[0]);
                    failed = Some(error);
                }
            }
        }
        Err(failed.unwrap_or_else(nobody))
    }
}

fn nobody() -> CallError {
    CallError("it failed just now, and is not asked again yet".to_owned())
}

impl From<Failed> for CallError {
    fn from(failed: Failed) -> Self {
        Self(failed.text)
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failed>>,
) -> Result<T, CallError> {
    match timeout(limit, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(CallError(format!("no answer in {} ms", limit.as_millis()))),
    }
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
            let span = tracing::info_span!(
                target: TARGET,
                "ask_control",
                otel.kind = "client",
                error = Empty,
            );
            let answer = client.question(&path).instrument(span.clone()).await;
            answer.map_err(|error| {
                span.record("error", true);
                OriginError(error.to_string())
            })
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

    fn routes(&self, after: Option<(DomainId, Code)>) -> OriginFuture<Vec<RouteChange>> {
        let client = self.clone();
        Box::pin(async move {
            client.routes(after).await.map_err(|error| OriginError(error.to_string()))
        })
    }

    fn is_followed(&self) -> bool {
        true
    }
}

impl ClickSink for ControlClient {
    fn report_losses(&self, report: LossReport) -> LossFuture {
        let client = self.clone();
        Box::pin(async move {
            let brought = client.bring_losses(&report).await;
            brought.map_err(|error| SinkError::Unavailable(error.to_string()))
        })
    }

    fn takes_several(&self) -> bool {
        self.0.are_clicks_shared.load(Ordering::Relaxed)
    }

    fn store(&self, token: Token, batch: Bytes) -> SinkFuture {
        let client = self.clone();
        Box::pin(async move {
            let path = format!("{CLICKS_PATH}/{token}");
            let request = client.request(Method::POST, &path, batch);
            let request = request.map_err(|error| SinkError::Unavailable(error.to_string()))?;
            let planes = &client.0.planes;
            if !client.0.are_clicks_shared.load(Ordering::Relaxed) {
                let plane = planes.first();
                let stored = bring(plane, request, CLICKS_MAX).await?;
                if stored.is_ok() {
                    plane.breaker.succeeded();
                }
                return stored.map_err(SinkError::Refused);
            }
            let mut failed = None;
            for plane in planes.in_turn() {
                match bring(plane, request.clone(), CLICKS_MAX / planes.len()).await {
                    Ok(stored) => {
                        planes.answered(plane);
                        return stored.map_err(SinkError::Refused);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            Err(failed.unwrap_or_else(|| SinkError::Unavailable(nobody().to_string())))
        })
    }
}

/// Brings a batch to a control plane, which has it now, or refuses it for good.
async fn bring(
    plane: &Plane,
    request: Request<Full<Bytes>>,
    limit: Duration,
) -> Result<Result<Stored, String>, SinkError> {
    let away = |error: CallError| SinkError::Unavailable(error.at(plane).to_string());
    let sent = plane.others.send(request, TEXT_BYTES, Repeat::Harmless);
    let answer = within(limit, sent).await.map_err(away)?;
    match answer.status {
        StatusCode::CREATED => Ok(Ok(Stored::New)),
        StatusCode::OK => Ok(Ok(Stored::Already)),
        StatusCode::UNPROCESSABLE_ENTITY => {
            let reason = String::from_utf8_lossy(&answer.body);
            Ok(Err(reason.trim().chars().take(REASON_CHARS).collect()))
        }
        _ => Err(away(CallError::status(&answer))),
    }
}

#[cfg(test)]
mod tests;
