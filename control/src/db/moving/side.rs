//! One of the two databases of a move: one connection, with nobody else's work on it.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Row as _};

use super::mark::{self, Mark, MarkRow};
use super::row::{Row, Sum, Value, push_copy_line};
use super::table::{self, ColumnRow, Kind, Table, quoted};
use super::{MoveError, SideError};
use crate::config::DatabaseAt;
use crate::db::postgres::{APPLICATION_NAME, WRITER_LOCK};
use crate::db::{DbOpenError, LOCK_TIMEOUT};

/// The advisory lock of who moves into or out of a PostgreSQL database: `carom` in ASCII, and `m`.
const MOVE_LOCK: i64 = 0x63_61_72_6f_6d_6d;
/// How long connections of a control plane that has just ended may still be seen.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rows of one insert into SQLite: a statement for more of them is not faster.
const ROWS_PER_INSERT: usize = 64;
/// Memory in which SQLite keeps pages, and sorts an index; in its notation: 64 MiB.
const SQLITE_CACHE: &str = "-65536";
/// Memory in which PostgreSQL sorts an index.
const POSTGRES_SORT_MEMORY: &str = "256MB";

pub(super) struct Side {
    /// The database for messages; never with its password.
    pub(super) shown: String,
    connection: Connection,
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Runs one body on whichever connection there is; its errors name the database.
macro_rules! on_side {
    ($side:expr, |$conn:ident| $body:expr) => {{
        let side: &mut Side = $side;
        let done: Result<_, sqlx::Error> = match &mut side.connection {
            Connection::Sqlite($conn) => $body,
            Connection::Postgres($conn) => $body,
        };
        done.map_err(|source| SideError { database: side.shown.clone(), source })
    }};
}

mod later;

/// What a database is called in messages and in the other's mark.
pub(super) fn shown(at: &DatabaseAt) -> String {
    match at {
        DatabaseAt::Sqlite(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            path.display().to_string()
        }
        DatabaseAt::Postgres(at) => at.shown(),
    }
}

impl Side {
    /// Connects, if there is a database; makes none.
    pub(super) async fn connect(
        at: &DatabaseAt,
        may_write: bool,
    ) -> Result<Option<Self>, MoveError> {
        let shown = shown(at);
        let failed = |source| SideError { database: shown.clone(), source };
        let connection = match at {
            DatabaseAt::Sqlite(path) if !is_there(path) => return Ok(None),
            DatabaseAt::Sqlite(path) => {
                // Rows that are the same as the source's refer to what there is, as those do.
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .foreign_keys(false)
                    .busy_timeout(LOCK_TIMEOUT);
                let options = match may_write {
                    false => options.read_only(true),
                    // Without waiting for the disk: the power may take the last pages, and a move
                    // that goes on finds that they are not there. The end waits.
                    true => options
                        .journal_mode(SqliteJournalMode::Wal)
                        .synchronous(SqliteSynchronous::Normal)
                        .pragma("cache_size", SQLITE_CACHE),
                };
                Connection::Sqlite(options.connect().await.map_err(failed)?)
            }
            DatabaseAt::Postgres(at) => {
                let mut connection = at.connect().await?;
                const NAME: &str = "set application_name = 'carom-move'";
                sqlx::query(NAME).execute(&mut connection).await.map_err(failed)?;
                if may_write {
                    // As above.
                    const TUNE: &str = "select set_config('synchronous_commit', 'off', false), \
                         set_config('maintenance_work_mem', $1, false)";
                    let later = sqlx::query(TUNE).bind(POSTGRES_SORT_MEMORY);
                    later.execute(&mut connection).await.map_err(failed)?;
                }
                Connection::Postgres(connection)
            }
        };
        Ok(Some(Self { shown, connection }))
    }

    pub(super) async fn close(self) -> Result<(), SideError> {
        let closed = match self.connection {
            Connection::Sqlite(connection) => connection.close().await,
            Connection::Postgres(connection) => connection.close().await,
        };
        closed.map_err(|source| SideError { database: self.shown, source })
    }

    /// From now on a commit is on disk when it is answered, and with it all those before.
    pub(super) async fn wait_for_disk(&mut self) -> Result<(), SideError> {
        match &mut self.connection {
            Connection::Sqlite(_) => self.execute("pragma synchronous = full").await,
            Connection::Postgres(_) => self.execute("set synchronous_commit = on").await,
        }
    }

