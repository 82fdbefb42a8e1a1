use super::*;
use carom_shared::batch::BatchBuilder;
use carom_shared::click::{Channel, Detail, Details, Device, Privacy, Via};
use carom_shared::{Click, DomainId};
use proptest::prelude::*;

/// 2026-01-01T00:00:00Z
pub(in crate::click) const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);
pub(in crate::click) const NOW_S: u32 = 1_767_225_600;

pub(super) struct Test {
    pub(super) store: ClickStore,
    pub(super) folder: tempfile::TempDir,
}

impl Test {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ClickStore::open(&folder.path().join("clicks.db")).await.unwrap();
        Self { store, folder }
    }

    pub(super) async fn sum(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.store.file.read).await.unwrap()
    }
}

pub(in crate::click) fn click(
    link: i64,
    kind: Kind,
    at_s: u32,
    n: u32,
    referrer: &str,
) -> Click<'_> {
    Click {
        workspace: WorkspaceId::try_from(link / 10 + 1).unwrap(),
        link: LinkId::try_from(link).unwrap(),
        domain: DomainId::try_from(3).unwrap(),
        at_s,
        n,
        kind,
        via: Via::Link,
        variant: 0,
        status: 302,
        target_revision: 1,
        visitor: 0,
        privacy: Privacy::default(),
        channel: Channel::Direct,
        device: Device::Unknown,
        details: Details::of(&[(Detail::Referrer, referrer)]),
    }
}

