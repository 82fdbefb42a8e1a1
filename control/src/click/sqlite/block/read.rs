//! A range's breakdowns, from blocks and, where there are none, from rows.

use std::collections::HashMap;

use carom_shared::click::Kind;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Sqlite, Transaction};

use super::super::report::{ReportError, counts_of, each_row};
use super::super::rows::grouped;
use super::top::{First, Heads};
use super::{BLOCK_VALUES_MAX, Counts, LEVELS, LINK_LEVELS, place};
use crate::click::report::tally::{TooManyValues, TopNumber, VALUES_MAX};
use crate::click::report::time::Span;
use crate::click::report::{Dimension, QUARTER_S, ReportScope};
use crate::click::sketch::BuildIdHasher;
use crate::db::StoreError;

type Read<'t> = &'t mut Transaction<'static, Sqlite>;

const CORRUPT: StoreError = StoreError::Corrupt("block of clicks");

/// Blocks of a level, side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    level: u32,
    first: u32,
    end: u32,
}

/// How a range is read: each second of it once.
#[derive(Debug, Default)]
struct Plan {
    runs: Vec<Run>,
    /// In order.
    rows: Vec<Span>,
}

/// Whether blocks know all of these dimensions of a scope.
pub(in super::super) fn has_blocks_for(scope: ReportScope, by: &[Dimension]) -> bool {
    scope.workspace().is_some() && by.iter().all(|dimension| place(*dimension).is_some())
}

/// Clicks of people by each dimension, the first values of each.
pub(in super::super) async fn block_lists(
    tx: Read<'_>,
    scope: ReportScope,
    span: Span,
    by: &[Dimension],
    limit: usize,
) -> Result<Vec<(Dimension, Vec<TopNumber>)>, ReportError> {
    let plan = plan(tx, scope, span, levels(scope)).await?;
    let of_rows = of_rows(tx, scope, &plan.rows, by).await?;
    let mut lists = Vec::with_capacity(by.len());
    for (dimension, values) in by.iter().zip(of_rows) {
        let list = first_of(tx, scope, &plan.runs, *dimension, values, limit).await?;
        lists.push((*dimension, list));
    }
    Ok(lists)
}

/// From the blocks' heads, and from as much of their rests as it takes.
async fn first_of(
    tx: Read<'_>,
    scope: ReportScope,
    runs: &[Run],
    dimension: Dimension,
    of_rows: Values,
    limit: usize,
) -> Result<Vec<TopNumber>, ReportError> {
    let mut heads = Heads::default();
    of_rows.iter().for_each(|(value, n)| heads.add(*value, *n));
    let mut with_rest = Vec::new();
    for run in runs {
        let of_run: Vec<(i64, Vec<u8>, i64)> = of_run(tx, HEADS, scope, *run, dimension).await?;
        for (block, body, rest) in of_run {
            heads.add_head(&body, rest > 0).ok_or(CORRUPT)?;
            if rest > 0 {
                let first = u32::try_from(block).map_err(|_| CORRUPT)?;
                with_rest.push(Run { level: run.level, first, end: first + 1 });
            }
        }
        tokio::task::yield_now().await;
    }
    match heads.first(limit) {
        First::Known(list) => Ok(list),
        First::Among(mut among) => {
            let open = std::mem::take(&mut among.open);
            for (block, _) in with_rest.into_iter().zip(open).filter(|(_, is_open)| *is_open) {
                for (rest,) in of_run::<(Vec<u8>,)>(tx, RESTS, scope, block, dimension).await? {
                    among.add_rest(&rest).ok_or(CORRUPT)?;
                }
                tokio::task::yield_now().await;
            }
            Ok(among.first(limit))
        }
        First::Unknown => {
            let counts = whole(tx, scope, runs, dimension, of_rows, VALUES_MAX).await?;
            Ok(counts.first(limit))
        }
    }
}

pub(super) const fn levels(scope: ReportScope) -> &'static [u32] {
    match scope {
        ReportScope::All => &[],
        ReportScope::Workspace(_) => &LEVELS,
        ReportScope::Link(..) => &LINK_LEVELS,
    }
}

