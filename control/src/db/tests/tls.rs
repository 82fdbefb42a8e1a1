//! A real PostgreSQL that answers in TLS alone, over TCP.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sqlx::Row as _;

use super::*;
use crate::testing::authority::{Authority, free_port};

/// Who is not root starts the server as himself, and root as the user postgres: it refuses to run as root.
fn as_owner(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

/// Where `initdb` and `postgres` are: Debian's newest, or `PATH`'s.
fn programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders: Vec<_> = installed
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.exists())
        .collect();
    folders.sort();
    folders.pop().unwrap_or_default()
}

struct Server {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    /// For `localhost`, by this authority.
    fn start(authority: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        authority.write_server(folder.path(), "localhost");
        if is_root() {
            let owned = Command::new("chown").args(["-R", "postgres:"]).arg(folder.path()).status();
            assert!(owned.unwrap().success());
        }
        let bin = programs();
        let made = as_owner(&bin.join("initdb"))
            .current_dir("/")
            .arg("-D")
            .arg(path("data"))
            .args(["-U", "carom", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
            .output()
            .expect("PostgreSQL is installed: deploy/services up postgres");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let tls_alone = "hostssl all all 127.0.0.1/32 trust\nhostssl all all ::1/128 trust\n";
        std::fs::write(path("data/pg_hba.conf"), tls_alone).unwrap();
        // Not on the command line, which would outweigh what is changed later.
        std::fs::write(path("data/postgresql.conf"), "ssl = on\n").unwrap();
        let port = free_port();
        let child = as_owner(&bin.join("postgres"))
            .current_dir("/")
            .arg("-D")
            .arg(path("data"))
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", &format!("port={port}"), "-c", "fsync=off"])
            .args(["-c", &format!("ssl_cert_file={}", path("server.crt").display())])
            .args(["-c", &format!("ssl_key_file={}", path("server.key").display())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, port, folder }
    }

    fn at(&self, host: &str, parameters: &str) -> PostgresAt {
        let url = format!("postgres://carom@{host}:{}/postgres?{parameters}", self.port);
        PostgresAt::parse(&url, 2).unwrap()
    }

    async fn open(&self, host: &str, parameters: &str) -> Result<Database, DbOpenError> {
        Database::open(&DatabaseAt::Postgres(Box::new(self.at(host, parameters)))).await
    }

    /// Waits until it answers.
    async fn is_up(&self) {
        let began = std::time::Instant::now();
        while self.at("localhost", "sslmode=require").connect().await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "PostgreSQL does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// One test for all: to make a server takes a second.
#[tokio::test]
async fn the_way_to_the_database_is_sealed_and_its_server_verified() {
    let authority = Authority::new();
    let server = Server::start(&authority);
    server.is_up().await;
    let ours = authority.write(server.folder.path(), "ca.pem");
    let others = Authority::new().write(server.folder.path(), "others.pem");
    let full = |path: &Path| format!("sslmode=verify-full&sslrootcert={}", path.display());

    let db = server.open("localhost", &full(&ours)).await.unwrap();
    for pool in [&db.read, &db.write] {
        let Db::Postgres(pool) = pool else { panic!("{pool:?}") };
        const SEALED: &str = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()";
        let row = sqlx::query(SEALED).fetch_one(pool).await.unwrap();
        let (is_sealed, version): (bool, String) = (row.get(0), row.get(1));
        assert!(is_sealed && version == "TLSv1.3", "{version}");
    }
    // It is this one that is written to.
    db.begin().await.unwrap().commit().await.unwrap();
    db.close().await;

    // Another name, another authority, and a file that is not there.
    for (host, path, expected) in [
        ("127.0.0.1", &ours, "is for localhost, not for 127.0.0.1"),
        (
            "localhost",
            &others,
            "not trusted here; name a file with that authority's certificate in sslrootcert",
        ),
        ("localhost", &server.folder.path().join("none.pem"), "cannot be read"),
    ] {
        let error = server.open(host, &full(path)).await.unwrap_err();
        assert!(matches!(error, DbOpenError::Tls { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    // Whoever does not ask who is there may be wrong about it; without TLS this server answers nobody.
    for (parameters, is_open) in [
        ("", true),
        ("sslmode=prefer", true),
        ("sslmode=require", true),
        ("sslmode=disable", false),
    ] {
        let opened = server.at("127.0.0.1", parameters).connect().await;
        assert_eq!(opened.is_ok(), is_open, "{parameters}: {opened:?}");
    }

    // A server without TLS is not spoken to by who demands it.
    let mut connection = server.at("localhost", "").connect().await.unwrap();
    for sql in ["alter system set ssl = off", "select pg_reload_conf()"] {
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
    let began = std::time::Instant::now();
    loop {
        match server.at("localhost", &full(&ours)).connect().await {
            Err(error) => {
                let cause = std::error::Error::source(&error).unwrap().to_string();
                assert!(cause.contains("server does not support TLS"), "{cause}");
                break;
            }
            // It has not read its settings yet.
            Ok(_) => assert!(began.elapsed() < Duration::from_secs(10)),
        }
    }
}
