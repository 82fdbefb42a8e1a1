use std::time::Duration;

use super::*;
use crate::account::token::{NewToken, Purpose, TICKET_TRIES};
use crate::secret::token::Token;
use crate::testing::{NOW, TestDb, on_each_database};

on_each_database!(
    an_account_is_found_by_its_address_and_changes,
    a_second_factor_is_begun_confirmed_and_used_step_by_step,
    a_link_works_once_for_its_purpose_and_in_its_time, a_new_link_ends_those_before_it,
    a_ticket_has_five_tries, a_recovery_code_works_once, what_was_made_since_a_change_is_ended,
    wrong_tries_are_counted_until_they_are_forgotten, an_account_that_ends_is_nobodys,
);

fn email(text: &str) -> Email {
    Email::parse(text, "#").unwrap()
}

async fn ada(test: &TestDb, tx: &mut Tx) -> AccountId {
    let new = NewAccount {
        email: email("ada@example.com"),
        name: "Ada".into(),
        password_hash: Some("hash".into()),
        is_confirmed: false,
    };
    account_insert(tx, &new, NOW, &test.random).await.unwrap()
}

async fn an_account_is_found_by_its_address_and_changes(test: TestDb) {
    let db = &test.db.read;
    assert!(!account_is_any(db).await.unwrap());
    let mut tx = test.db.begin().await.unwrap();
    assert!(!account_is_any_now(&mut tx).await.unwrap());
    let id = ada(&test, &mut tx).await;
    assert!(account_is_any_now(&mut tx).await.unwrap());
    assert!(email_is_taken(&mut tx, &email("ADA@example.com")).await.unwrap());
    assert!(!email_is_taken(&mut tx, &email("eve@example.com")).await.unwrap());
    let before = account_now(&mut tx, id).await.unwrap().unwrap();
    assert!(account_rehash(&mut tx, id, "hash", "newer").await.unwrap());
    assert!(!account_rehash(&mut tx, id, "hash", "newest").await.unwrap());
    let rehashed = account_now(&mut tx, id).await.unwrap().unwrap();
    assert_ne!(before.bound(), rehashed.bound());
    assert!(account_rename(&mut tx, id, "Ada L").await.unwrap());
    assert!(account_set_email(&mut tx, id, &email("lovelace@example.com")).await.unwrap());
    assert!(account_confirm(&mut tx, id, NOW).await.unwrap());
    assert!(account_set_operator(&mut tx, id, true).await.unwrap());
    assert!(account_set_disabled(&mut tx, id, true).await.unwrap());
    tx.commit().await.unwrap();
    assert!(account_find(db, &email("ada@example.com")).await.unwrap().is_none());
    let found = account_find(db, &email("lovelace@example.com")).await.unwrap().unwrap();
    assert_eq!((found.id, found.name.as_str(), found.is_disabled), (id, "Ada L", true));
    assert_eq!(found.password_hash.as_deref(), Some("newer"));
    assert_ne!(found.bound(), rehashed.bound());
    assert_eq!(account_list(db).await.unwrap().len(), 1);
    let mut tx = test.db.begin().await.unwrap();
    account_clear_password(&mut tx, id).await.unwrap();
    assert_eq!(account_now(&mut tx, id).await.unwrap().unwrap().password_hash, None);
    assert!(account_set_password(&mut tx, id, "another").await.unwrap());
}

async fn a_second_factor_is_begun_confirmed_and_used_step_by_step(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let id = ada(&test, &mut tx).await;
    let second = async |tx: &mut Tx| account_now(tx, id).await.unwrap().unwrap().second;
    assert!(account_totp_begin(&mut tx, id, b"one").await.unwrap());
    assert!(account_totp_begin(&mut tx, id, b"two").await.unwrap());
    assert!(second(&mut tx).await == Second::Pending(b"two".to_vec()));
    assert!(account_totp_confirm(&mut tx, id, NOW, 7).await.unwrap());
    assert!(second(&mut tx).await == Second::Active(b"two".to_vec()));
    assert!(!account_totp_confirm(&mut tx, id, NOW, 8).await.unwrap());
    assert!(!account_totp_begin(&mut tx, id, b"three").await.unwrap());
    for (step, is_new) in [(7, false), (8, true), (8, false), (7, false), (10, true), (9, false)] {
        assert_eq!(account_totp_step(&mut tx, id, step).await.unwrap(), is_new, "{step}");
    }
    account_totp_remove(&mut tx, id).await.unwrap();
    assert!(second(&mut tx).await == Second::None);
}

