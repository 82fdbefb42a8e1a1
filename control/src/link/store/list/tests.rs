use super::*;
use crate::db::on_tx;
use crate::http::precondition::IfMatch;
use crate::link::clicks::{ClickCursor, LinkClicks};
use crate::link::command::{Edit, EditLink, LinkChange, LinkSettings};
use crate::link::store::{link_clicks_set, link_create, link_edit, links_index};
use crate::link::tag::Tags;
use crate::testing::{NOW, TestDb, on_each_database};
use carom_shared::{RouteState, UnixMillis};
use proptest::prelude::*;
use std::time::Duration;

on_each_database!(
    filters_let_through_what_they_say,
    pages_neither_skip_nor_repeat,
    what_is_rare_is_found_behind_what_is_walked,
    links_of_a_rare_domain_are_found_behind_those_of_a_common_one
);

const SORTS: [Sort; 3] = [Sort::Created, Sort::Clicks, Sort::LastClick];

/// The order of a list, in memory.
fn sorted(mut links: Vec<Link>, sort: Sort) -> Vec<Link> {
    links.sort_by_key(|link| {
        std::cmp::Reverse(match sort {
            Sort::Created => (link.created_at.get(), link.id),
            Sort::Clicks => (i64::try_from(link.clicks).unwrap(), link.id),
            Sort::LastClick => (link.last_click_at.map_or(0, UnixMillis::get), link.id),
        })
    });
    links
}

async fn list(
    test: &TestDb,
    filter: ListFilter,
    sort: Sort,
    below: Option<Place>,
    limit: u32,
) -> Vec<Link> {
    link_list(&test.db.read, &ListQuery { filter, sort, below, limit }, limit).await.unwrap()
}

/// Gives a link so many clicks.
async fn click(test: &TestDb, link: &mut Link, clicks: u32) {
    link.clicks = clicks.into();
    link.last_click_at = (clicks > 0).then(|| UnixMillis::new(i64::from(clicks % 7 + 1)));
    let mut tx = test.db.begin().await.unwrap();
    let set = LinkClicks {
        workspace: link.workspace,
        link: link.id,
        clicks: clicks.into(),
        moved: 0,
        last_click_ms: link.last_click_at.map_or(0, UnixMillis::get),
    };
    link_clicks_set(&mut tx, &[set], ClickCursor::default()).await.unwrap();
    tx.commit().await.unwrap();
}

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
        by: test.by(),
        if_match: IfMatch::Any,
        edit: Edit::Delete,
    };
    link_edit(&mut tx, command, NOW).await.unwrap().unwrap();
    tx.commit().await.unwrap();
}

/// Brings one page of links into the index of texts; says whether more are waiting.
async fn index(test: &TestDb) -> bool {
    let mut tx = test.db.begin().await.unwrap();
    let is_more = links_index(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    is_more
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
        let found = list(&test, filter.clone(), Sort::Created, None, 100).await;
        let mut codes: Vec<_> = found.iter().map(|link| link.code.as_str()).collect();
        codes.sort_unstable();
        assert_eq!(codes.join(" "), expected, "{filter:?}");
    }
    assert_eq!(link_count(&test.db.read, Some(test.workspace)).await.unwrap(), 6);
}

/// Pages of any size hold each link once, in the order asked for, also where many are equal in it.
async fn pages_neither_skip_nor_repeat(test: TestDb) {
    let mut made = Vec::new();
    for n in 0..25_u32 {
        let now = NOW.saturating_add(Duration::from_millis(u64::from(n / 10)));
        let mut link = make(&test, None, LinkSettings::default(), now).await;
        if n % 2 == 0 {
            click(&test, &mut link, n % 9).await;
        }
        made.push(link);
    }
    for sort in SORTS {
        made = sorted(made, sort);
        for limit in [1, 3, 7, 25, 100] {
            let mut seen: Vec<Link> = Vec::new();
            loop {
                let below = seen.last().map(|link| Place::of(link, sort));
                let page = list(&test, all(&test), sort, below, limit).await;
                assert!(page.len() <= limit as usize);
                if page.is_empty() {
                    break;
                }
                seen.extend(page);
            }
            assert_eq!(seen, made, "{sort:?}, limit {limit}");
        }
    }
}

