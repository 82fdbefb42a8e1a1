use std::collections::BTreeMap;

use carom_shared::batch::{Batch, BatchBuilder, Token};
use carom_shared::click::{Channel, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, DomainId, LinkId, UnixMillis, WorkspaceId};
use proptest::prelude::*;

use super::super::tests::Test;
use super::build::Building;
use super::top::{First, Heads};
use super::*;
use crate::click::report::params::{ReportParams, check_report};
use crate::click::report::tally::TopNumber;
use crate::click::report::{Report, ReportQuery, ReportScope, TopValue};

/// 2026-01-01T00:00:00Z; blocks of eight days begin on the 8th.
const START_S: u32 = 1_767_225_600;
const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000 + 40 * 86_400_000);
const NAMES: [&str; 4] = ["", "a", "b", "c"];

#[derive(Clone, Copy, Debug)]
struct Seed {
    workspace: i64,
    link: i64,
    at_s: u32,
    n: u32,
    is_human: bool,
    visitor: u64,
    name: usize,
}

fn seed() -> impl Strategy<Value = Seed> {
    // Some days have many clicks, others few.
    let day = prop_oneof![4 => Just(3_u32), 4 => 10..13_u32, 1 => 0..36_u32];
    ((1..3_i64, 1..4_i64, day, 0..86_400_u32), (1..4_u32, any::<bool>(), 0..9_u64, 0..4_usize))
        .prop_map(|((workspace, link, day, second), (n, is_human, visitor, name))| Seed {
            workspace,
            link: workspace * 10 + link,
            at_s: START_S + day * 86_400 + second,
            n,
            is_human,
            visitor,
            name,
        })
}

fn click(seed: &Seed) -> Click<'static> {
    Click {
        workspace: WorkspaceId::try_from(seed.workspace).unwrap(),
        link: LinkId::try_from(seed.link).unwrap(),
        domain: DomainId::try_from(3).unwrap(),
        at_s: seed.at_s,
        n: seed.n,
        kind: if seed.is_human { Kind::Human } else { Kind::Bot },
        via: Via::Link,
        variant: 0,
        status: 302,
        target_revision: 1,
        visitor: seed.visitor,
        privacy: Privacy::default(),
        channel: Channel::ALL[seed.name % Channel::ALL.len()],
        device: Device::Unknown,
        details: Details::of(&[
            (Detail::Country, NAMES[seed.name]),
            (Detail::Referrer, NAMES[(seed.name + usize::try_from(seed.link).unwrap()) % 4]),
        ]),
    }
}

async fn store(test: &Test, number: u32, seeds: &[Seed]) {
    let mut builder = BatchBuilder::new();
    seeds.iter().for_each(|seed| builder.push(&click(seed)));
    if builder.is_empty() {
        return;
    }
    let file = builder.finish(NOW, &[]);
    let token = Token::new(1, 1, number, file.rows, file.crc);
    let batch = Batch::from_bytes(&file.bytes).unwrap();
    test.store.store(&token, &batch, NOW).await.unwrap();
}

/// Makes blocks, at most so many.
async fn make(test: &Test, steps: usize) {
    let mut building = Building::default();
    for _ in 0..steps {
        if !test.store.block_step(&mut building, NOW).await.unwrap() {
            return;
        }
    }
}

const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"];

#[derive(Clone, Copy, Debug)]
struct Asked {
    workspace: i64,
    link: Option<i64>,
    from_s: u32,
    days: u32,
    zone: &'static str,
}

fn asked() -> impl Strategy<Value = Asked> {
    let link = prop::option::of(1..4_i64);
    ((1..3_i64, link, prop::sample::select(&ZONES[..])), (0..40_u32, 0..86_400_u32, 1..30_u32))
        .prop_map(|((workspace, link, zone), (day, second, days))| Asked {
            workspace,
            link: link.map(|link| workspace * 10 + link),
            from_s: START_S + day * 86_400 + second,
            days,
            zone,
        })
}

