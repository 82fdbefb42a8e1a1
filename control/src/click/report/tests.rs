//! The question's contract: what a store answers equals a count by hand, for any question.

use std::collections::{BTreeMap, HashSet};

use carom_shared::batch::{Batch, BatchBuilder, Token};
use carom_shared::click::{Details, Privacy};
use carom_shared::{Click, DomainId};
use proptest::prelude::*;

use super::filter::Test;
use super::params::{ReportParams, check_report};
use super::time::Span;
use super::time::tests::{ZONES, label};
use super::*;
use crate::click::sqlite::kept_since;
use crate::click::testing::TestStore;

const WORKSPACE: i64 = 1;
/// Half a day before Europe's clocks go forward in 2026.
const START_S: u32 = 1_774_698_000;
const REFERRERS: [&str; 5] = ["", "news.example", "NEWS.example", "a%;,b", "=cmd()"];
const COUNTRIES: [&str; 3] = ["", "DE", "IN"];

/// Times gather around changes of clocks: Berlin and Cairo (spring), Lord Howe (autumn), New York
/// (autumn), and an ordinary time.
const MOMENTS: [u32; 5] = [START_S, 1_777_000_000, 1_775_314_800, 1_793_500_000, 1_767_225_600];

#[derive(Clone, Copy, Debug)]
struct Seed {
    link: i64,
    at_s: u32,
    n: u32,
    kind: Kind,
    visitor: u64,
    referrer: &'static str,
    country: &'static str,
    device: Device,
    status: u16,
    domain: i64,
}

impl Seed {
    fn click(&self) -> Click<'static> {
        Click {
            workspace: WorkspaceId::try_from(if self.link == 9 { 2 } else { WORKSPACE }).unwrap(),
            link: LinkId::try_from(self.link).unwrap(),
            domain: DomainId::try_from(self.domain).unwrap(),
            at_s: self.at_s,
            n: self.n,
            kind: self.kind,
            via: Via::Link,
            variant: 0,
            status: self.status,
            target_revision: u32::MAX,
            visitor: self.visitor,
            privacy: Privacy::default(),
            channel: Channel::Direct,
            device: self.device,
            details: Details::of(&[
                (Detail::Referrer, self.referrer),
                (Detail::Country, self.country),
                // Rows in which names come in another order than in the dictionary.
                (Detail::UtmContent, self.country),
            ]),
        }
    }

    fn value(&self, dimension: Dimension) -> String {
        let click = self.click();
        match dimension {
            Dimension::Detail(detail) => click.details.get(detail).to_owned(),
            Dimension::Channel => click.channel.as_str().to_owned(),
            Dimension::Device => click.device.as_str().to_owned(),
            Dimension::Kind => click.kind.as_str().to_owned(),
            Dimension::Via => click.via.as_str().to_owned(),
            Dimension::Status => click.status.to_string(),
            Dimension::Variant => click.variant.to_string(),
            Dimension::TargetRevision => click.target_revision.to_string(),
            Dimension::Domain => click.domain.to_string(),
            Dimension::Link => click.link.to_string(),
        }
    }
}

fn seed() -> impl Strategy<Value = Seed> {
    (
        (prop::sample::select(vec![1_i64, 2, 9]), prop::sample::select(&MOMENTS[..])),
        (0_u32..90_000, 1_u32..3, prop::sample::select(Kind::ALL), 0_u64..12),
        (prop::sample::select(&REFERRERS[..]), prop::sample::select(&COUNTRIES[..])),
        (prop::sample::select(Device::ALL), prop::sample::select(vec![302_u16, 404]), 1_i64..3),
    )
        .prop_map(|((link, moment), (after, n, kind, visitor), (referrer, country), rest)| {
            let (device, status, domain) = rest;
            let at_s = moment + after;
            Seed { link, at_s, n, kind, visitor, referrer, country, device, status, domain }
        })
}

const FILTERS: [Option<&str>; 12] = [
    None,
    None,
    Some("country==DE"),
    Some("country!=DE,"),
    Some("referrer=@News"),
    Some("referrer!@news;device==mobile,desktop"),
    Some("referrer==a%25%3B%2Cb,=cmd()"),
    Some("status==404;kind!=bot"),
    Some("domain=@own;link!=2"),
    Some("country==XX"),
    Some("link==1"),
    Some("link==2,9,77;country==DE"),
];
const BYS: [Option<&str>; 4] = [
    None,
    Some("country"),
    Some("referrer,kind,device,status,utm_content"),
    Some("link,domain,target_revision,via,channel,variant,browser,country"),
];
const INTERVALS: [Interval; 6] = [
    Interval::Minute,
    Interval::Hour,
    Interval::Day,
    Interval::Week,
    Interval::Month,
    Interval::Year,
];

