//! The files that browsers and crawlers ask every host for. No link is named in them, so they may be
//! kept; they are no clicks.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};

use super::Body;

/// `/robots.txt`: everything may be fetched.
///
/// Messengers that show a card of what a link leads to obey this file. And a search engine has to
/// fetch a link to read that it must not list it (`X-Robots-Tag` on each answer): to forbid the
/// fetch would not forbid the listing (RFC 9309, 3).
#[must_use]
pub fn robots() -> Response<Body> {
    let mut response = Response::new(Body::from("User-agent: *\nDisallow:\n"));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // RFC 9309, 2.4: crawlers keep it for a day.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// `/favicon.ico`: there is none, for a week. A 404 would be asked for again with each error page.
#[must_use]
pub fn favicon() -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let max_age = HeaderValue::from_static("public, max-age=604800");
    response.headers_mut().insert(CACHE_CONTROL, max_age);
    response
}
