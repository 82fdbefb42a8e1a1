//! Moves between a file and a real ClickHouse, which `TEST_CLICKHOUSE_URL` names.
#![cfg(feature = "clickhouse-tests")]

use std::path::Path;

use carom_shared::batch::{Batch, BatchBuilder, Token};
use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, DomainId, LinkId, SystemClock, SystemRandom, WorkspaceId};

use super::*;
use crate::click::clickhouse::tests::{new_database, number};
use crate::click::report::params::{ReportParams, check_report};
use crate::click::report::{Report, ReportScope};
use crate::click::sqlite::kept_since;
use crate::click::{Stored, Totals};
use crate::link::clicks::{ClickCursor, LinkClicks};
use crate::testing::TestDb;

/// Later than any change.
const FAR: UnixMillis = UnixMillis::new(i64::MAX);
/// 2026-06-01T00:00:00Z
const NOW: UnixMillis = UnixMillis::new(1_780_272_000_000);
const NOW_S: u32 = 1_780_272_000;
const DAY: u32 = 86_400;
/// Days of which rows are kept.
const KEPT: u32 = 11;

fn config(dir: &Path, clicks: &str) -> Config {
    Config {
        data_dir: dir.to_owned(),
        public_url: "http://go.example".into(),
        home_url: String::new(),
        control: crate::ControlConfig::default(),
        internal: crate::InternalConfig::default(),
        database: crate::DatabaseConfig::default(),
        clicks: ClicksConfig { url: clicks.to_owned(), ..ClicksConfig::default() },
        redis: crate::RedisConfig::default(),
        accounts: crate::AccountsConfig::default(),
        audit: crate::AuditConfig::default(),
        mail: crate::MailConfig::default(),
        limits: crate::LimitsConfig::default(),
        abuse: crate::AbuseConfig::default(),
        domains: crate::DomainsConfig::default(),
    }
}

/// The `n`-th click: of six links of three workspaces, of all kinds, over 16 days.
fn click(n: u32) -> Click<'static> {
    const REFERRERS: [&str; 4] = ["", "news.example", "it's; \\ é", "a%,b"];
    const COUNTRIES: [&str; 3] = ["", "DE", "IN"];
    let link = i64::from(n * 7 % 6) + 1;
    // A file's sums of a workspace keep the visitors of a link that was erased.
    let workspace = match link {
        5 => 3,
        6 => 2,
        _ => 1,
    };
    let at_s = NOW_S - DAY * (n * 5 % 16) - n * 37 % DAY - 1;
    let referrer = REFERRERS[n as usize % REFERRERS.len()];
    let country = COUNTRIES[n as usize / 3 % COUNTRIES.len()];
    Click {
        workspace: WorkspaceId::try_from(workspace).unwrap(),
        link: LinkId::try_from(link).unwrap(),
        domain: DomainId::try_from(i64::from(n % 2) + 1).unwrap(),
        at_s,
        n: if n.is_multiple_of(50) { 3 } else { 1 },
        kind: if n.is_multiple_of(4) {
            Kind::ALL[n as usize / 4 % Kind::ALL.len()]
        } else {
            Kind::Human
        },
        via: if n.is_multiple_of(5) { Via::Qr } else { Via::Link },
        variant: (n % 3).try_into().unwrap(),
        status: 302,
        target_revision: n % 2 + 1,
        // Of a day, as an edge makes them; some nobody knows. So few that each store counts them exactly.
        visitor: u64::from(n % 4) * u64::from(at_s / DAY),
        privacy: Privacy {
            do_not_track: n.is_multiple_of(9),
            global_privacy_control: n.is_multiple_of(11),
        },
        channel: Channel::ALL[n as usize % Channel::ALL.len()],
        device: Device::ALL[n as usize % Device::ALL.len()],
        details: Details::of(&[(Detail::Referrer, referrer), (Detail::Country, country)]),
    }
}

