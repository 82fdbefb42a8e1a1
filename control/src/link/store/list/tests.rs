use super::*;
use crate::http::precondition::IfMatch;
use crate::link::command::{Edit, EditLink, LinkSettings};
use crate::link::store::{link_create, link_edit};
use crate::link::tag::Tags;
use crate::testing::{NOW, TestDb, on_each_database};
use carom_shared::{RouteState, UnixMillis};
use proptest::prelude::*;
use std::time::Duration;

on_each_database!(filters_let_through_what_they_say, pages_neither_skip_nor_repeat);

fn all(test: &TestDb) -> ListFilter {
    ListFilter {
        workspace: test.workspace,
        state: None,
        archived: None,
        domain: None,
        tag: None,
        text: None,
    }
}

async fn make(test: &TestDb, code: Option<&str>, settings: LinkSettings, now: UnixMillis) -> Link {
    let mut tx = test.db.begin().await.unwrap();
    let mut command = test.create(code);
    command.settings = settings;
    let made = link_create(&mut tx, command, now, &test.random).await.unwrap().unwrap().0;
    tx.commit().await.unwrap();
    made
}

async fn delete(test: &TestDb, link: &Link) {
    let mut tx = test.db.begin().await.unwrap();
    let command = EditLink {
        workspace: link.workspace,
        link: link.id,
        edited_by: test.key,
        if_match: IfMatch::Any,
        edit: Edit::Delete,
    };
    link_edit(&mut tx, command, NOW).await.unwrap().unwrap();
    tx.commit().await.unwrap();
}

fn place(link: &Link) -> Place {
    Place { created_at: link.created_at, id: link.id }
}

/// Each filter against the codes that it lets through.
async fn filters_let_through_what_they_say(test: TestDb) {
    let default = LinkSettings::default;
    for (code, settings) in [
        ("plain", default()),
        ("off", LinkSettings { state: Some(RouteState::Disabled), ..default() }),
        ("shelved", LinkSettings { is_archived: Some(true), ..default() }),
        ("titled", LinkSettings { title: Some("Été 100% a_b\\c".into()), ..default() }),
        ("noted", LinkSettings { notes: Some("ΟΔΟΣ\nBroadway".into()), ..default() }),
        ("tagged", LinkSettings { tags: Some(Tags::new(["Été", "x"]).unwrap()), ..default() }),
    ] {
        make(&test, Some(code), settings, NOW).await;
    }
    let gone = make(&test, Some("gone"), default(), NOW).await;
    delete(&test, &gone).await;

    let state = |state| ListFilter { state: Some(state), ..all(&test) };
    let text = |text: &str| ListFilter { text: Some(text.into()), ..all(&test) };
    let tag = |tag: &str| ListFilter { tag: Some(tag.into()), ..all(&test) };
    let archived = |archived| ListFilter { archived: Some(archived), ..all(&test) };
    for (filter, expected) in [
        (all(&test), "noted off plain shelved tagged titled"),
        (archived(false), "noted off plain tagged titled"),
        (archived(true), "shelved"),
        (state(ListState::Active), "noted plain shelved tagged titled"),
        (state(ListState::Disabled), "off"),
        (state(ListState::Deleted), "gone"),
        (tag("été"), "tagged"),
        (tag("ét"), ""),
        (ListFilter { archived: Some(true), ..tag("x") }, ""),
        (text("lai"), "plain"),
        (text("été"), "titled"),
        (text("100%"), "titled"),
        (text("1%"), ""),
        (text("a_b\\c"), "titled"),
        (text("axb"), ""),
        (text("οδοσ"), "noted"),
        (text("broadway"), "noted"),
        (text("example.com/a"), "noted off plain shelved tagged titled"),
        (ListFilter { domain: Some(test.domain), ..text("off") }, "off"),
        (ListFilter { domain: Some(7.try_into().unwrap()), ..all(&test) }, ""),
        (ListFilter { workspace: 7.try_into().unwrap(), ..all(&test) }, ""),
        (ListFilter { workspace: 7.try_into().unwrap(), ..tag("x") }, ""),
    ] {
        let found = link_list(&test.db.read, &filter, None, 100).await.unwrap();
        let mut codes: Vec<_> = found.iter().map(|link| link.code.as_str()).collect();
        codes.sort_unstable();
        assert_eq!(codes.join(" "), expected, "{filter:?}");
    }
    assert_eq!(link_count(&test.db.read, Some(test.workspace)).await.unwrap(), 6);
}

/// Pages of any size hold each link once, newest first, also where many share a millisecond.
async fn pages_neither_skip_nor_repeat(test: TestDb) {
    let mut made = Vec::new();
    for n in 0..25_u64 {
        let now = NOW.saturating_add(Duration::from_millis(n / 10));
        made.push(make(&test, None, LinkSettings::default(), now).await);
    }
    made.sort_by_key(|link| std::cmp::Reverse((link.created_at, link.id)));
    for limit in [1, 3, 7, 25, 100] {
        let mut seen: Vec<Link> = Vec::new();
        loop {
            let below = seen.last().map(place);
            let page = link_list(&test.db.read, &all(&test), below, limit).await.unwrap();
            assert!(page.len() <= limit as usize);
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert_eq!(seen, made, "limit {limit}");
    }
}

/// Pages through a list while links come and go. `None` makes a link, of one of a few
/// milliseconds; a number deletes one.
async fn page_meanwhile(
    test: TestDb,
    first: usize,
    limit: u32,
    meanwhile: &[(u64, Option<usize>)],
) {
    let mut there = Vec::new();
    let mut made = Vec::new();
    for n in 0..first {
        let now = NOW.saturating_add(Duration::from_millis(n as u64 % 3));
        let link = make(&test, None, LinkSettings::default(), now).await;
        made.push(link.id);
        there.push(link);
    }
    let mut seen = Vec::new();
    let mut below = None;
    let mut meanwhile = meanwhile.iter();
    loop {
        let page = link_list(&test.db.read, &all(&test), below, limit).await.unwrap();
        let Some(last) = page.last() else { break };
        below = Some(place(last));
        seen.extend(page.iter().map(|link| link.id));
        for &(ms, step) in meanwhile.by_ref().take(2) {
            match step {
                Some(n) if !there.is_empty() => {
                    let link = there.swap_remove(n % there.len());
                    delete(&test, &link).await;
                }
                _ => {
                    let now = NOW.saturating_add(Duration::from_millis(ms));
                    there.push(make(&test, None, LinkSettings::default(), now).await);
                }
            }
        }
    }
    let times = |id| seen.iter().filter(|other| **other == id).count();
    for link in there.iter().filter(|link| made.contains(&link.id)) {
        assert_eq!(times(link.id), 1, "a link that was there all along");
    }
    assert!(seen.iter().all(|id| times(*id) == 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn who_is_there_all_along_is_seen_once(
        first in 1_usize..20, limit in 1_u32..6,
        meanwhile in proptest::collection::vec((0_u64..4, proptest::option::of(0_usize..30)), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            page_meanwhile(TestDb::sqlite().await, first, limit, &meanwhile).await;
            #[cfg(feature = "postgres-tests")]
            page_meanwhile(TestDb::postgres().await, first, limit, &meanwhile).await;
        });
    }
}
