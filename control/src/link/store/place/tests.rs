use super::*;
use crate::db::on_tx;
use crate::link::Link;
use crate::link::store::link_create;
use crate::testing::{NOW, TestDb, on_each_database};

on_each_database!(places_are_of_links_that_are_here_with_the_codes_that_they_have);

async fn made(test: &TestDb, code: &str) -> Link {
    let mut tx = test.db.begin().await.unwrap();
    let link = link_create(&mut tx, test.create(Some(code)), NOW, &test.random).await;
    let link = link.unwrap().unwrap().0;
    tx.commit().await.unwrap();
    link
}

async fn places_are_of_links_that_are_here_with_the_codes_that_they_have(test: TestDb) {
    let (one, two) = (made(&test, "one").await, made(&test, "two").await);
    let mut ids = vec![one.id, two.id];
    // More than one statement holds, of links that are not here.
    ids.extend((1..=150).map(|id| LinkId::try_from(id).unwrap()));
    let place = |code: Option<&Code>| LinkPlace {
        workspace: test.workspace,
        domain: test.domain,
        code: code.cloned(),
    };
    let all = [(one.id, place(Some(&one.code))), (two.id, place(Some(&two.code)))];
    assert_eq!(link_places(&test.db.read, &ids).await.unwrap(), HashMap::from(all));

    // Another link has the code now.
    let mut tx = test.db.begin().await.unwrap();
    on_tx!(&mut tx, |conn| {
        let take = "update route set link_id = $1 where link_id = $2";
        let query = sqlx::query(take).bind(two.id.get()).bind(one.id.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    })
    .unwrap();
    tx.commit().await.unwrap();
    let places = link_places(&test.db.read, &[one.id]).await.unwrap();
    assert_eq!(places, HashMap::from([(one.id, place(None))]));
    assert_eq!(link_places(&test.db.read, &[]).await.unwrap(), HashMap::new());
}
