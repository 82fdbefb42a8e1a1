use carom_shared::SeededRandom;

use super::*;
use crate::link::store::link_create;
use crate::testing::{NOW, TestDb, on_each_database};

on_each_database!(
    numbers_are_dense_over_commits_and_statements, a_rolled_back_commit_gives_its_numbers_back,
    changes_go_after_a_day_the_oldest_first, a_restored_database_numbers_in_a_new_epoch,
    one_backup_restored_twice_never_has_the_same_epoch_again, pages_go_on_where_the_last_one_ended,
    what_was_pruned_or_is_of_another_epoch_is_gone
);

async fn append(test: &TestDb, count: usize, now: UnixMillis) -> Vec<Change> {
    let mut tx = test.db.begin().await.unwrap();
    let mut changes = Vec::new();
    for _ in 0..count {
        let made = link_create(&mut tx, test.create(None), now, &test.random).await.unwrap();
        changes.push(made.unwrap().1);
    }
    let changes = feed_append(&mut tx, changes, now).await.unwrap();
    tx.commit().await.unwrap();
    changes
}

async fn kept(test: &TestDb) -> Vec<i64> {
    let mut tx = test.db.begin().await.unwrap();
    let list = "select seq from change order by seq";
    on_tx!(&mut tx, |conn| sqlx::query_scalar(list).fetch_all(conn).await).unwrap()
}

async fn numbers_are_dense_over_commits_and_statements(test: TestDb) {
    let mut seqs = Vec::new();
    for count in [1, 0, 3, 300] {
        seqs.extend(append(&test, count, NOW).await.iter().map(|change| change.seq));
    }
    assert_eq!(seqs, (1..=304).collect::<Vec<u64>>());
    assert_eq!(kept(&test).await, (1..=304).collect::<Vec<i64>>());
    let mut tx = test.db.begin().await.unwrap();
    assert_eq!(feed_ensure(&mut tx, NOW).await.unwrap().seq, 304);
}

async fn a_rolled_back_commit_gives_its_numbers_back(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let made = link_create(&mut tx, test.create(None), NOW, &test.random).await.unwrap();
    feed_append(&mut tx, vec![made.unwrap().1], NOW).await.unwrap();
    drop(tx);
    assert_eq!(append(&test, 1, NOW).await[0].seq, 1);
}

async fn changes_go_after_a_day_the_oldest_first(test: TestDb) {
    append(&test, 2, NOW).await;
    let later = NOW.saturating_add(Duration::from_hours(1));
    append(&test, 2, later).await;
    let prune = async |now| {
        let mut tx = test.db.begin().await.unwrap();
        let pruned = feed_prune(&mut tx, now).await.unwrap();
        tx.commit().await.unwrap();
        pruned
    };
    assert_eq!(prune(NOW.saturating_add(CHANGE_LIFE)).await, 0);
    assert_eq!(prune(later.saturating_add(CHANGE_LIFE)).await, 2);
    assert_eq!(kept(&test).await, [3, 4]);
}

async fn a_restored_database_numbers_in_a_new_epoch(test: TestDb) {
    let before = append(&test, 2, NOW).await;
    let random = SeededRandom::new(1);
    // The clock may be behind that of the installation that was copied.
    for now in [NOW.saturating_add(Duration::from_hours(1)), UnixMillis::new(1)] {
        let last = append(&test, 1, NOW).await[0].epoch;
        let mut tx = test.db.begin().await.unwrap();
        feed_restart(&mut tx, now, &random).await.unwrap();
        tx.commit().await.unwrap();
        let after = append(&test, 2, NOW).await;
        assert!(after.iter().all(|change| change.epoch > last), "{last} {after:?}");
        assert_eq!((after[0].seq, after[1].seq), (1, 2));
    }
    assert_eq!(before[1].seq, 2);
}

/// Both restores begin with the same epoch, and the clock may have been set back in between.
async fn one_backup_restored_twice_never_has_the_same_epoch_again(test: TestDb) {
    let random = SeededRandom::new(1);
    let made = append(&test, 1, NOW).await[0].epoch;
    let mut seen = vec![made];
    for now in [NOW, NOW, UnixMillis::new(1), UnixMillis::new(1), UnixMillis::new(1)] {
        let mut tx = test.db.begin().await.unwrap();
        let back = "update feed set epoch = $1";
        on_tx!(&mut tx, |conn| sqlx::query(back)
            .bind(made.cast_signed())
            .execute(conn)
            .await
            .map(|done| done.rows_affected()))
        .unwrap();
        feed_restart(&mut tx, now, &random).await.unwrap();
        tx.commit().await.unwrap();
        let epoch = append(&test, 1, NOW).await[0].epoch;
        assert!(epoch > made && !seen.contains(&epoch), "{epoch} {seen:?}");
        seen.push(epoch);
    }
}

async fn pages_go_on_where_the_last_one_ended(test: TestDb) {
    let made = append(&test, 5, NOW).await;
    let start = FeedPosition { epoch: made[0].epoch, seq: 0 };
    let page = |after, limit| feed_page(&test.db.read, after, limit);
    let mut read = Vec::new();
    let mut at = start;
    loop {
        let page = page(at, 2).await.unwrap().unwrap();
        assert_eq!(page.head.seq, 5);
        let Some(end) = page.end() else { break };
        assert_eq!(page.first, at.seq + 1);
        read.extend(page.changes);
        at = end;
    }
    assert_eq!(at.seq, 5);
    let expected = made.into_iter().map(|change| RouteChange {
        domain: change.domain,
        code: change.code,
        record: change.record,
    });
    assert_eq!(read, expected.collect::<Vec<_>>());
    assert_eq!(page(start, 9999).await.unwrap().unwrap().changes.len(), 5);
}

async fn what_was_pruned_or_is_of_another_epoch_is_gone(test: TestDb) {
    let epoch = append(&test, 2, NOW).await[0].epoch;
    let later = NOW.saturating_add(Duration::from_hours(1));
    append(&test, 2, later).await;
    let mut tx = test.db.begin().await.unwrap();
    feed_prune(&mut tx, later.saturating_add(CHANGE_LIFE)).await.unwrap();
    tx.commit().await.unwrap();

    let found = async |epoch, seq| {
        let page = feed_page(&test.db.read, FeedPosition { epoch, seq }, 10).await.unwrap();
        page.map(|page| page.changes.len())
    };
    assert_eq!(found(epoch, 0).await, None, "its first changes are pruned");
    assert_eq!(found(epoch, 1).await, None);
    assert_eq!(found(epoch, 2).await, Some(2));
    assert_eq!(found(epoch, 4).await, Some(0));
    assert_eq!(found(epoch, 5).await, None, "ahead of the feed");
    assert_eq!(found(epoch + 1, 2).await, None, "another numbering");
}
