use super::*;
use crate::link::store::link_create;
use crate::testing::{NOW, TestDb, on_each_database};

on_each_database!(
    numbers_are_dense_over_commits_and_statements, a_rolled_back_commit_gives_its_numbers_back,
    changes_go_after_a_day_the_oldest_first, a_restored_database_numbers_in_a_new_epoch
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
    assert_eq!(feed_ensure(&mut tx, NOW).await.unwrap(), 304);
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
    // The clock may be behind that of the installation that was copied.
    for now in [NOW.saturating_add(Duration::from_hours(1)), UnixMillis::new(1)] {
        let last = append(&test, 1, NOW).await[0].epoch;
        let mut tx = test.db.begin().await.unwrap();
        feed_restart(&mut tx, now).await.unwrap();
        tx.commit().await.unwrap();
        let after = append(&test, 2, NOW).await;
        assert!(after.iter().all(|change| change.epoch > last), "{last} {after:?}");
        assert_eq!((after[0].seq, after[1].seq), (1, 2));
    }
    assert_eq!(before[1].seq, 2);
}
