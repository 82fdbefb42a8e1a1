//! On a real engine: `TEST_CLICKHOUSE_URL` names one, on which databases can be created;
//! `deploy/services up clickhouse` starts one. A missing one is a failure.

mod kill;
mod late;

use std::sync::atomic::{AtomicU64, Ordering};

use carom_shared::Click;
use carom_shared::click::Detail;
use carom_shared::clickhouse::{INSERT_SETTINGS, batch_number, insert_body};

use super::report::{from_rollup, last_click};
use super::*;
use crate::click::Totals;
use crate::click::export::{ClickPlace, ExportQuery};
use crate::click::import::Fate;
use crate::click::report::ReportScope;
use crate::click::report::params::{Format, ReportParams, check_report};
use crate::click::report::time::{Interval, Span};
use crate::click::sqlite::tests::{NOW, NOW_S, batch, click};
use crate::link::clicks::ClickCursor;

static NUMBER: AtomicU64 = AtomicU64::new(0);
/// Later than any change.
const FAR: UnixMillis = UnixMillis::new(i64::MAX);

/// A store in a database of its own.
pub(crate) async fn new_store() -> ClickStore {
    ClickStore::open(server_at(&new_database().await), "").await.unwrap()
}

/// A server without TLS.
fn server_at(url: &str) -> ClickHouseServer {
    ClickHouseServer::new(ClickHouseAt::parse(url).unwrap(), std::path::Path::new("")).unwrap()
}

/// An empty database, by its URL.
pub(crate) async fn new_database() -> String {
    let (name, url) = database();
    let server = Client::new(server_at(&url("default"))).unwrap();
    let create = format!("CREATE DATABASE {name}");
    let created = server.run(Statement::new(&create, WRITE_SETTINGS)).await;
    created
        .expect("TEST_CLICKHOUSE_URL names a ClickHouse that runs: deploy/services up clickhouse");
    url(&name)
}

/// A name for a database, and what makes URLs of names.
fn database() -> (String, impl Fn(&str) -> String) {
    #[expect(clippy::disallowed_methods, reason = "a test's environment")]
    let server = std::env::var("TEST_CLICKHOUSE_URL").unwrap_or_else(|_| {
        panic!("TEST_CLICKHOUSE_URL is not set: eval \"$(deploy/services up clickhouse)\"")
    });
    let server = server.trim_end_matches('/').trim_end_matches("/default").to_owned();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("carom_test_{}_{number}", std::process::id());
    (name, move |name: &str| format!("{server}/{name}"))
}

pub(crate) async fn remove(store: &ClickStore) {
    store.write(&format!("DROP DATABASE {} SYNC", store.0.client.at().database())).await.unwrap();
}

pub(crate) async fn number(store: &ClickStore, sql: &str) -> i64 {
    let found: Vec<(i64,)> = store.rows(&format!("{sql} FORMAT JSONCompactEachRow")).await.unwrap();
    found[0].0
}

/// Rows, and what the rollup makes of them.
async fn rows(store: &ClickStore) -> (i64, i64) {
    (
        number(store, "SELECT toInt64(sum(click.n)) FROM click").await,
        number(store, "SELECT sum(click_quarter.n) FROM click_quarter").await,
    )
}

fn three() -> [Click<'static>; 3] {
    [
        click(1, Kind::Human, NOW_S, 1, "news.example"),
        click(1, Kind::Human, NOW_S, 1, "news.example"),
        click(2, Kind::Bot, NOW_S, 3, ""),
    ]
}

/// Sends a batch's bytes as an attempt does, behind the store's back.
async fn send(store: &ClickStore, name: &str, body: Vec<u8>) {
    let statement = Statement {
        sql: "INSERT INTO click FORMAT Native",
        data: Some((body, Some("zstd"))),
        query_id: None,
        settings: INSERT_SETTINGS,
        more: &[("insert_deduplication_token", name)],
    };
    store.0.client.run(statement).await.unwrap();
}

