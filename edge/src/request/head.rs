//! A request's head: what the edge reads of it, in borrowed pieces, whoever parsed it.
//!
//! ```text
//! hyper's Request        --Head::of-->  Head     any request that hyper takes, HTTP/2 too
//! the bytes themselves   --plain---->   Head     a plain request (`plain.rs`)
//! ```
//!
//! Everything after this reads a [`Head`], so each rule stands once, and a request is answered alike on
//! both ways.

use http::header::{ACCEPT, ACCEPT_LANGUAGE, HOST, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};

use crate::proxy::ForwardedFor;

const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const PURPOSE: HeaderName = HeaderName::from_static("purpose");
const X_MOZ: HeaderName = HeaderName::from_static("x-moz");
const DNT: HeaderName = HeaderName::from_static("dnt");
const SEC_GPC: HeaderName = HeaderName::from_static("sec-gpc");

/// The methods that a short link tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Head,
    Other,
}

/// What is read of a request.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub verb: Verb,
    /// The one host that the request names, as written; `None`: none, several, one that the target
    /// contradicts.
    pub host: Option<&'a [u8]>,
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// Whether a body was announced.
    pub has_body: bool,
    pub fields: Fields<'a>,
}

/// The header fields that matter; of one that is there several times, the first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    pub accept: Option<&'a [u8]>,
    pub accept_language: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    pub sec_purpose: Option<&'a [u8]>,
    pub purpose: Option<&'a [u8]>,
    pub x_moz: Option<&'a [u8]>,
    pub dnt: Option<&'a [u8]>,
    pub sec_gpc: Option<&'a [u8]>,
    pub forwarded_for: ForwardedFor<'a>,
}

impl<'a> Head<'a> {
    /// The head of a request that hyper has parsed.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>, has_body: bool) -> Self {
        let verb = match *request.method() {
            Method::GET => Verb::Get,
            Method::HEAD => Verb::Head,
            _ => Verb::Other,
        };
        let (host, uri) = (host(request), request.uri());
        let fields = Fields::of(request.headers());
        Self { verb, host, path: uri.path(), query: uri.query(), has_body, fields }
    }
}

impl<'a> Fields<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let field = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
        Self {
            accept: field(ACCEPT),
            accept_language: field(ACCEPT_LANGUAGE),
            referer: field(REFERER),
            user_agent: field(USER_AGENT),
            sec_purpose: field(SEC_PURPOSE),
            purpose: field(PURPOSE),
            x_moz: field(X_MOZ),
            dnt: field(DNT),
            sec_gpc: field(SEC_GPC),
            forwarded_for: ForwardedFor::Headers(headers),
        }
    }
}

/// With HTTP/2 the target names the host, and a `Host` beside it need not be there (RFC 9113 8.3.1).
fn host<B>(request: &Request<B>) -> Option<&[u8]> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, another) = (hosts.next().map(HeaderValue::as_bytes), hosts.next());
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let host = match request.version() {
        Version::HTTP_2 => authority.or(first),
        _ => first,
    }?;
    let contradicts = |other: &[u8]| !other.eq_ignore_ascii_case(host);
    let is_doubtful =
        another.is_some() || authority.is_some_and(contradicts) || first.is_some_and(contradicts);
    (!is_doubtful).then_some(host)
}
