use super::*;
use crate::http::precondition::IfMatch;
use crate::link::command::{CreateLink, LinkChange, LinkSettings};
use crate::link::import::{ImportLink, Imported, OnConflict};
use crate::link::list::{ListFilter, ListQuery, Sort};
use crate::link::store::{
    CreateRefused, link_create, link_fetch, link_list, links_import, route_resolve, target_history,
};
use crate::link::tag::Tags;
use crate::testing::{NOW, TestDb, on_each_database};
use carom_shared::{RouteRecord, RouteState, TargetPolicy, TargetUrl};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

on_each_database!(
    each_change_makes_one_version_of_the_link_and_of_its_route,
    the_history_tells_every_target_and_who_set_it,
    only_the_version_that_was_seen_is_changed,
    a_deleted_link_leaves_a_tombstone_and_comes_back_as_it_was,
    a_deleted_code_is_taken_again_by_its_own_workspace_and_for_good,
    a_link_is_found_by_the_tags_that_it_has_now,
    no_link_comes_after_the_end_of_its_workspace
);

async fn make(test: &TestDb, code: Option<&str>) -> Link {
    let mut tx = test.db.begin().await.unwrap();
    let made = link_create(&mut tx, test.create(code), NOW, &test.random).await.unwrap();
    tx.commit().await.unwrap();
    made.unwrap().0
}

async fn edit_if(
    test: &TestDb,
    link: &Link,
    if_match: IfMatch,
    edit: Edit,
    now: UnixMillis,
) -> Result<(Link, Option<RouteRecord>), EditRefused> {
    let EditLink { workspace, link, by, .. } = command(test, link);
    let command = EditLink { workspace, link, by, if_match, edit };
    let mut tx = test.db.begin().await.unwrap();
    let edited = link_edit(&mut tx, command, now).await.unwrap();
    tx.commit().await.unwrap();
    edited.map(|(link, edited)| (link, edited.map(|edited| edited.change.record)))
}

fn command(test: &TestDb, link: &Link) -> EditLink {
    EditLink {
        workspace: link.workspace,
        link: link.id,
        by: test.by(),
        if_match: IfMatch::Any,
        edit: Edit::Delete,
    }
}

async fn edit(
    test: &TestDb,
    link: &Link,
    edit: Edit,
) -> Result<(Link, Option<RouteRecord>), EditRefused> {
    edit_if(test, link, IfMatch::Any, edit, NOW).await
}

fn retarget(url: &str) -> Edit {
    let target = TargetUrl::parse(url, &TargetPolicy::default()).unwrap();
    Edit::Change(Box::new(LinkChange { target: Some(target), ..LinkChange::default() }))
}

fn settings(settings: LinkSettings) -> Edit {
    Edit::Change(Box::new(LinkChange { settings, ..LinkChange::default() }))
}

async fn resolve(test: &TestDb, link: &Link) -> RouteRecord {
    route_resolve(&test.db.read, link.domain, &link.code).await.unwrap().unwrap()
}

async fn each_change_makes_one_version_of_the_link_and_of_its_route(test: TestDb) {
    let link = make(&test, None).await;
    let later = NOW.saturating_add(Duration::from_secs(1));
    let title = || settings(LinkSettings { title: Some("t".into()), ..LinkSettings::default() });
    let (changed, record) = edit_if(&test, &link, IfMatch::Any, title(), later).await.unwrap();
    let expected = Link { title: "t".into(), version: 2, updated_at: later, ..link.clone() };
    assert_eq!(changed, expected);
    assert_eq!(record, Some(changed.record(2)));
    assert_eq!(resolve(&test, &link).await, changed.record(2));
    let read = link_fetch(&test.db.read, link.workspace, link.id).await.unwrap();
    assert_eq!(read.as_ref(), Some(&changed));

    // The same again is no change, at whatever time.
    let much_later = later.saturating_add(Duration::from_secs(1));
    let again = edit_if(&test, &link, IfMatch::Any, title(), much_later).await.unwrap();
    assert_eq!(again, (changed, None));
    assert_eq!(resolve(&test, &link).await.version, 2);
}

