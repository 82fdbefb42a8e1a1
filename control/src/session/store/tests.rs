use std::time::Duration;

use carom_shared::{AccountId, UnixMillis};

use super::*;
use crate::account::Email;
use crate::account::store::{NewAccount, account_insert, account_set_disabled};
use crate::testing::{NOW, TestDb, on_each_database};

on_each_database!(
    a_session_is_found_by_its_token_until_it_is_over,
    a_replaced_token_is_told_from_the_current_one, an_account_has_fifty_sessions_at_most,
    devices_are_known_by_what_they_call_themselves,
);

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

async fn account(test: &TestDb, tx: &mut Tx) -> AccountId {
    let email = Email::parse("ada@example.com", "#").unwrap();
    let account =
        NewAccount { email, name: String::new(), password_hash: None, is_confirmed: true };
    account_insert(tx, &account, NOW, &test.random).await.unwrap()
}

fn new(account: AccountId, token: u8, is_remembered: bool) -> NewSession {
    NewSession {
        account,
        token: [token; 32],
        is_remembered,
        has_second: false,
        device: Device { address: "192.0.2.1".into(), user_agent: "Browser".into() },
    }
}

async fn is_found(db: &Db, token: u8, at: UnixMillis) -> bool {
    matches!(session_find(db, &[token; 32], at).await.unwrap(), Some(Found::Current(_)))
}

async fn a_session_is_found_by_its_token_until_it_is_over(test: TestDb) {
    let db = &test.db.read;
    let mut tx = test.db.begin().await.unwrap();
    let account = account(&test, &mut tx).await;
    let short = session_insert(&mut tx, &new(account, 1, false), NOW, &test.random).await.unwrap();
    let long = session_insert(&mut tx, &new(account, 2, true), NOW, &test.random).await.unwrap();
    tx.commit().await.unwrap();
    let at = |duration| NOW.saturating_add(duration);
    assert!(is_found(db, 1, at(hours(12) - Duration::from_millis(1))).await);
    assert!(!is_found(db, 1, at(hours(12))).await);
    assert!(is_found(db, 2, at(hours(12))).await);
    assert!(!is_found(db, 2, at(hours(14 * 24))).await);
    assert!(!is_found(db, 3, NOW).await);

    // Used again and again it lasts, but not for ever.
    let mut tx = test.db.begin().await.unwrap();
    for day in 0..40 {
        session_touch(&mut tx, &short, at(hours(12 * day))).await.unwrap();
        session_touch(&mut tx, &long, at(hours(24 * day))).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert!(
        is_found(db, 1, at(hours(7 * 24 - 1))).await && !is_found(db, 1, at(hours(7 * 24))).await
    );
    assert!(
        is_found(db, 2, at(hours(30 * 24 - 1))).await && !is_found(db, 2, at(hours(30 * 24))).await
    );
    assert!(session_is_active(db, long.id, at(hours(29 * 24))).await.unwrap());

    let mut tx = test.db.begin().await.unwrap();
    assert!(account_set_disabled(&mut tx, account, true).await.unwrap());
    tx.commit().await.unwrap();
    assert!(!is_found(db, 2, NOW).await);
    assert!(!session_is_active(db, long.id, NOW).await.unwrap());
}

async fn a_replaced_token_is_told_from_the_current_one(test: TestDb) {
    let db = &test.db.read;
    let mut tx = test.db.begin().await.unwrap();
    let account = account(&test, &mut tx).await;
    let session =
        session_insert(&mut tx, &new(account, 1, false), NOW, &test.random).await.unwrap();
    let rotated = session_rotate(&mut tx, session.id, Some(&[1; 32]), &[2; 32], NOW);
    assert!(rotated.await.unwrap());
    let too_late = session_rotate(&mut tx, session.id, Some(&[1; 32]), &[3; 32], NOW);
    assert!(!too_late.await.unwrap());
    tx.commit().await.unwrap();
    assert!(is_found(db, 2, NOW).await && !is_found(db, 3, NOW).await);
    let old = session_find(db, &[1; 32], NOW).await.unwrap();
    assert!(matches!(old, Some(Found::Replaced(found, NOW)) if found.id == session.id));

    let mut tx = test.db.begin().await.unwrap();
    assert!(session_revoke(&mut tx, account, session.id, NOW).await.unwrap());
    assert!(!session_revoke(&mut tx, account, session.id, NOW).await.unwrap());
    assert!(!session_rotate(&mut tx, session.id, None, &[4; 32], NOW).await.unwrap());
    tx.commit().await.unwrap();
    for token in 1..=4 {
        assert_eq!(session_find(db, &[token; 32], NOW).await.unwrap(), None);
    }
}

async fn an_account_has_fifty_sessions_at_most(test: TestDb) {
    let db = &test.db.read;
    let mut tx = test.db.begin().await.unwrap();
    let account = account(&test, &mut tx).await;
    for token in 1..=52 {
        let at = NOW.saturating_add(Duration::from_secs(u64::from(token)));
        session_insert(&mut tx, &new(account, token, false), at, &test.random).await.unwrap();
    }
    tx.commit().await.unwrap();
    let at = NOW.saturating_add(hours(1));
    for token in 1..=52 {
        assert_eq!(is_found(db, token, at).await, token > 2, "{token}");
    }
    let listed = session_list(db, account, at).await.unwrap();
    assert_eq!(listed.len(), 50);
    assert!(listed.is_sorted_by(|a, b| a.last_seen_at_ms >= b.last_seen_at_ms));

    let mut tx = test.db.begin().await.unwrap();
    let kept = SessionId::try_from(listed[7].id).unwrap();
    assert_eq!(sessions_revoke(&mut tx, account, Some(kept), at).await.unwrap(), 49);
    // What is long over is forgotten with the next sign-in.
    let late = at.saturating_add(hours(40 * 24));
    session_insert(&mut tx, &new(account, 99, false), late, &test.random).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(session_list(db, account, late).await.unwrap().len(), 1);
    let mut tx = test.db.begin().await.unwrap();
    let device = Device { address: String::new(), user_agent: "Browser".into() };
    assert_eq!(device_is_known(&mut tx, account, &device).await.unwrap(), (true, true));
    assert!(session_revoke(&mut tx, account, kept, late).await.is_ok_and(|ended| !ended));
}

async fn devices_are_known_by_what_they_call_themselves(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let account = account(&test, &mut tx).await;
    let device = |agent: &str| Device { address: String::new(), user_agent: agent.into() };
    let known = device_is_known(&mut tx, account, &device("Browser")).await.unwrap();
    assert_eq!(known, (false, false));
    session_insert(&mut tx, &new(account, 1, false), NOW, &test.random).await.unwrap();
    for (agent, is_known) in [("Browser", true), ("Other", false)] {
        let known = device_is_known(&mut tx, account, &device(agent)).await.unwrap();
        assert_eq!(known, (true, is_known));
    }
}
