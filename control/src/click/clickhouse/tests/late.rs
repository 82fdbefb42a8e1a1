//! Changes that appear under a time which was read before.

use carom_shared::clickhouse::{CHANGE_STATEMENT, change_rows};

use super::*;

async fn note(store: &ClickStore, stamp: i64, links: &[i64]) {
    let rows = change_rows(stamp, links.iter().map(|link| [1, *link]));
    let insert =
        Statement { data: Some((rows, None)), ..Statement::new(CHANGE_STATEMENT, WRITE_SETTINGS) };
    store.0.client.run(insert).await.unwrap();
}

#[tokio::test]
async fn changes_of_other_clocks_are_seen_by_their_number_under_each_time() {
    let store = new_store().await;
    let now = NOW.get();
    let (token, one) = batch(1, NOW, &three());
    store.store(&token, &one, NOW).await.unwrap();
    note(&store, now + 60_000, &[3]).await;
    let far = UnixMillis::new(now + 120_000);
    // Not before its time has come.
    let (links, place) = store.changed_since(ClickCursor::default(), NOW, 10).await.unwrap();
    assert_eq!(links.iter().map(|link| link.link.get()).collect::<Vec<_>>(), [1, 2]);
    let (links, place) = store.changed_since(place.unwrap(), far, 10).await.unwrap();
    assert_eq!(links.iter().map(|link| link.link.get()).collect::<Vec<_>>(), [3]);
    let seen = store.change_times(now - 1000..=far.get()).await.unwrap();
    assert_eq!(seen, [(now, 2), (now + 60_000, 1)].into());

    // Behind the place: under a time of its own, and under one that was seen.
    note(&store, now + 5, &[1, 4]).await;
    note(&store, now, &[5]).await;
    assert!(store.changed_since(place.unwrap(), far, 10).await.unwrap().1.is_none());
    let there = store.change_times(now - 1000..=far.get()).await.unwrap();
    assert_eq!(there, [(now, 3), (now + 5, 2), (now + 60_000, 1)].into());
    let mut links = store.changed_at(&[now, now + 5]).await.unwrap();
    links.sort_by_key(|link| link.link.get());
    let shown: Vec<_> = links.iter().map(|link| (link.link.get(), link.clicks)).collect();
    assert_eq!(shown, [(1, 2), (2, 0), (4, 0), (5, 0)]);
    remove(&store).await;
}
