//! PostgreSQL: a connection that writes, and some that read.
//!
//! Several control planes may share one database. Each has one task that writes, and its
//! transaction begins by taking the **writer's lock**, an advisory lock that ends with it. So one
//! transaction writes at a time, as in SQLite: no command sees half of another's work, none can
//! deadlock, and read committed is enough. Price: writers of different processes do not overlap,
//! and share what commits per second the server's disk allows; each commit carries up to 256
//! commands.
//!
//! Every connection is told what the code relies on; a server's own settings cannot weaken it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use carom_process::explain_tls;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{Connection, Postgres, Transaction};
use url::Url;

use super::{ACQUIRE_TIMEOUT, DbOpenError, LOCK_TIMEOUT, Schema, migrator, refused_schema};

/// How long one statement may take; all of this crate's are short.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a transaction may stand still before the server ends it: a process that hangs does not
/// hold the writer's lock for ever.
const TRANSACTION_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may lie unused before it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);
/// A connection that was used this recently is taken to be there still: asking costs a round trip.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// What the advisory lock of writers is called: `carom` in ASCII, and 1. Versions that run side by
/// side during an upgrade must agree on it.
pub(super) const WRITER_LOCK: i64 = 0x63_61_72_6f_6d_01;
/// What the lock of the control plane is called that keeps clicks in a file: as the writer's, and 2.
pub(crate) const CLICKS_LOCK: i64 = 0x63_61_72_6f_6d_02;
/// What the server's list of connections calls ours.
pub(super) const APPLICATION_NAME: &str = "carom-control";
/// What may stand behind the `?` of a URL. Anything else is refused: sqlx ignores what it does not
/// know, and logs it with its value.
const PARAMETERS: &[&str] =
    &["dbname", "host", "password", "port", "sslmode", "sslrootcert", "user"];
/// What names a file of authorities, for messages.
const ROOT_CERT: &str = "sslrootcert, a parameter of database.url";

/// Which PostgreSQL database, and how many connections to it.
#[derive(Clone)]
pub(crate) struct PostgresAt {
    connect: PgConnectOptions,
    /// A file of authorities, which the driver reads at each connection.
    root_cert: Option<PathBuf>,
    /// One writes, the others read: at least 2.
    connections: u32,
}

/// Says where, never with which password.
impl std::fmt::Debug for PostgresAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} connections)", self.shown(), self.connections)
    }
}

