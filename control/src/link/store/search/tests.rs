use super::*;
use crate::http::precondition::IfMatch;
use crate::link::Link;
use crate::link::command::{Edit, EditLink, LinkChange, LinkSettings};
use crate::link::list::{ListFilter, ListQuery, Sort};
use crate::link::store::list::by_index_alone;
use crate::link::store::{link_create, link_edit, link_list};
use crate::testing::{NOW, TestDb, on_each_database};
use carom_shared::LinkId;

on_each_database!(
    a_link_is_found_by_what_it_says_now_indexed_or_not, long_texts_take_several_pages,
    a_page_has_a_limit_and_what_is_not_committed_comes_again
);

async fn make(test: &TestDb, title: &str, notes: &str) -> Link {
    let mut tx = test.db.begin().await.unwrap();
    let mut command = test.create(None);
    command.settings = LinkSettings {
        title: Some(title.into()),
        notes: Some(notes.into()),
        ..LinkSettings::default()
    };
    let made = link_create(&mut tx, command, NOW, &test.random).await.unwrap().unwrap().0;
    tx.commit().await.unwrap();
    made
}

async fn edit(test: &TestDb, link: LinkId, edit: Edit) {
    let mut tx = test.db.begin().await.unwrap();
    let if_match = IfMatch::Any;
    let command = EditLink { workspace: test.workspace, link, by: test.by(), if_match, edit };
    link_edit(&mut tx, command, NOW).await.unwrap().unwrap();
    tx.commit().await.unwrap();
}