/// Puts a batch's rows in, as a call does that is killed before it has written them down.
pub(crate) async fn insert_unnoted(store: &ClickStore, (token, batch): &(Token, Batch)) {
    let name = format!("{}.0", token.as_str());
    send(store, &name, insert_body(token.as_str(), batch, false)).await;
}

#[tokio::test]
async fn a_batch_counts_once_also_after_reopening() {
    let store = new_store().await;
    let (token, one) = batch(1, NOW, &three());
    let stored = store.store(&token, &one, NOW).await.unwrap();
    assert_eq!(stored, Stored::New { rows: 3, clicks: 5 });
    for _ in 0..2 {
        let again = ClickStore::open(store.0.client.server().clone(), "").await.unwrap();
        assert_eq!(again.store(&token, &one, NOW).await.unwrap(), Stored::Duplicate);
    }
    let totals = store.summary().await.unwrap().totals;
    assert_eq!(totals, Totals { clicks: 2, bots: 3, ..Totals::default() });
    assert_eq!(rows(&store).await, (5, 5));
    // The same clicks under another name are other clicks.
    let (token, two) = batch(2, NOW, &three());
    store.store(&token, &two, NOW).await.unwrap();
    assert_eq!(rows(&store).await, (10, 10));
    let top = store.top(10).await.unwrap();
    let shown: Vec<_> = top.iter().map(|t| (t.link.get(), t.clicks, t.bots)).collect();
    assert_eq!(shown, [(1, 4, 0), (2, 0, 6)]);
    remove(&store).await;
}

/// A report on all links reads a row for each quarter hour and kind, however many links there are; and it is
/// what the links' own rollup says, also after something was erased or repaired.
#[tokio::test]
async fn a_report_on_all_links_reads_the_rollup_of_the_workspace() {
    let store = new_store().await;
    let workspace = WorkspaceId::try_from(1).unwrap();
    let of = |link| Click {
        workspace,
        visitor: 7,
        ..click(link, Kind::Human, NOW_S - 100, 1, "news.example")
    };
    let clicks: Vec<_> = (1..=200).map(of).collect();
    let (token, one) = batch(1, NOW, &clicks);
    store.store(&token, &one, NOW).await.unwrap();
    let params = ReportParams { interval: Some(Interval::Day), ..ReportParams::default() };
    for scope in [ReportScope::Workspace(workspace), ReportScope::All] {
        let query = check_report(&params, scope, &[], NOW).unwrap();
        for sql in [from_rollup(scope, &query.period, None), last_click(scope)] {
            let sql = sql.replace(" FORMAT JSONCompactEachRow", "");
            let plan =
                store.0.client.run(Statement::new(&format!("EXPLAIN {sql}"), SETTINGS)).await;
            let plan = String::from_utf8_lossy(&plan.unwrap()).into_owned();
            assert!(plan.contains("(of_workspace)"), "{sql}\n{plan}");
        }
        assert_eq!(store.report(&query).await.unwrap().period.totals.clicks, 200);
    }
    store.erase_link(workspace, clicks[0].link, NOW).await.unwrap();
    // Behind the rollup's back.
    store.write("ALTER TABLE click_quarter DELETE WHERE link < 100").await.unwrap();
    let later = NOW.saturating_add(std::time::Duration::from_hours(1));
    assert_eq!(store.audit(later).await.unwrap(), 98);
    let scope = ReportScope::Workspace(workspace);
    let query = check_report(&params, scope, &[], NOW).unwrap();
    let report = store.report(&query).await.unwrap();
    assert_eq!((report.period.totals.clicks, report.period.visitors), (199, 1));
    remove(&store).await;
}

