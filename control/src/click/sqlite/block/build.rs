//! Makes blocks, one at a time, of times that are over.
//!
//! What is missing is found by the rollup; a block is made of shorter ones and of rows, as a report is,
//! within a transaction that reads, and stored by one that writes if nothing of a time that is over was
//! changed meanwhile. So batches wait for a block's few rows and not for the look at its clicks. What a
//! stop cuts off is missing, and found again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use carom_shared::{Clock, LinkId, UnixMillis, WorkspaceId};
use sqlx::{Arguments as _, Sqlite, Transaction};
use tokio::time::sleep;

use super::super::insert::{Table, insert_each};
use super::super::report::ReportError;
use super::super::{ClickStore, count};
use super::read::{each_counts, levels, present};
use super::visitors::merged;
use super::{CLICKS_MIN, Counts, DIMENSIONS, LEVELS, LINK_LEVELS, place};
use crate::click::report::time::Span;
use crate::click::report::{Dimension, QUARTER_S, ReportScope};
use crate::db::StoreError;

const DAY: u32 = LEVELS[2];
/// Seconds after which the clicks of a time are taken to be there: later ones make its blocks anew.
const GRACE_S: i64 = 300;
/// Blocks that are looked for at once, at most.
const QUEUE_MAX: usize = 10_000;
/// Rounds for which blocks wait while clicks of times that are over go on coming: each would take away
/// what was just made.
const POSTPONED_MAX: u32 = 10;
/// Between two looks for blocks that are missing; between two blocks, at least.
const ROUND_PAUSE: Duration = Duration::from_mins(1);
const STEP_PAUSE: Duration = Duration::from_millis(5);

const OF_WORKSPACE: Table = Table {
    before: "insert into workspace_block \
         (workspace, level, block, dimension, clicks, body, rest) values ",
    columns: 7,
    after: " on conflict do nothing",
};
const OF_LINK: Table = Table {
    before: "insert into link_block \
         (workspace, level, block, link, dimension, clicks, body, rest) values ",
    columns: 8,
    after: " on conflict do nothing",
};

/// What a block will hold.
pub(super) struct Made {
    /// `changes` when it was counted.
    changes: i64,
    clicks: u64,
    bodies: Vec<Body>,
    /// Links that get a block of their own.
    links: Vec<u64>,
}

/// What a block will hold of a dimension.
pub(super) struct Body {
    pub(super) place: i64,
    pub(super) body: Vec<u8>,
    pub(super) rest: Vec<u8>,
}

/// How far the making of blocks is.
#[derive(Debug, Default)]
pub(super) struct Building {
    /// Missing blocks, those to be made first at the end.
    pub(super) queue: Vec<Missing>,
    /// `changes` as they were, and the quarter hour up to which everything was looked at then.
    seen: Option<(i64, u32)>,
    /// The next look begins with the first click.
    is_anew: bool,
    postponed: u32,
    /// Blocks that have too many values: not tried again until clicks change.
    too_long: HashSet<Missing>,
}

/// What came of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Making {
    Stored,
    /// Clicks changed meanwhile.
    Changed,
    /// There are more values than a block may have.
    TooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Missing {
    pub(super) workspace: WorkspaceId,
    level: u32,
    block: u32,
}

impl Missing {
    const fn span(self) -> Span {
        let from_s = self.block * self.level * QUARTER_S;
        Span { from_s, to_s: from_s + self.level * QUARTER_S }
    }

    /// Newest first and each day's short ones before its day, which is made of them; then the longest.
    fn order(&self) -> (bool, Reverse<u32>, u32, u32) {
        (self.level > DAY, Reverse(self.block * self.level / DAY), self.level, self.block)
    }
}

