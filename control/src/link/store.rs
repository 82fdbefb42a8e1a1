//! The tables `link`, `link_tag`, `link_target`, `link_search`, `link_unindexed`, `route` and
//! `click_cursor`.

/// What a [`LinkRow`] is read from.
macro_rules! link_columns {
    () => {
        "id, workspace_id, domain_id, code, target, target_revision, title, notes, tags, \
         redirect_status, max_age_s, state, archived, not_before_ms, expires_at_ms, fallback, \
         query_forward, query_visitor_wins, version, created_at_ms, updated_at_ms, deleted_at_ms, \
         created_by, created_by_account, clicks, imported_clicks, moved_clicks, last_click_ms"
    };
}

/// Binds a link's id to `$1`, and what an edit can change to `$2` to `$19`.
macro_rules! bind_editable {
    ($query:expr, $link:expr) => {
        $query
            .bind($link.id.get())
            .bind($link.target.as_str())
            .bind(i64::from($link.target_revision))
            .bind($link.title.as_str())
            .bind($link.notes.as_str())
            .bind($link.tags.to_text())
            .bind(i64::from($link.redirect_status.code()))
            .bind(i64::from($link.max_age_s))
            .bind($link.state as i64)
            .bind($link.is_archived)
            .bind($link.not_before.map(UnixMillis::get))
            .bind($link.expires_at.map(UnixMillis::get))
            .bind($link.fallback.as_deref())
            .bind(forward_text(&$link.query.forward))
            .bind($link.query.visitor_wins)
            .bind(search_text($link))
            .bind($link.version.cast_signed())
            .bind($link.updated_at.get())
            .bind($link.deleted_at.map(UnixMillis::get))
    };
}

mod block;
mod clicks;
mod create;
mod edit;
mod export;
mod import;
mod list;
mod place;
mod route;
mod search;
mod tagged;

pub(crate) use block::{
    BlockRow, TargetRow, block_read, block_write, blocked_targets, link_targets,
};
pub(crate) use clicks::{click_cursor, link_clicks_set};
pub(crate) use create::{CreateRefused, link_create, new_link};
pub(crate) use edit::{EditRefused, Edited, link_edit};
pub(crate) use export::{links_after, links_of};
pub(crate) use import::{ImportDone, links_import};
pub(crate) use list::{link_count, link_count_to, link_list};
pub(crate) use place::{LinkPlace, link_places};
pub(crate) use route::{RouteRow, code_is_withheld, route_columns, route_resolve, routes_after};
pub(crate) use search::{links_index, unindexed_count};
pub(crate) use tagged::{tag_links, tag_names};

use carom_shared::{
    AccountId, ApiKeyId, DomainId, Forward, LinkId, ParameterNames, QueryPolicy, RedirectStatus,
    RouteState, UnixMillis, WorkspaceId,
};

use super::tag::Tags;
use super::{Link, fold};
use crate::audit::Author;
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// Targets of a link's history that are shown, at most; older ones are kept.
const HISTORY_MAX: i64 = 100;

#[derive(sqlx::FromRow)]
struct LinkRow {
    id: i64,
    workspace_id: i64,
    domain_id: i64,
    code: String,
    target: String,
    target_revision: i64,
    title: String,
    notes: String,
    tags: String,
    redirect_status: i64,
    max_age_s: i64,
    state: i64,
    archived: bool,
    not_before_ms: Option<i64>,
    expires_at_ms: Option<i64>,
    fallback: Option<String>,
    query_forward: String,
    query_visitor_wins: bool,
    version: i64,
    created_at_ms: i64,
    updated_at_ms: i64,
    deleted_at_ms: Option<i64>,
    created_by: Option<i64>,
    created_by_account: Option<i64>,
    clicks: i64,
    imported_clicks: i64,
    moved_clicks: i64,
    last_click_ms: i64,
}

impl TryFrom<LinkRow> for Link {
    type Error = StoreError;

    fn try_from(row: LinkRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: sound(row.id.try_into())?,
            workspace: sound(row.workspace_id.try_into())?,
            domain: sound(row.domain_id.try_into())?,
            code: sound(row.code.parse())?,
            target: row.target,
            target_revision: sound(row.target_revision.try_into())?,
            title: row.title,
            notes: row.notes,
            tags: sound(Tags::from_text(&row.tags))?,
            redirect_status: redirect_status(row.redirect_status)?,
            max_age_s: sound(row.max_age_s.try_into())?,
            state: state(row.state)?,
            is_archived: row.archived,
            not_before: row.not_before_ms.map(UnixMillis::new),
            expires_at: row.expires_at_ms.map(UnixMillis::new),
            fallback: row.fallback,
            query: query_policy(&row.query_forward, row.query_visitor_wins)?,
            version: sound(row.version.try_into())?,
            created_at: UnixMillis::new(row.created_at_ms),
            updated_at: UnixMillis::new(row.updated_at_ms),
            deleted_at: row.deleted_at_ms.map(UnixMillis::new),
            created_by: author(row.created_by, row.created_by_account)?,
            clicks: sound(row.clicks.try_into())?,
            // Never more than there were: clicks of a file may be others.
            imported_clicks: sound((row.imported_clicks - row.moved_clicks).max(0).try_into())?,
            last_click_at: Some(row.last_click_ms).filter(|&ms| ms > 0).map(UnixMillis::new),
        })
    }
}

fn sound<T, E>(value: Result<T, E>) -> Result<T, StoreError> {
    value.map_err(corrupt)
}

fn corrupt<E>(_: E) -> StoreError {
    StoreError::Corrupt("link row")
}

