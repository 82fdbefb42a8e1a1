use super::*;
use crate::config::Origin;
use crate::domain::Domain;
use carom_shared::{Host, QueryPolicy, SeededRandom, TargetPolicy};
use serde_json::{Value, json};

const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

fn policy() -> TargetPolicy {
    TargetPolicy {
        own_hosts: [Host::parse("go.example").unwrap()].into_iter().collect(),
        ..Default::default()
    }
}

/// A body as it comes in, with a target unless `members` say otherwise.
fn check(members: &Value) -> Result<CreateLink, Refusal> {
    let id = WorkspaceId::try_from(7).unwrap();
    let domains = Domains::new(
        vec![
            Domain::verified(1, "go.example", None),
            Domain::verified(2, "other.example", Some(8)),
            Domain { folds_case: true, ..Domain::verified(3, "folded.example", Some(7)) },
        ],
        Origin::parse("public_url", "https://go.example").unwrap(),
    );
    let policy = Policy::from(policy());
    let rules = Rules { domains: &domains, policy: &policy, now: NOW };
    let mut body = json!({"url": "https://example.com/a b"});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let body: LinkBody = serde_json::from_value(body).unwrap();
    check_create(&body, id, &Arc::default(), rules)
}

fn mistakes<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Vec<(String, String)> {
    let Err(Refusal::Invalid(errors)) = result else { panic!("accepted: {result:?}") };
    errors.into_iter().map(|error| (error.pointer, error.code)).collect()
}

fn link() -> Link {
    Link {
        clicks: 0,
        imported_clicks: 0,
        last_click_at: None,
        id: LinkId::generate(NOW, &SeededRandom::new(1)),
        workspace: WorkspaceId::try_from(7).unwrap(),
        domain: DomainId::try_from(1).unwrap(),
        code: Code::parse("x").unwrap(),
        target: "https://example.com/".into(),
        target_revision: 1,
        title: String::new(),
        notes: String::new(),
        tags: Tags::default(),
        redirect_status: RedirectStatus::Found,
        max_age_s: 300,
        state: RouteState::Active,
        is_archived: false,
        not_before: None,
        expires_at: None,
        fallback: None,
        query: QueryPolicy::default(),
        version: 1,
        created_at: NOW,
        updated_at: NOW,
        deleted_at: None,
        created_by: crate::audit::Author::default(),
    }
}

fn change(link: &Link, patch: Value) -> Result<Link, Refusal> {
    let body: LinkBody = serde_json::from_value(patch).unwrap();
    let change = check_change(&body, &Policy::from(policy()))?;
    change.apply_to(link, NOW).map_err(|error| Refusal::Invalid(vec![error]))
}

#[test]
fn what_is_left_out_or_null_has_defaults() {
    for members in [
        json!({}),
        json!({
            "code": null, "domain": null, "title": null, "notes": null, "tags": null,
            "redirect_status": null, "max_age": null, "state": null, "archived": null,
            "not_before": null, "expires_at": null, "fallback_url": null, "query": null,
        }),
    ] {
        let command = check(&members).unwrap();
        assert_eq!(command.target.as_str(), "https://example.com/a%20b");
        assert_eq!((command.domain.get(), command.code), (1, None));
        let mut made = link();
        command.settings.apply_to(&mut made);
        assert_eq!(made, link());
    }
}

#[test]
fn each_field_is_judged() {
    for (members, pointer, code) in [
        (json!({"url": null}), "#/url", "required"),
        (json!({"url": "javascript:alert(1)"}), "#/url", "target-not-http"),
        (json!({"url": "https://a.example/\r\nX: y"}), "#/url", "target-control-character"),
        (json!({"url": "https://go.example/x"}), "#/url", "target-own-host"),
        (json!({"url": "http://169.254.169.254/"}), "#/url", "target-private-host"),
        (json!({"code": "../etc"}), "#/code", "code-malformed"),
        (json!({"code": ""}), "#/code", "code-malformed"),
        (json!({"domain": "other.example"}), "#/domain", "domain-unknown"),
        (json!({"domain": "a b"}), "#/domain", "domain-unknown"),
        (json!({"title": "x".repeat(201)}), "#/title", "too-long"),
        (json!({"title": "a\0b"}), "#/title", "control-character"),
        (json!({"notes": "é".repeat(4001)}), "#/notes", "too-long"),
        (json!({"notes": "a\0b"}), "#/notes", "control-character"),
        (json!({"tags": vec!["a"; 21]}), "#/tags/1", "duplicate"),
        (json!({"tags": (0..21).map(|n| n.to_string()).collect::<Vec<_>>()}), "#/tags", "too-many"),
        (json!({"tags": ["a", ""]}), "#/tags/1", "length"),
        (json!({"tags": ["a\nb"]}), "#/tags/0", "control-character"),
        (json!({"redirect_status": 200}), "#/redirect_status", "redirect-status"),
        (json!({"max_age": 301}), "#/max_age", "out-of-range"),
        (json!({"state": "deleted"}), "#/state", "state"),
        (json!({"state": "blocked"}), "#/state", "state"),
        (json!({"fallback_url": "ftp://a.example/"}), "#/fallback_url", "target-not-http"),
        (json!({"query": {"forward": "some"}}), "#/query/forward", "parameter-names"),
        (json!({"query": {"forward": []}}), "#/query/forward", "parameter-names"),
        (json!({"query": {"forward": ["a,b"]}}), "#/query/forward", "parameter-names"),
        (json!({"query": {"prefer": "me"}}), "#/query/prefer", "prefer"),
        (json!({"not_before": "tomorrow"}), "#/not_before", "time"),
        (json!({"not_before": "1969-12-31T23:59:59Z"}), "#/not_before", "time"),
        (json!({"expires_at": "2026-01-02T00:00:00"}), "#/expires_at", "time"),
        (json!({"expires_at": "2026-01-01T00:00:00Z"}), "#/expires_at", "time-order"),
        (
            json!({"not_before": "2030-01-01T01:00:00+01:00", "expires_at": "2030-01-01T00:00:00Z"}),
            "#/expires_at",
            "time-order",
        ),
    ] {
        let expected = [(pointer.to_owned(), code.to_owned())];
        assert_eq!(mistakes(check(&members)), expected, "{members}");
        // What a new link may not have, an old one may not get.
        if !matches!(pointer, "#/code" | "#/domain") {
            assert_eq!(mistakes(change(&link(), members.clone())), expected, "{members}");
        }
    }
}

