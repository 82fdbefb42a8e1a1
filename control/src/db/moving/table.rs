//! Tables as a move sees them: what the databases say of themselves, and the SQL made of it. Pure.

use std::collections::BTreeSet;

/// Tables of a database that are no part of the installation: the schema's changes, and the mark of
/// a move.
pub(super) const OWN: &[&str] = &["_sqlx_migrations", "moving"];
/// The index of texts, which each database has in a form of its own, and what it does not know yet.
/// A trigger fills the latter as links arrive; the index is built from that.
pub(super) const REBUILT: &[&str] = &["link_search", "link_unindexed"];
/// What a target does without while it is filled; there is no such table before and after.
pub(super) const LATER: &str = "moving_later";

/// Rows of a page.
const ROWS_MAX: usize = 2000;
/// Rows of a page where bytes stand in them: the answer to a request for a thousand links has up to
/// a megabyte.
const ROWS_WITH_BYTES_MAX: usize = 32;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    /// An integer, 0 or 1, in SQLite.
    Boolean,
    Text,
    Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// A table of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Places among the columns of those of the primary key, in its order.
    pub(super) key: Vec<usize>,
}

/// A column as a database tells of it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct ColumnRow {
    pub(super) table_name: String,
    pub(super) column_name: String,
    pub(super) type_name: String,
    /// Where it stands in the primary key; none if it does not.
    pub(super) key_place: Option<i64>,
}

/// Makes tables of columns that come table by table, in the order of columns.
pub(super) fn tables_of(rows: Vec<ColumnRow>) -> Result<Vec<Table>, String> {
    let mut tables: Vec<Table> = Vec::new();
    let mut places: Vec<Vec<(i64, usize)>> = Vec::new();
    for row in rows {
        if OWN.iter().chain(REBUILT).chain(&[LATER]).any(|name| *name == row.table_name) {
            continue;
        }
        let kind = match row.type_name.to_ascii_lowercase().as_str() {
            "integer" | "bigint" => Kind::Integer,
            "boolean" => Kind::Boolean,
            "text" => Kind::Text,
            "blob" | "bytea" => Kind::Bytes,
            other => {
                let (table, column) = (row.table_name, row.column_name);
                return Err(format!("column {column} of table {table} has the type {other}"));
            }
        };
        if tables.last().is_none_or(|table| table.name != row.table_name) {
            tables.push(Table { name: row.table_name, columns: Vec::new(), key: Vec::new() });
            places.push(Vec::new());
        }
        if let Some((table, places)) = tables.last_mut().zip(places.last_mut()) {
            places.extend(row.key_place.map(|place| (place, table.columns.len())));
            table.columns.push(Column { name: row.column_name, kind });
        }
    }
    for (table, mut places) in tables.iter_mut().zip(places) {
        places.sort_unstable();
        table.key = places.into_iter().map(|(_, column)| column).collect();
        if table.key.is_empty() {
            return Err(format!("table {} has no primary key", table.name));
        }
    }
    Ok(tables)
}

/// Whether the same rows fit into both, or what is different.
pub(super) fn compare(from: &[Table], to: &[Table]) -> Result<(), String> {
    let names = |tables: &[Table]| -> BTreeSet<String> {
        tables.iter().map(|table| table.name.clone()).collect()
    };
    if let Some(name) = names(from).symmetric_difference(&names(to)).next() {
        return Err(format!("table {name} is in one of them and not in the other"));
    }
    let same_kind = |from, to| {
        use Kind::{Boolean, Integer};
        from == to || matches!((from, to), (Integer, Boolean) | (Boolean, Integer))
    };
    for table in from {
        let other = to.iter().find(|other| other.name == table.name);
        let fits = other.is_some_and(|other| {
            let columns = table.columns.iter().zip(&other.columns);
            table.columns.len() == other.columns.len()
                && table.key == other.key
                && columns.clone().all(|(a, b)| a.name == b.name && same_kind(a.kind, b.kind))
        });
        if !fits {
            return Err(format!("table {} has other columns in one than in the other", table.name));
        }
    }
    Ok(())
}

/// Brings tables into an order in which none refers to a later one. `references`: who, to whom.
pub(super) fn sort(
    mut tables: Vec<Table>,
    references: &[(String, String)],
) -> Result<Vec<Table>, String> {
    let mut sorted: Vec<Table> = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let is_ready = |table: &Table| {
            let mut to = references.iter().filter(|(from, to)| *from == table.name && from != to);
            to.all(|(_, to)| sorted.iter().any(|table| table.name == *to))
        };
        let (ready, left): (Vec<_>, Vec<_>) = tables.into_iter().partition(is_ready);
        if ready.is_empty() {
            return Err(format!("table {} refers to itself by others", left[0].name));
        }
        sorted.extend(ready);
        tables = left;
    }
    Ok(sorted)
}

impl Table {
    /// Rows of a page, at most.
    pub(super) fn page_rows(&self) -> usize {
        match self.columns.iter().any(|column| column.kind == Kind::Bytes) {
            true => ROWS_WITH_BYTES_MAX,
            false => ROWS_MAX,
        }
    }

    fn key_names(&self) -> Vec<String> {
        self.key.iter().map(|&place| quoted(&self.columns[place].name)).collect()
    }

    pub(super) fn column_names(&self) -> String {
        let names = self.columns.iter().map(|column| quoted(&column.name));
        names.collect::<Vec<_>>().join(", ")
    }

    /// A page in the order of the key; after a key, which is bound, or the first.
    pub(super) fn page_sql(&self, is_first: bool) -> String {
        let (columns, table) = (self.column_names(), quoted(&self.name));
        let key = self.key_names().join(", ");
        let after = match is_first {
            true => String::new(),
            false => {
                let values = (1..=self.key.len()).map(|n| format!("${n}"));
                format!("where ({key}) > ({}) ", values.collect::<Vec<_>>().join(", "))
            }
        };
        format!("select {columns} from {table} {after}order by {key} limit {}", self.page_rows())
    }

    /// The row with the greatest key.
    pub(super) fn last_sql(&self) -> String {
        let (columns, table) = (self.column_names(), quoted(&self.name));
        let order = self.key_names().join(" desc, ");
        format!("select {columns} from {table} order by {order} desc limit 1")
    }

    pub(super) fn count_sql(&self) -> String {
        format!("select cast(count(*) as bigint) from {}", quoted(&self.name))
    }

    /// Inserts so many rows, with all values bound.
    pub(super) fn insert_sql(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns.len()].join(","));
        let (table, columns) = (quoted(&self.name), self.column_names());
        format!("insert into {table} ({columns}) values {}", vec![row; rows].join(","))
    }

    pub(super) fn copy_sql(&self) -> String {
        format!("copy {} ({}) from stdin", quoted(&self.name), self.column_names())
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