fn params() -> impl Strategy<Value = ReportParams> {
    (
        prop::sample::select(&ZONES[..]),
        prop::sample::select(&INTERVALS[..]),
        prop::sample::select(&MOMENTS[..]),
        (-90_000_i64..90_000, 1_i64..200_000, any::<bool>()),
        prop::sample::select(&FILTERS[..]),
        prop::sample::select(&BYS[..]),
        any::<bool>(),
    )
        .prop_map(
            |(zone, interval, moment, (start, length, is_round), filter, by, compare)| {
                let length =
                    if interval == Interval::Minute { length % 50_000 + 1 } else { length };
                let grain = if is_round { 900 } else { 1 };
                let from = (i64::from(moment) + start) / grain * grain;
                let to = from + (length / grain + 1) * grain;
                let time = |at_s| Some(jiff::Timestamp::from_second(at_s).unwrap().to_string());
                ReportParams {
                    from: time(from),
                    to: time(to),
                    tz: Some(zone.to_owned()),
                    interval: Some(interval),
                    by: by.map(Into::into),
                    filter: filter.map(Into::into),
                    limit: Some(100),
                    compare: compare.then_some(time::Compare::Previous),
                    ..ReportParams::default()
                }
            },
        )
}

fn fits(filter: &Filter, seed: &Seed) -> bool {
    let is_one = match &filter.test {
        Test::Is(detail, values) => values.contains(&seed.value(Dimension::Detail(*detail))),
        Test::Contains(detail, values) => {
            let value = seed.value(Dimension::Detail(*detail)).to_lowercase();
            values.iter().any(|part| value.contains(part.as_str()))
        }
        Test::Number(dimension, numbers) => {
            let value = seed.value(*dimension);
            let words = dimension.words().unwrap_or_default();
            let word = words.iter().find(|(_, word)| *word == value).map(|(number, _)| *number);
            numbers.contains(&word.unwrap_or_else(|| value.parse().unwrap()))
        }
    };
    is_one != filter.is_negated
}

/// Counts by hand: no bucket boundary is used, only what a calendar calls each second.
fn naive(query: &ReportQuery, buckets: &Buckets, seeds: &[Seed]) -> PeriodReport {
    let mut report = PeriodReport::default();
    let Span { from_s, to_s } = buckets.span;
    let is_meant = |seed: &&Seed| {
        let is_ours = match query.scope {
            ReportScope::All => true,
            ReportScope::Workspace(_) => seed.link != 9,
            ReportScope::Link(_, link) => seed.link == link.get(),
        };
        is_ours
            && (from_s..to_s).contains(&seed.at_s)
            && query.filters.iter().all(|filter| fits(filter, seed))
    };
    let mut points: BTreeMap<String, (Point, HashSet<u64>)> = BTreeMap::new();
    let mut visitors = HashSet::new();
    for seed in seeds.iter().filter(is_meant) {
        report.totals.add(seed.kind, seed.n.into());
        let label = label(&query.zone, query.interval, seed.at_s);
        let (point, of_point) = points.entry(label).or_default();
        match seed.kind {
            Kind::Human => {
                point.clicks += u64::from(seed.n);
                of_point.insert(seed.visitor);
                visitors.insert(seed.visitor);
            }
            Kind::Bot => point.bots += u64::from(seed.n),
            _ => {}
        }
    }
    let known = |visitors: &HashSet<u64>| visitors.iter().filter(|visitor| **visitor != 0).count();
    report.visitors = known(&visitors) as u64;
    let point = |start: &u32| {
        let label = label(&query.zone, query.interval, *start);
        let (point, visitors) = points.get(&label).cloned().unwrap_or_default();
        Point { visitors: known(&visitors) as u64, ..point }
    };
    report.series = buckets.starts.iter().map(point).collect();
    report
}

fn naive_top(query: &ReportQuery, dimension: Dimension, seeds: &[Seed]) -> Vec<TopValue> {
    let is_kind = dimension == Dimension::Kind;
    let mut values: BTreeMap<String, Vec<Seed>> = BTreeMap::new();
    for seed in seeds.iter().filter(|seed| query.filters.iter().all(|filter| fits(filter, seed))) {
        if seed.kind == Kind::Human || is_kind {
            // A breakdown by kind counts each of them as others count people.
            let seed_of_people = Seed { kind: Kind::Human, ..*seed };
            values.entry(seed.value(dimension)).or_default().push(seed_of_people);
        }
    }
    let unfiltered = ReportQuery { filters: Vec::new(), ..query.clone() };
    let count = |(value, seeds): (String, Vec<Seed>)| {
        let counted = naive(&unfiltered, &query.period, &seeds);
        TopValue { value, clicks: counted.totals.clicks, visitors: counted.visitors }
    };
    let mut top: Vec<TopValue> = values.into_iter().map(count).collect();
    top.retain(|value| value.clicks > 0);
    top.sort_by(|a, b| (b.clicks, b.visitors, &a.value).cmp(&(a.clicks, a.visitors, &b.value)));
    top
}

/// The seeds in each kind of store there is.
async fn stores(seeds: &[Seed]) -> Vec<TestStore> {
    let stores = TestStore::each().await;
    for test in &stores {
        // In two batches, so that sketches are merged.
        let (first, second) = seeds.split_at(seeds.len() / 2);
        for (number, seeds) in (0..).zip([first, second]) {
            let mut builder = BatchBuilder::new();
            seeds.iter().for_each(|seed| builder.push(&seed.click()));
            let now = UnixMillis::new(i64::from(START_S) * 1000);
            let file = builder.finish(now, &[]);
            let token = Token::new(1, 1, number, file.rows, file.crc);
            let batch = Batch::from_bytes(&file.bytes).unwrap();
            test.store.store(&token, &batch, now).await.unwrap();
        }
    }
    stores
}

