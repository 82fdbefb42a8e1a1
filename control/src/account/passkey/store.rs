//! The table `passkey`.

use std::collections::BTreeMap;

use carom_shared::{AccountId, PasskeyId, Random, UnixMillis};

use super::{Credential, Passkey, Use};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// How often an id is drawn before giving up.
const ID_DRAWS_MAX: usize = 8;

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    account_id: i64,
    credential_id: Vec<u8>,
    public_key: Vec<u8>,
    algorithm: i64,
    counter: i64,
    backup_eligible: bool,
    backed_up: bool,
    transports: String,
    name: String,
    created_at_ms: i64,
    used_at_ms: Option<i64>,
}

impl TryFrom<Row> for Passkey {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        const CORRUPT: StoreError = StoreError::Corrupt("passkey row");
        let transports = row.transports.split(',').filter(|word| !word.is_empty());
        Ok(Self {
            id: row.id.try_into().map_err(|_| CORRUPT)?,
            account: row.account_id.try_into().map_err(|_| CORRUPT)?,
            name: row.name,
            credential: Credential {
                id: row.credential_id,
                public_key: row.public_key,
                algorithm: row.algorithm.try_into().map_err(|_| CORRUPT)?,
                counter: row.counter.try_into().map_err(|_| CORRUPT)?,
                is_backup_eligible: row.backup_eligible,
                is_backed_up: row.backed_up,
                transports: transports.map(str::to_owned).collect(),
            },
            created_at: UnixMillis::new(row.created_at_ms),
            used_at: row.used_at_ms.map(UnixMillis::new),
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, account_id, credential_id, public_key, algorithm, counter, backup_eligible, \
               backed_up, transports, name, created_at_ms, used_at_ms from passkey ",
            $rest
        )
    };
}

const OF_ACCOUNT: &str = select!("where account_id = $1 order by created_at_ms, id limit 100");

/// Those of an account, oldest first.
pub(crate) async fn passkey_list(db: &Db, account: AccountId) -> Result<Vec<Passkey>, StoreError> {
    let rows: Vec<Row> =
        on_db!(db, |pool| sqlx::query_as(OF_ACCOUNT).bind(account.get()).fetch_all(pool).await)?;
    rows.into_iter().map(Passkey::try_from).collect()
}

/// As [`passkey_list`], as it is in this transaction.
pub(crate) async fn passkey_list_now(
    tx: &mut Tx,
    account: AccountId,
) -> Result<Vec<Passkey>, StoreError> {
    let rows: Vec<Row> =
        on_tx!(tx, |conn| sqlx::query_as(OF_ACCOUNT).bind(account.get()).fetch_all(conn).await)?;
    rows.into_iter().map(Passkey::try_from).collect()
}

/// How many each account has that has any.
pub(crate) async fn passkeys_count(db: &Db) -> Result<BTreeMap<AccountId, u64>, StoreError> {
    const COUNT: &str =
        "select account_id, cast(count(*) as bigint) from passkey group by account_id";
    let rows: Vec<(i64, i64)> = on_db!(db, |pool| sqlx::query_as(COUNT).fetch_all(pool).await)?;
    let row = |(account, count): (i64, i64)| {
        let account = account.try_into().map_err(|_| StoreError::Corrupt("passkey row"))?;
        Ok((account, count.unsigned_abs()))
    };
    rows.into_iter().map(row).collect()
}

/// Whether an account has one.
pub(crate) async fn passkey_is_any(db: &Db, account: AccountId) -> Result<bool, StoreError> {
    const ANY: &str = "select id from passkey where account_id = $1 limit 1";
    let found: Option<i64> = on_db!(db, |pool| {
        sqlx::query_scalar(ANY).bind(account.get()).fetch_optional(pool).await
    })?;
    Ok(found.is_some())
}

const BY_CREDENTIAL: &str = select!("where credential_id = $1");