fn query(asked: &Asked) -> ReportQuery {
    let workspace = WorkspaceId::try_from(asked.workspace).unwrap();
    let scope = match asked.link {
        None => ReportScope::Workspace(workspace),
        Some(link) => ReportScope::Link(workspace, LinkId::try_from(link).unwrap()),
    };
    let time = |at_s: u32| Some(jiff::Timestamp::from_second(at_s.into()).unwrap().to_string());
    let params = ReportParams {
        from: time(asked.from_s),
        to: time(asked.from_s + asked.days * 86_400),
        tz: Some(asked.zone.into()),
        by: Some("link,country,channel,referrer,utm_term".into()),
        limit: Some(100),
        ..ReportParams::default()
    };
    check_report(&params, scope, &[], NOW).unwrap()
}

/// Clicks by value, which are the answer but for the order of what is alike.
fn clicks(report: &Report) -> BTreeMap<(&'static str, String), u64> {
    let values = report.top.iter().flat_map(|(dimension, values)| {
        values.iter().map(|value| ((dimension.as_str(), value.value.clone()), value.clicks))
    });
    values.collect()
}

/// What blocks say is what rows say; returns whether any was asked.
async fn check(test: &Test, asked: &Asked) -> bool {
    let of_rows = query(asked);
    let of_blocks = ReportQuery { top_visitors_max: 0, ..of_rows.clone() };
    let rows = test.store.report(&of_rows).await.unwrap();
    let blocks = test.store.report(&of_blocks).await.unwrap();
    assert_eq!(clicks(&rows), clicks(&blocks), "{asked:?}");
    assert_eq!(rows.period, blocks.period, "{asked:?}");
    for (_, values) in &blocks.top {
        assert!(values.is_sorted_by_key(|value| Reverse(value.clicks)), "{asked:?}");
    }
    let first = test.store.report(&ReportQuery { limit: 1, ..of_blocks }).await.unwrap();
    for ((dimension, values), (_, all)) in first.top.iter().zip(&rows.top) {
        let most = |values: &[TopValue]| values.first().map(|value| value.clicks);
        assert_eq!(most(values), most(all), "{asked:?} {dimension:?}");
        assert!(values.iter().all(|value| {
            all.iter().any(|of| of.value == value.value && of.clicks == value.clicks)
        }));
    }
    assert!(!rows.is_without_top_visitors);
    blocks.is_without_top_visitors
}

