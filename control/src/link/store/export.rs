//! All links of a workspace, page by page.

use carom_shared::{LinkId, WorkspaceId};

use super::LinkRow;
use crate::db::{Db, StoreError, on_db};
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
