//! The table `domain`.

use carom_shared::{DomainId, Host, Random, UnixMillis, WorkspaceId};

use super::{Domain, DomainState, WaysOut};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// How often an id is drawn before giving up.
const ID_DRAWS_MAX: usize = 8;

/// What a [`Row`] is read from.
macro_rules! domain_columns {
    () => {
        "id, host, is_default, workspace_id, state, claims, challenge, checked_at_ms, \
         verified_at_ms, missing_since_ms, home, not_found, expired, folds_case, version, \
         created_at_ms"
    };
}

/// All that is or was served.
const LIST: &str = concat!(
    "select ",
    domain_columns!(),
    " from domain where state <> 0 order by is_default desc, state, created_at_ms, id"
);

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    host: String,
    is_default: bool,
    workspace_id: Option<i64>,
    state: i64,
    claims: String,
    challenge: String,
    checked_at_ms: Option<i64>,
    verified_at_ms: Option<i64>,
    missing_since_ms: Option<i64>,
    home: Option<String>,
    not_found: Option<String>,
    expired: Option<String>,
    folds_case: bool,
    version: i64,
    created_at_ms: i64,
}

impl TryFrom<Row> for Domain {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("domain row");
        let state = DomainState::from_number(row.state).ok_or_else(corrupt)?;
        let host = if state == DomainState::Verified { row.host } else { row.claims };
        Ok(Self {
            id: DomainId::try_from(row.id).map_err(|_| corrupt())?,
            host: host.parse().map_err(|_| StoreError::Corrupt("domain host"))?,
            is_default: row.is_default,
            workspace: row
                .workspace_id
                .map(WorkspaceId::try_from)
                .transpose()
                .map_err(|_| corrupt())?,
            state,
            challenge: row.challenge,
            ways_out: WaysOut { home: row.home, not_found: row.not_found, expired: row.expired },
            folds_case: row.folds_case,
            checked_at: row.checked_at_ms.map(UnixMillis::new),
            verified_at: row.verified_at_ms.map(UnixMillis::new),
            missing_since: row.missing_since_ms.map(UnixMillis::new),
            version: row.version.try_into().map_err(|_| corrupt())?,
            created_at: UnixMillis::new(row.created_at_ms),
        })
    }
}

fn domains(rows: Vec<Row>) -> Result<Vec<Domain>, StoreError> {
    rows.into_iter().map(Domain::try_from).collect()
}

/// Every domain that is or was served, the default one first.
pub(crate) async fn domain_list(tx: &mut Tx) -> Result<Vec<Domain>, StoreError> {
    domains(on_tx!(tx, |conn| sqlx::query_as(LIST).fetch_all(conn).await)?)
}

/// The same, beside whoever writes.
pub(crate) async fn domains_read(db: &Db) -> Result<Vec<Domain>, StoreError> {
    domains(on_db!(db, |pool| sqlx::query_as(LIST).fetch_all(pool).await)?)
}

/// A number that grows with each change of a domain that is or was served: of those no row is removed.
pub(crate) async fn domains_version(db: &Db) -> Result<i64, StoreError> {
    const SUM: &str = "select cast(coalesce(sum(version), 0) as bigint) from domain \
         where state <> 0 or verified_at_ms is not null";
    Ok(on_db!(db, |pool| sqlx::query_scalar(SUM).fetch_one(pool).await)?)
}

/// What a workspace can use or waits for, the default domain first.
pub(crate) async fn domains_of(db: &Db, workspace: WorkspaceId) -> Result<Vec<Domain>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        domain_columns!(),
        " from domain where state <> 2 and (workspace_id = $1 or workspace_id is null) \
         order by is_default desc, created_at_ms, id"
    );
    domains(on_db!(db, |pool| {
        sqlx::query_as(LIST).bind(workspace.get()).fetch_all(pool).await
    })?)
}

/// One of those.
pub(crate) async fn domain_fetch(
    db: &Db,
    workspace: WorkspaceId,
    id: DomainId,
) -> Result<Option<Domain>, StoreError> {
    const FETCH: &str = concat!(
        "select ",
        domain_columns!(),
        " from domain where id = $1 and state <> 2 \
         and (workspace_id = $2 or workspace_id is null)"
    );
    let row: Option<Row> = on_db!(db, |pool| {
        sqlx::query_as(FETCH).bind(id.get()).bind(workspace.get()).fetch_optional(pool).await
    })?;
    row.map(Domain::try_from).transpose()
}

/// Verified domains of workspaces whose record was looked for before `before`, the longest ago first.
pub(crate) async fn domains_due(
    db: &Db,
    before: UnixMillis,
    limit: u32,
) -> Result<Vec<Domain>, StoreError> {
    const DUE: &str = concat!(
        "select ",
        domain_columns!(),
        " from domain where state = 1 and workspace_id is not null and checked_at_ms < $1 \
         order by checked_at_ms, id limit $2"
    );
    domains(on_db!(db, |pool| {
        let query = sqlx::query_as(DUE).bind(before.get());
        query.bind(i64::from(limit)).fetch_all(pool).await
    })?)
}

