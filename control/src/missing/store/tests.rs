use super::*;
use crate::http::precondition::IfMatch;
use crate::link::command::{Edit, EditLink};
use crate::link::store::{link_create, link_edit};
use crate::testing::{NOW, TestDb, on_each_database};
use std::time::Duration;

on_each_database!(
    requests_add_up_and_links_are_left_out, random_codes_do_not_push_out_what_many_ask_for,
    what_nobody_asks_for_is_forgotten, what_others_are_asked_for_is_not_shown
);

fn code(text: &str) -> Code {
    Code::parse(text).unwrap()
}

async fn note(test: &TestDb, codes: &[(Code, u64)], now: UnixMillis) {
    let mut tx = test.db.begin().await.unwrap();
    missing_note(&mut tx, test.domain, codes, now).await.unwrap();
    tx.commit().await.unwrap();
}

async fn list(test: &TestDb, limit: u32) -> Vec<(String, u64)> {
    let list = missing_list(&test.db.read, test.workspace, None, limit).await.unwrap();
    list.into_iter().map(|row| (row.code, row.requests)).collect()
}

fn row(code: &str, requests: u64) -> (String, u64) {
    (code.to_owned(), requests)
}

async fn requests_add_up_and_links_are_left_out(test: TestDb) {
    let later = NOW.saturating_add(Duration::from_secs(60));
    note(&test, &[(code("poster"), 3), (code("typo"), 4)], NOW).await;
    note(&test, &[(code("poster"), 2), (code("Poster"), 1)], later).await;
    assert_eq!(list(&test, 10).await, [row("poster", 5), row("typo", 4), row("Poster", 1)]);
    assert_eq!(list(&test, 1).await, [row("poster", 5)]);
    let first =
        &missing_list(&test.db.read, test.workspace, Some(test.domain), 1).await.unwrap()[0];
    let expected = MissingCode {
        host: "go.example".into(),
        code: "poster".into(),
        requests: 5,
        first_seen: NOW,
        last_seen: later,
    };
    assert_eq!(*first, expected);

    let mut tx = test.db.begin().await.unwrap();
    let command = test.create(Some("poster"));
    let (link, _) = link_create(&mut tx, command, NOW, &test.random).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    assert_eq!(list(&test, 10).await, [row("typo", 4), row("Poster", 1)]);
    // Once a link, its code is not a misprint any more, whatever becomes of it.
    let mut tx = test.db.begin().await.unwrap();
    let delete = EditLink {
        workspace: link.workspace,
        link: link.id,
        by: test.by(),
        if_match: IfMatch::Any,
        edit: Edit::Delete,
    };
    link_edit(&mut tx, delete, NOW).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    assert_eq!(list(&test, 10).await, [row("typo", 4), row("Poster", 1)]);
}

async fn random_codes_do_not_push_out_what_many_ask_for(test: TestDb) {
    note(&test, &[(code("old"), 2000)], NOW).await;
    for round in 0..4 {
        let mut codes: Vec<_> =
            (0..CODES_MAX - 1).map(|n| (code(&format!("r{round}-{n}")), 1)).collect();
        // A newcomer among them, which many ask for, if not as many as for the old one.
        codes.push((code("new"), 50));
        note(&test, &codes, NOW).await;
        let kept = list(&test, 2000).await;
        assert!(kept.len() <= CODES_MAX, "{}", kept.len());
    }
    let kept = list(&test, 2).await;
    // Random codes were asked for once each: each full list took one off.
    assert_eq!(kept[0].0, "old");
    assert!((1996..=2000).contains(&kept[0].1), "{kept:?}");
    assert_eq!(kept[1].0, "new");
    assert!((196..=200).contains(&kept[1].1), "{kept:?}");
}

async fn what_nobody_asks_for_is_forgotten(test: TestDb) {
    note(&test, &[(code("old"), 9), (code("alive"), 1)], NOW).await;
    let later = NOW.saturating_add(LIFETIME);
    note(&test, &[(code("alive"), 1)], later).await;
    assert_eq!(list(&test, 10).await, [row("old", 9), row("alive", 2)]);
    note(&test, &[(code("alive"), 1)], later.saturating_add(Duration::from_millis(1))).await;
    assert_eq!(list(&test, 10).await, [row("alive", 3)]);
}

async fn what_others_are_asked_for_is_not_shown(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    for sql in [
        "insert into workspace (id, name, created_at_ms) values (7, 'other', 9000000000000)",
        "insert into domain (id, host, is_default, workspace_id, created_at_ms) \
         values (5, 'other.example', false, 7, 1)",
    ] {
        on_tx!(&mut tx, |conn| sqlx::query(sql)
            .execute(conn)
            .await
            .map(|done| done.rows_affected()))
        .unwrap();
    }
    let other = DomainId::try_from(5).unwrap();
    missing_note(&mut tx, other, &[(code("theirs"), 1)], NOW).await.unwrap();
    missing_note(&mut tx, test.domain, &[(code("shared"), 1)], NOW).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(list(&test, 10).await, [row("shared", 1)]);
    let asked = missing_list(&test.db.read, test.workspace, Some(other), 10).await.unwrap();
    assert_eq!(asked, []);
    let theirs = WorkspaceId::try_from(7).unwrap();
    let codes = async |domain| {
        let list = missing_list(&test.db.read, theirs, domain, 10).await.unwrap();
        list.into_iter().map(|row| row.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(None).await, ["theirs"]);
    assert_eq!(codes(Some(other)).await, ["theirs"]);
    assert_eq!(
        codes(Some(test.domain)).await,
        [""; 0],
        "the domain that all share is the first one's"
    );
}
