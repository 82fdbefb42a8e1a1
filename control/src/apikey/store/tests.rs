use super::*;
use crate::testing::{NOW, TestDb, on_each_database};
use std::time::Duration;

on_each_database!(
    a_key_is_found_by_its_hash_until_it_is_revoked, the_list_is_newest_first_and_shows_revoked_keys
);

async fn a_key_is_found_by_its_hash_until_it_is_revoked(test: TestDb) {
    let read = &test.db.read;
    assert_eq!(key_find(read, &[8; 32]).await.unwrap(), None);
    assert_eq!(key_find(read, &[7; 32]).await.unwrap(), Some((test.key, test.workspace)));

    assert!(key_is_active(read, test.key).await.unwrap());

    let mut tx = test.db.begin().await.unwrap();
    let row = key_revoke(&mut tx, test.key, NOW).await.unwrap().unwrap();
    assert_eq!(row.revoked_at, Some(NOW));
    let later = NOW.saturating_add(Duration::from_secs(1));
    let again = key_revoke(&mut tx, test.key, later).await.unwrap().unwrap();
    assert_eq!(again.revoked_at, Some(NOW));
    let unknown = ApiKeyId::try_from(1).unwrap();
    assert_eq!(key_revoke(&mut tx, unknown, NOW).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(key_find(read, &[7; 32]).await.unwrap(), None);
    assert!(!key_is_active(read, test.key).await.unwrap());
}

async fn the_list_is_newest_first_and_shows_revoked_keys(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    key_revoke(&mut tx, test.key, NOW).await.unwrap();
    let key =
        NewKey { workspace: test.workspace, name: "b".into(), hash: [9; 32], hint: "wxyz".into() };
    let later = NOW.saturating_add(Duration::from_secs(1));
    let made = key_create(&mut tx, key, later, &test.random).await.unwrap();
    tx.commit().await.unwrap();
    let list = key_list(&test.db.read).await.unwrap();
    assert_eq!(list[0], made);
    assert_eq!((list.len(), list[1].id, list[1].revoked_at), (2, test.key, Some(NOW)));
}
