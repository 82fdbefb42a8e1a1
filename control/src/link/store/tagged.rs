//! Tags, and the links that have them.

use carom_shared::{LinkId, WorkspaceId};

use super::sound;
use crate::db::{Db, StoreError, on_db};

/// Links that have a tag, also deleted ones, oldest first. `tag` is folded.
pub(crate) async fn tag_links(
    db: &Db,
    workspace: WorkspaceId,
    tag: &str,
    limit: u32,
) -> Result<Vec<LinkId>, StoreError> {
    const LINKS: &str = "select link_id from link_tag where workspace_id = $1 and tag = $2 \
         order by link_id limit $3";
    let ids: Vec<i64> = on_db!(db, |pool| {
        let query = sqlx::query_scalar(LINKS).bind(workspace.get()).bind(tag);
        query.bind(i64::from(limit)).fetch_all(pool).await
    })?;
    ids.into_iter().map(|id| sound(id.try_into())).collect()
}

/// Tags that links of a workspace have, folded, in their order.
pub(crate) async fn tag_names(
    db: &Db,
    workspace: WorkspaceId,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    // From one to the next in the index: `distinct` would go through the entries of all links.
    const NAMES: &str = "with recursive named (tag) as (\
           select min(tag) from link_tag where workspace_id = $1 \
           union all \
           select (select min(next.tag) from link_tag next \
             where next.workspace_id = $1 and next.tag > named.tag) \
           from named where named.tag is not null) \
         select tag from named where tag is not null limit $2";
    Ok(on_db!(db, |pool| {
        let query = sqlx::query_scalar(NAMES).bind(workspace.get());
        query.bind(i64::from(limit)).fetch_all(pool).await
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::command::LinkSettings;
    use crate::link::store::{link_count_to, link_create};
    use crate::link::tag::Tags;
    use crate::testing::{NOW, TestDb, on_each_database};

    on_each_database!(tags_name_their_links);

    async fn tags_name_their_links(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let mut ids = Vec::new();
        for (code, tags) in [("a", vec!["Red", "zwei"]), ("b", vec!["red"]), ("c", vec![])] {
            let tags = Tags::new(tags).unwrap();
            let settings = LinkSettings { tags: Some(tags), ..LinkSettings::default() };
            let create = crate::link::command::CreateLink { settings, ..test.create(Some(code)) };
            let made = link_create(&mut tx, create, NOW, &test.random).await.unwrap();
            ids.push(made.unwrap().0.id);
        }
        tx.commit().await.unwrap();
        let (db, workspace) = (&test.db.read, test.workspace);
        assert_eq!(tag_names(db, workspace, 10).await.unwrap(), ["red", "zwei"]);
        assert_eq!(tag_names(db, workspace, 1).await.unwrap(), ["red"]);
        let mut red = tag_links(db, workspace, "red", 10).await.unwrap();
        red.sort_unstable();
        let mut expected = ids[..2].to_vec();
        expected.sort_unstable();
        assert_eq!(red, expected);
        assert_eq!(tag_links(db, workspace, "red", 1).await.unwrap().len(), 1);
        assert_eq!(tag_links(db, workspace, "Red", 9).await.unwrap(), []);
        for (max, counted) in [(2, None), (3, Some(3)), (9, Some(3))] {
            assert_eq!(link_count_to(db, workspace, max).await.unwrap(), counted, "{max}");
        }
        let other = WorkspaceId::try_from(workspace.get() + 1).unwrap();
        assert_eq!(tag_names(db, other, 9).await.unwrap(), Vec::<String>::new());
    }
}
