//! The table `domain`.

use carom_shared::{DomainId, Host, Random, UnixMillis, WorkspaceId};

use super::Domain;
use crate::db::{StoreError, Tx, on_tx};

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    host: String,
    is_default: bool,
    workspace_id: Option<i64>,
}

impl TryFrom<Row> for Domain {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let id = |_| StoreError::Corrupt("domain row");
        Ok(Self {
            id: DomainId::try_from(row.id).map_err(id)?,
            host: row.host.parse().map_err(|_| StoreError::Corrupt("domain host"))?,
            is_default: row.is_default,
            workspace: row.workspace_id.map(WorkspaceId::try_from).transpose().map_err(id)?,
        })
    }
}

/// Every domain, the default one first.
pub(crate) async fn domain_list(tx: &mut Tx) -> Result<Vec<Domain>, StoreError> {
    const LIST: &str = "select id, host, is_default, workspace_id from domain \
         order by is_default desc, created_at_ms, id";
    let rows: Vec<Row> = on_tx!(tx, |conn| sqlx::query_as(LIST).fetch_all(conn).await)?;
    rows.into_iter().map(Domain::try_from).collect()
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
    const UPDATE: &str = "update domain set host = $1 where is_default";
    let updated = on_tx!(tx, |conn| {
        sqlx::query(UPDATE).bind(host.as_str()).execute(conn).await?.rows_affected()
    });
    if updated == 0 {
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
            id: test.domain,
            host: host("new.example"),
            is_default: true,
            workspace: None,
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

    async fn the_first_workspace_is_made_once(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let again = workspace_ensure_first(&mut tx, NOW, &test.random).await.unwrap();
        assert_eq!(again, test.workspace);
    }
}
