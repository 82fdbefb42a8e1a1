//! What people see: one frame and one stylesheet for all pages, and the pages that lead nowhere.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderValue;

use super::Answer;
use super::answer::{Fixed, fixed};
use crate::request::{Form, Refusal};

/// The one stylesheet: the dashboard's colours and type, light or dark as the browser likes. Not
/// `light-dark()`: whoever meets these pages may have an older browser than those who sign in.
/// A macro, because pages are put together at compile time.
macro_rules! stylesheet {
    () => {
        ":root{color-scheme:light dark;--p:#faf9f6;--c:#fff;--l:#e2dfd6;--i:#1c201e;--m:#545c58;--a:#0a6b4f;\
         font:1rem/1.5 system-ui,sans-serif;background:var(--p);color:var(--i)}\
         @media(prefers-color-scheme:dark){:root{--p:#121514;--c:#1a1e1c;--l:#2b312e;--i:#e9ece9;--m:#aab2ad;\
         --a:#43c99a}}\
         main{max-width:30rem;margin:16vh auto 3rem;padding:0 1.25rem}\
         h1{font-size:1.75rem;line-height:1.2;letter-spacing:-.015em;font-weight:650;margin:0 0 .75rem}\
         p{margin:0 0 1rem;color:var(--m)}\
         .n{margin:0 0 .5rem;color:var(--a);font-weight:650;letter-spacing:.08em}\
         a{color:inherit}\
         .to{padding:1rem 1.25rem;border:1px solid var(--l);border-radius:.75rem;background:var(--c);\
         overflow-wrap:anywhere;max-height:40vh;overflow:auto}\
         .to b{display:block;color:var(--i);font-size:1.25rem;line-height:1.4}\
         .go{display:inline-block;margin:0 1rem 0 0;padding:.5rem 1rem;border-radius:.5rem;\
         background:var(--a);color:var(--p);font-weight:550;text-decoration:none}"
    };
}

/// Begins a page; what follows is its body, and then [`page_end!`]. `before` stands above its title.
macro_rules! page_begin {
    ($title:literal $(, $before:literal)*) => {
        concat!(
            "<!doctype html><html lang=en><meta charset=utf-8>",
            "<meta name=viewport content=\"width=device-width\">",
            "<title>",
            $title,
            "</title><style>",
            $crate::respond::page::stylesheet!(),
            "</style><main>",
            $($before,)*
            "<h1>",
            $title,
            "</h1>",
        )
    };
}

macro_rules! page_end {
    () => {
        "</main></html>\n"
    };
}

pub(super) use {page_begin, page_end, stylesheet};

/// Lets a page have that stylesheet, by its SHA-256, and nothing else: whatever got into a page would
/// neither run nor load nor look like anything. A macro, because lines are put together at compile time.
macro_rules! page_policy {
    () => {
        "default-src 'none'; style-src 'sha256-x6dwMqKGjNVBHwf8Fkwc9cEk6+4wBIlmsHbw3oTTzsY='; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    };
}

/// The fields of every page, and more.
macro_rules! page_fields {
    ($($name:literal: $value:literal)?) => {
        fixed! {
            "content-security-policy": page_policy!(),
            "x-content-type-options": "nosniff",
            "x-robots-tag": "noindex, nofollow",
            $($name: $value)?
        }
    };
}

/// An answer that is made for this one request.
pub(super) fn page(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    Answer {
        content_type: Some(content_type),
        fixed: PAGE,
        body,
        ..Answer::new(status, Cow::Borrowed("no-store"))
    }
}

const PAGE: &Fixed = page_fields!();
const PAGE_WITH_METHODS: &Fixed = page_fields!("allow": "GET, HEAD");

pub(super) const HTML: &str = "text/html; charset=utf-8";

/// An answer that leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorPage {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    Gone,
    Misdirected,
    Blocked,
    TooManyMisses,
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
            Self::TooManyMisses => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The answer.
    #[must_use]
    pub fn answer(self, form: Form) -> Answer {
        let (content_type, body) = match form {
            Form::Html => (HTML, self.html()),
            Form::Json => ("application/problem+json", self.json()),
        };
        let mut answer = page(self.status(), content_type, Bytes::from_static(body.as_bytes()));
        match self {
            Self::MethodNotAllowed => answer.fixed = PAGE_WITH_METHODS,
            Self::Unavailable => answer.retry_after(HeaderValue::from_static("1")),
            // What follows on the connection may be the rest of this request.
            Self::BadRequest => answer.close(),
            Self::NotFound
            | Self::Gone
            | Self::Misdirected
            | Self::Blocked
            | Self::TooManyMisses => {}
        }
        answer
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
                        page_begin!($title, "<p class=n>", $status), "<p>", $detail, page_end!(),
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
    TooManyMisses 429 "Too many wrong addresses" "Too many links were asked for from here that do not exist. Links that exist still work. Try again in a while.",
    Unavailable 503 "Temporarily unavailable" "This link cannot be looked up right now. Try again in a moment.",
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Version;
    use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, LOCATION, RETRY_AFTER};
    use sha2::{Digest, Sha256};

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let at = |n: usize| u32::from(chunk.get(n).copied().unwrap_or_default());
            let word = at(0) << 16 | at(1) << 8 | at(2);
            for digit in 0..4 {
                let value = (word >> (18 - 6 * digit) & 63) as usize;
                let is_padding = digit as usize > chunk.len();
                text.push(if is_padding { '=' } else { char::from(DIGITS[value]) });
            }
        }
        text
    }

    /// They are answered to anybody, however often, and when much else fails.
    #[test]
    fn error_pages_are_small() {
        for page in ErrorPage::ALL {
            assert!(page.html().len() <= 1300, "{page:?}: {} bytes", page.html().len());
        }
    }

    /// A browser ignores a stylesheet whose hash is another.
    #[test]
    fn pages_may_have_their_stylesheet() {
        let hash = base64(&Sha256::digest(stylesheet!()));
        assert!(page_policy!().contains(&format!("style-src 'sha256-{hash}';")), "{hash}");
        for page in ErrorPage::ALL {
            assert!(page.html().contains(concat!("<style>", stylesheet!(), "</style>")));
        }
    }

    #[test]
    fn error_pages_say_the_same_in_both_forms_and_are_never_stored() {
        for page in ErrorPage::ALL {
            let status = page.status().as_str().to_owned();
            assert!(page.json().contains(&format!("\"status\":{status},")), "{page:?}");
            for form in [Form::Html, Form::Json] {
                let response = page.answer(form).into_response(Version::HTTP_11);
                assert_eq!(response.status(), page.status());
                assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
                assert!(!response.headers().contains_key(LOCATION));
            }
        }
        let headers = |page: ErrorPage| {
            page.answer(Form::Json).into_response(Version::HTTP_11).headers().clone()
        };
        assert_eq!(headers(ErrorPage::MethodNotAllowed)[ALLOW], "GET, HEAD");
        assert_eq!(headers(ErrorPage::Unavailable)[RETRY_AFTER], "1");
        assert_eq!(headers(ErrorPage::BadRequest)[CONNECTION], "close");
    }
}