/// The passkey that an authenticator calls this.
pub(crate) async fn passkey_find(
    db: &Db,
    credential: &[u8],
) -> Result<Option<Passkey>, StoreError> {
    let row: Option<Row> = on_db!(db, |pool| {
        sqlx::query_as(BY_CREDENTIAL).bind(credential).fetch_optional(pool).await
    })?;
    row.map(Passkey::try_from).transpose()
}

/// As [`passkey_find`], as it is in this transaction.
pub(crate) async fn passkey_find_now(
    tx: &mut Tx,
    credential: &[u8],
) -> Result<Option<Passkey>, StoreError> {
    let row: Option<Row> = on_tx!(tx, |conn| {
        sqlx::query_as(BY_CREDENTIAL).bind(credential).fetch_optional(conn).await
    })?;
    row.map(Passkey::try_from).transpose()
}

/// Makes a credential an account's. The caller has seen in this transaction that it is nobody's.
pub(crate) async fn passkey_insert(
    tx: &mut Tx,
    account: AccountId,
    (name, credential): (&str, &Credential),
    now: UnixMillis,
    random: &dyn Random,
) -> Result<PasskeyId, StoreError> {
    const INSERT: &str = "insert into passkey \
           (id, account_id, credential_id, public_key, algorithm, counter, backup_eligible, \
            backed_up, transports, name, created_at_ms) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict (id) do nothing";
    for _ in 0..ID_DRAWS_MAX {
        let id = PasskeyId::generate(now, random);
        let written = on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT)
                .bind(id.get())
                .bind(account.get())
                .bind(credential.id.as_slice())
                .bind(credential.public_key.as_slice())
                .bind(i64::from(credential.algorithm))
                .bind(i64::from(credential.counter))
                .bind(credential.is_backup_eligible)
                .bind(credential.is_backed_up)
                .bind(credential.transports.join(","))
                .bind(name)
                .bind(now.get());
            query.execute(conn).await.map(|done| done.rows_affected())
        });
        if written? == 1 {
            return Ok(id);
        }
    }
    Err(StoreError::Exhausted(ID_DRAWS_MAX, "ids"))
}

/// Notes a use; false if the passkey is gone, or was used since the signature was checked.
pub(crate) async fn passkey_use(
    tx: &mut Tx,
    used: &Use,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    const USE: &str = "update passkey set counter = $4, backed_up = $5, used_at_ms = $6 \
         where id = $1 and account_id = $2 and counter = $3";
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(USE)
            .bind(used.passkey.get())
            .bind(used.account.get())
            .bind(i64::from(used.counter_before))
            .bind(i64::from(used.counter))
            .bind(used.is_backed_up)
            .bind(now.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done? == 1)
}

/// Takes one from an account; false if it has none of this id.
pub(crate) async fn passkey_remove(
    tx: &mut Tx,
    account: AccountId,
    id: PasskeyId,
) -> Result<bool, StoreError> {
    const REMOVE: &str = "delete from passkey where id = $1 and account_id = $2";
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(REMOVE).bind(id.get()).bind(account.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done? == 1)
}

