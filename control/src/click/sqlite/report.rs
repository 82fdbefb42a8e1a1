//! Answers reports, each within one read transaction: totals and series agree with each other.
//!
//! Without filters, and with buckets that begin on quarter hours, totals and series come from the
//! rollup; the parts of a quarter hour at a range's ends come from rows. Breakdowns, filters and
//! minutes come from one pass over the rows. A link's rows of a time lie side by side. Breakdowns of
//! many clicks of which nobody asks for visitors come from [`blocks`](super::block).
//!
//! SQLite packs what is read into texts ([`rows`](super::rows)).

use std::collections::HashMap;

use carom_shared::click::Kind;
use carom_shared::{UnixMillis, WorkspaceId};
use sqlx::{AssertSqlSafe, Sqlite, Transaction};

use super::ClickStore;
use super::block::{add_merged, block_lists, has_blocks_for};
use super::insert::placeholders;
use super::part::parts_of_span;
use super::rows::{Numbers, Statement, select_clicks, slices};
use crate::click::report::filter::Filter;
use crate::click::report::tally::{RollupTally, Row, Tally, TooManyValues, TopNumber};
use crate::click::report::time::{Buckets, Span};
use crate::click::report::{
    Dimension, PeriodReport, QUARTER_S, Report, ReportQuery, ReportScope, TopValue,
};
use crate::db::StoreError;

/// Clicks that an answer looks through one by one, at most: some seconds, of
/// the ten that a request has.
const ROWS_MAX: u64 = 2_000_000;
/// Clicks that are added up before others have a turn: some milliseconds.
const ROWS_AT_ONCE: usize = 1 << 13;
/// Quarter hours of the rollup that are read at once: 4 MB of text, if all have a large sketch.
const QUARTERS_AT_ONCE: u32 = 7 * 96;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    TooManyValues(#[from] TooManyValues),
    #[error(
        "this range has {0} clicks, and filters, breakdowns and minutes look through at most \
         {ROWS_MAX} of them; choose a shorter range"
    )]
    TooManyClicks(u64),
    #[error("this question looks through too many clicks; choose a shorter range")]
    TooLong,
}

impl From<sqlx::Error> for ReportError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A link's rows of the rollup, part by part; bound are the first quarter hour and the one behind the
/// last, twice, workspace and link.
macro_rules! of_link_in_span {
    () => {
        concat!(
            "from part p cross join click_quarter r where ",
            parts_of_span!(),
            " and r.part = p.first_quarter and r.quarter >= ? and r.quarter < ? \
             and r.workspace = ? and r.link = ?"
        )
    };
}

/// Of all, of a workspace, of a link: the quarter hours of a range, each with what stands for its
/// visitors, which is most of what there is to read.
macro_rules! quarter_statements {
    ($visitors:literal, $of_link:literal) => {
        [
            concat!(
                "select group_concat(concat_ws(' ', quarter, kind, n, ",
                $visitors,
                "), ' ') from workspace_quarter where quarter >= ? and quarter < ?"
            ),
            concat!(
                "select group_concat(concat_ws(' ', quarter, kind, n, ",
                $visitors,
                "), ' ') from workspace_quarter where quarter >= ? and quarter < ? \
                 and workspace = ?"
            ),
            concat!(
                "select group_concat(concat_ws(' ', r.quarter, r.kind, r.n, ",
                $of_link,
                "), ' ') ",
                of_link_in_span!()
            ),
        ]
    };
}

type Read<'t> = &'t mut Transaction<'static, Sqlite>;

