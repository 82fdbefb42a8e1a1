use super::*;
use std::collections::HashSet;

use carom_shared::{TestClock, UnixMillis};

use local::Table;

fn limits(clock: &Arc<TestClock>, config: &LimitsConfig) -> Arc<Limits> {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    Limits::new(config, &clock, false, &Arc::default())
}

fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::new(UnixMillis::new(1_767_225_600_000)))
}

fn key(id: i64) -> ApiKeyId {
    ApiKeyId::try_from(id).unwrap()
}

fn workspace(id: i64) -> WorkspaceId {
    WorkspaceId::try_from(id).unwrap()
}

fn is_limited(outcome: Result<(), ApiError>) -> bool {
    match outcome {
        Ok(()) => false,
        Err(ApiError::Limited { .. }) => true,
        Err(error) => panic!("{error:?}"),
    }
}

fn is_allowed(decisions: &[Decision]) -> bool {
    decisions.last().is_none_or(|decision| decision.is_allowed)
}

/// How many of `count` requests are allowed.
async fn allowed(limits: &Limits, id: i64, of: i64, count: usize) -> usize {
    let mut allowed = 0;
    for _ in 0..count {
        allowed += usize::from(is_allowed(&limits.key(key(id), None, workspace(of)).await));
    }
    allowed
}

#[tokio::test]
async fn a_key_has_its_quota_and_gets_it_back() {
    let clock = clock();
    let config = LimitsConfig { key_per_minute: 60, ..LimitsConfig::default() };
    let limits = limits(&clock, &config);
    let first = limits.key(key(1), None, workspace(1)).await;
    assert_eq!(first.len(), 2);
    assert_eq!((first[0].limit, first[0].remaining, first[0].reset_s()), (Limit::Key, 59, 1));
    assert_eq!((first[1].limit, first[1].remaining), (Limit::Workspace, 2999));
    assert_eq!(allowed(&limits, 1, 1, 100).await, 59);
    let refused = limits.key(key(1), None, workspace(1)).await;
    assert_eq!(refused.len(), 1, "what is refused is not counted for the workspace");
    assert_eq!((refused[0].remaining, refused[0].reset_s()), (0, 1));
    // As much as the time that passed, and all of it after the window: nobody is shut out for good.
    clock.advance(Duration::from_secs(10));
    assert_eq!(allowed(&limits, 1, 1, 100).await, 10);
    clock.advance(Duration::from_secs(60));
    assert_eq!(allowed(&limits, 1, 1, 100).await, 60);
    // Another day.
    clock.advance(Duration::from_secs(86_400));
    assert_eq!(allowed(&limits, 1, 1, 100).await, 60);
}

#[tokio::test]
async fn a_clock_that_is_set_back_shuts_nobody_out() {
    let clock = clock();
    let config = LimitsConfig { key_per_minute: 60, ..LimitsConfig::default() };
    let limits = limits(&clock, &config);
    assert_eq!(allowed(&limits, 1, 1, 100).await, 60);
    clock.set(UnixMillis::new(1_767_225_600_000 - 3_600_000));
    assert_eq!(allowed(&limits, 1, 1, 100).await, 0);
    clock.advance(Duration::from_secs(60));
    assert_eq!(allowed(&limits, 1, 1, 100).await, 60);
}

#[tokio::test]
async fn one_cannot_exhaust_what_another_has() {
    let config =
        LimitsConfig { key_per_minute: 20, workspace_per_minute: 50, ..LimitsConfig::default() };
    let limits = limits(&clock(), &config);
    // Three keys of one workspace share its quota; the other workspace has all of its own.
    let first: [usize; 3] = [
        allowed(&limits, 1, 1, 100).await,
        allowed(&limits, 2, 1, 100).await,
        allowed(&limits, 3, 1, 100).await,
    ];
    assert_eq!(first, [20, 20, 10]);
    assert_eq!(allowed(&limits, 4, 2, 100).await, 20);
    // A key with a rate of its own.
    let own = NonZeroU32::new(5);
    let mut count = 0;
    for _ in 0..30 {
        count += usize::from(is_allowed(&limits.key(key(5), own, workspace(2)).await));
    }
    assert_eq!(count, 5);
}

#[tokio::test]
async fn zero_is_no_limit() {
    let config =
        LimitsConfig { key_per_minute: 0, workspace_per_minute: 0, ..LimitsConfig::default() };
    let limits = limits(&clock(), &config);
    assert_eq!(allowed(&limits, 1, 1, 10_000).await, 10_000);
    assert_eq!(limits.callers.len(), 0);
}

#[tokio::test]
async fn networks_of_one_block_share_what_eight_have_refused_requests_too() {
    let config = LimitsConfig { address_per_minute: 10, ..LimitsConfig::default() };
    let limits = limits(&clock(), &config);
    let mut by = HashSet::new();
    let mut count = 0;
    for n in 0..40_u16 {
        for host in 0..20 {
            let address: IpAddr = format!("2001:db8:1:{n:x}::{host:x}").parse().unwrap();
            if is_allowed(&limits.stranger(Some(address)).await) {
                by.insert(n);
                count += 1;
            }
        }
    }
    // 80 requests of the block are looked at: of each network 20, of which it is allowed 10.
    assert_eq!((count, by.len()), (40, 4));
    // Its neighbour, and IPv4, where each address is its own block.
    for other in ["2001:db8:2::1", "192.0.2.1", "192.0.2.2", "::ffff:192.0.2.3"] {
        for _ in 0..10 {
            assert!(is_allowed(&limits.stranger(other.parse().ok()).await), "{other}");
        }
        assert!(!is_allowed(&limits.stranger(other.parse().ok()).await), "{other}");
    }
    assert!(!is_allowed(&limits.stranger("192.0.2.3".parse().ok()).await), "the same address");
}

