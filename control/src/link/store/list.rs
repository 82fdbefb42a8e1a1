//! Listing, searching and counting links.
//!
//! Without a text or a tag a list is walked until a page is full. With one of them there are two
//! ways to a page, and no planner is asked which. To walk finds at once what is common, and looks at
//! every link for what is rare; to ask an index of it gives all that match, which are to be read and
//! sorted. So where an index gives links in the list's order, or says that there are few, it is
//! asked; elsewhere the list is walked, at most [`WALK_MAX`] links far, and what does not fill a page
//! by then is rare enough for the index.
//!
//! So are the links of a domain that has few: the routes of a domain are in an order of their own, and to have one
//! of links too would cost each create something. A domain with many is walked to the end.

use carom_shared::{DomainId, WorkspaceId};
use sqlx::{Database, Encode, Postgres, QueryBuilder, Sqlite, SqlitePool, Type};

use super::search::{asked, postgres_text, sqlite_text};
use super::{LinkRow, sound};
use crate::db::{Db, StoreError, on_db};
use crate::link::Link;
use crate::link::list::{ListFilter, ListQuery, ListState, Place, Sort};

/// Stands before a wildcard of `like` that is meant as it is written.
const ESCAPE: char = '\\';
/// Links that are walked before an index is asked. If fewer than a page of 100 match among so many,
/// one in 40 does, and the index names at most some thousands in a hundred thousand.
const WALK_MAX: u32 = 4096;
/// Links that an index names and that cost less than to walk.
const FEW: u32 = 2048;
/// Routes of a domain up to which its links are read one by one; some 30 ms.
const FEW_OF_DOMAIN: u32 = 16_384;

/// What an index is asked for.
enum Hits {
    /// Entries of the index of texts, the first of which is the workspace's.
    Text(WorkspaceId, Vec<u32>),
    Tag(WorkspaceId, String),
    /// All that its codes lead to: what is deleted may have lost its code to another.
    Domain(DomainId),
}

impl Hits {
    /// `None` if no index can help.
    fn of(filter: &ListFilter) -> Option<Self> {
        let text = filter.text.as_deref().and_then(|text| asked(filter.workspace, text));
        let tag = || Some(Self::Tag(filter.workspace, filter.tag.clone()?));
        let domain = || match filter.state {
            Some(ListState::Deleted) => None,
            _ => Some(Self::Domain(filter.domain?)),
        };
        text.map(|entries| Self::Text(filter.workspace, entries)).or_else(tag).or_else(domain)
    }
}

/// Links that a query asks for, in its order, from its place on.
pub(crate) async fn link_list(
    db: &Db,
    query: &ListQuery,
    limit: u32,
) -> Result<Vec<Link>, StoreError> {
    let Some(hits) = Hits::of(&query.filter) else {
        return walk(db, query, None, limit).await;
    };
    let is_index_first = match (db, &hits) {
        // Routes are in the order of their codes.
        (_, Hits::Domain(_)) => false,
        // Its indexes give ids in their order, one by one.
        (Db::Sqlite(pool), _) => query.sort == Sort::Created || are_few_sqlite(pool, &hits).await?,
        // Here all are found before the first is given.
        (Db::Postgres(_), _) => false,
    };
    if !is_index_first {
        let Some(end) = walk_end(db, query).await? else {
            return walk(db, query, None, limit).await;
        };
        let page = walk(db, query, Some(end), limit).await?;
        if page.len() == limit as usize {
            return Ok(page);
        }
        if let Hits::Domain(domain) = hits
            && !has_few(db, domain).await?
        {
            return walk(db, query, None, limit).await;
        }
    }
    read_by_index(db, query, &hits, limit).await
}

/// The same page, from an index alone.
async fn read_by_index(
    db: &Db,
    query: &ListQuery,
    hits: &Hits,
    limit: u32,
) -> Result<Vec<Link>, StoreError> {
    let rows: Vec<LinkRow> = match db {
        Db::Sqlite(pool) => {
            by_index_sqlite(query, hits, limit).build_query_as().fetch_all(pool).await?
        }
        Db::Postgres(pool) => {
            by_index_postgres(query, hits, limit).build_query_as().fetch_all(pool).await?
        }
    };
    rows.into_iter().map(Link::try_from).collect()
}