impl ClickStore {
    /// Answers a question.
    pub(crate) async fn report(&self, query: &ReportQuery) -> Result<Report, ReportError> {
        let mut tx = self.file.read.begin().await?;
        let detail_since = detail_since(&mut tx).await?;
        let mut report = Report {
            last_click_at: last_click(&mut tx, query.scope).await?,
            detail_since: detail_since.map(|s| UnixMillis::new(i64::from(s) * 1000)),
            ..Report::default()
        };
        let is_detailed = !query.by.is_empty();
        if is_detailed || !query.fits_rollup(&query.period) {
            let top = match lists(&mut tx, query, detail_since).await? {
                Some(lists) => {
                    report.is_without_top_visitors = true;
                    lists
                }
                None => {
                    let tallied = tally(&mut tx, query, &query.period, &query.by).await?;
                    report.period = tallied.0;
                    tallied.1
                }
            };
            for (dimension, values) in top {
                report.top.push((dimension, named(&mut tx, dimension, values).await?));
            }
        }
        if query.fits_rollup(&query.period) {
            report.period = rollup(&mut tx, query, &query.period, detail_since).await?;
        }
        if let Some(buckets) = &query.compare {
            report.compare = Some(if query.fits_rollup(buckets) {
                rollup(&mut tx, query, buckets, detail_since).await?
            } else {
                tally(&mut tx, query, buckets, &[]).await?.0
            });
        }
        tx.rollback().await?;
        Ok(report)
    }
}

async fn detail_since(tx: Read<'_>) -> Result<Option<u32>, StoreError> {
    const SINCE: &str = "select detail_since_s from retention";
    let since: Option<i64> = sqlx::query_scalar(SINCE).fetch_optional(&mut **tx).await?;
    Ok(since.and_then(|since| u32::try_from(since).ok()))
}

async fn last_click(tx: Read<'_>, scope: ReportScope) -> Result<Option<UnixMillis>, StoreError> {
    const ALL: &str = "select max(last_at_s) from workspace_quarter where kind = 0";
    const WORKSPACE: &str = "select last_at_s from workspace_quarter \
         where workspace = ? and kind = 0 order by quarter desc limit 1";
    const LINK: &str = "select last_at_s from click_link \
         where workspace = ? and link = ? and last_at_s > 0";
    let query = match scope {
        ReportScope::All => sqlx::query_scalar(ALL),
        ReportScope::Workspace(workspace) => sqlx::query_scalar(WORKSPACE).bind(workspace.get()),
        ReportScope::Link(workspace, link) => {
            sqlx::query_scalar(LINK).bind(workspace.get()).bind(link.get())
        }
    };
    let last: Option<Option<i64>> = query.fetch_optional(&mut **tx).await?;
    Ok(last.flatten().map(|last| UnixMillis::new(last * 1000)))
}

/// Breakdowns alone, without visitors, where the range has more clicks than they are asked for;
/// `None` where rows have to be looked at.
async fn lists(
    tx: Read<'_>,
    query: &ReportQuery,
    detail_since: Option<u32>,
) -> Result<Option<Vec<(Dimension, Vec<TopNumber>)>>, ReportError> {
    let ReportQuery { scope, by, period, .. } = query;
    if query.top_visitors_max == u64::MAX
        || !query.fits_rollup(period)
        || !has_blocks_for(*scope, by)
    {
        return Ok(None);
    }
    if clicks_in(tx, *scope, period.span).await? <= query.top_visitors_max {
        return Ok(None);
    }
    // Blocks from before may be there still.
    let from_s = period.span.from_s.max(detail_since.unwrap_or_default());
    let span = Span { from_s, ..period.span };
    if span.from_s >= span.to_s {
        return Ok(Some(by.iter().map(|dimension| (*dimension, Vec::new())).collect()));
    }
    Ok(Some(block_lists(tx, *scope, span, by, query.limit).await?))
}

/// The clicks of each quarter hour that these spans touch, sorted: not more than may be looked through.
pub(super) async fn counts_of(
    tx: Read<'_>,
    scope: ReportScope,
    spans: &[Span],
) -> Result<Vec<(u32, u64)>, ReportError> {
    let mut counts = Vec::new();
    if let Some((first, last)) = spans.first().zip(spans.last()) {
        let span = Span { from_s: first.from_s, to_s: last.to_s };
        counts = quarter_counts(tx, scope, span).await?;
    }
    counts.retain(|(quarter, _)| {
        let at_s = quarter.saturating_mul(QUARTER_S);
        let after = spans.partition_point(|span| span.to_s <= at_s);
        spans.get(after).is_some_and(|span| span.from_s < at_s.saturating_add(QUARTER_S))
    });
    let clicks = counts.iter().map(|(_, n)| n).sum();
    if clicks > ROWS_MAX {
        return Err(ReportError::TooManyClicks(clicks));
    }
    Ok(counts)
}

