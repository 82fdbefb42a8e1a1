use std::path::Path;

use super::*;

/// Each file of a folder is in the schema, under its own number; the control schema's files have
/// the same names in both folders, since both come from one list.
#[test]
fn the_schema_is_the_folder() {
    for (folder, schema) in [
        ("migrations/sqlite", SCHEMA_SQLITE),
        ("migrations/postgres", SCHEMA_POSTGRES),
        ("migrations/clicks_sqlite", crate::click::sqlite::SCHEMA),
    ] {
        let mut files: Vec<String> =
            std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
        files.sort();
        let listed: Vec<String> = schema
            .iter()
            .map(|(version, name, _)| {
                assert!(name.starts_with(&format!("{version:04}_")));
                format!("{name}.sql")
            })
            .collect();
        assert_eq!(files, listed);
    }
}

#[test]
fn what_passes_by_itself_is_told_from_what_does_not() {
    for code in ["5", "517", "08006", "53300", "57P01", "57P03", "40P01", "55P03", "25006"] {
        assert!(is_unavailable_code(code), "{code}");
    }
    for code in ["1", "11", "2067", "5386", "23505", "42P01", "57P", "22P02", "XX001"] {
        assert!(!is_unavailable_code(code), "{code}");
    }
    let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    assert!(StoreError::from(sqlx::Error::from(lost)).is_unavailable());
    assert!(!StoreError::from(sqlx::Error::RowNotFound).is_unavailable());
}

#[cfg(feature = "postgres-tests")]
mod tls;

#[cfg(feature = "postgres-tests")]
mod postgres {
    use super::*;
    use crate::testing::postgres::TestPostgres;
    use sqlx::Connection as _;

    async fn open(place: &TestPostgres) -> Database {
        let at = PostgresAt::parse(&place.url, 3).unwrap();
        Database::open(&DatabaseAt::Postgres(Box::new(at))).await.unwrap()
    }

    #[tokio::test]
    async fn a_database_of_a_newer_version_is_refused() {
        let place = TestPostgres::new(false).await;
        let at = PostgresAt::parse(&place.url, 2).unwrap();
        let newer: Schema = &[(1, "one", "select 1"), (2, "two", "select 1")];
        PostgresPools::open(&at, newer).await.unwrap();
        let error = PostgresPools::open(&at, &newer[..1]).await.unwrap_err();
        assert!(matches!(error, DbOpenError::Newer { found: 2, known: 1, .. }), "{error:?}");
    }

    /// Whatever the server, the database or the role says.
    #[tokio::test]
    async fn every_connection_waits_for_the_disk_and_not_for_ever() {
        let place = TestPostgres::new(true).await;
        let mut other = place.connect().await;
        for weaker in [
            "synchronous_commit = off", "default_transaction_isolation = serializable",
            "statement_timeout = 0",
        ] {
            let name: String = sqlx::query_scalar("select current_database()::text")
                .fetch_one(&mut other)
                .await
                .unwrap();
            let sql = format!("alter database {name} set {weaker}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut other).await.unwrap();
        }
        other.close().await.unwrap();
        let db = open(&place).await;
        for pool in [&db.read, &db.write] {
            let Db::Postgres(pool) = pool else { panic!("{pool:?}") };
            for (name, expected) in [
                ("synchronous_commit", "on"),
                ("transaction_isolation", "read committed"),
                ("statement_timeout", "10s"),
                ("lock_timeout", "5s"),
                ("idle_in_transaction_session_timeout", "10s"),
                ("application_name", "carom-control"),
            ] {
                let value: String = sqlx::query_scalar("select current_setting($1)")
                    .bind(name)
                    .fetch_one(pool)
                    .await
                    .unwrap();
                assert_eq!(value, expected, "{name}");
            }
        }
        db.close().await;
    }

    /// A server that replicates synchronously has a level above `on`: it stays.
    #[tokio::test]
    async fn a_stronger_promise_of_the_server_is_kept() {
        let place = TestPostgres::new(true).await;
        let mut other = place.connect().await;
        let sql = "do $$ begin execute format('alter database %I set synchronous_commit = \
             remote_apply', current_database()); end $$";
        sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
        let db = open(&place).await;
        let level: String = on_db!(&db.write, |pool| {
            let level = sqlx::query_scalar("select current_setting('synchronous_commit')");
            level.fetch_one(pool).await
        })
        .unwrap();
        assert_eq!(level, "remote_apply");
    }

    /// Transactions of two processes follow each other: the second begins when the first ends.
    #[tokio::test]
    async fn one_transaction_writes_at_a_time() {
        let place = TestPostgres::new(true).await;
        let (one, two) = (open(&place).await, open(&place).await);
        let first = one.begin().await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(200), two.begin()).await;
        assert!(early.is_err());
        first.commit().await.unwrap();
        two.begin().await.unwrap().commit().await.unwrap();
    }

    /// The same tables with the same columns, in the same order; but for the index of texts, which is
    /// each one's own.
    #[tokio::test]
    async fn both_schemas_have_the_same_names() {
        const SQLITE: &str = "select m.name || '.' || c.name from sqlite_schema m \
             join pragma_table_info(m.name) c where m.type = 'table' and m.name not like '\\_%' \
             escape '\\' and m.name not like 'sqlite%' and m.name not like 'link\\_search%' \
             escape '\\' order by m.name, c.cid";
        const POSTGRES: &str = "select table_name || '.' || column_name \
             from information_schema.columns where table_schema = 'public' \
             and table_name not like '\\_%' and table_name <> 'link_search' order by table_name collate \"C\", ordinal_position";
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteFile::open(&folder.path().join("a.db"), SCHEMA_SQLITE).await.unwrap();
        let sqlite: Vec<String> = sqlx::query_scalar(SQLITE).fetch_all(&file.read).await.unwrap();
        let place = TestPostgres::new(true).await;
        let postgres: Vec<String> =
            sqlx::query_scalar(POSTGRES).fetch_all(&mut place.connect().await).await.unwrap();
        assert_eq!(sqlite, postgres);
        assert!(postgres.contains(&"link.target_revision".to_owned()));
    }
}