/// Links in their order, from the query's place to `end`, both without and with it.
async fn walk(
    db: &Db,
    query: &ListQuery,
    end: Option<Place>,
    limit: u32,
) -> Result<Vec<Link>, StoreError> {
    const WALK: &str = concat!("select ", link_columns!(), " from link where workspace_id = ");
    let rows: Vec<LinkRow> = on_db!(db, |pool| {
        let mut list = QueryBuilder::new(WALK);
        list.push_bind(query.filter.workspace.get());
        push_filter(&mut list, &query.filter);
        push_bound(&mut list, query.sort, "<", query.below);
        push_bound(&mut list, query.sort, ">=", end);
        list.push(order(query.sort)).push(" limit ").push_bind(i64::from(limit));
        list.build_query_as().fetch_all(pool).await
    })?;
    rows.into_iter().map(Link::try_from).collect()
}

/// How far links are walked; `None`: to the end of the list.
async fn walk_end(db: &Db, query: &ListQuery) -> Result<Option<Place>, StoreError> {
    let key = match query.sort {
        // Also the place of a list by age has a key, which says nothing.
        Sort::Created => "cast(0 as bigint)",
        Sort::Clicks => "clicks",
        Sort::LastClick => "last_click_ms",
    };
    let end: Option<(i64, i64)> = on_db!(db, |pool| {
        let mut list = QueryBuilder::new("select ");
        list.push(key).push(", id from link where workspace_id = ");
        list.push_bind(query.filter.workspace.get());
        push_bound(&mut list, query.sort, "<", query.below);
        list.push(order(query.sort)).push(" limit 1 offset ").push_bind(i64::from(WALK_MAX));
        list.build_query_as().fetch_optional(pool).await
    })?;
    end.map(|(key, id)| Ok(Place { key, id: sound(id.try_into())? })).transpose()
}

const fn order(sort: Sort) -> &'static str {
    match sort {
        Sort::Created => " order by id desc",
        Sort::Clicks => " order by clicks desc, id desc",
        Sort::LastClick => " order by last_click_ms desc, id desc",
    }
}

/// Only what stands in its order before or behind a place.
fn push_bound<DB: sqlx::Database>(
    list: &mut QueryBuilder<DB>,
    sort: Sort,
    than: &'static str,
    place: Option<Place>,
) where
    i64: for<'q> Encode<'q, DB> + Type<DB>,
{
    let Some(place) = place else { return };
    let key = match sort {
        Sort::Created => {
            list.push(" and id ").push(than).push(" ").push_bind(place.id.get());
            return;
        }
        Sort::Clicks => "clicks",
        Sort::LastClick => "last_click_ms",
    };
    list.push(" and (").push(key).push(", id) ").push(than).push(" (");
    list.push_bind(place.key).push(", ").push_bind(place.id.get()).push(")");
}

/// Only what the filter lets through, of its workspace.
fn push_filter<DB: sqlx::Database>(list: &mut QueryBuilder<DB>, filter: &ListFilter)
where
    i64: for<'q> Encode<'q, DB> + Type<DB>,
    String: for<'q> Encode<'q, DB> + Type<DB>,
{
    list.push(match filter.state {
        None => " and deleted_at_ms is null",
        Some(ListState::Active) => " and deleted_at_ms is null and state = 1",
        Some(ListState::Disabled) => " and deleted_at_ms is null and state = 2",
        Some(ListState::Deleted) => " and deleted_at_ms is not null",
    });
    // As it stands in the schema: SQLite does not see that a bound value fits an index of a part.
    list.push(match filter.archived {
        None => "",
        Some(true) => " and archived = true",
        Some(false) => " and archived = false",
    });
    if let Some(domain) = filter.domain {
        list.push(" and domain_id = ").push_bind(domain.get());
    }
    if let Some(tag) = &filter.tag {
        list.push(" and exists (select 1 from link_tag t where t.workspace_id = ")
            .push_bind(filter.workspace.get())
            .push(" and t.tag = ")
            .push_bind(tag.clone())
            .push(" and t.link_id = link.id)");
    }
    if let Some(text) = &filter.text {
        list.push(" and link.search like ").push_bind(pattern(text)).push(" escape '\\'");
    }
}