#[test]
fn what_is_just_within_the_limits_is_accepted() {
    let members = json!({
        "title": "é".repeat(200), "notes": format!("{}\n\t", "é".repeat(3999)), "max_age": 0,
        "tags": (0..20).map(|n| format!("{n:050}")).collect::<Vec<_>>(),
        "expires_at": "2026-01-01T00:00:00.001Z",
    });
    assert!(check(&members).is_ok());
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mistakes = mistakes(check(&json!({"url": null, "code": "ä", "redirect_status": 1})));
    let pointers: Vec<_> = mistakes.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(pointers, ["#/url", "#/code", "#/redirect_status"]);
}

#[test]
fn times_keep_their_milliseconds_whatever_their_zone() {
    let command = check(&json!({"expires_at": "2030-01-01T05:45:00.123+05:45"})).unwrap();
    let expected = Some(UnixMillis::new(1_893_456_000_123));
    assert_eq!(command.settings.expires_at, Some(expected));
}

#[test]
fn reserved_words_are_refused_in_any_case() {
    assert!(matches!(check(&json!({"code": "ADMIN"})), Err(Refusal::Reserved(_))));
}

/// Every field, set and then cleared: only `url` cannot be.
#[test]
fn a_patch_changes_what_it_names_and_null_takes_it_back() {
    let fields = [
        json!({"title": "t"}),
        json!({"notes": "a\nb"}),
        json!({"tags": ["A", "b"]}),
        json!({"redirect_status": 308}),
        json!({"max_age": 0}),
        json!({"state": "disabled"}),
        json!({"archived": true}),
        json!({"not_before": "2026-02-01T00:00:00Z"}),
        json!({"expires_at": "2026-03-01T00:00:00Z"}),
        json!({"fallback_url": "https://example.com/over"}),
        json!({"query": {"forward": ["utm_source"], "prefer": "visitor"}}),
    ];
    let mut all = link();
    for field in &fields {
        let changed = change(&link(), field.clone()).unwrap();
        assert_ne!(changed, link(), "{field}");
        assert_eq!(change(&changed, field.clone()).unwrap(), changed, "{field}");
        all = change(&all, field.clone()).unwrap();

        let name = field.as_object().unwrap().keys().next().unwrap();
        let cleared = change(&changed, json!({name: null})).unwrap();
        assert_eq!(cleared, link(), "{field}");
    }
    assert_eq!(change(&all, json!({})).unwrap(), all);
    // Within a member that is an object, too.
    let changed = change(&all, json!({"query": {"prefer": "target"}})).unwrap();
    assert_eq!(changed.query, QueryPolicy { visitor_wins: false, ..all.query.clone() });
    let changed = change(&all, json!({"query": {"forward": null}})).unwrap();
    assert_eq!(changed.query, QueryPolicy { forward: Forward::None, ..all.query });
}

#[test]
fn a_change_is_judged_by_what_comes_out() {
    for field in ["code", "domain"] {
        let mistakes = mistakes(change(&link(), json!({field: "x"})));
        assert_eq!(mistakes, [(format!("#/{field}"), "immutable".to_owned())]);
    }
    let begins = change(&link(), json!({"not_before": "2030-01-01T00:00:00Z"})).unwrap();
    let mistake = [("#/expires_at".to_owned(), "time-order".to_owned())];
    let early = json!({"expires_at": "2029-01-01T00:00:00Z"});
    assert_eq!(mistakes(change(&begins, early.clone())), mistake);
    assert!(change(&link(), early).is_ok());

    let expired = Link { expires_at: Some(UnixMillis::new(5)), ..link() };
    let patch = json!({"title": "kept", "expires_at": "1970-01-01T00:00:00.005Z"});
    assert_eq!(change(&expired, patch).unwrap().title, "kept");
    let patch = json!({"expires_at": "1970-01-01T00:00:00.006Z"});
    assert_eq!(mistakes(change(&expired, patch)), mistake);

    let blocked = Link { state: RouteState::Blocked, ..link() };
    assert!(change(&blocked, json!({"title": "t"})).is_ok());
    for state in [json!("active"), json!("disabled"), json!(null)] {
        let expected = [("#/state".to_owned(), "blocked".to_owned())];
        assert_eq!(mistakes(change(&blocked, json!({"state": state}))), expected);
    }
}