fn author(key: Option<i64>, account: Option<i64>) -> Result<Author, StoreError> {
    Ok(Author {
        account: account.map(AccountId::try_from).transpose().map_err(corrupt)?,
        key: key.map(ApiKeyId::try_from).transpose().map_err(corrupt)?,
    })
}

fn redirect_status(number: i64) -> Result<RedirectStatus, StoreError> {
    sound(u16::try_from(number)).and_then(|number| sound(number.try_into()))
}

fn state(number: i64) -> Result<RouteState, StoreError> {
    sound(u8::try_from(number)).and_then(|number| sound(number.try_into()))
}

/// What the column `query_forward` holds; no parameter's name has a star.
fn forward_text(forward: &Forward) -> &str {
    match forward {
        Forward::None => "",
        Forward::All => "*",
        Forward::Only(names) => names.as_str(),
    }
}

fn query_policy(forward: &str, visitor_wins: bool) -> Result<QueryPolicy, StoreError> {
    let forward = match forward {
        "" => Forward::None,
        "*" => Forward::All,
        names => Forward::Only(sound(ParameterNames::parse(names))?),
    };
    Ok(QueryPolicy { forward, visitor_wins })
}

/// What searching looks at. Nobody can search for a line end, so nothing is found across two fields.
fn search_text(link: &Link) -> String {
    fold(&format!("{}\n{}\n{}\n{}", link.code, link.target, link.title, link.notes))
}

/// A link of this workspace; `None` if it is another's, or was deleted.
pub(crate) async fn link_fetch(
    db: &Db,
    workspace: WorkspaceId,
    id: LinkId,
) -> Result<Option<Link>, StoreError> {
    const FETCH: &str = concat!(
        "select ",
        link_columns!(),
        " from link where id = $1 and workspace_id = $2 and deleted_at_ms is null"
    );
    let row: Option<LinkRow> = on_db!(db, |pool| {
        sqlx::query_as(FETCH).bind(id.get()).bind(workspace.get()).fetch_optional(pool).await
    })?;
    row.map(Link::try_from).transpose()
}

/// Whose link this is, or was before it was deleted.
pub(crate) async fn link_owner(db: &Db, id: LinkId) -> Result<Option<WorkspaceId>, StoreError> {
    const OWNER: &str = "select workspace_id from link where id = $1";
    let owner: Option<i64> =
        on_db!(db, |pool| sqlx::query_scalar(OWNER).bind(id.get()).fetch_optional(pool).await)?;
    owner.map(WorkspaceId::try_from).transpose().map_err(corrupt)
}

/// The domain that a link of this workspace is on, or was before it was deleted.
pub(crate) async fn link_domain(
    db: &Db,
    workspace: WorkspaceId,
    id: LinkId,
) -> Result<Option<DomainId>, StoreError> {
    const DOMAIN: &str = "select domain_id from link where id = $1 and workspace_id = $2";
    let domain: Option<i64> = on_db!(db, |pool| {
        sqlx::query_scalar(DOMAIN).bind(id.get()).bind(workspace.get()).fetch_optional(pool).await
    })?;
    domain.map(DomainId::try_from).transpose().map_err(corrupt)
}

/// A target that a link has or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastTarget {
    pub(crate) revision: u32,
    pub(crate) target: String,
    pub(crate) set_at: UnixMillis,
    pub(crate) set_by: Author,
}

impl PastTarget {
    fn first(link: &Link) -> Self {
        Self {
            revision: 1,
            target: link.target.clone(),
            set_at: link.created_at,
            set_by: link.created_by,
        }
    }
}

type PastRow = (i64, String, i64, Option<i64>, Option<i64>);

/// The targets of a link, newest first; at most 100.
pub(crate) async fn target_history(db: &Db, link: &Link) -> Result<Vec<PastTarget>, StoreError> {
    if link.target_revision == 1 {
        return Ok(vec![PastTarget::first(link)]);
    }
    // Not newer than the link that was read before: both tell of one moment.
    const LIST: &str = "select revision, target, set_at_ms, set_by, set_by_account from link_target \
         where link_id = $1 and revision <= $2 order by revision desc limit $3";
    let rows: Vec<PastRow> = on_db!(db, |pool| {
        let query = sqlx::query_as(LIST).bind(link.id.get()).bind(i64::from(link.target_revision));
        query.bind(HISTORY_MAX).fetch_all(pool).await
    })?;
    let read = |(revision, target, set_at_ms, set_by, account): PastRow| {
        Ok(PastTarget {
            revision: sound(revision.try_into())?,
            target,
            set_at: UnixMillis::new(set_at_ms),
            set_by: author(set_by, account)?,
        })
    };
    rows.into_iter().map(read).collect()
}

async fn target_append(tx: &mut Tx, link: LinkId, past: PastTarget) -> Result<(), StoreError> {
    const INSERT: &str = "insert into link_target (link_id, revision, target, set_at_ms, set_by, \
         set_by_account) values ($1, $2, $3, $4, $5, $6)";
    on_tx!(tx, |conn| {
        let query = sqlx::query(INSERT)
            .bind(link.get())
            .bind(i64::from(past.revision))
            .bind(past.target.as_str())
            .bind(past.set_at.get())
            .bind(past.set_by.key.map(ApiKeyId::get))
            .bind(past.set_by.account.map(AccountId::get));
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Lets a link be found by its tags.
async fn tags_insert(tx: &mut Tx, link: &Link) -> Result<(), StoreError> {
    const INSERT: &str = "insert into link_tag (workspace_id, tag, link_id) values ($1, $2, $3)";
    for tag in link.tags.folded() {
        on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT).bind(link.workspace.get()).bind(tag.as_str());
            query.bind(link.id.get()).execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
