use std::hash::RandomState;

use super::*;
use crate::blocklist::{Blocklist, Entries, Policy};
use crate::config::Origin;
use crate::domain::{Domain, Domains};
use carom_shared::{ApiKeyId, SeededRandom};

/// 2026-01-01T00:00:00Z
const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

fn check(record: &LinkRecord) -> Result<ImportLink, Vec<FieldError>> {
    check_by(record, &Arc::default(), &Policy::default())
}

fn check_by(
    record: &LinkRecord,
    by: &Arc<Actor>,
    policy: &Policy,
) -> Result<ImportLink, Vec<FieldError>> {
    let domain = Domain::verified(1, "go.example", None);
    let url = Origin::parse("public_url", "https://go.example").unwrap();
    let domains = Domains::new(vec![domain], url);
    let rules = Rules { domains: &domains, policy, now: NOW };
    check_import(record, WorkspaceId::try_from(7).unwrap(), by, rules)
}

fn record(code: &str, url: &str) -> LinkRecord {
    LinkRecord { code: Some(code.into()), url: Some(url.into()), ..LinkRecord::default() }
}

#[test]
fn every_mistake_of_a_row_is_named() {
    let bad = LinkRecord {
        url: Some("ftp://example.com".into()),
        title: Some("x".repeat(201)),
        redirect_status: Some(303),
        created_at: Some("2026-01-03T00:00:00Z".into()),
        clicks: Some(u64::MAX),
        ..LinkRecord::default()
    };
    let errors = check(&bad).unwrap_err();
    let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(
        pointers,
        ["#/url", "#/title", "#/redirect_status", "#/code", "#/created_at", "#/clicks"]
    );
    let reserved = check(&record("admin", "https://example.com")).unwrap_err();
    assert_eq!(reserved[0].code, "code-reserved");
}

#[test]
fn a_link_comes_with_its_past() {
    let past = LinkRecord {
        created_at: Some("2020-02-03T04:05:06.789Z".into()),
        expires_at: Some("2021-01-01T00:00:00Z".into()),
        state: Some("blocked".into()),
        clicks: Some(41),
        ..record("Sale", "https://Example.com")
    };
    let created = UnixMillis::new(1_580_702_706_789);
    let link = check(&past).unwrap().link(&SeededRandom::new(1));
    assert_eq!((link.created_at, link.updated_at), (created, created));
    assert_eq!(link.id.get() >> ID_RANDOM_BITS, created.get());
    assert_eq!((link.state, link.imported_clicks, link.clicks), (RouteState::Blocked, 41, 0));
    assert_eq!((link.code.as_str(), &*link.target), ("Sale", "https://example.com/"));
    assert!(link.expires_at.is_some() && link.created_by == crate::audit::Author::default());

    // An id stays if it is of that moment.
    for (id, is_kept) in [((created.get() << ID_RANDOM_BITS) + 5, true), (5, false)] {
        let with_id = LinkRecord { id: Some(id.to_string()), ..past.clone() };
        let link = check(&with_id).unwrap().link(&SeededRandom::new(1));
        assert_eq!(link.id.get() == id, is_kept);
    }
    let deleted = LinkRecord { state: Some("deleted".into()), ..past };
    let link = check(&deleted).unwrap().link(&SeededRandom::new(1));
    assert_eq!((link.deleted_at, link.state), (Some(NOW), RouteState::Active));
}

#[test]
fn what_has_the_code_decides() {
    let link = check(&record("a", "https://example.com")).unwrap();
    let deleted = LinkRecord {
        deleted_at: Some("2025-01-01T00:00:00Z".into()),
        ..record("a", "https://example.com")
    };
    let deleted = check(&deleted).unwrap();
    let holder = |workspace, target: &str, is_deleted| Holder {
        workspace: WorkspaceId::try_from(workspace).unwrap(),
        target: Some(target.to_owned()),
        is_deleted,
        is_blocked: false,
    };
    let same = "https://example.com/";
    let policies = [OnConflict::Refuse, OnConflict::Skip, OnConflict::Replace];
    let judged = |link: &ImportLink, holder: &Holder| {
        policies.map(|policy| match judge(link, Some(holder), policy) {
            Verdict::Refuse(_) => "refuse",
            Verdict::Present => "present",
            Verdict::Skip => "skip",
            Verdict::Change => "change",
            Verdict::Take => "take",
            Verdict::Make => "make",
        })
    };
    assert_eq!(judge(&link, None, OnConflict::Refuse), Verdict::Make);
    for (link, holder, expected) in [
        (&link, holder(7, same, false), ["present"; 3]),
        (&link, holder(7, "https://other.example/", false), ["refuse", "skip", "change"]),
        (&link, holder(7, same, true), ["refuse", "skip", "take"]),
        (&link, holder(8, same, false), ["refuse", "skip", "refuse"]),
        (&deleted, holder(7, same, true), ["present"; 3]),
        (&deleted, holder(7, same, false), ["present"; 3]),
        (&deleted, holder(7, "https://other.example/", false), ["refuse", "skip", "refuse"]),
    ] {
        assert_eq!(judged(link, &holder), expected, "{holder:?}");
    }
    // One that an operator took down is changed as any other, and deleted not made anew.
    let blocked =
        |is_deleted| Holder { is_blocked: true, ..holder(7, "https://b.example/", is_deleted) };
    assert_eq!(judged(&link, &blocked(false)), ["refuse", "skip", "change"]);
    assert_eq!(judged(&link, &blocked(true)), ["refuse", "skip", "refuse"]);
}

#[test]
fn only_an_operator_imports_what_is_taken_down() {
    let blocked =
        LinkRecord { state: Some("blocked".into()), ..record("x", "https://evil.example/") };
    let by_member = Arc::new(Actor { key: ApiKeyId::try_from(5).ok(), ..Actor::default() });
    for (record, by, expected) in [
        (&blocked, Arc::default(), vec![]),
        (&blocked, by_member, vec!["#/state"]),
        (&record("x", "https://evil.example/"), Arc::default(), vec!["#/url"]),
    ] {
        let key = RandomState::new();
        let entries = Entries::parse(b"evil.example", &key);
        let listed = Arc::new(Blocklist::new([&entries], key));
        let policy = Policy::default().with_blocklist(listed);
        let checked = check_by(record, &by, &policy);
        let pointers = checked.err().unwrap_or_default();
        let pointers: Vec<_> = pointers.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, expected);
    }
}
