//! Many rows per statement: the price of a statement is paid once per chunk of fixed size, so that
//! three prepared statements per table serve batches of any length.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Sqlite, Transaction};

use crate::db::StoreError;

/// Rows per statement, largest first. SQLite binds at most 32,766 values in one.
const CHUNKS: [usize; 3] = [256, 16, 1];
/// Names looked up per statement.
const NAMES: usize = 64;

/// Where rows of `columns` integers go.
pub(super) struct Table {
    pub(super) before: &'static str,
    pub(super) columns: usize,
    pub(super) after: &'static str,
}

impl Table {
    fn sql(&self, rows: usize) -> String {
        let row = format!("({})", placeholders(self.columns));
        let rows = vec![row; rows].join(",");
        format!("{}{rows}{}", self.before, self.after)
    }
}

fn placeholders(n: usize) -> String {
    vec!["?"; n].join(",")
}

/// Inserts rows, in their order.
pub(super) async fn insert_rows<const N: usize>(
    tx: &mut Transaction<'static, Sqlite>,
    table: &Table,
    mut rows: &[[i64; N]],
) -> Result<(), StoreError> {
    debug_assert_eq!(N, table.columns);
    for size in CHUNKS {
        if rows.len() < size {
            continue;
        }
        let sql: std::sync::Arc<str> = table.sql(size).into();
        let whole = rows.len() - rows.len() % size;
        let (chunks, rest) = rows.split_at(whole);
        for chunk in chunks.chunks_exact(size) {
            let mut values = SqliteArguments::default();
            values.reserve(size * N, size * N * size_of::<i64>());
            for value in chunk.as_flattened() {
                values.add(*value).map_err(sqlx::Error::Encode)?;
            }
            let insert = sqlx::query_with(AssertSqlSafe(std::sync::Arc::clone(&sql)), values);
            insert.execute(&mut **tx).await?;
        }
        rows = rest;
    }
    Ok(())
}

/// The numbers of names, made for those that have none. The empty name has none and needs none.
pub(super) async fn intern<'a>(
    tx: &mut Transaction<'static, Sqlite>,
    names: impl Iterator<Item = &'a str>,
) -> Result<HashMap<&'a str, i64>, StoreError> {
    let names: HashSet<&str> = names.filter(|name| !name.is_empty()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let mut ids = HashMap::with_capacity(names.len());
    let mut select = String::from("select host, id from referrer where host in (");
    write!(select, "{})", placeholders(NAMES)).unwrap_or_default();
    let select: std::sync::Arc<str> = select.into();
    for chunk in names.chunks(NAMES) {
        let mut values = SqliteArguments::default();
        // A short chunk is filled with the empty name, which is never stored.
        for name in chunk.iter().copied().chain(std::iter::repeat("")).take(NAMES) {
            values.add(name.to_owned()).map_err(sqlx::Error::Encode)?;
        }
        let query = sqlx::query_as_with(AssertSqlSafe(std::sync::Arc::clone(&select)), values);
        let found: Vec<(String, i64)> = query.fetch_all(&mut **tx).await?;
        let found: HashMap<String, i64> = found.into_iter().collect();
        for &name in chunk {
            let id = match found.get(name) {
                Some(&id) => id,
                None => {
                    const INSERT: &str = "insert into referrer (host) values (?) returning id";
                    sqlx::query_scalar(INSERT).bind(name.to_owned()).fetch_one(&mut **tx).await?
                }
            };
            ids.insert(name, id);
        }
    }
    Ok(ids)
}