/// Whether an index names few links, in whatever state they are.
async fn are_few_sqlite(pool: &SqlitePool, hits: &Hits) -> Result<bool, StoreError> {
    let mut list = QueryBuilder::new("select count(*) from (select 1 from ");
    push_hits_sqlite(&mut list, hits);
    list.push(" limit ").push_bind(i64::from(FEW)).push(")");
    let count: i64 = list.build_query_scalar().fetch_one(pool).await?;
    Ok(count < i64::from(FEW))
}

/// Whether few codes of a domain lead to links, of whatever workspace.
async fn has_few(db: &Db, domain: DomainId) -> Result<bool, StoreError> {
    const COUNT: &str =
        "select count(*) from (select 1 from route where domain_id = $1 limit $2) known";
    let count: i64 = on_db!(db, |pool| {
        let count = sqlx::query_scalar(COUNT).bind(domain.get()).bind(i64::from(FEW_OF_DOMAIN));
        count.fetch_one(pool).await
    })?;
    Ok(count < i64::from(FEW_OF_DOMAIN))
}

fn by_index_sqlite(query: &ListQuery, hits: &Hits, limit: u32) -> QueryBuilder<Sqlite> {
    // `cross join` makes SQLite start with the hits.
    const JOIN: [&str; 2] = ["link on link.id = hit_id where workspace_id = ", ""];
    by_index(query, hits, limit, push_hits_sqlite, JOIN)
}

fn by_index_postgres(query: &ListQuery, hits: &Hits, limit: u32) -> QueryBuilder<Postgres> {
    // `offset` makes PostgreSQL read link after link, not all of the table, which it would where it
    // expects too many hits.
    const JOIN: [&str; 2] = [
        concat!(
            "lateral (select ",
            link_columns!(),
            " from link where id = hit_id and workspace_id = "
        ),
        " offset 0) link",
    ];
    by_index(query, hits, limit, push_hits_postgres, JOIN)
}

/// Reads what an index names, and sorts it. Links that the index of texts does not know yet are
/// looked at in the same statement: while they are brought into it, none is missed or comes twice.
fn by_index<DB: Database>(
    query: &ListQuery,
    hits: &Hits,
    limit: u32,
    push_hits: impl Fn(&mut QueryBuilder<DB>, &Hits),
    join: [&str; 2],
) -> QueryBuilder<DB>
where
    i64: for<'q> Encode<'q, DB> + Type<DB>,
    String: for<'q> Encode<'q, DB> + Type<DB>,
{
    const READ: &str = concat!("select ", link_columns!(), " from ");
    const UNINDEXED: &str = "(select id as hit_id from link_unindexed) hit";
    let push_arm = |list: &mut QueryBuilder<DB>, is_indexed: bool| {
        list.push(READ);
        if is_indexed {
            push_hits(list, hits);
        } else {
            list.push(UNINDEXED);
        }
        list.push(" cross join ").push(join[0]).push_bind(query.filter.workspace.get());
        push_filter(list, &query.filter);
        // What an index gives in the order of ids ends with the page.
        match (query.sort, query.below) {
            (Sort::Created, Some(place)) => {
                list.push(" and hit_id < ").push_bind(place.id.get());
            }
            (sort, below) => push_bound(list, sort, "<", below),
        }
        list.push(join[1]).push(match query.sort {
            Sort::Created => " order by hit_id desc",
            sort => order(sort),
        });
        list.push(" limit ").push_bind(i64::from(limit));
    };
    let mut list = QueryBuilder::new("");
    match hits {
        Hits::Tag(..) | Hits::Domain(_) => push_arm(&mut list, true),
        Hits::Text(..) => {
            list.push("select * from (");
            push_arm(&mut list, true);
            list.push(") old union select * from (");
            push_arm(&mut list, false);
            list.push(") new").push(order(query.sort));
            list.push(" limit ").push_bind(i64::from(limit));
        }
    }
    list
}

