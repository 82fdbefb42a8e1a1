//! Each request of the API is counted: for its key and its workspace, for the person who is signed
//! in, or else for the block of addresses that it came from. Answers say what is left
//! (draft-ietf-httpapi-ratelimit-headers).

use std::convert::Infallible;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use carom_shared::{AccountId, ApiKeyId, WorkspaceId};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Decision;
use crate::apikey::command::Secret;
use crate::app::App;
use crate::http::address::ClientAddress;
use crate::http::auth::bearer;
use crate::http::problem::ApiError;
use crate::session::api::{COOKIE, cookie};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// As what a request was counted. It goes with the request, so that whoever finds out whose it is
/// can say so.
#[derive(Clone, Debug, Default)]
struct Tally(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    is_counted: bool,
    decisions: Vec<Decision>,
}

impl Tally {
    fn note(&self, decisions: Vec<Decision>) -> Result<(), ApiError> {
        let outcome = decisions.last().map_or(Ok(()), |decision| decision.into_result());
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.is_counted = true;
        counted.decisions.extend(decisions);
        outcome
    }

    fn is_counted(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_counted
    }

    fn write(&self, headers: &mut HeaderMap) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut policy, mut left) = (String::new(), String::new());
        for (at, decision) in counted.decisions.iter().enumerate() {
            // Of two blocks around one address the inner one is told.
            let next = counted.decisions.get(at + 1);
            if next.is_some_and(|next| next.limit == decision.limit) {
                continue;
            }
            let comma = if policy.is_empty() { "" } else { ", " };
            let (name, quota) = (decision.limit.name(), decision.quota);
            let window = quota.window().as_secs_f64().round();
            let (remaining, reset) = (decision.remaining, decision.reset_s());
            policy += &format!("{comma}\"{name}\";q={};w={window}", quota.burst);
            left += &format!("{comma}\"{name}\";r={remaining};t={reset}");
        }
        for (name, value) in [(POLICY, policy), (LIMIT, left)] {
            if !value.is_empty() {
                headers.extend(HeaderValue::try_from(value).map(|value| (name, value)));
            }
        }
    }
}

/// Answers a request, counted.
pub(crate) async fn counted(app: &App, mut request: Request, next: Next) -> Response {
    let tally = Tally::default();
    let address = request.extensions().get::<ClientAddress>().and_then(|address| address.0);
    let is_stranger = !may_have_credentials(request.headers());
    let mut response =
        if is_stranger && let Err(error) = tally.note(app.limits().stranger(address).await) {
            error.into_response()
        } else {
            request.extensions_mut().insert(tally.clone());
            next.run(request).await
        };
    if !tally.is_counted() {
        // Credentials that nobody asked for: a path that is not there, a text for everybody. It is
        // answered, and the next one without credentials may not be. What takes more than a text says
        // so before ([`count_stranger`]).
        drop(tally.note(app.limits().stranger(address).await));
    }
    tally.write(response.headers_mut());
    response
}

/// Whether it is worth asking the database whose request it is.
fn may_have_credentials(headers: &HeaderMap) -> bool {
    match headers.contains_key(header::AUTHORIZATION) {
        true => bearer(headers).is_ok_and(|token| Secret::parse(token).is_some()),
        false => cookie(headers, COOKIE).is_some(),
    }
}

/// What was decided of the request that is being answered.
#[derive(Clone, Debug)]
pub(crate) struct Decisions(pub(crate) Vec<Decision>);

impl<S: Sync> FromRequestParts<S> for Decisions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let of = |tally: &Tally| {
            tally.0.lock().unwrap_or_else(PoisonError::into_inner).decisions.clone()
        };
        Ok(Self(tally(parts).map(of).unwrap_or_default()))
    }
}

fn tally(parts: &Parts) -> Option<&Tally> {
    parts.extensions.get::<Tally>()
}

/// Counts a request with a valid key. Like the others here it counts nothing outside of the API.
///
/// # Errors
/// [`ApiError::Limited`]
pub(crate) async fn count_key(
    parts: &Parts,
    app: &App,
    (key, own): (ApiKeyId, Option<NonZeroU32>),
    workspace: WorkspaceId,
) -> Result<(), ApiError> {
    let Some(tally) = tally(parts) else { return Ok(()) };
    tally.note(app.limits().key(key, own, workspace).await)
}

/// Counts a request with a valid session.
///
/// # Errors
/// [`ApiError::Limited`]
pub(crate) async fn count_person(
    parts: &Parts,
    app: &App,
    account: AccountId,
) -> Result<(), ApiError> {
    let Some(tally) = tally(parts) else { return Ok(()) };
    tally.note(app.limits().person(account).await)
}

/// Counts a request of a person for their workspace too.
///
/// # Errors
/// [`ApiError::Limited`]
pub(crate) async fn count_workspace(
    parts: &Parts,
    app: &App,
    workspace: WorkspaceId,
) -> Result<(), ApiError> {
    let Some(tally) = tally(parts) else { return Ok(()) };
    tally.note(app.limits().workspace(workspace).await)
}

/// Counts a request that is nobody's, before it is answered: of a call that asks for no credentials,
/// whatever it comes with.
///
/// # Errors
/// [`ApiError::Limited`]
pub(crate) async fn count_stranger(parts: &Parts, app: &App) -> Result<(), ApiError> {
    let Some(tally) = tally(parts).filter(|tally| !tally.is_counted()) else { return Ok(()) };
    tally.note(app.limits().stranger(address(parts)).await)
}

/// A request of a page for everybody, counted before anything is done for it. See [`count_stranger`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stranger;

impl FromRequestParts<App> for Stranger {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        count_stranger(parts, app).await.map(|()| Self)
    }
}

/// Before the database is asked whose credentials these are.
///
/// # Errors
/// [`ApiError::Limited`]: this address came with too many wrong ones.
pub(crate) fn may_look_up(parts: &Parts, app: &App) -> Result<(), ApiError> {
    tally(parts).map_or(Ok(()), |_| app.limits().may_look_up(address(parts)))
}

fn address(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ClientAddress>().and_then(|address| address.0)
}

/// Counts a request whose credentials turned out to be wrong. Gives the error to answer with: this
/// one, or that there were too many.
pub(crate) async fn count_failed(parts: &Parts, app: &App, error: ApiError) -> ApiError {
    let Some(tally) = tally(parts).filter(|tally| !tally.is_counted()) else { return error };
    let address = address(parts);
    app.limits().looked_up(address);
    tally.note(app.limits().stranger(address).await).err().unwrap_or(error)
}

#[cfg(test)]
mod tests;
