//! The table `click_loss`.

use carom_shared::UnixMillis;
use carom_shared::internal::{LossReport, LossTotals};

use super::Lost;
use crate::click::report::QUARTER_S;
use crate::click::report::time::Span;
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// Days for which a quarter's totals are kept, at most, and those that a spool told last.
const DAYS_MAX: u32 = 3660;
/// Rows that are forgotten at once, at most.
pub(crate) const LOSSES_PRUNED_MAX: u64 = 1000;
const DAY_S: i64 = 86_400;

/// Keeps the highest totals of each quarter.
pub(crate) async fn losses_note(tx: &mut Tx, report: &LossReport) -> Result<(), StoreError> {
    const NOTE: &str = "insert into click_loss \
           (spool, quarter_s, counted, compacted, dropped, power, damaged) \
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (spool, quarter_s) do update set \
           counted = case when excluded.counted > click_loss.counted \
             then excluded.counted else click_loss.counted end, \
           compacted = case when excluded.compacted > click_loss.compacted \
             then excluded.compacted else click_loss.compacted end, \
           dropped = case when excluded.dropped > click_loss.dropped \
             then excluded.dropped else click_loss.dropped end, \
           power = case when excluded.power > click_loss.power \
             then excluded.power else click_loss.power end, \
           damaged = case when excluded.damaged > click_loss.damaged \
             then excluded.damaged else click_loss.damaged end";
    for &LossTotals { at_s, counted, compacted, dropped, power, damaged } in &report.quarters {
        let totals = [counted, compacted, dropped, power, damaged]
            .map(|total| i64::try_from(total).unwrap_or(i64::MAX));
        on_tx!(tx, |conn| {
            let mut query = sqlx::query(NOTE).bind(&report.spool).bind(i64::from(at_s));
            for total in totals {
                query = query.bind(total);
            }
            query.execute(conn).await.map(|done| done.rows_affected())
        })?;
    }
    Ok(())
}

/// Forgets quarters that are older than so many days (0, or more than [`DAYS_MAX`]: that), the oldest first;
/// how many rows went. The last totals of a spool stay for longer: later ones are compared with
/// them, or all that it ever lost would be lost once more.
pub(crate) async fn losses_prune(
    tx: &mut Tx,
    days: u32,
    now: UnixMillis,
) -> Result<u64, StoreError> {
    const PRUNE: &str = "delete from click_loss where (spool, quarter_s) in (\
         select spool, quarter_s from click_loss as old where quarter_s < $1 and (quarter_s < $2 \
           or exists (select 1 from click_loss as later where later.spool = old.spool \
             and later.quarter_s > old.quarter_s and later.quarter_s < $3 \
             and later.counted >= old.counted and later.compacted >= old.compacted \
             and later.dropped >= old.dropped and later.power >= old.power \
             and later.damaged >= old.damaged)) \
         order by quarter_s, spool limit $4)";
    let days = if days == 0 { DAYS_MAX } else { days.min(DAYS_MAX) };
    let since = |days: u32| now.as_secs() - i64::from(days) * DAY_S;
    let limit = i64::try_from(LOSSES_PRUNED_MAX).unwrap_or(i64::MAX);
    Ok(on_tx!(tx, |conn| {
        let prune = sqlx::query(PRUNE).bind(since(days)).bind(since(DAYS_MAX)).bind(since(days));
        prune.bind(limit).execute(conn).await.map(|done| done.rows_affected())
    })?)
}

/// What was lost in the quarters that a span touches.
pub(crate) async fn losses_between(db: &Db, span: Span) -> Result<Lost, StoreError> {
    let from = until(db, span.from_s / QUARTER_S * QUARTER_S).await?;
    let to = until(db, span.to_s).await?;
    // Each spool's totals grow, so their sum does.
    Ok(Lost {
        clicks: to.clicks.saturating_sub(from.clicks),
        without_detail: to.without_detail.saturating_sub(from.without_detail),
    })
}