/// A domain, whatever its state. It stays so: nobody else writes meanwhile.
pub(crate) async fn domain_read(tx: &mut Tx, id: DomainId) -> Result<Option<Domain>, StoreError> {
    const READ: &str = concat!("select ", domain_columns!(), " from domain where id = $1");
    let row: Option<Row> =
        on_tx!(tx, |conn| sqlx::query_as(READ).bind(id.get()).fetch_optional(conn).await)?;
    row.map(Domain::try_from).transpose()
}

/// The domain that serves a host.
pub(crate) async fn domain_holding(tx: &mut Tx, host: &Host) -> Result<Option<Domain>, StoreError> {
    const READ: &str =
        concat!("select ", domain_columns!(), " from domain where host = $1 and state = 1");
    let row: Option<Row> =
        on_tx!(tx, |conn| sqlx::query_as(READ).bind(host.as_str()).fetch_optional(conn).await)?;
    row.map(Domain::try_from).transpose()
}

/// What a workspace has, waits for or had with this host; the newest.
pub(crate) async fn domain_claiming(
    tx: &mut Tx,
    workspace: WorkspaceId,
    host: &Host,
) -> Result<Option<Domain>, StoreError> {
    const READ: &str = concat!(
        "select ",
        domain_columns!(),
        " from domain where workspace_id = $1 and (host = $2 or claims = $2) order by id desc \
         limit 1"
    );
    let row: Option<Row> = on_tx!(tx, |conn| {
        let query = sqlx::query_as(READ).bind(workspace.get());
        query.bind(host.as_str()).fetch_optional(conn).await
    })?;
    row.map(Domain::try_from).transpose()
}

/// How many domains a workspace has or waits for.
pub(crate) async fn domain_count(tx: &mut Tx, workspace: WorkspaceId) -> Result<u64, StoreError> {
    const COUNT: &str =
        "select cast(count(*) as bigint) from domain where workspace_id = $1 and state <> 2";
    let count: i64 =
        on_tx!(tx, |conn| sqlx::query_scalar(COUNT).bind(workspace.get()).fetch_one(conn).await)?;
    Ok(count.unsigned_abs())
}

/// Whether a link that is not deleted is on a domain.
pub(crate) async fn domain_is_used(tx: &mut Tx, id: DomainId) -> Result<bool, StoreError> {
    const FIND: &str =
        "select cast(1 as bigint) from route where domain_id = $1 and state <> 0 limit 1";
    let found: Option<i64> =
        on_tx!(tx, |conn| sqlx::query_scalar(FIND).bind(id.get()).fetch_optional(conn).await)?;
    Ok(found.is_some())
}

/// What stands in `host`: a `#` is in no host, and an id in no other row.
fn held(domain: &Domain) -> (String, &str) {
    match domain.is_verified() {
        true => (domain.host.to_string(), ""),
        false => (format!("#{}", domain.id), domain.host.as_str()),
    }
}

/// Binds to `$1` to `$14` what insert and update have in common.
macro_rules! bind_domain {
    ($query:expr, $domain:expr, $host:expr, $claims:expr) => {
        $query
            .bind($domain.id.get())
            .bind($host)
            .bind($domain.state.number())
            .bind($claims)
            .bind($domain.challenge.as_str())
            .bind($domain.checked_at.map(UnixMillis::get))
            .bind($domain.verified_at.map(UnixMillis::get))
            .bind($domain.missing_since.map(UnixMillis::get))
            .bind($domain.ways_out.home.as_deref())
            .bind($domain.ways_out.not_found.as_deref())
            .bind($domain.ways_out.expired.as_deref())
            .bind($domain.folds_case)
            .bind($domain.version.cast_signed())
    };
}

/// Writes a new domain; its id is drawn again while it is taken.
pub(crate) async fn domain_insert(
    tx: &mut Tx,
    domain: &mut Domain,
    random: &dyn Random,
) -> Result<(), StoreError> {
    const INSERT: &str = "insert into domain (id, host, state, claims, challenge, checked_at_ms, \
           verified_at_ms, missing_since_ms, home, not_found, expired, folds_case, version, \
           workspace_id, created_at_ms, is_default) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
         on conflict (id) do nothing";
    for _ in 0..ID_DRAWS_MAX {
        let (host, claims) = held(domain);
        let written = on_tx!(tx, |conn| {
            let query = bind_domain!(sqlx::query(INSERT), domain, host.as_str(), claims)
                .bind(domain.workspace.map(WorkspaceId::get))
                .bind(domain.created_at.get())
                .bind(domain.is_default);
            query.execute(conn).await.map(|done| done.rows_affected())
        });
        if written? == 1 {
            return Ok(());
        }
        domain.id = DomainId::generate(domain.created_at, random);
    }
    Err(StoreError::Exhausted(ID_DRAWS_MAX, "ids"))
}