/// Takes all of them from an account; how many those were.
pub(crate) async fn passkeys_remove(tx: &mut Tx, account: AccountId) -> Result<u64, StoreError> {
    const REMOVE: &str = "delete from passkey where account_id = $1";
    Ok(on_tx!(tx, |conn| {
        sqlx::query(REMOVE).bind(account.get()).execute(conn).await.map(|done| done.rows_affected())
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Email;
    use crate::account::store::{NewAccount, account_insert};
    use crate::testing::{NOW, TestDb, on_each_database};

    on_each_database!(a_credential_is_one_accounts, a_count_is_used_once);

    async fn account(test: &TestDb, tx: &mut Tx, email: &str) -> AccountId {
        let new = NewAccount {
            email: Email::parse(email, "#/email").unwrap(),
            name: String::new(),
            password_hash: None,
            is_confirmed: true,
        };
        account_insert(tx, &new, NOW, &test.random).await.unwrap()
    }

    fn credential(id: &[u8]) -> Credential {
        Credential {
            id: id.to_vec(),
            public_key: vec![0, 0xff, 1],
            algorithm: -257,
            counter: u32::MAX - 1,
            is_backup_eligible: true,
            is_backed_up: false,
            transports: vec!["internal".into(), "hybrid".into()],
        }
    }

    async fn a_credential_is_one_accounts(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let ada = account(&test, &mut tx, "ada@example.com").await;
        let ben = account(&test, &mut tx, "ben@example.com").await;
        let random = &test.random;
        let (one, other) =
            (credential(&[0, 1]), Credential { transports: vec![], ..credential(&[2]) });
        let id = passkey_insert(&mut tx, ada, ("Phone", &one), NOW, random).await.unwrap();
        let later = UnixMillis::new(NOW.get() + 1);
        passkey_insert(&mut tx, ada, ("", &other), later, random).await.unwrap();
        let all = passkey_list_now(&mut tx, ada).await.unwrap();
        let found: Vec<_> = all.iter().map(|it| (it.name.as_str(), &it.credential)).collect();
        assert_eq!(found, [("Phone", &one), ("", &other)]);
        assert_eq!((all[0].id, all[0].account, all[0].used_at), (id, ada, None));
        assert_eq!(passkey_find_now(&mut tx, &[0, 1]).await.unwrap().as_ref(), all.first());
        assert_eq!(passkey_find_now(&mut tx, &[0]).await.unwrap(), None);
        assert!(!passkey_remove(&mut tx, ben, id).await.unwrap(), "another person's");
        assert_eq!(passkeys_remove(&mut tx, ben).await.unwrap(), 0);
        assert!(passkey_remove(&mut tx, ada, id).await.unwrap());
        assert_eq!(passkey_find_now(&mut tx, &[0, 1]).await.unwrap(), None);
        tx.commit().await.unwrap();
        let db = &test.db.read;
        assert_eq!(passkey_find(db, &[2]).await.unwrap().unwrap().account, ada);
        assert_eq!(passkey_list(db, ada).await.unwrap().len(), 1);
        assert_eq!(passkeys_count(db).await.unwrap(), [(ada, 1)].into());
        assert!(passkey_is_any(db, ada).await.unwrap() && !passkey_is_any(db, ben).await.unwrap());

        let mut tx = test.db.begin().await.unwrap();
        assert_eq!(passkeys_remove(&mut tx, ada).await.unwrap(), 1);
        tx.commit().await.unwrap();
        // The same twice: the database refuses it, too.
        let mut tx = test.db.begin().await.unwrap();
        passkey_insert(&mut tx, ada, ("", &one), NOW, random).await.unwrap();
        assert!(passkey_insert(&mut tx, ben, ("", &one), NOW, random).await.is_err());
    }

    async fn a_count_is_used_once(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let ada = account(&test, &mut tx, "ada@example.com").await;
        let ben = account(&test, &mut tx, "ben@example.com").await;
        let counted = credential(&[1]);
        let id = passkey_insert(&mut tx, ada, ("", &counted), NOW, &test.random).await.unwrap();
        let used = Use {
            passkey: id,
            account: ada,
            counter_before: counted.counter,
            counter: u32::MAX,
            is_backed_up: true,
        };
        let of_ben = Use { account: ben, ..used.clone() };
        assert!(!passkey_use(&mut tx, &of_ben, NOW).await.unwrap());
        assert!(passkey_use(&mut tx, &used, NOW).await.unwrap());
        assert!(!passkey_use(&mut tx, &used, NOW).await.unwrap(), "the same count");
        let found = passkey_find_now(&mut tx, &[1]).await.unwrap().unwrap();
        assert_eq!((found.credential.counter, found.used_at), (u32::MAX, Some(NOW)));
        assert!(found.credential.is_backed_up);
        // Where nothing is counted, it works again.
        let uncounted = Use { counter_before: u32::MAX, ..used };
        assert!(passkey_use(&mut tx, &uncounted, NOW).await.unwrap());
        assert!(passkey_use(&mut tx, &uncounted, NOW).await.unwrap());
    }
}
