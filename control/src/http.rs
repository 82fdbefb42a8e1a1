//! What all surfaces have in common: request ids, problem documents, limits, counting, logging.
//! Statuses are known here and in the files of handlers, nowhere else.

pub(crate) mod address;
pub(crate) mod auth;
pub(crate) mod cursor;
pub(crate) mod download;
pub(crate) mod extract;
pub(crate) mod precondition;
pub(crate) mod problem;
pub(crate) mod refusal;
mod trace;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use carom_shared::Random;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use crate::app::App;
use crate::limit::api::counted;
use crate::page;
use crate::session::cookie::ResponseCookie;
use address::{ClientAddress, Peer};
use problem::ApiError;
use refusal::{Asker, ProblemCode, Refusals};

/// How long a request may take, from its head to its answer.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(10);
/// The surface that anybody can reach.
const API: &str = "api";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The API, for people and programs with a key, and the pages.
pub fn api_router(app: &App) -> Router {
    finish(app, API, crate::openapi::router().merge(page::router()))
}

/// A request's name: in its answer, in the problem document, in the log. A version 4 UUID
/// (RFC 9562, 5.4), so that `urn:uuid:` makes it a URI.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(String);

impl RequestId {
    fn generate(random: &dyn Random) -> Self {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        let number = u128::from_be_bytes(bytes);
        let versioned = number & !(0xf << 76) | 0x4 << 76;
        let hex = format!("{:032x}", versioned & !(0x3 << 62) | 0x2 << 62);
        let part = |range| hex.get(range).unwrap_or_default();
        Self(format!(
            "{}-{}-{}-{}-{}",
            part(0..8),
            part(8..12),
            part(12..16),
            part(16..20),
            part(20..32)
        ))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Puts around a router what every surface has.
pub(crate) fn finish(app: &App, surface: &'static str, router: Router<App>) -> Router {
    finish_within(HANDLER_TIMEOUT, app, surface, router)
}

fn finish_within(
    timeout: Duration,
    app: &App,
    surface: &'static str,
    router: Router<App>,
) -> Router {
    let observer = Observer { app: app.clone(), surface, timeout, refusals: Arc::default() };
    router
        .fallback(async |asked: HeaderMap| page::no_route(&asked))
        .layer(CatchPanicLayer::custom(|panic| ApiError::from_panic(panic).into_response()))
        .layer(from_fn_with_state(observer, observe))
        .with_state(app.clone())
}

#[derive(Clone)]
struct Observer {
    app: App,
    surface: &'static str,
    timeout: Duration,
    refusals: Arc<Refusals>,
}

/// Names, times, counts and logs each request, and turns every error into a problem document.
async fn observe(State(observer): State<Observer>, mut request: Request, next: Next) -> Response {
    let Observer { app, surface, timeout, refusals } = observer;
    let started = Instant::now();
    // Always a fresh one: a client's could be anything, and would be in the log.
    let id = RequestId::generate(app.random());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let peer = request.extensions_mut().remove::<Peer>().and_then(|peer| peer.0);
    let trusted = &app.config().control.trusted_proxies;
    let address = ClientAddress::of(peer, request.headers(), trusted);
    let from = address.0;
    request.extensions_mut().insert(address);
    request.extensions_mut().insert(id.clone());
    let cookie = ResponseCookie::default();
    request.extensions_mut().insert(cookie.clone());
    let asker = Asker::default();
    request.extensions_mut().insert(asker.clone());

    let span = trace::request_span(surface, request.headers(), (&method, route), id.as_str());
    let answering = async {
        match surface {
            // A page has several, and giving one away costs nothing.
            API if route != Some(page::FILE) => counted(&app, request, next).await,
            // Edges and operators are no strangers, and nobody else gets there.
            _ => next.run(request).await,
        }
    };
    let answered = tokio::time::timeout(timeout, answering).instrument(span.clone()).await;
    let response = answered.unwrap_or_else(|_| ApiError::Timeout.into_response());
    let mut response = problem::render(response, &id, app.problem_base(), (&method, route));

    let code = response.extensions_mut().remove::<ProblemCode>();
    refusals.note((&id, &method, route), (response.status(), code), (&asker, from));
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    secure(headers, app.is_control_https());
    cookie.write(headers);
    let status = response.status().as_u16();
    trace::answered(&span, status);
    app.metrics().count_request(surface, &method, route, status, started.elapsed());
    response
}

/// What nothing that is answered may be used for (OWASP ASVS 5.0, 3.4): a page sets a policy of its
/// own, and everything else runs nothing, is framed by nobody and is no part of another site.
fn secure(headers: &mut HeaderMap, is_https: bool) {
    const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'";
    let policy = HeaderValue::from_static(POLICY);
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let referrer = HeaderValue::from_static("no-referrer");
    headers.entry(header::REFERRER_POLICY).or_insert(referrer);
    let same_origin = HeaderValue::from_static("same-origin");
    headers.insert(OPENER_POLICY, same_origin.clone());
    headers.insert(RESOURCE_POLICY, same_origin);
    if is_https {
        let two_years = HeaderValue::from_static("max-age=63072000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, two_years);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use carom_shared::{SeededRandom, TestClock};
    use tower::ServiceExt;

    /// What clients see of defects: a document, and the next request works.
    #[tokio::test]
    async fn panics_and_endless_handlers_become_problems() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(folder.path().into(), "https://go.example");
        let clock = Arc::new(TestClock::default());
        let random = Arc::new(SeededRandom::new(1));
        let options = crate::OpenOptions { config, clock, random };
        let app = App::open(options).await.unwrap();
        let router = Router::new()
            .route("/panic", get(async || -> &'static str { panic!("with a secret") }))
            .route("/endless", get(std::future::pending::<&'static str>));
        let router = finish_within(Duration::from_millis(50), &app, "api", router);
        for (path, status, code) in [("/panic", 500, "internal"), ("/endless", 503, "timeout")] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status);
            let body = to_bytes(response.into_body(), 10_000).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(!body.contains("secret"), "{body}");
            let problem: problem::Problem = serde_json::from_str(&body).unwrap();
            assert_eq!((problem.code.as_str(), problem.status), (code, status));
        }
    }

    #[test]
    fn a_request_id_is_a_uuid_of_version_4() {
        let random = SeededRandom::new(1);
        for _ in 0..100 {
            let id = RequestId::generate(&random).0;
            let shape: String =
                id.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect();
            assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
            assert_eq!(id.as_bytes()[14], b'4');
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }
}
