//! A [`Route`]: what is answered, made of its compact bytes at each hit.

use bytes::{Buf, Bytes};
use http::HeaderValue;

use carom_shared::{
    CompactRoute, Forward, LinkId, QueryPolicy, RedirectStatus, RouteRecord, RouteRecordError,
    RouteState, UnixMillis, WorkspaceId,
};

/// A route, ready to be answered: its targets are header values that lie in the bytes it was made
/// of, so that making it copies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub version: u64,
    pub link: LinkId,
    pub workspace: WorkspaceId,
    pub expires_at: Option<UnixMillis>,
    pub location: HeaderValue,
    pub target_revision: u32,
    pub status: RedirectStatus,
    pub max_age_s: u16,
    pub state: RouteState,
    /// Apart, because nearly no route has any: in place it would cost each answer the moving of 72
    /// bytes more.
    extras: Option<Box<Extras>>,
}

/// What few routes have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Extras {
    not_before: Option<UnixMillis>,
    fallback: Option<HeaderValue>,
    query: QueryPolicy,
}

/// Why a record cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error(transparent)]
    Record(#[from] RouteRecordError),
    #[error("a route's target is not a header value")]
    Target,
}

impl Route {
    /// Reads a record's compact bytes, which it keeps.
    pub(super) fn decode(mut record: Bytes) -> Result<Self, RouteError> {
        let compact = CompactRoute::parse(&record)?;
        let header =
            |bytes: Bytes| HeaderValue::from_maybe_shared(bytes).map_err(|_| RouteError::Target);
        let has_extras = compact.not_before.is_some()
            || compact.fallback.is_some()
            || compact.query.forward != Forward::None;
        let target_at = record.len() - compact.target.len();
        let mut route = Self {
            version: compact.version,
            link: compact.link,
            workspace: compact.workspace,
            expires_at: compact.expires_at,
            location: HeaderValue::from_static(""),
            target_revision: compact.target_revision,
            status: compact.status,
            max_age_s: compact.max_age_s,
            state: compact.state,
            extras: None,
        };
        if has_extras {
            let fallback = compact.fallback.map(|fallback| header(record.slice_ref(fallback)));
            route.extras = Some(Box::new(Extras {
                not_before: compact.not_before,
                fallback: fallback.transpose()?,
                query: compact.query,
            }));
        }
        record.advance(target_at);
        route.location = header(record)?;
        Ok(route)
    }

    #[must_use]
    pub fn not_before(&self) -> Option<UnixMillis> {
        self.extras.as_ref()?.not_before
    }

    /// Where the link leads to once it has ended.
    #[must_use]
    pub fn fallback(&self) -> Option<&HeaderValue> {
        self.extras.as_ref()?.fallback.as_ref()
    }

    /// `None`: nothing of a query is passed on.
    #[must_use]
    pub fn query_policy(&self) -> Option<&QueryPolicy> {
        self.extras
            .as_ref()
            .map(|extras| &extras.query)
            .filter(|query| query.forward != Forward::None)
    }
}

impl TryFrom<RouteRecord> for Route {
    type Error = RouteError;

    fn try_from(record: RouteRecord) -> Result<Self, RouteError> {
        Self::decode(record.to_compact().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::ParameterNames;

    fn record() -> RouteRecord {
        RouteRecord {
            version: 3,
            state: RouteState::Active,
            link: LinkId::try_from(1).unwrap(),
            workspace: WorkspaceId::try_from(2).unwrap(),
            status: RedirectStatus::Found,
            target_revision: 4,
            not_before: None,
            expires_at: None,
            target: "https://example.com/".into(),
            fallback: None,
            query: QueryPolicy::default(),
            max_age_s: RouteRecord::MAX_AGE_MAX_S,
        }
    }

    #[test]
    fn what_few_routes_have_costs_the_others_a_pointer() {
        assert!(size_of::<Route>() <= 104, "{}", size_of::<Route>());
        assert_eq!(Route::try_from(record()).unwrap().extras, None);
        let names = Forward::Only(ParameterNames::new(["a", "b"]).unwrap());
        let query = QueryPolicy { forward: names, visitor_wins: false };
        for record in [
            record(),
            RouteRecord { not_before: Some(UnixMillis::new(5)), ..record() },
            RouteRecord { fallback: Some("https://e.test/".into()), ..record() },
            RouteRecord { query, ..record() },
        ] {
            let route = Route::try_from(record.clone()).unwrap();
            assert_eq!(route.location, &*record.target);
            assert_eq!(route.not_before(), record.not_before);
            assert_eq!(
                route.fallback().map(HeaderValue::as_bytes),
                record.fallback.as_deref().map(str::as_bytes)
            );
            let policy = Some(&record.query).filter(|query| query.forward != Forward::None);
            assert_eq!(route.query_policy(), policy);
        }
    }

    #[test]
    fn targets_that_are_no_header_values_are_refused() {
        for target in ["https://e.test/\r\nx: y", "https://e.test/\0"] {
            let in_target = RouteRecord { target: target.into(), ..record() };
            let in_fallback = RouteRecord { fallback: Some(target.into()), ..record() };
            for record in [in_target, in_fallback] {
                assert_eq!(Route::try_from(record), Err(RouteError::Target));
            }
        }
    }
}