async fn the_history_tells_every_target_and_who_set_it(test: TestDb) {
    let link = make(&test, None).await;
    let first = PastTarget::first(&link);
    let history = |link: Link| {
        let db = test.db.read.clone();
        async move { target_history(&db, &link).await.unwrap() }
    };
    assert_eq!(history(link.clone()).await, std::slice::from_ref(&first));
    let title = LinkSettings { title: Some("t".into()), ..LinkSettings::default() };
    let (titled, _) = edit(&test, &link, settings(title)).await.unwrap();
    assert_eq!(history(titled).await, std::slice::from_ref(&first));

    let mut expected = vec![first];
    let urls = ["https://example.com/b", "https://example.com/a"];
    for (revision, url) in (2..).zip(urls) {
        let at = NOW.saturating_add(Duration::from_secs(revision));
        let changed = edit_if(&test, &link, IfMatch::Any, retarget(url), at).await.unwrap();
        let (changed, record) = changed;
        let revision = u32::try_from(revision).unwrap();
        assert_eq!(record.unwrap().target_revision, revision);
        expected.insert(
            0,
            PastTarget { revision, target: url.into(), set_at: at, set_by: test.by().author() },
        );
        assert_eq!(history(changed).await, expected);
    }
    // Who read the link before the last change sees the history as it was then.
    let before = Link { target_revision: 2, ..link };
    assert_eq!(history(before).await, expected[1..]);
}

async fn only_the_version_that_was_seen_is_changed(test: TestDb) {
    let link = make(&test, None).await;
    let seen = || IfMatch::Versions(vec![1]);
    let b = retarget("https://example.com/b");
    assert!(edit_if(&test, &link, seen(), b.clone(), NOW).await.is_ok());
    let refused = Err(EditRefused::Precondition { version: 2 });
    for edit in [b, retarget("https://example.com/c"), Edit::Delete] {
        assert_eq!(edit_if(&test, &link, seen(), edit, NOW).await, refused);
    }
    let nothing = IfMatch::Versions(Vec::new());
    assert_eq!(edit_if(&test, &link, nothing, Edit::Delete, NOW).await, refused);
    assert_eq!(resolve(&test, &link).await.version, 2);
}

async fn a_deleted_link_leaves_a_tombstone_and_comes_back_as_it_was(test: TestDb) {
    let link = make(&test, Some("gone")).await;
    let state = Some(RouteState::Disabled);
    let (link, _) = edit(&test, &link, settings(LinkSettings { state, ..LinkSettings::default() }))
        .await
        .unwrap();
    let (deleted, record) = edit(&test, &link, Edit::Delete).await.unwrap();
    let record = record.unwrap();
    assert_eq!((record.state, record.version, &*record.target), (RouteState::Deleted, 3, ""));
    assert_eq!((record.link, record.workspace), (link.id, link.workspace));
    assert_eq!(resolve(&test, &link).await, record);
    assert_eq!(link_fetch(&test.db.read, link.workspace, link.id).await.unwrap(), None);
    for gone in [Edit::Delete, retarget("https://example.com/b")] {
        assert_eq!(edit(&test, &link, gone).await, Err(EditRefused::NotFound));
    }
    let other = Link { workspace: 1.try_into().unwrap(), ..link.clone() };
    assert_eq!(edit(&test, &other, Edit::Restore).await, Err(EditRefused::NotFound));

    let (restored, record) = edit(&test, &link, Edit::Restore).await.unwrap();
    assert_eq!(restored, Link { version: 4, deleted_at: None, ..deleted });
    assert_eq!(restored, Link { version: 4, ..link.clone() });
    assert_eq!(record, Some(restored.record(4)));
    assert_eq!(resolve(&test, &link).await, restored.record(4));
    assert_eq!(edit(&test, &link, Edit::Restore).await, Ok((restored, None)));
}

