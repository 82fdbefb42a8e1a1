use super::*;
use crate::testing::{NOW, StutteringRandom, TestDb};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

async fn make(test: &TestDb, command: CreateLink, now: UnixMillis) -> Link {
    let mut tx = test.db.begin().await.unwrap();
    let made = link_create(&mut tx, command, now, &test.random).await.unwrap().unwrap().0;
    tx.commit().await.unwrap();
    made
}

#[tokio::test]
async fn a_link_comes_back_as_it_was_made_to_its_own_workspace_only() {
    let test = TestDb::new().await;
    let mut command = test.create(Some("Sale-2026"));
    command.title = "Été".into();
    command.redirect_status = RedirectStatus::PermanentRedirect;
    command.not_before = Some(UnixMillis::new(5));
    command.expires_at = Some(NOW.saturating_add(Duration::from_secs(9)));
    let link = make(&test, command, NOW).await;
    let read = &test.db.read;
    assert_eq!(link_fetch(read, test.workspace, link.id).await.unwrap(), Some(link.clone()));
    let other = WorkspaceId::try_from(1).unwrap();
    assert_eq!(link_fetch(read, other, link.id).await.unwrap(), None);
    assert_eq!(link_count(read, Some(test.workspace)).await.unwrap(), 1);
    assert_eq!(link_count(read, Some(other)).await.unwrap(), 0);
    assert_eq!(link_count(read, None).await.unwrap(), 1);

    let record = route_resolve(read, test.domain, &link.code).await.unwrap();
    assert_eq!(record, Some(link.record(1)));
    for other in ["sale-2026", "Sale-2027"] {
        let code = Code::parse(other).unwrap();
        assert_eq!(route_resolve(read, test.domain, &code).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_refused_create_leaves_its_neighbours_alone() {
    let test = TestDb::new().await;
    let mut tx = test.db.begin().await.unwrap();
    let mut results = Vec::new();
    for code in [Some("a"), Some("a"), None, Some("b")] {
        let made = link_create(&mut tx, test.create(code), NOW, &test.random).await.unwrap();
        results.push(made.map(|(link, _)| link.id));
    }
    tx.commit().await.unwrap();
    assert_eq!(results[1], Err(CreateRefused::Taken(Code::parse("a").unwrap())));
    assert!(results[0].is_ok() && results[2].is_ok() && results[3].is_ok());
    assert_eq!(link_count(&test.db.read, None).await.unwrap(), 3);
}

/// The second link draws the first one's id, and then its code, before it draws new ones.
#[tokio::test]
async fn conflicts_of_random_codes_and_ids_are_drawn_again() {
    let test = TestDb::new().await;
    let random = || StutteringRandom { times: 2, calls: AtomicUsize::new(0) };
    let mut tx = test.db.begin().await.unwrap();
    let first = link_create(&mut tx, test.create(None), NOW, &random()).await.unwrap().unwrap().0;
    let second = link_create(&mut tx, test.create(None), NOW, &random()).await.unwrap().unwrap().0;
    tx.commit().await.unwrap();
    assert_ne!((first.id, &first.code), (second.id, &second.code));
    for link in [first, second] {
        let record = route_resolve(&test.db.read, test.domain, &link.code).await.unwrap();
        assert_eq!(record.map(|record| record.link), Some(link.id));
    }
}

#[tokio::test]
async fn a_source_that_repeats_itself_ends_in_a_refusal() {
    let test = TestDb::new().await;
    let random = StutteringRandom { times: usize::MAX, calls: AtomicUsize::new(0) };
    let mut tx = test.db.begin().await.unwrap();
    link_create(&mut tx, test.create(None), NOW, &random).await.unwrap().unwrap();
    let second = link_create(&mut tx, test.create(None), NOW, &random).await.unwrap();
    assert_eq!(second.unwrap_err(), CreateRefused::NoFreeCode);
    // A custom code is free, but no id is: that must not go unnoticed.
    let third = link_create(&mut tx, test.create(Some("x")), NOW, &random).await;
    assert!(matches!(third, Err(StoreError::Exhausted(..))));
}

#[tokio::test]
async fn a_deleted_route_resolves_to_its_tombstone() {
    let test = TestDb::new().await;
    let link = make(&test, test.create(Some("gone")), NOW).await;
    let mut tx = test.db.begin().await.unwrap();
    for delete in
        ["update route set state = 0, version = 2 where code = 'gone'", "delete from link"]
    {
        on_tx!(&mut tx, |conn| sqlx::query(delete).execute(conn).await).unwrap();
    }
    tx.commit().await.unwrap();
    let record = route_resolve(&test.db.read, test.domain, &link.code).await.unwrap().unwrap();
    assert_eq!((record.state, record.version, &*record.target), (RouteState::Deleted, 2, ""));
    assert_eq!((record.link, record.workspace), (link.id, test.workspace));

    let mut tx = test.db.begin().await.unwrap();
    let again = link_create(&mut tx, test.create(Some("gone")), NOW, &test.random).await.unwrap();
    assert_eq!(again.unwrap_err(), CreateRefused::Taken(link.code));
}

/// Pages of any size hold each link once, newest first, also where many share a millisecond.
#[tokio::test]
async fn pages_neither_skip_nor_repeat() {
    let test = TestDb::new().await;
    let mut made = Vec::new();
    for n in 0..25_u64 {
        let now = NOW.saturating_add(Duration::from_millis(n / 10));
        made.push(make(&test, test.create(None), now).await);
    }
    made.sort_by_key(|link| std::cmp::Reverse((link.created_at, link.id)));
    for limit in [1, 3, 7, 25, 100] {
        let mut seen: Vec<Link> = Vec::new();
        loop {
            let below = seen.last().map(|link| Place { created_at: link.created_at, id: link.id });
            let page = link_list(&test.db.read, test.workspace, below, limit).await.unwrap();
            assert!(page.len() <= limit as usize);
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert_eq!(seen, made, "limit {limit}");
    }
}
