//! [`Answer`] → response. Pure: the same answer gives the same bytes.
//!
//! A redirect is judged at each hit by the link's own times, so a cached record never outlives
//! them. Every answer but a permanent redirect says `no-store`: each click is counted, and a
//! change or a takedown is seen at once.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION};
use http::header::{REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, Response, StatusCode};
use http_body_util::Full;

use carom_shared::{RouteState, UnixMillis};

use crate::request::{Form, Refusal};
use crate::resolve::Route;

const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");

/// How long a browser may keep a permanent redirect, in seconds, at most: a takedown has to reach
/// those who followed it before.
const PERMANENT_MAX_AGE_S: i64 = 300;

pub type Body = Full<Bytes>;

/// What a visitor gets.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    Redirect(&'a Route),
    Error(ErrorPage),
}

/// An answer that leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorPage {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    Gone,
    Misdirected,
    Blocked,
    Unavailable,
}

impl From<Refusal> for ErrorPage {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Host | Refusal::Body => Self::BadRequest,
            Refusal::Method => Self::MethodNotAllowed,
            Refusal::Misdirected => Self::Misdirected,
        }
    }
}

impl<'a> Answer<'a> {
    /// The rule: what a route answers at a time.
    #[must_use]
    pub fn of(route: &'a Route, now: UnixMillis) -> Self {
        match route.state {
            RouteState::Blocked => Self::Error(ErrorPage::Blocked),
            RouteState::Deleted | RouteState::Disabled => Self::Error(ErrorPage::Gone),
            RouteState::Active if route.expires_at.is_some_and(|end| end <= now) => {
                Self::Error(ErrorPage::Gone)
            }
            // Before its time a link looks like one that does not exist.
            RouteState::Active if route.not_before.is_some_and(|start| now < start) => {
                Self::Error(ErrorPage::NotFound)
            }
            RouteState::Active => Self::Redirect(route),
        }
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Redirect(route) => {
                StatusCode::from_u16(route.status.code()).unwrap_or(StatusCode::FOUND)
            }
            Self::Error(page) => page.status(),
        }
    }

    /// The response. A body is dropped by hyper where the request was HEAD.
    #[must_use]
    pub fn response(&self, form: Form, now: UnixMillis) -> Response<Body> {
        match self {
            Self::Redirect(route) => redirect(route, now, self.status()),
            Self::Error(page) => page.response(form),
        }
    }
}

fn redirect(route: &Route, now: UnixMillis, status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(LOCATION, route.location.clone());
    headers.insert(CACHE_CONTROL, cache_control(route, now));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin"));
    headers.insert(X_ROBOTS_TAG, HeaderValue::from_static("noindex, nofollow"));
    response
}

fn cache_control(route: &Route, now: UnixMillis) -> HeaderValue {
    if !route.status.is_permanent() {
        return HeaderValue::from_static("private, no-store");
    }
    let remaining_s = route.expires_at.map_or(i64::MAX, |end| (end.get() - now.get()) / 1000);
    match remaining_s.min(PERMANENT_MAX_AGE_S) {
        PERMANENT_MAX_AGE_S => HeaderValue::from_static("public, max-age=300"),
        max_age => HeaderValue::try_from(format!("public, max-age={max_age}"))
            .unwrap_or(HeaderValue::from_static("no-store")),
    }
}

impl ErrorPage {
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Gone => StatusCode::GONE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Blocked => StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn response(self, form: Form) -> Response<Body> {
        let (content_type, body) = match form {
            Form::Html => ("text/html; charset=utf-8", self.html()),
            Form::Json => ("application/problem+json", self.json()),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(X_ROBOTS_TAG, HeaderValue::from_static("noindex, nofollow"));
        match self {
            Self::MethodNotAllowed => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Self::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // What follows on the connection may be the rest of this request.
            Self::BadRequest => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::NotFound | Self::Gone | Self::Misdirected | Self::Blocked => {}
        }
        response
    }
}

/// The two texts of an error page, made at compile time: no page reflects anything of its request.
macro_rules! error_pages {
    ($($page:ident $status:literal $title:literal $detail:literal),+ $(,)?) => {
        impl ErrorPage {
            /// In the order of their discriminants.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$page),+];

            const fn html(self) -> &'static str {
                match self {
                    $(Self::$page => concat!(
                        "<!doctype html><html lang=en><meta charset=utf-8>",
                        "<meta name=viewport content=\"width=device-width\">",
                        "<meta name=color-scheme content=\"light dark\">",
                        "<title>", $title, "</title>",
                        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:30em;",
                        "margin:20vh auto;padding:0 1em}</style>",
                        "<h1>", $title, "</h1><p>", $detail, "</p></html>\n",
                    )),+
                }
            }

            const fn json(self) -> &'static str {
                match self {
                    $(Self::$page => concat!(
                        "{\"type\":\"about:blank\",\"title\":\"", $title,
                        "\",\"status\":", $status, ",\"detail\":\"", $detail, "\"}\n",
                    )),+
                }
            }
        }
    };
}

error_pages! {
    BadRequest 400 "Bad request" "This request cannot be understood.",
    NotFound 404 "Link not found" "There is no link at this address. Check it for a typing error.",
    MethodNotAllowed 405 "Method not allowed" "Short links answer GET and HEAD.",
    Gone 410 "Link no longer available" "This link existed and has ended.",
    Misdirected 421 "Unknown host" "No short links are served for this host name here.",
    Blocked 451 "Link blocked" "This link has been taken down by the operator of this service.",
    Unavailable 503 "Temporarily unavailable" "This link cannot be looked up right now. Try again in a moment.",
}

#[cfg(test)]
mod tests;
