use super::*;
use crate::link::store::link_create;
use crate::publish::Publisher;
use crate::testing::{NOW, TestDb, on_each_database};
use carom_shared::{FeedPosition, SeededRandom, TestClock};

on_each_database!(what_waits_is_indexed_at_the_start_and_what_comes_soon);

async fn all_indexed(test: &TestDb) {
    for _ in 0..200 {
        if unindexed_count(&test.db.read).await.unwrap() == 0 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("links wait for more than 10 s");
}

/// Links were left by a process that was killed. Two tasks go on at once, of two writers.
async fn what_waits_is_indexed_at_the_start_and_what_comes_soon(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    for _ in 0..1203 {
        link_create(&mut tx, test.create(None), NOW, &test.random).await.unwrap().unwrap();
    }
    tx.commit().await.unwrap();
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    let metrics = Arc::new(Metrics::default());
    let writers = [2, 3].map(|seed| {
        let (writer, task) = Writer::new(
            test.db.clone(),
            Arc::new(TestClock::new(NOW)),
            Arc::new(SeededRandom::new(seed)),
            Arc::new(Publisher::new(FeedPosition { epoch: 1, seq: 0 })),
            Arc::clone(&metrics),
        );
        tasks.spawn(IndexTask::new(&task, writer.clone()).run(stop.clone()));
        tasks.spawn(task.run(stop.clone()));
        writer
    });
    all_indexed(&test).await;
    for writer in &writers {
        let create = Box::new(test.create(None));
        let made = writer.run(|reply| Command::CreateLink(create, reply)).await.unwrap();
        assert!(made.is_ok());
    }
    all_indexed(&test).await;
    stop.cancel();
    tasks.join_all().await;
    assert_eq!(metrics.commits_failed.get(), 0);
    assert_eq!(metrics.links_unindexed.get(), 0);
}