/// Hands over what a range has by each dimension, one after the other, from blocks of these levels.
pub(super) async fn each_counts(
    tx: Read<'_>,
    scope: ReportScope,
    span: Span,
    by: &[Dimension],
    levels: &[u32],
    mut each: impl FnMut(Dimension, Counts),
) -> Result<(), ReportError> {
    let plan = plan(tx, scope, span, levels).await?;
    let of_rows = of_rows(tx, scope, &plan.rows, by).await?;
    for (dimension, values) in by.iter().zip(of_rows) {
        let counts = whole(tx, scope, &plan.runs, *dimension, values, BLOCK_VALUES_MAX).await?;
        each(*dimension, counts);
    }
    Ok(())
}

/// All values of rows and blocks, if they are not too many.
async fn whole(
    tx: Read<'_>,
    scope: ReportScope,
    runs: &[Run],
    dimension: Dimension,
    of_rows: Values,
    max: usize,
) -> Result<Counts, ReportError> {
    let mut counts = Counts::default();
    for (value, n) in of_rows {
        counts.add(value, n);
    }
    for run in runs {
        let of_run: Vec<(Vec<u8>, Vec<u8>)> = of_run(tx, WHOLE, scope, *run, dimension).await?;
        for (body, rest) in of_run {
            counts.add_body(&body).ok_or(CORRUPT)?;
            if !rest.is_empty() {
                counts.add_body(&rest).ok_or(CORRUPT)?;
            }
        }
        if counts.sparse.len() > max {
            return Err(TooManyValues::of(dimension).into());
        }
        tokio::task::yield_now().await;
    }
    Ok(counts)
}

/// The longest blocks that there are, then shorter ones in the gaps, then rows.
async fn plan(
    tx: Read<'_>,
    scope: ReportScope,
    span: Span,
    levels: &[u32],
) -> Result<Plan, StoreError> {
    let mut plan = Plan::default();
    let (from, to) = (span.from_s.div_ceil(QUARTER_S), span.to_s / QUARTER_S);
    if from >= to {
        plan.rows.push(span);
        return Ok(plan);
    }
    let mut gaps = vec![(from, to)];
    for &level in levels.iter().rev() {
        let mut smaller = Vec::new();
        for (from, to) in gaps {
            let mut at = from;
            for block in present(tx, scope, level, from.div_ceil(level)..to / level).await? {
                let start = block * level;
                if at < start {
                    smaller.push((at, start));
                }
                at = start + level;
                match plan.runs.last_mut() {
                    Some(run) if run.level == level && run.end == block => run.end += 1,
                    _ => plan.runs.push(Run { level, first: block, end: block + 1 }),
                }
            }
            if at < to {
                smaller.push((at, to));
            }
        }
        gaps = smaller;
    }
    let head = Span { from_s: span.from_s, to_s: from * QUARTER_S };
    let tail = Span { from_s: to * QUARTER_S, to_s: span.to_s };
    let gap = |(from, to)| Span { from_s: from * QUARTER_S, to_s: to * QUARTER_S };
    let rows = std::iter::once(head).chain(gaps.into_iter().map(gap)).chain([tail]);
    plan.rows = rows.filter(|span| span.from_s < span.to_s).collect();
    Ok(plan)
}

/// Which blocks of a level there are.
pub(super) async fn present(
    tx: Read<'_>,
    scope: ReportScope,
    level: u32,
    blocks: std::ops::Range<u32>,
) -> Result<Vec<u32>, StoreError> {
    const OF_WORKSPACE: &str = "select block from workspace_block where block >= ? and block < ? \
         and level = ? and workspace = ? and dimension = 0 order by block";
    // Each by its key: between two blocks of a link there are those of others.
    const OF_LINK: &str = "with recursive k (block) as (\
           select ? union all select block + 1 from k where block + 1 < ?) \
         select k.block from k cross join link_block b on b.block = k.block \
         where b.level = ? and b.workspace = ? and b.link = ? and b.dimension = 0 order by k.block";
    if blocks.is_empty() {
        return Ok(Vec::new());
    }
    let query = match scope {
        ReportScope::All => return Ok(Vec::new()),
        ReportScope::Workspace(_) => sqlx::query_scalar(OF_WORKSPACE),
        ReportScope::Link(..) => sqlx::query_scalar(OF_LINK),
    };
    let query = query.bind(i64::from(blocks.start)).bind(i64::from(blocks.end));
    let query = query.bind(i64::from(level));
    let found: Vec<i64> = of_scope(query, scope).fetch_all(&mut **tx).await?;
    let block = |block| u32::try_from(block).map_err(|_| StoreError::Corrupt("block"));
    found.into_iter().map(block).collect()
}