pub(in crate::click) fn batch(
    number: u32,
    made_at: UnixMillis,
    clicks: &[Click<'_>],
) -> (Token, Batch) {
    let mut builder = BatchBuilder::new();
    clicks.iter().for_each(|click| builder.push(click));
    let file = builder.finish(made_at, &[]);
    (Token::new(1, 1, number, file.rows, file.crc), Batch::from_bytes(&file.bytes).unwrap())
}

#[tokio::test]
async fn a_batch_counts_once_also_after_reopening() {
    let mut test = Test::new().await;
    let clicks = [
        click(1, Kind::Human, NOW_S, 1, "news.example"),
        click(1, Kind::Human, NOW_S, 1, "news.example"),
        click(2, Kind::Bot, NOW_S, 3, ""),
    ];
    let (token, one) = batch(1, NOW, &clicks);
    let stored = test.store.store(&token, &one, NOW).await.unwrap();
    assert_eq!(stored, Stored::New { rows: 3, clicks: 5 });
    // As after a kill: nothing is closed, the file is opened beside it.
    for _ in 0..2 {
        assert_eq!(test.store.store(&token, &one, NOW).await.unwrap(), Stored::Duplicate);
        test.store = ClickStore::open(&test.folder.path().join("clicks.db")).await.unwrap();
    }
    let totals = test.store.summary().await.unwrap().totals;
    assert_eq!(totals, Totals { clicks: 2, bots: 3, ..Totals::default() });
    assert_eq!(test.sum("select sum(n) from click").await, 5);
    // The same clicks under another name are other clicks.
    let (token, two) = batch(2, NOW, &clicks);
    test.store.store(&token, &two, NOW).await.unwrap();
    assert_eq!(test.sum("select sum(n) from click").await, 10);
    assert_eq!(test.sum("select sum(rows) from batch").await, 6);
}

#[tokio::test]
async fn a_batch_that_is_cut_off_leaves_nothing() {
    let test = Test::new().await;
    let (token, one) = batch(1, NOW, &[click(1, Kind::Human, NOW_S, 1, "a.example")]);
    let block = "create trigger refuse before insert on click_quarter \
         begin select raise(abort, 'no'); end";
    sqlx::query(block).execute(&test.store.file.write).await.unwrap();
    assert!(test.store.store(&token, &one, NOW).await.is_err());
    for count in [
        "select count(*) from batch", "select count(*) from click",
        "select count(*) from name where id > 0", "select count(*) from workspace_quarter",
    ] {
        assert_eq!(test.sum(count).await, 0, "{count}");
    }
    sqlx::query("drop trigger refuse").execute(&test.store.file.write).await.unwrap();
    let stored = test.store.store(&token, &one, NOW).await.unwrap();
    assert_eq!(stored, Stored::New { rows: 1, clicks: 1 });
}

#[tokio::test]
async fn a_batch_older_than_the_ledger_is_refused_unless_it_is_known() {
    let test = Test::new().await;
    let clicks = [click(1, Kind::Human, NOW_S, 1, "")];
    let (known, one) = batch(1, NOW, &clicks);
    test.store.store(&known, &one, NOW).await.unwrap();

    let edge = NOW.saturating_add(LEDGER_LIFE);
    let (on_time, two) = batch(2, NOW, &clicks);
    let (late, three) = batch(3, UnixMillis::new(NOW.get() - 1), &clicks);
    assert!(matches!(test.store.store(&on_time, &two, edge).await.unwrap(), Stored::New { .. }));
    assert_eq!(test.store.store(&late, &three, edge).await.unwrap(), Stored::TooOld);
    assert_eq!(test.store.store(&known, &one, edge).await.unwrap(), Stored::Duplicate);

    // Once forgotten, a batch is too old: never stored twice.
    let far = edge.saturating_add(LEDGER_MARGIN + Duration::from_secs(1));
    let (new, four) = batch(4, far, &clicks);
    test.store.store(&new, &four, far).await.unwrap();
    assert_eq!(test.sum("select count(*) from batch").await, 1);
    assert_eq!(test.store.store(&known, &one, far).await.unwrap(), Stored::TooOld);
    assert_eq!(test.sum("select sum(n) from click").await, 3);
}

#[tokio::test]
async fn names_are_kept_once_in_one_dictionary() {
    let test = Test::new().await;
    let names: Vec<String> = (0..150).map(|n| format!("r{}.example", n % 130)).collect();
    let clicks: Vec<Click<'_>> =
        names.iter().map(|name| click(1, Kind::Human, NOW_S, 1, name)).collect();
    for number in 0..2 {
        let (token, batch) = batch(number, NOW, &clicks);
        test.store.store(&token, &batch, NOW).await.unwrap();
    }
    assert_eq!(test.sum("select count(*) from name where id > 0").await, 130);
    let named = "select count(*) from click c join name r on r.id = c.referrer \
         where r.text = 'r7.example' and c.country = 0";
    assert_eq!(test.sum(named).await, 4);
}

#[tokio::test]
async fn the_top_list_is_by_human_clicks() {
    let test = Test::new().await;
    let (token, one) = batch(
        1,
        NOW,
        &[
            click(1, Kind::Human, NOW_S, 2, ""),
            click(2, Kind::Human, NOW_S + 5, 3, ""),
            click(2, Kind::Human, NOW_S - 5000, 1, ""),
            click(3, Kind::Bot, NOW_S, 100, ""),
        ],
    );
    test.store.store(&token, &one, NOW).await.unwrap();
    let top = test.store.top(10).await.unwrap();
    let shown: Vec<_> = top
        .iter()
        .map(|t| (t.link.get(), t.clicks, t.bots, t.last_click_at.map(UnixMillis::as_secs)))
        .collect();
    let now = i64::from(NOW_S);
    assert_eq!(shown, [(2, 4, 0, Some(now + 5)), (1, 2, 0, Some(now)), (3, 0, 100, None)]);
    assert_eq!(test.store.top(1).await.unwrap().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Rows, rollup and answers agree with a plain sum, for batches of awkward lengths too.
    #[test]
    fn totals_are_the_sum_of_what_came_in(
        batches in prop::collection::vec(
            prop::collection::vec((1_i64..40, 0_u8..5, 0_u32..100_000, 1_u32..4), 0..600), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let test = Test::new().await;
            let mut all = Totals::default();
            for (number, rows) in (0..).zip(&batches) {
                let clicks: Vec<Click<'_>> = rows.iter().map(|&(link, kind, at, n)| {
                    click(link, Kind::from_u8(kind).unwrap(), at, n, "")
                }).collect();
                for click in &clicks {
                    all.add(click.kind, click.n.into());
                }
                let (token, batch) = batch(number, NOW, &clicks);
                test.store.store(&token, &batch, NOW).await.unwrap();
            }
            assert_eq!(test.store.summary().await.unwrap().totals, all);
            for differs in [
                "select count(*) from (\
                 select workspace, link, at_s / 900 as quarter, kind, sum(n), max(at_s) \
                 from click group by 1, 2, 3, 4 \
                 except select workspace, link, quarter, kind, n, last_at_s from click_quarter)",
                "select count(*) from (\
                 select workspace, at_s / 900 as quarter, kind, sum(n), max(at_s) \
                 from click group by 1, 2, 3 \
                 except select workspace, quarter, kind, n, last_at_s from workspace_quarter)",
            ] {
                assert_eq!(test.sum(differs).await, 0, "{differs}");
            }
        });
    }
}
