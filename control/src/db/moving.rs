//! A move: all that the control database holds goes into another one, SQLite's or PostgreSQL's.
//!
//! # What is copied
//!
//! Every table with every column, row by row, as both databases themselves describe them; a table
//! that a later change of the schema adds is among them. Left out are the index of texts, which each
//! database has in a form of its own and which is built anew, and what belongs to the file rather
//! than to the installation ([`table::OWN`]).
//!
//! # Why nothing is missed
//!
//! Before the first row is read, the source is marked. A marked database is not opened by anything
//! but a move, so it stays as it is: copies of single pages fit together, without a transaction over
//! all of them, and over a pause of days. A file is not served by others either because whoever
//! moves holds the data folder's lock; a PostgreSQL source is fenced by the writer's lock, and
//! refused while a control plane is connected to it.
//!
//! Before the first row comes, the target is marked as well, and is not served until the last step.
//!
//! # Why it goes on after a kill
//!
//! Rows come in the order of their key, page by page, a page in one transaction. Where it stopped is
//! the greatest key in the target: that is a position which is in the page's own transaction and
//! cannot be wrong. Both marks hold one token, so a target goes on only with its own source. While
//! rows come the target has neither secondary indexes nor triggers; which ones to make again stands
//! in itself ([`side`]). The steps at the end are each one commit: the source has left, then the
//! target has arrived.
//!
//! # Why it is whole
//!
//! At the end every row of both is read again: count and sum of hashes of each table have to be
//! equal. Nothing of that comes from what was noted while copying.
//!
//! # Why numbers and versions go on
//!
//! Edges compare what they know by the feed's epoch and number, and by each route's version. The
//! target begins with exactly the rows with which the source ended, `feed`, `change` and `route`
//! among them, and never are both served: it is one history, told in another place, and a new epoch
//! would only make each edge ask for all again. It is otherwise when a move is undone. Then the
//! target may have given numbers that the source will give to other changes, so the source begins a
//! new epoch, as a restored backup does.
//!
//! Clicks are in a store of their own, and stay where `clicks.url` says. Sums that lists show, and up
//! to which batch they were carried over, are columns here and come along.

mod mark;
mod row;
mod side;
mod table;

use std::time::{Duration, Instant};

use carom_shared::settings::InvalidSetting;
use carom_shared::{Clock, Random, UnixMillis};
use serde::Serialize;

use super::{Database, DbOpenError, SCHEMA_SQLITE, StoreError};
use crate::config::{Config, DatabaseAt, DatabaseConfig};
use crate::feed::store::feed_restart;
use crate::link::store::{links_index, unindexed_count};
pub(crate) use mark::{Mark, MarkRow, READ as READ_MARK, State, WRITE as WRITE_MARK};
use side::{Side, shown};
use table::Table;

pub use mark::NotServed;
pub(crate) use mark::may_be_served;

/// Pages of links that are indexed in one transaction: 500 links each.
const PAGES_PER_COMMIT: usize = 4;

/// One of the two databases failed.
#[derive(Debug, thiserror::Error)]
#[error("the database {database} failed; the same carom move goes on where it was")]
pub struct SideError {
    database: String,
    source: sqlx::Error,
}

