//! The files that browsers and crawlers ask every host for. No link is named in them, so they may be
//! kept; they are no clicks.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;

use super::Answer;
use super::answer::fixed;

/// `/robots.txt`: everything may be fetched.
///
/// Messengers that show a card of what a link leads to obey this file. And a search engine has to
/// fetch a link to read that it must not list it (`X-Robots-Tag` on each answer): to forbid the
/// fetch would not forbid the listing (RFC 9309, 3).
#[must_use]
pub fn robots() -> Answer {
    Answer {
        content_type: Some("text/plain; charset=utf-8"),
        fixed: fixed! { "x-content-type-options": "nosniff" },
        body: Bytes::from_static(b"User-agent: *\nDisallow:\n"),
        // RFC 9309, 2.4: crawlers keep it for a day.
        ..Answer::new(StatusCode::OK, Cow::Borrowed("public, max-age=86400"))
    }
}

/// `/favicon.ico`: there is none, for a week. A 404 would be asked for again with each error page.
#[must_use]
pub fn favicon() -> Answer {
    Answer::new(StatusCode::NO_CONTENT, Cow::Borrowed("public, max-age=604800"))
}