#[derive(Clone, Debug)]
enum Step {
    Store(Vec<Seed>),
    /// As many blocks, so that a stop is anywhere.
    Make(usize),
    Erase(i64, i64),
    /// The day before which rows go.
    Retain(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop::collection::vec(seed(), 1..80).prop_map(Step::Store),
        4 => prop_oneof![2 => Just(10_000_usize), 1 => 0..40_usize].prop_map(Step::Make),
        1 => (1..3_i64, 1..4_i64).prop_map(|(workspace, link)| Step::Erase(workspace, link)),
        1 => (0..14_u32).prop_map(Step::Retain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is stored, made, erased and deleted, in any order: both say the same.
    #[test]
    fn blocks_say_what_rows_say(
        steps in prop::collection::vec(step(), 2..9),
        questions in prop::collection::vec(asked(), 6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let test = Test::new().await;
            let mut kept_s = 0;
            for (number, step) in (0..).zip(&steps) {
                match step {
                    Step::Store(seeds) => {
                        // Of what is older, rows are there for a while and then not.
                        let mut seeds = seeds.clone();
                        seeds.retain(|seed| i64::from(seed.at_s) >= kept_s);
                        store(&test, number, &seeds).await;
                    }
                    Step::Make(steps) => make(&test, *steps).await,
                    Step::Erase(workspace, link) => {
                        let link = LinkId::try_from(workspace * 10 + link).unwrap();
                        let workspace = WorkspaceId::try_from(*workspace).unwrap();
                        test.store.erase_link(workspace, link, NOW).await.unwrap();
                    }
                    Step::Retain(day) => {
                        let since = i64::from(START_S + day * 86_400);
                        kept_s = since.max(kept_s);
                        let mut place = Some(0);
                        while let Some(at) = place {
                            place = test.store.retention_step(since, at).await.unwrap();
                        }
                    }
                }
                for asked in &questions {
                    check(&test, asked).await;
                }
            }
        });
    }

    #[test]
    fn a_body_is_read_as_it_was_written(
        values in prop::collection::btree_map(
            prop_oneof![0..300_u64, 0..(1_u64 << 40), Just(u64::MAX)], 1..(1_u64 << 50), 0..50,
        ),
    ) {
        let mut counts = Counts::default();
        values.iter().for_each(|(value, n)| counts.add(*value, *n));
        let (body, rest) = counts.body();
        prop_assert_eq!(rest.is_empty(), values.len() <= 2 * HEAD);
        let mut read = Counts::default();
        read.add_body(&body).unwrap();
        if !rest.is_empty() {
            read.add_body(&rest).unwrap();
        }
        let read: BTreeMap<u64, u64> = read.each().collect();
        prop_assert_eq!(read, values);
    }
}

type Blocks = Vec<BTreeMap<u64, u64>>;

/// Some values are first in each block, others in one, and many are alike.
fn blocks() -> impl Strategy<Value = Blocks> {
    let value = prop_oneof![Just((0, 500)), Just((1, 300)), Just((2, 290))].boxed();
    let any = (3..20_u64, prop_oneof![8 => 1..9_u64, 1 => 200..400_u64]).boxed();
    let block = prop::collection::vec(prop_oneof![value, any], 0..16);
    prop::collection::vec(block.prop_map(|values| values.into_iter().collect()), 0..6)
}

/// The first values by heads, and how they were found.
fn by_heads(
    blocks: &Blocks,
    rows: &BTreeMap<u64, u64>,
    limit: usize,
) -> (Vec<TopNumber>, &'static str) {
    let (mut heads, mut rests, mut whole) = (Heads::default(), Vec::new(), Counts::default());
    for (value, n) in rows {
        heads.add(*value, *n);
        whole.add(*value, *n);
    }
    for block in blocks {
        let mut counts = Counts::default();
        for (value, n) in block {
            counts.add(*value, *n);
            whole.add(*value, *n);
        }
        let (body, rest) = counts.body();
        heads.add_head(&body, !rest.is_empty()).unwrap();
        rests.extend(Some(rest).filter(|rest| !rest.is_empty()));
    }
    match heads.first(limit) {
        First::Known(list) => (list, "heads"),
        First::Among(mut among) => {
            let open = std::mem::take(&mut among.open);
            assert_eq!(open.len(), rests.len());
            let open = rests.iter().zip(open).filter(|(_, is_open)| *is_open);
            open.for_each(|(rest, _)| among.add_rest(rest).unwrap());
            (among.first(limit), "rests")
        }
        First::Unknown => (whole.first(limit), "all"),
    }
}

proptest! {
    #[test]
    fn the_first_by_heads_are_the_first_of_all(
        blocks in blocks(),
        rows in prop::collection::btree_map(0..20_u64, 1..50_u64, 0..4),
        limit in 0..6_usize,
    ) {
        let mut all = Counts::default();
        let values = blocks.iter().chain([&rows]).flatten();
        values.for_each(|(value, n)| all.add(*value, *n));
        let (first, how) = by_heads(&blocks, &rows, limit);
        prop_assert_eq!(first, all.first(limit), "{}", how);
    }
}

#[test]
fn rests_are_read_where_heads_leave_a_doubt() {
    let block = |values: [u64; 6]| (0..).zip(values).collect::<BTreeMap<u64, u64>>();
    let how = |blocks: &Blocks, limit| by_heads(blocks, &BTreeMap::new(), limit).1;
    let steady = vec![block([5000, 300, 5, 4, 3, 2]); 3];
    assert_eq!(how(&steady, 1), "heads");
    let mut bursty = steady;
    bursty.push(block([10, 9, 4800, 4, 3, 2]));
    assert_eq!(how(&bursty, 1), "heads");
    bursty.push(block([10, 9, 8, 20_000, 3, 2]));
    assert_eq!(how(&bursty, 1), "rests");
    let flat = vec![block([3, 3, 2, 2, 2, 2]); 3];
    assert_eq!(how(&flat, 2), "all");
}

fn full_day() -> Vec<Seed> {
    let seed = |n: u32| Seed {
        workspace: 1,
        link: 11 + i64::from(n % 2),
        at_s: START_S + 9 * 86_400 + n * 60,
        n: 1,
        is_human: !n.is_multiple_of(7),
        visitor: u64::from(n) + 1,
        name: n as usize % 4,
    };
    (0..1440).map(seed).collect()
}

fn day_in(zone: &'static str, link: Option<i64>) -> Asked {
    Asked { workspace: 1, link, from_s: START_S + 8 * 86_400 - 19_800, days: 3, zone }
}

#[tokio::test]
async fn a_day_gets_blocks_of_each_length_once() {
    let test = Test::new().await;
    store(&test, 1, &full_day()).await;
    assert!(check(&test, &day_in("UTC", None)).await, "from rows");
    for _ in 0..2 {
        make(&test, 10_000).await;
        for (level, blocks) in [(1, 96), (8, 12), (96, 1), (768, 1)] {
            let found: i64 = sqlx::query_scalar(
                "select count(distinct block) from workspace_block where level = ?",
            )
            .bind(level)
            .fetch_one(&test.store.file.read)
            .await
            .unwrap();
            assert_eq!(found, blocks, "{level}");
        }
    }
    assert_eq!(test.sum("select count(*) from link_block where dimension = 0").await, 4);
    for zone in ZONES {
        for link in [None, Some(11)] {
            assert!(check(&test, &day_in(zone, link)).await);
        }
    }
    // That it is blocks that were asked: they say what is in them, right or wrong.
    sqlx::query("update workspace_block set body = x'01'")
        .execute(&test.store.file.write)
        .await
        .unwrap();
    let of_blocks = ReportQuery { top_visitors_max: 0, ..query(&day_in("UTC", None)) };
    assert!(clicks(&test.store.report(&of_blocks).await.unwrap()).is_empty());
}

/// More links than a block may have: it is left out, and nobody tries it for ever.
#[tokio::test]
async fn a_day_of_too_many_values_has_no_block_and_is_answered_from_shorter_ones() {
    let test = Test::new().await;
    let mut seeds = full_day();
    for (n, seed) in (0..).zip(&mut seeds) {
        seed.link = (1 << 40) + n / 10;
    }
    store(&test, 1, &seeds).await;
    let mut building = Building::default();
    let mut steps = 0;
    while test.store.block_step(&mut building, NOW).await.unwrap() {
        steps += 1;
        assert!(steps < 200, "a block is tried again and again");
    }
    let levels = "select sum(level) from (select distinct level from workspace_block)";
    assert_eq!(test.sum(levels).await, 1 + 8);
    assert!(check(&test, &day_in("UTC", None)).await);
    assert!(!test.store.block_step(&mut building, NOW).await.unwrap());
}

#[tokio::test]
async fn what_changes_while_a_block_is_made_keeps_it_from_being_stored() {
    let test = Test::new().await;
    store(&test, 1, &full_day()).await;
    let mut building = Building::default();
    assert!(test.store.block_step(&mut building, NOW).await.unwrap());
    let blocks = "select count(*) from workspace_block where dimension = 0";
    assert_eq!(test.sum(blocks).await, 1);
    let missing = building.queue.pop().unwrap();
    let scope = ReportScope::Workspace(missing.workspace);
    let made = test.store.counted(scope, missing).await.unwrap().unwrap();
    store(&test, 2, &full_day()[..1]).await;
    assert!(!test.store.block_store(scope, missing, &made).await.unwrap());
    assert_eq!(test.sum(blocks).await, 0);
    check(&test, &day_in("UTC", None)).await;
}

/// More visitors than a sketch keeps one by one.
#[tokio::test]
async fn visitors_of_hours_and_days_are_those_of_their_quarter_hours() {
    let test = Test::new().await;
    let any = full_day()[1];
    let seed = |n: u32| Seed {
        at_s: START_S + 9 * 86_400 + 10 * 3600 + n % 7200,
        visitor: u64::from(n) + 1,
        ..any
    };
    store(&test, 1, &(0..17_000).map(seed).collect::<Vec<_>>()).await;
    store(&test, 2, &full_day()).await;
    let asked = ZONES.map(|zone| day_in(zone, None));
    let mut before = Vec::new();
    for asked in &asked {
        before.push(test.store.report(&query(asked)).await.unwrap().period);
    }
    make(&test, 10_000).await;
    assert!(test.sum("select count(*) from workspace_block where dimension = 100").await > 1);
    for (asked, before) in asked.iter().zip(before) {
        assert!(before.visitors > 16_384);
        assert_eq!(test.store.report(&query(asked)).await.unwrap().period, before);
    }
}
