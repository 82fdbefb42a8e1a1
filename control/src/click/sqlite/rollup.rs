//! What a batch adds to the rollups of links and of workspaces.
//!
//! A rollup's sketches are read, merged and written back, within the batch's transaction. Those of
//! a whole batch are read with few statements; most do not exist yet, and of a quarter hour of which
//! a workspace has none, its links have none.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use carom_shared::Click;
use carom_shared::click::Kind;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Sqlite, Transaction};

use super::insert::{Table, insert_each, placeholders};
use crate::click::sketch::{hash, stored_with};
use crate::db::StoreError;

/// Sketches looked up per statement.
const SKETCHES: usize = 64;

/// One of the two rollups, with keys of `K` integers, the last of which is the kind.
struct Rollup<const K: usize> {
    table: Table,
    /// Reads the sketches of people's rows: joined with a list of the other parts of their keys.
    select: &'static str,
    on: &'static str,
}

macro_rules! add_to_stored {
    ($keys:literal) => {
        concat!(
            " on conflict (",
            $keys,
            ") do update set n = n + excluded.n, \
             last_at_s = max(last_at_s, excluded.last_at_s), \
             visitors = iif(length(excluded.visitors) = 0, visitors, excluded.visitors)"
        )
    };
}

/// By part, workspace, link, quarter hour and kind.
const LINKS: Rollup<5> = Rollup {
    table: Table {
        before: "insert into click_quarter \
                 (part, workspace, link, quarter, kind, n, last_at_s, visitors) values ",
        columns: 8,
        after: add_to_stored!("part, workspace, link, quarter, kind"),
    },
    select: "with k (p, w, l, q) as (values ",
    on: ") select k.p, k.w, k.l, k.q, 0, r.visitors from k cross join click_quarter r \
         on r.part = k.p and r.workspace = k.w and r.link = k.l and r.quarter = k.q and r.kind = 0",
};

/// By workspace, quarter hour and kind.
const WORKSPACES: Rollup<3> = Rollup {
    table: Table {
        before: "insert into workspace_quarter (workspace, quarter, kind, n, last_at_s, visitors) \
                 values ",
        columns: 6,
        after: add_to_stored!("workspace, quarter, kind"),
    },
    select: "with k (w, q) as (values ",
    on: ") select k.w, k.q, 0, r.visitors from k cross join workspace_quarter r \
         on r.workspace = k.w and r.quarter = k.q and r.kind = 0",
};

/// What is added to a row of a rollup.
#[derive(Clone, Debug, Default)]
struct Added {
    n: i64,
    last_at_s: i64,
    /// Which hashes are those of its visitors, who are people.
    hashes: Range<usize>,
}

/// Rows to add, sorted, and the hashes of their visitors: each of a row's once, sorted.
#[derive(Debug)]
struct Rows<const K: usize> {
    rows: Vec<([i64; K], Added)>,
    hashes: Vec<u32>,
}

/// Collects what a batch adds, from its clicks in the order of part, workspace, link and time.
#[derive(Debug, Default)]
pub(super) struct Sums {
    links: Rows<5>,
    workspaces: HashMap<[i64; 3], (i64, i64, Vec<u32>)>,
    /// Of one link and quarter hour, by kind.
    group: [i64; 4],
    of_group: [(i64, i64); Kind::ALL.len()],
    hashes: Vec<u32>,
}

impl Sums {
    /// Adds a click of a part and quarter hour.
    pub(super) fn add(&mut self, part: i64, quarter: i64, click: &Click<'_>) {
        let group = [part, click.workspace.get(), click.link.get(), quarter];
        if group != self.group {
            self.end_group();
            self.group = group;
        }
        let (n, last_at_s) = &mut self.of_group[click.kind as usize];
        *n += i64::from(click.n);
        *last_at_s = (*last_at_s).max(click.at_s.into());
        if click.kind == Kind::Human && click.visitor != 0 {
            self.hashes.push(hash(click.visitor));
        }
    }

    fn end_group(&mut self) {
        let [part, workspace, link, quarter] = self.group;
        for (kind, (n, last_at_s)) in (0..).zip(&mut self.of_group) {
            if *n == 0 {
                continue;
            }
            let of_workspace = self.workspaces.entry([workspace, quarter, kind]).or_default();
            of_workspace.0 += *n;
            of_workspace.1 = of_workspace.1.max(*last_at_s);
            let is_human = kind == Kind::Human as i64;
            let hashes: &[u32] = if is_human { &self.hashes } else { &[] };
            of_workspace.2.extend(hashes);
            self.links.push([part, workspace, link, quarter, kind], *n, *last_at_s, hashes);
            (*n, *last_at_s) = (0, 0);
        }
        self.hashes.clear();
    }

