use super::*;
use carom_shared::{LinkId, QueryPolicy, RedirectStatus, RouteRecord, WorkspaceId};

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

fn answer(record: RouteRecord, now_ms: i64) -> (u16, String, String) {
    let route = Route::try_from(record).unwrap();
    let now = UnixMillis::new(now_ms);
    let response = Answer::of(&route, now).response(Form::Html, now);
    let header = |name: HeaderName| {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    (response.status().as_u16(), header(LOCATION), header(CACHE_CONTROL))
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
    assert_eq!(max_age(999_999), "public, max-age=0");
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
fn error_pages_say_the_same_in_both_forms_and_are_never_stored() {
    for page in ErrorPage::ALL {
        let status = page.status().as_str().to_owned();
        assert!(page.json().contains(&format!("\"status\":{status},")), "{page:?}");
        for form in [Form::Html, Form::Json] {
            let response = page.response(form);
            assert_eq!(response.status(), page.status());
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            assert!(!response.headers().contains_key(LOCATION));
        }
    }
    let headers = |page: ErrorPage| page.response(Form::Json).headers().clone();
    assert_eq!(headers(ErrorPage::MethodNotAllowed)[ALLOW], "GET, HEAD");
    assert_eq!(headers(ErrorPage::Unavailable)[RETRY_AFTER], "1");
    assert_eq!(headers(ErrorPage::BadRequest)[CONNECTION], "close");
}
