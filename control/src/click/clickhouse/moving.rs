//! What a move of clicks, or a backup, asks of this store.
//!
//! # Marks
//!
//! Who may serve a store that moves stands beside its schema's changes, as a row whose version is below zero:
//! a table of its own would be one more for every cluster. The lowest is the newest.
//!
//! # Clicks of one moment
//!
//! A backup is made while clicks come. There is no transaction over statements, so it reads from tables
//! that nobody writes to ([`Cut`]): copies of the ledger, then of the clicks, whose parts are the same files on
//! the server's disk. A batch that the first one knows is whole in the second. What else is in the second
//! came meanwhile, maybe in part, and is passed over.

use std::collections::{BTreeMap, HashMap};

use carom_shared::UnixMillis;
use carom_shared::batch::Batch;
use carom_shared::clickhouse::{ClickHouseError, SETTINGS, Statement, batch_number, literal};

use super::http::{ClickHouseServer, Client};
use super::page::{MovedRow, SEQ, columns};
use super::sql::{list, time};
use super::{ClickStore, WRITE_SETTINGS};
use crate::backup::ClicksElsewhere;
use crate::click;
use crate::click::moving::row::{
    LedgerRow, LinkRow, MovedClick, OldPlace, OldQuarter, Place, Visitors,
};
use crate::click::moving::{ClicksNotServed, may_be_served};
use crate::click::report::QUARTER_S;
use crate::db::moving::{Mark, State};
use crate::db::{DbOpenError, StoreError};

const DAY_S: u32 = 86_400;
/// Clicks of a page once a longer one had more bytes than an answer may have: their names are long.
const LIMIT_LONG: u32 = 1000;
/// Numbers of a list in a statement.
const LISTED: usize = 500;

/// Where clicks are read: the tables themselves, or copies of them as they were at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    store: ClickStore,
    /// What the copies' names end with; empty: the tables themselves.
    suffix: &'static str,
    /// Batches that are there, and were not stored by then.
    left_out: Vec<u64>,
    /// Days that have clicks.
    days: Vec<u32>,
    /// Days of which nothing but sums is left.
    old_days: Vec<u32>,
    since_s: u32,
}

const COPIES: &str = "_cut";
/// Copied in this order.
const COPIED: [&str; 3] = ["batch", "click", "click_quarter"];

/// Copies of the tables, as long as this is not removed.
#[derive(Debug)]
pub(crate) struct Cut(ClickStore);

impl Cut {
    /// Copies the tables by their parts. Those that a killed process left are removed.
    pub(crate) async fn make(store: &ClickStore) -> Result<Self, StoreError> {
        let cut = Self(store.clone());
        cut.drop_tables().await?;
        for table in COPIED {
            store.write(&format!("CREATE TABLE {table}{COPIES} AS {table}")).await?;
            let sql = format!(
                "SELECT DISTINCT _partition_id FROM {table} ORDER BY 1 FORMAT JSONCompactEachRow"
            );
            let partitions: Vec<(String,)> = store.rows(&sql).await?;
            for (id,) in partitions {
                let id = literal(&id);
                let attach =
                    format!("ALTER TABLE {table}{COPIES} ATTACH PARTITION ID {id} FROM {table}");
                store.write(&attach).await?;
            }
        }
        Ok(cut)
    }

    pub(crate) async fn remove(self) -> Result<(), StoreError> {
        self.drop_tables().await
    }

    async fn drop_tables(&self) -> Result<(), StoreError> {
        for table in COPIED {
            self.0.write(&format!("DROP TABLE IF EXISTS {table}{COPIES} SYNC")).await?;
        }
        Ok(())
    }

    /// Reads what was stored at the moment of the copies.
    pub(crate) async fn reader(&self) -> Result<Reader, StoreError> {
        let sql = format!(
            "SELECT DISTINCT batch FROM click{COPIES} \
             WHERE batch NOT IN (SELECT batch FROM batch{COPIES}) FORMAT JSONCompactEachRow"
        );
        let left_out: Vec<(u64,)> = self.0.rows(&sql).await?;
        let left_out = left_out.into_iter().map(|(batch,)| batch).collect();
        Reader::of(&self.0, COPIES, left_out).await
    }
}

