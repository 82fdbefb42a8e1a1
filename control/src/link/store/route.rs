//! What the edge asks for.

use carom_shared::{Code, DomainId, RouteChange, RouteRecord, RouteState, UnixMillis};

use super::{query_policy, redirect_status, sound, state};
use crate::db::{Db, StoreError, on_db};
use crate::link::tombstone;

/// A row of `route_columns!`.
#[derive(sqlx::FromRow)]
pub(crate) struct RouteRow {
    version: i64,
    state: i64,
    link_id: i64,
    workspace_id: i64,
    redirect_status: Option<i64>,
    max_age_s: Option<i64>,
    target_revision: Option<i64>,
    not_before_ms: Option<i64>,
    expires_at_ms: Option<i64>,
    target: Option<String>,
    fallback: Option<String>,
    query_forward: Option<String>,
    query_visitor_wins: Option<bool>,
}

/// What a [`RouteRow`] is read from, of `route r` and, unless it was deleted, its `link l`.
macro_rules! route_columns {
    () => {
        "r.version, r.state, r.link_id, r.workspace_id, l.redirect_status, l.max_age_s, \
         l.target_revision, l.not_before_ms, l.expires_at_ms, l.target, l.fallback, \
         l.query_forward, l.query_visitor_wins"
    };
}
pub(crate) use route_columns;

/// What a code leads to; a deleted one gives its tombstone.
pub(crate) async fn route_resolve(
    db: &Db,
    domain: DomainId,
    code: &Code,
) -> Result<Option<RouteRecord>, StoreError> {
    const RESOLVE: &str = concat!(
        "select ",
        route_columns!(),
        " from route r left join link l on l.id = r.link_id \
         where r.domain_id = $1 and r.code = $2"
    );
    let row: Option<RouteRow> = on_db!(db, |pool| {
        let query = sqlx::query_as(RESOLVE).bind(domain.get()).bind(code.as_str());
        query.fetch_optional(pool).await
    })?;
    row.map(RouteRecord::try_from).transpose()
}

/// Whether an operator has taken down the link that a code led to: it is not used anew, deleted or not.
pub(crate) async fn code_is_withheld(
    db: &Db,
    domain: DomainId,
    code: &Code,
) -> Result<bool, StoreError> {
    const FIND: &str = "select link.id from route join link on link.id = route.link_id \
         where route.domain_id = $1 and route.code = $2 and link.state = 3 and link.blocked <> 2";
    let found: Option<i64> = on_db!(db, |pool| {
        let query = sqlx::query_scalar(FIND).bind(domain.get()).bind(code.as_str());
        query.fetch_optional(pool).await
    })?;
    Ok(found.is_some())
}

/// A row of the list of all routes.
#[derive(sqlx::FromRow)]
struct PlacedRow {
    domain_id: i64,
    code: String,
    #[sqlx(flatten)]
    route: RouteRow,
}

/// Routes after this one, tombstones included, in the order of their key.
pub(crate) async fn routes_after(
    db: &Db,
    after: Option<(DomainId, Code)>,
    limit: u32,
) -> Result<Vec<RouteChange>, StoreError> {
    const AFTER: &str = concat!(
        "select r.domain_id, r.code, ",
        route_columns!(),
        " from route r left join link l on l.id = r.link_id \
         where (r.domain_id, r.code) > ($1, $2) order by r.domain_id, r.code limit $3"
    );
    let (domain, code) =
        after.map_or((0, String::new()), |(domain, code)| (domain.get(), code.as_str().to_owned()));
    let rows: Vec<PlacedRow> = on_db!(db, |pool| {
        let query = sqlx::query_as(AFTER).bind(domain).bind(&code).bind(i64::from(limit));
        query.fetch_all(pool).await
    })?;
    let place = |row: PlacedRow| {
        Ok(RouteChange {
            domain: sound(row.domain_id.try_into())?,
            code: sound(row.code.parse())?,
            record: row.route.try_into()?,
        })
    };
    rows.into_iter().map(place).collect()
}

impl TryFrom<RouteRow> for RouteRecord {
    type Error = StoreError;

    fn try_from(row: RouteRow) -> Result<Self, StoreError> {
        let missing = || StoreError::Corrupt("route row: a route without its link");
        let version = sound(row.version.try_into())?;
        let state = state(row.state)?;
        let link = sound(row.link_id.try_into())?;
        let workspace = sound(row.workspace_id.try_into())?;
        if state == RouteState::Deleted {
            return Ok(tombstone(version, link, workspace));
        }
        let forward = row.query_forward.ok_or_else(missing)?;
        let visitor_wins = row.query_visitor_wins.ok_or_else(missing)?;
        Ok(Self {
            version,
            state,
            link,
            workspace,
            status: redirect_status(row.redirect_status.ok_or_else(missing)?)?,
            target_revision: sound(row.target_revision.ok_or_else(missing)?.try_into())?,
            not_before: row.not_before_ms.map(UnixMillis::new),
            expires_at: row.expires_at_ms.map(UnixMillis::new),
            target: row.target.ok_or_else(missing)?.into(),
            fallback: row.fallback.map(Into::into),
            query: query_policy(&forward, visitor_wins)?,
            max_age_s: sound(row.max_age_s.ok_or_else(missing)?.try_into())?,
        })
    }
}