impl ClickStore {
    /// Makes blocks, for ever, with as long a pause after each as it took.
    pub(crate) async fn make_blocks(&self, clock: &dyn Clock) {
        let mut building = Building::default();
        loop {
            let begun = Instant::now();
            let pause = match self.block_step(&mut building, clock.now()).await {
                Ok(true) => begun.elapsed().max(STEP_PAUSE),
                Ok(false) => ROUND_PAUSE,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "breakdowns of a time were not made: trying again in a minute"
                    );
                    building = Building::default();
                    ROUND_PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    /// Makes a block that is missing; `false` if none is.
    pub(super) async fn block_step(
        &self,
        building: &mut Building,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        if building.queue.is_empty() {
            self.blocks_look(building, now).await?;
        }
        let Some(missing) = building.queue.pop() else { return Ok(false) };
        match self.block_make(missing).await? {
            Making::Stored => {}
            Making::Changed => building.is_anew = true,
            Making::TooLong => {
                tracing::info!(
                    ?missing,
                    "a time has too many different values to be added up ahead"
                );
                building.too_long.insert(missing);
            }
        }
        Ok(true)
    }

    /// Looks for blocks that are missing.
    async fn blocks_look(
        &self,
        building: &mut Building,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        const UNTIL: &str = "update block_state set until_quarter = max(until_quarter, ?) \
             returning changes";
        let until = (now.as_secs() - GRACE_S).div_euclid(QUARTER_S.into());
        let until = u32::try_from(until).unwrap_or_default();
        let changes = sqlx::query_scalar(UNTIL).bind(i64::from(until));
        let changes: i64 = changes.fetch_one(&self.file.write).await?;
        let from = match building.seen {
            Some((seen, from)) if seen == changes && !building.is_anew => from,
            Some((seen, _)) if seen != changes && building.postponed < POSTPONED_MAX => {
                building.seen = Some((changes, 0));
                building.is_anew = true;
                building.postponed += 1;
                return Ok(());
            }
            _ => 0,
        };
        building.postponed = 0;
        if building.seen.is_some_and(|(seen, _)| seen != changes) {
            building.too_long.clear();
        }
        let mut queue = Vec::new();
        for workspace in self.workspaces().await? {
            self.missing(workspace, from..until, &mut queue).await?;
        }
        queue.retain(|missing| !building.too_long.contains(missing));
        queue.sort_unstable_by_key(Missing::order);
        building.is_anew = queue.len() > QUEUE_MAX;
        queue.truncate(QUEUE_MAX);
        queue.reverse();
        building.queue = queue;
        // The longest block that is not over is looked at again.
        building.seen = Some((changes, until - until % LEVELS[3]));
        Ok(())
    }

    async fn workspaces(&self) -> Result<Vec<WorkspaceId>, StoreError> {
        const ALL: &str = "with recursive w (id) as (\
               select min(workspace) from workspace_quarter union all \
               select (select min(n.workspace) from workspace_quarter n where n.workspace > w.id) \
               from w where w.id is not null) \
             select id from w where id is not null";
        let ids: Vec<i64> = sqlx::query_scalar(ALL).fetch_all(&self.file.read).await?;
        let id = |id| WorkspaceId::try_from(id).map_err(|_| StoreError::Corrupt("workspace"));
        ids.into_iter().map(id).collect()
    }

    /// Times of a workspace that are over, have enough clicks and no block.
    async fn missing(
        &self,
        workspace: WorkspaceId,
        quarters: std::ops::Range<u32>,
        queue: &mut Vec<Missing>,
    ) -> Result<(), StoreError> {
        const CLICKS: &str = "select quarter, n from workspace_quarter \
             where workspace = ? and quarter >= ? and quarter < ? and kind = 0";
        const SINCE: &str = "select detail_since_s from retention";
        let mut tx = self.file.read.begin().await?;
        let since: Option<i64> = sqlx::query_scalar(SINCE).fetch_optional(&mut *tx).await?;
        let since = since.and_then(|since| u32::try_from(since).ok()).unwrap_or_default();
        let from = quarters.start.max(since.div_ceil(QUARTER_S));
        let clicks = sqlx::query_as(CLICKS).bind(workspace.get()).bind(i64::from(from));
        let clicks: Vec<(i64, i64)> =
            clicks.bind(i64::from(quarters.end)).fetch_all(&mut *tx).await?;
        let by = |level: u32| {
            let mut blocks: BTreeMap<u32, u64> = BTreeMap::new();
            for &(quarter, n) in &clicks {
                let quarter = u32::try_from(quarter).map_err(|_| StoreError::Corrupt("quarter"))?;
                *blocks.entry(quarter / level).or_default() += count(n)?;
            }
            Ok::<_, StoreError>(blocks)
        };
        let days = by(DAY)?;
        for level in LEVELS {
            let mut blocks = by(level)?;
            let scope = ReportScope::Workspace(workspace);
            let all = from / level..quarters.end / level;
            for block in present(&mut tx, scope, level, all.clone()).await? {
                blocks.remove(&block);
            }
            let missing = blocks.into_iter().filter(|(block, n)| {
                let of_day = days.get(&(block * level / DAY)).copied().unwrap_or_default();
                // One that is over, and of which no rows are deleted.
                all.contains(block) && block * level >= from && of_day.max(*n) >= CLICKS_MIN
            });
            queue.extend(missing.map(|(block, _)| Missing { workspace, level, block }));
        }
        tx.rollback().await?;
        Ok(())
    }

    /// Makes a block of a workspace and those of its links.
    async fn block_make(&self, missing: Missing) -> Result<Making, StoreError> {
        let scope = ReportScope::Workspace(missing.workspace);
        let Some(made) = self.counted(scope, missing).await? else { return Ok(Making::TooLong) };
        if LINK_LEVELS.contains(&missing.level) {
            // The workspace's own is the last: where it is, those of its links are.
            for link in &made.links {
                let link = LinkId::try_from(link.cast_signed());
                let link = link.map_err(|_| StoreError::Corrupt("link of a click"))?;
                let scope = ReportScope::Link(missing.workspace, link);
                let Some(made) = self.counted(scope, missing).await? else {
                    return Ok(Making::TooLong);
                };
                if !self.block_store(scope, missing, &made).await? {
                    return Ok(Making::Changed);
                }
            }
        }
        let is_stored = self.block_store(scope, missing, &made).await?;
        Ok(if is_stored { Making::Stored } else { Making::Changed })
    }

    /// Counts a time by each dimension; `None` if it has too many values.
    pub(super) async fn counted(
        &self,
        scope: ReportScope,
        missing: Missing,
    ) -> Result<Option<Made>, StoreError> {
        const CHANGES: &str = "select changes from block_state";
        let mut tx = self.file.read.begin().await?;
        let changes: i64 = sqlx::query_scalar(CHANGES).fetch_one(&mut *tx).await?;
        let shorter = levels(scope).iter().position(|level| *level == missing.level);
        let shorter = &levels(scope)[..shorter.unwrap_or_default()];
        let mut made = Made { changes, clicks: 0, bodies: Vec::new(), links: Vec::new() };
        let add = |dimension, counts: Counts| {
            made.clicks = counts.total();
            if dimension == Dimension::Link {
                let many = counts.each().filter(|(_, n)| *n >= CLICKS_MIN);
                made.links = many.map(|(link, _)| link).collect();
            }
            made.bodies.extend(place(dimension).map(|place| {
                let (body, rest) = counts.body();
                Body { place, body, rest }
            }));
        };
        let counted = each_counts(&mut tx, scope, missing.span(), &DIMENSIONS, shorter, add).await;
        match counted {
            Ok(()) => {}
            Err(ReportError::Store(error)) => return Err(error),
            Err(_) => return Ok(None),
        }
        if let ReportScope::Workspace(workspace) = scope {
            made.bodies.extend(merged(&mut tx, workspace, missing.level, missing.block).await?);
        }
        tx.rollback().await?;
        Ok(Some(made))
    }

    /// `false`, and nothing is stored, if clicks of times that are over changed since it was made, or
    /// are being erased.
    pub(super) async fn block_store(
        &self,
        scope: ReportScope,
        Missing { workspace, level, block }: Missing,
        made: &Made,
    ) -> Result<bool, StoreError> {
        let mut tx = self.file.write.begin_with("begin immediate").await?;
        if !is_unchanged(&mut tx, workspace, made.changes).await? {
            tx.rollback().await?;
            return Ok(false);
        }
        let place_of = [workspace.get(), level.into(), block.into()];
        let (table, link) = match scope {
            ReportScope::Link(_, link) => (&OF_LINK, Some(link.get())),
            ReportScope::All | ReportScope::Workspace(_) => (&OF_WORKSPACE, None),
        };
        insert_each(&mut tx, table, &made.bodies, |of, values| {
            for value in place_of.into_iter().chain(link).chain([of.place]) {
                values.add(value)?;
            }
            values.add(made.clicks.cast_signed())?;
            values.add(of.body.clone())?;
            values.add(of.rest.clone())
        })
        .await?;
        tx.commit().await?;
        Ok(true)
    }
}

async fn is_unchanged(
    tx: &mut Transaction<'static, Sqlite>,
    workspace: WorkspaceId,
    changes: i64,
) -> Result<bool, StoreError> {
    const UNCHANGED: &str = "select (select changes from block_state) = ? \
         and not exists (select 1 from erasure where workspace = ?)";
    let unchanged = sqlx::query_scalar(UNCHANGED).bind(changes).bind(workspace.get());
    Ok(unchanged.fetch_one(&mut **tx).await?)
}
