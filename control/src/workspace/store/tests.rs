use super::*;
use crate::account::Email;
use crate::account::store::{NewAccount, account_insert};
use crate::member::store::{member_count, member_find, member_list, member_put, owned_count};
use crate::testing::{NOW, TestDb, on_each_database};
use std::time::Duration;

on_each_database!(
    a_workspace_ends_with_all_that_is_in_it, who_is_in_a_disabled_workspace_only_reads,
    members_are_listed_page_by_page
);

async fn account(tx: &mut Tx, test: &TestDb, email: &str) -> AccountId {
    let email = Email::parse(email, "#").unwrap();
    let new = NewAccount { email, name: "Ada".into(), password_hash: None, is_confirmed: true };
    account_insert(tx, &new, NOW, &test.random).await.unwrap()
}

async fn a_workspace_ends_with_all_that_is_in_it(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let ada = account(&mut tx, &test, "ada@example.com").await;
    let id = workspace_insert(&mut tx, "second", NOW, &test.random).await.unwrap();
    member_put(&mut tx, test.workspace, ada, Role::Viewer, NOW).await.unwrap();
    let later = NOW.saturating_add(Duration::from_secs(1));
    member_put(&mut tx, id, ada, Role::Owner, later).await.unwrap();
    assert_eq!(owned_count(&mut tx, ada).await.unwrap(), 1);
    assert!(!workspace_has_links(&mut tx, id).await.unwrap());
    assert!(!workspace_has_domains(&mut tx, id).await.unwrap());
    tx.commit().await.unwrap();
    let read = &test.db.read;
    let names = async || {
        let mine = workspace_list_of(read, ada).await.unwrap();
        mine.into_iter().map(|of| (of.workspace.name, of.role)).collect::<Vec<_>>()
    };
    let both = [("default".to_owned(), Role::Viewer), ("second".to_owned(), Role::Owner)];
    assert_eq!(names().await, both);

    let mut tx = test.db.begin().await.unwrap();
    workspace_end(&mut tx, id, NOW).await.unwrap();
    assert_eq!(workspace_now(&mut tx, id).await.unwrap(), None);
    assert_eq!(member_count(&mut tx, id, None).await.unwrap(), 0);
    tx.commit().await.unwrap();
    assert_eq!(names().await, both[..1]);
    assert_eq!(workspace_list(read).await.unwrap().len(), 1);
    assert_eq!(member_find(read, ada, Some(id)).await.unwrap(), None);
    assert_eq!(workspace_unswept(read).await.unwrap(), Some(id));
    assert_eq!(workspace_disabled(read).await.unwrap(), [id]);

    let mut tx = test.db.begin().await.unwrap();
    workspace_swept(&mut tx, id).await.unwrap();
    workspace_swept(&mut tx, test.workspace).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(workspace_unswept(read).await.unwrap(), None);
    assert_eq!(workspace_disabled(read).await.unwrap(), []);
}

async fn who_is_in_a_disabled_workspace_only_reads(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let ada = account(&mut tx, &test, "ada@example.com").await;
    member_put(&mut tx, test.workspace, ada, Role::Owner, NOW).await.unwrap();
    let mut workspace = workspace_now(&mut tx, test.workspace).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let role = async || member_find(&test.db.read, ada, None).await.unwrap().unwrap().1;
    assert_eq!(role().await, Role::Owner);
    for (disabled_at, expected) in [(Some(NOW), Role::Viewer), (None, Role::Owner)] {
        workspace.disabled_at = disabled_at;
        let mut tx = test.db.begin().await.unwrap();
        workspace_update(&mut tx, &workspace).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(role().await, expected);
    }
}

async fn members_are_listed_page_by_page(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let mut accounts = Vec::new();
    for n in 0..5 {
        let account = account(&mut tx, &test, &format!("a{n}@example.com")).await;
        member_put(&mut tx, test.workspace, account, Role::Editor, NOW).await.unwrap();
        accounts.push(account);
    }
    tx.commit().await.unwrap();
    accounts.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = member_list(&test.db.read, test.workspace, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.account);
        found.extend(page.into_iter().map(|member| member.account));
    }
    assert_eq!(found, accounts);
    let other = 1.try_into().unwrap();
    assert_eq!(member_list(&test.db.read, other, None, 2).await.unwrap(), []);
}