async fn a_deleted_code_is_taken_again_by_its_own_workspace_and_for_good(test: TestDb) {
    let old = make(&test, Some("code")).await;
    edit(&test, &old, Edit::Delete).await.unwrap();
    let mut foreign = test.create(Some("code"));
    foreign.workspace = second_workspace(&test).await;
    let mut tx = test.db.begin().await.unwrap();
    let refused = link_create(&mut tx, foreign, NOW, &test.random).await.unwrap();
    assert_eq!(refused.unwrap_err(), CreateRefused::Taken(old.code.clone()));
    let taken = link_create(&mut tx, test.create(Some("code")), NOW, &test.random).await.unwrap();
    let (new, change) = taken.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((new.version, change.record.version), (1, 3));
    assert_eq!(resolve(&test, &new).await, new.record(3));
    let taken = Err(EditRefused::Taken(old.code.clone()));
    assert_eq!(edit(&test, &old, Edit::Restore).await, taken);
    // Not even when the new one is deleted, too.
    edit(&test, &new, Edit::Delete).await.unwrap();
    assert_eq!(edit(&test, &old, Edit::Restore).await, taken);
    assert!(edit(&test, &new, Edit::Restore).await.is_ok());
    assert_eq!(resolve(&test, &new).await.version, 5);
}

/// Whoever was asked before it ended, and writes after that.
async fn no_link_comes_after_the_end_of_its_workspace(test: TestDb) {
    let mut command = test.create(Some("code"));
    command.workspace = second_workspace(&test).await;
    let workspace = command.workspace;
    let mut tx = test.db.begin().await.unwrap();
    let made = link_create(&mut tx, command.clone(), NOW, &test.random).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    edit(&test, &made.0, Edit::Delete).await.unwrap();
    let mut tx = test.db.begin().await.unwrap();
    crate::workspace::store::workspace_end(&mut tx, workspace, NOW).await.unwrap();
    crate::workspace::store::workspace_swept(&mut tx, workspace).await.unwrap();
    for code in [Some("code"), Some("new"), None] {
        let code = code.map(|code| Code::parse(code).unwrap());
        let command = CreateLink { code, ..command.clone() };
        let refused = link_create(&mut tx, command, NOW, &test.random).await.unwrap();
        assert_eq!(refused.unwrap_err(), CreateRefused::NoWorkspace);
    }
    let import = ImportLink {
        code: Code::parse("file").unwrap(),
        create: command.clone(),
        id: None,
        created_at: NOW,
        deleted_at: None,
        is_blocked: false,
        clicks: 0,
    };
    let imported =
        links_import(&mut tx, &[import], OnConflict::Replace, false, NOW, &test.random).await;
    let imported = imported.unwrap();
    assert!(matches!(imported.outcomes[..], [Imported::Refused(_)]) && imported.changes.is_empty());
    tx.commit().await.unwrap();
    assert_eq!(edit(&test, &made.0, Edit::Restore).await, Err(EditRefused::NotFound));
    // What is refused has written nothing: the code is free for others.
    assert_eq!(make(&test, Some("new")).await.workspace, test.workspace);
}

async fn a_link_is_found_by_the_tags_that_it_has_now(test: TestDb) {
    let link = make(&test, None).await;
    let tagged = async |tag: &str| {
        let filter = ListFilter {
            workspace: test.workspace,
            state: None,
            archived: None,
            domain: None,
            tag: Some(tag.into()),
            text: None,
        };
        let query = ListQuery { filter, sort: Sort::Created, below: None, limit: 100 };
        link_list(&test.db.read, &query, 100).await.unwrap().len()
    };
    for (tags, found) in
        [(vec!["A", "b"], [1, 1, 0]), (vec!["c", "B"], [0, 1, 1]), (vec![], [0, 0, 0])]
    {
        let tags = Some(Tags::new(tags).unwrap());
        edit(&test, &link, settings(LinkSettings { tags, ..LinkSettings::default() }))
            .await
            .unwrap();
        assert_eq!([tagged("a").await, tagged("b").await, tagged("c").await], found);
    }
}