type Scalar<'q, T> = sqlx::query::QueryScalar<'q, Sqlite, T, <Sqlite as sqlx::Database>::Arguments>;

/// Binds a scope's numbers.
fn of_scope<T>(query: Scalar<'_, T>, scope: ReportScope) -> Scalar<'_, T> {
    match scope {
        ReportScope::All => query,
        ReportScope::Workspace(workspace) => query.bind(workspace.get()),
        ReportScope::Link(workspace, link) => query.bind(workspace.get()).bind(link.get()),
    }
}

/// What is asked of the blocks of a run, of a workspace and of a link: each by its key, because between two
/// of them there are the other dimensions'.
macro_rules! run_statements {
    ($columns:literal) => {
        [
            run_statements!($columns, "workspace_block", ""),
            run_statements!($columns, "link_block", " and b.link = ?"),
        ]
    };
    ($columns:literal, $table:literal, $and:literal) => {
        concat!(
            "with recursive k (block) as (\
               select ? union all select block + 1 from k where block + 1 < ?) \
             select ",
            $columns,
            " from k cross join ",
            $table,
            " b on b.block = k.block \
             where b.level = ? and b.dimension = ? and b.workspace = ?",
            $and
        )
    };
}

/// Each block's number, body, and bytes of its rest; body and rest; rest.
const HEADS: [&str; 2] = run_statements!("b.block, b.body, length(b.rest)");
const WHOLE: [&str; 2] = run_statements!("b.body, b.rest");
const RESTS: [&str; 2] = run_statements!("b.rest");

/// What one of these statements says of a run.
async fn of_run<T>(
    tx: Read<'_>,
    [of_workspace, of_link]: [&'static str; 2],
    scope: ReportScope,
    Run { level, first, end }: Run,
    dimension: Dimension,
) -> Result<Vec<T>, StoreError>
where
    T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    let query = match scope {
        ReportScope::Link(..) => sqlx::query_as(of_link),
        ReportScope::All | ReportScope::Workspace(_) => sqlx::query_as(of_workspace),
    };
    let query = query.bind(i64::from(first)).bind(i64::from(end)).bind(i64::from(level));
    let query = query.bind(place(dimension));
    let query = match scope {
        ReportScope::All => query,
        ReportScope::Workspace(workspace) => query.bind(workspace.get()),
        ReportScope::Link(workspace, link) => query.bind(workspace.get()).bind(link.get()),
    };
    Ok(query.fetch_all(&mut **tx).await?)
}

type Values = HashMap<u64, u64, BuildIdHasher>;

/// What rows have by each dimension.
async fn of_rows(
    tx: Read<'_>,
    scope: ReportScope,
    spans: &[Span],
    by: &[Dimension],
) -> Result<Vec<Values>, ReportError> {
    let mut of_rows: Vec<Values> = by.iter().map(|_| Values::default()).collect();
    if spans.is_empty() {
        return Ok(of_rows);
    }
    let counts = counts_of(tx, scope, spans).await?;
    for spans in grouped(scope, spans, &counts) {
        each_row(tx, scope, &spans, &[], by, |row, values| {
            if row.kind != Kind::Human {
                return Ok(());
            }
            for ((counts, value), dimension) in of_rows.iter_mut().zip(values).zip(by) {
                *counts.entry(value.cast_unsigned()).or_default() += row.n;
                if counts.len() > VALUES_MAX {
                    return Err(TooManyValues::of(*dimension));
                }
            }
            Ok(())
        })
        .await?;
    }
    Ok(of_rows)
}
