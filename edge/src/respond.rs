//! A [`Route`] and a time → a [`Redirect`] or an [`ErrorPage`] → an [`Answer`]. Pure: the same answer
//! gives the same bytes.
//!
//! A redirect is judged at each hit by the link's own times, so a cached record never outlives
//! them. Every answer for a link but a permanent redirect says `no-store`: each click is counted, and
//! a change or a takedown is seen at once.
//!
//! | the link | `/{code}` | `/{code}+` |
//! |---|---|---|
//! | is active | its status, to its target with what its policy passes on of the query | 200, names the target |
//! | has ended, and has a fallback | 302 to the fallback, without the query | 200, names the fallback |
//! | has not begun, or never was | 404 | 404 |
//! | has ended, is disabled or deleted | 410 | 410 |
//! | is blocked | 451 | 451 |
//!
//! A redirect is a click, one to a fallback too; a preview is none. A fallback is a way out that may
//! change any day, so its redirect is temporary even where the link's was permanent. It was chosen
//! for everyone who comes too late, not for the campaign in the query of one of them, which
//! therefore stays behind.
//!
//! Besides links a domain has [`file::robots`] and [`file::favicon`]. Its `/` leads to its home, if
//! it has one: a temporary redirect, which is no click. So do codes that do not exist, and links that
//! have ended, where the domain says where to; those who ask for a preview get the page all the same.

mod answer;
mod date;
pub mod file;
mod page;
pub mod preview;

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderValue;
use http_body_util::Full;

use carom_shared::{RedirectStatus, RouteState, UnixMillis};

use crate::query;
use crate::resolve::Route;
use answer::fixed;

pub use answer::Answer;
pub use date::HttpDate;
pub use page::ErrorPage;

const NO_STORE: Cow<'static, str> = Cow::Borrowed("private, no-store");

pub type Body = Full<Bytes>;

/// The answer to `/` of a domain with a home, and to whom it sends elsewhere.
#[must_use]
pub fn home(location: &HeaderValue) -> Answer {
    Answer {
        location: Some(location.clone()),
        fixed: fixed! { "referrer-policy": "strict-origin-when-cross-origin" },
        ..Answer::new(StatusCode::FOUND, NO_STORE)
    }
}

/// Where a link leads at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Redirect<'a> {
    route: &'a Route,
    /// The link has ended and leads here.
    fallback: Option<&'a HeaderValue>,
}

impl<'a> Redirect<'a> {
    /// The rule: what a route answers at a time.
    ///
    /// # Errors
    /// The page for a link that leads nowhere.
    pub fn of(route: &'a Route, now: UnixMillis) -> Result<Self, ErrorPage> {
        match route.state {
            RouteState::Blocked => Err(ErrorPage::Blocked),
            RouteState::Deleted | RouteState::Disabled => Err(ErrorPage::Gone),
            RouteState::Active if route.expires_at.is_some_and(|end| end <= now) => {
                let fallback = Some(route.fallback().ok_or(ErrorPage::Gone)?);
                Ok(Self { route, fallback })
            }
            // Before its time a link looks like one that does not exist.
            RouteState::Active if route.not_before().is_some_and(|start| now < start) => {
                Err(ErrorPage::NotFound)
            }
            RouteState::Active => Ok(Self { route, fallback: None }),
        }
    }

    #[must_use]
    pub const fn route(&self) -> &'a Route {
        self.route
    }

    #[must_use]
    pub const fn status(&self) -> RedirectStatus {
        if self.fallback.is_some() { RedirectStatus::Found } else { self.route.status }
    }

    /// Which of the link's targets this is, counted from 1; 0: none, but its fallback.
    #[must_use]
    pub const fn target_revision(&self) -> u32 {
        if self.fallback.is_some() { 0 } else { self.route.target_revision }
    }

    /// Where it leads without a query.
    #[must_use]
    pub fn destination(&self) -> &'a HeaderValue {
        self.fallback.unwrap_or(&self.route.location)
    }

    fn location(&self, query: Option<&str>) -> HeaderValue {
        match (self.route.query_policy(), query) {
            (Some(policy), Some(query)) if self.fallback.is_none() => {
                query::pass_on(&self.route.location, query, policy)
            }
            _ => self.destination().clone(),
        }
    }

    /// The answer to a request with this query. Links are shared, not found by searching: every
    /// answer that names or stands for one says so (`X-Robots-Tag`).
    #[must_use]
    pub fn answer(&self, query: Option<&str>, now: UnixMillis) -> Answer {
        let status = match self.status() {
            RedirectStatus::Found => StatusCode::FOUND,
            status => StatusCode::from_u16(status.code()).unwrap_or(StatusCode::FOUND),
        };
        Answer {
            location: Some(self.location(query)),
            fixed: fixed! {
                "referrer-policy": "strict-origin-when-cross-origin",
                "x-robots-tag": "noindex, nofollow",
            },
            ..Answer::new(status, self.cache_control(now))
        }
    }

    fn cache_control(&self, now: UnixMillis) -> Cow<'static, str> {
        if !self.status().is_permanent() {
            return NO_STORE;
        }
        let left_s = self
            .route
            .expires_at
            .map_or(i64::MAX, |end| end.get().saturating_sub(now.get()) / 1000);
        match left_s.min(self.route.max_age_s.into()) {
            0 => NO_STORE,
            // The default, ready made.
            300 => Cow::Borrowed("public, max-age=300"),
            max_age => Cow::Owned(format!("public, max-age={max_age}")),
        }
    }
}

#[cfg(test)]
mod tests;
