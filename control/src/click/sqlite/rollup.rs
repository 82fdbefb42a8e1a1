//! A batch's clicks: their rows, and what they add to the rollups of links and of workspaces.
//!
//! A rollup's sketches are read, merged and written back, within the batch's transaction. Those of
//! a whole batch are read with few statements, and most do not exist yet.

use std::collections::HashMap;
use std::sync::Arc;

use carom_shared::Click;
use carom_shared::batch::Batch;
use carom_shared::click::{Detail, Kind};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Sqlite, Transaction};

use super::ROW_BITS;
use super::insert::{Names, Place, Table, insert_each};
use crate::click::report::QUARTER_S;
use crate::click::sketch::{hash, stored_with};
use crate::db::StoreError;

/// Sketches looked up per statement.
const SKETCHES: usize = 64;
/// Columns of a click before its names, and all of them.
const NUMBERS: usize = 15;
const COLUMNS: usize = NUMBERS + Detail::ALL.len();

const CLICK: Table = Table {
    before: "insert into click (link, at_s, seq, workspace, domain, n, kind, via, variant, status, \
             target_revision, visitor, privacy, channel, device, referrer, referrer_path, country, \
             region, city, browser, browser_version, os, os_version, language, utm_source, \
             utm_medium, utm_campaign, utm_term, utm_content) values ",
    columns: COLUMNS,
    after: "",
};

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

const LINKS: Rollup<4> = Rollup {
    table: Table {
        before: "insert into click_quarter (workspace, link, quarter, kind, n, last_at_s, visitors) \
                 values ",
        columns: 7,
        after: add_to_stored!("workspace, link, quarter, kind"),
    },
    select: "with k (w, l, q) as (values ",
    on: ") select k.w, k.l, k.q, 0, r.visitors from k cross join click_quarter r \
         on r.workspace = k.w and r.link = k.l and r.quarter = k.q and r.kind = 0",
};

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

/// What a batch adds to a row of a rollup.
#[derive(Debug, Default)]
struct Added {
    n: i64,
    last_at_s: i64,
    /// Of people's visitors.
    hashes: Vec<u32>,
}

type Rows<const K: usize> = HashMap<[i64; K], Added>;

/// Inserts a batch's clicks under its number. Returns what it added for each link: workspace, link,
/// quarter, kind, clicks, last of them; sorted.
pub(super) async fn insert_clicks(
    tx: &mut Transaction<'static, Sqlite>,
    ordinal: i64,
    batch: &Batch,
) -> Result<Vec<[i64; 6]>, StoreError> {
    let mut names = Names::default();
    let (mut links, mut workspaces): (Rows<4>, Rows<3>) = Default::default();
    let mut places: Vec<Place> = Vec::with_capacity(batch.len());
    let mut clicks = Vec::with_capacity(batch.len());
    for (at, click) in batch.clicks().enumerate() {
        let (workspace, link) = (click.workspace.get(), click.link.get());
        let (quarter, kind) = (i64::from(click.at_s / QUARTER_S), click.kind as i64);
        links.entry([workspace, link, quarter, kind]).or_default().add(&click);
        workspaces.entry([workspace, quarter, kind]).or_default().add(&click);
        places.push((link, click.at_s.into(), at));
        clicks.push(numbers(&click, &mut names));
    }
    places.sort_unstable();
    let ids = names.intern(tx).await?;
    insert_each(tx, &CLICK, &places, |&(link, at_s, at), values| {
        let seq = (ordinal << ROW_BITS) | i64::try_from(at).unwrap_or(i64::MAX);
        [link, at_s, seq].into_iter().try_for_each(|value| values.add(value))?;
        let (numbers, names) = clicks[at].split_at(NUMBERS - 3);
        numbers.iter().try_for_each(|value| values.add(*value))?;
        // Places of names, all of which were interned.
        names.iter().try_for_each(|place| values.add(ids[usize::try_from(*place)?]))
    })
    .await?;
    let _added: Vec<[i64; 5]> = WORKSPACES.add(tx, workspaces).await?;
    LINKS.add(tx, links).await
}

/// The columns behind link, second and seq, with places of names instead of their numbers.
fn numbers<'a>(click: &Click<'a>, names: &mut Names<'a>) -> [i64; COLUMNS - 3] {
    let mut row = [0; COLUMNS - 3];
    let (numbers, details) = row.split_at_mut(NUMBERS - 3);
    numbers.copy_from_slice(&[
        click.workspace.get(),
        click.domain.get(),
        click.n.into(),
        click.kind as i64,
        click.via as i64,
        click.variant.into(),
        click.status.into(),
        click.target_revision.into(),
        click.visitor.cast_signed(),
        click.privacy.bits().into(),
        click.channel as i64,
        click.device as i64,
    ]);
    for (column, name) in details.iter_mut().zip(click.details.names()) {
        *column = names.place(name);
    }
    row
}

impl Added {
    fn add(&mut self, click: &Click<'_>) {
        self.n += i64::from(click.n);
        self.last_at_s = self.last_at_s.max(click.at_s.into());
        if click.kind == Kind::Human && click.visitor != 0 {
            self.hashes.push(hash(click.visitor));
        }
    }
}

impl<const K: usize> Rollup<K> {
    async fn add<const R: usize>(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        rows: Rows<K>,
    ) -> Result<Vec<[i64; R]>, StoreError> {
        let mut rows: Vec<([i64; K], Added)> = rows.into_iter().collect();
        rows.sort_unstable_by_key(|row| row.0);
        for (_, added) in &mut rows {
            added.hashes.sort_unstable();
            added.hashes.dedup();
        }
        let with_visitors = rows.iter().filter(|(_, added)| !added.hashes.is_empty());
        let keys: Vec<[i64; K]> = with_visitors.map(|(key, _)| *key).collect();
        let stored = self.stored(tx, &keys).await?;
        insert_each(tx, &self.table, &rows, |(key, added), values| {
            let stored = stored.get(key).map_or(&[][..], Vec::as_slice);
            let sketch = if added.hashes.is_empty() {
                Some(Vec::new())
            } else {
                stored_with(stored, &added.hashes)
            };
            let sketch = sketch.ok_or(StoreError::Corrupt("sketch of visitors"))?;
            key.iter().try_for_each(|value| values.add(*value))?;
            values.add(added.n)?;
            values.add(added.last_at_s)?;
            values.add(sketch)
        })
        .await?;
        let flat = |(key, added): ([i64; K], Added)| {
            let mut values = key.into_iter().chain([added.n, added.last_at_s]);
            std::array::from_fn(|_| values.next().unwrap_or_default())
        };
        Ok(rows.into_iter().map(flat).collect())
    }

    /// The sketches that there are already.
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
                    let key = format!("({})", super::insert::placeholders(K - 1));
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
                let sketch: Vec<u8> = sqlx::Row::try_get(&row, K)?;
                if !sketch.is_empty() {
                    stored.insert(key, sketch);
                }
            }
        }
        Ok(stored)
    }
}
