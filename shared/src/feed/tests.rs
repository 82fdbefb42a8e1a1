use proptest::prelude::*;

use super::*;
use crate::{LinkId, QueryPolicy, RedirectStatus, RouteState, WorkspaceId};

fn change(domain: i64, code: &str, version: u64) -> RouteChange {
    RouteChange {
        domain: DomainId::try_from(domain).unwrap(),
        code: Code::parse(code).unwrap(),
        record: RouteRecord {
            version,
            state: RouteState::Active,
            link: LinkId::try_from(7).unwrap(),
            workspace: WorkspaceId::try_from(9).unwrap(),
            status: RedirectStatus::Found,
            target_revision: 1,
            not_before: None,
            expires_at: None,
            target: "https://e.com/".into(),
            fallback: None,
            query: QueryPolicy::default(),
            max_age_s: 0,
        },
    }
}

fn page(first: u64, changes: Vec<RouteChange>) -> FeedPage {
    FeedPage { head: FeedPosition { epoch: 5, seq: first + 9_000 }, first, changes }
}

#[test]
fn golden_bytes_of_format_1() {
    let page = FeedPage {
        head: FeedPosition { epoch: 5, seq: 0x0102 },
        first: 0x0101,
        changes: vec![change(3, "ab", 4)],
    };
    let mut golden = b"\x01\x05\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\x01\0\
        \x03\0\0\0\0\0\0\0\x02\x48\0ab"
        .to_vec();
    golden.extend(page.changes[0].record.to_bytes());
    assert_eq!(page.to_bytes(), golden);
    assert_eq!(FeedPage::from_bytes(&golden), Ok(page));
}

#[test]
fn a_page_without_changes_says_how_far_the_feed_goes() {
    let page = FeedPage { head: FeedPosition { epoch: 2, seq: 40 }, first: 0, changes: Vec::new() };
    assert_eq!(FeedPage::from_bytes(&page.to_bytes()), Ok(page.clone()));
    assert_eq!(page.end(), None);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let with = |at: usize, byte: u8| {
        let mut bytes = page(1, vec![change(3, "ab", 4)]).to_bytes();
        bytes[at] = byte;
        FeedPage::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 2), FeedPageError::Format(2));
    assert_eq!(with(1, 0), FeedPageError::Field("number"), "no epoch");
    assert_eq!(with(17, 0), FeedPageError::Field("number"), "no first number");
    assert_eq!(with(24, 1), FeedPageError::Field("number"), "beyond the head");
    assert_eq!(with(25, 0), FeedPageError::Field("number"), "a number of nothing");
    assert_eq!(with(25, 2), FeedPageError::Length);
    assert_eq!(with(26, 9), FeedPageError::Field("number"), "too many");
    assert_eq!(with(34, 0x80), FeedPageError::Field("domain id"));
    assert_eq!(with(38, b'/'), FeedPageError::Field("code"));
    assert!(matches!(with(40, 9), FeedPageError::Record(_)));
}

proptest! {
    #[test]
    fn pages_survive_their_bytes(
        first in 1_u64..1 << 60, codes in prop::collection::vec("[a-zA-Z0-9_-]{1,64}", 1..40),
    ) {
        let changes = codes.iter().zip(1..).map(|(code, n)| change(n, code, n.unsigned_abs()));
        let page = page(first, changes.collect());
        let read = FeedPage::from_bytes(&page.to_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&page));
        prop_assert_eq!(page.end().unwrap().seq, first + codes.len() as u64 - 1);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(page) = FeedPage::from_bytes(&bytes) {
            prop_assert_eq!(page.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_page_that_is_cut_is_refused(cut in 1_usize..100) {
        let bytes = page(1, vec![change(3, "ab", 4), change(3, "cd", 4)]).to_bytes();
        prop_assert!(FeedPage::from_bytes(&bytes[..bytes.len() - cut]).is_err());
    }
}
