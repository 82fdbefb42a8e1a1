//! The clicks that links show: written as they are in the store of clicks, never added to.

use crate::db::{Db, StoreError, Tx, on_db, on_tx};
use crate::link::clicks::{ClickCursor, LinkClicks};

/// Up to where clicks were carried over.
pub(crate) async fn click_cursor(db: &Db) -> Result<ClickCursor, StoreError> {
    const READ: &str = "select batch, link_id from click_cursor where id = 1";
    let (batch, link) = on_db!(db, |pool| sqlx::query_as(READ).fetch_one(pool).await)?;
    Ok(ClickCursor { batch, link })
}

/// Writes what some links were clicked, and up to where that is. It is no change of a link that
/// anybody made: its version, its time and the feed stay as they are.
pub(crate) async fn link_clicks_set(
    tx: &mut Tx,
    links: &[LinkClicks],
    cursor: ClickCursor,
) -> Result<(), StoreError> {
    // A row that says so already is left alone: going over the same clicks again costs no write.
    const SET: &str = "update link set clicks = $3, last_click_ms = $4, moved_clicks = $5 \
         where id = $1 and workspace_id = $2 \
         and (clicks <> $3 or last_click_ms <> $4 or moved_clicks <> $5)";
    const MOVE: &str = "update click_cursor set batch = $1, link_id = $2 where id = 1";
    for link in links {
        on_tx!(tx, |conn| {
            let query = sqlx::query(SET).bind(link.link.get()).bind(link.workspace.get());
            let query = query.bind(link.clicks).bind(link.last_click_ms).bind(link.moved);
            query.execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    on_tx!(tx, |conn| {
        let query = sqlx::query(MOVE).bind(cursor.batch).bind(cursor.link);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
