use super::kept_since;
use crate::click::sqlite::ClickStore;
use crate::click::sqlite::tests::*;
use carom_shared::click::Kind;
use carom_shared::{LinkId, WorkspaceId};

const DAY: u32 = 24 * 3600;

fn ids(workspace: i64, link: i64) -> (WorkspaceId, LinkId) {
    (WorkspaceId::try_from(workspace).unwrap(), LinkId::try_from(link).unwrap())
}

async fn counts(test: &Test) -> [i64; 5] {
    [
        test.sum("select coalesce(sum(n), 0) from click").await,
        test.sum("select coalesce(sum(n), 0) from click_quarter").await,
        test.sum("select coalesce(sum(n), 0) from workspace_quarter").await,
        test.sum("select coalesce(sum(clicks + bots), 0) from click_link").await,
        test.sum("select count(*) from erasure").await,
    ]
}

#[tokio::test]
async fn an_erased_link_leaves_nothing_and_others_stay() {
    let test = Test::new().await;
    // Links 1 and 2 are of workspace 1, link 11 is of workspace 2.
    let clicks: Vec<_> = (0..6000_u32)
        .flat_map(|n| [(1, Kind::Human), (2, Kind::Bot), (11, Kind::Human)].map(|of| (n, of)))
        .map(|(n, (link, kind))| click(link, kind, NOW_S - n, 1, "a.example"))
        .collect();
    let (token, one) = batch(1, NOW, &clicks);
    test.store.store(&token, &one, NOW).await.unwrap();
    assert_eq!(counts(&test).await, [18_000, 18_000, 18_000, 18_000, 0]);
    let (workspace, link) = ids(1, 1);
    assert_eq!(test.store.erase_link(workspace, link, NOW).await.unwrap(), 6000);
    assert_eq!(counts(&test).await, [12_000, 12_000, 12_000, 12_000, 0]);
    assert_eq!(test.sum("select count(*) from click where link = 1").await, 0);
    assert_eq!(test.sum("select count(*) from workspace_quarter where n = 0").await, 0);
    // Lists learn of it: it is the last change.
    let last = "select (select batch from click_link where link = 1) = (select max(id) from batch)";
    assert_eq!(test.sum(last).await, 1);
    // A batch that is stored again stays a duplicate; new clicks count again.
    let (token, two) = batch(2, NOW, &[click(1, Kind::Human, NOW_S, 1, "")]);
    test.store.store(&token, &two, NOW).await.unwrap();
    assert_eq!(test.sum("select sum(clicks) from click_link where link = 1").await, 1);
    assert_eq!(test.store.erase_link(workspace, link, NOW).await.unwrap(), 1);
    // Nothing to erase is fine, and a workspace erases only its own.
    assert_eq!(test.store.erase_link(workspace, ids(1, 11).1, NOW).await.unwrap(), 0);
    assert_eq!(test.store.erase_workspace(workspace, NOW).await.unwrap(), 6000);
    assert_eq!(counts(&test).await, [6000, 6000, 6000, 6000, 0]);
}

#[tokio::test]
async fn an_erasure_that_was_cut_off_is_ended_and_spares_later_clicks() {
    let mut test = Test::new().await;
    let old = vec![click(1, Kind::Human, NOW_S, 1, ""); 10];
    let (token, one) = batch(1, NOW, &old);
    test.store.store(&token, &one, NOW).await.unwrap();
    let block = "create trigger refuse before delete on click begin select raise(abort, 'no'); end";
    sqlx::query(block).execute(&test.store.file.write).await.unwrap();
    let (workspace, link) = ids(1, 1);
    assert!(test.store.erase_link(workspace, link, NOW).await.is_err());
    assert_eq!(counts(&test).await, [10, 0, 0, 0, 1]);
    let (token, two) = batch(2, NOW, &old[..3]);
    test.store.store(&token, &two, NOW).await.unwrap();
    sqlx::query("drop trigger refuse").execute(&test.store.file.write).await.unwrap();
    test.store = ClickStore::open(&test.folder.path().join("clicks.db")).await.unwrap();
    test.store.erasures_resume().await.unwrap();
    assert_eq!(counts(&test).await, [3, 3, 3, 3, 0]);
}

#[tokio::test]
async fn old_rows_go_and_the_rollup_stays() {
    let test = Test::new().await;
    let today = NOW_S / DAY * DAY;
    let clicks: Vec<_> = (1..=3000)
        .flat_map(|link| [0, 2, 9, 10, 11, 30].map(|days| (link, today - days * DAY)))
        .map(|(link, at_s)| click(link, Kind::Human, at_s, 1, ""))
        .collect();
    let (token, one) = batch(1, NOW, &clicks);
    test.store.store(&token, &one, NOW).await.unwrap();
    let since = kept_since(10, NOW);
    assert_eq!(since, i64::from(today - 10 * DAY));
    let (mut place, mut steps) = (0, 0);
    while let Some(next) = test.store.retention_step(since, place).await.unwrap() {
        assert!(next >= place);
        (place, steps) = (next, steps + 1);
    }
    assert!(steps >= 1);
    assert_eq!(counts(&test).await, [4 * 3000, 6 * 3000, 6 * 3000, 6 * 3000, 0]);
    assert_eq!(test.sum("select min(at_s) from click").await, since);
    // More days bring no details back.
    assert_eq!(test.store.retention_step(kept_since(400, NOW), 0).await.unwrap(), None);
    assert_eq!(test.sum("select detail_since_s from retention").await, since);
}