impl Reader {
    /// Reads the tables themselves, to which nobody writes.
    pub(crate) async fn new(store: &ClickStore) -> Result<Self, StoreError> {
        Self::of(store, "", Vec::new()).await
    }

    async fn of(
        store: &ClickStore,
        suffix: &'static str,
        left_out: Vec<u64>,
    ) -> Result<Self, StoreError> {
        let since_s = store.rows_since().await? / QUARTER_S * QUARTER_S;
        let days = async |table: &str, column: &str, how: &str| {
            let sql = format!(
                "SELECT DISTINCT toUnixTimestamp(toStartOfDay({column})) AS day FROM {table}{suffix} \
                 WHERE {column} {how} {} ORDER BY day FORMAT JSONCompactEachRow",
                time(since_s),
            );
            let days: Vec<(u32,)> = store.rows(&sql).await?;
            Ok::<_, StoreError>(days.into_iter().map(|(day,)| day).collect())
        };
        let (rows, old) = (days("click", "at", ">=").await?, days("click_quarter", "quarter", "<"));
        let old_days = old.await?;
        Ok(Self { store: store.clone(), suffix, left_out, days: rows, old_days, since_s })
    }

    pub(crate) const fn rows_since(&self) -> u32 {
        self.since_s
    }

    /// Clicks behind a place, day by day; each page is of one day.
    pub(crate) async fn rows(
        &self,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<MovedClick>, StoreError> {
        let first = after.map_or(0, |place| u32::try_from(place[0]).unwrap_or(u32::MAX));
        for &day in self.days.iter().filter(|day| **day >= first) {
            let place = after.filter(|place| place[0] == i64::from(day));
            let rows = match self.rows_of_day(day, place, limit).await {
                // Most likely it is longer than an answer may be.
                Err(ClickHouseError::Lost(_)) => self.rows_of_day(day, place, LIMIT_LONG).await?,
                rows => rows?,
            };
            if !rows.is_empty() {
                return rows.into_iter().map(|row| row.moved(day)).collect();
            }
        }
        Ok(Vec::new())
    }

    async fn rows_of_day(
        &self,
        day: u32,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<MovedRow>, ClickHouseError> {
        let behind = match after {
            None => String::new(),
            Some([_, workspace, link, at_s, seq]) => {
                let at = time(u32::try_from(at_s).unwrap_or_default());
                // The first condition is the one that the order of rows helps with.
                format!(
                    " AND (workspace, link, at) >= ({workspace}, {link}, {at}) \
                     AND (workspace, link, at, {SEQ}) > ({workspace}, {link}, {at}, toInt64('{seq}'))"
                )
            }
        };
        let sql = format!(
            "SELECT {}, workspace FROM click{} AS click WHERE at >= {} AND at < {}{behind}{} \
             ORDER BY workspace, link, at, {SEQ} LIMIT {limit} FORMAT JSONCompactEachRow",
            columns(),
            self.suffix,
            time(day.max(self.since_s)),
            time(day.saturating_add(DAY_S)),
            self.without_left_out(),
        );
        self.store.rows(&sql).await
    }

    /// Begins with `AND`.
    fn without_left_out(&self) -> String {
        match self.left_out.as_slice() {
            [] => String::new(),
            left_out => format!(" AND batch NOT IN ({})", list(left_out)),
        }
    }

    pub(crate) async fn rows_count(&self) -> Result<u64, StoreError> {
        let sql = format!(
            "SELECT count() FROM click{} WHERE at >= {}{} FORMAT JSONCompactEachRow",
            self.suffix,
            time(self.since_s),
            self.without_left_out(),
        );
        let count: Vec<(u64,)> = self.store.rows(&sql).await?;
        Ok(count.first().map_or(0, |(count,)| *count))
    }

    /// What is left of links' clicks before there are rows, behind a place, day by day.
    pub(crate) async fn old_links(
        &self,
        after: Option<OldPlace>,
        limit: u32,
    ) -> Result<Vec<OldQuarter>, StoreError> {
        self.old(after, limit, "link").await
    }

    /// The same of workspaces.
    pub(crate) async fn old_workspaces(
        &self,
        after: Option<OldPlace>,
        limit: u32,
    ) -> Result<Vec<OldQuarter>, StoreError> {
        self.old(after, limit, "toInt64(0)").await
    }

    async fn old(
        &self,
        after: Option<OldPlace>,
        limit: u32,
        link: &str,
    ) -> Result<Vec<OldQuarter>, StoreError> {
        let first = after.map_or(0, |place| u32::try_from(place[0]).unwrap_or(u32::MAX));
        for &day in self.old_days.iter().filter(|day| **day >= first) {
            let behind = match after.filter(|place| place[0] == i64::from(day)) {
                None => String::new(),
                Some([_, w, l, q, k]) => format!(" AND (w, l, q, k) > ({w}, {l}, {q}, {k})"),
            };
            let sql = format!(
                "SELECT w, l, q, k, m, last, who FROM (\
                 SELECT workspace AS w, {link} AS l, \
                   toInt64(toUnixTimestamp(quarter)) DIV {QUARTER_S} AS q, kind AS k, \
                   sum(click_quarter{suffix}.n) AS m, toUnixTimestamp(max(last_at)) AS last, \
                   uniqCombined64Merge(12)(visitors) AS who \
                 FROM click_quarter{suffix} WHERE quarter >= {from} AND quarter < {to} \
                 GROUP BY w, l, q, k) \
                 WHERE m != 0{behind} ORDER BY w, l, q, k LIMIT {limit} FORMAT JSONCompactEachRow",
                suffix = self.suffix,
                from = time(day),
                to = time(day.saturating_add(DAY_S).min(self.since_s)),
            );
            let rows: Vec<(i64, i64, i64, i64, i64, i64, u64)> = self.store.rows(&sql).await?;
            if rows.is_empty() {
                continue;
            }
            let old = rows.into_iter().map(|(workspace, link, quarter, kind, n, last, count)| {
                OldQuarter {
                    place: [day.into(), workspace, link, quarter, kind],
                    workspace,
                    link,
                    quarter,
                    kind,
                    n,
                    last_at_s: last,
                    visitors: Visitors::Count(count),
                }
            });
            return Ok(old.collect());
        }
        Ok(Vec::new())
    }

    /// Batches of the ledger behind a place.
    pub(crate) async fn ledger(
        &self,
        after: Option<i128>,
        limit: u32,
    ) -> Result<Vec<LedgerRow>, StoreError> {
        let behind = after.map_or_else(|| "1".to_owned(), |place| format!("batch > {place}"));
        let sql = format!(
            "SELECT batch, token, rows, clicks, made_ms, stored_ms FROM batch{} WHERE {behind} \
             ORDER BY batch LIMIT 1 BY batch LIMIT {limit} FORMAT JSONCompactEachRow",
            self.suffix,
        );
        let rows: Vec<(u64, String, i64, i64, i64, i64)> = self.store.rows(&sql).await?;
        let row = |(batch, token, rows, clicks, made_ms, stored_ms): (u64, _, _, _, _, _)| {
            LedgerRow { place: batch.into(), token, rows, clicks, made_ms, stored_ms }
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Links that ever had clicks, behind one of them. What came from files is counted in rows, and
    /// where there are none in what is left of them; with quarter hour 0 stands what came from a store
    /// that does not know it of each row.
    pub(crate) async fn links(
        &self,
        after: Option<LinkRow>,
        limit: u32,
    ) -> Result<Vec<LinkRow>, StoreError> {
        let (workspace, link) = after.map_or((0, 0), |row| (row.workspace, row.link));
        let behind = format!("(workspace, link) > ({workspace}, {link})");
        let (suffix, since) = (self.suffix, time(self.since_s.max(QUARTER_S)));
        let sql = format!(
            "SELECT workspace, link, sum(i) FROM (\
             SELECT workspace, link, toInt64(0) AS i FROM click_change WHERE {behind} \
             UNION ALL SELECT workspace, link, toInt64(imported) AS i FROM click_quarter{suffix} \
             WHERE kind = 0 AND quarter < {since} AND {behind} \
             UNION ALL SELECT workspace, link, toInt64(0) AS i FROM click_quarter{suffix} WHERE {behind} \
             UNION ALL SELECT workspace, link, toInt64(click{suffix}.n) AS i FROM click{suffix} \
             WHERE imported != 0 AND kind = 0 AND at >= {since} AND {behind}{}) \
             GROUP BY workspace, link ORDER BY workspace, link LIMIT {limit} FORMAT JSONCompactEachRow",
            self.without_left_out(),
        );
        let rows: Vec<(i64, i64, i64)> = self.store.rows(&sql).await?;
        let row = |(workspace, link, imported)| LinkRow { workspace, link, imported };
        Ok(rows.into_iter().map(row).collect())
    }

    /// What the rollup says of days and kinds.
    pub(crate) async fn rollup_days(&self) -> Result<BTreeMap<(i64, i64), i64>, StoreError> {
        let sql = format!(
            "SELECT toInt64(toUnixTimestamp(quarter)) DIV {DAY_S} AS day, kind, \
             sum(click_quarter{0}.n) AS s FROM click_quarter{0} GROUP BY day, kind HAVING s != 0 \
             FORMAT JSONCompactEachRow",
            self.suffix
        );
        let rows: Vec<(i64, i64, i64)> = self.store.rows(&sql).await?;
        Ok(rows.into_iter().map(|(day, kind, n)| ((day, kind), n)).collect())
    }
}

impl ClickStore {
    pub(crate) async fn mark(&self) -> Result<Option<Mark>, StoreError> {
        const NEWEST: &str = "SELECT name, checksum, -version FROM carom_migration \
             WHERE version < 0 ORDER BY version LIMIT 1 FORMAT JSONCompactEachRow";
        let rows: Vec<(String, String, i64)> = self.rows(NEWEST).await?;
        let Some((state, text, at_ms)) = rows.into_iter().next() else { return Ok(None) };
        if state == NOTHING {
            return Ok(None);
        }
        let corrupt = StoreError::Corrupt("mark of a move");
        let Some((token, other)) = text.split_once(' ') else { return Err(corrupt) };
        let token = token.parse().map_err(|_| corrupt)?;
        Mark::of_row((state, token, other.to_owned(), at_ms)).map(Some)
    }

    /// `None` takes it away. Marks are told apart by their times, so a later one gets a later one.
    pub(crate) async fn set_mark(
        &self,
        mark: Option<&Mark>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        const LAST: &str =
            "SELECT max(-version) FROM carom_migration WHERE version < 0 FORMAT JSONCompactEachRow";
        let last: Vec<(i64,)> = self.rows(LAST).await?;
        let at_ms = now.get().max(last.first().map_or(0, |(last,)| *last) + 1);
        let is_open = mark.is_none_or(|mark| mark.state == State::Arrived);
        if is_open {
            self.set_closed(None).await?;
        }
        let (state, text) = match mark {
            None => (NOTHING, String::new()),
            Some(mark) => (mark.state.word(), format!("{} {}", mark.token, mark.other)),
        };
        let sql = format!(
            "INSERT INTO carom_migration VALUES ({}, {}, {})",
            -at_ms,
            literal(state),
            literal(&text)
        );
        self.write(&sql).await?;
        if is_open { Ok(()) } else { self.set_closed(Some(at_ms)).await }
    }

    /// Refuses a store that moves, or moved, to whoever serves.
    pub(super) async fn refuse_moved(&self) -> Result<(), ClickHouseError> {
        match may_be_served(&click::ClickStore::ClickHouse(self.clone())).await {
            Ok(()) => Ok(()),
            Err(ClicksNotServed::Store(StoreError::Clicks(error))) => Err(error),
            Err(error) => Err(ClickHouseError::Answer(error.to_string())),
        }
    }

    /// Where it is; without a password.
    pub(crate) fn shown(&self) -> String {
        self.0.client.at().shown()
    }

    /// What a backup without the clicks says of them.
    pub(crate) async fn elsewhere(&self) -> Result<ClicksElsewhere, StoreError> {
        const BATCHES: &str = "SELECT uniqExact(batch) FROM batch FORMAT JSONCompactEachRow";
        let batches: Vec<(u64,)> = self.rows(BATCHES).await?;
        let batches = batches.first().map_or(0, |(batches,)| *batches);
        let totals = self.summary().await?.totals;
        Ok(ClicksElsewhere { at: self.shown(), batches, totals })
    }

    /// Whether nothing was ever stored in it.
    pub(crate) async fn is_unused(&self) -> Result<bool, StoreError> {
        const USED: &str = "SELECT (SELECT count() FROM batch) + (SELECT count() FROM click) \
             + (SELECT count() FROM click_quarter) FORMAT JSONCompactEachRow";
        let used: Vec<(u64,)> = self.rows(USED).await?;
        Ok(used.first().is_none_or(|(rows,)| *rows == 0))
    }

    /// From when on there are rows, in seconds since 1970; 0: none were deleted for their age.
    pub(crate) async fn rows_since(&self) -> Result<u32, StoreError> {
        Ok(self.detail_since_s().await?.unwrap_or_default())
    }

    /// The last of the tokens that begin so.
    pub(crate) async fn last_token(&self, prefix: &str) -> Result<Option<String>, StoreError> {
        let sql = format!(
            "SELECT max(token) FROM batch WHERE startsWith(token, {}) FORMAT JSONCompactEachRow",
            literal(prefix)
        );
        let last: Vec<(String,)> = self.rows(&sql).await?;
        Ok(last.into_iter().map(|(token,)| token).find(|token| !token.is_empty()))
    }

    /// Takes out what is in no ledger: what a killed move had begun to put in; or a batch that an edge has
    /// still, because nobody told it that it is there.
    pub(crate) async fn take_out_unnoted(&self) -> Result<(), StoreError> {
        const COUNT: &str = "SELECT count() FROM click WHERE batch NOT IN (SELECT batch FROM batch) \
             FORMAT JSONCompactEachRow";
        let rows: Vec<(u64,)> = self.rows(COUNT).await?;
        if rows.first().is_none_or(|(rows,)| *rows == 0) {
            return Ok(());
        }
        let delete = "ALTER TABLE click DELETE WHERE batch NOT IN (SELECT batch FROM batch)";
        let settings = [WRITE_SETTINGS, &[("allow_nondeterministic_mutations", "1")]].concat();
        self.0.client.run(Statement::new(delete, &settings)).await?;
        Ok(())
    }

    /// Stores clicks under a name, once.
    pub(crate) async fn put_rows(
        &self,
        token: &str,
        batch: &Batch,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.ship(token, batch, now, false).await.map(drop)
    }

    /// Adds what is left of old clicks of links, so far as it is not there.
    pub(crate) async fn put_old(
        &self,
        old: &[OldQuarter],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let old: Vec<&OldQuarter> = old.iter().filter(|of| of.link != 0).collect();
        for chunk in old.chunks(LISTED) {
            let key = |of: &OldQuarter| {
                let OldQuarter { workspace, link, quarter, kind, .. } = of;
                format!("({workspace}, {link}, {}, {kind})", quarter_time(*quarter))
            };
            let sql = format!(
                "SELECT workspace, link, toInt64(toUnixTimestamp(quarter)) DIV {QUARTER_S}, kind, \
                   sum(click_quarter.n) \
                 FROM click_quarter WHERE (workspace, link, quarter, kind) IN ({}) \
                 GROUP BY workspace, link, quarter, kind FORMAT JSONCompactEachRow",
                list(chunk.iter().map(|of| key(of)))
            );
            let there: Vec<(i64, i64, i64, i64, i64)> = self.rows(&sql).await?;
            let there: HashMap<[i64; 4], i64> =
                there.into_iter().map(|(w, l, q, k, n)| ([w, l, q, k], n)).collect();
            let rows = chunk.iter().filter_map(|of| {
                let OldQuarter { workspace, link, quarter, kind, last_at_s, .. } = of;
                let there = there.get(&[*workspace, *link, *quarter, *kind]).copied();
                let n = of.n - there.unwrap_or_default();
                let hashes = list(of.visitors.hashes([*workspace, *link, *quarter]));
                let at_s = quarter.saturating_mul(QUARTER_S.into());
                (n != 0).then(|| {
                    format!("({workspace}, {link}, {at_s}, {kind}, {n}, {last_at_s}, [{hashes}])")
                })
            });
            let rows: Vec<String> = rows.collect();
            if rows.is_empty() {
                continue;
            }
            let sql = format!(
                "INSERT INTO click_quarter (workspace, link, quarter, kind, n, imported, last_at, visitors) \
                 SELECT t.1, t.2, t.3, t.4, t.5, 0, t.6, arrayReduce('uniqCombined64State(12)', t.7) \
                 FROM (SELECT arrayJoin(CAST([{}], \
                 'Array(Tuple(Int64, Int64, UInt32, UInt8, Int64, UInt32, Array(UInt64)))')) AS t)",
                list(rows)
            );
            let settings = [WRITE_SETTINGS, &[("max_query_size", "268435456")]].concat();
            self.0.client.run(Statement::new(&sql, &settings)).await?;
            self.note_changes(chunk.iter().map(|of| [of.workspace, of.link]), now).await?;
        }
        Ok(())
    }

    /// Adds batches to the ledger, so far as they are not there.
    pub(crate) async fn put_ledger(&self, rows: &[LedgerRow]) -> Result<(), StoreError> {
        for chunk in rows.chunks(LISTED) {
            let number = |row: &LedgerRow| batch_number(&row.token);
            let sql = format!(
                "SELECT DISTINCT batch FROM batch WHERE batch IN ({}) FORMAT JSONCompactEachRow",
                list(chunk.iter().map(number))
            );
            let there: Vec<(u64,)> = self.rows(&sql).await?;
            let new = chunk.iter().filter(|row| !there.contains(&(number(row),)));
            let values = new.map(|row| {
                let LedgerRow { token, rows, clicks, made_ms, stored_ms, .. } = row;
                let token_text = literal(token);
                format!("({}, {token_text}, {rows}, {clicks}, {made_ms}, {stored_ms})", number(row))
            });
            let values: Vec<String> = values.collect();
            if !values.is_empty() {
                self.write(&format!(
                    "INSERT INTO batch (batch, token, rows, clicks, made_ms, stored_ms) VALUES {}",
                    list(values)
                ))
                .await?;
            }
        }
        Ok(())
    }

    /// Makes links known that have no clicks any more, and how many of each one's came from files:
    /// with quarter hour 0, where no click is.
    pub(crate) async fn put_links(
        &self,
        rows: &[LinkRow],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        for chunk in rows.chunks(LISTED) {
            let pairs = list(chunk.iter().map(|of| format!("({}, {})", of.workspace, of.link)));
            let sql = format!(
                "SELECT workspace, link, sumIf(click_quarter.imported, kind = 0) FROM click_quarter \
                 WHERE (workspace, link) IN ({pairs}) GROUP BY workspace, link \
                 FORMAT JSONCompactEachRow"
            );
            let there: Vec<(i64, i64, i64)> = self.rows(&sql).await?;
            let there: HashMap<[i64; 2], i64> =
                there.into_iter().map(|(workspace, link, n)| ([workspace, link], n)).collect();
            let missing = chunk.iter().filter_map(|of| {
                let there = there.get(&[of.workspace, of.link]).copied().unwrap_or_default();
                let imported = of.imported - there;
                (imported != 0).then(|| {
                    let (workspace, link) = (of.workspace, of.link);
                    format!("({workspace}, {link}, 0, 0, 0, {imported}, 0)")
                })
            });
            let missing: Vec<String> = missing.collect();
            if !missing.is_empty() {
                let sql = format!(
                    "INSERT INTO click_quarter (workspace, link, quarter, kind, n, imported, last_at) \
                     VALUES {}",
                    list(missing)
                );
                self.write(&sql).await?;
            }
            self.note_changes(chunk.iter().map(|of| [of.workspace, of.link]), now).await?;
        }
        Ok(())
    }

    /// Clicks from before are gone.
    pub(crate) async fn put_rows_since(&self, since_s: u32) -> Result<(), StoreError> {
        if since_s > self.rows_since().await? {
            self.insert_numbers("retention", &[since_s.into()]).await?;
        }
        Ok(())
    }
}

/// What a taken-away mark is called.
const NOTHING: &str = "none";

fn quarter_time(quarter: i64) -> String {
    time(u32::try_from(quarter.saturating_mul(QUARTER_S.into())).unwrap_or_default())
}

/// Whether a database of this store is there, with or without clicks.
pub(crate) async fn is_there(server: ClickHouseServer) -> Result<bool, DbOpenError> {
    const TABLES: &str = "SELECT count() FROM system.tables \
         WHERE database = currentDatabase() AND name = 'carom_migration' FORMAT JSONCompactEachRow";
    let shown = server.shown();
    let failed = |source| DbOpenError::ClickHouse { at: shown.clone(), source };
    let client = Client::new(server).map_err(failed)?;
    let tables: Vec<(u64,)> =
        client.rows(Statement::new(TABLES, SETTINGS)).await.map_err(failed)?;
    Ok(tables.first().is_some_and(|(tables,)| *tables > 0))
}
