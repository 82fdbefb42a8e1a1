use std::path::Path;

use axum::Router;
use axum::body::Body;
use carom_shared::{SeededRandom, SystemClock, SystemRandom};
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;
use tower::ServiceExt as _;

use super::row::{Row, Sum, Value, push_copy_line};
use super::table::{Column, Kind, OWN, REBUILT};
use super::*;
use crate::db::{Db, SqliteFile};
use crate::testing::{NOW, TestDb};
use crate::{App, OpenOptions, operator};

/// Rows of the largest table: some pages.
const LINKS: i64 = 2500;

fn config(dir: &Path, url: &str) -> Config {
    let database = DatabaseConfig { url: url.to_owned(), max_connections: 4 };
    Config { database, ..Config::new(dir.to_owned(), "http://go.example") }
}

async fn go(config: &Config, to: &str) -> Result<Moved, MoveError> {
    run(config, to, &SystemClock, &SystemRandom, &mut |_| {}).await
}

/// A `carom.db` in the folder, with rows in every table, and everything odd that a value can be.
async fn fill(dir: &Path) -> Config {
    let url = format!("sqlite://{}/carom.db", dir.display());
    let config = config(dir, &url);
    let at = config.checked().unwrap().database;
    let test = TestDb::at(&at).await;
    let (workspace, domain, key) = (test.workspace.get(), test.domain.get(), test.key.get());
    let secret = "00ff0a5c".repeat(8);
    let sql = format!(
        "update click_cursor set batch = 77, link_id = 5;
         update feed set next_seq = 12;
         insert into secret values (1, x'{secret}', null);
         insert into salt values (20000, x''), (20001, x'5c4e');
         insert into idempotency values
           ({workspace}, 'POST /a', 'k', x'01', 201, null, 'e', x'00', 9000000000000),
           ({workspace}, 'POST /a', 'K', x'02', 201, '/x', null, x'', 9000000000001);
         insert into missing_code values ({domain}, 'nope', 3, 1, 2);
         insert into change values (1, 11, {domain}, 'c1', 1, 9000000000000);
         with recursive n (i) as (select 1 union all select i + 1 from n where i < {LINKS})
         insert into link select i * 3, {workspace}, {domain}, 'c' || i, 'https://example.com/' || i,
           1, case i % 4 when 0 then '' when 1 then 'a' || char(9) || '\\N' || char(10) || 'é😀'
           when 2 then '\\' || char(13) || '''\"' else 'plain' end, 'note', '', 302, 0, i % 3, i % 2,
           case when i % 5 = 0 then i end, null, case when i % 7 = 0 then 'https://f' end, '', 0,
           'c' || i || ' example', i, i, i, case when i % 9 = 0 then i end,
           case when i % 2 = 0 then {key} end, i % 11, i, i % 4, 1, null, 0, 1 from n;
         insert into link_tag select {workspace}, 'tag ' || (id % 5), id from link;
         insert into link_target select id, 1, target, 9, created_by, null from link where id % 2 = 0;
         insert into route select domain_id, code, id, workspace_id, state, version from link;
         insert into route values ({domain}, 'gone', 1, {workspace}, 0, 9223372036854775807);
         insert into account values (7, 'é@example.com', 'É', 'h', 0, 1, x'00ff', 2, 3, 4, 5, 1),
           (8, 'b@example.com', 'B', null, 1, null, null, null, 0, 5, 0, 0);
         insert into identity values (10, 7, 'https://id.example', 's', '', 1, 2);
         insert into passkey values (12, 7, x'00ff', x'a5', -257, 4294967295, 1, 0, 'usb,nfc', 'é', 1, null);
         insert into account_token values (x'01', 7, 1, '', x'02', 1, 2, 9000000000000, null);
         insert into recovery_code values (7, x'03', null), (7, x'04', 9);
         insert into session values (9, 7, x'05', 1, 2, 3, 1, 0, 4, 9000000000000, 9000000000001, '::1',
           'Agent', null);
         insert into session_replaced values (x'06', 9, 9000000000000);
         insert into member values ({workspace}, 7, 4, 1), ({workspace}, 8, 1, 2);
         insert into invitation values (3, {workspace}, 'c@example.com', 2, x'07', 7, 1, 9000000000000, null, null, 1);
         insert into audit values (4, {workspace}, 9000000000000, 7, {key}, 'link.create', 'link:3', '', 'r', '{{}}');
         insert into blocklist values (1, x'00ff', 2, 9000000000000);
         insert into click_loss values ('spool', 9000000000, 1, 2, 3, 4, 5);
         insert into share values (11, {workspace}, null, 'tag', 'n', x'08', x'09', '', 3, 1, null);
         insert into report values (5, {workspace}, 3, 'go.example/c1', 1, 'bad\', '', 0, 1, null);"
    );
    let Db::Sqlite(pool) = &test.db.write else { panic!("a file") };
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    test.db.close().await;
    config
}

type Rows = Vec<(String, Vec<Row>)>;

/// All rows of all tables that are moved.
async fn rows(at: &DatabaseAt) -> Rows {
    let mut side = Side::connect(at, false).await.unwrap().unwrap();
    let mut all = Vec::new();
    for table in side.tables().await.unwrap() {
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let page = side.page(&table, rows.last()).await.unwrap();
            if page.is_empty() {
                break;
            }
            rows.extend(page);
        }
        all.push((table.name, rows));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Indexes, triggers, references, and the tables' names.
async fn schema(at: &DatabaseAt) -> Vec<String> {
    let mut side = Side::connect(at, false).await.unwrap().unwrap();
    let tables = side.tables().await.unwrap().into_iter().map(|table| table.name);
    let parts = side.parts().await.unwrap().into_iter().map(|part| part.make);
    tables.chain(parts).collect()
}

fn at(config: &Config) -> DatabaseAt {
    config.checked().unwrap().database
}

async fn state(config: &Config) -> Option<State> {
    let mut side = Side::connect(&at(config), false).await.unwrap()?;
    side.mark().await.unwrap().map(|mark| mark.state)
}

async fn open_app(config: &Config) -> Result<App, crate::OpenError> {
    let clock = std::sync::Arc::new(SystemClock);
    let random = std::sync::Arc::new(SeededRandom::new(3));
    App::open(OpenOptions { config: config.clone(), clock, random }).await
}

async fn refusal(config: &Config) -> String {
    match open_app(config).await {
        Ok(_) => panic!("it is served"),
        Err(error) => error.to_string(),
    }
}

/// A table that this does not fill makes it fail: whoever adds one adds a row here, and knows.
async fn everything_moves(from: &Config, to: &Config) {
    let before = rows(&at(from)).await;
    for (table, rows) in &before {
        assert!(!rows.is_empty(), "no row of {table} is moved by this test");
    }
    let planned = plan(from, &to.database.url).await.unwrap();
    assert_eq!(planned.state, PlanState::New);
    Database::open(&at(to)).await.unwrap().close().await;
    let empty = schema(&at(to)).await;
    assert!(empty.len() > 10, "{empty:?}");
    let moved = go(from, &to.database.url).await.unwrap();
    assert_eq!((moved.rows, moved.rows_before, moved.was_done), (planned.rows, 0, false));
    assert_eq!(rows(&at(to)).await, before);
    assert_eq!(rows(&at(from)).await, before);
    assert_eq!((state(from).await, state(to).await), (Some(State::Left), Some(State::Arrived)));
    assert!(refusal(from).await.contains("were moved to"));
    assert_eq!(schema(&at(to)).await, empty);
    let app = open_app(to).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(unindexed_count(app.read()).await.unwrap(), 0);
    app.close().await;
    // The same once more does nothing, even if somebody has served the target meanwhile.
    assert!(go(from, &to.database.url).await.unwrap().was_done);
}

#[tokio::test]
async fn every_table_moves_from_file_to_file() {
    let dir = tempfile::tempdir().unwrap();
    let from = fill(dir.path()).await;
    everything_moves(&from, &config(dir.path(), "sqlite://{data_dir}/two.db")).await;
}

/// The lists of what is left out are of tables that there are.
#[tokio::test]
async fn every_table_is_moved_or_named() {
    let test = TestDb::sqlite().await;
    let Db::Sqlite(pool) = &test.db.read else { panic!("a file") };
    const ALL: &str = "select name from pragma_table_list where schema = 'main' \
         and type in ('table', 'virtual') and name not like 'sqlite\\_%' escape '\\'";
    let mut all: Vec<String> = sqlx::query_scalar(ALL).fetch_all(pool).await.unwrap();
    all.sort();
    let dir = tempfile::tempdir().unwrap();
    let moved = rows(&at(&fill(dir.path()).await)).await;
    let mut named: Vec<String> = moved.into_iter().map(|(name, _)| name).collect();
    named.extend(OWN.iter().chain(REBUILT).map(|name| (*name).to_owned()));
    named.sort();
    assert_eq!(all, named);
}

/// Stopped at any await, which is where a process that is killed leaves the databases: what was
/// committed stays, everything else is gone.
async fn stopped_at_random_it_goes_on(from: &Config, to: &Config) {
    let before = rows(&at(from)).await;
    let (mut stopped, mut states) = (0, Vec::new());
    let mut steps = 0_u64;
    let mut seed = 7_u64;
    loop {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // More each time, so that all parts of it are met.
        let polls = steps + (seed >> 33) % 110;
        steps += 110;
        let mut moving = Box::pin(go(from, &to.database.url));
        let mut left = polls;
        let done = std::future::poll_fn(|context| match moving.as_mut().poll(context) {
            std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
            std::task::Poll::Pending => {
                left -= 1;
                std::task::Poll::Pending
            }
        })
        .await;
        drop(moving);
        if let Some(done) = done {
            let done = done.unwrap();
            assert!(done.rows_before > 0);
            break;
        }
        stopped += 1;
        let here = state(from).await;
        let is_looked_at = stopped % 4 == 0;
        if is_looked_at && matches!(here, Some(State::Leaving | State::Left)) {
            refusal(from).await;
        }
        let there = state(to).await;
        if is_looked_at && there == Some(State::Arriving) {
            assert!(refusal(to).await.contains("only a part"));
        }
        states.push((here, there));
    }
    assert!(stopped >= 5, "{stopped}");
    assert!(states.contains(&(Some(State::Leaving), Some(State::Arriving))), "{states:?}");
    assert_eq!(rows(&at(to)).await, before);
    assert_eq!(rows(&at(from)).await, before);
}

#[tokio::test]
async fn stopped_at_random_it_goes_on_from_file_to_file() {
    let dir = tempfile::tempdir().unwrap();
    let from = fill(dir.path()).await;
    stopped_at_random_it_goes_on(&from, &config(dir.path(), "sqlite://{data_dir}/two.db")).await;
}

#[tokio::test]
async fn what_is_not_empty_or_of_another_move_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, occupied) = (fill(dir.path()).await, fill(other.path()).await);
    let refused = go(&from, &occupied.database.url).await.unwrap_err();
    assert!(matches!(refused, MoveError::Occupied(_)), "{refused}");
    assert!(matches!(go(&from, &from.database.url).await.unwrap_err(), MoveError::Same));
    assert_eq!((state(&from).await, state(&occupied).await), (None, None));

    // Half a move of the other, which nobody but the other may go on with.
    let half = format!("sqlite://{}/half.db", dir.path().display());
    let half = config(dir.path(), &half);
    let mut stop = |_| panic!("stopped");
    let moving = run(&occupied, &half.database.url, &SystemClock, &SystemRandom, &mut stop);
    interrupted(moving).await;
    assert_eq!(state(&half).await, Some(State::Arriving));
    let refused = go(&from, &half.database.url).await.unwrap_err();
    assert!(matches!(refused, MoveError::OtherPart(_)), "{refused}");
    let elsewhere = "sqlite://{data_dir}/third.db";
    let refused = go(&occupied, elsewhere).await.unwrap_err();
    assert!(matches!(refused, MoveError::OtherTarget(..)), "{refused}");
    let refused = go(&half, elsewhere).await.unwrap_err();
    assert!(matches!(refused, MoveError::NotServed(NotServed::Arriving(_))), "{refused}");

    // Given up, it is as it was, but for the numbering of changes.
    undo(&occupied, &SystemClock, &SystemRandom).await.unwrap();
    let feed = |rows: Rows| rows.into_iter().find(|(name, _)| name == "feed").unwrap().1;
    let after = feed(rows(&at(&occupied)).await);
    assert!(matches!(&after[0][..], [_, Value::Integer(epoch), Value::Integer(1)]
        if *epoch > NOW.get()));
    let nothing = undo(&occupied, &SystemClock, &SystemRandom).await.unwrap_err();
    assert!(matches!(nothing, MoveError::NothingToUndo), "{nothing}");
    let refused = go(&occupied, &half.database.url).await.unwrap_err();
    assert!(matches!(refused, MoveError::OtherPart(_)), "{refused}");
    open_app(&occupied).await.unwrap_or_else(|error| panic!("{error}")).close().await;
}

/// Runs it up to where it panics.
async fn interrupted<T>(work: impl Future<Output = T>) {
    let mut work = Box::pin(work);
    std::future::poll_fn(|context| {
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            work.as_mut().poll(context).is_ready()
        }));
        match polled {
            Ok(false) => std::task::Poll::Pending,
            Ok(true) => panic!("it went to its end"),
            Err(_) => std::task::Poll::Ready(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_source_of_a_newer_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let from = fill(dir.path()).await;
    let newer = "insert into _sqlx_migrations values (9999, 'x', 0, true, x'00', 1)";
    let file = SqliteFile::open(&dir.path().join("carom.db"), SCHEMA_SQLITE).await.unwrap();
    sqlx::query(newer).execute(&file.write).await.unwrap();
    file.close().await;
    let refused = go(&from, "sqlite://{data_dir}/two.db").await.unwrap_err();
    let is_newer = matches!(refused, MoveError::Open(DbOpenError::Newer { found: 9999, .. }));
    assert!(is_newer, "{refused}");
    assert!(!dir.path().join("two.db").exists());
    let nothing = config(dir.path(), "sqlite://{data_dir}/none.db");
    let refused = go(&nothing, "sqlite://{data_dir}/two.db").await.unwrap_err();
    assert!(matches!(refused, MoveError::NoSource(_)), "{refused}");
}

/// The end does not believe what was copied.
#[tokio::test]
async fn a_row_that_is_another_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let from = fill(dir.path()).await;
    let to = config(dir.path(), "sqlite://{data_dir}/two.db");
    let mut stop = |progress: Progress| assert!(progress.step == Step::Copy, "stopped");
    interrupted(run(&from, &to.database.url, &SystemClock, &SystemRandom, &mut stop)).await;
    let file = SqliteFile::open(&dir.path().join("two.db"), SCHEMA_SQLITE).await.unwrap();
    sqlx::query("update link set clicks = clicks + 1 where id = 33")
        .execute(&file.write)
        .await
        .unwrap();
    file.close().await;
    let found = go(&from, &to.database.url).await.unwrap_err();
    assert!(matches!(&found, MoveError::Different { table, .. } if table == "link"), "{found}");
    assert_eq!(state(&to).await, Some(State::Arriving));
}

#[test]
fn odd_values_are_written_as_postgresql_reads_them() {
    let column = |kind| Column { name: "c".into(), kind };
    let kinds = [Kind::Integer, Kind::Boolean, Kind::Text, Kind::Bytes, Kind::Text];
    let table = Table { name: "t".into(), columns: kinds.map(column).to_vec(), key: vec![0] };
    let row = vec![
        Value::Integer(i64::MIN),
        Value::Integer(1),
        Value::Text("a\tb\\N\r\n".into()),
        Value::Bytes(vec![0, 255]),
        Value::Null,
    ];
    let mut line = Vec::new();
    push_copy_line(&table, &row, &mut line);
    let expected = "-9223372036854775808\tt\ta\\tb\\\\N\\r\\n\t\\\\x00ff\t\\N\n";
    assert_eq!(String::from_utf8(line).unwrap(), expected);
    let mut sums = [Sum::default(); 2];
    let other = vec![Value::Text("a".into()), Value::Text(String::new())];
    let shifted = vec![Value::Text(String::new()), Value::Text("a".into())];
    for (sum, rows) in sums.iter_mut().zip([[&row, &other], [&other, &row]]) {
        rows.iter().for_each(|row| sum.add(row, &mut Vec::new()));
    }
    assert_eq!(sums[0], sums[1]);
    sums[1] = Sum::default();
    [&row, &shifted].iter().for_each(|row| sums[1].add(row, &mut Vec::new()));
    assert_ne!(sums[0].hash, sums[1].hash);
}
/// Asks the API, with a key, or the operator's surface, with none; the status and the body.
async fn ask(app: &App, key: Option<&str>, method: &str, path: &str, body: Json) -> (u16, Json) {
    let router: Router = if key.is_some() { crate::api_router(app) } else { operator::router(app) };
    let mut request = Request::builder().method(method).uri(path);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
        request = request.header(
            "idempotency-key",
            format!("{path}{}", body["url"].as_str().unwrap_or_default()),
        );
    }
    let body = match body {
        Json::Null => Body::empty(),
        body => {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        }
    };
    let answer = router.oneshot(request.body(body).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.into()).unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Json::String(text)))
}

/// What the API and the operator are told of everything.
async fn answers(app: &App, key: &str, id: &str) -> Vec<(String, (u16, Json))> {
    let mut answers = Vec::new();
    for path in [
        "/api/v1/links?limit=3",
        "/api/v1/links?limit=100&sort=clicks",
        "/api/v1/links?q=exam",
        "/api/v1/links?q=moved",
        "/api/v1/links?tag=red",
        "/api/v1/links?state=deleted",
        &format!("/api/v1/links/{id}"),
        &format!("/api/v1/links/{id}/stats?from=2026-01-01"),
        "/api/v1/stats?from=2026-01-01&to=2026-02-01",
    ] {
        answers.push((path.to_owned(), ask(app, Some(key), "GET", path, Json::Null).await));
    }
    // Answered from memory, or it would be a second link.
    let again = json!({"url": "https://example.com/one"});
    answers.push(("again".into(), ask(app, Some(key), "POST", "/api/v1/links", again).await));
    for path in
        ["/v1/keys", "/v1/stats", "/v1/export/links?deleted=true", "/v1/export/clicks?format=csv"]
    {
        answers.push((path.to_owned(), ask(app, None, "GET", path, Json::Null).await));
    }
    let head = app.feed_head().await.unwrap();
    answers.push(("feed".into(), (0, json!([head.epoch, head.seq]))));
    answers
}

/// An installation that was used, and its questions, before the move, there, and back here.
async fn it_answers_as_before(dir: &Path, places: &[&str]) {
    let mut config = config(dir, "sqlite://{data_dir}/carom.db");
    let app = open_app(&config).await.unwrap_or_else(|error| panic!("{error}"));
    let (_, key) = ask(&app, None, "POST", "/v1/keys", json!({"name": "k"})).await;
    let key = key["key"].as_str().unwrap().to_owned();
    let make = |body| ask(&app, Some(&key), "POST", "/api/v1/links", body);
    let (status, first) = make(json!({"url": "https://example.com/one"})).await;
    assert_eq!(status, 201, "{first}");
    let id = first["id"].as_str().unwrap().to_owned();
    for n in 0..20 {
        let body = json!({"url": format!("https://example.com/{n}"), "tags": ["Red", "b|c"],
            "title": format!("é {n} \\N 😀"), "code": format!("code-{n}")});
        let (status, link) = make(body).await;
        assert_eq!(status, 201, "{link}");
        if n % 4 == 0 {
            let path = format!("/api/v1/links/{}", link["id"].as_str().unwrap());
            let (status, _) = ask(&app, Some(&key), "DELETE", &path, Json::Null).await;
            assert_eq!(status, 204);
        }
    }
    let cells: Vec<&str> = operator::click_columns()
        .map(|column| match column {
            "link_id" => id.as_str(),
            "at" => "2026-01-05T10:00:00Z",
            "n" => "3",
            _ => "",
        })
        .collect();
    let body = json!({"dry_run": false, "rows": [{"nth": 0, "cells": cells}]});
    let (status, imported) = ask(&app, None, "POST", "/v1/import/clicks", body).await;
    assert_eq!(status, 200, "{imported}");
    while unindexed_count(app.read()).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Lists show clicks a moment later.
    let path = format!("/api/v1/links/{id}");
    while ask(&app, Some(&key), "GET", &path, Json::Null).await.1["clicks"] != json!(3) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = answers(&app, &key, &id).await;
    app.close().await;
    for place in places {
        go(&config, place).await.unwrap();
        config.database.url = (*place).to_owned();
        let app = open_app(&config).await.unwrap_or_else(|error| panic!("{error}"));
        for (before, now) in before.iter().zip(answers(&app, &key, &id).await) {
            assert!(matches!(before.1.0, 0 | 200 | 201), "{before:?}");
            assert_eq!(*before, now);
        }
        app.close().await;
    }
}

#[tokio::test]
async fn it_answers_as_before_from_file_to_file() {
    let dir = tempfile::tempdir().unwrap();
    it_answers_as_before(dir.path(), &["sqlite://{data_dir}/two.db"]).await;
}

#[cfg(feature = "postgres-tests")]
mod postgres {
    use super::*;
    use crate::testing::postgres::TestPostgres;
    use sqlx::Connection as _;

    /// There and back: the file that comes out has what the first had.
    #[tokio::test]
    async fn every_table_moves_there_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let place = TestPostgres::new(false).await;
        let (from, there) = (fill(dir.path()).await, config(dir.path(), &place.url));
        everything_moves(&from, &there).await;
        // The App of before has made what it needs; nothing else.
        let back = config(dir.path(), "sqlite://{data_dir}/back.db");
        everything_moves(&there, &back).await;
    }

    #[tokio::test]
    async fn it_answers_as_before_there_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let place = TestPostgres::new(true).await;
        it_answers_as_before(dir.path(), &[&place.url, "sqlite://{data_dir}/back.db"]).await;
    }

    #[tokio::test]
    async fn stopped_at_random_it_goes_on_there_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let place = TestPostgres::new(false).await;
        let (from, there) = (fill(dir.path()).await, config(dir.path(), &place.url));
        stopped_at_random_it_goes_on(&from, &there).await;
        let back = config(dir.path(), "sqlite://{data_dir}/back.db");
        stopped_at_random_it_goes_on(&there, &back).await;
    }

    #[tokio::test]
    async fn a_database_that_is_served_is_not_moved() {
        let dir = tempfile::tempdir().unwrap();
        let place = TestPostgres::new(false).await;
        let (from, there) = (fill(dir.path()).await, config(dir.path(), &place.url));
        go(&from, &place.url).await.unwrap();
        let app = open_app(&there).await.unwrap_or_else(|error| panic!("{error}"));
        let refused = go(&there, "sqlite://{data_dir}/back.db").await.unwrap_err();
        assert!(matches!(refused, MoveError::Served(_)), "{refused}");
        app.close().await;
        go(&there, "sqlite://{data_dir}/back.db").await.unwrap();
        let occupied = go(&config(dir.path(), "sqlite://{data_dir}/back.db"), &place.url).await;
        assert!(matches!(occupied, Err(MoveError::Occupied(_))), "{occupied:?}");
    }

    /// A control plane that no move can see, because it has no connection just then, comes back.
    #[tokio::test]
    async fn nothing_is_written_into_what_was_moved() {
        let dir = tempfile::tempdir().unwrap();
        let place = TestPostgres::new(false).await;
        let there = config(dir.path(), &place.url);
        let app = open_app(&there).await.unwrap_or_else(|error| panic!("{error}"));
        let (_, key) = ask(&app, None, "POST", "/v1/keys", json!({"name": "k"})).await;
        let key = key["key"].as_str().unwrap().to_owned();
        let make = |url| ask(&app, Some(&key), "POST", "/api/v1/links", json!({"url": url}));
        assert_eq!(make("https://example.com/1").await.0, 201);
        let mut other = place.connect().await;
        const MARK: &str = "insert into moving values (1, 'left', 7, 'elsewhere', 1)";
        sqlx::query(MARK).execute(&mut other).await.unwrap();
        assert_eq!(make("https://example.com/2").await.0, 503);
        const LINKS: &str = "select cast(count(*) as bigint) from link";
        let links: i64 = sqlx::query_scalar(LINKS).fetch_one(&mut other).await.unwrap();
        assert_eq!(links, 1);
        sqlx::query("delete from moving").execute(&mut other).await.unwrap();
        assert_eq!(make("https://example.com/3").await.0, 201);
        other.close().await.unwrap();
        app.close().await;
    }

    /// The server ends the connection in the middle, again and again.
    #[tokio::test]
    async fn a_server_that_goes_away_is_gone_on_with() {
        const END: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and application_name = 'carom-move'";
        let dir = tempfile::tempdir().unwrap();
        let place = TestPostgres::new(false).await;
        let (from, there) = (fill(dir.path()).await, config(dir.path(), &place.url));
        let before = rows(&at(&from)).await;
        let mut failed = 0;
        for copied in [10, 2400, 4400, 6000, u64::MAX] {
            let (tell, mut told) = tokio::sync::watch::channel(0);
            let mut progress = |progress: Progress| {
                tell.send_replace(progress.done);
            };
            let mut other = place.connect().await;
            let moving = run(&from, &place.url, &SystemClock, &SystemRandom, &mut progress);
            let end = async {
                while told.changed().await.is_ok() {
                    if *told.borrow() >= copied {
                        sqlx::query(END).execute(&mut other).await.unwrap();
                        break;
                    }
                }
                std::future::pending::<()>().await;
            };
            let moved = tokio::select! {
                moved = moving => moved,
                () = end => unreachable!("it waits for ever"),
            };
            match moved {
                Ok(_) => break,
                Err(error) => {
                    assert!(matches!(error, MoveError::Side(_)), "{error}");
                    failed += 1;
                }
            }
            other.close().await.unwrap();
        }
        assert!(failed >= 3, "{failed}");
        assert_eq!(rows(&at(&there)).await, before);
        assert_eq!(state(&there).await, Some(State::Arrived));
    }

    #[tokio::test]
    async fn what_postgresql_cannot_hold_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let place = TestPostgres::new(false).await;
        let from = fill(dir.path()).await;
        let file = SqliteFile::open(&dir.path().join("carom.db"), SCHEMA_SQLITE).await.unwrap();
        let odd = "update link set title = 'a' || char(0) where id = 33";
        sqlx::query(odd).execute(&file.write).await.unwrap();
        file.close().await;
        let refused = go(&from, &place.url).await.unwrap_err().to_string();
        assert!(refused.contains("table link, row 33: title"), "{refused}");
    }
}
