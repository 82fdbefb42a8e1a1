//! The span of a request: what may be known of it, and nothing of what it is about.

use carom_shared::trace::{TARGET, TRACEPARENT};
use http::{HeaderMap, Method};
use tracing::Span;
use tracing::field::Empty;

/// The surface of edges: they are this installation's, so their traces go on here.
const INTERNAL: &str = "internal";

/// A span for a request; never its path, which may hold a code. A client's `traceparent` is not
/// looked at: strangers do not choose what is kept. What an edge asks for outside of a trace, such as
/// the feed, waits most of its time, and is no trace either.
pub(super) fn request_span(
    surface: &str,
    headers: &HeaderMap,
    (method, route): (&Method, Option<&str>),
    id: &str,
) -> Span {
    let span = |traceparent| {
        tracing::info_span!(
            target: TARGET,
            "request",
            traceparent,
            otel.kind = "server",
            http.request.method = method.as_str(),
            http.route = route,
            http.response.status_code = Empty,
            carom.surface = surface,
            carom.request_id = id,
            error = Empty,
        )
    };
    if surface != INTERNAL {
        return span(None);
    }
    let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    parent.map_or_else(Span::none, |parent| span(Some(parent)))
}

/// How it was answered.
pub(super) fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("error", true);
    }
}
