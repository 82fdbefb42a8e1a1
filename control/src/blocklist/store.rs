//! The table `blocklist`: the reading that links follow.

use carom_shared::UnixMillis;

use super::Reading;
use crate::db::{StoreError, Tx, on_tx};

/// How long a reading leads of which nobody is heard any more.
const LIFE: std::time::Duration = std::time::Duration::from_mins(5);

/// Says of a reading that it is there; whether links follow it. One statement, so that of two at the same time
/// the newer one leads, whoever is quicker.
pub(super) async fn reading_leads(
    tx: &mut Tx,
    reading: &Reading,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    const LEAD: &str = "insert into blocklist (id, digest, changed_at_ms, seen_at_ms) \
         values (1, $1, $2, $3) on conflict (id) do update \
         set digest = excluded.digest, seen_at_ms = excluded.seen_at_ms, \
           changed_at_ms = case when blocklist.digest = excluded.digest \
             and blocklist.changed_at_ms > excluded.changed_at_ms \
             then blocklist.changed_at_ms else excluded.changed_at_ms end \
         where blocklist.digest = excluded.digest or blocklist.seen_at_ms < $4 \
           or blocklist.changed_at_ms < excluded.changed_at_ms \
           or (blocklist.changed_at_ms = excluded.changed_at_ms \
             and blocklist.digest < excluded.digest)";
    let forgotten = now.get().saturating_sub(i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX));
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(LEAD)
            .bind(reading.digest.as_slice())
            .bind(reading.changed_at.get())
            .bind(now.get())
            .bind(forgotten);
        query.execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, TestDb, on_each_database};

    on_each_database!(the_newest_reading_leads_while_somebody_has_it);

    async fn the_newest_reading_leads_while_somebody_has_it(test: TestDb) {
        let mut tx = test.db.begin().await.unwrap();
        let reading = |digest: u8, changed_at: i64| Reading {
            digest: [digest; 32],
            changed_at: UnixMillis::new(changed_at),
        };
        let (none, old, new) = (Reading::default(), reading(9, 10), reading(1, 20));
        // When, in seconds, which reading, and whether links follow it.
        for (at_s, of, leads) in [
            (0, &none, true),
            (0, &old, true),
            (1, &none, false),
            (2, &new, true),
            (3, &old, false),
            (4, &none, false),
            // The same files on another machine, where they are older.
            (5, &reading(1, 5), true),
            (6, &old, false),
            // Of two of the same moment, always the same one.
            (7, &reading(2, 20), true),
            (8, &new, false),
            (306, &new, false),
            // Nobody has that any more.
            (308, &old, true),
            (309, &old, true),
        ] {
            let now = UnixMillis::new(NOW.get() + at_s * 1000);
            let found = reading_leads(&mut tx, of, now).await.unwrap();
            assert_eq!(found, leads, "{of:?} after {at_s} s");
        }
        tx.commit().await.unwrap();
    }
}