fn batch(number: u32, clicks: &[Click<'_>]) -> (Token, Batch) {
    let mut builder = BatchBuilder::new();
    clicks.iter().for_each(|click| builder.push(click));
    let file = builder.finish(NOW, &[]);
    (Token::new(7, 1, number, file.rows, file.crc), Batch::from_bytes(&file.bytes).unwrap())
}

fn batches() -> Vec<(Token, Batch)> {
    let clicks: Vec<Click<'_>> = (0..300).map(click).collect();
    (0..).zip(clicks.chunks(30)).map(|(number, chunk)| batch(number, chunk)).collect()
}

/// Everything that a store can hold.
async fn fill(store: &ClickStore) {
    for (token, batch) in batches() {
        let stored = store.store(&token, &batch, NOW).await.unwrap();
        assert!(matches!(stored, Stored::New { .. }));
    }
    let file: Vec<(u32, Click<'_>)> = (300..330).map(|n| (0, click(n))).collect();
    store.import(&file, 0, NOW, false).await.unwrap();
    let (workspace, erased) = (WorkspaceId::try_from(3).unwrap(), LinkId::try_from(5).unwrap());
    store.erase_link(workspace, erased, NOW).await.unwrap();
    let since = kept_since(KEPT, NOW);
    let mut place = 0;
    while let Some(next) = store.retention_step(since, place).await.unwrap() {
        place = next;
    }
}

struct Answers {
    totals: Totals,
    reports: Vec<Report>,
    links: Vec<LinkClicks>,
}

impl Answers {
    fn assert_are(&self, others: &Self) {
        assert_eq!(self.totals, others.totals);
        for (at, (here, there)) in self.reports.iter().zip(&others.reports).enumerate() {
            assert_eq!(here, there, "report {at}");
        }
        assert_eq!(self.links, others.links);
    }
}

/// All that is asked of a store, but for visitors of a time whose clicks are gone.
async fn asked(store: &ClickStore) -> Answers {
    let mut reports = Vec::new();
    let kept = "from=2026-05-23&to=2026-05-31";
    let all = "referrer,country,channel,device,kind,via,variant,target_revision,domain";
    for params in [
        format!("{kept}&interval=hour"),
        format!("{kept}&interval=day"),
        format!("{kept}&interval=day&tz=Asia/Kolkata"),
        format!("{kept}&interval=week&tz=America/New_York"),
        format!("{kept}&interval=day&by={all}"),
        format!("{kept}&interval=day&filter=country==DE"),
        format!("{kept}&interval=day&by=referrer&filter=device!=mobile"),
        format!("{kept}&interval=day&filter=referrer=@NEWS"),
        "from=2026-05-30&to=2026-05-31&interval=day&compare=previous".to_owned(),
    ] {
        let params: ReportParams = params_of(&params);
        let workspace = WorkspaceId::try_from(1).unwrap();
        let scopes = [
            ReportScope::All,
            ReportScope::Workspace(workspace),
            ReportScope::Link(workspace, LinkId::try_from(2).unwrap()),
            ReportScope::Link(workspace, LinkId::try_from(5).unwrap()),
        ];
        for scope in scopes {
            let query = check_report(&params, scope, &[], NOW).unwrap();
            reports.push(store.report(&query).await.unwrap());
        }
    }
    // What is left of those that are gone.
    let old: ReportParams = params_of("from=2026-03-01&to=2026-05-31&interval=day");
    let mut report =
        store.report(&check_report(&old, ReportScope::All, &[], NOW).unwrap()).await.unwrap();
    report.period.visitors = 0;
    report.period.series.iter_mut().for_each(|point| point.visitors = 0);
    reports.push(report);
    let (mut links, _) = store.changed_since(ClickCursor::default(), FAR, 100).await.unwrap();
    links.sort_by_key(|of| of.link);
    Answers { totals: store.summary().await.unwrap().totals, reports, links }
}

fn params_of(text: &str) -> ReportParams {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    let pairs = pairs.map(|(name, value)| (name.into_owned(), serde_json::Value::from(&*value)));
    serde_json::from_value(serde_json::Value::Object(pairs.collect())).unwrap()
}

/// A folder with links, and a store of clicks beside them.
async fn installation() -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &ClicksConfig::default().url);
    let checked = config.checked().unwrap();
    TestDb::at(&checked.database).await;
    let store = ClickStore::open(&checked.clicks.unwrap()).await.unwrap();
    fill(&store).await;
    store.close().await;
    (folder, config)
}

