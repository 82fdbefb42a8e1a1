use carom_shared::LinkId;
use carom_shared::click::{Details, Privacy};
use proptest::prelude::*;

use super::super::tests::{NOW, NOW_S, Test, batch, click};
use super::*;
use crate::click::Totals;
use crate::link::clicks::ClickCursor;

/// Each with how often it was there before it.
fn counted<'a>(clicks: &[Click<'a>]) -> Vec<(u32, Click<'a>)> {
    let mut seen: Vec<Click<'a>> = Vec::new();
    let count = |click: &Click<'a>| {
        let nth = seen.iter().filter(|other| *other == click).count();
        seen.push(*click);
        (u32::try_from(nth).unwrap(), *click)
    };
    clicks.iter().map(count).collect()
}

async fn import(test: &Test, clicks: &[(u32, Click<'_>)]) -> usize {
    let fates = test.store.import(clicks, 0, NOW, false).await.unwrap();
    fates.iter().filter(|fate| **fate == Fate::New).count()
}

/// What reports are made of: rows, rollups, totals.
async fn all(test: &Test) -> Vec<Vec<(i64, i64, i64, i64, i64)>> {
    let mut all = Vec::new();
    for sql in [
        "select link, at_s, kind, visitor, sum(n) from click group by 1, 2, 3, 4 order by 1, 2, 3, 4",
        "select link, quarter, kind, n, last_at_s from click_quarter order by 1, 2, 3",
        "select workspace, quarter, kind, n, last_at_s from workspace_quarter order by 1, 2, 3",
        "select link, workspace, clicks, bots, last_at_s from click_link order by 1",
    ] {
        all.push(sqlx::query_as(sql).fetch_all(&test.store.file.read).await.unwrap());
    }
    all
}

#[tokio::test]
async fn every_column_but_the_host_tells_clicks_apart() {
    let test = Test::new().await;
    let one = click(1, Kind::Human, NOW_S, 1, "news.example");
    let mut others = vec![
        Click { link: 2.try_into().unwrap(), ..one },
        Click { at_s: NOW_S + 1, ..one },
        Click { n: 2, ..one },
        Click { kind: Kind::Bot, ..one },
        Click { via: carom_shared::click::Via::Qr, ..one },
        Click { variant: 1, ..one },
        Click { status: 301, ..one },
        Click { target_revision: 2, ..one },
        Click { visitor: u64::MAX, ..one },
        Click { privacy: Privacy { do_not_track: true, ..Privacy::default() }, ..one },
        Click { privacy: Privacy { global_privacy_control: true, ..Privacy::default() }, ..one },
        Click { channel: carom_shared::click::Channel::Search, ..one },
        Click { device: carom_shared::click::Device::Tv, ..one },
    ];
    for &detail in Detail::ALL {
        others.push(Click { details: Details::of(&[(detail, "other")]), ..one });
    }
    assert_eq!(import(&test, &counted(&[one])).await, 1);
    for other in &others {
        assert_eq!(import(&test, &counted(&[*other])).await, 1, "{other:?}");
    }
    others.push(Click { domain: 9.try_into().unwrap(), ..one });
    assert_eq!(import(&test, &counted(&others)).await, 0);
}

#[tokio::test]
async fn what_is_older_than_what_is_kept_is_left_out() {
    let test = Test::new().await;
    let clicks = [NOW_S - 2, NOW_S - 1, NOW_S].map(|at_s| click(1, Kind::Human, at_s, 1, ""));
    let clicks = counted(&clicks);
    let kept = i64::from(NOW_S) - 1;
    let fates = test.store.import(&clicks, kept, NOW, true).await.unwrap();
    assert_eq!(fates, [Fate::Old, Fate::New, Fate::New]);
    assert_eq!(test.sum("select count(*) from click").await, 0, "a dry run");
    assert_eq!(test.store.import(&clicks, kept, NOW, false).await.unwrap(), fates);
    // What was deleted since is not taken for new.
    test.store.retention_step(i64::from(NOW_S), 0).await.unwrap();
    let fates = test.store.import(&clicks, 0, NOW, false).await.unwrap();
    assert_eq!(fates, [Fate::Old, Fate::Old, Fate::Present]);
}

#[tokio::test]
async fn what_was_erased_can_be_imported_again() {
    let test = Test::new().await;
    let clicks = counted(&[click(1, Kind::Human, NOW_S, 1, ""), click(2, Kind::Bot, NOW_S, 3, "")]);
    assert_eq!(import(&test, &clicks).await, 2);
    let before = all(&test).await;
    let (workspace, link) = (clicks[0].1.workspace, LinkId::try_from(1).unwrap());
    assert_eq!(test.store.erase_link(workspace, link, NOW).await.unwrap(), 1);
    assert_eq!(import(&test, &clicks).await, 1);
    assert_eq!(all(&test).await, before);
}

#[tokio::test]
async fn clicks_of_people_are_said_to_have_come_from_files() {
    let test = Test::new().await;
    let clicks = [
        click(1, Kind::Human, NOW_S, 5, ""),
        click(1, Kind::Human, NOW_S, 1, ""),
        click(1, Kind::Bot, NOW_S, 7, ""),
    ];
    let (token, here) = batch(1, NOW, &clicks[1..]);
    test.store.store(&token, &here, NOW).await.unwrap();
    for _ in 0..2 {
        import(&test, &counted(&clicks)).await;
        let (links, _) = test.store.changed_since(ClickCursor::default(), 10).await.unwrap();
        assert_eq!((links[0].clicks, links[0].moved, links.len()), (6, 5, 1));
    }
    let totals = test.store.summary().await.unwrap().totals;
    assert_eq!(totals, Totals { clicks: 6, bots: 7, ..Totals::default() });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// However a file is cut, interrupted, repeated, and whatever of it was there: the outcome is
    /// the file's clicks, each as often as it is there.
    #[test]
    fn the_outcome_is_the_files_clicks_whatever_came_before(
        drawn in proptest::collection::vec((1..4_i64, 0..3_u32, 0..2_u32, 0..2_u64), 1..60),
        there in proptest::collection::vec(any::<bool>(), 60),
        cuts in proptest::collection::vec((0..60_usize, 1..20_usize), 0..8),
    ) {
        let of = |&(link, at_s, kind, visitor): &(i64, u32, u32, u64)| {
            let kind = if kind == 0 { Kind::Human } else { Kind::Bot };
            Click { visitor, ..click(link, kind, NOW_S + at_s * 900, 1, "a.example") }
        };
        // As in a file: rows of one second stand together.
        let mut drawn = drawn;
        drawn.sort_unstable();
        let clicks: Vec<Click<'static>> = drawn.iter().map(of).collect();
        let file = counted(&clicks);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (test, whole) = (Test::new().await, Test::new().await);
            let (token, first) = batch(1, NOW, &clicks);
            whole.store.store(&token, &first, NOW).await.unwrap();
            let here: Vec<Click<'_>> = clicks.iter().zip(&there).filter(|(_, is)| **is)
                .map(|(click, _)| *click).collect();
            if !here.is_empty() {
                let (token, some) = batch(2, NOW, &here);
                test.store.store(&token, &some, NOW).await.unwrap();
            }
            // Parts of an import that was interrupted each begin at the file's begin.
            for (end, len) in &cuts {
                for chunk in file[..(*end).min(file.len())].chunks(*len) {
                    import(&test, chunk).await;
                }
            }
            for chunk in file.chunks(7) {
                import(&test, chunk).await;
            }
            assert_eq!(import(&test, &file).await, 0);
            let rows = test.sum("select count(*) from click").await;
            assert_eq!(rows, i64::try_from(file.len()).unwrap());
            assert_eq!(all(&test).await, all(&whole).await);
        });
    }
}
