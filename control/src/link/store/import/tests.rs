use super::*;
use crate::link::command::LinkSettings;
use crate::link::store::{link_count, link_fetch, links_after, route_resolve};
use crate::link::tag::Tags;
use crate::testing::{NOW, TestDb, on_each_database};
use carom_shared::{RouteState, TargetPolicy, TargetUrl};
use std::time::Duration;

on_each_database!(
    links_are_made_as_the_file_says_and_found_again,
    a_second_import_changes_nothing,
    conflicts_are_refused_skipped_or_replaced,
    a_dry_run_says_the_same_and_writes_nothing,
    a_deleted_code_is_taken_only_to_replace,
    links_of_one_moment_all_find_an_id,
    pages_follow_the_ids_and_leave_out_codes_that_were_taken_again
);

const REFUSE: OnConflict = OnConflict::Refuse;

fn link(test: &TestDb, code: &str, url: &str) -> ImportLink {
    let mut create = test.create(Some(code));
    create.by = Arc::default();
    create.target = TargetUrl::parse(url, &TargetPolicy::default()).unwrap();
    ImportLink {
        code: create.code.clone().unwrap(),
        create,
        id: None,
        created_at: UnixMillis::new(NOW.get() - 1_000_000),
        deleted_at: None,
        is_blocked: false,
        clicks: 3,
    }
}

async fn import(test: &TestDb, links: &[ImportLink], on_conflict: OnConflict) -> Vec<Imported> {
    let mut tx = test.db.begin().await.unwrap();
    let imported = links_import(&mut tx, links, on_conflict, false, NOW, &test.random).await;
    let ImportDone { outcomes, changes, noted } = imported.unwrap();
    assert_eq!(noted.is_empty(), changes.is_empty());
    tx.commit().await.unwrap();
    let written =
        outcomes.iter().filter(|of| matches!(of, Imported::Made | Imported::Replaced)).count();
    assert_eq!(changes.len(), written);
    outcomes
}

async fn all(test: &TestDb, with_deleted: bool) -> Vec<Link> {
    links_after(&test.db.read, test.workspace, None, with_deleted, 5000).await.unwrap()
}

