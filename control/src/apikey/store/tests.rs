use super::*;
use crate::access::Scope;
use crate::testing::{NOW, TestDb, on_each_database};
use std::num::NonZeroU32;
use std::time::Duration;

on_each_database!(
    a_key_is_found_by_its_hash_until_it_is_revoked,
    the_list_is_newest_first_and_shows_revoked_keys_to_operators_only,
    a_key_is_read_as_it_was_written,
    a_key_is_dead_once_it_expires,
    a_key_can_do_what_its_makers_role_allows_now,
    the_last_use_is_noted_and_never_moves_back,
);

fn later(seconds: u64) -> UnixMillis {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn new_key(test: &TestDb, byte: u8, grant: Grant) -> NewKey {
    let (workspace, name) = (test.workspace, format!("key {byte}"));
    NewKey { workspace, account: None, name, hash: [byte; 32], hint: "wxyz".into(), grant }
}

async fn create(test: &TestDb, key: NewKey, now: UnixMillis) -> KeyRow {
    let mut tx = test.db.begin().await.unwrap();
    let made = key_create(&mut tx, key, now, &test.random).await.unwrap();
    tx.commit().await.unwrap();
    made
}

async fn found(test: &TestDb, byte: u8, now: UnixMillis) -> Option<(KeyRow, Scopes)> {
    key_find(&test.db.read, &[byte; 32], now).await.unwrap()
}

async fn update(test: &TestDb, key: &KeyRow) {
    let mut tx = test.db.begin().await.unwrap();
    key_update(&mut tx, key).await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_key_is_found_by_its_hash_until_it_is_revoked(test: TestDb) {
    assert_eq!(found(&test, 8, NOW).await, None);
    let (mut key, scopes) = found(&test, 7, NOW).await.unwrap();
    assert_eq!((key.id, key.workspace, scopes), (test.key, test.workspace, Scopes::ALL));
    assert!(key_scopes(&test.db.read, test.key, NOW).await.unwrap().is_some());
    key.revoked_at = Some(NOW);
    update(&test, &key).await;
    assert_eq!(found(&test, 7, NOW).await, None);
    assert!(key_scopes(&test.db.read, test.key, NOW).await.unwrap().is_none());
    assert_eq!(key_read(&test.db.read, test.workspace, test.key).await.unwrap(), None);
}

async fn the_list_is_newest_first_and_shows_revoked_keys_to_operators_only(test: TestDb) {
    let (mut old, _) = found(&test, 7, NOW).await.unwrap();
    old.revoked_at = Some(NOW);
    update(&test, &old).await;
    let made = create(&test, new_key(&test, 9, Grant::of(Scopes::ALL)), later(1)).await;
    let all = key_list(&test.db.read, None).await.unwrap();
    assert_eq!(all, [made.clone(), old]);
    let theirs = key_list(&test.db.read, Some(test.workspace)).await.unwrap();
    assert_eq!(theirs, [made]);
    let other = WorkspaceId::try_from(1).unwrap();
    assert_eq!(key_list(&test.db.read, Some(other)).await.unwrap(), []);
    let mut tx = test.db.begin().await.unwrap();
    assert_eq!(key_count(&mut tx, test.workspace, NOW).await.unwrap(), 1);
}

async fn a_key_is_read_as_it_was_written(test: TestDb) {
    let grant = Grant {
        scopes: Scopes::NONE.with(Scope::LinksRead).with(Scope::KeysWrite),
        domains: vec![test.domain],
        addresses: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        expires_at: Some(later(60)),
        rate_per_minute: NonZeroU32::new(30),
    };
    let mut made = create(&test, new_key(&test, 9, grant), NOW).await;
    assert_eq!(found(&test, 9, NOW).await.unwrap().0, made);
    made.name = "another".into();
    made.grant = Grant::of(Scopes::NONE.with(Scope::StatsRead));
    made.replaced_by = Some(test.key);
    update(&test, &made).await;
    assert_eq!(found(&test, 9, NOW).await.unwrap().0, made);
    let mut tx = test.db.begin().await.unwrap();
    let other = WorkspaceId::try_from(1).unwrap();
    assert_eq!(key_fetch(&mut tx, Some(other), made.id).await.unwrap(), None);
    assert_eq!(key_fetch(&mut tx, None, made.id).await.unwrap(), Some(made));
}

async fn a_key_is_dead_once_it_expires(test: TestDb) {
    let grant = Grant { expires_at: Some(later(60)), ..Grant::of(Scopes::ALL) };
    let made = create(&test, new_key(&test, 9, grant), NOW).await;
    assert!(found(&test, 9, later(59)).await.is_some());
    assert!(key_scopes(&test.db.read, made.id, later(59)).await.unwrap().is_some());
    assert!(found(&test, 9, later(60)).await.is_none());
    assert!(key_scopes(&test.db.read, made.id, later(60)).await.unwrap().is_none());
}

async fn write(test: &TestDb, sql: &'static str, values: [i64; 2]) {
    let mut tx = test.db.begin().await.unwrap();
    on_tx!(&mut tx, |conn| {
        let query = sqlx::query(sql).bind(values[0]).bind(values[1]);
        query.execute(conn).await.map(|done| done.rows_affected())
    })
    .unwrap();
    tx.commit().await.unwrap();
}

async fn a_key_can_do_what_its_makers_role_allows_now(test: TestDb) {
    let (account, workspace) = (AccountId::try_from(42).unwrap(), test.workspace.get());
    write(
        &test,
        "insert into account (id, email, name, state, created_at_ms) \
         values ($1, 'a@example.com', 'A', $2, 0)",
        [42, 0],
    )
    .await;
    let scopes = Scopes::NONE.with(Scope::LinksRead).with(Scope::LinksWrite);
    let new = NewKey { account: Some(account), ..new_key(&test, 9, Grant::of(scopes)) };
    let made = create(&test, new, NOW).await;
    assert_eq!(found(&test, 9, NOW).await, None, "not a member yet");
    write(
        &test,
        "insert into member (workspace_id, account_id, role, created_at_ms) values ($1, 42, $2, 0)",
        [workspace, Role::Editor.number()],
    )
    .await;
    assert_eq!(found(&test, 9, NOW).await.unwrap().1, scopes);
    assert!(key_scopes(&test.db.read, made.id, NOW).await.unwrap().is_some());
    let set_role = "update member set role = $2 where account_id = $1";
    write(&test, set_role, [42, Role::Viewer.number()]).await;
    let less = Scopes::NONE.with(Scope::LinksRead);
    assert_eq!(found(&test, 9, NOW).await.unwrap().1, less);
    assert_eq!(key_scopes(&test.db.read, made.id, NOW).await.unwrap(), Some(less));
    write(&test, "update account set state = $2 where id = $1", [42, 1]).await;
    assert_eq!(found(&test, 9, NOW).await, None, "disabled");
    assert!(key_scopes(&test.db.read, made.id, NOW).await.unwrap().is_none());
    write(&test, "update account set state = $2 where id = $1", [42, 0]).await;
    assert!(found(&test, 9, NOW).await.is_some());
    let remove = "delete from member where account_id = $1 and workspace_id = $2";
    write(&test, remove, [42, workspace]).await;
    assert_eq!(found(&test, 9, NOW).await, None, "not a member any more");
}

async fn the_last_use_is_noted_and_never_moves_back(test: TestDb) {
    let used = |at, from: &str| Use { key: test.key, at, from: from.parse().ok() };
    for (at, from) in [(later(60), "192.0.2.1"), (later(30), "192.0.2.2")] {
        let mut tx = test.db.begin().await.unwrap();
        keys_note_uses(&mut tx, &[used(at, from)]).await.unwrap();
        tx.commit().await.unwrap();
    }
    let (key, _) = found(&test, 7, NOW).await.unwrap();
    assert_eq!(key.last_used_at, Some(later(60)));
    assert_eq!(key.last_used_from, "192.0.2.1".parse().ok());
}