    /// Keeps other moves away; of files the data folder's lock does.
    pub(super) async fn lock(&mut self) -> Result<(), MoveError> {
        // It may be that of a move that was killed a moment ago: the server has to notice.
        if self.try_lock(MOVE_LOCK).await? {
            return Ok(());
        }
        Err(MoveError::Busy(self.shown.clone()))
    }

    /// Keeps everybody from writing, as long as this is connected. Refuses a database that is
    /// served: of files the data folder's lock does.
    pub(super) async fn fence(&mut self) -> Result<(), MoveError> {
        const OTHERS: &str = "select cast(count(*) as bigint) from pg_stat_activity \
             where datname = current_database() and application_name = $1";
        let served = Err(MoveError::Served(self.shown.clone()));
        if !self.try_lock(WRITER_LOCK).await? {
            return served;
        }
        let give_up = Instant::now() + PATIENCE;
        while let Connection::Postgres(connection) = &mut self.connection {
            let others = sqlx::query_scalar(OTHERS).bind(APPLICATION_NAME);
            let others: Result<i64, _> = others.fetch_one(connection).await;
            match others.map_err(|error| self.failed(error))? {
                0 => return Ok(()),
                _ if Instant::now() > give_up => return served,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        Ok(())
    }

    /// Takes an advisory lock for as long as this is connected; says whether it could be had in
    /// time. Files have none.
    async fn try_lock(&mut self, lock: i64) -> Result<bool, SideError> {
        let Connection::Postgres(connection) = &mut self.connection else { return Ok(true) };
        let done = async {
            let timeout = sqlx::query("select set_config('lock_timeout', $1, false)");
            let timeout = timeout.bind(LOCK_TIMEOUT.as_millis().to_string());
            timeout.execute(&mut *connection).await?;
            let lock = sqlx::query("select pg_advisory_lock($1)").bind(lock);
            match lock.execute(&mut *connection).await {
                // lock_not_available
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
                    Ok(false)
                }
                done => done.map(|_| true),
            }
        };
        done.await.map_err(|error| self.failed(error))
    }

    fn failed(&self, source: sqlx::Error) -> SideError {
        SideError { database: self.shown.clone(), source }
    }

    pub(super) async fn execute(&mut self, sql: &'static str) -> Result<(), SideError> {
        on_side!(self, |conn| sqlx::query(sql).execute(conn).await.map(drop))
    }

    async fn has(&mut self, table: &str) -> Result<bool, SideError> {
        const SQLITE: &str = "select count(*) > 0 from sqlite_schema where name = $1";
        const POSTGRES: &str = "select to_regclass($1) is not null";
        let done = match &mut self.connection {
            Connection::Sqlite(conn) => {
                sqlx::query_scalar(SQLITE).bind(table).fetch_one(conn).await
            }
            Connection::Postgres(conn) => {
                sqlx::query_scalar(POSTGRES).bind(table).fetch_one(conn).await
            }
        };
        done.map_err(|error| self.failed(error))
    }

    /// The version of its schema, 0 if nothing of Carom is in it.
    pub(super) async fn version(&mut self, known: i64) -> Result<i64, MoveError> {
        const NEWEST: &str = "select coalesce(max(version), 0) from _sqlx_migrations";
        if !self.has("_sqlx_migrations").await? {
            return Ok(0);
        }
        let found: i64 = on_side!(self, |conn| sqlx::query_scalar(NEWEST).fetch_one(conn).await)?;
        if found > known {
            let path = self.shown.clone();
            return Err(DbOpenError::Newer { path, found, known }.into());
        }
        Ok(found)
    }

    /// Whether somebody has ever served it.
    pub(super) async fn is_installation(&mut self) -> Result<bool, SideError> {
        const ANY: &str = "select exists (select 1 from workspace)";
        Ok(self.has("workspace").await?
            && on_side!(self, |conn| sqlx::query_scalar(ANY).fetch_one(conn).await)?)
    }

    pub(super) async fn mark(&mut self) -> Result<Option<Mark>, MoveError> {
        if !self.has("moving").await? {
            return Ok(None);
        }
        let row: Option<MarkRow> =
            on_side!(self, |conn| sqlx::query_as(mark::READ).fetch_optional(conn).await)?;
        Ok(row.map(Mark::of_row).transpose()?)
    }

    pub(super) async fn set_mark(&mut self, mark: &Mark) -> Result<(), SideError> {
        on_side!(self, |conn| {
            let write = sqlx::query(mark::WRITE).bind(mark.state.word()).bind(mark.token);
            write.bind(&mark.other).bind(mark.at.get()).execute(conn).await.map(drop)
        })
    }

    /// Its tables, in an order in which none refers to a later one.
    pub(super) async fn tables(&mut self) -> Result<Vec<Table>, MoveError> {
        // Neither virtual tables nor those that are behind them.
        const SQLITE: &str = "select t.name as table_name, c.name as column_name, \
               c.type as type_name, nullif(c.pk, 0) as key_place \
             from pragma_table_list t join pragma_table_info(t.name) c \
             where t.schema = 'main' and t.type = 'table' and t.name not like 'sqlite\\_%' \
             escape '\\' order by t.name, c.cid";
        const SQLITE_REFERENCES: &str = "select distinct t.name, f.\"table\" \
             from pragma_table_list t join pragma_foreign_key_list(t.name) f \
             where t.schema = 'main' and t.type = 'table'";
        const POSTGRES: &str = "select c.relname::text as table_name, \
               a.attname::text as column_name, format_type(a.atttypid, null) as type_name, \
               array_position(i.indkey::int2[], a.attnum)::bigint as key_place \
             from pg_class c join pg_attribute a \
               on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
             left join pg_index i on i.indrelid = c.oid and i.indisprimary \
             where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace \
             order by c.relname::text collate \"C\", a.attnum";
        const POSTGRES_REFERENCES: &str = "select distinct f.relname::text, t.relname::text \
             from pg_constraint c join pg_class f on f.oid = c.conrelid \
               join pg_class t on t.oid = c.confrelid \
             where c.contype = 'f' and c.connamespace = current_schema()::regnamespace";
        let (columns, references) = match &self.connection {
            Connection::Sqlite(_) => (SQLITE, SQLITE_REFERENCES),
            Connection::Postgres(_) => (POSTGRES, POSTGRES_REFERENCES),
        };
        let columns: Vec<ColumnRow> =
            on_side!(self, |conn| sqlx::query_as(columns).fetch_all(conn).await)?;
        let references: Vec<(String, String)> =
            on_side!(self, |conn| sqlx::query_as(references).fetch_all(conn).await)?;
        let tables = table::tables_of(columns);
        let tables = tables.and_then(|tables| table::sort(tables, &references));
        tables.map_err(|problem| MoveError::Schema(format!("{}: {problem}", self.shown)))
    }

    pub(super) async fn count(&mut self, table: &Table) -> Result<u64, SideError> {
        let sql = table.count_sql();
        let count: i64 = on_side!(self, |conn| {
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(conn).await
        })?;
        Ok(count.unsigned_abs())
    }

    /// The row with the greatest key.
    pub(super) async fn last(&mut self, table: &Table) -> Result<Option<Row>, SideError> {
        let mut rows = self.rows(table, table.last_sql(), None).await?;
        Ok(rows.pop())
    }

    /// The rows after this one, in the order of the key.
    pub(super) async fn page(
        &mut self,
        table: &Table,
        after: Option<&Row>,
    ) -> Result<Vec<Row>, SideError> {
        self.rows(table, table.page_sql(after.is_none()), after).await
    }

    async fn rows(
        &mut self,
        table: &Table,
        sql: String,
        after: Option<&Row>,
    ) -> Result<Vec<Row>, SideError> {
        macro_rules! fetch {
            ($conn:expr, $read:ident) => {
                async {
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    for &place in table.key.iter().filter(|_| after.is_some()) {
                        query = match after.map(|row| &row[place]) {
                            Some(Value::Integer(n)) => query.bind(*n),
                            Some(Value::Text(text)) => query.bind(text.clone()),
                            Some(Value::Bytes(bytes)) => query.bind(bytes.clone()),
                            Some(Value::Null) | None => query.bind(None::<i64>),
                        };
                    }
                    let rows = query.fetch_all($conn).await?;
                    rows.iter().map(|row| $read(table, row)).collect::<Result<Vec<_>, _>>()
                }
                .await
            };
        }
        let done = match &mut self.connection {
            Connection::Sqlite(conn) => fetch!(conn, read_sqlite),
            Connection::Postgres(conn) => fetch!(conn, read_postgres),
        };
        done.map_err(|error| self.failed(error))
    }

    /// Inserts rows in one transaction.
    pub(super) async fn insert(&mut self, table: &Table, rows: Vec<Row>) -> Result<(), SideError> {
        let done = match &mut self.connection {
            Connection::Sqlite(conn) => insert_sqlite(conn, table, rows).await,
            Connection::Postgres(conn) => insert_postgres(conn, table, &rows).await,
        };
        done.map_err(|error| self.failed(error))
    }

    /// The sum of a table's rows; `progress` is told how many of them are read.
    pub(super) async fn sum(
        &mut self,
        table: &Table,
        mut progress: impl FnMut(u64),
    ) -> Result<Sum, SideError> {
        let (mut sum, mut bytes, mut after) = (Sum::default(), Vec::new(), None);
        loop {
            let mut page = self.page(table, after.as_ref()).await?;
            for row in &page {
                sum.add(row, &mut bytes);
            }
            progress(page.len() as u64);
            after = page.pop();
            if after.is_none() {
                return Ok(sum);
            }
        }
    }

    /// Lets the server know what is in its tables: its plans rest on that.
    pub(super) async fn analyze(&mut self, tables: &[Table]) -> Result<(), SideError> {
        // SQLite's plans for these tables need none.
        let Connection::Postgres(_) = &self.connection else { return Ok(()) };
        for table in tables {
            let sql = format!("analyze {}", quoted(&table.name));
            on_side!(self, |conn| sqlx::query(AssertSqlSafe(sql)).execute(conn).await.map(drop))?;
        }
        Ok(())
    }
}

fn is_there(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

fn read_sqlite(table: &Table, row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let values = table.columns.iter().enumerate().map(|(place, column)| {
        Ok(match column.kind {
            Kind::Integer | Kind::Boolean => {
                row.try_get::<Option<i64>, _>(place)?.map_or(Value::Null, Value::Integer)
            }
            Kind::Text => row.try_get::<Option<String>, _>(place)?.map_or(Value::Null, Value::Text),
            Kind::Bytes => {
                row.try_get::<Option<Vec<u8>>, _>(place)?.map_or(Value::Null, Value::Bytes)
            }
        })
    });
    values.collect()
}

fn read_postgres(table: &Table, row: &PgRow) -> Result<Row, sqlx::Error> {
    let values = table.columns.iter().enumerate().map(|(place, column)| {
        Ok(match column.kind {
            Kind::Integer => {
                row.try_get::<Option<i64>, _>(place)?.map_or(Value::Null, Value::Integer)
            }
            Kind::Boolean => {
                let value: Option<bool> = row.try_get(place)?;
                value.map_or(Value::Null, |value| Value::Integer(value.into()))
            }
            Kind::Text => row.try_get::<Option<String>, _>(place)?.map_or(Value::Null, Value::Text),
            Kind::Bytes => {
                row.try_get::<Option<Vec<u8>>, _>(place)?.map_or(Value::Null, Value::Bytes)
            }
        })
    });
    values.collect()
}

async fn insert_sqlite(
    connection: &mut SqliteConnection,
    table: &Table,
    rows: Vec<Row>,
) -> Result<(), sqlx::Error> {
    let mut tx = connection.begin_with("begin immediate").await?;
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let chunk: Vec<Row> = rows.by_ref().take(ROWS_PER_INSERT).collect();
        let mut insert = sqlx::query(AssertSqlSafe(table.insert_sql(chunk.len())));
        // One statement is kept per table, not one per length of its last page.
        insert = insert.persistent(chunk.len() == ROWS_PER_INSERT);
        for value in chunk.into_iter().flatten() {
            insert = match value {
                Value::Null => insert.bind(None::<i64>),
                Value::Integer(n) => insert.bind(n),
                Value::Text(text) => insert.bind(text),
                Value::Bytes(bytes) => insert.bind(bytes),
            };
        }
        insert.execute(&mut *tx).await?;
    }
    tx.commit().await
}

async fn insert_postgres(
    connection: &mut PgConnection,
    table: &Table,
    rows: &[Row],
) -> Result<(), sqlx::Error> {
    let mut lines = Vec::new();
    for row in rows {
        push_copy_line(table, row, &mut lines);
    }
    // One statement, so one transaction.
    let mut copy = connection.copy_in_raw(&table.copy_sql()).await?;
    copy.send(lines).await?;
    copy.finish().await?;
    Ok(())
}
