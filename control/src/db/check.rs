//! The stores as they are found: looked at before a start, and by who looks after an installation.
//!
//! Everything here only reads, and may stand beside a process that serves. SQLite's readers hold up
//! no writer; a file that nobody has open is read as it lies, so that no log appears beside it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use carom_shared::UnixMillis;
use carom_shared::batch::Token;
use carom_shared::settings::InvalidSetting;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::{DbOpenError, PostgresAt, SCHEMA_POSTGRES, SCHEMA_SQLITE, Schema, StoreError};
use crate::backup::{CLICKS_FILE, LINKS_FILE};
use crate::click::sqlite as clicks;
use crate::config::{ClicksAt, Config, DatabaseAt};

pub use super::snapshot::CheckError;

/// Complaints about a damaged file that are read, at most.
const COMPLAINTS_MAX: usize = 5;
/// Links that are compared at once.
const PAGE_MAX: u32 = 10_000;
/// How long a look at PostgreSQL waits for it.
const POSTGRES_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds of the time that clicks are rolled up by.
const QUARTER_S: i64 = 900;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What takes seconds.
    Quick,
    /// Every byte, every index, every sum.
    Deep,
}

/// Where an installation keeps what it knows.
#[derive(Clone, Debug)]
pub struct Stores {
    /// `None`: in PostgreSQL.
    pub links: Option<StoreFile>,
    pub clicks: StoreFile,
    /// Otherwise ClickHouse, or another control plane, has the clicks.
    pub has_clicks: bool,
    pub(super) postgres: Option<Box<PostgresAt>>,
}

/// A store that is a SQLite file; it may not be there yet.
#[derive(Clone, Debug)]
pub struct StoreFile {
    /// What it is called in a backup.
    pub name: &'static str,
    pub path: PathBuf,
    schema: Schema,
}

/// What the ledger of stored batches says of batches that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Those that are stored already.
    pub known: u64,
    /// Those that are not, and were made too long ago to be taken.
    pub too_old: u64,
    /// When a batch was stored last, in milliseconds since 1970.
    pub newest_ms: Option<i64>,
}

/// What a PostgreSQL server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresFacts {
    /// Which database it is; never with its password.
    pub shown: String,
    pub version: String,
    /// Such as 180000.
    pub version_number: i64,
    pub encoding: String,
    pub fsync: bool,
    pub full_page_writes: bool,
    /// A standby cannot be written to.
    pub is_standby: bool,
    /// `None`: nothing of Carom is in it yet.
    pub schema: Option<i64>,
    pub known: i64,
}

impl Config {
    /// Where the stores are; opens nothing.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first setting that cannot be used.
    pub fn stores(&self) -> Result<Stores, InvalidSetting> {
        let checked = self.checked()?;
        let file = |name, path, schema| StoreFile { name, path, schema };
        let (links, postgres) = match checked.database {
            DatabaseAt::Sqlite(path) => (Some(file(LINKS_FILE, path, SCHEMA_SQLITE)), None),
            DatabaseAt::Postgres(at) => (None, Some(at)),
        };
        // Where another control plane or ClickHouse has the clicks, there is no such file, and that is no fault.
        let (path, has_clicks) = match checked.clicks {
            Some(ClicksAt::Sqlite(path)) => (path, true),
            Some(ClicksAt::ClickHouse { .. }) | None => (self.data_dir.join(CLICKS_FILE), false),
        };
        let clicks = file(CLICKS_FILE, path, clicks::SCHEMA);
        Ok(Stores { links, clicks, has_clicks, postgres })
    }
}

/// The version of the SQLite that is built in.
///
/// # Errors
/// [`StoreError`], if not even an empty database in memory can be opened.
pub async fn sqlite_version() -> Result<String, StoreError> {
    let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await?;
    Ok(sqlx::query_scalar("select sqlite_version()").fetch_one(&mut connection).await?)
}

impl StoreFile {
    /// The version of the schema that this program writes.
    #[must_use]
    pub fn known(&self) -> i64 {
        self.schema.last().map_or(0, |&(version, ..)| version)
    }