/// What a kill between any two steps leaves behind, made by hand.
#[tokio::test]
async fn what_a_killed_call_left_is_found_and_put_right() {
    let store = new_store().await;
    let mut expected = 0;
    let mut check = async |number_of_batch: u32, after: Stored, rows_there: i64| {
        let (token, one) = batch(number_of_batch, NOW, &three());
        assert_eq!(store.store(&token, &one, NOW).await.unwrap(), after, "{number_of_batch}");
        expected += 5;
        let found = number(
            &store,
            &format!(
                "SELECT toInt64(count()) FROM click WHERE batch = {}",
                batch_number(token.as_str())
            ),
        )
        .await;
        assert_eq!(found, rows_there, "{number_of_batch}");
        assert_eq!(store.store(&token, &one, NOW).await.unwrap(), Stored::Duplicate);
    };
    let new = Stored::New { rows: 3, clicks: 5 };
    let body = |number: u32| {
        let (token, one) = batch(number, NOW, &three());
        (token.to_string(), insert_body(token.as_str(), &one, false))
    };
    // The token is known and the rows are not: swallowed.
    let (token, bytes) = body(1);
    send(&store, &format!("{token}.0"), bytes).await;
    store
        .write(&format!("ALTER TABLE click DELETE WHERE batch = {}", batch_number(&token)))
        .await
        .unwrap();
    check(1, new, 3).await;
    // All rows, and no ledger.
    let (token, bytes) = body(2);
    send(&store, &format!("{token}.0"), bytes).await;
    check(2, Stored::Duplicate, 3).await;
    // Twice, since the server forgot the token.
    let (_, bytes) = body(3);
    send(&store, "a", bytes.clone()).await;
    send(&store, "b", bytes).await;
    check(3, new, 3).await;
    // In part: one of two months.
    let (token, bytes) = body(4);
    send(&store, "c", bytes).await;
    store
        .write(&format!(
            "ALTER TABLE click DELETE WHERE batch = {} AND row > 0",
            batch_number(&token)
        ))
        .await
        .unwrap();
    check(4, new, 3).await;
    // The rollup has what was sent, whatever became of it; the audit makes it right, once.
    assert_ne!(rows(&store).await.1, 20);
    let later = NOW.saturating_add(std::time::Duration::from_hours(1));
    assert!(store.audit(later).await.unwrap() > 0);
    assert_eq!(rows(&store).await, (20, 20));
    assert_eq!(store.audit(later).await.unwrap(), 0);
    remove(&store).await;
}

#[tokio::test]
async fn control_planes_that_store_a_batch_at_once_store_it_once() {
    let store = new_store().await;
    let clicks: Vec<Click<'_>> =
        (0..5000).map(|n| click(n % 50 + 1, Kind::Human, NOW_S, 1, "")).collect();
    for number_of_batch in 0..5 {
        let (token, one) = batch(number_of_batch, NOW, &clicks);
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let other = ClickStore::open(store.0.client.server().clone(), "").await.unwrap();
            let (token, one) = (token.clone(), one.clone());
            calls.spawn(async move {
                // As an edge does.
                while other.store(&token, &one, NOW).await.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            });
        }
        calls.join_all().await;
        let there = number(
            &store,
            &format!(
                "SELECT toInt64(count()) FROM click WHERE batch = {}",
                batch_number(token.as_str())
            ),
        )
        .await;
        assert_eq!(there, i64::try_from(clicks.len()).unwrap());
    }
    remove(&store).await;
}

#[tokio::test]
async fn a_batch_older_than_the_ledger_is_refused_unless_it_is_known() {
    let store = new_store().await;
    let (known, one) = batch(1, NOW, &three());
    store.store(&known, &one, NOW).await.unwrap();
    let far = NOW.saturating_add(std::time::Duration::from_hours(24 * 91));
    let (late, two) = batch(2, NOW, &three());
    assert_eq!(store.store(&late, &two, far).await.unwrap(), Stored::TooOld);
    assert_eq!(store.store(&known, &one, far).await.unwrap(), Stored::Duplicate);
    assert_eq!(rows(&store).await, (5, 5));
    remove(&store).await;
}