/// Pages of lists of common and of rare things are what they are in memory, whoever asks what.
async fn each_is_found(test: &TestDb, made: &[Link]) {
    let text = |text: &str| ListFilter { text: Some(text.into()), ..all(test) };
    let tag = |tag: &str| ListFilter { tag: Some(tag.into()), ..all(test) };
    let holds = |link: &Link, filter: &ListFilter| {
        filter.text.as_ref().is_none_or(|text| crate::link::fold(&link.title).contains(text))
            && filter.tag.as_ref().is_none_or(|tag| link.tags.folded().any(|other| &other == tag))
    };
    for filter in [
        text("ra\"re"),
        text("été % 東京都"),
        text("京都"),
        text("common"),
        text("rarely"),
        text("common 00005"),
        text("0000"),
        ListFilter { tag: Some("few".into()), ..text("common") },
        ListFilter { tag: Some("few".into()), ..text("été") },
        tag("few"),
        tag("many"),
        tag("none"),
    ] {
        for sort in SORTS {
            let expected = sorted(made.to_vec(), sort).into_iter();
            let expected: Vec<_> =
                expected.filter(|link| holds(link, &filter)).map(|link| link.id).take(6).collect();
            let mut seen: Vec<Link> = list(test, filter.clone(), sort, None, 3).await;
            if let Some(last) = seen.last() {
                let below = Some(Place::of(last, sort));
                seen.extend(list(test, filter.clone(), sort, below, 3).await);
            }
            let query = ListQuery { filter: filter.clone(), sort, below: None, limit: 6 };
            let indexed = match Hits::of(&filter) {
                Some(_) => by_index_alone(&test.db.read, &query).await.unwrap(),
                None => seen.clone(),
            };
            assert_eq!(indexed, seen, "{filter:?}, {sort:?}");
            let seen: Vec<_> = seen.iter().map(|link| link.id).collect();
            assert_eq!(seen, expected, "{filter:?}, {sort:?}");
            let foreign = ListFilter { workspace: 7.try_into().unwrap(), ..filter.clone() };
            assert_eq!(list(test, foreign, sort, None, 3).await, []);
        }
    }
}

/// Texts and tags that few links have, at the far end of more links than are walked; common ones;
/// and another workspace's.
async fn what_is_rare_is_found_behind_what_is_walked(test: TestDb) {
    let settings = |title: String, tag: &str| LinkSettings {
        title: Some(title),
        tags: Some(Tags::new([tag]).unwrap()),
        ..LinkSettings::default()
    };
    let far = WALK_MAX + 20;
    let mut tx = test.db.begin().await.unwrap();
    let mut made = Vec::new();
    for n in 0..far {
        let rare = if n % 2 == 0 && n < 10 { "Ra\"re ÉTÉ % 東京都" } else { "common" };
        let mut command = test.create(None);
        command.settings = settings(format!("{rare} {n:05}"), if n < 8 { "few" } else { "many" });
        let now = NOW.saturating_add(Duration::from_millis(u64::from(n)));
        let link = link_create(&mut tx, command, now, &test.random).await.unwrap().unwrap().0;
        made.push(link);
    }
    tx.commit().await.unwrap();
    for n in [3, 4, 6] {
        click(&test, &mut made[n], u32::try_from(n).unwrap()).await;
    }
    // With nothing in the index of texts, with some, with all.
    for pages in [0, 2, 100] {
        for _ in 0..pages {
            if !index(&test).await {
                break;
            }
        }
        each_is_found(&test, &made).await;
    }

    let text = |text: &str| ListFilter { text: Some(text.into()), ..all(&test) };
    // What a link is found by changes with it.
    let mut tx = test.db.begin().await.unwrap();
    let change = LinkChange {
        settings: LinkSettings { title: Some("quite new".into()), ..LinkSettings::default() },
        ..LinkChange::default()
    };
    let command = EditLink {
        workspace: test.workspace,
        link: made[0].id,
        by: test.by(),
        if_match: IfMatch::Any,
        edit: Edit::Change(Box::new(change)),
    };
    link_edit(&mut tx, command, NOW).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let new = list(&test, text("quite new"), Sort::Created, None, 3).await;
    assert_eq!(new.iter().map(|link| link.id).collect::<Vec<_>>(), [made[0].id]);
    let rare = list(&test, text("ra\"re"), Sort::Created, None, 100).await;
    assert_eq!(
        rare.iter().map(|link| link.id).collect::<Vec<_>>(),
        [8, 6, 4, 2].map(|n| made[n].id)
    );
}