async fn opened(config: &Config) -> ClickStore {
    ClickStore::open(&config.checked().unwrap().clicks.unwrap()).await.unwrap()
}

async fn go(config: &Config, to: &str) -> Result<ClicksMoved, ClicksMoveError> {
    run(config, to, &SystemClock, &SystemRandom, &mut |_| {}).await
}

#[tokio::test]
async fn clicks_go_to_clickhouse_and_back() {
    let (folder, first) = installation().await;
    let store = opened(&first).await;
    let before = asked(&store).await;
    assert_eq!((before.links.len(), before.reports.len()), (6, 37));
    store.close().await;

    let to = new_database().await;
    let planned = plan(&first, &to).await.unwrap();
    assert_eq!(planned.state, PlanState::New);
    let moved = go(&first, &to).await.unwrap();
    assert_eq!(moved.rows, planned.rows);
    assert!(moved.rows > 150 && moved.days > 8 && moved.batches > 10, "{moved:?}");
    assert!(go(&first, &to).await.unwrap().was_done);
    let left = may_be_served(&opened(&first).await).await.unwrap_err().to_string();
    assert!(left.contains("were moved to http://"), "{left}");

    let second = config(folder.path(), &to);
    let store = opened(&second).await;
    may_be_served(&store).await.unwrap();
    asked(&store).await.assert_are(&before);
    for (token, batch) in batches() {
        assert_eq!(store.store(&token, &batch, NOW).await.unwrap(), Stored::Duplicate);
    }
    let later = NOW.saturating_add(std::time::Duration::from_hours(48));
    assert_eq!(store.audit(later).await.unwrap(), 0);
    assert_eq!(closed(&second).await, 0, "it has arrived, and edges may store clicks");
    // One that was on its way.
    let (token, more) = batch(99, &[click(1)]);
    assert!(matches!(store.store(&token, &more, NOW).await.unwrap(), Stored::New { .. }));
    let before = asked(&store).await;

    // Rows that nobody wrote down: whoever brought them brings them again.
    let ClickStore::ClickHouse(clickhouse) = &store else { panic!("no ClickHouse") };
    crate::click::clickhouse::tests::insert_unnoted(clickhouse, &batch(100, &[click(2)])).await;
    let back = format!("sqlite://{}/back.db", folder.path().display());
    let returned = go(&second, &back).await.unwrap();
    assert_eq!(closed(&second).await, 1, "edges leave clicks to control");
    assert_eq!(returned.rows, moved.rows + 1);
    let third = config(folder.path(), &back);
    let store = opened(&third).await;
    asked(&store).await.assert_are(&before);
    for (token, batch) in batches() {
        assert_eq!(store.store(&token, &batch, NOW).await.unwrap(), Stored::Duplicate);
    }
    assert_eq!(store.store(&token, &more, NOW).await.unwrap(), Stored::Duplicate);
    undo(&second, &SystemClock).await.unwrap();
    assert_eq!(closed(&second).await, 0);

    // Back to the first one, without what came since.
    let undone = undo(&first, &SystemClock).await.unwrap();
    assert!(undone.starts_with("http://"), "{undone}");
    may_be_served(&opened(&first).await).await.unwrap();
    let nothing = undo(&first, &SystemClock).await;
    assert!(matches!(nothing, Err(ClicksMoveError::NothingToUndo)), "{nothing:?}");
    drop_database(&second).await;
}

/// What an edge sees of a store that is closed.
async fn closed(config: &Config) -> i64 {
    let ClickStore::ClickHouse(store) = opened(config).await else { panic!("no ClickHouse") };
    number(&store, "SELECT toInt64(count()) FROM erasure WHERE workspace = 0 AND link = 0").await
}

async fn drop_database(config: &Config) {
    let ClickStore::ClickHouse(store) = opened(config).await else { panic!("no ClickHouse") };
    crate::click::clickhouse::tests::remove(&store).await;
}