/// What was lost in quarters that began before this.
async fn until(db: &Db, before_s: u32) -> Result<Lost, StoreError> {
    const UNTIL: &str = "select cast(coalesce(sum(lost), 0) as bigint), \
           cast(coalesce(sum(without_detail), 0) as bigint) \
         from (select max(dropped) + max(power) + max(damaged) as lost, \
             max(counted) + max(compacted) as without_detail \
           from click_loss where quarter_s < $1 group by spool) of_spool";
    let (clicks, without_detail): (i64, i64) = on_db!(db, |pool| {
        sqlx::query_as(UNTIL).bind(i64::from(before_s)).fetch_one(pool).await
    })?;
    let number = |total| u64::try_from(total).map_err(|_| StoreError::Corrupt("lost clicks"));
    Ok(Lost { clicks: number(clicks)?, without_detail: number(without_detail)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestDb, on_each_database};

    on_each_database!(
        what_was_lost_in_a_time_is_the_difference_of_totals,
        old_quarters_are_forgotten_and_later_ones_stay_as_they_are,
    );

    async fn note(test: &TestDb, spool: char, quarters: &[(u32, u64, u64)]) {
        let totals = |&(at_s, dropped, counted)| LossTotals {
            at_s,
            dropped,
            counted,
            compacted: counted,
            power: dropped,
            damaged: 0,
        };
        let quarters = quarters.iter().map(totals).collect();
        let report = LossReport { spool: String::from_iter([spool; 16]), quarters };
        assert!(report.is_possible());
        let mut tx = test.db.begin().await.unwrap();
        losses_note(&mut tx, &report).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn lost(test: &TestDb, from_s: u32, to_s: u32) -> (u64, u64) {
        let lost = losses_between(&test.db.read, Span { from_s, to_s }).await.unwrap();
        (lost.clicks, lost.without_detail)
    }

    async fn what_was_lost_in_a_time_is_the_difference_of_totals(test: TestDb) {
        assert_eq!(lost(&test, 0, 9000).await, (0, 0));
        note(&test, 'a', &[(900, 1, 10), (2700, 4, 10)]).await;
        note(&test, 'b', &[(1800, 2, 0)]).await;
        for (from_s, to_s, expected) in [
            (0, 9000, (12, 20)),
            (900, 1800, (2, 20)),
            (1799, 1800, (2, 20)),
            (1800, 2700, (4, 0)),
            (1800, 2701, (10, 0)),
            (3600, 9000, (0, 0)),
        ] {
            assert_eq!(lost(&test, from_s, to_s).await, expected, "{from_s} {to_s}");
        }
        // Again, late, and of a time between: the highest stays.
        note(&test, 'a', &[(900, 1, 10), (2700, 3, 5)]).await;
        note(&test, 'a', &[(1800, 1, 12)]).await;
        assert_eq!(lost(&test, 0, 9000).await, (12, 24));
        assert_eq!(lost(&test, 1800, 2700).await, (4, 4));
    }

    async fn old_quarters_are_forgotten_and_later_ones_stay_as_they_are(test: TestDb) {
        const DAY: u32 = 86_400;
        let prune = async |days: u32, now_day: u32| {
            let mut tx = test.db.begin().await.unwrap();
            let now = UnixMillis::new(i64::from(now_day * DAY) * 1000);
            let pruned = losses_prune(&mut tx, days, now).await.unwrap();
            tx.commit().await.unwrap();
            pruned
        };
        // Of the second one a clock was set back: its first row has the higher total.
        note(&test, 'a', &[(DAY, 1, 10), (2 * DAY, 4, 10), (50 * DAY, 9, 12)]).await;
        note(&test, 'b', &[(DAY, 5, 0), (2 * DAY, 2, 1)]).await;
        let later = lost(&test, 3 * DAY, 99 * DAY).await;
        assert_eq!(later, (10, 4));
        assert_eq!(prune(0, 100).await, 0);
        assert_eq!(prune(90, 100).await, 1, "of the first one's two that are old");
        assert_eq!(prune(90, 100).await, 0);
        assert_eq!(lost(&test, 3 * DAY, 99 * DAY).await, later);
        assert_eq!(lost(&test, 0, 99 * DAY).await, (28, 26), "in sum nothing is missing");
        // It tells again what it told last.
        note(&test, 'a', &[(98 * DAY, 9, 12)]).await;
        assert_eq!(lost(&test, 97 * DAY, 99 * DAY).await, (0, 0));
        // In the end all of them go, and with no setting too.
        assert_eq!(prune(0, DAYS_MAX + 99).await, 5);
        assert_eq!(lost(&test, 0, 99 * DAY).await, (0, 0));
    }
}
