//! The index of links' texts: which links hold what three characters.
//!
//! Both databases are given the same: each three characters in a row, hashed to a number, and the
//! number of the workspace, so that what others have costs nothing. SQLite finds them with its full
//! text search, PostgreSQL with an index of arrays; neither's own trigrams are alike, and those of
//! `pg_trgm` leave out punctuation, and need an extension that not everybody may create.
//!
//! The index says which links may hold a text, never which do: whoever asks looks at the text too.
//! So it may be behind. Triggers note in `link_unindexed` what it does not know yet, and a link that
//! is noted there is looked at by every search, whatever the index says.

use carom_shared::WorkspaceId;

use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// Characters of a text that are one entry of the index: a shorter text cannot be asked for.
pub(super) const GRAM: usize = 3;
/// Entries that a search asks for, at most: few leave links that do not match, and those are looked
/// at.
const ASKED_MAX: usize = 48;
/// Links that are indexed at once, at most: how long other commands wait for them.
const PAGE_MAX: usize = 500;
/// Bytes of text that are indexed at once, unless one link alone has more.
const PAGE_BYTES_MAX: usize = 128 * 1024;

/// What the index is asked for: entries that all links have that hold `text`. `None` if the text is
/// too short for it.
pub(super) fn asked(workspace: WorkspaceId, text: &str) -> Option<Vec<u32>> {
    let mut asked = entries(workspace, text);
    if asked.len() == 1 {
        return None;
    }
    asked.truncate(ASKED_MAX);
    Some(asked)
}

/// The workspace's entry, and those of a text, each once. Nobody can search for a line end, so no
/// entry holds one.
fn entries(workspace: WorkspaceId, text: &str) -> Vec<u32> {
    let mut entries = Vec::with_capacity(text.len());
    for line in text.split('\n') {
        // Where each character begins, and the end.
        let places: Vec<usize> =
            line.char_indices().map(|(place, _)| place).chain([line.len()]).collect();
        let grams = places.windows(GRAM + 1);
        let grams = grams.filter_map(|places| line.get(places[0]..places[GRAM]));
        entries.extend(grams.map(|gram| hash(gram.as_bytes())));
    }
    entries.sort_unstable();
    entries.dedup();
    // First, so that it is asked for whatever else is left out.
    entries.insert(0, hash(&workspace.get().to_be_bytes()));
    entries
}

/// FNV-1a with 32 bits, folded to the 31 that a positive integer of PostgreSQL has. It is in the
/// database: another one would need all links indexed anew.
fn hash(bytes: &[u8]) -> u32 {
    let hash = bytes
        .iter()
        .fold(0x811c_9dc5_u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 31) ^ (hash & 0x7fff_ffff)
}

/// As the full text search of SQLite takes entries, to store them and to ask for them.
pub(super) fn sqlite_text(entries: &[u32]) -> String {
    joined(entries, " ")
}

/// As PostgreSQL reads an array.
pub(super) fn postgres_text(entries: &[u32]) -> String {
    format!("{{{}}}", joined(entries, ","))
}

fn joined(entries: &[u32], between: &str) -> String {
    entries.iter().map(u32::to_string).collect::<Vec<_>>().join(between)
}

/// Brings some links into the index, at most 500; says whether more are waiting.
pub(crate) async fn links_index(tx: &mut Tx) -> Result<bool, StoreError> {
    const READ: &str = "select l.id, l.workspace_id, l.search \
         from (select id from link_unindexed order by id limit $1) u \
         join link l on l.id = u.id order by l.id";
    // In the order of ids, and nobody else writes meanwhile: these are the ones that were read.
    const REMOVE: &str = "delete from link_unindexed where id <= $1";
    let rows: Vec<(i64, i64, String)> =
        on_tx!(tx, |conn| sqlx::query_as(READ).bind(PAGE_MAX as i64).fetch_all(conn).await)?;
    let mut bytes = 0;
    let fits = |row: &&(i64, i64, String)| {
        let is_first = bytes == 0;
        bytes += row.2.len();
        is_first || bytes <= PAGE_BYTES_MAX
    };
    let page: Vec<_> = rows.iter().take_while(fits).collect();
    let Some(&&(last, ..)) = page.last() else { return Ok(false) };
    let mut indexed = Vec::with_capacity(page.len());
    for (id, workspace, search) in &page {
        let workspace =
            WorkspaceId::try_from(*workspace).map_err(|_| StoreError::Corrupt("link row"))?;
        indexed.push((*id, entries(workspace, search)));
    }
    entries_set(tx, &indexed).await?;
    on_tx!(tx, |conn| {
        sqlx::query(REMOVE).bind(last).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(rows.len() == PAGE_MAX || page.len() < rows.len())
}

/// Lets links be found by these entries and no others. One statement for all, which each database
/// takes as a list in its own way.
async fn entries_set(tx: &mut Tx, links: &[(i64, Vec<u32>)]) -> Result<(), StoreError> {
    const SQLITE: &str = "insert or replace into link_search (rowid, grams) \
         select value ->> 0, value ->> 1 from json_each($1)";
    const POSTGRES: &str = "insert into link_search (link_id, grams) \
         select id, grams::integer[] from unnest($1::bigint[], $2::text[]) as list (id, grams) \
         on conflict (link_id) do update set grams = excluded.grams";
    match tx {
        Tx::Sqlite(tx) => {
            let list: Vec<_> =
                links.iter().map(|(id, entries)| (id, sqlite_text(entries))).collect();
            let list = serde_json::to_string(&list).expect("numbers and texts are JSON");
            sqlx::query(SQLITE).bind(list).execute(&mut **tx).await?;
        }
        Tx::Postgres(tx) => {
            let ids: Vec<i64> = links.iter().map(|(id, _)| *id).collect();
            let texts: Vec<String> =
                links.iter().map(|(_, entries)| postgres_text(entries)).collect();
            sqlx::query(POSTGRES).bind(ids).bind(texts).execute(&mut **tx).await?;
        }
    }
    Ok(())
}

/// How many links are not in the index yet.
pub(crate) async fn unindexed_count(db: &Db) -> Result<u64, StoreError> {
    const COUNT: &str = "select cast(count(*) as bigint) from link_unindexed";
    let count: i64 = on_db!(db, |pool| sqlx::query_scalar(COUNT).fetch_one(pool).await)?;
    Ok(count.unsigned_abs())
}

#[cfg(test)]
mod tests;
