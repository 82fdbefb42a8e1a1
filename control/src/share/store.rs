//! The table `share`.

use carom_shared::{Random, ShareId, UnixMillis, WorkspaceId};

use super::{Share, ShareOf, Shown};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};
use crate::secret::token::TokenHash;

/// How often an id is drawn before giving up.
const ID_DRAWS_MAX: usize = 8;

macro_rules! share_columns {
    () => {
        "id, workspace_id, link_id, tag, name, token_hash, token_sealed, password_hash, shown, \
         created_at_ms, expires_at_ms"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    workspace_id: i64,
    link_id: Option<i64>,
    tag: String,
    name: String,
    token_hash: Vec<u8>,
    token_sealed: Vec<u8>,
    password_hash: String,
    shown: i64,
    created_at_ms: i64,
    expires_at_ms: Option<i64>,
}

impl TryFrom<Row> for Share {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("share row");
        let of = match (row.link_id, row.tag) {
            (Some(link), _) => ShareOf::Link(link.try_into().map_err(|_| corrupt())?),
            (None, tag) if tag.is_empty() => ShareOf::Workspace,
            (None, tag) => ShareOf::Tag(tag),
        };
        Ok(Self {
            id: row.id.try_into().map_err(|_| corrupt())?,
            workspace: row.workspace_id.try_into().map_err(|_| corrupt())?,
            of,
            name: row.name,
            token_hash: row.token_hash.try_into().map_err(|_| corrupt())?,
            token_sealed: row.token_sealed,
            password_hash: row.password_hash,
            shown: Shown::from_number(row.shown),
            created_at: UnixMillis::new(row.created_at_ms),
            expires_at: row.expires_at_ms.map(UnixMillis::new),
        })
    }
}

/// How many a workspace has.
pub(crate) async fn share_count(tx: &mut Tx, workspace: WorkspaceId) -> Result<u64, StoreError> {
    const COUNT: &str = "select count(*) from share where workspace_id = $1";
    let count: i64 = on_tx!(tx, |conn| {
        sqlx::query_scalar(COUNT).bind(workspace.get()).fetch_one(conn).await
    })?;
    Ok(count.unsigned_abs())
}