    /// Adds all of it to the rollups. Returns what it added for each link: workspace, link, quarter,
    /// kind, clicks, last of them; in the order of part, workspace, link.
    pub(super) async fn write(
        mut self,
        tx: &mut Transaction<'static, Sqlite>,
    ) -> Result<Vec<[i64; 6]>, StoreError> {
        self.end_group();
        let mut workspaces = Rows::default();
        let mut sums: Vec<_> = self.workspaces.into_iter().collect();
        sums.sort_unstable_by_key(|row| row.0);
        for (key, (n, last_at_s, hashes)) in sums {
            workspaces.push(key, n, last_at_s, &hashes);
        }
        let keys = workspaces.with_visitors();
        let stored = WORKSPACES.stored(tx, &keys).await?;
        let mut keys = self.links.with_visitors();
        keys.retain(|[_, workspace, _, quarter, kind]| {
            stored.contains_key(&[*workspace, *quarter, *kind])
        });
        WORKSPACES.add(tx, &workspaces, &stored).await?;
        let stored = LINKS.stored(tx, &keys).await?;
        LINKS.add(tx, &self.links, &stored).await?;
        let rows = self.links.rows.into_iter();
        let flat = |([_, workspace, link, quarter, kind], added): ([i64; 5], Added)| {
            [workspace, link, quarter, kind, added.n, added.last_at_s]
        };
        Ok(rows.map(flat).collect())
    }
}

impl<const K: usize> Default for Rows<K> {
    fn default() -> Self {
        Self { rows: Vec::new(), hashes: Vec::new() }
    }
}

impl<const K: usize> Rows<K> {
    fn push(&mut self, key: [i64; K], n: i64, last_at_s: i64, hashes: &[u32]) {
        let start = self.hashes.len();
        self.hashes.extend(hashes);
        self.hashes[start..].sort_unstable();
        let mut end = start;
        for at in start..self.hashes.len() {
            if at == start || self.hashes[at] != self.hashes[end - 1] {
                self.hashes[end] = self.hashes[at];
                end += 1;
            }
        }
        self.hashes.truncate(end);
        self.rows.push((key, Added { n, last_at_s, hashes: start..end }));
    }

    /// The keys of rows that have visitors.
    fn with_visitors(&self) -> Vec<[i64; K]> {
        let with_visitors = self.rows.iter().filter(|(_, added)| !added.hashes.is_empty());
        with_visitors.map(|(key, _)| *key).collect()
    }
}

impl<const K: usize> Rollup<K> {
    /// Adds rows to those that are stored.
    async fn add(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        rows: &Rows<K>,
        stored: &HashMap<[i64; K], Vec<u8>>,
    ) -> Result<(), StoreError> {
        insert_each(tx, &self.table, &rows.rows, |(key, added), values| {
            let stored = stored.get(key).map_or(&[][..], Vec::as_slice);
            let hashes = &rows.hashes[added.hashes.clone()];
            let sketch =
                if hashes.is_empty() { Some(Vec::new()) } else { stored_with(stored, hashes) };
            let sketch = sketch.ok_or(StoreError::Corrupt("sketch of visitors"))?;
            key.iter().try_for_each(|value| values.add(*value))?;
            values.add(added.n)?;
            values.add(added.last_at_s)?;
            values.add(sketch)
        })
        .await
    }

    /// The sketches of the rows that there are already.
    async fn stored(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        keys: &[[i64; K]],
    ) -> Result<HashMap<[i64; K], Vec<u8>>, StoreError> {
        let mut stored = HashMap::new();
        let mut sql: Option<(usize, Arc<str>)> = None;
        for chunk in keys.chunks(SKETCHES) {
            let sql = match &sql {
                Some((len, sql)) if *len == chunk.len() => Arc::clone(sql),
                _ => {
                    let key = format!("({})", placeholders(K - 1));
                    let keys = vec![key; chunk.len()].join(",");
                    let text: Arc<str> = format!("{}{keys}{}", self.select, self.on).into();
                    sql = Some((chunk.len(), Arc::clone(&text)));
                    text
                }
            };
            let mut values = SqliteArguments::default();
            for value in chunk.iter().flat_map(|key| &key[..K - 1]) {
                values.add(*value).map_err(sqlx::Error::Encode)?;
            }
            let found = sqlx::query_with(AssertSqlSafe(sql), values).fetch_all(&mut **tx).await?;
            for row in found {
                let mut key = [0; K];
                for (at, part) in key.iter_mut().enumerate() {
                    *part = sqlx::Row::try_get(&row, at)?;
                }
                stored.insert(key, sqlx::Row::try_get(&row, K)?);
            }
        }
        Ok(stored)
    }
}
