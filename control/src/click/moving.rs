//! A move of clicks: all that one store of clicks holds goes into another one, SQLite's file or a ClickHouse.
//!
//! # What is copied
//!
//! 1. **What is left of old clicks**: their rows are gone, and the rollup has their sums. They end at midnight
//!    (UTC), so no quarter hour has both.
//! 2. **Clicks**, page by page in the source's own order. A page becomes one batch of the target, which
//!    derives its rollups from it as from any other.
//! 3. **The ledger**: a batch that the source had stored is refused by the target when it comes again.
//! 4. **Links** that were ever clicked, and how many of each one's clicks came from files.
//! 5. From when on there are rows.
//!
//! # Why nothing is missed, and nothing comes twice
//!
//! Nobody serves meanwhile, which the data folder's lock and a fence around links in PostgreSQL see to; edges
//! keep their batches. Those that store clicks themselves see in a ClickHouse that it is closed (`CLOSED`), and
//! leave theirs to control. The source is marked before the first row is read, the target before the first one
//! comes, and neither is served until the last step. Both marks hold one token, so a target goes on only with its
//! own source.
//!
//! A page is stored under a name made of that token, its number and the place of its last click: in SQLite in
//! one transaction with its rows, in ClickHouse in the ledger, once its rows were counted. A move that goes on asks
//! for the last such name, and begins behind it. What is in a ClickHouse and in no ledger is taken out first.
//! All else can be put in again without being there twice.
//!
//! # Why it is whole
//!
//! At the end everything in both is read again: for each day the count of its clicks and the sum of their
//! hashes, what the rollup says of each day and kind, the ledger, and what came from files have to be the same.
//! Nothing of that comes from what was noted while copying.
//!
//! # What is not the same
//!
//! Visitors of times whose clicks are gone: stores keep sketches that the other cannot read. A quarter hour
//! has as many as before (those of a file up to 512 keep who is the same), over several quarter hours they
//! may be counted again.

pub(crate) mod copy;
mod judge;
pub(crate) mod row;

use std::time::{Duration, Instant};

use carom_shared::settings::InvalidSetting;
use carom_shared::{Clock, Random, UnixMillis};
use serde::Serialize;

use super::clickhouse::is_there;
use super::store::ClickStore;
use crate::config::{ClicksAt, ClicksConfig, Config, DatabaseAt};
use crate::db::moving::{Mark, MoveError, PlanState, State, fence};
use crate::db::{DbOpenError, StoreError};
use copy::{Source, copy, sums};
pub use judge::ClicksNotServed;
pub(crate) use judge::may_be_served;
use row::Sums;

/// How long after the mark edges that store clicks themselves may still be at it: one inserts at most 10 s
/// after it saw that the store is open.
const EDGES_REST: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(15) };
/// Rounds of an audit; each puts a day right.
const AUDITS_MAX: u32 = 4000;