#[tokio::test]
async fn totals_of_links_are_carried_in_order_and_are_none_once_erased() {
    let store = new_store().await;
    let (token, one) = batch(1, NOW, &three());
    store.store(&token, &one, NOW).await.unwrap();
    let (links, place) = store.changed_since(ClickCursor::default(), FAR, 10).await.unwrap();
    let shown = |links: &[crate::link::clicks::LinkClicks]| -> Vec<_> {
        links.iter().map(|of| (of.link.get(), of.clicks, of.last_click_ms / 1000)).collect()
    };
    assert_eq!(shown(&links), [(1, 2, i64::from(NOW_S)), (2, 0, 0)]);
    assert_eq!(store.last_change().await.unwrap(), place.unwrap());
    assert!(store.changed_since(place.unwrap(), FAR, 10).await.unwrap().1.is_none());

    let workspace = WorkspaceId::try_from(1).unwrap();
    let link = LinkId::try_from(1).unwrap();
    assert_eq!(store.erase_link(workspace, link, NOW).await.unwrap(), 2);
    assert_eq!(rows(&store).await, (3, 3));
    let (links, _) = store.changed_since(place.unwrap(), FAR, 10).await.unwrap();
    assert_eq!(shown(&links), [(1, 0, 0)]);
    store.erasures_resume().await.unwrap();

    // A batch that was stored, erased in part, and comes again because its ledger was lost.
    store.write("ALTER TABLE batch DELETE WHERE 1").await.unwrap();
    assert_eq!(store.store(&token, &one, NOW).await.unwrap(), Stored::Duplicate);
    assert_eq!(rows(&store).await, (3, 3));
    assert_eq!(store.erase_workspace(workspace, NOW).await.unwrap(), 1);
    assert_eq!(rows(&store).await, (0, 0));
    remove(&store).await;
}

#[tokio::test]
async fn pages_go_through_all_clicks_once() {
    let store = new_store().await;
    let mut clicks: Vec<Click<'_>> =
        (0..40).map(|n| click(1, Kind::Human, NOW_S + n / 10, 1, "it's; \\ é")).collect();
    clicks.extend((0..5).map(|n| click(12, Kind::Bot, NOW_S + n, 1, "")));
    for number_of_batch in 0..2 {
        let (token, one) = batch(number_of_batch, NOW, &clicks);
        store.store(&token, &one, NOW).await.unwrap();
    }
    let mut query = ExportQuery {
        workspace: WorkspaceId::try_from(1).unwrap(),
        link: LinkId::try_from(1).unwrap(),
        span: Span { from_s: 0, to_s: NOW_S + 3 },
        after: None,
        limit: 7,
        format: Format::Json,
    };
    let mut seen: Vec<ClickPlace> = Vec::new();
    loop {
        let (page, has_more) = store.clicks_page(&query).await.unwrap();
        assert!(page.iter().all(|click| click.names[Detail::Referrer as usize] == "it's; \\ é"));
        seen.extend(page.iter().map(|click| click.place));
        query.after = seen.last().copied();
        if !has_more {
            break;
        }
    }
    assert_eq!(seen.len(), 60);
    assert!(seen.windows(2).all(|two| (two[0].at_s, two[0].seq) < (two[1].at_s, two[1].seq)));

    let (mut after, mut all) = (None, 0);
    loop {
        let (page, has_more) = store.clicks_after(after, 13).await.unwrap();
        all += page.len();
        after = page.last().map(|(link, click)| (*link, click.place));
        if !has_more {
            break;
        }
    }
    assert_eq!(all, 90);
    for (workspace, clicks) in [(1, 80), (2, 10), (3, 0)] {
        let workspace = WorkspaceId::try_from(workspace).unwrap();
        let (mut after, mut places) = (None, Vec::new());
        loop {
            let (page, has_more) = store.clicks_of_workspace(workspace, after, 13).await.unwrap();
            after = page.last().map(|(link, click)| (*link, click.place));
            places.extend(
                page.iter().map(|(link, click)| (*link, click.place.at_s, click.place.seq)),
            );
            if !has_more {
                break;
            }
        }
        assert_eq!(places.len(), clicks);
        assert!(places.windows(2).all(|two| two[0] < two[1]));
    }
    remove(&store).await;
}

