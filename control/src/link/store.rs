//! The tables `link` and `route`.

use carom_shared::{
    ApiKeyId, Code, DomainId, LinkId, QueryPolicy, Random, RedirectStatus, RouteRecord, RouteState,
    UnixMillis, WorkspaceId,
};

use super::Link;
use super::command::CreateLink;
use crate::db::{Db, StoreError, Tx, on_db, on_tx};
use crate::feed::NewChange;

/// How often a random code or id is drawn before giving up. With a million links on a domain, one
/// draw in 680,000 is taken.
const DRAWS_MAX: usize = 8;
/// The version of a new link, and of a new route.
const FIRST_VERSION: u64 = 1;

macro_rules! select_link {
    ($rest:literal) => {
        concat!(
            "select id, workspace_id, domain_id, code, target, target_revision, title, \
             redirect_status, state, not_before_ms, expires_at_ms, version, created_at_ms, \
             updated_at_ms, created_by from link ",
            $rest
        )
    };
}

#[derive(sqlx::FromRow)]
struct LinkRow {
    id: i64,
    workspace_id: i64,
    domain_id: i64,
    code: String,
    target: String,
    target_revision: i64,
    title: String,
    redirect_status: i64,
    state: i64,
    not_before_ms: Option<i64>,
    expires_at_ms: Option<i64>,
    version: i64,
    created_at_ms: i64,
    updated_at_ms: i64,
    created_by: Option<i64>,
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
            redirect_status: redirect_status(row.redirect_status)?,
            state: state(row.state)?,
            not_before: row.not_before_ms.map(UnixMillis::new),
            expires_at: row.expires_at_ms.map(UnixMillis::new),
            version: sound(row.version.try_into())?,
            created_at: UnixMillis::new(row.created_at_ms),
            updated_at: UnixMillis::new(row.updated_at_ms),
            created_by: row.created_by.map(ApiKeyId::try_from).transpose().map_err(corrupt)?,
        })
    }
}

fn sound<T, E>(value: Result<T, E>) -> Result<T, StoreError> {
    value.map_err(corrupt)
}

fn corrupt<E>(_: E) -> StoreError {
    StoreError::Corrupt("link row")
}

fn redirect_status(number: i64) -> Result<RedirectStatus, StoreError> {
    sound(u16::try_from(number)).and_then(|number| sound(number.try_into()))
}

fn state(number: i64) -> Result<RouteState, StoreError> {
    sound(u8::try_from(number)).and_then(|number| sound(number.try_into()))
}

/// Why a link could not be made, though everything about it is in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CreateRefused {
    #[error("the code {0} is taken")]
    Taken(Code),
    #[error("{DRAWS_MAX} random codes in a row were taken")]
    NoFreeCode,
}

/// Makes a link and its route. A refusal has written nothing, so that the other commands of the
/// transaction are not touched by it.
pub(crate) async fn link_create(
    tx: &mut Tx,
    command: CreateLink,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<Result<(Link, NewChange), CreateRefused>, StoreError> {
    let mut link = Link {
        id: LinkId::generate(now, random),
        workspace: command.workspace,
        domain: command.domain,
        code: command.code.clone().unwrap_or_else(|| Code::generate(random)),
        target: command.target.as_str().to_owned(),
        target_revision: 1,
        title: command.title,
        redirect_status: command.redirect_status,
        state: RouteState::Active,
        not_before: command.not_before,
        expires_at: command.expires_at,
        version: FIRST_VERSION,
        created_at: now,
        updated_at: now,
        created_by: Some(command.created_by),
    };
    // The route first: it is the one that can be refused for good.
    let mut draws = 1;
    while !route_insert(tx, &link).await? {
        if let Some(code) = command.code {
            return Ok(Err(CreateRefused::Taken(code)));
        }
        if draws == DRAWS_MAX {
            return Ok(Err(CreateRefused::NoFreeCode));
        }
        draws += 1;
        link.code = Code::generate(random);
    }
    let mut draws = 1;
    while !link_insert(tx, &link).await? {
        if draws == DRAWS_MAX {
            return Err(StoreError::Exhausted(DRAWS_MAX, "link ids"));
        }
        draws += 1;
        link.id = LinkId::generate(now, random);
        route_point(tx, &link).await?;
    }
    let record = link.record(FIRST_VERSION);
    let change = NewChange { domain: link.domain, code: link.code.clone(), record };
    Ok(Ok((link, change)))
}

/// `false` if the code has a route, a deleted one included.
async fn route_insert(tx: &mut Tx, link: &Link) -> Result<bool, StoreError> {
    const INSERT: &str = "insert into route (domain_id, code, link_id, workspace_id, state, version) \
         values ($1, $2, $3, $4, $5, $6) on conflict (domain_id, code) do nothing";
    let result = on_tx!(tx, |conn| {
        let query = sqlx::query(INSERT)
            .bind(link.domain.get())
            .bind(link.code.as_str())
            .bind(link.id.get())
            .bind(link.workspace.get())
            .bind(link.state as i64)
            .bind(FIRST_VERSION.cast_signed());
        query.execute(conn).await.map(|result| result.rows_affected())
    });
    Ok(result? == 1)
}

/// Lets a route of this transaction lead to the link's new id.
async fn route_point(tx: &mut Tx, link: &Link) -> Result<(), StoreError> {
    const POINT: &str = "update route set link_id = $3 where domain_id = $1 and code = $2";
    on_tx!(tx, |conn| {
        let query = sqlx::query(POINT).bind(link.domain.get()).bind(link.code.as_str());
        query.bind(link.id.get()).execute(conn).await
    })?;
    Ok(())
}

/// `false` if another link has the id.
async fn link_insert(tx: &mut Tx, link: &Link) -> Result<bool, StoreError> {
    const INSERT: &str = "insert into link (id, workspace_id, domain_id, code, target, \
           target_revision, title, redirect_status, state, not_before_ms, expires_at_ms, version, \
           created_at_ms, updated_at_ms, created_by) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         on conflict (id) do nothing";
    let result = on_tx!(tx, |conn| {
        let query = sqlx::query(INSERT)
            .bind(link.id.get())
            .bind(link.workspace.get())
            .bind(link.domain.get())
            .bind(link.code.as_str())
            .bind(link.target.as_str())
            .bind(i64::from(link.target_revision))
            .bind(link.title.as_str())
            .bind(i64::from(link.redirect_status.code()))
            .bind(link.state as i64)
            .bind(link.not_before.map(UnixMillis::get))
            .bind(link.expires_at.map(UnixMillis::get))
            .bind(link.version.cast_signed())
            .bind(link.created_at.get())
            .bind(link.updated_at.get())
            .bind(link.created_by.map(ApiKeyId::get));
        query.execute(conn).await.map(|result| result.rows_affected())
    });
    Ok(result? == 1)
}

/// A link of this workspace; `None` if it is another's.
pub(crate) async fn link_fetch(
    db: &Db,
    workspace: WorkspaceId,
    id: LinkId,
) -> Result<Option<Link>, StoreError> {
    const FETCH: &str = select_link!("where id = $1 and workspace_id = $2");
    let row: Option<LinkRow> = on_db!(db, |pool| {
        sqlx::query_as(FETCH).bind(id.get()).bind(workspace.get()).fetch_optional(pool).await
    })?;
    row.map(Link::try_from).transpose()
}

/// A place in the list of links: below it lies what is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) created_at: UnixMillis,
    pub(crate) id: LinkId,
}

