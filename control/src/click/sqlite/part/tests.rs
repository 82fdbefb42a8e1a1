use super::*;
use crate::click::export::{ClickPlace, ExportQuery, StoredClick};
use crate::click::report::params::Format;
use crate::click::report::time::Span;
use crate::click::sqlite::tests::{NOW, NOW_S, Test, batch, click};
use crate::click::sqlite::{ClickStore, SCHEMA};
use crate::db::SqliteFile;
use carom_shared::click::Kind;
use carom_shared::{LinkId, WorkspaceId};
use proptest::prelude::*;

fn parts() -> Parts {
    let parts = BTreeMap::from([(0, Part { last: 0, rows: 0 })]);
    Parts { parts, changed: Vec::new() }
}

#[test]
fn a_part_is_cut_off_when_it_is_full_and_its_time_is_over() {
    let mut parts = parts();
    let mut admit = |quarter, rows| parts.admit(quarter, rows, 5000).unwrap();
    assert_eq!(admit(1, ROWS - 1), 0);
    assert_eq!(admit(2, 1), 0);
    assert_eq!(admit(2, 10 * ROWS), 0, "its last quarter hour goes on");
    assert_eq!(admit(4, ROWS), 4);
    assert_eq!(admit(3, 5), 3, "between two full ones");
    assert_eq!(admit(1, 5), 0, "late");
    assert_eq!(admit(5004, 1), 5004);
}

#[test]
fn what_comes_newest_first_after_an_outage_does_not_go_into_one_part() {
    let mut parts = parts();
    let mut admit = |quarter, rows| parts.admit(quarter, rows, 5000).unwrap();
    assert_eq!(admit(1, 1), 0);
    assert_eq!(admit(4000, ROWS_AFTER_GAP), 4000, "the newest");
    assert_eq!(admit(2, ROWS), 0, "then the oldest");
    assert_eq!(admit(3999, 1), 3999, "and both ends by turns");
    assert_eq!(admit(3, ROWS), 3);
    assert_eq!(admit(4, 1), 4);
    assert_eq!(admit(4000, 1), 4000);
}

#[test]
fn a_small_store_has_one_part_whatever_its_nights() {
    let mut parts = parts();
    for day in 1..ROWS_BEFORE_GAP {
        assert_eq!(parts.admit(day * 96, 1, 5000).unwrap(), 0);
    }
}

#[test]
fn a_click_of_a_wrong_clock_holds_up_no_part() {
    let mut parts = parts();
    let mut admit = |quarter, rows| parts.admit(quarter, rows, 5000).unwrap();
    assert_eq!(admit(4999, 10), 0);
    assert_eq!(admit(4_000_000, 10), 4_000_000);
    assert_eq!(admit(5000, ROWS), 0);
    assert_eq!(admit(5001, 1), 5001);
    assert_eq!(admit(4_000_000, 10), 4_000_000);
}

proptest! {
    /// Where a quarter hour's rows went once, all of them go, and it is where they are looked
    /// for.
    #[test]
    fn each_quarter_hour_is_in_one_part(
        came in prop::collection::vec((0_i64..300, 1_i64..200, 0_i64..300), 1..200),
    ) {
        let mut parts = parts();
        let mut went = BTreeMap::new();
        for (quarter, rows, now) in came {
            let part = parts.admit(quarter, rows, now).unwrap();
            prop_assert_eq!(*went.entry(quarter).or_insert(part), part);
        }
        for (quarter, part) in went {
            let found = parts.parts.range(..=quarter).next_back();
            prop_assert_eq!(found.map(|(first, _)| *first), Some(part));
        }
    }
}

/// Clicks of links of two workspaces, over some hours: enough for several parts.
async fn filled() -> (Test, Vec<(i64, u32)>) {
    let test = Test::new().await;
    let mut all = Vec::new();
    for number in 0..8_u32 {
        let clicks: Vec<_> = (0..150_u32)
            .map(|n| {
                let link = i64::from(n * 7 % 15 + 1);
                // Of one link there are only previews; some clicks are late.
                let kind = if link == 3 { Kind::Preview } else { Kind::Human };
                let late = if n % 10 == 0 { 4000 } else { 0 };
                click(link, kind, NOW_S + number * 1800 + n - late, 1, "")
            })
            .collect();
        all.extend(clicks.iter().map(|click| (click.link.get(), click.at_s)));
        let (token, batch) = batch(number, NOW, &clicks);
        test.store.store(&token, &batch, NOW).await.unwrap();
    }
    assert!(test.sum("select count(*) from part").await > 3);
    all.sort_unstable();
    (test, all)
}