    /// The version of the file's schema; `None` if it is not there, or empty.
    ///
    /// # Errors
    /// [`CheckError`]: it is damaged, is no database of Carom, or is newer than this program.
    pub async fn version(&self) -> Result<Option<i64>, CheckError> {
        match std::fs::metadata(&self.path) {
            Ok(file) if file.len() > 0 => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(sqlx::Error::Io(error))),
        }
        let found = self.read(async |connection| {
            const TABLES: &str = "select count(*) from sqlite_schema";
            const NEWEST: &str = "select max(version) from _sqlx_migrations";
            let tables: i64 = sqlx::query_scalar(TABLES).fetch_one(&mut *connection).await?;
            if tables == 0 {
                return Ok(None);
            }
            sqlx::query_scalar(NEWEST).fetch_one(connection).await
        });
        let (found, known) = (found.await?, self.known());
        match found {
            Some(found) if found > known => {
                let path = self.path.display().to_string();
                Err(DbOpenError::Newer { path, found, known }.into())
            }
            found => Ok(found),
        }
    }

    /// What SQLite complains about; nothing, if it is whole.
    ///
    /// # Errors
    /// [`CheckError`], if it is so damaged that it cannot be looked at, or cannot be read.
    pub async fn complaints(&self, depth: Depth) -> Result<Vec<String>, CheckError> {
        self.read(async |connection| {
            let sql = match depth {
                Depth::Quick => "pragma quick_check(5)",
                Depth::Deep => "pragma integrity_check(5)",
            };
            let told: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut *connection).await?;
            let mut complaints: Vec<String> =
                told.into_iter().filter(|line| line != "ok").collect();
            if depth == Depth::Deep && complaints.is_empty() {
                const BROKEN: &str = "select \"table\" || ' row ' || coalesce(rowid, '?') || \
                     ' refers to a missing ' || parent from pragma_foreign_key_check limit 5";
                complaints = sqlx::query_scalar(BROKEN).fetch_all(connection).await?;
            }
            complaints.truncate(COMPLAINTS_MAX);
            Ok(complaints)
        })
        .await
    }

    /// Copies it into a file that is not there yet, as it is at one moment, and puts that on disk.
    ///
    /// # Errors
    /// [`CheckError`]; half a file may be left.
    pub async fn copy_to(&self, to: &Path) -> Result<(), CheckError> {
        let copied = async {
            let mut connection = self.options(false).connect().await?;
            let copy = sqlx::query("vacuum into ?").bind(to.display().to_string());
            let copied = copy.execute(&mut connection).await;
            connection.close().await?;
            copied?;
            std::fs::File::open(to)?.sync_all()?;
            Ok::<_, sqlx::Error>(())
        };
        copied.await.map_err(|error| self.failed(error))
    }

    fn options(&self, is_at_rest: bool) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(&self.path).read_only(true).immutable(is_at_rest)
    }

    /// Whether nobody has it open, and nobody was killed with it open.
    fn is_at_rest(&self) -> bool {
        let mut log = OsString::from(self.path.as_os_str());
        log.push("-wal");
        !Path::new(&log).exists()
    }

    pub(super) async fn read<T>(
        &self,
        look: impl AsyncFn(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, CheckError> {
        let once = async |is_at_rest| {
            let mut connection = self.options(is_at_rest).connect().await?;
            let found = look(&mut connection).await;
            connection.close().await?;
            found
        };
        let is_at_rest = self.is_at_rest();
        let mut found = once(is_at_rest).await;
        // Somebody opened it meanwhile: what was read may be half of this and half of that.
        if is_at_rest && !self.is_at_rest() {
            found = once(false).await;
        }
        found.map_err(|error| self.failed(error))
    }

    /// Tells damage from what passes.
    fn failed(&self, error: sqlx::Error) -> CheckError {
        match &error {
            // SQLITE_ERROR (no such table), SQLITE_CORRUPT, SQLITE_NOTADB.
            sqlx::Error::Database(told)
                if told.code().is_some_and(|code| matches!(&*code, "1" | "11" | "26" | "267")) =>
            {
                let complaint = told.message().to_owned();
                CheckError::Damaged { path: self.path.display().to_string(), complaint }
            }
            _ => CheckError::Store(error.into()),
        }
    }
}

impl Stores {
    /// The stores that are files: clicks first, then links, the order in which copies fit.
    pub fn files(&self) -> impl Iterator<Item = &StoreFile> {
        self.has_clicks.then_some(&self.clicks).into_iter().chain(&self.links)
    }

    /// Looks for batches that wait, each with when it was made, in the ledger of those stored.
    ///
    /// # Errors
    /// [`CheckError`], if the store cannot be read.
    pub async fn ledger(
        &self,
        waiting: &[(Token, UnixMillis)],
        now: UnixMillis,
    ) -> Result<Ledger, CheckError> {
        let look = async |connection: &mut SqliteConnection| {
            const NEWEST: &str = "select max(stored_at_ms) from batch";
            const KNOWN: &str = "select count(*) from batch where token = ?";
            let newest_ms = sqlx::query_scalar(NEWEST).fetch_one(&mut *connection).await?;
            let mut ledger = Ledger { newest_ms, ..Ledger::default() };
            for (token, made_at) in waiting {
                let known = sqlx::query_scalar(KNOWN).bind(token.as_str());
                let known: i64 = known.fetch_one(&mut *connection).await?;
                ledger.known += u64::from(known > 0);
                ledger.too_old += u64::from(known == 0 && clicks::is_forgotten(*made_at, now));
            }
            Ok(ledger)
        };
        self.clicks.read(look).await
    }

    /// How many sums of the last days are not those of the clicks they are made from; `None` while
    /// clicks are being erased, when they cannot be compared.
    ///
    /// # Errors
    /// [`CheckError`], if the store cannot be read.
    pub async fn rollup_differences(
        &self,
        now: UnixMillis,
        days: i64,
    ) -> Result<Option<u64>, CheckError> {
        const READY: &str = "select (select count(*) from erasure), \
             coalesce((select max(detail_since_s) from retention), 0)";
        const DIFFERENT: &str = "with \
             raw as (select workspace, link, at_s / 900, kind, sum(n) from click \
               where at_s >= ?1 * 900 group by 1, 2, 3, 4), \
             quarters as (select workspace, link, quarter, kind, n from click_quarter \
               where quarter >= ?1), \
             sums as (select workspace, quarter, kind, sum(n) from click_quarter \
               where quarter >= ?1 group by 1, 2, 3), \
             all_links as (select workspace, quarter, kind, n from workspace_quarter \
               where quarter >= ?1) \
             select (select count(*) from (select * from raw except select * from quarters)) \
               + (select count(*) from (select * from quarters except select * from raw)) \
               + (select count(*) from (select * from sums except select * from all_links)) \
               + (select count(*) from (select * from all_links except select * from sums))";
        let look = async |connection: &mut SqliteConnection| {
            // One transaction: a batch is in all of them or in none.
            let mut tx = connection.begin().await?;
            let (erasures, detail_since_s): (i64, i64) =
                sqlx::query_as(READY).fetch_one(&mut *tx).await?;
            if erasures > 0 {
                return Ok(None);
            }
            let since_s = (now.as_secs() - days * 86_400).max(detail_since_s);
            let from = since_s.div_euclid(QUARTER_S) + 1;
            let different = sqlx::query_scalar(DIFFERENT).bind(from).fetch_one(&mut *tx);
            let different: i64 = different.await?;
            Ok(Some(different.unsigned_abs()))
        };
        self.clicks.read(look).await
    }

    /// How many breakdowns of times that are over are not of as many clicks as those times have; `None`
    /// while clicks are being erased.
    ///
    /// # Errors
    /// [`CheckError`], if the store cannot be read.
    pub async fn blocks_that_differ(&self) -> Result<Option<u64>, CheckError> {
        const ERASURES: &str = "select count(*) from erasure";
        // A block's rows are next to each other, and each says how many clicks the block has.
        const OF_WORKSPACES: &str = "select count(*) from \
             (select distinct workspace, level, block, clicks from workspace_block) b \
             where b.clicks <> (select coalesce(sum(q.n), 0) from workspace_quarter q \
               where q.workspace = b.workspace and q.kind = 0 \
                 and q.quarter >= b.block * b.level and q.quarter < (b.block + 1) * b.level)";
        const OF_LINKS: &str = "select count(*) from \
             (select distinct workspace, level, block, link, clicks from link_block) b \
             where b.clicks <> (select coalesce(sum(q.n), 0) from part p cross join click_quarter q \
               where p.first_quarter < (b.block + 1) * b.level and p.last_quarter >= b.block * b.level \
                 and q.part = p.first_quarter and q.workspace = b.workspace and q.link = b.link \
                 and q.kind = 0 \
                 and q.quarter >= b.block * b.level and q.quarter < (b.block + 1) * b.level)";
        let look = async |connection: &mut SqliteConnection| {
            // One transaction: what changes clicks of a time takes its blocks away.
            let mut tx = connection.begin().await?;
            let erasures: i64 = sqlx::query_scalar(ERASURES).fetch_one(&mut *tx).await?;
            if erasures > 0 {
                return Ok(None);
            }
            let mut different = 0;
            for sql in [OF_WORKSPACES, OF_LINKS] {
                let found: i64 = sqlx::query_scalar(sql).fetch_one(&mut *tx).await?;
                different += found.unsigned_abs();
            }
            Ok(Some(different))
        };
        self.clicks.read(look).await
    }

    /// How many links have clicks that lists do not show yet; `None` if the links are in
    /// PostgreSQL.
    ///
    /// # Errors
    /// [`CheckError`], if a store cannot be read.
    pub async fn clicks_not_carried(&self) -> Result<Option<u64>, CheckError> {
        const LEFT: &str = "select count(*) from click_link where (batch, link) > (?, ?)";
        let Some(links) = &self.links else { return Ok(None) };
        let (batch, link) = links.read(click_cursor).await?;
        let look = async |connection: &mut SqliteConnection| {
            sqlx::query_scalar(LEFT).bind(batch).bind(link).fetch_one(connection).await
        };
        let left: i64 = self.clicks.read(look).await?;
        Ok(Some(left.unsigned_abs()))
    }

    /// How many links show other clicks than the store of clicks has for them, but for those that
    /// are not carried over yet. Only while nobody serves: two files are not of one moment.
    ///
    /// # Errors
    /// [`CheckError`], if a store cannot be read.
    pub async fn links_with_other_clicks(&self) -> Result<Option<u64>, CheckError> {
        const THERE: &str = "select link, clicks, batch from click_link \
             where link > ? order by link limit ?";
        const HERE: &str = "select id, clicks from link where id > ? and id <= ?";
        let Some(links) = &self.links else { return Ok(None) };
        let cursor = links.read(click_cursor).await?;
        let (mut after, mut different) = (0_i64, 0);
        loop {
            let page = async |connection: &mut SqliteConnection| {
                let page = sqlx::query_as(THERE).bind(after).bind(PAGE_MAX);
                page.fetch_all(connection).await
            };
            let page: Vec<(i64, i64, i64)> = self.clicks.read(page).await?;
            let Some(&(last, ..)) = page.last() else { return Ok(Some(different)) };
            let here = async |connection: &mut SqliteConnection| {
                sqlx::query_as(HERE).bind(after).bind(last).fetch_all(connection).await
            };
            let here: HashMap<i64, i64> = links.read(here).await?.into_iter().collect();
            let is_other = |&&(link, clicks, batch): &&(i64, i64, i64)| {
                (batch, link) <= cursor && here.get(&link).is_some_and(|here| *here != clicks)
            };
            different += page.iter().filter(is_other).count() as u64;
            after = last;
        }
    }

    /// What the PostgreSQL server says; `None` if the links are in a file.
    ///
    /// # Errors
    /// [`CheckError`], if it cannot be reached or asked.
    pub async fn postgres(&self) -> Result<Option<PostgresFacts>, CheckError> {
        let Some(at) = &self.postgres else { return Ok(None) };
        let asked = tokio::time::timeout(POSTGRES_TIMEOUT, ask_postgres(at)).await;
        let asked = asked.unwrap_or_else(|_| {
            let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(DbOpenError::Open { path: at.shown(), source: error.into() }.into())
        });
        asked.map(Some)
    }
}

async fn click_cursor(connection: &mut SqliteConnection) -> Result<(i64, i64), sqlx::Error> {
    const CURSOR: &str = "select batch, link_id from click_cursor";
    sqlx::query_as(CURSOR).fetch_one(connection).await
}

async fn ask_postgres(at: &PostgresAt) -> Result<PostgresFacts, CheckError> {
    const FACTS: &str = "select current_setting('server_version'), \
         current_setting('server_version_num')::bigint, \
         pg_encoding_to_char(encoding)::text, \
         current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on', \
         pg_is_in_recovery(), to_regclass('_sqlx_migrations') is not null \
         from pg_database where datname = current_database()";
    const NEWEST: &str = "select max(version) from _sqlx_migrations";
    type Facts = (String, i64, String, bool, bool, bool, bool);
    let mut connection = at.connect().await?;
    let facts: Facts =
        sqlx::query_as(FACTS).fetch_one(&mut connection).await.map_err(StoreError::from)?;
    let (version, version_number, encoding, fsync, full_page_writes, is_standby, is_ours) = facts;
    let schema = if is_ours {
        sqlx::query_scalar(NEWEST).fetch_one(&mut connection).await.map_err(StoreError::from)?
    } else {
        None
    };
    connection.close().await.map_err(StoreError::from)?;
    let known = SCHEMA_POSTGRES.last().map_or(0, |&(version, ..)| version);
    let shown = at.shown();
    Ok(PostgresFacts {
        shown,
        version,
        version_number,
        encoding,
        fsync,
        full_page_writes,
        is_standby,
        schema,
        known,
    })
}