#[tokio::test]
async fn logins_are_limited_by_address_and_by_account() {
    let clock = clock();
    let limits = limits(&clock, &LimitsConfig::default());
    let address = |n: u8| Some(IpAddr::from([192, 0, 2, n]));
    for n in 0..10 {
        assert!(!is_limited(limits.login(address(1), &[n; 32]).await));
    }
    assert!(is_limited(limits.login(address(1), &[99; 32]).await), "the eleventh");
    assert!(!is_limited(limits.login(address(2), &[99; 32]).await), "another address");
    // One account from many addresses: 10, and then 30 an hour.
    let mut allowed = 0;
    for n in 10..60 {
        allowed += usize::from(!is_limited(limits.login(address(n), &[7; 32]).await));
    }
    assert_eq!(allowed, 9, "one was tried above");
    clock.advance(Duration::from_secs(120));
    assert!(!is_limited(limits.login(address(1), &[7; 32]).await), "never locked for good");
    assert!(is_limited(limits.login(address(1), &[7; 32]).await));
    for (count, outcome) in [(5, 0), (1, 1)] {
        for _ in 0..count {
            let outcomes = [limits.registration(address(3)).await, limits.report(address(3)).await];
            assert!(
                outcomes.into_iter().all(|limited| usize::from(is_limited(limited)) == outcome)
            );
        }
    }
    assert!(!is_limited(limits.resend(&[1; 32]).await));
    assert!(is_limited(limits.resend(&[1; 32]).await));
}

#[tokio::test]
async fn invitations_are_limited_by_who_invites_and_by_workspace() {
    let limits = limits(&clock(), &LimitsConfig::default());
    let account = |id: i64| AccountId::try_from(id).ok();
    let mut email = [0; 32];
    let mut invited = async |by: i64, of: i64| {
        // Another person each time.
        email[0] += 1;
        !is_limited(limits.invitation(account(by), workspace(of), &email).await)
    };
    for n in 0..50 {
        assert!(invited(1, 1 + n % 20).await, "{n}");
    }
    assert!(!invited(1, 30).await, "one account, in whatever workspaces");
    for n in 0..50 {
        assert!(invited(100 + n, 40).await, "{n}");
    }
    assert!(!invited(200, 40).await, "one workspace, whoever invites");
    assert!(invited(200, 41).await);
}

#[tokio::test]
async fn whoever_tries_passwords_uses_up_their_own_tries() {
    let limits = limits(&clock(), &LimitsConfig::default());
    let address = |n: u8| Some(IpAddr::from([192, 0, 2, n]));
    while !is_limited(limits.login(address(1), &[7; 32]).await) {}
    assert!(is_limited(limits.login(address(2), &[7; 32]).await), "from anywhere");
    assert!(!is_limited(limits.login_known(address(3), &[8; 32]).await), "but where they were");
    let session = |id: i64| SessionId::try_from(id).unwrap();
    while !is_limited(limits.confirm(session(1)).await) {}
    assert!(!is_limited(limits.confirm(session(2)).await));
}

#[test]
fn a_full_table_refuses_those_it_does_not_know() {
    let table = Table::new(32);
    let now = Duration::from_secs(1);
    let quota = Quota::per_minute(60).unwrap();
    let charge = |n: i64| Charge::new(Limit::Key, Subject::key(key(n)), quota);
    let known: Vec<_> =
        (1..200).filter(|&n| table.check(&charge(n), 1, 1, now).is_allowed).collect();
    assert!((16..=32).contains(&known.len()), "{}", known.len());
    assert_eq!(table.len(), known.len());
    for &n in &known {
        assert!(table.check(&charge(n), 1, 1, now).is_allowed);
    }
    // Whoever is whole again is forgotten, and there is room.
    table.sweep(now + Duration::from_secs(2));
    assert_eq!(table.len(), 0);
    assert!(table.check(&charge(500), 1, 1, now + Duration::from_secs(2)).is_allowed);
}

#[test]
fn a_part_of_a_quota_is_what_is_left_of_it() {
    let table = Table::new(100);
    let quota = Quota::per_minute(60).unwrap();
    let charge = Charge::new(Limit::Key, Subject::key(key(1)), quota);
    let now = Duration::from_secs(1);
    let allowed = (0..100).filter(|_| table.check(&charge, 1, 3, now).is_allowed).count();
    assert_eq!(allowed, 20, "of three that share 60");
    let few =
        Charge { quota: Quota::per_minute(2).unwrap(), subject: Subject::key(key(2)), ..charge };
    let allowed = (0..100).filter(|_| table.check(&few, 1, 9, now).is_allowed).count();
    assert_eq!(allowed, 1, "never none");
}

#[test]
fn names_of_limits_are_words_and_each_has_a_quota() {
    let names: HashSet<_> = Limit::ALL.into_iter().map(Limit::name).collect();
    assert_eq!(names.len(), Limit::ALL.len());
    for limit in Limit::ALL {
        let quota = limit.quota(&LimitsConfig::default()).unwrap();
        assert!(quota.window() >= Duration::from_secs(60), "{limit:?}");
        assert_eq!(Limit::ALL[limit as usize], limit);
    }
}

#[cfg(feature = "redis-tests")]
mod together;
