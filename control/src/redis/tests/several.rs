//! Two control planes on one PostgreSQL database and one Redis.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinSet;

use super::support::{Plane, TestRedis, eventually};
use crate::testing::postgres::TestPostgres;

/// Which of them is the keeper; `None` while it moves.
async fn keeper(planes: &[Arc<Plane>]) -> Option<usize> {
    let mut found = None;
    for (n, plane) in planes.iter().enumerate() {
        if plane.metric("carom_control_l2_keeper").await == 1 {
            // The old one may not have noticed yet.
            if found.replace(n).is_some() {
                return None;
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_write_and_one_keeps() {
    const CREATES: u64 = 200;
    let (server, database) = (TestRedis::start(&[]), TestPostgres::new(true).await);
    let mut planes = Vec::new();
    for _ in 0..2 {
        planes.push(Arc::new(Plane::on_postgres(&database.url, &server.url).await));
    }
    let mut creates = JoinSet::new();
    for n in 0..CREATES {
        let plane = Arc::clone(&planes[usize::try_from(n % 2).unwrap()]);
        creates.spawn(async move { plane.create(&format!("c{n}")).await.status() });
    }
    let answers = creates.join_all().await;
    assert!(answers.iter().all(|status| *status == StatusCode::CREATED), "{answers:?}");
    for n in 0..CREATES {
        assert!(planes[0].route(&server, &format!("c{n}")).await.is_some(), "c{n}");
    }
    let mut numbers = planes[0].changes(&server).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=CREATES).collect::<Vec<_>>());
    eventually("a lease", || planes[0].has_lease(&server)).await;
    eventually("all changes", async || planes[1].upto(&server).await == Some(CREATES)).await;

    // The keeper's session is ended: somebody has the lock again, and gives the lease.
    assert!(keeper(&planes).await.is_some());
    let mut other = database.connect().await;
    const END: &str = "select cast(count(pg_terminate_backend(pid)) as bigint) from pg_locks \
         where locktype = 'advisory' and granted and pid <> pg_backend_pid() \
           and database = (select oid from pg_database where datname = current_database())";
    let ended: i64 = sqlx::query_scalar(END).fetch_one(&mut other).await.unwrap();
    assert!(ended >= 1);
    let failed = async || {
        let mut sum = 0;
        for plane in &planes {
            sum += plane.metric("carom_control_l2_rounds_failed_total").await;
        }
        sum > 0
    };
    eventually("the keeper's error", failed).await;
    eventually("a keeper", async || keeper(&planes).await.is_some()).await;
    eventually("a lease", || planes[0].has_lease(&server)).await;

    // The keeper closes: the other one takes over.
    let first = keeper(&planes).await.unwrap();
    let second = 1 - first;
    planes[first].app.close().await;
    eventually("the other keeper", async || {
        planes[second].metric("carom_control_l2_keeper").await == 1
    })
    .await;
    assert_eq!(planes[second].create("last").await.status(), StatusCode::CREATED);
    eventually("every change", async || planes[second].upto(&server).await == Some(CREATES + 1))
        .await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(planes[second].has_lease(&server).await);
    planes[second].app.close().await;
}
