//! The table `salt`.

use carom_shared::{Random, Salt, Salts, UnixMillis};

use crate::db::{StoreError, Tx, on_tx};

/// Bytes of a key.
const KEY_LEN: usize = 16;

/// The salts of this time. Those that are missing are made, those that are over are removed: all
/// that read this database have the same.
pub(crate) async fn salt_roll(
    tx: &mut Tx,
    now: UnixMillis,
    random: &dyn Random,
) -> Result<Salts, StoreError> {
    const LIST: &str = "select day, key from salt order by day";
    let rows: Vec<(i64, Vec<u8>)> = on_tx!(tx, |conn| sqlx::query_as(LIST).fetch_all(conn).await)?;
    let known = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let salts = Salts::new(known.iter().copied()).roll(now, random);
    for salt in known.iter().filter(|salt| salts.of(salt.day).is_none()) {
        const DELETE: &str = "delete from salt where day = $1";
        on_tx!(tx, |conn| {
            let query = sqlx::query(DELETE).bind(i64::from(salt.day));
            query.execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    for salt in salts.iter().filter(|salt| !known.contains(salt)) {
        const INSERT: &str = "insert into salt (day, key) values ($1, $2)";
        on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT).bind(i64::from(salt.day)).bind(salt.key.as_slice());
            query.execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    Ok(salts)
}

fn read((day, key): (i64, Vec<u8>)) -> Result<Salt, StoreError> {
    let corrupt = || StoreError::Corrupt("salt row");
    let day = i32::try_from(day).map_err(|_| corrupt())?;
    let key = <[u8; KEY_LEN]>::try_from(key).map_err(|_| corrupt())?;
    Ok(Salt { day, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, TestDb, on_each_database};
    use std::time::Duration;

    on_each_database!(salts_are_kept_for_their_days_and_then_gone);

    async fn salts_are_kept_for_their_days_and_then_gone(test: TestDb) {
        let roll = async |days: u64| {
            let mut tx = test.db.begin().await.unwrap();
            let now = NOW.saturating_add(Duration::from_hours(24 * days));
            let salts = salt_roll(&mut tx, now, &test.random).await.unwrap();
            tx.commit().await.unwrap();
            salts
        };
        let today = Salt::day_of(NOW);
        let first = roll(0).await;
        assert_eq!(first.iter().map(|salt| salt.day).collect::<Vec<_>>(), [today, today + 1]);
        // Whoever asks again, after a restart too, is told the same.
        assert_eq!(roll(0).await, first);
        let next = roll(1).await;
        assert_eq!((next.of(today), next.of(today + 1)), (first.of(today), first.of(today + 1)));
        let later = roll(2).await;
        assert_eq!(later.of(today), None);
        let mut tx = test.db.begin().await.unwrap();
        const COUNT: &str = "select cast(count(*) as bigint) from salt";
        let kept: i64 =
            on_tx!(&mut tx, |conn| sqlx::query_scalar(COUNT).fetch_one(conn).await).unwrap();
        assert_eq!(kept, 3);
    }
}
