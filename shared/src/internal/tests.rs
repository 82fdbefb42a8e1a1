use super::*;
use crate::{LinkId, QueryPolicy, RedirectStatus, RouteRecord, RouteState, WorkspaceId};

fn route(code: &str) -> RouteChange {
    RouteChange {
        domain: DomainId::try_from(3).unwrap(),
        code: Code::parse(code).unwrap(),
        record: RouteRecord {
            version: 4,
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

#[test]
fn golden_bytes_of_a_page_of_routes() {
    let page = RoutePage(vec![route("ab")]);
    let mut golden = b"\x01\x01\0\x03\0\0\0\0\0\0\0\x02\x48\0ab".to_vec();
    golden.extend(page.0[0].record.to_bytes());
    assert_eq!(page.to_bytes(), golden);
    assert_eq!(RoutePage::from_bytes(&golden), Ok(page));
    assert_eq!(RoutePage::from_bytes(b"\x01\0\0"), Ok(RoutePage::default()));
}

#[test]
fn a_page_of_routes_is_bounded_and_nothing_else_is_one() {
    let many = RoutePage(vec![route("ab"); RoutePage::ROUTES_MAX + 1]).to_bytes();
    assert_eq!(RoutePage::from_bytes(&many).unwrap().0.len(), RoutePage::ROUTES_MAX);
    let bytes = RoutePage(vec![route("ab"), route("c")]).to_bytes();
    for len in 0..bytes.len() {
        assert!(RoutePage::from_bytes(&bytes[..len]).is_err(), "{len}");
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        RoutePage::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 2), RoutePageError::Format(2));
    assert_eq!(with(2, 5), RoutePageError::Count);
    assert_eq!(with(1, 1), RoutePageError::Length);
    assert_eq!(with(10, 0x80), RoutePageError::Route(FeedPageError::Field("domain id")));
    assert_eq!(RoutePage::from_bytes(&[&bytes[..], b"x"].concat()), Err(RoutePageError::Length));
}
