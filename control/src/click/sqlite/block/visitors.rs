//! Visitors of a workspace over hours and days: the sketches of their quarter hours, merged.
//!
//! A merged sketch is kept where it holds registers alone. Reading it is then the same as merging those of
//! its quarter hours, of which a month has 2,880 with 3 KiB each; a union of fewer visitors is exact, and
//! its parts are short.

use carom_shared::WorkspaceId;
use carom_shared::click::Kind;
use sqlx::{AssertSqlSafe, Sqlite, Transaction};

use super::super::report::unhex;
use super::super::rows::Numbers;
use super::build::Body;
use crate::click::report::QUARTER_S;
use crate::click::report::tally::RollupTally;
use crate::click::report::time::Buckets;
use crate::click::sketch::Sketch;
use crate::db::StoreError;

type Read<'t> = &'t mut Transaction<'static, Sqlite>;

/// Stands for visitors where others stand for a dimension.
const PLACE: i64 = 100;
/// A day and two hours, the longest first: those of eight days are in one bucket seldom.
const SKETCHED: [u32; 2] = [96, 8];

/// The first quarter hour that a stored sketch is of, and the sketch.
type Sketched = (u32, Vec<u8>);

const CORRUPT: StoreError = StoreError::Corrupt("sketch of visitors");

/// The sketch that a block gets under [`PLACE`], if it gets one; there is no rest of it.
pub(super) async fn merged(
    tx: Read<'_>,
    workspace: WorkspaceId,
    level: u32,
    block: u32,
) -> Result<Option<Body>, StoreError> {
    const SKETCHES: &str = "select visitors from workspace_quarter \
         where workspace = ? and quarter >= ? and quarter < ? and kind = 0";
    if !SKETCHED.contains(&level) {
        return Ok(None);
    }
    let from = i64::from(block * level);
    let sketches = sqlx::query_scalar(SKETCHES).bind(workspace.get()).bind(from);
    let sketches: Vec<Vec<u8>> =
        sketches.bind(from + i64::from(level)).fetch_all(&mut **tx).await?;
    let mut all = Sketch::default();
    for sketch in sketches {
        all.merge_bytes(&sketch).ok_or(CORRUPT)?;
    }
    Ok(all.packed().map(|body| Body { place: PLACE, body, rest: Vec::new() }))
}

/// Adds a workspace's quarter hours with their visitors, from merged sketches where a bucket has them
/// whole.
pub(in super::super) async fn add_merged(
    tx: Read<'_>,
    workspace: WorkspaceId,
    buckets: &Buckets,
    quarters: std::ops::Range<u32>,
    tally: &mut RollupTally<'_>,
) -> Result<(), StoreError> {
    const COUNTS: &str = "select group_concat(concat_ws(' ', quarter, kind, n), ' ') \
         from workspace_quarter where workspace = ? and quarter >= ? and quarter < ?";
    let (sketches, gaps) = chosen(tx, workspace, buckets, quarters.clone()).await?;
    let text = sqlx::query_scalar(COUNTS).bind(workspace.get()).bind(i64::from(quarters.start));
    let text: Option<String> = text.bind(i64::from(quarters.end)).fetch_one(&mut **tx).await?;
    let text = text.unwrap_or_default();
    let mut numbers = Numbers::new(&text);
    let mut counts = Vec::new();
    while let Some(quarter) = numbers.number::<u32>() {
        let kind = numbers.number::<u8>().and_then(Kind::from_u8);
        let (kind, n) = kind.zip(numbers.number::<u64>()).ok_or(StoreError::Corrupt("rollup"))?;
        counts.push((quarter, kind, n));
    }
    let text = gap_sketches(tx, workspace, &gaps).await?;
    let mut words = Numbers::new(&text);
    let mut short = Vec::new();
    while let Some(quarter) = words.number::<u32>() {
        let mut sketch = Vec::new();
        let hex = words.word().ok_or(CORRUPT)?;
        unhex(hex, &mut sketch).ok_or(CORRUPT)?;
        short.push((quarter, sketch));
    }
    let none = |(quarter, kind, n)| (quarter, kind, n, Vec::new());
    let of = |(quarter, sketch)| (quarter, Kind::Human, 0, sketch);
    let mut all: Vec<(u32, Kind, u64, Vec<u8>)> =
        counts.into_iter().map(none).chain(sketches.into_iter().chain(short).map(of)).collect();
    all.sort_by_key(|(quarter, ..)| *quarter);
    for (quarter, kind, n, sketch) in all {
        // The first one may begin before the range, if it counts whole.
        let at_s = quarter.saturating_mul(QUARTER_S).max(buckets.span.from_s);
        tally.add_quarter(at_s, kind, n, &sketch).ok_or(CORRUPT)?;
    }
    Ok(())
}

/// Merged sketches that are each in one bucket, and the quarter hours that are in none of them.
async fn chosen(
    tx: Read<'_>,
    workspace: WorkspaceId,
    buckets: &Buckets,
    quarters: std::ops::Range<u32>,
) -> Result<(Vec<Sketched>, Vec<(u32, u32)>), StoreError> {
    // Each by its key: between two of them there are the dimensions.
    const SKETCHES: &str = "with recursive k (block) as (\
           select ? union all select block + 1 from k where block + 1 < ?) \
         select k.block, b.body from k cross join workspace_block b on b.block = k.block \
         where b.level = ? and b.workspace = ? and b.dimension = ? order by k.block";
    let bucket = |quarter: u32| buckets.at(quarter.saturating_mul(QUARTER_S));
    let mut merged = Vec::new();
    let mut gaps = vec![(quarters.start, quarters.end)];
    for level in SKETCHED {
        let mut smaller = Vec::new();
        for (mut at, to) in gaps {
            let (first, end) = (at.div_ceil(level), to / level);
            let blocks = first..end;
            let mut found: Vec<(i64, Vec<u8>)> = Vec::new();
            if !blocks.is_empty() {
                let query = sqlx::query_as(SKETCHES).bind(i64::from(first)).bind(i64::from(end));
                let query = query.bind(i64::from(level)).bind(workspace.get()).bind(PLACE);
                found = query.fetch_all(&mut **tx).await?;
            }
            for (block, sketch) in found {
                let block = u32::try_from(block).map_err(|_| StoreError::Corrupt("block"))?;
                let from = block * level;
                // A bucket begins with a quarter hour.
                if bucket(from) == bucket(from + level - 1) {
                    smaller.push((at, from));
                    at = from + level;
                    merged.push((from, sketch));
                }
            }
            smaller.push((at, to));
        }
        smaller.retain(|(from, to)| from < to);
        gaps = smaller;
    }
    Ok((merged, gaps))
}

/// Quarter hours and their visitors' sketches in hexadecimal.
async fn gap_sketches(
    tx: Read<'_>,
    workspace: WorkspaceId,
    gaps: &[(u32, u32)],
) -> Result<String, StoreError> {
    if gaps.is_empty() {
        return Ok(String::new());
    }
    let spans = vec!["(?,?)"; gaps.len()].join(",");
    let sql = format!(
        "with k (a, b) as (values {spans}) \
         select group_concat(concat_ws(' ', q.quarter, hex(q.visitors)), ' ') \
         from k cross join workspace_quarter q on q.workspace = ? and q.quarter >= k.a \
           and q.quarter < k.b and q.kind = 0"
    );
    let mut query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false);
    for (from, to) in gaps {
        query = query.bind(i64::from(*from)).bind(i64::from(*to));
    }
    let text: Option<String> = query.bind(workspace.get()).fetch_one(&mut **tx).await?;
    Ok(text.unwrap_or_default())
}
