//! Listing and counting links.

use carom_shared::WorkspaceId;

use super::{LinkRow, sound};
use crate::db::{Db, StoreError, on_db};
use crate::link::Link;
use crate::link::list::{ListFilter, ListState, Place};

/// Stands before a wildcard of `like` that is meant as it is written.
const ESCAPE: char = '\\';

/// Links that a filter lets through, newest first, from below a place on.
pub(crate) async fn link_list(
    db: &Db,
    filter: &ListFilter,
    below: Option<Place>,
    limit: u32,
) -> Result<Vec<Link>, StoreError> {
    const LIST: &str = concat!("select ", link_columns!(), " from link where workspace_id = ");
    let rows: Vec<LinkRow> = on_db!(db, |pool| {
        let mut list = sqlx::QueryBuilder::new(LIST);
        list.push_bind(filter.workspace.get());
        list.push(match filter.state {
            None => " and deleted_at_ms is null",
            Some(ListState::Active) => " and deleted_at_ms is null and state = 1",
            Some(ListState::Disabled) => " and deleted_at_ms is null and state = 2",
            Some(ListState::Deleted) => " and deleted_at_ms is not null",
        });
        if let Some(archived) = filter.archived {
            list.push(" and archived = ").push_bind(archived);
        }
        if let Some(domain) = filter.domain {
            list.push(" and domain_id = ").push_bind(domain.get());
        }
        if let Some(tag) = &filter.tag {
            list.push(" and id in (select link_id from link_tag where workspace_id = ")
                .push_bind(filter.workspace.get())
                .push(" and tag = ")
                .push_bind(tag.clone())
                .push(")");
        }
        if let Some(text) = &filter.text {
            list.push(" and search like ").push_bind(pattern(text)).push(" escape '\\'");
        }
        if let Some(place) = below {
            list.push(" and (created_at_ms, id) < (")
                .push_bind(place.created_at.get())
                .push(", ")
                .push_bind(place.id.get())
                .push(")");
        }
        list.push(" order by created_at_ms desc, id desc limit ").push_bind(i64::from(limit));
        list.build_query_as().fetch_all(pool).await
    })?;
    rows.into_iter().map(Link::try_from).collect()
}

/// The pattern of `like` that finds a text anywhere.
fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | ESCAPE) {
            pattern.push(ESCAPE);
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// How many links a workspace has, or all have; without deleted ones.
pub(crate) async fn link_count(db: &Db, workspace: Option<WorkspaceId>) -> Result<u64, StoreError> {
    const ALL: &str = "select cast(count(*) as bigint) from link where deleted_at_ms is null";
    const ONE: &str = "select cast(count(*) as bigint) from link \
         where workspace_id = $1 and deleted_at_ms is null";
    let count: i64 = on_db!(db, |pool| match workspace {
        None => sqlx::query_scalar(ALL).fetch_one(pool).await,
        Some(id) => sqlx::query_scalar(ONE).bind(id.get()).fetch_one(pool).await,
    })?;
    sound(count.try_into())
}

#[cfg(test)]
mod tests;