fn push_hits_sqlite(list: &mut QueryBuilder<Sqlite>, hits: &Hits) {
    match hits {
        Hits::Text(workspace, entries) => {
            // The only workspace has every link: to ask for it too takes twice as long.
            let (first, others) = entries.split_at(1);
            list.push("(select rowid as hit_id from link_search where link_search match ");
            list.push("iif(exists (select 1 from workspace where id <> ");
            list.push_bind(workspace.get()).push("), ");
            list.push_bind(sqlite_text(first)).push(" || ' ', '') || ");
            list.push_bind(sqlite_text(others)).push(") hit");
        }
        Hits::Tag(workspace, tag) => push_hits_tag(list, *workspace, tag),
        Hits::Domain(domain) => push_hits_domain(list, *domain),
    }
}

fn push_hits_postgres(list: &mut QueryBuilder<Postgres>, hits: &Hits) {
    match hits {
        Hits::Text(_, entries) => {
            list.push("(select link_id as hit_id from link_search where grams @> ");
            list.push_bind(postgres_text(entries)).push("::text::integer[]) hit");
        }
        Hits::Tag(workspace, tag) => push_hits_tag(list, *workspace, tag),
        Hits::Domain(domain) => push_hits_domain(list, *domain),
    }
}

fn push_hits_tag<DB: Database>(list: &mut QueryBuilder<DB>, workspace: WorkspaceId, tag: &str)
where
    i64: for<'q> Encode<'q, DB> + Type<DB>,
    String: for<'q> Encode<'q, DB> + Type<DB>,
{
    list.push("(select link_id as hit_id from link_tag where workspace_id = ");
    list.push_bind(workspace.get()).push(" and tag = ").push_bind(tag.to_owned()).push(") hit");
}

fn push_hits_domain<DB: Database>(list: &mut QueryBuilder<DB>, domain: DomainId)
where
    i64: for<'q> Encode<'q, DB> + Type<DB>,
{
    list.push("(select link_id as hit_id from route where domain_id = ");
    list.push_bind(domain.get()).push(") hit");
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
    // Each part is counted in an index of its own, without a look at the rows.
    const ALL: &str = "select cast(count(*) as bigint) - (select count(*) from link \
           where deleted_at_ms is not null) from link";
    const ONE: &str = "select cast(count(*) as bigint) - (select count(*) from link \
           where workspace_id = $1 and deleted_at_ms is not null) from link where workspace_id = $1";
    let count: i64 = on_db!(db, |pool| match workspace {
        None => sqlx::query_scalar(ALL).fetch_one(pool).await,
        Some(id) => sqlx::query_scalar(ONE).bind(id.get()).fetch_one(pool).await,
    })?;
    sound(count.try_into())
}

/// As [`link_count`]; `None` for a workspace that has, or had, more than `max`: to count a million links
/// takes 50 ms.
pub(crate) async fn link_count_to(
    db: &Db,
    workspace: WorkspaceId,
    max: u32,
) -> Result<Option<u64>, StoreError> {
    const COUNT: &str = "select \
           (select count(*) from (select 1 from link where workspace_id = $1 limit $2) known), \
           (select count(*) from (select 1 from link where workspace_id = $1 \
             and deleted_at_ms is not null limit $2) deleted)";
    let (known, deleted): (i64, i64) = on_db!(db, |pool| {
        let query = sqlx::query_as(COUNT).bind(workspace.get());
        query.bind(i64::from(max) + 1).fetch_one(pool).await
    })?;
    if known > i64::from(max) {
        return Ok(None);
    }
    sound((known - deleted).try_into()).map(Some)
}

/// What an index says of a query that has one, however common that is.
#[cfg(test)]
pub(super) async fn by_index_alone(db: &Db, query: &ListQuery) -> Result<Vec<Link>, StoreError> {
    let hits = Hits::of(&query.filter).expect("a text of three characters, a tag, or a domain");
    read_by_index(db, query, &hits, query.limit).await
}

#[cfg(test)]
mod tests;
