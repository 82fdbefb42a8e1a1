use super::*;
use crate::audit::{Actor, Entry};
use crate::click::report::params::Format;
use crate::testing::{NOW, TestDb, on_each_database};
use std::sync::Arc;
use std::time::Duration;

on_each_database!(
    entries_rise_whatever_the_clock_does, a_list_has_what_its_filters_say,
    entries_go_when_their_time_is_over
);

fn noted(test: &TestDb, action: &'static str, object: &str) -> Noted {
    let entry = Entry {
        workspace: Some(test.workspace),
        action,
        object: object.into(),
        detail: serde_json::json!({}),
    };
    let address = Some("192.0.2.1".parse().unwrap());
    Noted { by: Arc::new(Actor { address, ..(*test.by()).clone() }), entry }
}

async fn write(test: &TestDb, entries: &[Noted], now: UnixMillis) {
    let mut tx = test.db.begin().await.unwrap();
    audit_append(&mut tx, entries, now).await.unwrap();
    tx.commit().await.unwrap();
}

fn all() -> AuditQuery {
    let filter = AuditFilter {
        workspace: None,
        action: None,
        object: None,
        account: None,
        key: None,
        from: None,
        to: None,
    };
    AuditQuery { filter, below: None, limit: 1000, format: Format::Json }
}

async fn objects(test: &TestDb, query: &AuditQuery) -> Vec<String> {
    let rows = audit_list(&test.db.read, query, query.limit).await.unwrap();
    assert!(rows.windows(2).all(|pair| pair[0].id > pair[1].id));
    rows.into_iter().map(|row| row.object).collect()
}

async fn entries_rise_whatever_the_clock_does(test: TestDb) {
    // More than one statement holds, in one millisecond, and then with a clock that was set back.
    let names: Vec<String> = (0..2 * ROWS + 3).map(|n| format!("link:{n}")).collect();
    let entries: Vec<Noted> = names.iter().map(|name| noted(&test, "link.create", name)).collect();
    let (first, rest) = entries.split_at(ROWS + 1);
    write(&test, first, NOW).await;
    write(&test, &rest[..ROWS], NOW).await;
    write(&test, &rest[ROWS..], UnixMillis::new(0)).await;
    let found = objects(&test, &all()).await;
    assert!(found.iter().eq(names.iter().rev()), "{found:?}");
    write(&test, &[], NOW).await;
    assert_eq!(objects(&test, &all()).await.len(), names.len());
}

async fn a_list_has_what_its_filters_say(test: TestDb) {
    let later = NOW.saturating_add(Duration::from_secs(1));
    write(&test, &[noted(&test, "link.create", "a"), noted(&test, "key.create", "b")], NOW).await;
    write(&test, &[noted(&test, "link.create", "c")], later).await;
    let of = async |change: fn(&mut AuditQuery, &TestDb)| {
        let mut query = all();
        change(&mut query, &test);
        objects(&test, &query).await.join("")
    };
    assert_eq!(of(|_, _| {}).await, "cba");
    assert_eq!(of(|query, test| query.filter.workspace = Some(test.workspace)).await, "cba");
    let other = |query: &mut AuditQuery, _: &TestDb| query.filter.workspace = 1.try_into().ok();
    assert_eq!(of(other).await, "");
    assert_eq!(of(|query, _| query.filter.action = Some("link.create".into())).await, "ca");
    assert_eq!(of(|query, _| query.filter.object = Some("b".into())).await, "b");
    assert_eq!(of(|query, test| query.filter.key = Some(test.key)).await, "cba");
    assert_eq!(of(|query, _| query.filter.account = 1.try_into().ok()).await, "");
    assert_eq!(of(|query, _| query.filter.from = Some(NOW.get() + 1)).await, "c");
    assert_eq!(of(|query, _| query.filter.to = Some(NOW.get() + 1)).await, "ba");
    assert_eq!(of(|query, _| query.limit = 2).await, "cb");
    let ids: Vec<i64> =
        audit_list(&test.db.read, &all(), 10).await.unwrap().iter().map(|row| row.id).collect();
    let query = AuditQuery { below: AuditId::try_from(ids[0]).ok(), ..all() };
    assert_eq!(objects(&test, &query).await.join(""), "ba");
}

async fn entries_go_when_their_time_is_over(test: TestDb) {
    let later = NOW.saturating_add(Duration::from_secs(1));
    write(&test, &[noted(&test, "link.create", "old")], NOW).await;
    write(&test, &[noted(&test, "link.create", "new")], later).await;
    let mut tx = test.db.begin().await.unwrap();
    assert_eq!(audit_prune(&mut tx, NOW).await.unwrap(), 0);
    assert_eq!(audit_prune(&mut tx, later).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(objects(&test, &all()).await, ["new"]);
}