/// Writes all of a domain that can change.
pub(crate) async fn domain_update(tx: &mut Tx, domain: &Domain) -> Result<(), StoreError> {
    const UPDATE: &str = "update domain set host = $2, state = $3, claims = $4, challenge = $5, \
           checked_at_ms = $6, verified_at_ms = $7, missing_since_ms = $8, home = $9, \
           not_found = $10, expired = $11, folds_case = $12, version = $13 \
         where id = $1";
    let (host, claims) = held(domain);
    on_tx!(tx, |conn| {
        let query = bind_domain!(sqlx::query(UPDATE), domain, host.as_str(), claims);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Removes a domain that was never served, and that nothing refers to; tells whether it was one.
pub(crate) async fn domain_remove(tx: &mut Tx, id: DomainId) -> Result<bool, StoreError> {
    const REMOVE: &str = "delete from domain \
         where id = $1 and state = 0 and verified_at_ms is null \
           and not exists (select 1 from route where route.domain_id = domain.id)";
    let done = on_tx!(tx, |conn| {
        sqlx::query(REMOVE).bind(id.get()).execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done? == 1)
}

/// Makes the default domain, or lets it follow `host`. `false` if another domain has the host.
pub(crate) async fn domain_ensure_default(
    tx: &mut Tx,
    host: &Host,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<bool, StoreError> {
    const OTHER: &str =
        "select cast(count(*) as bigint) from domain where host = $1 and not is_default";
    let name = host.as_str();
    let others: i64 =
        on_tx!(tx, |conn| sqlx::query_scalar(OTHER).bind(name).fetch_one(conn).await)?;
    if others > 0 {
        return Ok(false);
    }
    const UPDATE: &str =
        "update domain set host = $1, version = version + 1 where is_default and host <> $1";
    const FIND: &str = "select cast(count(*) as bigint) from domain where is_default";
    on_tx!(tx, |conn| {
        sqlx::query(UPDATE).bind(host.as_str()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    let found: i64 = on_tx!(tx, |conn| sqlx::query_scalar(FIND).fetch_one(conn).await)?;
    if found == 0 {
        const INSERT: &str = "insert into domain (id, host, is_default, workspace_id, created_at_ms) \
             values ($1, $2, $3, null, $4)";
        let id = DomainId::generate(now, random);
        on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT).bind(id.get()).bind(host.as_str()).bind(true);
            query.bind(now.get()).execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, TestDb, on_each_database};
    use crate::workspace::store::workspace_ensure_first;

    on_each_database!(
        what_was_never_served_leaves_no_row_and_changes_are_noticed,
        the_default_domain_follows_its_host_and_takes_no_other_domains,
        the_first_workspace_is_made_once
    );

    async fn the_default_domain_follows_its_host_and_takes_no_other_domains(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let host = |text: &str| Host::parse(text).unwrap();
        assert!(
            domain_ensure_default(&mut tx, &host("new.example"), NOW, &test.random).await.unwrap()
        );
        let list = domain_list(&mut tx).await.unwrap();
        let expected = Domain {
            is_default: true,
            state: DomainState::Verified,
            version: 2,
            ..Domain::new(test.domain, host("new.example"), None, NOW)
        };
        assert_eq!(list, std::slice::from_ref(&expected));

        let other = "insert into domain (id, host, is_default, workspace_id, created_at_ms) \
             values (5, 'other.example', false, null, 1)";
        on_tx!(&mut tx, |conn| sqlx::query(other)
            .execute(conn)
            .await
            .map(|done| done.rows_affected()))
        .unwrap();
        let clash = domain_ensure_default(&mut tx, &host("other.example"), NOW, &test.random).await;
        assert!(!clash.unwrap());
        let list = domain_list(&mut tx).await.unwrap();
        assert_eq!((list.len(), &list[0]), (2, &expected));
    }

    async fn what_was_never_served_leaves_no_row_and_changes_are_noticed(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let host = |text: &str| Host::parse(text).unwrap();
        let mut made = Vec::new();
        for name in ["a.example", "b.example"] {
            let id = DomainId::generate(NOW, &test.random);
            let mut domain = Domain::new(id, host(name), Some(test.workspace), NOW);
            domain_insert(&mut tx, &mut domain, &test.random).await.unwrap();
            made.push(domain);
        }
        let mut served = made.pop().unwrap();
        served.state = DomainState::Verified;
        served.verified_at = Some(NOW);
        domain_update(&mut tx, &served).await.unwrap();
        tx.commit().await.unwrap();
        let db = &test.db.read;
        let before = domains_version(db).await.unwrap();

        // One that waits goes, and another is changed, between two looks.
        let mut tx = test.db.begin().await.unwrap();
        assert!(domain_remove(&mut tx, made[0].id).await.unwrap());
        assert!(!domain_remove(&mut tx, served.id).await.unwrap());
        served.state = DomainState::Released;
        served.version += 1;
        domain_update(&mut tx, &served).await.unwrap();
        assert!(!domain_remove(&mut tx, served.id).await.unwrap(), "it was served");
        let gone = domain_claiming(&mut tx, test.workspace, &host("a.example")).await.unwrap();
        assert_eq!(gone, None);
        tx.commit().await.unwrap();
        assert!(domains_version(db).await.unwrap() > before);
    }

    async fn the_first_workspace_is_made_once(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let again = workspace_ensure_first(&mut tx, NOW, &test.random).await.unwrap();
        assert_eq!(again, test.workspace);
    }
}
