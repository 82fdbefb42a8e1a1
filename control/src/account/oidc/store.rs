//! The table `identity`.

use carom_shared::{AccountId, IdentityId, Random, UnixMillis};

use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// How often an id is drawn before giving up.
const ID_DRAWS_MAX: usize = 8;

/// Who somebody is to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: IdentityId,
    pub(crate) account: AccountId,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// As the provider said when it was used last; may be empty.
    pub(crate) email: String,
    pub(crate) created_at: UnixMillis,
    pub(crate) used_at: UnixMillis,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    account_id: i64,
    issuer: String,
    subject: String,
    email: String,
    created_at_ms: i64,
    used_at_ms: i64,
}

impl TryFrom<Row> for Identity {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let corrupt = |_| StoreError::Corrupt("identity row");
        Ok(Self {
            id: row.id.try_into().map_err(corrupt)?,
            account: row.account_id.try_into().map_err(corrupt)?,
            issuer: row.issuer,
            subject: row.subject,
            email: row.email,
            created_at: UnixMillis::new(row.created_at_ms),
            used_at: UnixMillis::new(row.used_at_ms),
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, account_id, issuer, subject, email, created_at_ms, used_at_ms from identity ",
            $rest
        )
    };
}

const OF_ACCOUNT: &str = select!("where account_id = $1 order by created_at_ms, id limit 100");

/// Those of an account, oldest first.
pub(crate) async fn identity_list(
    db: &Db,
    account: AccountId,
) -> Result<Vec<Identity>, StoreError> {
    let rows: Vec<Row> =
        on_db!(db, |pool| sqlx::query_as(OF_ACCOUNT).bind(account.get()).fetch_all(pool).await)?;
    rows.into_iter().map(Identity::try_from).collect()
}

/// As [`identity_list`], as it is in this transaction.
pub(crate) async fn identity_list_now(
    tx: &mut Tx,
    account: AccountId,
) -> Result<Vec<Identity>, StoreError> {
    let rows: Vec<Row> =
        on_tx!(tx, |conn| sqlx::query_as(OF_ACCOUNT).bind(account.get()).fetch_all(conn).await)?;
    rows.into_iter().map(Identity::try_from).collect()
}

/// Whose identity it is.
pub(crate) async fn identity_find(
    tx: &mut Tx,
    issuer: &str,
    subject: &str,
) -> Result<Option<Identity>, StoreError> {
    const FIND: &str = select!("where issuer = $1 and subject = $2");
    let row: Option<Row> = on_tx!(tx, |conn| {
        sqlx::query_as(FIND).bind(issuer).bind(subject).fetch_optional(conn).await
    })?;
    row.map(Identity::try_from).transpose()
}

/// Makes an identity an account's. The caller has seen in this transaction that it is nobody's.
pub(crate) async fn identity_insert(
    tx: &mut Tx,
    account: AccountId,
    (issuer, subject, email): (&str, &str, &str),
    now: UnixMillis,
    random: &dyn Random,
) -> Result<IdentityId, StoreError> {
    const INSERT: &str = "insert into identity \
           (id, account_id, issuer, subject, email, created_at_ms, used_at_ms) \
         values ($1, $2, $3, $4, $5, $6, $6) on conflict (id) do nothing";
    for _ in 0..ID_DRAWS_MAX {
        let id = IdentityId::generate(now, random);
        let written = on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT).bind(id.get()).bind(account.get());
            let query = query.bind(issuer).bind(subject).bind(email).bind(now.get());
            query.execute(conn).await.map(|done| done.rows_affected())
        });
        if written? == 1 {
            return Ok(id);
        }
    }
    Err(StoreError::Exhausted(ID_DRAWS_MAX, "ids"))
}

/// Notes that somebody signed in with it.
pub(crate) async fn identity_use(
    tx: &mut Tx,
    id: IdentityId,
    email: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    const USE: &str = "update identity set used_at_ms = $2, email = $3 where id = $1";
    on_tx!(tx, |conn| {
        let query = sqlx::query(USE).bind(id.get()).bind(now.get()).bind(email);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

/// Takes one from an account; false if it has none of this id.
pub(crate) async fn identity_remove(
    tx: &mut Tx,
    account: AccountId,
    id: IdentityId,
) -> Result<bool, StoreError> {
    const REMOVE: &str = "delete from identity where id = $1 and account_id = $2";
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(REMOVE).bind(id.get()).bind(account.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done? == 1)
}

/// Takes all of them from an account.
pub(crate) async fn identities_remove(tx: &mut Tx, account: AccountId) -> Result<(), StoreError> {
    const REMOVE: &str = "delete from identity where account_id = $1";
    on_tx!(tx, |conn| {
        sqlx::query(REMOVE).bind(account.get()).execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Email;
    use crate::account::store::{NewAccount, account_insert};
    use crate::testing::{NOW, TestDb, on_each_database};

    on_each_database!(an_identity_is_one_accounts);

    async fn an_identity_is_one_accounts(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let email = |text: &str| Email::parse(text, "#/email").unwrap();
        let new = |text: &str| NewAccount {
            email: email(text),
            name: String::new(),
            password_hash: None,
            is_confirmed: true,
        };
        let random = &test.random;
        let ada = account_insert(&mut tx, &new("ada@example.com"), NOW, random).await.unwrap();
        let ben = account_insert(&mut tx, &new("ben@example.com"), NOW, random).await.unwrap();
        let of = ("https://id.example", "1", "ada@id.example");
        let id = identity_insert(&mut tx, ada, of, NOW, random).await.unwrap();
        // The same person elsewhere, and somebody else there.
        for other in [("https://other.example", "1", ""), ("https://id.example", "2", "")] {
            identity_insert(&mut tx, ben, other, NOW, random).await.unwrap();
        }
        let found = identity_find(&mut tx, "https://id.example", "1").await.unwrap().unwrap();
        assert_eq!((found.account, found.id), (ada, id));
        assert_eq!(identity_find(&mut tx, "https://id.example/", "1").await.unwrap(), None);
        let later = UnixMillis::new(NOW.get() + 5);
        identity_use(&mut tx, id, "new@id.example", later).await.unwrap();
        assert!(!identity_remove(&mut tx, ben, id).await.unwrap());
        let mine = identity_list_now(&mut tx, ada).await.unwrap();
        assert_eq!((mine.len(), mine[0].used_at, &*mine[0].email), (1, later, "new@id.example"));
        assert!(identity_remove(&mut tx, ada, id).await.unwrap());
        assert!(!identity_remove(&mut tx, ada, id).await.unwrap());
        identities_remove(&mut tx, ben).await.unwrap();
        tx.commit().await.unwrap();
        assert!(identity_list(&test.db.read, ben).await.unwrap().is_empty());
    }
}
