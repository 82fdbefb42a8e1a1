//! The mark in a database that moves: who may serve it, and which two belong together.

use carom_shared::UnixMillis;

use crate::db::check::{CheckError, Stores};
use crate::db::{Database, StoreError, Tx, on_tx};

/// What becomes of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Rows are taken from it.
    Leaving,
    /// All of them were.
    Left,
    /// Rows come into it.
    Arriving,
    /// All of them came.
    Arrived,
}

impl State {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Arriving => "arriving",
            Self::Arrived => "arrived",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [Self::Leaving, Self::Left, Self::Arriving, Self::Arrived];
        all.into_iter().find(|state| state.word() == word)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) state: State,
    /// The same on both sides.
    pub(crate) token: i64,
    /// The other side, as messages call it.
    pub(crate) other: String,
    pub(crate) at: UnixMillis,
}

pub(crate) const READ: &str = "select state, token, other, at_ms from moving where id = 1";
pub(crate) const WRITE: &str = "insert into moving (id, state, token, other, at_ms) values (1, $1, $2, $3, $4) \
     on conflict (id) do update set state = excluded.state, token = excluded.token, \
       other = excluded.other, at_ms = excluded.at_ms";

pub(crate) type MarkRow = (String, i64, String, i64);

impl Mark {
    pub(crate) fn of_row((state, token, other, at_ms): MarkRow) -> Result<Self, StoreError> {
        let state = State::parse(&state).ok_or(StoreError::Corrupt("state of a move"))?;
        Ok(Self { state, token, other, at: UnixMillis::new(at_ms) })
    }
}

/// Why a database is not served.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    #[error(
        "these links are being moved to {0}, and are not served meanwhile: finish with the carom \
         move that began it, or give it up with carom move --undo"
    )]
    Leaving(String),
    #[error(
        "these links were moved to {0}: set database.url to that. To go back to them as they were \
         before, stop whoever serves {0}, and run carom move --undo: what was changed there since \
         is not here"
    )]
    Left(String),
    #[error(
        "only a part of the links of {0} is in this database: finish with the carom move that began \
         it, or give it up with carom move --undo there, and empty this database"
    )]
    Arriving(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) async fn read(tx: &mut Tx) -> Result<Option<Mark>, StoreError> {
    let row: Option<MarkRow> = on_tx!(tx, |conn| sqlx::query_as(READ).fetch_optional(conn).await)?;
    row.map(Mark::of_row).transpose()
}

pub(super) async fn remove(tx: &mut Tx) -> Result<(), StoreError> {
    const REMOVE: &str = "delete from moving";
    on_tx!(tx, |conn| sqlx::query(REMOVE).execute(conn).await.map(drop))?;
    Ok(())
}

/// Refuses a database that moves to another, was moved, or is not whole yet.
pub(crate) async fn may_be_served(tx: &mut Tx) -> Result<(), NotServed> {
    judge(read(tx).await?)
}

fn judge(mark: Option<Mark>) -> Result<(), NotServed> {
    match mark {
        None | Some(Mark { state: State::Arrived, .. }) => Ok(()),
        Some(Mark { state: State::Leaving, other, .. }) => Err(NotServed::Leaving(other)),
        Some(Mark { state: State::Left, other, .. }) => Err(NotServed::Left(other)),
        Some(Mark { state: State::Arriving, other, .. }) => Err(NotServed::Arriving(other)),
    }
}

impl Database {
    /// Begins the one transaction that writes, if this database may be served still: a control plane
    /// that had no connection while a move looked for it, because it was idle or cut off, goes on
    /// here. It costs PostgreSQL one question for each commit; a file is kept by its folder's lock.
    ///
    /// # Errors
    /// [`StoreError::Moved`], and what fails otherwise.
    pub(crate) async fn begin_served(&self) -> Result<Tx, StoreError> {
        let mut tx = self.begin().await?;
        if let Tx::Postgres(_) = tx {
            match may_be_served(&mut tx).await {
                Ok(()) => {}
                Err(NotServed::Store(error)) => return Err(error),
                Err(moved) => {
                    tracing::error!("{moved}");
                    return Err(StoreError::Moved);
                }
            }
        }
        Ok(tx)
    }
}

impl Stores {
    /// Why the links are not served, if a move is the cause. The schema is this version's.
    ///
    /// # Errors
    /// [`CheckError`], if the database cannot be asked.
    pub async fn not_served(&self) -> Result<Option<NotServed>, CheckError> {
        let row: Option<MarkRow> = match (&self.links, &self.postgres) {
            (Some(links), _) => {
                let look = async |conn: &mut _| sqlx::query_as(READ).fetch_optional(conn).await;
                links.read(look).await?
            }
            (None, Some(at)) => {
                let mut connection = at.connect().await?;
                let row = sqlx::query_as(READ).fetch_optional(&mut connection).await;
                row.map_err(StoreError::from)?
            }
            (None, None) => None,
        };
        Ok(judge(row.map(Mark::of_row).transpose()?).err())
    }
}