impl PostgresAt {
    /// Reads a `postgres://` URL. What it leaves out comes from libpq's variables (`PGHOST`,
    /// `PGUSER`, `PGPASSWORD`, …) and `~/.pgpass`, and then from libpq's defaults. So does what `sslmode`
    /// means: without one, TLS with a server that offers it, whoever that is.
    ///
    /// # Errors
    /// What is wrong with the URL, without the URL: it may hold a password.
    pub(crate) fn parse(url: &str, connections: u32) -> Result<Self, String> {
        let malformed = || "must look like postgres://USER:PASSWORD@HOST:5432/DATABASE".to_owned();
        let parsed = Url::parse(url).map_err(|_| malformed())?;
        if let Some((name, _)) =
            parsed.query_pairs().find(|(name, _)| !PARAMETERS.contains(&&**name))
        {
            let known = PARAMETERS.join(", ");
            return Err(format!("has the unknown parameter {name:?}; there are {known}"));
        }
        let connect = PgConnectOptions::from_str(url).map_err(|_| malformed())?;
        let root_cert = parsed.query_pairs().find(|(name, _)| name == "sslrootcert");
        let root_cert = root_cert.map(|(_, path)| PathBuf::from(path.into_owned()));
        let is_verified =
            matches!(connect.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
        // The driver would not look at the file, where libpq does: who names one wants to be sure.
        if root_cert.is_some() && !is_verified {
            return Err("names an sslrootcert, which is looked at with sslmode=verify-full alone \
                        (or verify-ca): add that"
                .to_owned());
        }
        // As libpq has it: what does not leave the machine is not sealed.
        let is_socket = connect.get_socket().is_some() || connect.get_host().starts_with('/');
        let connect = if is_socket { connect.ssl_mode(PgSslMode::Disable) } else { connect };
        Ok(Self { connect: connect.application_name(APPLICATION_NAME), root_cert, connections })
    }

    /// A connection of its own, to look at the server as it is.
    pub(crate) async fn connect(&self) -> Result<PgConnection, DbOpenError> {
        if let Some(path) = &self.root_cert
            && let Err(error) = std::fs::File::open(path)
        {
            let problem = format!("{ROOT_CERT}, cannot be read: {}: {error}", path.display());
            return Err(DbOpenError::Tls { path: self.shown(), problem });
        }
        let connected = PgConnection::connect_with(&self.connect).await;
        connected.map_err(|source| match explain_tls(&source, ROOT_CERT) {
            Some(problem) => DbOpenError::Tls { path: self.shown(), problem },
            None => DbOpenError::Open { path: self.shown(), source },
        })
    }

    /// The database for messages.
    pub(super) fn shown(&self) -> String {
        let database = self.connect.get_database().unwrap_or(self.connect.get_username());
        match self.connect.get_socket() {
            Some(socket) => format!("{database} at {}", socket.display()),
            None => {
                let (host, port) = (self.connect.get_host(), self.connect.get_port());
                format!("{database} at {host}:{port}")
            }
        }
    }
}

/// The pools of one PostgreSQL database.
#[derive(Clone, Debug)]
pub(crate) struct PostgresPools {
    pub(crate) read: PgPool,
    pub(crate) write: PgPool,
}

impl PostgresPools {
    /// Connects, brings the schema up to date, and opens both pools. Several may do so at once:
    /// sqlx takes a lock while it migrates.
    pub(crate) async fn open(at: &PostgresAt, schema: Schema) -> Result<Self, DbOpenError> {
        let shown = at.shown();
        let open_error = |source| DbOpenError::Open { path: shown.clone(), source };
        // A connection of its own, without the limits of time: to build an index takes long.
        let mut connection = at.connect().await?;
        check_server(&mut connection, &shown).await?;
        let migrated = migrator(schema).run(&mut connection).await;
        // The lock of a migration that failed ends with its connection.
        let closed = connection.close().await;
        migrated.map_err(|error| refused_schema(schema, shown.clone(), error))?;
        closed.map_err(open_error)?;

        let pool = || {
            PgPoolOptions::new()
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .idle_timeout(IDLE_TIMEOUT)
                .after_connect(|connection, _| Box::pin(prepare(connection)))
        };
        // The writer asks each time: a commit costs much more than a ping.
        let write = pool().max_connections(1).test_before_acquire(true);
        let write = write.connect_with(at.connect.clone()).await.map_err(open_error)?;
        let readers = pool()
            .max_connections(at.connections.saturating_sub(1).max(1))
            .test_before_acquire(false)
            .before_acquire(|connection, age| {
                Box::pin(async move {
                    if age.idle_for > TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            });
        let read = readers.connect_with(at.connect.clone()).await.map_err(open_error)?;
        Ok(Self { read, write })
    }
}

/// Begins a transaction and takes the writer's lock for it.
pub(crate) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let lock = sqlx::query("select pg_advisory_xact_lock($1)").bind(WRITER_LOCK);
    lock.execute(&mut *tx).await?;
    Ok(tx)
}

/// Refuses a database that cannot hold every text, and warns of a server that forgets commits.
async fn check_server(connection: &mut PgConnection, shown: &str) -> Result<(), DbOpenError> {
    const CHECK: &str = "select current_setting('server_encoding'), current_setting('fsync')";
    let (encoding, fsync): (String, String) = sqlx::query_as(CHECK)
        .fetch_one(connection)
        .await
        .map_err(|source| DbOpenError::Open { path: shown.to_owned(), source })?;
    if encoding != "UTF8" {
        return Err(DbOpenError::Encoding { path: shown.to_owned(), encoding });
    }
    if fsync == "off" {
        tracing::warn!(
            "PostgreSQL runs with fsync = off: acknowledged links are lost with its power"
        );
    }
    Ok(())
}

/// Tells a new connection what the code relies on.
async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for (name, value) in [
        ("default_transaction_isolation", "read committed".to_owned()),
        ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
        ("lock_timeout", LOCK_TIMEOUT.as_millis().to_string()),
        ("idle_in_transaction_session_timeout", TRANSACTION_IDLE_TIMEOUT.as_millis().to_string()),
    ] {
        let set = sqlx::query("select set_config($1, $2, false)").bind(name).bind(value);
        set.execute(&mut *connection).await?;
    }
    // A commit is on disk when it is answered. Whoever waits for standbys as well (remote_apply)
    // keeps that.
    const DURABLE: &str = "select set_config('synchronous_commit', 'on', false) \
         where current_setting('synchronous_commit') = 'off'";
    sqlx::query(DURABLE).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_its_password_is_never_shown() {
        let at = PostgresAt::parse("postgres://carom:hunter2@db.example:6543/links", 8).unwrap();
        assert_eq!(format!("{at:?}"), "links at db.example:6543 (8 connections)");
        let socket = "postgresql:///links?host=/run/postgresql&user=carom&password=hunter2";
        let at = PostgresAt::parse(socket, 2).unwrap();
        assert_eq!(format!("{at:?}"), "links at /run/postgresql (2 connections)");
    }

    #[test]
    fn what_cannot_be_kept_is_refused_without_repeating_it() {
        for (url, problem) in [
            ("postgres://carom:hunter2@db/carom?sslrootcert=/ca.pem", "verify-full"),
            (
                "postgres://carom:hunter2@db/carom?sslmode=require&sslrootcert=/ca.pem",
                "verify-full",
            ),
            ("postgres://carom:hunter2@db/carom?sslmode=sometimes", "must look like"),
            ("postgres://carom@db/carom?passphrase=hunter2", "unknown parameter \"passphrase\""),
            ("postgres://carom:hunter2@db:port/carom", "must look like"),
        ] {
            let error = PostgresAt::parse(url, 8).unwrap_err();
            assert!(error.contains(problem) && !error.contains("hunter2"), "{url}: {error}");
        }
        for sslmode in ["disable", "prefer", "require", "verify-full&sslrootcert=/ca.pem"] {
            let url = format!("postgres://carom@db/carom?sslmode={sslmode}");
            assert!(PostgresAt::parse(&url, 8).is_ok(), "{url}");
        }
        let socket = "postgres:///carom?host=/run/postgresql&sslmode=verify-full";
        let socket = PostgresAt::parse(socket, 8).unwrap();
        assert!(matches!(socket.connect.get_ssl_mode(), PgSslMode::Disable));
    }
}
