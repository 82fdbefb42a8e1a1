//! What a target does without while rows come: its indexes but for those of keys, its triggers, and,
//! in PostgreSQL, what checks references. Each row would pay for them one by one, and all of them
//! together cost less at the end: an index that is sorted once, references that are one join.
//!
//! What is left off is what the database itself tells. How to make it again is written down in a
//! table of the target, in the transaction that takes it off, and each line goes in the transaction
//! that makes it again: a kill in between loses nothing and repeats nothing. The owner of the tables
//! may do all of this; to switch triggers off for a session would take a superuser.

use sqlx::{AssertSqlSafe, Connection as _};

use super::super::table::{LATER, Table, quoted};
use super::{Connection, Side, SideError};

/// Stands in for what the trigger on new links would have done: the index of texts is built from it.
const NOTE: &str =
    "insert into link_unindexed (id) select id from link where true on conflict do nothing";
/// The place of [`NOTE`]: everything else comes after the index of texts.
const NOTE_PLACE: i64 = 0;

/// A part of the schema: how to take it off, and how to make it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(in crate::db::moving) struct Part {
    pub(in crate::db::moving) take_off: String,
    pub(in crate::db::moving) make: String,
}

impl Side {
    /// Its indexes, triggers and references, in an order in which they can be made.
    pub(in crate::db::moving) async fn parts(&mut self) -> Result<Vec<Part>, SideError> {
        // Without SQL are those that belong to a key or a constraint. References are not checked
        // there while this connection says so, so nothing of them has to go.
        const SQLITE: &str = "select 'drop ' || s.type || ' \"' || s.name || '\"' as take_off, \
               s.sql as make \
             from sqlite_schema s join pragma_table_list t on t.name = s.tbl_name \
             where t.schema = 'main' and t.type = 'table' and s.type in ('index', 'trigger') \
               and s.sql is not null order by s.type, s.name";
        const POSTGRES: &str = "select take_off, make from ( \
             select 1 as place, n.relname::text as name, \
               format('drop index %I', n.relname) as take_off, pg_get_indexdef(n.oid) as make \
             from pg_index i join pg_class n on n.oid = i.indexrelid \
             where n.relnamespace = current_schema()::regnamespace and not i.indisprimary \
               and not exists (select 1 from pg_constraint c where c.conindid = n.oid) \
             union all \
             select 2, r.relname || ' ' || t.tgname, \
               format('drop trigger %I on %I', t.tgname, r.relname), pg_get_triggerdef(t.oid) \
             from pg_trigger t join pg_class r on r.oid = t.tgrelid \
             where r.relnamespace = current_schema()::regnamespace and not t.tgisinternal \
             union all \
             select 3, r.relname || ' ' || c.conname, \
               format('alter table %I drop constraint %I', r.relname, c.conname), \
               format('alter table %I add constraint %I %s', r.relname, c.conname, \
                 pg_get_constraintdef(c.oid)) \
             from pg_constraint c join pg_class r on r.oid = c.conrelid \
             where c.contype = 'f' and c.connamespace = current_schema()::regnamespace \
             ) part order by place, name collate \"C\"";
        let sql = match &self.connection {
            Connection::Sqlite(_) => SQLITE,
            Connection::Postgres(_) => POSTGRES,
        };
        on_side!(self, |conn| sqlx::query_as(sql).fetch_all(conn).await)
    }

    /// Begins to fill it, in one transaction: what the schema's changes have put into the tables
    /// goes, as do those parts; and the mark comes.
    pub(in crate::db::moving) async fn begin_filling(
        &mut self,
        tables: &[Table],
        mark: &super::Mark,
    ) -> Result<(), SideError> {
        let parts = self.parts().await?;
        on_side!(self, |conn| async {
            let mut tx = conn.begin().await?;
            for table in tables.iter().rev() {
                let delete = format!("delete from {}", quoted(&table.name));
                sqlx::query(AssertSqlSafe(delete)).execute(&mut *tx).await?;
            }
            let table =
                format!("create table {LATER} (place bigint primary key, make text not null)");
            sqlx::query(AssertSqlSafe(table)).execute(&mut *tx).await?;
            let lines = std::iter::once(NOTE).chain(parts.iter().map(|part| &*part.make));
            for (place, make) in (NOTE_PLACE..).zip(lines) {
                let note = format!("insert into {LATER} (place, make) values ($1, $2)");
                let note = sqlx::query(AssertSqlSafe(note)).bind(place).bind(make);
                note.execute(&mut *tx).await?;
            }
            for part in parts.iter().rev() {
                let take_off = AssertSqlSafe(part.take_off.clone());
                sqlx::query(take_off).execute(&mut *tx).await?;
            }
            let write = sqlx::query(super::mark::WRITE).bind(mark.state.word()).bind(mark.token);
            write.bind(&mark.other).bind(mark.at.get()).execute(&mut *tx).await?;
            tx.commit().await
        }
        .await)
    }

    /// All rows are there: notes which links the index of texts has to know, if that was not done.
    pub(in crate::db::moving) async fn note_unindexed(&mut self) -> Result<(), SideError> {
        let first = self.left_off().await?.into_iter().find(|(place, _)| *place == NOTE_PLACE);
        match first {
            Some((place, make)) => self.make(place, make).await,
            None => Ok(()),
        }
    }

    /// Makes again what was taken off and was not made yet. `progress` is told how many of how many
    /// are made.
    pub(in crate::db::moving) async fn make_parts(
        &mut self,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<(), SideError> {
        let left = self.left_off().await?;
        let all = left.len() as u64;
        for (done, (place, make)) in (1..).zip(left) {
            self.make(place, make).await?;
            progress(done, all);
        }
        let gone = format!("drop table if exists {LATER}");
        on_side!(self, |conn| sqlx::query(AssertSqlSafe(gone)).execute(conn).await.map(drop))
    }

    async fn left_off(&mut self) -> Result<Vec<(i64, String)>, SideError> {
        if !self.has(LATER).await? {
            return Ok(Vec::new());
        }
        let left = format!("select place, make from {LATER} order by place");
        on_side!(self, |conn| sqlx::query_as(AssertSqlSafe(left)).fetch_all(conn).await)
    }

    async fn make(&mut self, place: i64, make: String) -> Result<(), SideError> {
        on_side!(self, |conn| async {
            let mut tx = conn.begin().await?;
            sqlx::query(AssertSqlSafe(make)).execute(&mut *tx).await?;
            let made = format!("delete from {LATER} where place = $1");
            sqlx::query(AssertSqlSafe(made)).bind(place).execute(&mut *tx).await?;
            tx.commit().await
        }
        .await)
    }
}
