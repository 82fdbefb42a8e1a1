//! A PostgreSQL database of its own for a test, copied from a template that has the schema.
//!
//! `TEST_DATABASE_URL` names a server on which databases can be created; `deploy/test` starts one.
//! The template's name holds a hash of the migrations, so that it is made once per schema.

use std::path::Path;
use std::str::FromStr as _;

use carom_shared::{Random as _, SystemRandom};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use url::Url;

/// The advisory lock under which the template is made.
const TEMPLATE_LOCK: i64 = 0x63_61_72_6f_6d_74;
const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres");

/// A database that is dropped with this.
pub(crate) struct TestPostgres {
    pub(crate) url: String,
    name: String,
}

impl TestPostgres {
    /// A database with this version's schema, or with nothing at all.
    pub(crate) async fn new(has_schema: bool) -> Self {
        let options =
            if has_schema { format!("template {}", template().await) } else { String::new() };
        let mut random = [0; 8];
        SystemRandom.fill(&mut random);
        let name = format!("carom_test_{:016x}", u64::from_ne_bytes(random));
        let mut server = connect(&server_url()).await;
        execute(&mut server, format!("create database {name} {options}")).await;
        server.close().await.unwrap();
        Self { url: with_database(&name), name }
    }

    /// A connection to it, beside those of what is tested.
    pub(crate) async fn connect(&self) -> PgConnection {
        connect(&self.url).await
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        let drop = format!("drop database if exists {} with (force)", self.name);
        // A runtime of its own: this may run within one, and then must not block on it.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let mut server = connect(&server_url()).await;
                execute(&mut server, drop).await;
            });
        })
        .join();
        // A panic within a panic would hide why the test failed.
        assert!(dropped.is_ok() || std::thread::panicking(), "{} is left behind", self.name);
    }
}

/// Makes the template if no other test has; returns its name.
async fn template() -> String {
    let migrator = Migrator::new(Path::new(MIGRATIONS)).await.unwrap();
    let mut hash = crc32fast::Hasher::new();
    for migration in migrator.iter() {
        hash.update(&migration.checksum);
    }
    let name = format!("carom_template_{:08x}", hash.finalize());
    let mut server = connect(&server_url()).await;
    sqlx::query("select pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut server)
        .await
        .unwrap();
    const FIND: &str = "select cast(count(*) as bigint) from pg_database where datname = $1";
    let found: i64 = sqlx::query_scalar(FIND).bind(&name).fetch_one(&mut server).await.unwrap();
    if found == 0 {
        // Renamed when it is whole: a test that is killed leaves no half template.
        let unfinished = format!("{name}_unfinished");
        execute(&mut server, format!("drop database if exists {unfinished} with (force)")).await;
        execute(&mut server, format!("create database {unfinished}")).await;
        let mut connection = connect(&with_database(&unfinished)).await;
        migrator.run(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        execute(&mut server, format!("alter database {unfinished} rename to {name}")).await;
    }
    // The lock ends with the connection.
    server.close().await.unwrap();
    name
}

#[expect(clippy::disallowed_methods, reason = "tests are told in the environment where to go")]
fn server_url() -> String {
    std::env::var("TEST_DATABASE_URL").unwrap_or_else(|_| {
        panic!(
            "the feature postgres-tests is on and TEST_DATABASE_URL is not set: run deploy/test, \
             or eval \"$(deploy/services up postgres)\" and export TEST_DATABASE_URL=$DATABASE_URL"
        )
    })
}

fn with_database(name: &str) -> String {
    let mut url = Url::parse(&server_url()).unwrap();
    url.set_path(name);
    url.into()
}

async fn connect(url: &str) -> PgConnection {
    let options = PgConnectOptions::from_str(url).unwrap();
    PgConnection::connect_with(&options).await.unwrap_or_else(|error| {
        panic!("cannot reach the PostgreSQL that TEST_DATABASE_URL names: {error}")
    })
}

async fn execute(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}
