//! All links of a workspace, page by page.

use carom_shared::{LinkId, WorkspaceId};

use super::{LinkRow, sound};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};
use crate::link::Link;

/// Links whose ids are above `after`, in the order of ids; if asked, also those that were deleted,
/// unless another link has taken their code since.
pub(crate) async fn links_after(
    db: &Db,
    workspace: WorkspaceId,
    after: Option<LinkId>,
    with_deleted: bool,
    limit: u32,
) -> Result<Vec<Link>, StoreError> {
    const ALL: &str = concat!(
        "select ",
        link_columns!(),
        " from link where workspace_id = $1 and id > $2 and (deleted_at_ms is null or exists (\
            select 1 from route r where r.domain_id = link.domain_id and r.code = link.code \
            and r.link_id = link.id)) \
         order by id limit $3"
    );
    const LIVE: &str = concat!(
        "select ",
        link_columns!(),
        " from link where workspace_id = $1 and id > $2 and deleted_at_ms is null \
         order by id limit $3"
    );
    let list = if with_deleted { ALL } else { LIVE };
    let rows: Vec<LinkRow> = on_db!(db, |pool| {
        let query = sqlx::query_as(list).bind(workspace.get());
        let query = query.bind(after.map_or(0, LinkId::get)).bind(i64::from(limit));
        query.fetch_all(pool).await
    })?;
    rows.into_iter().map(Link::try_from).collect()
}

/// Some links of a workspace that are not deleted, as it is in this transaction.
pub(crate) async fn links_of(
    tx: &mut Tx,
    workspace: WorkspaceId,
    limit: u32,
) -> Result<Vec<LinkId>, StoreError> {
    const LIST: &str = "select id from link where workspace_id = $1 and deleted_at_ms is null \
         order by id limit $2";
    let ids: Vec<i64> = on_tx!(tx, |conn| {
        let query = sqlx::query_scalar(LIST).bind(workspace.get()).bind(i64::from(limit));
        query.fetch_all(conn).await
    })?;
    ids.into_iter().map(|id| sound(id.try_into())).collect()
}