fn domains() -> Vec<(i64, String)> {
    vec![(1, "go.example".to_owned()), (2, "own.example".to_owned())]
}

fn scopes() -> [ReportScope; 3] {
    let workspace = WorkspaceId::try_from(WORKSPACE).unwrap();
    let link = LinkId::try_from(1).unwrap();
    [ReportScope::All, ReportScope::Workspace(workspace), ReportScope::Link(workspace, link)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(feature = "clickhouse-tests") { 6 } else { 24 }))]

    #[test]
    fn answers_equal_a_count_by_hand(
        seeds in prop::collection::vec(seed(), 0..400),
        questions in prop::collection::vec(params(), 12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for test in stores(&seeds).await {
                for params in &questions {
                    for scope in scopes() {
                        check_answer(&test, params, scope, &seeds).await;
                    }
                }
                test.remove().await;
            }
        });
    }
}

async fn check_answer(test: &TestStore, params: &ReportParams, scope: ReportScope, seeds: &[Seed]) {
    let now = UnixMillis::new(i64::from(START_S) * 1000);
    let query = check_report(params, scope, &domains(), now).unwrap();
    let report = test.store.report(&query).await.unwrap();
    let asked = format!("{} {query:?}", test.kind);
    assert_eq!(report.period, naive(&query, &query.period, seeds), "{asked}");
    let bare = ReportQuery { with_visitors: false, by: Vec::new(), ..query.clone() };
    let bare = test.store.report(&bare).await.unwrap().period;
    let clicks = |period: &PeriodReport| -> Vec<_> {
        period.series.iter().map(|point| (point.clicks, point.bots)).collect()
    };
    assert_eq!(
        (bare.totals, clicks(&bare)),
        (report.period.totals, clicks(&report.period)),
        "{asked}"
    );
    let compared = query.compare.as_ref();
    let compared = compared.map(|buckets| naive(&query, buckets, seeds));
    assert_eq!(report.compare, compared, "{asked}");
    assert_eq!(report.top.len(), query.by.len());
    for (dimension, top) in report.top {
        let expected = naive_top(&query, dimension, seeds);
        assert_eq!(top, expected, "{dimension:?} {asked}");
    }
    let quarter = |at_s: u32| UnixMillis::new(i64::from(at_s) / 900 * 900 * 1000);
    let ours = |seed: &&Seed| match scope {
        ReportScope::All => true,
        ReportScope::Workspace(_) => seed.link != 9,
        ReportScope::Link(..) => seed.link == 1,
    };
    let people = seeds.iter().filter(|seed| seed.kind == Kind::Human).filter(ours);
    let last = people.map(|seed| i64::from(seed.at_s) * 1000).max();
    assert_eq!(report.last_click_at.map(UnixMillis::get), last, "{asked}");
    let first = seeds.iter().filter(ours).map(|seed| quarter(seed.at_s)).min();
    assert_eq!(test.store.first_click(scope).await.unwrap(), first, "{asked}");
}

/// Rows are gone: totals and series stay, whole quarter hours of them.
#[tokio::test]
async fn without_rows_the_rollup_answers() {
    let seed = Seed {
        link: 1,
        at_s: START_S,
        n: 1,
        kind: Kind::Human,
        visitor: 7,
        referrer: "",
        country: "DE",
        device: Device::Mobile,
        status: 302,
        domain: 1,
    };
    let now = UnixMillis::new((i64::from(START_S) + 40 * 86_400) * 1000);
    let ask = |from: u32| {
        let from = jiff::Timestamp::from_second(from.into()).unwrap().to_string();
        let params =
            ReportParams { from: Some(from), by: Some("country".into()), ..Default::default() };
        check_report(&params, scopes()[2], &domains(), now).unwrap()
    };
    for test in stores(&[seed, Seed { at_s: START_S + 10, visitor: 8, ..seed }]).await {
        let whole = test.store.report(&ask(START_S + 5)).await.unwrap();
        assert_eq!((whole.period.totals.clicks, whole.period.visitors), (1, 1));
        assert_eq!((whole.detail_since, whole.top[0].1.len()), (None, 1));

        let since = kept_since(30, now);
        let mut place = Some(0);
        while let Some(at) = place {
            place = test.store.retention_step(since, at).await.unwrap();
        }
        let rest = test.store.report(&ask(START_S + 5)).await.unwrap();
        assert_eq!((rest.period.totals.clicks, rest.period.visitors), (2, 2));
        assert_eq!(rest.period.series.iter().map(|point| point.clicks).sum::<u64>(), 2);
        assert_eq!(rest.detail_since, Some(UnixMillis::new(since * 1000)));
        assert_eq!(rest.top, [(Dimension::Detail(Detail::Country), Vec::new())]);
        test.remove().await;
    }
}