/// Why no clicks were moved, or not all. What was begun goes on with the same command.
#[derive(Debug, thiserror::Error)]
pub enum ClicksMoveError {
    #[error(transparent)]
    Config(#[from] InvalidSetting),
    #[error("--clicks-to {0}")]
    To(String),
    #[error("the clicks are another control plane's (clicks.url is none): run this where they are")]
    Elsewhere,
    #[error("--clicks-to names the store that the clicks are in already")]
    Same,
    #[error(
        "both are files: stop carom, copy clicks.db (and clicks.db-wal, if it is there), and set clicks.url"
    )]
    Files,
    #[error("there are no clicks to move: {0} is not there")]
    NoSource(String),
    #[error(
        "{0} holds clicks already; name an empty database (of a file: a name that is not taken), or move \
         that one away"
    )]
    Occupied(String),
    #[error(
        "{0} holds a part of another move, which was given up or goes on elsewhere; name an empty \
         database, or empty this one"
    )]
    OtherPart(String),
    #[error(
        "a move of these clicks to {0} was begun, and it is not {1}: finish it with that --clicks-to, or \
         give it up with carom move --undo --clicks"
    )]
    OtherTarget(String, String),
    #[error(
        "not everything is the same on both sides ({0}): nothing was changed in the source. See that nobody \
         stores clicks there, edges neither; give up with carom move --undo --clicks, empty the \
         target, and move again"
    )]
    Different(String),
    #[error("this store of clicks is part of no move: nothing to undo")]
    NothingToUndo,
    #[error("the audit of {0} does not end: it is being written to")]
    Unsettled(String),
    #[error(transparent)]
    NotServed(#[from] ClicksNotServed),
    #[error(transparent)]
    Links(#[from] MoveError),
    #[error(transparent)]
    Open(#[from] DbOpenError),
    #[error("the store of clicks {at} failed; the same carom move goes on where it was")]
    Store { at: String, source: StoreError },
}

/// What a move of clicks is going to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClicksPlan {
    pub from: String,
    pub to: String,
    pub state: PlanState,
    /// Rows of clicks in the source.
    pub rows: u64,
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClicksMoved {
    pub from: String,
    pub to: String,
    pub rows: u64,
    /// Of these, those that an earlier, interrupted move had brought; none if it was done.
    pub rows_before: u64,
    pub days: u64,
    /// Batches of the ledger.
    pub batches: u64,
    /// Sum of the hashes of all clicks, the same on both sides; hexadecimal.
    pub checksum: String,
    /// Nothing of it was to be done any more, and nothing was looked at.
    pub was_done: bool,
    pub copy_ms: u64,
    pub check_ms: u64,
}

/// How far a move is, in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClicksProgress {
    pub is_check: bool,
    pub done: u64,
    pub all: u64,
}

/// A source and a target, by their settings.
struct Ends {
    links: DatabaseAt,
    from: ClicksAt,
    to: ClicksAt,
}

impl Ends {
    fn of(config: &Config, to: &str) -> Result<Self, ClicksMoveError> {
        let checked = config.checked()?;
        let from = checked.clicks.ok_or(ClicksMoveError::Elsewhere)?;
        let to = ClicksConfig { url: to.to_owned(), ..config.clicks.clone() };
        let to = to.at(&config.data_dir).map_err(|error| ClicksMoveError::To(error.problem))?;
        let Some(to) = to else {
            return Err(ClicksMoveError::To("none is no store".to_owned()));
        };
        if from.shown() == to.shown() {
            return Err(ClicksMoveError::Same);
        }
        if let (ClicksAt::Sqlite(_), ClicksAt::Sqlite(_)) = (&from, &to) {
            return Err(ClicksMoveError::Files);
        }
        Ok(Self { links: checked.database, from, to })
    }

    fn source_failed(&self) -> impl Fn(StoreError) -> ClicksMoveError + Copy {
        failed(&self.from)
    }

    fn target_failed(&self) -> impl Fn(StoreError) -> ClicksMoveError + Copy {
        failed(&self.to)
    }

    /// Looks at both, and says how far a move from one to the other is, with its token.
    async fn look(
        &self,
        source: &ClickStore,
        target: Option<&ClickStore>,
    ) -> Result<(PlanState, Option<i64>), ClicksMoveError> {
        let to = self.to.shown();
        let here = source.mark().await.map_err(self.source_failed())?;
        if let Some(Mark { state: State::Arriving, other, .. }) = here {
            return Err(ClicksNotServed::Arriving(other).into());
        }
        let (there, is_unused) = match target {
            None => (None, true),
            Some(target) => {
                let mark = target.mark().await.map_err(self.target_failed())?;
                (mark, target.is_unused().await.map_err(self.target_failed())?)
            }
        };
        let here = here.filter(|mark| mark.state != State::Arrived);
        match (here, there) {
            (Some(here), Some(there)) if here.token == there.token => match there.state {
                State::Arriving => Ok((PlanState::Interrupted, Some(here.token))),
                _ => Ok((PlanState::Done, Some(here.token))),
            },
            (None, Some(Mark { state: State::Arriving, .. })) => {
                Err(ClicksMoveError::OtherPart(to))
            }
            (None, _) if !is_unused => Err(ClicksMoveError::Occupied(to)),
            (None, _) => Ok((PlanState::New, None)),
            // Killed between the two marks.
            (Some(here), None) if here.state == State::Leaving && here.other == to && is_unused => {
                Ok((PlanState::Interrupted, Some(here.token)))
            }
            (Some(here), _) => Err(ClicksMoveError::OtherTarget(here.other, to)),
        }
    }
}

fn failed(at: &ClicksAt) -> impl Fn(StoreError) -> ClicksMoveError + Copy {
    move |source| ClicksMoveError::Store { at: at.shown(), source }
}

/// Opens a store that is there; makes none.
async fn open(at: &ClicksAt) -> Result<Option<ClickStore>, ClicksMoveError> {
    let is_there = match at {
        ClicksAt::Sqlite(path) => std::fs::metadata(path).is_ok_and(|file| file.len() > 0),
        ClicksAt::ClickHouse { server, .. } => is_there(server.clone()).await?,
    };
    Ok(if is_there { Some(open_or_make(at).await?) } else { None })
}

/// A server has to be there, other than for a start.
async fn open_or_make(at: &ClicksAt) -> Result<ClickStore, DbOpenError> {
    let store = ClickStore::open(at).await?;
    if let ClickStore::ClickHouse(store) = &store {
        store.prepare().await?;
    }
    Ok(store)
}

async fn open_source(at: &ClicksAt) -> Result<ClickStore, ClicksMoveError> {
    open(at).await?.ok_or_else(|| ClicksMoveError::NoSource(at.shown()))
}

/// Says what a move would do; changes nothing. The caller holds the data folder's lock.
///
/// # Errors
/// [`ClicksMoveError`], as the move itself would fail.
pub async fn plan(config: &Config, to: &str) -> Result<ClicksPlan, ClicksMoveError> {
    let ends = Ends::of(config, to)?;
    let source = open_source(&ends.from).await?;
    let target = open(&ends.to).await?;
    let (state, _) = ends.look(&source, target.as_ref()).await?;
    let rows = async { Source::new(&source).await?.rows_count().await };
    let rows = rows.await.map_err(ends.source_failed())?;
    source.close().await;
    if let Some(target) = target {
        target.close().await;
    }
    Ok(ClicksPlan { from: ends.from.shown(), to: ends.to.shown(), state, rows })
}

/// Moves all clicks, or goes on with an interrupted move. The caller holds the data folder's lock.
///
/// # Errors
/// [`ClicksMoveError`]; what is done stays, and the same call goes on with it.
pub async fn run(
    config: &Config,
    to: &str,
    clock: &dyn Clock,
    random: &dyn Random,
    progress: &mut (dyn FnMut(ClicksProgress) + Send),
) -> Result<ClicksMoved, ClicksMoveError> {
    let ends = Ends::of(config, to)?;
    let _fence = fence(&ends.links).await?;
    let source = open_source(&ends.from).await?;
    // Before the target is made, where it would be for nothing.
    ends.look(&source, open(&ends.to).await?.as_ref()).await?;
    let target = open_or_make(&ends.to).await?;
    let moved = go(&ends, &source, &target, clock, random, progress).await;
    source.close().await;
    target.close().await;
    moved
}

async fn go(
    ends: &Ends,
    source: &ClickStore,
    target: &ClickStore,
    clock: &dyn Clock,
    random: &dyn Random,
    progress: &mut (dyn FnMut(ClicksProgress) + Send),
) -> Result<ClicksMoved, ClicksMoveError> {
    let (here, there) = (ends.source_failed(), ends.target_failed());
    let (from, to) = (ends.from.shown(), ends.to.shown());
    let (state, token) = ends.look(source, Some(target)).await?;
    let mark =
        |state, token, other: &str| Mark { state, token, other: other.to_owned(), at: clock.now() };
    let mut moved = ClicksMoved {
        from: from.clone(),
        to: to.clone(),
        rows: 0,
        rows_before: 0,
        days: 0,
        batches: 0,
        checksum: String::new(),
        was_done: state == PlanState::Done,
        copy_ms: 0,
        check_ms: 0,
    };
    if moved.was_done {
        let token = token.unwrap_or_default();
        source.set_mark(Some(&mark(State::Left, token, &to)), clock.now()).await.map_err(here)?;
        return Ok(moved);
    }
    let token = token.unwrap_or_else(|| draw(random));
    source.set_mark(Some(&mark(State::Leaving, token, &to)), clock.now()).await.map_err(here)?;
    target
        .set_mark(Some(&mark(State::Arriving, token, &from)), clock.now())
        .await
        .map_err(there)?;

    let begun = Instant::now();
    if let ClickStore::ClickHouse(source) = source {
        // Edges that looked before the mark may be inserting; and what they were not told of comes again.
        tokio::time::sleep(EDGES_REST).await;
        source.take_out_unnoted().await.map_err(here)?;
    }
    source.erasures_resume().await.map_err(here)?;
    audit(source, &from, clock.now()).await?.map_err(here)?;
    let reader = Source::new(source).await.map_err(here)?;
    let name = format!("move-{:016x}", token.cast_unsigned());
    moved.rows_before = copy(&reader, target, &name, clock.now(), progress).await.map_err(there)?;
    audit(target, &to, clock.now()).await?.map_err(there)?;
    moved.copy_ms = millis(begun);

    let begun = Instant::now();
    let sums = compare(ends, &reader, target, &name, progress).await?;
    source.set_mark(Some(&mark(State::Left, token, &to)), clock.now()).await.map_err(here)?;
    target.set_mark(Some(&mark(State::Arrived, token, &from)), clock.now()).await.map_err(there)?;
    Ok(ClicksMoved {
        rows: sums.rows(),
        days: sums.days.len() as u64,
        batches: sums.ledger.rows,
        checksum: sums.checksum(),
        check_ms: millis(begun),
        ..moved
    })
}

/// Reads all of both again; returns what is the same.
async fn compare(
    ends: &Ends,
    source: &Source,
    target: &ClickStore,
    name: &str,
    progress: &mut (dyn FnMut(ClicksProgress) + Send),
) -> Result<Sums, ClicksMoveError> {
    let (here, there) = (ends.source_failed(), ends.target_failed());
    let arrived = Source::new(target).await.map_err(there)?;
    let all = source.rows_count().await.map_err(here)?;
    let (sums_here, sums_there) = tokio::join!(
        sums(source, "", |done| progress(ClicksProgress { is_check: true, done, all })),
        sums(&arrived, name, |_| {}),
    );
    let (sums_here, sums_there) = (sums_here.map_err(here)?, sums_there.map_err(there)?);
    match sums_here.difference(&sums_there) {
        Some(difference) => Err(ClicksMoveError::Different(difference)),
        None => Ok(sums_here),
    }
}

/// Puts the rollup right, that of the last minutes too: nobody writes any more.
async fn audit(
    store: &ClickStore,
    shown: &str,
    now: UnixMillis,
) -> Result<Result<(), StoreError>, ClicksMoveError> {
    let later = now.saturating_add(std::time::Duration::from_hours(48));
    for _ in 0..AUDITS_MAX {
        match store.audit(later).await {
            Ok(0) => return Ok(Ok(())),
            Ok(_) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    Err(ClicksMoveError::Unsettled(shown.to_owned()))
}

fn draw(random: &dyn Random) -> i64 {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    i64::from_be_bytes(bytes)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Lets the source of a move be served again, where it was left. Returns where its clicks were
/// moved, or being moved. The caller holds the data folder's lock.
///
/// # Errors
/// [`ClicksMoveError::NothingToUndo`], or that the store failed.
pub async fn undo(config: &Config, clock: &dyn Clock) -> Result<String, ClicksMoveError> {
    let checked = config.checked()?;
    let at = checked.clicks.ok_or(ClicksMoveError::Elsewhere)?;
    let _fence = fence(&checked.database).await?;
    let store = open_source(&at).await?;
    let undone = async {
        let other = match store.mark().await.map_err(failed(&at))? {
            Some(Mark { state: State::Leaving | State::Left, other, .. }) => other,
            Some(Mark { state: State::Arriving, other, .. }) => {
                return Err(ClicksNotServed::Arriving(other).into());
            }
            Some(Mark { state: State::Arrived, .. }) | None => {
                return Err(ClicksMoveError::NothingToUndo);
            }
        };
        store.set_mark(None, clock.now()).await.map_err(failed(&at))?;
        Ok(other)
    };
    let undone = undone.await;
    store.close().await;
    undone
}

#[cfg(test)]
mod tests;