async fn a_link_works_once_for_its_purpose_and_in_its_time(test: TestDb) {
    let db = &test.db.read;
    let token = Token::generate(&test.random);
    let hash = token.hash();
    let new = NewToken::free(&token, Purpose::Register, "ada@example.com".into());
    let mut tx = test.db.begin().await.unwrap();
    token_insert(&mut tx, &new, NOW).await.unwrap();
    tx.commit().await.unwrap();
    let end = NOW.saturating_add(Purpose::Register.life());
    let before_end = UnixMillis::new(end.get() - 1);
    let find = async |purpose, at| token_find(db, &hash, purpose, at).await.unwrap();
    assert_eq!(find(Purpose::Register, before_end).await.unwrap().detail, "ada@example.com");
    assert_eq!(find(Purpose::Register, end).await, None);
    assert_eq!(find(Purpose::Password, NOW).await, None);

    let mut tx = test.db.begin().await.unwrap();
    assert_eq!(token_take(&mut tx, &hash, Purpose::Password, NOW).await.unwrap(), None);
    assert_eq!(token_take(&mut tx, &hash, Purpose::Register, end).await.unwrap(), None);
    assert!(token_take(&mut tx, &hash, Purpose::Register, before_end).await.unwrap().is_some());
    assert_eq!(token_take(&mut tx, &hash, Purpose::Register, NOW).await.unwrap(), None);
    tokens_prune(&mut tx, end).await.unwrap();
    // It is gone, so its hash is free.
    token_insert(&mut tx, &new, NOW).await.unwrap();
}

async fn a_new_link_ends_those_before_it(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let id = ada(&test, &mut tx).await;
    let account = account_now(&mut tx, id).await.unwrap().unwrap();
    let [reset, undo, ada, eve] = [(); 4].map(|()| Token::generate(&test.random));
    for new in [
        NewToken::of(&reset, &account, Purpose::Password, String::new()),
        NewToken::of(&undo, &account, Purpose::EmailUndo, String::new()),
        NewToken::free(&ada, Purpose::Register, "ada@example.com".into()),
        NewToken::free(&eve, Purpose::Register, "eve@example.com".into()),
    ] {
        token_insert(&mut tx, &new, NOW).await.unwrap();
    }
    tokens_void(&mut tx, Some(id), "", Purpose::Password).await.unwrap();
    tokens_void(&mut tx, None, "ada@example.com", Purpose::Register).await.unwrap();
    for (token, purpose, is_left) in [
        (reset, Purpose::Password, false),
        (undo, Purpose::EmailUndo, true),
        (ada, Purpose::Register, false),
        (eve, Purpose::Register, true),
    ] {
        let taken = token_take(&mut tx, &token.hash(), purpose, NOW).await.unwrap();
        assert_eq!(taken.is_some(), is_left, "{purpose:?}");
    }
}

async fn what_was_made_since_a_change_is_ended(test: TestDb) {
    let at = |ms: i64| UnixMillis::new(NOW.get() + ms);
    let mut tx = test.db.begin().await.unwrap();
    let id = ada(&test, &mut tx).await;
    let account = account_now(&mut tx, id).await.unwrap().unwrap();
    let [before, taken, after] = [(); 3].map(|()| Token::generate(&test.random));
    for (token, ms) in [(&before, 0), (&taken, 5), (&after, 6)] {
        let new = NewToken::of(token, &account, Purpose::EmailUndo, String::new());
        token_insert(&mut tx, &new, at(ms)).await.unwrap();
    }
    let row = token_take(&mut tx, &taken.hash(), Purpose::EmailUndo, at(9)).await.unwrap();
    let since = row.unwrap().created_at;
    assert_eq!(since, at(5));
    tokens_void_since(&mut tx, id, Purpose::EmailUndo, since).await.unwrap();
    for (token, is_left) in [(before, true), (after, false)] {
        let row = token_take(&mut tx, &token.hash(), Purpose::EmailUndo, at(9)).await.unwrap();
        assert_eq!(row.is_some(), is_left);
    }

    assert!(!account_totp_remove_since(&mut tx, id, since).await.unwrap(), "there is none");
    assert!(account_totp_begin(&mut tx, id, b"one").await.unwrap());
    assert!(account_totp_remove_since(&mut tx, id, since).await.unwrap(), "it did not count yet");
    for (confirmed, is_removed) in [(4, false), (5, true)] {
        account_totp_remove(&mut tx, id).await.unwrap();
        assert!(account_totp_begin(&mut tx, id, b"two").await.unwrap());
        assert!(account_totp_confirm(&mut tx, id, at(confirmed), 7).await.unwrap());
        let removed = account_totp_remove_since(&mut tx, id, since).await.unwrap();
        assert_eq!(removed, is_removed, "{confirmed}");
        let account = account_now(&mut tx, id).await.unwrap().unwrap();
        assert_eq!(account.has_second(), !is_removed);
    }
}