/// Why nothing was moved, or not all. What was begun goes on with the same command.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error(transparent)]
    Config(#[from] InvalidSetting),
    #[error("--to {0}")]
    To(String),
    #[error("--to names the database that the links are in already")]
    Same,
    #[error("there are no links to move: {0} is not there, or empty")]
    NoSource(String),
    #[error(
        "{0} holds an installation already; name an empty database (of a file: a name that is not \
         taken), or move that one away"
    )]
    Occupied(String),
    #[error(
        "{0} holds a part of another move, which was given up or goes on elsewhere; name an empty \
         database, or empty this one"
    )]
    OtherPart(String),
    #[error(
        "a move of these links to {0} was begun, and it is not {1}: finish it with that --to, or \
         give it up with carom move --undo"
    )]
    OtherTarget(String, String),
    #[error(
        "a control plane is connected to {0}; stop every carom and carom-control on it, and try again"
    )]
    Served(String),
    #[error("another carom move works on {0}")]
    Busy(String),
    #[error("the databases do not fit together: {0}")]
    Schema(String),
    #[error(
        "table {table}, row {key}: {column} has the character U+0000, which PostgreSQL cannot hold; \
         give up with carom move --undo, change it, and move again"
    )]
    Unstorable { table: String, key: String, column: String },
    #[error(
        "table {table} is not the same on both sides ({from} rows, and {to} in the target): nothing \
         was changed in the source. Give up with carom move --undo, empty the target, and move again"
    )]
    Different { table: String, from: u64, to: u64 },
    #[error("this database is part of no move: nothing to undo")]
    NothingToUndo,
    #[error(transparent)]
    NotServed(#[from] NotServed),
    #[error(transparent)]
    Open(#[from] DbOpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Side(#[from] SideError),
}

/// What a move is going to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub from: String,
    pub to: String,
    pub state: PlanState,
    /// What there is in the source.
    pub tables: Vec<TableRows>,
    pub rows: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Everything is to be done.
    New,
    /// An earlier one was interrupted.
    Interrupted,
    /// Everything was done.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableRows {
    pub table: String,
    pub rows: u64,
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    pub from: String,
    pub to: String,
    pub tables: Vec<TableMoved>,
    pub rows: u64,
    /// Of these, those that an earlier, interrupted move had brought.
    pub rows_before: u64,
    /// Nothing of it was to be done any more, and nothing was looked at.
    pub was_done: bool,
    pub took_ms: Took,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableMoved {
    pub table: String,
    pub rows: u64,
    /// Sum of the hashes of its rows, the same on both sides; hexadecimal.
    pub checksum: String,
}

/// Milliseconds of each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Took {
    pub copy: u64,
    /// Of texts, and all others.
    pub index: u64,
    pub check: u64,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub step: Step,
    pub done: u64,
    pub all: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// In rows.
    Copy,
    /// In links, whose texts are indexed.
    Index,
    /// In indexes, triggers and references, which were not there while rows came.
    Schema,
    /// In rows.
    Check,
}

/// A source and a target, by their settings.
struct Ends {
    from: DatabaseAt,
    to: DatabaseAt,
}

impl Ends {
    fn of(config: &Config, to: &str) -> Result<Self, MoveError> {
        let from = config.checked()?.database;
        let to = DatabaseConfig { url: to.to_owned(), ..config.database.clone() };
        let to = to.at(&config.data_dir).map_err(|error| MoveError::To(error.problem))?;
        if shown(&from) == shown(&to) {
            return Err(MoveError::Same);
        }
        Ok(Self { from, to })
    }

    /// Looks at both, and says how far a move from one to the other is, with its token.
    async fn look(
        &self,
        source: &mut Side,
        target: Option<&mut Side>,
    ) -> Result<(PlanState, Option<i64>), MoveError> {
        let known = SCHEMA_SQLITE.last().map_or(0, |&(version, ..)| version);
        let version = source.version(known).await?;
        let here = source.mark().await?;
        if let Some(Mark { state: State::Arriving, other, .. }) = here {
            return Err(NotServed::Arriving(other).into());
        }
        if version == 0 || !source.is_installation().await? {
            return Err(MoveError::NoSource(source.shown.clone()));
        }
        let to = shown(&self.to);
        let (there, is_installation) = match target {
            None => (None, false),
            Some(target) => {
                target.version(known).await?;
                (target.mark().await?, target.is_installation().await?)
            }
        };
        let here = here.filter(|mark| mark.state != State::Arrived);
        match (here, there) {
            (Some(here), Some(there)) if here.token == there.token => match there.state {
                State::Arriving => Ok((PlanState::Interrupted, Some(here.token))),
                _ => Ok((PlanState::Done, Some(here.token))),
            },
            (None, Some(Mark { state: State::Arriving, .. })) => Err(MoveError::OtherPart(to)),
            (None, _) if is_installation => Err(MoveError::Occupied(to)),
            (None, _) => Ok((PlanState::New, None)),
            // Killed between the two marks.
            (Some(here), None)
                if here.state == State::Leaving && here.other == to && !is_installation =>
            {
                Ok((PlanState::Interrupted, Some(here.token)))
            }
            (Some(here), _) => Err(MoveError::OtherTarget(here.other, to)),
        }
    }
}

/// Says what a move would do; changes nothing. The caller holds the data folder's lock.
///
/// # Errors
/// [`MoveError`], as the move itself would fail.
pub async fn plan(config: &Config, to: &str) -> Result<Plan, MoveError> {
    let ends = Ends::of(config, to)?;
    let mut source = open(&ends.from, false).await?;
    let mut target = Side::connect(&ends.to, false).await?;
    let (state, _) = ends.look(&mut source, target.as_mut()).await?;
    let mut tables = Vec::new();
    for table in source.tables().await? {
        let rows = source.count(&table).await?;
        tables.push(TableRows { table: table.name, rows });
    }
    let rows = tables.iter().map(|table| table.rows).sum();
    Ok(Plan { from: source.shown, to: shown(&ends.to), state, tables, rows })
}