#[tokio::test]
async fn each_click_is_on_one_page_and_a_links_clicks_are_in_the_order_of_time() {
    let (test, all) = filled().await;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (page, has_more) = test.store.clicks_after(after, 7).await.unwrap();
        after = page.last().map(|(link, click)| (*link, click.place));
        found.extend(page.iter().map(|(link, click)| (link.get(), click.place.at_s)));
        if !has_more {
            break;
        }
    }
    found.sort_unstable();
    assert_eq!(found, all);
    for workspace in [1, 2, 3] {
        let of = WorkspaceId::try_from(workspace).unwrap();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let (page, has_more) = test.store.clicks_of_workspace(of, after, 7).await.unwrap();
            assert!(page.len() == 7 || !has_more);
            after = page.last().map(|(link, click)| (*link, click.place));
            found.extend(page.iter().map(|(link, click)| (link.get(), click.place.at_s)));
            if !has_more {
                break;
            }
        }
        found.sort_unstable();
        let theirs = all.iter().filter(|(link, _)| link / 10 + 1 == workspace).copied();
        assert_eq!(found, theirs.collect::<Vec<_>>());
    }

    let of_link = |after| ExportQuery {
        workspace: WorkspaceId::try_from(1).unwrap(),
        link: LinkId::try_from(2).unwrap(),
        span: Span { from_s: NOW_S, to_s: NOW_S + 9000 },
        after,
        limit: 3,
        format: Format::default(),
    };
    let (mut times, mut after): (Vec<u32>, Option<ClickPlace>) = Default::default();
    loop {
        let (page, has_more): (Vec<StoredClick>, _) =
            test.store.clicks_page(&of_link(after)).await.unwrap();
        after = page.last().map(|click| click.place);
        times.extend(page.iter().map(|click| click.place.at_s));
        if !has_more {
            break;
        }
    }
    let is_meant = |(link, at_s): &&(i64, u32)| *link == 2 && (NOW_S..NOW_S + 9000).contains(at_s);
    let expected: Vec<u32> = all.iter().filter(is_meant).map(|(_, at_s)| *at_s).collect();
    assert!(expected.len() > 20);
    assert_eq!(times, expected);
}

/// What an earlier version stored is cut into parts, and nothing of it changes.
#[tokio::test]
async fn a_store_without_parts_is_cut_into_parts() {
    // 3,000 rows of 100 clicks each.
    const FILL: &str = "insert into click (link, at_s, seq, workspace, domain, n, kind, via, variant, \
         status, target_revision, visitor, privacy, channel, device, referrer, referrer_path, \
         country, region, city, browser, browser_version, os, os_version, language, utm_source, \
         utm_medium, utm_campaign, utm_term, utm_content) \
         with recursive i (i) as (select 0 union all select i + 1 from i where i < 2999) \
         select i % 100, 900 * (i / 300) + i % 900, i, 1 + i % 2, 3, 100, i % 5, 0, 0, 302, 1, i, \
         0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 from i";
    const QUARTERS: &str = "insert into click_quarter select workspace, link, at_s / 900, kind, \
         sum(n), max(at_s), x'' from click group by 1, 2, 3, 4";
    const WORKSPACES: &str = "insert into workspace_quarter select workspace, quarter, kind, \
         sum(n), max(last_at_s), x'' from click_quarter group by 1, 2, 3";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.db");
    let older = SCHEMA.iter().position(|(_, name, _)| *name == "0008_part").unwrap();
    let old = SqliteFile::open(&path, &SCHEMA[..older]).await.unwrap();
    for sql in [FILL, QUARTERS, WORKSPACES] {
        sqlx::query(sql).execute(&old.write).await.unwrap();
    }
    old.close().await;

    let store = ClickStore::open(&path).await.unwrap();
    let test = Test { store, folder };
    assert_eq!(test.sum("select count(*) from click").await, 3000);
    assert_eq!(test.sum("select sum(n) from click_quarter").await, 300_000);
    assert_eq!(test.sum("select count(*) from part").await, 3);
    assert_eq!(test.sum("select sum(rows) from part where first_quarter >= 0").await, 300_000);
    for wrong in [
        "select count(*) from click where part <> \
         (select max(first_quarter) from part where first_quarter <= at_s / 900)",
        "select count(*) from click_quarter where part <> \
         (select max(first_quarter) from part where first_quarter <= quarter)",
        "select count(*) from part p where last_quarter <> \
         (select max(quarter) from click_quarter where part = p.first_quarter)",
        "select count(*) from (select workspace, link, at_s / 900, kind, sum(n), max(at_s) \
         from click group by 1, 2, 3, 4 \
         except select workspace, link, quarter, kind, n, last_at_s from click_quarter)",
        "select count(*) from click where seq % 100 <> link or visitor <> seq",
    ] {
        assert_eq!(test.sum(wrong).await, 0, "{wrong}");
    }
    // An empty one has the one part that there always is.
    let empty = Test::new().await;
    assert_eq!(empty.sum("select first_quarter + rows from part").await, 0);
}
