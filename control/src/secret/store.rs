//! The table `secret`.

use carom_shared::Random;

use super::seal::SealKey;
use crate::db::{StoreError, Tx, on_tx};
use crate::http::cursor::CursorKey;

/// The key that signs cursors; made if the database has none yet.
pub(crate) async fn secret_ensure(
    tx: &mut Tx,
    random: &dyn Random,
) -> Result<CursorKey, StoreError> {
    const FIND: &str = "select cursor_key from secret where id = 1";
    let found: Option<Vec<u8>> =
        on_tx!(tx, |conn| sqlx::query_scalar(FIND).fetch_optional(conn).await)?;
    let key = match found {
        Some(key) => key,
        None => {
            // Another instance may be making one at the same time: the first one counts.
            const INSERT: &str = "insert into secret (id, cursor_key) values (1, $1) \
                 on conflict (id) do nothing";
            let mut key = [0_u8; CursorKey::LEN];
            random.fill(&mut key);
            on_tx!(tx, |conn| sqlx::query(INSERT)
                .bind(key.as_slice())
                .execute(conn)
                .await
                .map(|done| done.rows_affected()))?;
            on_tx!(tx, |conn| sqlx::query_scalar(FIND).fetch_one(conn).await)?
        }
    };
    let key = <[u8; CursorKey::LEN]>::try_from(key);
    key.map(CursorKey::new).map_err(|_| StoreError::Corrupt("cursor key"))
}

/// The key that seals second factors; made if the database has none yet. Call it after
/// [`secret_ensure`].
pub(crate) async fn seal_key_ensure(
    tx: &mut Tx,
    random: &dyn Random,
) -> Result<SealKey, StoreError> {
    // The writer's lock keeps two instances from making one each.
    const SET: &str = "update secret set seal_key = coalesce(seal_key, $1) where id = 1 \
         returning seal_key";
    let mut key = [0_u8; SealKey::LEN];
    random.fill(&mut key);
    let key: Vec<u8> =
        on_tx!(tx, |conn| sqlx::query_scalar(SET).bind(key.as_slice()).fetch_one(conn).await)?;
    let key = <[u8; SealKey::LEN]>::try_from(key);
    key.map(|key| SealKey::new(&key)).map_err(|_| StoreError::Corrupt("seal key"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestDb, on_each_database};
    use carom_shared::SeededRandom;

    on_each_database!(the_key_is_made_once);

    async fn the_key_is_made_once(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let first = secret_ensure(&mut tx, &SeededRandom::new(1)).await.unwrap();
        let again = secret_ensure(&mut tx, &SeededRandom::new(2)).await.unwrap();
        let place = [7; 16];
        assert_eq!(first.sign(place, b"list"), again.sign(place, b"list"));
        let first = seal_key_ensure(&mut tx, &SeededRandom::new(3)).await.unwrap();
        let again = seal_key_ensure(&mut tx, &SeededRandom::new(4)).await.unwrap();
        let sealed = first.seal(1, b"secret", &test.random);
        assert_eq!(again.open(1, &sealed).as_deref(), Some(&b"secret"[..]));
    }
}
