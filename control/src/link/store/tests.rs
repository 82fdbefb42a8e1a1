use super::*;
use crate::link::command::{CreateLink, LinkSettings};
use crate::testing::{NOW, StutteringRandom, TestDb, on_each_database};
use carom_shared::{Code, TargetPolicy, TargetUrl};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

on_each_database!(
    a_link_comes_back_as_it_was_made_to_its_own_workspace_only,
    a_refused_create_leaves_its_neighbours_alone,
    conflicts_of_random_codes_and_ids_are_drawn_again,
    a_source_that_repeats_itself_ends_in_a_refusal,
    all_routes_are_listed_page_by_page_in_the_order_of_bytes
);

async fn make(test: &TestDb, command: CreateLink, now: UnixMillis) -> Link {
    let mut tx = test.db.begin().await.unwrap();
    let made = link_create(&mut tx, command, now, &test.random).await.unwrap().unwrap().0;
    tx.commit().await.unwrap();
    made
}

async fn a_link_comes_back_as_it_was_made_to_its_own_workspace_only(test: TestDb) {
    let mut command = test.create(Some("Sale-2026"));
    let fallback = TargetUrl::parse("https://example.com/over", &TargetPolicy::default()).unwrap();
    command.settings = LinkSettings {
        title: Some("Été".into()),
        notes: Some("one\ntwo".into()),
        tags: Some(Tags::new(["B", "a"]).unwrap()),
        redirect_status: Some(RedirectStatus::PermanentRedirect),
        max_age_s: Some(60),
        state: Some(RouteState::Disabled),
        is_archived: Some(true),
        not_before: Some(Some(UnixMillis::new(5))),
        expires_at: Some(Some(NOW.saturating_add(Duration::from_secs(9)))),
        fallback: Some(Some(fallback)),
        forward: Some(Forward::Only(ParameterNames::new(["a", "b"]).unwrap())),
        visitor_wins: Some(true),
    };
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

async fn a_refused_create_leaves_its_neighbours_alone(test: TestDb) {
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
async fn conflicts_of_random_codes_and_ids_are_drawn_again(test: TestDb) {
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

async fn a_source_that_repeats_itself_ends_in_a_refusal(test: TestDb) {
    let random = StutteringRandom { times: usize::MAX, calls: AtomicUsize::new(0) };
    let mut tx = test.db.begin().await.unwrap();
    link_create(&mut tx, test.create(None), NOW, &random).await.unwrap().unwrap();
    let second = link_create(&mut tx, test.create(None), NOW, &random).await.unwrap();
    assert_eq!(second.unwrap_err(), CreateRefused::NoFreeCode);
    // A custom code is free, but no id is: that must not go unnoticed.
    let third = link_create(&mut tx, test.create(Some("x")), NOW, &random).await;
    assert!(matches!(third, Err(StoreError::Exhausted(..))));
}

async fn all_routes_are_listed_page_by_page_in_the_order_of_bytes(test: TestDb) {
    let mut made = Vec::new();
    for code in ["b", "a", "Z", "a-b", "a_b", "aa"] {
        made.push(make(&test, test.create(Some(code)), NOW).await);
    }
    made.sort_by(|a, b| a.code.cmp(&b.code));
    for limit in [1, 2, 6, 7] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = routes_after(&test.db.read, after, limit).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.domain, last.code.clone()));
            listed.extend(page);
        }
        assert_eq!(listed.len(), made.len());
        for (route, link) in listed.iter().zip(&made) {
            assert_eq!((route.domain, &route.code), (test.domain, &link.code));
            assert_eq!(route.record, link.record(1));
        }
    }
}