/// From the rows.
async fn tally(
    tx: Read<'_>,
    query: &ReportQuery,
    buckets: &Buckets,
    by: &[Dimension],
) -> Result<(PeriodReport, Vec<(Dimension, Vec<TopNumber>)>), ReportError> {
    let counts = match query.links() {
        Some((workspace, links)) => link_counts(tx, workspace, links, buckets.span).await?,
        None => quarter_counts(tx, query.scope, buckets.span).await?,
    };
    let clicks = counts.iter().map(|(_, n)| n).sum();
    if clicks > ROWS_MAX {
        return Err(ReportError::TooManyClicks(clicks));
    }
    let mut tally = Tally::new(buckets, by, !query.fits_rollup(buckets));
    for slice in slices(query.scope, buckets.span, &counts) {
        each_row(tx, query.scope, &[slice], &query.filters, by, |row, values| {
            tally.add(row, values)
        })
        .await?;
    }
    Ok(tally.finish(query.limit))
}

/// The clicks of each quarter hour that a span touches, sorted: no fewer than rows.
async fn quarter_counts(
    tx: Read<'_>,
    scope: ReportScope,
    span: Span,
) -> Result<Vec<(u32, u64)>, StoreError> {
    const ALL: &str = "select group_concat(concat_ws(' ', quarter, n), ' ') \
         from workspace_quarter where quarter >= ? and quarter < ?";
    const WORKSPACE: &str = "select group_concat(concat_ws(' ', quarter, n), ' ') \
         from workspace_quarter where quarter >= ? and quarter < ? and workspace = ?";
    const LINK: &str =
        concat!("select group_concat(concat_ws(' ', r.quarter, r.n), ' ') ", of_link_in_span!());
    let quarters = span.from_s / QUARTER_S..span.to_s.div_ceil(QUARTER_S);
    counted(&quarters_text(tx, scope, [ALL, WORKSPACE, LINK], quarters).await?.unwrap_or_default())
}

/// The clicks of the quarter hours that a span touches.
async fn clicks_in(tx: Read<'_>, scope: ReportScope, span: Span) -> Result<u64, StoreError> {
    const ALL: &str = "select cast(sum(n) as text) from workspace_quarter \
         where quarter >= ? and quarter < ?";
    const WORKSPACE: &str = "select cast(sum(n) as text) from workspace_quarter \
         where quarter >= ? and quarter < ? and workspace = ?";
    const LINK: &str = concat!("select cast(sum(r.n) as text) ", of_link_in_span!());
    let quarters = span.from_s / QUARTER_S..span.to_s.div_ceil(QUARTER_S);
    let sum = quarters_text(tx, scope, [ALL, WORKSPACE, LINK], quarters).await?;
    sum.map_or(Ok(0), |sum| sum.parse().map_err(|_| StoreError::Corrupt("click rollup")))
}

/// The clicks of each quarter hour that a span touches, of these links of a workspace alone.
async fn link_counts(
    tx: Read<'_>,
    workspace: WorkspaceId,
    links: &[i64],
    span: Span,
) -> Result<Vec<(u32, u64)>, StoreError> {
    const COUNT: &str = concat!(
        "select group_concat(concat_ws(' ', r.quarter, r.n), ' ') \
         from part p cross join click_quarter r where ",
        parts_of_span!(),
        " and r.part = p.first_quarter and r.quarter >= ? and r.quarter < ? \
         and r.workspace = ? and r.link in ("
    );
    let sql = format!("{COUNT}{})", placeholders(links.len()));
    let (start, end) =
        (i64::from(span.from_s / QUARTER_S), i64::from(span.to_s.div_ceil(QUARTER_S)));
    let mut query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(start).bind(end);
    query = query.bind(start).bind(end).bind(workspace.get());
    for link in links {
        query = query.bind(*link);
    }
    // Not kept: there would be a statement per number of links.
    let text: Option<String> = query.persistent(false).fetch_one(&mut **tx).await?;
    counted(&text.unwrap_or_default())
}