#[tokio::test]
async fn clicks_of_files_are_stored_unless_they_are_there() {
    let store = new_store().await;
    // Over years: more parts than one insert makes by default.
    let file: Vec<(u32, Click<'_>)> =
        (0..103).map(|n| (0, click(1, Kind::Human, NOW_S - n * 32 * 86_400, 1, ""))).collect();
    let dry = store.import(&file, 0, NOW, true).await.unwrap();
    assert!(dry.iter().all(|fate| *fate == Fate::New));
    assert_eq!(rows(&store).await, (0, 0));
    store.import(&file[..101], 0, NOW, false).await.unwrap();
    let fates = store.import(&file, 0, NOW, false).await.unwrap();
    assert_eq!(fates.iter().filter(|fate| **fate == Fate::Present).count(), 101);
    assert_eq!(rows(&store).await, (103, 103));
    let (links, _) = store.changed_since(ClickCursor::default(), FAR, 10).await.unwrap();
    assert_eq!((links[0].clicks, links[0].moved), (103, 103));
    // The same second's second click is another one.
    let second = store.import(&[(1, file[0].1)], 0, NOW, false).await.unwrap();
    assert_eq!(second, [Fate::New]);

    let since = i64::from(NOW_S) - 40 * 86_400;
    store.retention(since).await.unwrap();
    assert_eq!(rows(&store).await, (3, 104));
    assert_eq!(store.import(&file[50..51], 0, NOW, false).await.unwrap(), [Fate::Old]);
    assert_eq!(store.audit(NOW).await.unwrap(), 0, "what is gone on purpose is not missed");
    remove(&store).await;
}

#[tokio::test]
async fn a_wrong_password_or_a_missing_database_is_said() {
    let (name, url) = database();
    let open = async |url: String| {
        let opened = ClickStore::open(server_at(&url), "").await;
        let error =
            opened.err().map(|error| std::error::Error::source(&error).unwrap().to_string());
        error.unwrap()
    };
    assert!(open(url(&name)).await.contains("81"), "UNKNOWN_DATABASE");
    let wrong = url("default").replacen("http://", "http://nobody:secret@", 1);
    let error = open(wrong).await;
    assert!(error.contains("516") && !error.contains("secret"), "{error}");
    // That passes by itself: the start does not wait for it.
    let away = server_at("http://127.0.0.1:1/default");
    let store = ClickStore::open(away, "").await.unwrap();
    let refused = store.summary().await.unwrap_err();
    assert!(refused.is_unavailable(), "{refused:?}");
}

/// A batch that the engine refuses for what is in it is told apart from one that it cannot take now; it is
/// stored, once, when the table takes it.
#[tokio::test]
async fn a_batch_that_is_refused_for_its_content_is_told_apart() {
    let store = new_store().await;
    const FORBID: &str =
        "ALTER TABLE click ADD CONSTRAINT tried CHECK referrer != 'poison.example'";
    store.write(FORBID).await.unwrap();
    let clicks = [three()[0], click(1, Kind::Human, NOW_S, 1, "poison.example")];
    let (token, poison) = batch(1, NOW, &clicks);
    for _ in 0..2 {
        let refused = store.store(&token, &poison, NOW).await.unwrap_err();
        assert!(matches!(refused, StoreError::BatchRefused(_)), "{refused:?}");
        assert!(!refused.is_unavailable());
    }
    let (other, good) = batch(2, NOW, &three());
    let new = store.store(&other, &good, NOW).await.unwrap();
    assert_eq!((new, rows(&store).await), (Stored::New { rows: 3, clicks: 5 }, (5, 5)));
    store.write("ALTER TABLE click DROP CONSTRAINT tried").await.unwrap();
    let new = store.store(&token, &poison, NOW).await.unwrap();
    assert_eq!((new, rows(&store).await), (Stored::New { rows: 2, clicks: 2 }, (7, 7)));
    remove(&store).await;
}
