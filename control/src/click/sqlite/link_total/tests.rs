use super::*;
use carom_shared::batch::{Batch, BatchBuilder, Token};
use carom_shared::click::{Channel, Details, Device, Privacy, Via};
use carom_shared::{Click, DomainId, UnixMillis};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// 2026-01-01T00:00:00Z
const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);
const NOW_S: u32 = 1_767_225_600;

fn batch(number: u32, clicks: &[(i64, Kind, u32, u32)]) -> (Token, Batch) {
    let mut builder = BatchBuilder::new();
    for &(link, kind, at_s, n) in clicks {
        builder.push(&Click {
            workspace: WorkspaceId::try_from(1).unwrap(),
            link: LinkId::try_from(link).unwrap(),
            domain: DomainId::try_from(3).unwrap(),
            at_s: NOW_S + at_s,
            n,
            kind,
            via: Via::Link,
            variant: 0,
            status: 302,
            target_revision: 1,
            visitor: 0,
            privacy: Privacy::default(),
            channel: Channel::Direct,
            device: Device::Unknown,
            details: Details::default(),
        });
    }
    let file = builder.finish(NOW, &[]);
    (Token::new(1, 1, number, file.rows, file.crc), Batch::from_bytes(&file.bytes).unwrap())
}

/// Reads changes page by page, as the task that carries them over does.
async fn carry(
    store: &ClickStore,
    cursor: &mut ClickCursor,
    links: &mut BTreeMap<i64, (i64, i64)>,
    limit: u32,
) {
    loop {
        let (changed, next) = store.changed_since(*cursor, limit).await.unwrap();
        let Some(next) = next else { return };
        assert!(next > *cursor && changed.len() <= limit as usize);
        *cursor = next;
        links.extend(
            changed.iter().map(|link| (link.link.get(), (link.clicks, link.last_click_ms))),
        );
    }
}

type Batches = Vec<(Vec<(i64, usize, u32, u32)>, bool)>;

async fn carried_is_what_was_stored(batches: &Batches, limit: u32) {
    let folder = tempfile::tempdir().unwrap();
    let store = ClickStore::open(&folder.path().join("clicks.db")).await.unwrap();
    let (mut cursor, mut carried) = (ClickCursor::default(), BTreeMap::new());
    assert_eq!(store.last_change().await.unwrap(), cursor);
    let mut expected = BTreeMap::new();
    for (number, (clicks, is_carried)) in (1..).zip(batches) {
        let clicks: Vec<_> =
            clicks.iter().map(|&(link, kind, at_s, n)| (link, Kind::ALL[kind], at_s, n)).collect();
        let (token, file) = batch(number, &clicks);
        for _ in 0..2 {
            store.store(&token, &file, NOW).await.unwrap();
        }
        for (link, kind, at_s, n) in clicks {
            if !matches!(kind, Kind::Human | Kind::Bot) {
                continue;
            }
            let (clicks, last): &mut (i64, i64) = expected.entry(link).or_default();
            if kind == Kind::Human {
                *clicks += i64::from(n);
                *last = (i64::from(NOW_S + at_s) * 1000).max(*last);
            }
        }
        if *is_carried {
            carry(&store, &mut cursor, &mut carried, limit).await;
            assert_eq!(carried, expected);
            assert_eq!(store.last_change().await.unwrap(), cursor);
        }
    }
    carry(&store, &mut cursor, &mut carried, limit).await;
    assert_eq!(carried, expected);
    store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the pages and whenever they are read: each link ends with the sum of its clicks.
    #[test]
    fn what_is_carried_over_is_what_was_stored(
        batches in proptest::collection::vec(
            (
                proptest::collection::vec((1_i64..9, 0_usize..5, 0_u32..3000, 1_u32..4), 0..20),
                any::<bool>(),
            ),
            1..6,
        ),
        limit in 1_u32..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(carried_is_what_was_stored(&batches, limit));
    }
}
