use super::*;
use crate::link::Link;
use crate::link::store::{link_create, link_fetch};
use crate::testing::{NOW, TestDb, on_each_database};
use carom_shared::UnixMillis;

on_each_database!(
    clicks_are_set_and_nothing_else_changes,
    clicks_that_come_one_by_one_leave_the_count_of_the_import
);

async fn clicks_are_set_and_nothing_else_changes(test: TestDb) {
    assert_eq!(click_cursor(&test.db.read).await.unwrap(), ClickCursor::default());
    let mut tx = test.db.begin().await.unwrap();
    let link = link_create(&mut tx, test.create(None), NOW, &test.random).await.unwrap();
    let link = link.unwrap().0;
    tx.commit().await.unwrap();

    let set = LinkClicks {
        workspace: test.workspace,
        link: link.id,
        clicks: 3,
        moved: 0,
        last_click_ms: NOW.get(),
    };
    // Clicks of another workspace's time, and of a link that is not here.
    let foreign = LinkClicks { workspace: 7.try_into().unwrap(), clicks: 9, ..set };
    let unknown = LinkClicks { link: 7.try_into().unwrap(), ..set };
    let cursor = ClickCursor { batch: 5, link: link.id.get() };
    let expected =
        Link { clicks: 3, last_click_at: Some(UnixMillis::new(NOW.get())), ..link.clone() };
    for _ in 0..2 {
        let mut tx = test.db.begin().await.unwrap();
        link_clicks_set(&mut tx, &[foreign, set, unknown], cursor).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(click_cursor(&test.db.read).await.unwrap(), cursor);
        let read = link_fetch(&test.db.read, link.workspace, link.id).await.unwrap();
        assert_eq!(read.as_ref(), Some(&expected));
    }
}

async fn clicks_that_come_one_by_one_leave_the_count_of_the_import(test: TestDb) {
    let mut tx = test.db.begin().await.unwrap();
    let link = link_create(&mut tx, test.create(None), NOW, &test.random).await.unwrap();
    let link = link.unwrap().0;
    on_tx!(&mut tx, |conn| {
        let import = "update link set imported_clicks = 10 where id = $1";
        let done = sqlx::query(import).bind(link.id.get()).execute(conn).await;
        done.map(|done| done.rows_affected())
    })
    .unwrap();
    tx.commit().await.unwrap();
    // The last one brings more than the import had counted.
    for (clicks, moved, imported) in [(0, 0, 10), (5, 4, 6), (5, 4, 6), (13, 12, 0)] {
        let (workspace, id) = (test.workspace, link.id);
        let set = LinkClicks { workspace, link: id, clicks, moved, last_click_ms: NOW.get() };
        let mut tx = test.db.begin().await.unwrap();
        link_clicks_set(&mut tx, &[set], ClickCursor::default()).await.unwrap();
        tx.commit().await.unwrap();
        let read = link_fetch(&test.db.read, workspace, id).await.unwrap().unwrap();
        assert_eq!(read.imported_clicks, imported, "{moved}");
        assert_eq!(read.clicks, clicks.cast_unsigned());
    }
}