/// Keeps control planes from the links, as long as it is held.
pub(crate) struct Fence {
    _side: Side,
}

/// Sees that nobody serves the links, and that nobody begins to; of files the data folder's lock does.
pub(crate) async fn fence(at: &DatabaseAt) -> Result<Fence, MoveError> {
    let mut side = open(at, true).await?;
    side.lock().await?;
    side.fence().await?;
    Ok(Fence { _side: side })
}

async fn open(at: &DatabaseAt, may_write: bool) -> Result<Side, MoveError> {
    let side = Side::connect(at, may_write).await?;
    side.ok_or_else(|| MoveError::NoSource(shown(at)))
}

/// Moves all links, or goes on with an interrupted move. The caller holds the data folder's lock.
///
/// # Errors
/// [`MoveError`]; what is done stays, and the same call goes on with it.
pub async fn run(
    config: &Config,
    to: &str,
    clock: &dyn Clock,
    random: &dyn Random,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Moved, MoveError> {
    let ends = Ends::of(config, to)?;
    // Before anything is changed in either.
    let mut source = open(&ends.from, false).await?;
    let mut target = Side::connect(&ends.to, false).await?;
    ends.look(&mut source, target.as_mut()).await?;
    source.close().await?;
    if let Some(target) = target {
        target.close().await?;
    }
    for at in [&ends.from, &ends.to] {
        Database::open(at).await?.close().await;
    }
    let mut source = open(&ends.from, true).await?;
    let mut target = open(&ends.to, true).await?;
    source.lock().await?;
    source.fence().await?;
    target.lock().await?;
    // Once more: somebody may have been faster.
    let (state, token) = ends.look(&mut source, Some(&mut target)).await?;
    if state == PlanState::Done {
        let (from, to) = (source.shown.clone(), target.shown.clone());
        finish(&mut source, token.unwrap_or_default(), to.clone(), State::Left, clock).await?;
        let (tables, took_ms) = (Vec::new(), Took::default());
        return Ok(Moved { from, to, tables, rows: 0, rows_before: 0, was_done: true, took_ms });
    }
    let token = token.unwrap_or_else(|| draw(random));
    let mut moving = Moving::begin(source, target, token, clock.now()).await?;
    let begun = Instant::now();
    moving.copy(progress).await?;
    let copied = begun.elapsed();
    moving.target.note_unindexed().await?;
    index(&ends.to, progress).await?;
    let of = |done, all| Progress { step: Step::Schema, done, all };
    moving.target.make_parts(|done, all| progress(of(done, all))).await?;
    moving.target.analyze(&moving.to).await?;
    let indexed = begun.elapsed();
    let tables = moving.check(progress).await?;
    let checked = begun.elapsed();
    let Moving { mut source, mut target, rows, rows_before, .. } = moving;
    let (from, to) = (source.shown.clone(), target.shown.clone());
    finish(&mut source, token, to.clone(), State::Left, clock).await?;
    finish(&mut target, token, from.clone(), State::Arrived, clock).await?;
    source.close().await?;
    target.close().await?;
    let took_ms = Took {
        copy: millis(copied),
        index: millis(indexed.saturating_sub(copied)),
        check: millis(checked.saturating_sub(indexed)),
    };
    Ok(Moved { from, to, tables, rows, rows_before, was_done: false, took_ms })
}

fn draw(random: &dyn Random) -> i64 {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    i64::from_be_bytes(bytes)
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// Sets the last mark of a side, on its disk.
async fn finish(
    side: &mut Side,
    token: i64,
    other: String,
    state: State,
    clock: &dyn Clock,
) -> Result<(), SideError> {
    side.wait_for_disk().await?;
    side.set_mark(&Mark { state, token, other, at: clock.now() }).await
}

/// Builds the index of texts in the target, so that a search there is as fast as before.
async fn index(
    at: &DatabaseAt,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), MoveError> {
    let db = Database::open(at).await?;
    let all = unindexed_count(&db.read).await?;
    let mut done = 0;
    let mut is_more = true;
    while is_more {
        let mut tx = db.begin().await?;
        for _ in 0..PAGES_PER_COMMIT {
            is_more = links_index(&mut tx).await?;
            if !is_more {
                break;
            }
        }
        tx.commit().await?;
        done += 500 * PAGES_PER_COMMIT as u64;
        progress(Progress { step: Step::Index, done: done.min(all), all });
    }
    db.close().await;
    Ok(())
}

/// Both sides, marked, with tables that fit.
struct Moving {
    source: Side,
    target: Side,
    /// The tables as the source has them, and as the target has them, in the same order.
    from: Vec<Table>,
    to: Vec<Table>,
    rows: u64,
    rows_before: u64,
}

impl Moving {
    async fn begin(
        mut source: Side,
        mut target: Side,
        token: i64,
        now: UnixMillis,
    ) -> Result<Self, MoveError> {
        let from = source.tables().await?;
        let unordered = target.tables().await?;
        table::compare(&from, &unordered).map_err(MoveError::Schema)?;
        let find = |of: &Table| unordered.iter().find(|table| table.name == of.name).cloned();
        let to: Vec<Table> = from.iter().filter_map(find).collect();
        if source.mark().await?.is_none_or(|mark| mark.token != token) {
            let other = target.shown.clone();
            source.wait_for_disk().await?;
            source.set_mark(&Mark { state: State::Leaving, token, other, at: now }).await?;
        }
        if target.mark().await?.is_none() {
            let other = source.shown.clone();
            let mark = Mark { state: State::Arriving, token, other, at: now };
            target.begin_filling(&to, &mark).await?;
        }
        let (mut rows, mut rows_before) = (0, 0);
        for (from, to) in from.iter().zip(&to) {
            rows += source.count(from).await?;
            rows_before += target.count(to).await?;
        }
        Ok(Self { source, target, from, to, rows, rows_before })
    }

    async fn copy(&mut self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<(), MoveError> {
        let (all, mut done) = (self.rows, self.rows_before);
        for (from, to) in self.from.iter().zip(&self.to) {
            let after = self.target.last(to).await?;
            let mut page = self.source.page(from, after.as_ref()).await?;
            while let Some(last) = page.last().cloned() {
                for row in &page {
                    check_storable(from, row)?;
                }
                let rows = page.len() as u64;
                // One writes while the other reads ahead.
                let (next, inserted) = tokio::join!(
                    self.source.page(from, Some(&last)),
                    self.target.insert(to, page),
                );
                inserted?;
                page = next?;
                done += rows;
                progress(Progress { step: Step::Copy, done, all });
            }
        }
        Ok(())
    }

    /// Reads all of both again, and compares.
    async fn check(
        &mut self,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Vec<TableMoved>, MoveError> {
        let (all, mut done) = (self.rows, 0);
        let mut tables = Vec::with_capacity(self.from.len());
        for (from, to) in self.from.iter().zip(&self.to) {
            let told = |rows| {
                done += rows;
                progress(Progress { step: Step::Check, done, all });
            };
            let (here, there) =
                tokio::join!(self.source.sum(from, told), self.target.sum(to, |_| {}));
            let (here, there) = (here?, there?);
            if here != there {
                let table = from.name.clone();
                return Err(MoveError::Different { table, from: here.rows, to: there.rows });
            }
            let checksum = format!("{:032x}", here.hash);
            tables.push(TableMoved { table: from.name.clone(), rows: here.rows, checksum });
        }
        Ok(tables)
    }
}

fn check_storable(table: &Table, row: &row::Row) -> Result<(), MoveError> {
    let Some(column) = row::unstorable(table, row) else { return Ok(()) };
    let (key, column) = (row::key_text(table, row), column.to_owned());
    Err(MoveError::Unstorable { table: table.name.clone(), key, column })
}

/// Lets the source of a move be served again, where it was left. Returns where its links were
/// moved, or being moved. The caller holds the data folder's lock.
///
/// # Errors
/// [`MoveError::NothingToUndo`], or that the database failed.
pub async fn undo(
    config: &Config,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<String, MoveError> {
    let at = config.checked()?.database;
    drop(open(&at, false).await?);
    let db = Database::open(&at).await?;
    let undone = async {
        let mut tx = db.begin().await?;
        let other = match mark::read(&mut tx).await? {
            Some(Mark { state: State::Leaving | State::Left, other, .. }) => other,
            Some(Mark { state: State::Arriving, other, .. }) => {
                return Err(NotServed::Arriving(other).into());
            }
            Some(Mark { state: State::Arrived, .. }) | None => {
                return Err(MoveError::NothingToUndo);
            }
        };
        mark::remove(&mut tx).await?;
        feed_restart(&mut tx, clock.now(), random).await?;
        tx.commit().await?;
        Ok(other)
    };
    let undone = undone.await;
    db.close().await;
    undone
}

#[cfg(test)]
mod tests;
