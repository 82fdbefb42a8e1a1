//! HTML as an answer: its language, its headers, its size, and what a page says when something is wrong.

mod pages;
pub(super) mod words;

use std::error::Error;
use std::io::Write as _;

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use url::form_urlencoded;

pub(super) use pages::pages;

use super::message::phrase::Phrase;
use super::message::{Language, filters};
use crate::http::RequestId;
use crate::http::problem::ApiError;

/// Scripts and styles come from files of this origin alone: markup that slips into a page runs
/// nothing (W3C Content Security Policy Level 3).
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
/// What a page depends on.
const VARY: HeaderValue = HeaderValue::from_static("Accept-Encoding, Accept-Language, Cookie");
/// For pages, which are made for each request: a tenth of the time of the best, a tenth larger.
const QUALITY: u32 = 4;

/// A page to be made.
pub(super) struct Page<'t>(&'t dyn askama::DynTemplate);

impl<'t> Page<'t> {
    pub(super) fn of(template: &'t impl Template) -> Self {
        Self(template)
    }

    /// The answer to a browser with these headers: in its language, and compressed. Nothing in a page is
    /// both secret and next to what a stranger chose (BREACH).
    pub(super) fn respond(self, asked: &HeaderMap) -> Response {
        let language = Language::of(asked);
        let html = match self.0.dyn_render_with_values(&language.values()) {
            Ok(html) => html,
            Err(error) => return ApiError::Internal(std::sync::Arc::new(error)).into_response(),
        };
        let is_brotli = takes_brotli(asked);
        let body = if is_brotli { compress(html.as_bytes(), QUALITY) } else { html.into_bytes() };
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
        headers.insert(header::VARY, VARY);
        if is_brotli {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        }
        response
    }
}

/// What an address without anything answers: a page to whoever asks for one.
pub(crate) fn no_route(asked: &HeaderMap) -> Response {
    if takes_html(asked) {
        return PageError::Api(ApiError::NoRoute).page(asked, None);
    }
    ApiError::NoRoute.into_response()
}

/// Whether it is a browser that goes somewhere: scripts and pictures are asked for otherwise.
fn takes_html(asked: &HeaderMap) -> bool {
    let accepts = asked.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepts.is_some_and(|types| types.contains("text/html"))
}

/// A problem's detail as people write: programs' begin small and end without a stop.
fn sentence(detail: &str) -> String {
    let mut chars = detail.chars();
    let first = chars.next().map(char::to_uppercase);
    let mut sentence: String = first.into_iter().flatten().chain(chars).collect();
    if sentence.ends_with(char::is_alphanumeric) {
        sentence.push('.');
    }
    sentence
}

pub(super) fn takes_brotli(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim() == "br" && !weight.replace(' ', "").eq("q=0")
    })
}

pub(super) fn compress(bytes: &[u8], quality: u32) -> Vec<u8> {
    // 22: the window is 4 MiB, more than any page is.
    let mut writer = brotli::CompressorWriter::new(Vec::new(), 16 * 1024, quality, 22);
    // A vector takes everything.
    drop(writer.write_all(bytes));
    writer.into_inner()
}

/// What a page cannot do.
#[derive(Clone, Debug)]
pub(super) enum PageError {
    /// Somebody who is not signed in looks at what is behind the gate.
    Gate {
        next: String,
    },
    /// Somebody who is signed in is in no workspace (any more).
    NoWorkspace,
    Api(ApiError),
}

impl<E: Into<ApiError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self::Api(error.into())
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    title: Phrase,
    detail: Phrase,
    /// Of the request, where the log has more about it.
    id: Option<String>,
}

#[derive(Template)]
#[template(path = "no-workspace.html")]
struct NoWorkspacePage;

impl PageError {
    /// `id` is the request's, as the log has it.
    fn page(&self, asked: &HeaderMap, id: Option<&RequestId>) -> Response {
        match self {
            Self::Gate { next } => {
                let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
                Redirect::to(&format!("/sign-in?next={next}")).into_response()
            }
            Self::NoWorkspace => Page::of(&NoWorkspacePage).respond(asked),
            // The log has the cause of a defect; the page has words for people.
            Self::Api(error) => {
                let (status, title, detail) = words::words(error);
                let id = id.filter(|_| matches!(error, ApiError::Internal(_)));
                let page = ErrorPage { title, detail, id: id.map(|id| id.as_str().to_owned()) };
                let mut response = Page::of(&page).respond(asked);
                *response.status_mut() = status;
                if let ApiError::Internal(cause) = error {
                    tracing::error!(error = &**cause as &dyn Error, "page failed");
                }
                let retry_after = match error {
                    ApiError::Limited { retry_after_s, .. } => {
                        Some(HeaderValue::from(*retry_after_s))
                    }
                    _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                        Some(HeaderValue::from_static("1"))
                    }
                    _ => None,
                };
                response
                    .headers_mut()
                    .extend(retry_after.map(|after| (header::RETRY_AFTER, after)));
                response
            }
        }
    }
}