async fn links_are_made_as_the_file_says_and_found_again(test: TestDb) {
    let mut blocked = link(&test, "Blocked", "https://example.com/b");
    blocked.is_blocked = true;
    blocked.create.settings = LinkSettings {
        tags: Some(Tags::new(["x", "Y"]).unwrap()),
        title: Some("t".into()),
        ..LinkSettings::default()
    };
    let mut deleted = link(&test, "gone", "https://example.com/g");
    deleted.deleted_at = Some(NOW);
    // More than one statement holds.
    let mut links = vec![blocked, deleted];
    links.extend((0..600).map(|n| link(&test, &format!("n{n}"), "https://example.com/n")));
    assert_eq!(import(&test, &links, REFUSE).await, vec![Imported::Made; 602]);

    let read = &test.db.read;
    assert_eq!(link_count(read, None).await.unwrap(), 601);
    for made in all(&test, true).await {
        let record = route_resolve(read, made.domain, &made.code).await.unwrap().unwrap();
        assert_eq!(record, made.record(1));
        let expected = UnixMillis::new(NOW.get() - 1_000_000);
        assert_eq!((made.created_at, made.imported_clicks), (expected, 3));
        if made.deleted_at.is_none() {
            let fetched = link_fetch(read, test.workspace, made.id).await.unwrap();
            assert_eq!(fetched, Some(made));
        }
    }
    let links = all(&test, true).await;
    let blocked = links.iter().find(|link| link.code.as_str() == "Blocked").unwrap();
    assert_eq!((blocked.state, &*blocked.title), (RouteState::Blocked, "t"));
    assert_eq!(blocked.tags.folded().collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(blocked.created_by, crate::audit::Author::default());
}

async fn a_second_import_changes_nothing(test: TestDb) {
    let mut links: Vec<_> =
        (0..300).map(|n| link(&test, &format!("n{n}"), "https://example.com/n")).collect();
    links[7].deleted_at = Some(NOW);
    // Case tells codes apart, and a row may stand there twice.
    links.push(link(&test, "N1", "https://example.com/n"));
    links.push(link(&test, "N1", "https://example.com/n"));
    let first = import(&test, &links, REFUSE).await;
    assert_eq!(first.iter().filter(|of| **of == Imported::Made).count(), 301);
    assert_eq!(first[301], Imported::Present);
    let before = all(&test, true).await;
    for link in &mut links {
        link.clicks = 99;
    }
    assert_eq!(import(&test, &links, REFUSE).await, vec![Imported::Present; 302]);
    assert_eq!(all(&test, true).await, before);
}

async fn conflicts_are_refused_skipped_or_replaced(test: TestDb) {
    import(&test, &[link(&test, "a", "https://example.com/1")], REFUSE).await;
    let mut other = link(&test, "a", "https://example.com/2");
    other.create.settings.title = Some("new".into());
    let rows = [other.clone(), link(&test, "b", "https://example.com/1")];
    let refused = import(&test, &rows, REFUSE).await;
    assert!(matches!(&refused[0], Imported::Refused(error) if error.code == "code-taken"));
    assert_eq!(refused[1], Imported::Made);
    assert_eq!(
        import(&test, &rows, OnConflict::Skip).await,
        [Imported::Skipped, Imported::Present]
    );
    assert_eq!(all(&test, false).await[0].target, "https://example.com/1");

    // The second row meets a link that the first one made in the same batch.
    let rows = [
        link(&test, "c", "https://example.com/1"),
        link(&test, "c", "https://example.com/2"),
        other,
    ];
    let replaced = import(&test, &rows, OnConflict::Replace).await;
    assert_eq!(replaced, [Imported::Made, Imported::Replaced, Imported::Replaced]);
    for link in all(&test, false).await.iter().filter(|link| link.code.as_str() != "b") {
        assert_eq!((&*link.target, link.version), ("https://example.com/2", 2));
        let record = route_resolve(&test.db.read, link.domain, &link.code).await.unwrap();
        assert_eq!(record, Some(link.record(2)));
    }
}

async fn a_dry_run_says_the_same_and_writes_nothing(test: TestDb) {
    import(&test, &[link(&test, "a", "https://example.com/1")], REFUSE).await;
    let before = all(&test, true).await;
    let rows = [
        link(&test, "a", "https://example.com/1"),
        link(&test, "a", "https://example.com/2"),
        link(&test, "b", "https://example.com/1"),
        link(&test, "b", "https://example.com/2"),
    ];
    for policy in [OnConflict::Refuse, OnConflict::Skip, OnConflict::Replace] {
        let mut tx = test.db.begin().await.unwrap();
        let dry = links_import(&mut tx, &rows, policy, true, NOW, &test.random).await.unwrap();
        tx.commit().await.unwrap();
        assert!(dry.changes.is_empty() && dry.noted.is_empty());
        assert_eq!(all(&test, true).await, before);
        let mut tx = test.db.begin().await.unwrap();
        let real = links_import(&mut tx, &rows, policy, false, NOW, &test.random).await.unwrap();
        assert_eq!(dry.outcomes, real.outcomes, "{policy:?}");
    }
}

async fn a_deleted_code_is_taken_only_to_replace(test: TestDb) {
    let mut gone = link(&test, "a", "https://example.com/1");
    gone.deleted_at = Some(NOW);
    import(&test, &[gone], REFUSE).await;
    let row = [link(&test, "a", "https://example.com/1")];
    assert!(matches!(import(&test, &row, REFUSE).await[0], Imported::Refused(_)));
    assert_eq!(import(&test, &row, OnConflict::Replace).await, [Imported::Replaced]);
    let live = all(&test, false).await;
    let record = route_resolve(&test.db.read, test.domain, &live[0].code).await.unwrap();
    assert_eq!(record, Some(live[0].record(2)));
}

async fn links_of_one_moment_all_find_an_id(test: TestDb) {
    let id = LinkId::generate(NOW, &test.random);
    let rows: Vec<_> = (0..20)
        .map(|n| {
            let mut row = link(&test, &format!("n{n}"), "https://example.com/n");
            (row.id, row.created_at) = (Some(id), NOW);
            row
        })
        .collect();
    import(&test, &rows, REFUSE).await;
    let ids: HashSet<_> = all(&test, false).await.iter().map(|link| link.id.get()).collect();
    assert!(ids.len() == 20 && ids.contains(&id.get()));
}

async fn pages_follow_the_ids_and_leave_out_codes_that_were_taken_again(test: TestDb) {
    let rows: Vec<_> = (0..10_u64)
        .map(|n| {
            let mut row = link(&test, &format!("n{n}"), "https://example.com/n");
            row.created_at = NOW.saturating_add(Duration::from_millis(10 - n));
            row.deleted_at = (n < 2).then_some(NOW);
            row
        })
        .collect();
    import(&test, &rows, REFUSE).await;
    import(&test, &[link(&test, "n0", "https://example.com/2")], OnConflict::Replace).await;
    let mut codes = Vec::new();
    let mut after = None;
    loop {
        let page = links_after(&test.db.read, test.workspace, after, true, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        codes.extend(page.iter().map(|link| link.code.to_string()));
    }
    assert_eq!(codes, ["n0", "n9", "n8", "n7", "n6", "n5", "n4", "n3", "n2", "n1"]);
    assert_eq!(all(&test, false).await.len(), 9);
}
