//! Many rows per statement: the price of a statement is paid once per chunk of fixed size, so that
//! three prepared statements per table serve batches of any length.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Sqlite, Transaction};

use crate::db::StoreError;

/// Rows per statement, largest first. SQLite binds at most 32,766 values in one.
const CHUNKS: [usize; 3] = [256, 16, 1];
/// Names looked up per statement.
const NAMES: usize = 64;
/// Numbers of names have 31 bits.
pub(super) const NAME_ID_MAX: i64 = (1 << 31) - 1;

/// Where rows of `columns` values go.
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

pub(super) fn placeholders(n: usize) -> String {
    vec!["?"; n].join(",")
}

/// Inserts rows, in their order.
pub(super) async fn insert_rows<const N: usize>(
    tx: &mut Transaction<'static, Sqlite>,
    table: &Table,
    rows: &[[i64; N]],
) -> Result<(), StoreError> {
    debug_assert_eq!(N, table.columns);
    insert_each(tx, table, rows, |row, values| row.iter().try_for_each(|value| values.add(*value)))
        .await
}

/// Inserts what `bind` makes of each item, in their order.
pub(super) async fn insert_each<T>(
    tx: &mut Transaction<'static, Sqlite>,
    table: &Table,
    mut items: &[T],
    bind: impl Fn(&T, &mut SqliteArguments) -> Result<(), BoxDynError>,
) -> Result<(), StoreError> {
    for size in CHUNKS {
        if items.len() < size {
            continue;
        }
        let sql: Arc<str> = table.sql(size).into();
        let whole = items.len() - items.len() % size;
        let (chunks, rest) = items.split_at(whole);
        for chunk in chunks.chunks_exact(size) {
            let mut values = SqliteArguments::default();
            values.reserve(size * table.columns, size * table.columns * size_of::<i64>());
            for item in chunk {
                bind(item, &mut values).map_err(sqlx::Error::Encode)?;
            }
            let insert = sqlx::query_with(AssertSqlSafe(Arc::clone(&sql)), values);
            insert.execute(&mut **tx).await?;
        }
        items = rest;
    }
    Ok(())
}

/// The names of a batch, each once.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    places: HashMap<&'a str, i64>,
    names: Vec<&'a str>,
}

impl<'a> Names<'a> {
    /// A name's place among them, from 1 on; 0 is the empty name.
    pub(super) fn place(&mut self, name: &'a str) -> i64 {
        if name.is_empty() {
            return 0;
        }
        let next = i64::try_from(self.names.len() + 1).unwrap_or(i64::MAX);
        let place = *self.places.entry(name).or_insert(next);
        if place == next {
            self.names.push(name);
        }
        place
    }

    /// The number of each name by its place, made for those that have none.
    pub(super) async fn intern(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
    ) -> Result<Vec<i64>, StoreError> {
        const INSERT: &str = "insert into name (text) values (?) returning id";
        let select = format!("select text, id from name where text in ({})", placeholders(NAMES));
        let select: Arc<str> = select.into();
        let mut ids = Vec::with_capacity(self.names.len() + 1);
        ids.push(0);
        for chunk in self.names.chunks(NAMES) {
            let mut values = SqliteArguments::default();
            // A short chunk is filled with the empty name.
            for name in chunk.iter().copied().chain(std::iter::repeat("")).take(NAMES) {
                values.add(name.to_owned()).map_err(sqlx::Error::Encode)?;
            }
            let query = sqlx::query_as_with(AssertSqlSafe(Arc::clone(&select)), values);
            let found: Vec<(String, i64)> = query.fetch_all(&mut **tx).await?;
            let found: HashMap<String, i64> = found.into_iter().collect();
            for &name in chunk {
                let id = match found.get(name) {
                    Some(&id) => id,
                    None => {
                        let insert = sqlx::query_scalar(INSERT).bind(name.to_owned());
                        insert.fetch_one(&mut **tx).await?
                    }
                };
                // Reports put two of them into one 64-bit number.
                if !(0..=NAME_ID_MAX).contains(&id) {
                    return Err(StoreError::Corrupt("number of a name"));
                }
                ids.push(id);
            }
        }
        Ok(ids)
    }
}