/// Links of a workspace, newest first, from below a place on.
pub(crate) async fn link_list(
    db: &Db,
    workspace: WorkspaceId,
    below: Option<Place>,
    limit: u32,
) -> Result<Vec<Link>, StoreError> {
    const LIST: &str = select_link!(
        "where workspace_id = $1 and (created_at_ms, id) < ($2, $3) \
         order by created_at_ms desc, id desc limit $4"
    );
    let (created_at_ms, id) =
        below.map_or((i64::MAX, i64::MAX), |place| (place.created_at.get(), place.id.get()));
    let rows: Vec<LinkRow> = on_db!(db, |pool| {
        let query = sqlx::query_as(LIST).bind(workspace.get()).bind(created_at_ms).bind(id);
        query.bind(i64::from(limit)).fetch_all(pool).await
    })?;
    rows.into_iter().map(Link::try_from).collect()
}

/// How many links a workspace has, or all have.
pub(crate) async fn link_count(db: &Db, workspace: Option<WorkspaceId>) -> Result<u64, StoreError> {
    const ALL: &str = "select cast(count(*) as bigint) from link";
    const ONE: &str = "select cast(count(*) as bigint) from link where workspace_id = $1";
    let count: i64 = on_db!(db, |pool| match workspace {
        None => sqlx::query_scalar(ALL).fetch_one(pool).await,
        Some(id) => sqlx::query_scalar(ONE).bind(id.get()).fetch_one(pool).await,
    })?;
    sound(count.try_into())
}

#[derive(sqlx::FromRow)]
struct RouteRow {
    version: i64,
    state: i64,
    link_id: i64,
    workspace_id: i64,
    redirect_status: Option<i64>,
    target_revision: Option<i64>,
    not_before_ms: Option<i64>,
    expires_at_ms: Option<i64>,
    target: Option<String>,
}

/// What a code leads to; a deleted one gives its tombstone.
pub(crate) async fn route_resolve(
    db: &Db,
    domain: DomainId,
    code: &Code,
) -> Result<Option<RouteRecord>, StoreError> {
    const RESOLVE: &str = "select r.version, r.state, r.link_id, r.workspace_id, \
           l.redirect_status, l.target_revision, l.not_before_ms, l.expires_at_ms, l.target \
         from route r left join link l on l.id = r.link_id \
         where r.domain_id = $1 and r.code = $2";
    let row: Option<RouteRow> = on_db!(db, |pool| {
        let query = sqlx::query_as(RESOLVE).bind(domain.get()).bind(code.as_str());
        query.fetch_optional(pool).await
    })?;
    let Some(row) = row else { return Ok(None) };
    let tombstone = RouteRecord {
        version: sound(row.version.try_into())?,
        state: state(row.state)?,
        link: sound(row.link_id.try_into())?,
        workspace: sound(row.workspace_id.try_into())?,
        status: RedirectStatus::default(),
        target_revision: 1,
        not_before: None,
        expires_at: None,
        target: "".into(),
        fallback: None,
        query: QueryPolicy::default(),
        max_age_s: RouteRecord::MAX_AGE_MAX_S,
    };
    if tombstone.state == RouteState::Deleted {
        return Ok(Some(tombstone));
    }
    Ok(Some(RouteRecord {
        status: redirect_status(row.redirect_status.ok_or(StoreError::Corrupt("route row"))?)?,
        target_revision: sound(row.target_revision.unwrap_or_default().try_into())?,
        not_before: row.not_before_ms.map(UnixMillis::new),
        expires_at: row.expires_at_ms.map(UnixMillis::new),
        target: row.target.unwrap_or_default().into(),
        ..tombstone
    }))
}

#[cfg(test)]
mod tests;