async fn second_workspace(test: &TestDb) -> WorkspaceId {
    const INSERT: &str = "insert into workspace (id, name, created_at_ms) values (5, 'other', 0)";
    let mut tx = test.db.begin().await.unwrap();
    on_tx!(&mut tx, |conn| {
        sqlx::query(INSERT).execute(conn).await.map(|done| done.rows_affected())
    })
    .unwrap();
    tx.commit().await.unwrap();
    WorkspaceId::try_from(5).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Create { code: usize, workspace: usize },
    Change { link: usize },
    Delete { link: usize },
    Restore { link: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..2_usize, 0..2_usize).prop_map(|(code, workspace)| Step::Create { code, workspace }),
        (0..9_usize).prop_map(|link| Step::Change { link }),
        (0..9_usize).prop_map(|link| Step::Delete { link }),
        (0..9_usize).prop_map(|link| Step::Restore { link }),
    ];
    proptest::collection::vec(step, 1..30)
}

/// What one route should be: whose it is, the number of its link, whether that lives, its version.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Model {
    workspace: usize,
    link: usize,
    is_alive: bool,
    version: u64,
}

/// Runs the steps, several in one transaction, against the plain model of each code.
async fn run(test: TestDb, steps: &[Step], per_commit: usize) {
    let workspaces = [test.workspace, second_workspace(&test).await];
    let codes = ["a", "b"];
    let mut links: Vec<Link> = Vec::new();
    let mut model: HashMap<usize, Model> = HashMap::new();
    for steps in steps.chunks(per_commit) {
        let mut tx = test.db.begin().await.unwrap();
        for &step in steps {
            let change = match step {
                Step::Create { code, workspace } => {
                    let mut command = test.create(Some(codes[code]));
                    command.workspace = workspaces[workspace];
                    let made = link_create(&mut tx, command, NOW, &test.random).await.unwrap();
                    let old = model.get(&code).copied();
                    let is_free = old.is_none_or(|old| !old.is_alive && old.workspace == workspace);
                    assert_eq!(made.is_ok(), is_free, "{step:?} {model:?}");
                    made.ok().map(|(link, change)| {
                        let version = old.map_or(1, |old| old.version + 1);
                        let link_number = links.len();
                        links.push(link);
                        let new = Model { workspace, link: link_number, is_alive: true, version };
                        model.insert(code, new);
                        change
                    })
                }
                Step::Change { link } | Step::Delete { link } | Step::Restore { link } => {
                    let Some(target) = links.get(link) else { continue };
                    let code = codes.iter().position(|c| *c == target.code.as_str()).unwrap();
                    let mut command = command(&test, target);
                    command.edit = match step {
                        Step::Restore { .. } => Edit::Restore,
                        Step::Delete { .. } => Edit::Delete,
                        _ => retarget(&format!("https://example.com/{}", model[&code].version)),
                    };
                    let edited = link_edit(&mut tx, command, NOW).await.unwrap();
                    let route = model.get_mut(&code).unwrap();
                    let is_restore = matches!(step, Step::Restore { .. });
                    // A link without its route is deleted for good.
                    let is_alive = route.link == link && route.is_alive;
                    let is_allowed = is_alive || (is_restore && route.link == link);
                    assert_eq!(edited.is_ok(), is_allowed, "{step:?} {route:?}");
                    let change =
                        edited.ok().and_then(|(_, edited)| edited).map(|edited| edited.change);
                    assert_eq!(change.is_some(), is_allowed && is_alive != is_restore);
                    if change.is_some() {
                        route.version += 1;
                        route.is_alive = !matches!(step, Step::Delete { .. });
                    }
                    change
                }
            };
            if let Some(change) = change {
                let code = codes.iter().position(|c| *c == change.code.as_str()).unwrap();
                assert_eq!(change.record.version, model[&code].version);
            }
        }
        tx.commit().await.unwrap();
        for (code, route) in &model {
            let record = resolve(&test, &links[route.link]).await;
            assert_eq!(record.version, route.version, "{}", codes[*code]);
            assert_eq!(record.link, links[route.link].id);
            assert_eq!(record.state == RouteState::Active, route.is_alive);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is done to codes by two workspaces: each route is what a plain model says, and its
    /// version grows by one with each change.
    #[test]
    fn routes_follow_their_model(steps in steps(), per_commit in 1_usize..5) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            run(TestDb::sqlite().await, &steps, per_commit).await;
            #[cfg(feature = "postgres-tests")]
            run(TestDb::postgres().await, &steps, per_commit).await;
        });
    }
}
