//! Folders of other versions, as the real program finds them.

use std::path::{Path, PathBuf};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlSafeStr};

use crate::support::{Server, carom, free_ports, stdout};

/// The names in a folder, sorted.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs something on a database, made if it is not there.
fn with_database<T>(path: &Path, work: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        let done = work(&mut connection).await;
        connection.close().await.unwrap();
        done
    })
}

pub(crate) fn execute(path: &Path, sql: &str) {
    with_database(path, async |connection| {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
    });
}

fn version(path: &Path) -> i64 {
    with_database(path, async |connection| {
        let newest = sqlx::query_scalar("select max(version) from _sqlx_migrations");
        newest.fetch_one(connection).await.unwrap()
    })
}

/// A database as an earlier version left it: without the last change of its schema. Returns the number of
/// the newest change that it has, and of the one that it lacks.
fn database_of_last_version(path: &Path, folder: &str) -> (i64, i64) {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../control/migrations");
    let names = files(&migrations.join(folder));
    let number = |name: &String| name.split_once('_').unwrap().0.parse().unwrap();
    let [older @ .., newest] = &names[..] else { panic!("{names:?}") };
    let migrations = older.iter().map(|name| {
        let version = number(name);
        let sql = std::fs::read_to_string(migrations.join(folder).join(name)).unwrap();
        let name = name.strip_suffix(".sql").unwrap().to_owned();
        let sql = AssertSqlSafe(sql).into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    with_database(path, async |connection| migrator.run(connection).await.unwrap());
    (number(older.last().unwrap()), number(newest))
}

struct Old {
    dir: tempfile::TempDir,
    links: PathBuf,
    clicks: PathBuf,
    versions: (i64, i64),
    /// After an upgrade.
    newest: (i64, i64),
}

/// A folder of the last version, with a workspace in it.
fn old() -> Old {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("carom-data");
    std::fs::create_dir(&data).unwrap();
    let (links, clicks) = (data.join("carom.db"), data.join("clicks.db"));
    let of_links = database_of_last_version(&links, "sqlite");
    let of_clicks = database_of_last_version(&clicks, "clicks_sqlite");
    execute(&links, "insert into workspace (id, name, created_at_ms) values (7, 'old one', 1)");
    let (versions, newest) = ((of_links.0, of_clicks.0), (of_links.1, of_clicks.1));
    Old { dir, links, clicks, versions, newest }
}

impl Old {
    fn carom(&self, args: &[&str]) -> std::process::Output {
        carom(self.dir.path(), args).output().unwrap()
    }

    /// The folders of copies.
    fn copies(&self) -> Vec<String> {
        let names = files(self.links.parent().unwrap()).into_iter();
        names.filter(|name| name.starts_with("before-upgrade-")).collect()
    }
}

#[test]
fn a_folder_of_the_last_version_is_copied_aside_and_brought_up_to_date() {
    let old = old();
    let (links, clicks) = old.versions;
    let before = old.carom(&["doctor", "--json"]);
    let before = String::from_utf8(before.stdout).unwrap();
    assert!(before.contains("the next start copies it aside"), "{before}");
    assert_eq!((version(&old.links), version(&old.clicks)), (links, clicks));

    stdout(&old.carom(&["key", "create", "--name", "first"]));
    assert_eq!((version(&old.links), version(&old.clicks)), old.newest);
    let copies = old.copies();
    assert_eq!(copies.len(), 1);
    assert!(copies[0].starts_with(&format!("before-upgrade-{links}-{clicks}-")), "{copies:?}");
    let copy = old.links.with_file_name(&copies[0]);
    assert_eq!(files(&copy), ["carom.db", "clicks.db"]);
    assert_eq!(version(&copy.join("carom.db")), links);
    assert_eq!(version(&copy.join("clicks.db")), clicks);
    let name: String = with_database(&copy.join("carom.db"), async |connection| {
        let name = sqlx::query_scalar("select name from workspace where id = 7");
        name.fetch_one(connection).await.unwrap()
    });
    assert_eq!(name, "old one");

    // What is up to date is not copied again, and is served.
    stdout(&old.carom(&["key", "list"]));
    let Old { dir, .. } = old;
    let server = Server::start_in(dir);
    let copies = files(&server.dir.path().join("carom-data"));
    assert_eq!(copies.iter().filter(|name| name.starts_with("before-upgrade")).count(), 1);
    server.shorten(&server.key(), "https://www.rust-lang.org/");
}

#[test]
fn without_a_copy_nothing_is_changed_unless_that_is_asked_for() {
    let old = old();
    // A file where the copies are made: the copy fails, as on a full disk.
    let unfinished = old.links.with_file_name("before-upgrade.tmp");
    std::fs::write(&unfinished, "").unwrap();
    let refused = old.carom(&["serve"]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("--set upgrade.backup=false") && text.contains("nothing was"), "{text}");
    assert_eq!((version(&old.links), version(&old.clicks)), old.versions);
    assert!(old.copies().is_empty());

    stdout(&old.carom(&["key", "list", "--set", "upgrade.backup=false"]));
    assert_eq!(version(&old.links), old.newest.0);
    assert!(old.copies().is_empty());
}

#[test]
fn a_newer_database_is_refused_before_the_other_is_touched() {
    let old = old();
    let (links, clicks) = old.versions;
    let sql = format!(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
         values ({}, 'later', true, x'00', 0)",
        clicks + 5
    );
    execute(&old.clicks, &sql);
    for args in [&["serve"][..], &["key", "list"], &["backup"]] {
        let refused = old.carom(args);
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{text}");
        let said = format!("newer version of Carom (schema {}, this version", clicks + 5);
        assert!(text.contains(&said) && text.contains("clicks.db"), "{text}");
    }
    assert_eq!((version(&old.links), version(&old.clicks)), (links, clicks + 5));
    assert!(old.copies().is_empty());
    let doctor = old.carom(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    let text = String::from_utf8(doctor.stdout).unwrap();
    assert!(text.contains("a newer version of Carom wrote it"), "{text}");
}

#[test]
fn a_newer_spool_is_refused() {
    let server = Server::start();
    let dir = server.kill();
    let identity = dir.path().join("carom-data/spool/identity");
    let text = std::fs::read_to_string(&identity).unwrap();
    std::fs::write(&identity, text.replace("carom spool 1", "carom spool 2")).unwrap();
    let [one, two, three, four] = free_ports();
    let mut command = carom(dir.path(), &["serve"]);
    for (name, port) in [
        ("edge.listen", one),
        ("edge.admin_listen", two),
        ("control.listen", three),
        ("control.admin_listen", four),
    ] {
        command.args(["--set", &format!("{name}=127.0.0.1:{port}")]);
    }
    let refused = command.output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("newer version of Carom (format 2, this version knows 1)"), "{text}");
}

/// A segment and a batch of the next format: told by the doctor, set aside by a start, and kept.
#[test]
fn spool_files_of_a_newer_version_are_set_aside_as_they_are() {
    let server = Server::start();
    let key = server.key();
    let code = server.shorten(&key, "https://www.rust-lang.org/")["code"].clone();
    server.follow(code.as_str().unwrap());
    let dir = server.kill();
    let spool = dir.path().join("carom-data/spool");
    let segment = files(&spool.join("ring"))
        .into_iter()
        .filter(|name| name.ends_with(".seg"))
        .map(|name| spool.join("ring").join(name))
        .find(|path| std::fs::read(path).unwrap()[4096..].iter().any(|&byte| byte != 0))
        .unwrap();
    let mut newer = std::fs::read(&segment).unwrap();
    newer[8] = 2;
    std::fs::write(&segment, &newer).unwrap();
    let batch = spool.join("outbox/00000000000000ab-00000001-00000001-1-00000001.clk");
    let mut bytes = b"CAROMCLK\x02\0".to_vec();
    bytes.resize(200, b'?');
    std::fs::write(&batch, &bytes).unwrap();

    let doctor = carom(dir.path(), &["doctor", "--json"]).output().unwrap();
    let text = String::from_utf8(doctor.stdout).unwrap();
    assert_eq!(doctor.status.code(), Some(1), "{text}");
    assert_eq!(text.matches("has the format 2, which").count(), 2, "{text}");

    let server = Server::start_in(dir);
    let aside = server.dir.path().join("carom-data/spool/quarantine");
    let kept: Vec<Vec<u8>> =
        files(&aside).iter().map(|name| std::fs::read(aside.join(name)).unwrap()).collect();
    assert!(kept.contains(&bytes) && kept.contains(&newer), "{:?}", files(&aside));
    let text = String::from_utf8(server.carom(&["doctor"]).stdout).unwrap();
    assert!(text.contains("2 files") && text.contains("in spool/quarantine"), "{text}");
}