/// Reads pairs of a quarter hour and its clicks; each quarter hour once, sorted.
fn counted(text: &str) -> Result<Vec<(u32, u64)>, StoreError> {
    let mut numbers = Numbers::new(text);
    let mut counts: Vec<(u32, u64)> = Vec::new();
    while let Some(quarter) = numbers.number() {
        counts.push((quarter, numbers.number().ok_or(StoreError::Corrupt("click rollup"))?));
    }
    counts.sort_unstable();
    counts.dedup_by(|next, last| {
        let is_same = next.0 == last.0;
        if is_same {
            last.1 += next.1;
        }
        is_same
    });
    Ok(counts)
}

/// What a statement about quarter hours, of which there is one for each scope, says of a range.
async fn quarters_text(
    tx: Read<'_>,
    scope: ReportScope,
    [all, workspace, link]: [&'static str; 3],
    quarters: std::ops::Range<u32>,
) -> Result<Option<String>, StoreError> {
    let query = match scope {
        ReportScope::All => sqlx::query_scalar(all),
        ReportScope::Workspace(_) => sqlx::query_scalar(workspace),
        ReportScope::Link(..) => sqlx::query_scalar(link),
    };
    let (start, end) = (i64::from(quarters.start), i64::from(quarters.end));
    let query = query.bind(start).bind(end);
    let query = match scope {
        ReportScope::All => query,
        ReportScope::Workspace(workspace) => query.bind(workspace.get()),
        ReportScope::Link(workspace, link) => {
            query.bind(start).bind(end).bind(workspace.get()).bind(link.get())
        }
    };
    Ok(query.fetch_one(&mut **tx).await?)
}

/// Hands over each row of spans, which are in order.
pub(super) async fn each_row(
    tx: Read<'_>,
    scope: ReportScope,
    spans: &[Span],
    filters: &[Filter],
    by: &[Dimension],
    mut add: impl FnMut(Row, &[i64]) -> Result<(), TooManyValues> + Send,
) -> Result<(), ReportError> {
    let Statement { sql, arguments } = select_clicks(scope, spans, filters, by)?;
    let query = sqlx::query_scalar_with(AssertSqlSafe(sql), arguments);
    let text: Option<String> = query.fetch_one(&mut **tx).await?;
    let Some(text) = text else { return Ok(()) };
    let mut numbers = Numbers::new(&text);
    let mut values = vec![0; by.len()];
    let mut added = 0;
    while let Some(at_s) = numbers.number() {
        let row = numbers.click(at_s, &mut values).ok_or(StoreError::Corrupt("click"))?;
        add(row, &values)?;
        added += 1;
        if added % ROWS_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// From the rollup, with rows for the parts of quarter hours at the ends. Where rows were deleted
/// already, the first quarter hour counts whole.
async fn rollup(
    tx: Read<'_>,
    query: &ReportQuery,
    buckets: &Buckets,
    detail_since: Option<u32>,
) -> Result<PeriodReport, ReportError> {
    let (scope, with_visitors) = (query.scope, query.with_visitors);
    let Span { from_s, to_s } = buckets.span;
    let has_rows = detail_since.is_none_or(|since| since <= from_s);
    let whole_from = if has_rows { from_s.div_ceil(QUARTER_S) } else { from_s / QUARTER_S };
    let whole_to = to_s / QUARTER_S;
    let mut tally = RollupTally::new(buckets);
    if whole_from >= whole_to {
        add_rows(tx, scope, buckets.span, &mut tally).await?;
        return Ok(tally.finish());
    }
    let head = Span { from_s, to_s: whole_from * QUARTER_S };
    add_rows(tx, scope, head, &mut tally).await?;
    add_quarters(tx, scope, buckets, whole_from..whole_to, with_visitors, &mut tally).await?;
    let tail = Span { from_s: whole_to * QUARTER_S, to_s };
    add_rows(tx, scope, tail, &mut tally).await?;
    Ok(tally.finish())
}

async fn add_rows(
    tx: Read<'_>,
    scope: ReportScope,
    span: Span,
    tally: &mut RollupTally<'_>,
) -> Result<(), ReportError> {
    if span.from_s >= span.to_s {
        return Ok(());
    }
    let counts = quarter_counts(tx, scope, span).await?;
    for slice in slices(scope, span, &counts) {
        each_row(tx, scope, &[slice], &[], &[], |row, _| {
            tally.add(row);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn add_quarters(
    tx: Read<'_>,
    scope: ReportScope,
    buckets: &Buckets,
    quarters: std::ops::Range<u32>,
    with_visitors: bool,
    tally: &mut RollupTally<'_>,
) -> Result<(), StoreError> {
    const WITH: [&str; 3] = quarter_statements!("hex(visitors)", "hex(r.visitors)");
    const WITHOUT: [&str; 3] = quarter_statements!("''", "''");
    let statements = if with_visitors { WITH } else { WITHOUT };
    let mut from = quarters.start;
    let mut sketch = Vec::new();
    while from < quarters.end {
        let to = from.saturating_add(QUARTERS_AT_ONCE).min(quarters.end);
        if let (ReportScope::Workspace(workspace), true) = (scope, with_visitors) {
            add_merged(tx, workspace, buckets, from..to, tally).await?;
            tokio::task::yield_now().await;
            from = to;
            continue;
        }
        let text = quarters_text(tx, scope, statements, from..to).await?;
        from = to;
        let text = text.unwrap_or_default();
        let mut rows = quarter_rows(&text).ok_or(StoreError::Corrupt("click rollup"))?;
        // In the order of time, which is theirs already.
        rows.sort_by_key(|row| row.0);
        for (quarter, kind, n, hex) in rows {
            // The first one may begin before the range, if it counts whole.
            let at_s = quarter.saturating_mul(QUARTER_S).max(buckets.span.from_s);
            let added =
                unhex(hex, &mut sketch).and_then(|()| tally.add_quarter(at_s, kind, n, &sketch));
            added.ok_or(StoreError::Corrupt("sketch of visitors"))?;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Quarter hour, kind, clicks, and the sketch in hexadecimal.
fn quarter_rows(text: &str) -> Option<Vec<(u32, Kind, u64, &str)>> {
    let mut numbers = Numbers::new(text);
    let mut rows = Vec::new();
    while let Some(quarter) = numbers.number() {
        let kind = numbers.number::<u8>().and_then(Kind::from_u8)?;
        rows.push((quarter, kind, numbers.number()?, numbers.word()?));
    }
    Some(rows)
}

/// The number of each hexadecimal digit as SQLite writes it; 0xff for what is none.
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut digit = 0;
    while digit < 16 {
        digits[b"0123456789ABCDEF"[digit as usize] as usize] = digit;
        digit += 1;
    }
    digits
};

/// Reads hexadecimal digits into `bytes`, in place of what was there; `None` if they are none.
pub(super) fn unhex(hex: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    let mut all = 0;
    bytes.clear();
    bytes.extend(pairs.iter().map(|[high, low]| {
        let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
        all |= high | low;
        high << 4 | low
    }));
    (all < 16).then_some(())
}

/// The names of a breakdown's first values.
async fn named(
    tx: Read<'_>,
    dimension: Dimension,
    numbers: Vec<TopNumber>,
) -> Result<Vec<TopValue>, StoreError> {
    let names = match dimension {
        Dimension::Detail(_) => names(tx, &numbers).await?,
        _ => dimension
            .words()
            .unwrap_or_default()
            .into_iter()
            .map(|(number, word)| (number, word.to_owned()))
            .collect(),
    };
    let is_number = !matches!(dimension, Dimension::Detail(_)) && names.is_empty();
    let values = numbers.into_iter().map(|TopNumber { number, clicks, visitors }| {
        let value = match names.get(&number) {
            Some(name) => name.clone(),
            None if is_number => number.to_string(),
            None => return Err(StoreError::Corrupt("value of a click")),
        };
        Ok(TopValue { value, clicks, visitors })
    });
    let mut values: Vec<TopValue> = values.collect::<Result<_, _>>()?;
    values.sort_by(|a, b| (b.clicks, b.visitors, &a.value).cmp(&(a.clicks, a.visitors, &b.value)));
    Ok(values)
}

async fn names(tx: Read<'_>, numbers: &[TopNumber]) -> Result<HashMap<i64, String>, StoreError> {
    let sql = format!("select id, text from name where id in ({})", placeholders(numbers.len()));
    let mut query = sqlx::query_as(AssertSqlSafe(sql));
    for top in numbers {
        query = query.bind(top.number);
    }
    let names: Vec<(i64, String)> = query.fetch_all(&mut **tx).await?;
    Ok(names.into_iter().collect())
}