async fn a_ticket_has_five_tries(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let id = ada(&test, &mut tx).await;
    let account = account_now(&mut tx, id).await.unwrap().unwrap();
    let token = Token::generate(&test.random);
    let new = NewToken::of(&token, &account, Purpose::Ticket, "remember".into());
    token_insert(&mut tx, &new, NOW).await.unwrap();
    for _ in 0..TICKET_TRIES {
        let row = token_try(&mut tx, &token.hash(), NOW).await.unwrap().unwrap();
        assert_eq!(
            (row.account, row.detail.as_str(), row.bound),
            (Some(id), "remember", account.bound())
        );
    }
    assert_eq!(token_try(&mut tx, &token.hash(), NOW).await.unwrap(), None);
    let late = NOW.saturating_add(Duration::from_mins(10));
    assert_eq!(token_try(&mut tx, &token.hash(), late).await.unwrap(), None);
}

async fn a_recovery_code_works_once(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let id = ada(&test, &mut tx).await;
    recovery_replace(&mut tx, id, &[[1; 32], [2; 32]]).await.unwrap();
    assert!(recovery_use(&mut tx, id, &[1; 32], NOW).await.unwrap());
    assert!(!recovery_use(&mut tx, id, &[1; 32], NOW).await.unwrap());
    assert!(!recovery_use(&mut tx, id, &[3; 32], NOW).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(recovery_left(&test.db.read, id).await.unwrap(), 1);
    let mut tx = test.db.begin().await.unwrap();
    recovery_replace(&mut tx, id, &[[4; 32]]).await.unwrap();
    assert!(!recovery_use(&mut tx, id, &[2; 32], NOW).await.unwrap());
    assert!(recovery_use(&mut tx, id, &[4; 32], NOW).await.unwrap());
}

async fn wrong_tries_are_counted_until_they_are_forgotten(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let id = ada(&test, &mut tx).await;
    for expected in 1..=3 {
        assert_eq!(account_tried(&mut tx, id).await.unwrap(), Some(expected));
    }
    assert_eq!(account_now(&mut tx, id).await.unwrap().unwrap().wrong_tries, 3);
    account_tries_forget(&mut tx, id).await.unwrap();
    assert_eq!(account_tried(&mut tx, id).await.unwrap(), Some(1));
    assert!(account_set_password(&mut tx, id, "newer").await.unwrap());
    assert_eq!(account_now(&mut tx, id).await.unwrap().unwrap().wrong_tries, 0);
    let nobody = AccountId::try_from(1).unwrap();
    assert_eq!(account_tried(&mut tx, nobody).await.unwrap(), None);
}

async fn an_account_that_ends_is_nobodys(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let id = ada(&test, &mut tx).await;
    account_forget(&mut tx, id).await.unwrap();
    assert!(account_now(&mut tx, id).await.unwrap().is_none());
    assert!(!email_is_taken(&mut tx, &email("ada@example.com")).await.unwrap());
    assert!(!account_set_disabled(&mut tx, id, false).await.unwrap(), "it does not come back");
    assert_eq!(account_tried(&mut tx, id).await.unwrap(), None);
    let next = ada(&test, &mut tx).await;
    assert_ne!(next, id);
    tx.commit().await.unwrap();
    let all = account_list(&test.db.read).await.unwrap();
    assert_eq!(all.iter().map(|account| account.id).collect::<Vec<_>>(), [next]);
}
