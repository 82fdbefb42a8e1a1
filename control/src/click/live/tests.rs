use super::*;
use carom_shared::DomainId;
use carom_shared::batch::BatchBuilder;
use carom_shared::click::{Channel, Details, Device, Kind, Privacy, Via};
use tokio::time::timeout;

fn workspace(id: i64) -> WorkspaceId {
    WorkspaceId::try_from(id).unwrap()
}

fn link(id: i64) -> LinkId {
    LinkId::try_from(id).unwrap()
}

fn click(owner: i64, of: i64, n: u32) -> Click<'static> {
    Click {
        workspace: workspace(owner),
        link: link(of),
        domain: DomainId::try_from(1).unwrap(),
        at_s: 1_767_225_600,
        n,
        kind: Kind::Human,
        via: Via::Link,
        variant: 0,
        status: 302,
        target_revision: 1,
        visitor: 0,
        privacy: Privacy::default(),
        channel: Channel::Direct,
        device: Device::Mobile,
        details: Details::default(),
    }
}

fn watch(live: &Arc<Live>, owner: i64, of: Option<i64>) -> Option<Watch> {
    live.watch(watched(owner, of.map(link)), HashSet::new())
}

fn watched(owner: i64, link: Option<LinkId>) -> Watched {
    Watched { workspace: workspace(owner), link, domain: None, tag: None }
}

fn batch(clicks: &[Click<'_>]) -> Batch {
    let mut builder = BatchBuilder::new();
    clicks.iter().for_each(|click| builder.push(click));
    Batch::from_bytes(&builder.finish(UnixMillis::new(0), &[]).bytes).unwrap()
}

async fn next(watch: &mut Watch) -> String {
    let text = timeout(Duration::from_secs(5), watch.next()).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// Whether nothing is to be said now.
async fn is_silent(watch: &mut Watch) -> bool {
    timeout(Duration::from_millis(20), watch.next()).await.is_err()
}

#[tokio::test]
async fn everybody_sees_what_they_watch() {
    let live = Arc::new(Live::default());
    let mut all = watch(&live, 1, None).unwrap();
    let mut one = watch(&live, 1, Some(5)).unwrap();
    let mut other = watch(&live, 2, None).unwrap();
    live.publish(&batch(&[click(1, 5, 1), click(1, 6, 3)]));
    let text = next(&mut all).await;
    assert_eq!(
        text.lines().next().zip(text.lines().nth(1)),
        Some((
            "event: click",
            r#"data: {"at":"2026-01-01T00:00:00Z","link_id":"5","n":1,"kind":"human","via":"link","channel":"direct","device":"mobile","country":null,"city":null,"browser":null,"os":null,"language":null,"referrer":null}"#
        ))
    );
    assert_eq!(text.matches("event: click\n").count(), 2);
    assert_eq!(next(&mut one).await.matches("\"link_id\":\"5\"").count(), 1);
    assert!(is_silent(&mut one).await && is_silent(&mut other).await);
    drop((all, one, other));
    assert!(live.rooms().is_empty() && live.streams() == 0);
}

#[tokio::test]
async fn a_tag_and_a_domain_are_watched() {
    let live = Arc::new(Live::default());
    let domain = |id| Some(DomainId::try_from(id).unwrap());
    let tag = Some("red".to_owned());
    let of = |watched, links: &[i64]| {
        live.watch(watched, links.iter().map(|id| link(*id)).collect()).unwrap()
    };
    let mut tagged = of(Watched { tag: tag.clone(), ..watched(1, None) }, &[5]);
    let mut here = of(Watched { domain: domain(1), ..watched(1, None) }, &[]);
    let mut there = of(Watched { domain: domain(2), ..watched(1, None) }, &[]);
    let mut both = of(Watched { tag, domain: domain(2), ..watched(1, None) }, &[5]);
    live.publish(&batch(&[click(1, 5, 1), click(1, 6, 1), click(2, 5, 1)]));
    let links = |text: &str| {
        let links = text.split("\"link_id\":\"").skip(1).filter_map(|rest| rest.split('"').next());
        links.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(links(&next(&mut tagged).await), ["5"]);
    assert_eq!(links(&next(&mut here).await), ["5", "6"]);
    assert!(is_silent(&mut there).await && is_silent(&mut both).await);
    // Another link has it now.
    tagged.renew(HashSet::from([link(6)]));
    live.publish(&batch(&[click(1, 5, 1), click(1, 6, 1)]));
    assert_eq!(links(&next(&mut tagged).await), ["6"]);
}

#[tokio::test]
async fn a_flood_is_counted() {
    let live = Arc::new(Live::default());
    let mut watch = watch(&live, 1, None).unwrap();
    let flood: Vec<_> = (0..EVENTS_MAX + 10).map(|_| click(1, 5, 2)).collect();
    live.publish(&batch(&flood));
    live.publish(&batch(&flood[..7]));
    assert_eq!(next(&mut watch).await.matches("event: click\n").count(), EVENTS_MAX);
    // Both batches' rest, once the second is over.
    assert_eq!(next(&mut watch).await, "event: more\ndata: {\"clicks\":34}\n\n");
    assert!(is_silent(&mut watch).await);
    live.publish(&batch(&flood[..1]));
    assert!(next(&mut watch).await.starts_with("event: click\n"));
}

#[tokio::test]
async fn who_reads_too_slowly_is_told_how_much_was_missed_and_holds_up_nobody() {
    let live = Arc::new(Live::default());
    let mut slow = watch(&live, 1, None).unwrap();
    let mut fast = watch(&live, 1, None).unwrap();
    for _ in 0..BURSTS_MAX + 3 {
        live.publish(&batch(&[click(1, 5, 1), click(1, 5, 4)]));
        assert!(next(&mut fast).await.starts_with("event: click\n"));
    }
    let text = next(&mut slow).await;
    assert!(text.starts_with("event: missed\ndata: {\"clicks\":15}\n\nevent: click\n"), "{text}");
    for _ in 1..BURSTS_MAX {
        assert!(!next(&mut slow).await.contains("missed"));
    }
}

#[tokio::test]
async fn there_are_no_more_streams_than_allowed() {
    let live = Arc::new(Live::default());
    let workspaces = STREAMS_MAX / STREAMS_OF_WORKSPACE_MAX;
    let mut all = Vec::new();
    for owner in (1_i64..).take(workspaces) {
        // Whatever they watch of it.
        let of = |number| (number % 2 == 0).then_some(5);
        all.extend((0..STREAMS_OF_WORKSPACE_MAX).map(|it| watch(&live, owner, of(it)).unwrap()));
        assert!(watch(&live, owner, Some(7)).is_none(), "{owner}");
    }
    assert_eq!(live.streams(), STREAMS_MAX);
    assert!(watch(&live, 100, None).is_none());
    drop(all);
    assert!(watch(&live, 100, None).is_some());
}
