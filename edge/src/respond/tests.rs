use super::*;
use crate::request::Form;
use carom_shared::{Forward, LinkId, QueryPolicy, RouteRecord, WorkspaceId};
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderName, Version};

fn record() -> RouteRecord {
    RouteRecord {
        version: 1,
        state: RouteState::Active,
        link: LinkId::try_from(1).unwrap(),
        workspace: WorkspaceId::try_from(1).unwrap(),
        status: RedirectStatus::Found,
        target_revision: 1,
        not_before: None,
        expires_at: None,
        target: "https://example.com/".into(),
        fallback: None,
        query: QueryPolicy::default(),
        max_age_s: RouteRecord::MAX_AGE_MAX_S,
    }
}

/// Status, `Location` and `Cache-Control` of the answer to a request with a query.
fn answer_to(record: RouteRecord, query: Option<&str>, now_ms: i64) -> (u16, String, String) {
    let route = Route::try_from(record).unwrap();
    let now = UnixMillis::new(now_ms);
    let response = Redirect::of(&route, now)
        .map(|redirect| redirect.answer(query, now))
        .unwrap_or_else(|page| page.answer(Form::Html))
        .into_response(Version::HTTP_11);
    let header = |name: HeaderName| {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    (response.status().as_u16(), header(LOCATION), header(CACHE_CONTROL))
}

fn answer(record: RouteRecord, now_ms: i64) -> (u16, String, String) {
    answer_to(record, None, now_ms)
}

#[test]
fn temporary_redirects_are_never_stored() {
    for status in [RedirectStatus::Found, RedirectStatus::TemporaryRedirect] {
        let got = answer(RouteRecord { status, ..record() }, 0);
        let expected = (status.code(), "https://example.com/".into(), "private, no-store".into());
        assert_eq!(got, expected);
    }
}

#[test]
fn permanent_redirects_are_kept_for_a_while_and_never_past_the_end_of_the_link() {
    let permanent = RouteRecord {
        status: RedirectStatus::MovedPermanently,
        expires_at: Some(UnixMillis::new(1_000_000)),
        ..record()
    };
    let max_age = |now_ms| answer(permanent.clone(), now_ms).2;
    assert_eq!(max_age(0), "public, max-age=300");
    assert_eq!(max_age(700_000), "public, max-age=300");
    assert_eq!(max_age(700_001), "public, max-age=299");
    assert_eq!(max_age(999_000), "public, max-age=1");
    assert_eq!(max_age(999_001), "private, no-store");
    assert_eq!(max_age(1_000_000), "no-store");
}

#[test]
fn states_and_times_decide_the_answer() {
    let at = |ms| Some(UnixMillis::new(ms));
    let state = |state| RouteRecord { state, ..record() };
    let cases = [
        (state(RouteState::Active), 302),
        (state(RouteState::Deleted), 410),
        (state(RouteState::Disabled), 410),
        (state(RouteState::Blocked), 451),
        (RouteRecord { expires_at: at(100), ..record() }, 410),
        (RouteRecord { expires_at: at(101), ..record() }, 302),
        (RouteRecord { not_before: at(100), ..record() }, 302),
        (RouteRecord { not_before: at(101), ..record() }, 404),
        (RouteRecord { not_before: at(101), expires_at: at(100), ..record() }, 410),
        (RouteRecord { not_before: at(101), ..state(RouteState::Disabled) }, 410),
    ];
    for (record, status) in cases {
        assert_eq!(answer(record.clone(), 100).0, status, "{record:?}");
    }
}

#[test]
fn a_link_says_how_long_its_permanent_redirect_is_kept() {
    for (max_age_s, cache_control) in [
        (0, "private, no-store"),
        (1, "public, max-age=1"),
        (299, "public, max-age=299"),
        (300, "public, max-age=300"),
    ] {
        let record =
            RouteRecord { status: RedirectStatus::PermanentRedirect, max_age_s, ..record() };
        assert_eq!(answer(record.clone(), 0).2, cache_control);
        let temporary = RouteRecord { status: RedirectStatus::Found, ..record };
        assert_eq!(answer(temporary, 0).2, "private, no-store");
    }
}

#[test]
fn an_ended_link_leads_to_its_fallback_for_now_and_without_the_query() {
    let record = RouteRecord {
        status: RedirectStatus::MovedPermanently,
        expires_at: Some(UnixMillis::new(100)),
        fallback: Some("https://example.org/over".into()),
        query: QueryPolicy { forward: Forward::All, visitor_wins: true },
        ..record()
    };
    let (status, location, _) = answer_to(record.clone(), Some("a=1"), 99);
    assert_eq!((status, &*location), (301, "https://example.com/?a=1"));
    let over = (302, "https://example.org/over".to_owned(), "private, no-store".to_owned());
    assert_eq!(answer_to(record.clone(), Some("a=1"), 100), over);
    for (state, status) in
        [(RouteState::Deleted, 410), (RouteState::Disabled, 410), (RouteState::Blocked, 451)]
    {
        assert_eq!(answer(RouteRecord { state, ..record.clone() }, 100).0, status);
    }

    let route = Route::try_from(record).unwrap();
    let revision = |ms| Redirect::of(&route, UnixMillis::new(ms)).unwrap().target_revision();
    assert_eq!((revision(99), revision(100)), (1, 0));
}