async fn index(test: &TestDb) -> bool {
    let mut tx = test.db.begin().await.unwrap();
    let is_more = links_index(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    is_more
}

/// Links that are found by a text: by the index, which must agree with a walk.
async fn found(test: &TestDb, text: &str) -> Vec<LinkId> {
    let filter = ListFilter {
        workspace: test.workspace,
        state: None,
        archived: None,
        domain: None,
        tag: None,
        text: Some(text.into()),
    };
    let mut ids = Vec::new();
    for sort in [Sort::Created, Sort::Clicks] {
        let query = ListQuery { filter: filter.clone(), sort, below: None, limit: 10 };
        let links = link_list(&test.db.read, &query, 10).await.unwrap();
        ids.push(links.iter().map(|link| link.id).collect::<Vec<_>>());
        let indexed = by_index_alone(&test.db.read, &query).await.unwrap();
        ids.push(indexed.iter().map(|link| link.id).collect());
    }
    assert!(ids.iter().all(|of| *of == ids[0]), "{text:?}: {ids:?}");
    ids.swap_remove(0)
}

async fn a_link_is_found_by_what_it_says_now_indexed_or_not(test: TestDb) {
    let one = make(&test, "été 東京都", "first line\nsecond line").await.id;
    let two = make(&test, "another", "it's \"quoted\" {1,2} -- %").await.id;
    assert_eq!(unindexed_count(&test.db.read).await.unwrap(), 2);
    for is_indexed in [false, true] {
        for (text, expected) in [
            ("été", vec![one]),
            ("東京都", vec![one]),
            ("京都!", vec![]),
            ("second", vec![one]),
            ("quoted\" {1,2} -- %", vec![two]),
            ("{1,", vec![two]),
            ("line second", vec![]),
            ("anothe", vec![two]),
            ("anotter", vec![]),
        ] {
            assert_eq!(found(&test, text).await, expected, "{text:?}, {is_indexed}");
        }
        if !is_indexed {
            assert!(!index(&test).await);
            assert_eq!(unindexed_count(&test.db.read).await.unwrap(), 0);
        }
    }

    let title = |title: &str| {
        Edit::Change(Box::new(LinkChange {
            settings: LinkSettings { title: Some(title.into()), ..LinkSettings::default() },
            ..LinkChange::default()
        }))
    };
    // The old title is in the index until the new one is; nothing is found by it.
    for (new, old) in [("fresher", "anothe"), ("latest", "fresher")] {
        edit(&test, two, title(new)).await;
        for is_indexed in [false, true] {
            assert_eq!(found(&test, new).await, [two], "{new:?}, {is_indexed}");
            assert_eq!(found(&test, old).await, [], "{old:?}, {is_indexed}");
            assert_eq!(found(&test, "quoted").await, [two], "{is_indexed}");
            assert_eq!(
                unindexed_count(&test.db.read).await.unwrap(),
                u64::from(!is_indexed),
                "{new:?}"
            );
            index(&test).await;
        }
    }
    // What is found by nothing else than before stays in the index.
    edit(&test, two, Edit::Delete).await;
    assert_eq!(found(&test, "latest").await, []);
    edit(&test, two, Edit::Restore).await;
    assert_eq!(found(&test, "latest").await, [two]);
    assert_eq!(unindexed_count(&test.db.read).await.unwrap(), 0);
}

async fn long_texts_take_several_pages(test: TestDb) {
    // Each has more than half of the bytes of a page.
    let notes = |n: usize| format!("{n}{}", "long ".repeat(PAGE_BYTES_MAX / 8));
    for n in 0..3 {
        let id = make(&test, "short", "").await.id;
        sqlx_notes(&test, id, &notes(n)).await;
    }
    assert!(index(&test).await);
    assert_eq!(unindexed_count(&test.db.read).await.unwrap(), 2);
    assert!(index(&test).await);
    assert!(!index(&test).await);
    assert_eq!(unindexed_count(&test.db.read).await.unwrap(), 0);
    assert_eq!(found(&test, "1long long").await.len(), 1);
}

/// Writes a text to search that is longer than the API takes.
async fn sqlx_notes(test: &TestDb, link: LinkId, search: &str) {
    let mut tx = test.db.begin().await.unwrap();
    on_tx!(&mut tx, |conn| {
        let query = sqlx::query("update link set search = $2 where id = $1");
        query.bind(link.get()).bind(search).execute(conn).await.map(|done| done.rows_affected())
    })
    .unwrap();
    tx.commit().await.unwrap();
}

async fn a_page_has_a_limit_and_what_is_not_committed_comes_again(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    for n in 0..PAGE_MAX + 2 {
        let mut command = test.create(None);
        command.settings =
            LinkSettings { title: Some(format!("number {n:04}")), ..LinkSettings::default() };
        link_create(&mut tx, command, NOW, &test.random).await.unwrap().unwrap();
    }
    tx.commit().await.unwrap();
    let mut tx = test.db.begin().await.unwrap();
    assert!(links_index(&mut tx).await.unwrap());
    drop(tx);
    let last = format!("number {:04}", PAGE_MAX + 1);
    assert_eq!(unindexed_count(&test.db.read).await.unwrap(), PAGE_MAX as u64 + 2);
    assert!(index(&test).await);
    assert_eq!(unindexed_count(&test.db.read).await.unwrap(), 2);
    assert_eq!((found(&test, "number 0000").await.len(), found(&test, &last).await.len()), (1, 1));
    assert!(!index(&test).await);
    assert!(!index(&test).await);
    assert_eq!((found(&test, "number 0000").await.len(), found(&test, &last).await.len()), (1, 1));
}

#[test]
fn a_text_is_asked_by_what_each_link_with_it_has() {
    let (here, there) = (7.try_into().unwrap(), 8.try_into().unwrap());
    assert_eq!(asked(here, "ét"), None);
    assert_eq!(asked(here, "東京都").map(|asked| asked.len()), Some(2));
    let all = entries(here, "a\nété 東京都 \"quoted\"\nend");
    for text in ["été", "東京都", " \"quo", "end"] {
        assert!(asked(here, text).unwrap().iter().all(|entry| all.contains(entry)), "{text:?}");
        assert!(asked(there, text).unwrap().iter().any(|entry| !all.contains(entry)));
    }
    // It is in databases: this number does not change.
    assert_eq!(hash(b"abc"), 0x1a47_e90b);
    let long: String = ('a'..='z').chain('0'..='9').chain('A'..='Z').collect();
    let asked = asked(here, &long).unwrap();
    assert_eq!((asked.len(), asked[0]), (ASKED_MAX, hash(&7_i64.to_be_bytes())));
}
