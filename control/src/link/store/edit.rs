//! Changing, deleting and restoring links.

use carom_shared::{Code, LinkId, UnixMillis, WorkspaceId};

use super::{LinkRow, PastTarget, forward_text, search_text, sound, tags_insert, target_append};
use crate::audit::{Author, Noted};
use crate::db::{StoreError, Tx, on_tx};
use crate::feed::NewChange;
use crate::http::problem::FieldError;
use crate::link::command::{Edit, EditLink};
use crate::link::{Link, trail};
use crate::workspace::store::workspace_now;

/// Why a link could not be edited, though everything about the command is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EditRefused {
    /// There is no such link in this workspace; or it was deleted, and is not to be restored.
    NotFound,
    /// The link has another version than the client has seen.
    Precondition { version: u64 },
    /// The change makes no sense for this link.
    Invalid(FieldError),
    /// Another link has taken the code since this one was deleted.
    Taken(Code),
}

/// What an edit leaves for others, if it changed anything.
#[derive(Clone, Debug)]
pub(crate) struct Edited {
    pub(crate) change: NewChange,
    pub(crate) noted: Noted,
}

/// Edits a link and its route. What changes nothing makes no version and no change of the feed. A
/// refusal has written nothing.
pub(crate) async fn link_edit(
    tx: &mut Tx,
    command: EditLink,
    now: UnixMillis,
) -> Result<Result<(Link, Option<Edited>), EditRefused>, StoreError> {
    let EditLink { workspace, link, by, if_match, edit } = command;
    let before = link_read(tx, workspace, link).await?;
    let is_restore = matches!(edit, Edit::Restore);
    let before = before.filter(|link| is_restore || link.deleted_at.is_none());
    let Some(before) = before else { return Ok(Err(EditRefused::NotFound)) };
    // Its links are swept once.
    if is_restore && workspace_now(tx, workspace).await?.is_none() {
        return Ok(Err(EditRefused::NotFound));
    }
    if !if_match.accepts(before.version) {
        return Ok(Err(EditRefused::Precondition { version: before.version }));
    }
    let edited = match edit {
        Edit::Change(change) => change.apply_to(&before, now),
        Edit::Delete => Ok(Link { deleted_at: Some(now), ..before.clone() }),
        Edit::Restore => Ok(Link { deleted_at: None, ..before.clone() }),
    };
    let mut after = match edited {
        Ok(after) => after,
        Err(error) => return Ok(Err(EditRefused::Invalid(error))),
    };
    if after == before {
        return Ok(Ok((before, None)));
    }
    after.version = before.version.saturating_add(1);
    after.updated_at = now;
    if after.target != before.target {
        after.target_revision = before.target_revision.saturating_add(1);
    }
    // The route first: it is the one that can be refused.
    let Some(route_version) = route_update(tx, &after).await? else {
        return if is_restore {
            Ok(Err(EditRefused::Taken(after.code)))
        } else {
            Err(StoreError::Corrupt("route row: a link without its route"))
        };
    };
    link_update(tx, &after).await?;
    if after.target_revision != before.target_revision {
        target_change(tx, &before, &after, by.author()).await?;
    }
    if after.tags != before.tags {
        tags_delete(tx, after.id).await?;
        tags_insert(tx, &after).await?;
    }
    let record = after.record(route_version);
    let change = NewChange { domain: after.domain, code: after.code.clone(), record };
    let noted = Noted { by, entry: trail::edited(&before, &after) };
    Ok(Ok((after, Some(Edited { change, noted }))))
}

/// A link of this workspace, deleted or not. It stays so: nobody else writes meanwhile.
pub(super) async fn link_read(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: LinkId,
) -> Result<Option<Link>, StoreError> {
    const READ: &str =
        concat!("select ", link_columns!(), " from link where id = $1 and workspace_id = $2");
    let row: Option<LinkRow> = on_tx!(tx, |conn| {
        sqlx::query_as(READ).bind(id.get()).bind(workspace.get()).fetch_optional(conn).await
    })?;
    row.map(Link::try_from).transpose()
}

/// The route's new version; `None` if it leads to another link.
pub(super) async fn route_update(tx: &mut Tx, link: &Link) -> Result<Option<u64>, StoreError> {
    const UPDATE: &str = "update route set state = $4, version = version + 1 \
         where domain_id = $1 and code = $2 and link_id = $3 returning version";
    let version: Option<i64> = on_tx!(tx, |conn| {
        let query = sqlx::query_scalar(UPDATE)
            .bind(link.domain.get())
            .bind(link.code.as_str())
            .bind(link.id.get())
            .bind(link.route_state() as i64);
        query.fetch_optional(conn).await
    })?;
    version.map(|version| sound(version.try_into())).transpose()
}

pub(super) async fn link_update(tx: &mut Tx, link: &Link) -> Result<(), StoreError> {
    const UPDATE: &str = "update link set target = $2, target_revision = $3, title = $4, \
           notes = $5, tags = $6, redirect_status = $7, max_age_s = $8, state = $9, \
           archived = $10, not_before_ms = $11, expires_at_ms = $12, fallback = $13, \
           query_forward = $14, query_visitor_wins = $15, search = $16, version = $17, \
           updated_at_ms = $18, deleted_at_ms = $19 \
         where id = $1";
    on_tx!(tx, |conn| {
        let query = bind_editable!(sqlx::query(UPDATE), link);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Writes a change of target into the history, which begins with the first change.
async fn target_change(
    tx: &mut Tx,
    before: &Link,
    after: &Link,
    edited_by: Author,
) -> Result<(), StoreError> {
    if before.target_revision == 1 {
        target_append(tx, before.id, PastTarget::first(before)).await?;
    }
    let past = PastTarget {
        revision: after.target_revision,
        target: after.target.clone(),
        set_at: after.updated_at,
        set_by: edited_by,
    };
    target_append(tx, after.id, past).await
}

async fn tags_delete(tx: &mut Tx, link: LinkId) -> Result<(), StoreError> {
    const DELETE: &str = "delete from link_tag where link_id = $1";
    on_tx!(tx, |conn| sqlx::query(DELETE)
        .bind(link.get())
        .execute(conn)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(())
}

#[cfg(test)]
mod tests;