/// Cut off again and again, each time a little later; what the server has begun it may finish.
#[tokio::test]
async fn a_move_that_is_cut_off_goes_on() {
    let (folder, first) = installation().await;
    let store = opened(&first).await;
    let before = asked(&store).await;
    store.close().await;
    let to = new_database().await;
    let back = format!("sqlite://{}/back.db", folder.path().display());
    let second = config(folder.path(), &to);
    for (from, to, step_ms) in [(&first, &to, 60), (&second, &back, 15)] {
        let (mut cut_off, mut patience_ms) = (0, 20);
        let moved = loop {
            let patience = std::time::Duration::from_millis(patience_ms);
            match tokio::time::timeout(patience, go(from, to)).await {
                Ok(moved) => break moved.unwrap(),
                Err(_) => {
                    cut_off += 1;
                    patience_ms += step_ms;
                }
            }
        };
        assert!(cut_off > 2, "{cut_off}");
        assert!(moved.was_done || moved.rows_before > 0, "{moved:?}");
        let store = opened(&config(folder.path(), to)).await;
        may_be_served(&store).await.unwrap();
        asked(&store).await.assert_are(&before);
        if let ClickStore::ClickHouse(store) = &store {
            const UNNOTED: &str =
                "SELECT toInt64(count()) FROM click WHERE batch NOT IN (SELECT batch FROM batch)";
            assert_eq!(number(store, UNNOTED).await, 0);
        }
    }
    drop_database(&config(folder.path(), &to)).await;
}

#[tokio::test]
async fn what_cannot_be_moved_is_said() {
    let (folder, first) = installation().await;
    let to = new_database().await;
    let refused = async |config: &Config, to: &str| go(config, to).await.unwrap_err().to_string();
    assert!(refused(&first, "sqlite://{data_dir}/other.db").await.contains("both are files"));
    assert!(refused(&first, &first.clicks.url).await.contains("are in already"));
    assert!(refused(&first, "https").await.starts_with("--clicks-to"));
    let away = refused(&first, "http://127.0.0.1:1/x").await;
    assert!(away.contains("cannot use the ClickHouse"), "{away}");
    let nothing = refused(&config(folder.path(), &to), "sqlite://{data_dir}/other.db").await;
    assert!(nothing.contains("no clicks to move"), "{nothing}");

    let second = config(folder.path(), &to);
    let store = opened(&second).await;
    let (token, one) = batch(1, &[click(1)]);
    store.store(&token, &one, NOW).await.unwrap();
    let occupied = refused(&first, &to).await;
    assert!(occupied.contains("holds clicks already"), "{occupied}");
    may_be_served(&opened(&first).await).await.unwrap();
    drop_database(&second).await;

    // What is not the same in the end leaves both as they are.
    let to = new_database().await;
    let second = config(folder.path(), &to);
    let mut is_first = true;
    let store = ClickStore::open(&first.checked().unwrap().clicks.unwrap()).await.unwrap();
    // Before what is read next.
    let first_s = u32::try_from(kept_since(KEPT, NOW)).unwrap();
    let of_first = Click { at_s: first_s, link: LinkId::try_from(1).unwrap(), ..click(1) };
    let (token, one) = batch(77, &[of_first]);
    let mut tell = |_: ClicksProgress| {
        if std::mem::take(&mut is_first) {
            let (store, token, one) = (store.clone(), token.clone(), one.clone());
            // Somebody who was not fenced off.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(store.store(&token, &one, NOW)).unwrap();
            })
            .join()
            .unwrap();
        }
    };
    let different = run(&first, &to, &SystemClock, &SystemRandom, &mut tell).await;
    let different = different.unwrap_err().to_string();
    assert!(different.contains("not everything is the same"), "{different}");
    let kept = may_be_served(&opened(&first).await).await.unwrap_err().to_string();
    assert!(kept.contains("are being moved"), "{kept}");
    let part = may_be_served(&opened(&second).await).await.unwrap_err().to_string();
    assert!(part.contains("only a part"), "{part}");
    drop_database(&second).await;
}
