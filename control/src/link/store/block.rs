//! Why links are taken down, and what they lead to.

use carom_shared::{LinkId, RouteState, WorkspaceId};

use super::edit::{link_read, link_update, route_update};
use super::{sound, state};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};
use crate::feed::NewChange;
use crate::link::Link;
use crate::link::block::Reason;

/// A link, and why it is taken down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockRow {
    pub(crate) link: Link,
    /// Bits of [`Reason`].
    pub(crate) reasons: i64,
    /// The state that it gets back.
    pub(crate) state_before: RouteState,
}

/// A link of this workspace, deleted or not.
pub(crate) async fn block_read(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: LinkId,
) -> Result<Option<BlockRow>, StoreError> {
    const READ: &str = "select blocked, blocked_from from link where id = $1";
    let Some(link) = link_read(tx, workspace, id).await? else { return Ok(None) };
    let (reasons, before): (i64, i64) =
        on_tx!(tx, |conn| sqlx::query_as(READ).bind(id.get()).fetch_one(conn).await)?;
    Ok(Some(BlockRow { link, reasons, state_before: state(before)? }))
}

/// Writes it and its route; a link that is deleted may have none any more.
pub(crate) async fn block_write(
    tx: &mut Tx,
    row: &BlockRow,
) -> Result<Option<NewChange>, StoreError> {
    const UPDATE: &str = "update link set blocked = $2, blocked_from = $3 where id = $1";
    let link = &row.link;
    let version = route_update(tx, link).await?;
    if version.is_none() && link.deleted_at.is_none() {
        return Err(StoreError::Corrupt("route row: a link without its route"));
    }
    link_update(tx, link).await?;
    on_tx!(tx, |conn| {
        let query = sqlx::query(UPDATE).bind(link.id.get()).bind(row.reasons);
        query.bind(row.state_before as i64).execute(conn).await.map(|done| done.rows_affected())
    })?;
    let change = |version| {
        let record = link.record(version);
        NewChange { domain: link.domain, code: link.code.clone(), record }
    };
    Ok(version.map(change))
}

/// What a link leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetRow {
    pub(crate) id: LinkId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) target: String,
    pub(crate) fallback: Option<String>,
    /// It is taken down because of a list.
    pub(crate) is_listed: bool,
}

type Targets = Vec<(i64, i64, String, Option<String>, i64)>;

fn targets(rows: Targets) -> Result<Vec<TargetRow>, StoreError> {
    let read = |(id, workspace, target, fallback, blocked): (_, i64, _, _, i64)| {
        Ok(TargetRow {
            id: sound(i64::try_into(id))?,
            workspace: sound(workspace.try_into())?,
            target,
            fallback,
            is_listed: blocked & Reason::List.bit() != 0,
        })
    };
    rows.into_iter().map(read).collect()
}

/// What links lead to, of all workspaces, deleted ones too, in the order of their ids.
pub(crate) async fn link_targets(
    db: &Db,
    after: Option<LinkId>,
    limit: u32,
) -> Result<Vec<TargetRow>, StoreError> {
    const LIST: &str = "select id, workspace_id, target, fallback, blocked from link \
         where id > $1 order by id limit $2";
    let after = after.map_or(0, LinkId::get);
    targets(on_db!(db, |pool| {
        let query = sqlx::query_as(LIST).bind(after);
        query.bind(i64::from(limit)).fetch_all(pool).await
    })?)
}

/// The same of those that are taken down, for whatever reason.
pub(crate) async fn blocked_targets(
    db: &Db,
    after: Option<LinkId>,
    limit: u32,
) -> Result<Vec<TargetRow>, StoreError> {
    const LIST: &str = "select id, workspace_id, target, fallback, blocked from link \
         where blocked <> 0 and id > $1 order by id limit $2";
    let after = after.map_or(0, LinkId::get);
    targets(on_db!(db, |pool| {
        let query = sqlx::query_as(LIST).bind(after);
        query.bind(i64::from(limit)).fetch_all(pool).await
    })?)
}