/// Those of a domain with few are where routes say, those of one with many where they are walked to; and each
/// link is there once whose code was given away and taken again.
async fn links_of_a_rare_domain_are_found_behind_those_of_a_common_one(test: TestDb) {
    const RARE: usize = 7;
    let rare = DomainId::try_from(5).unwrap();
    let mut tx = test.db.begin().await.unwrap();
    let sql = "insert into domain (id, host, is_default, created_at_ms) \
         values (5, 'rare.example', false, 1)";
    on_tx!(&mut tx, |conn| sqlx::query(sql).execute(conn).await.map(|done| done.rows_affected()))
        .unwrap();
    let mut made = Vec::new();
    for n in 0..RARE + WALK_MAX as usize + 20 {
        let mut command = test.create(None);
        if n < RARE {
            command.domain = rare;
            command.code = Some(carom_shared::Code::parse(&format!("rare{n}")).unwrap());
        }
        let now = NOW.saturating_add(Duration::from_millis(n as u64));
        let made_now = link_create(&mut tx, command, now, &test.random).await.unwrap().unwrap();
        made.push(made_now.0);
    }
    tx.commit().await.unwrap();
    delete(&test, &made[2]).await;
    delete(&test, &made[3]).await;
    let mut tx = test.db.begin().await.unwrap();
    let mut command = test.create(Some("rare3"));
    command.domain = rare;
    let again = link_create(&mut tx, command, NOW, &test.random).await.unwrap().unwrap().0;
    tx.commit().await.unwrap();
    for n in [1, 4, 9] {
        click(&test, &mut made[n], u32::try_from(n).unwrap()).await;
    }

    let on = |domain| ListFilter { domain: Some(domain), ..all(&test) };
    let mut here: Vec<_> =
        made.iter().enumerate().filter(|(n, _)| *n < RARE && *n != 2 && *n != 3).collect();
    here.push((0, &again));
    let here: Vec<Link> = here.into_iter().map(|(_, link)| link.clone()).collect();
    let there: Vec<Link> = made[RARE..].to_vec();
    for (domain, expected) in [(rare, here), (test.domain, there)] {
        for sort in SORTS {
            let expected: Vec<_> =
                sorted(expected.clone(), sort).iter().map(|link| link.id).take(8).collect();
            let mut seen = list(&test, on(domain), sort, None, 4).await;
            let below = seen.last().map(|last| Place::of(last, sort));
            seen.extend(list(&test, on(domain), sort, below, 4).await);
            let seen: Vec<_> = seen.iter().map(|link| link.id).collect();
            assert_eq!(seen, expected, "{sort:?}");
        }
    }
    let deleted = ListFilter { state: Some(ListState::Deleted), ..on(rare) };
    let deleted = list(&test, deleted, Sort::Created, None, 9).await;
    assert_eq!(deleted.iter().map(|it| it.id).collect::<Vec<_>>(), [made[3].id, made[2].id]);
    let foreign = ListFilter { workspace: 7.try_into().unwrap(), ..on(rare) };
    assert_eq!(list(&test, foreign, Sort::Created, None, 9).await, []);
}

/// Pages through a list, by the index of texts or without it, while links come, go and are indexed.
/// `None` makes a link, of one of a few milliseconds, or indexes all; a number deletes one.
async fn page_meanwhile(
    test: TestDb,
    is_search: bool,
    sort: Sort,
    clicks: &[u32],
    limit: u32,
    meanwhile: &[(u64, Option<usize>)],
) {
    const INDEXING_MS: u64 = 3;
    let mut there = Vec::new();
    let mut made = Vec::new();
    for (n, clicks) in clicks.iter().enumerate() {
        let now = NOW.saturating_add(Duration::from_millis(n as u64 % 3));
        let mut link = make(&test, None, LinkSettings::default(), now).await;
        click(&test, &mut link, *clicks).await;
        made.push(link.id);
        there.push(link);
    }
    let mut seen = Vec::new();
    let mut below = None;
    let mut meanwhile = meanwhile.iter();
    loop {
        let page = if is_search {
            let filter = ListFilter { text: Some("example".into()), ..all(&test) };
            let query = ListQuery { filter, sort, below, limit };
            by_index_alone(&test.db.read, &query).await.unwrap()
        } else {
            list(&test, all(&test), sort, below, limit).await
        };
        let Some(last) = page.last() else { break };
        below = Some(Place::of(last, sort));
        seen.extend(page.iter().map(|link| link.id));
        for &(ms, step) in meanwhile.by_ref().take(2) {
            match step {
                Some(n) if !there.is_empty() => {
                    let link = there.swap_remove(n % there.len());
                    delete(&test, &link).await;
                }
                None if ms == INDEXING_MS => {
                    index(&test).await;
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
        clicks in proptest::collection::vec(0_u32..4, 1..20),
        limit in 1_u32..6,
        is_search: bool,
        sort in proptest::sample::select(SORTS.to_vec()),
        meanwhile in proptest::collection::vec((0_u64..4, proptest::option::of(0_usize..30)), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            page_meanwhile(TestDb::sqlite().await, is_search, sort, &clicks, limit, &meanwhile).await;
            #[cfg(feature = "postgres-tests")]
            page_meanwhile(TestDb::postgres().await, is_search, sort, &clicks, limit, &meanwhile).await;
        });
    }
}