/// An id that no share has.
pub(crate) async fn share_id(
    tx: &mut Tx,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<ShareId, StoreError> {
    const IS_TAKEN: &str = "select count(*) from share where id = $1";
    for _ in 0..ID_DRAWS_MAX {
        let id = ShareId::generate(now, random);
        let taken: i64 = on_tx!(tx, |conn| {
            sqlx::query_scalar(IS_TAKEN).bind(id.get()).fetch_one(conn).await
        })?;
        if taken == 0 {
            return Ok(id);
        }
    }
    Err(StoreError::Exhausted(ID_DRAWS_MAX, "ids"))
}

/// Writes a new share.
pub(crate) async fn share_insert(tx: &mut Tx, share: &Share) -> Result<(), StoreError> {
    const INSERT: &str = concat!(
        "insert into share (",
        share_columns!(),
        ") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
    );
    let (link, tag) = match &share.of {
        ShareOf::Workspace => (None, ""),
        ShareOf::Link(link) => (Some(link.get()), ""),
        ShareOf::Tag(tag) => (None, tag.as_str()),
    };
    on_tx!(tx, |conn| {
        let query = sqlx::query(INSERT)
            .bind(share.id.get())
            .bind(share.workspace.get())
            .bind(link)
            .bind(tag)
            .bind(share.name.as_str())
            .bind(share.token_hash.as_slice())
            .bind(share.token_sealed.as_slice())
            .bind(share.password_hash.as_str())
            .bind(share.shown.number())
            .bind(share.created_at.get())
            .bind(share.expires_at.map(UnixMillis::get));
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Deletes a workspace's share. Gives what it was; `None` if there is none.
pub(crate) async fn share_delete(
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: ShareId,
) -> Result<Option<Share>, StoreError> {
    const DELETE: &str = concat!(
        "delete from share where workspace_id = $1 and id = $2 returning ",
        share_columns!()
    );
    let row: Option<Row> = on_tx!(tx, |conn| {
        sqlx::query_as(DELETE).bind(workspace.get()).bind(id.get()).fetch_optional(conn).await
    })?;
    row.map(Share::try_from).transpose()
}

/// The share that a token opens, also one that has expired.
pub(crate) async fn share_find(db: &Db, token: &TokenHash) -> Result<Option<Share>, StoreError> {
    const FIND: &str = concat!(
        "select ",
        share_columns!(),
        " from share where token_hash = $1 and exists (\
           select 1 from workspace w where w.id = workspace_id \
           and w.deleted_at_ms is null and w.disabled_at_ms is null)"
    );
    let row: Option<Row> = on_db!(db, |pool| {
        sqlx::query_as(FIND).bind(token.as_slice()).fetch_optional(pool).await
    })?;
    row.map(Share::try_from).transpose()
}

/// All shares of a workspace, newest first.
pub(crate) async fn share_list(db: &Db, workspace: WorkspaceId) -> Result<Vec<Share>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        share_columns!(),
        " from share where workspace_id = $1 order by id desc"
    );
    let rows: Vec<Row> =
        on_db!(db, |pool| { sqlx::query_as(LIST).bind(workspace.get()).fetch_all(pool).await })?;
    rows.into_iter().map(Share::try_from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Part;
    use crate::testing::{NOW, TestDb, on_each_database};

    on_each_database!(shares_are_found_by_their_token_alone);

    async fn shares_are_found_by_their_token_alone(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let (link, _) =
            crate::link::store::link_create(&mut tx, test.create(Some("a")), NOW, &test.random)
                .await
                .unwrap()
                .unwrap();
        let mut ids = Vec::new();
        let all = [ShareOf::Workspace, ShareOf::Link(link.id), ShareOf::Tag("été".into())];
        for (at, of) in (1_u8..).zip(all.clone()) {
            let id = share_id(&mut tx, NOW, &test.random).await.unwrap();
            let share = Share {
                id,
                workspace: test.workspace,
                of,
                name: "name".into(),
                token_hash: [at; 32],
                token_sealed: vec![at],
                password_hash: String::new(),
                shown: Shown::default().with(Part::Places),
                created_at: NOW,
                expires_at: (at == 2).then_some(NOW),
            };
            share_insert(&mut tx, &share).await.unwrap();
            ids.push(id);
        }
        assert_eq!(share_count(&mut tx, test.workspace).await.unwrap(), 3);
        tx.commit().await.unwrap();

        let db = &test.db.read;
        for (at, of) in (1_u8..).zip(all) {
            let found = share_find(db, &[at; 32]).await.unwrap().unwrap();
            assert_eq!((&found.of, &found.token_sealed), (&of, &vec![at]));
            assert_eq!(found.shown, Shown::default().with(Part::Places));
            assert_eq!(found.has_expired(NOW), at == 2);
        }
        assert!(share_find(db, &[9; 32]).await.unwrap().is_none());
        let listed = share_list(db, test.workspace).await.unwrap();
        let mut listed: Vec<_> = listed.into_iter().map(|share| share.id).collect();
        listed.sort_unstable();
        ids.sort_unstable();
        assert_eq!(listed, ids);
        let other = WorkspaceId::try_from(test.workspace.get() + 1).unwrap();
        assert!(share_list(db, other).await.unwrap().is_empty());

        let mut tx = test.db.begin().await.unwrap();
        assert!(share_delete(&mut tx, other, ids[0]).await.unwrap().is_none());
        assert_eq!(
            share_delete(&mut tx, test.workspace, ids[0]).await.unwrap().unwrap().id,
            ids[0]
        );
        assert!(share_delete(&mut tx, test.workspace, ids[0]).await.unwrap().is_none());
        tx.commit().await.unwrap();
        assert!(share_find(db, &[1; 32]).await.unwrap().is_none());
    }
}
