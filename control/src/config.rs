//! What the control plane is told at start: one struct per concern, checked before anything opens.

mod abuse;
mod accounts;
mod audit;
mod domains;
mod limits;
mod mail;
mod oidc;

pub use abuse::AbuseConfig;
pub use accounts::{AccountsConfig, Registration};
pub use audit::AuditConfig;
pub use domains::DomainsConfig;
pub use limits::LimitsConfig;
pub(crate) use mail::MailAt;
pub use mail::MailConfig;
pub use oidc::OidcConfig;
#[cfg(feature = "oidc")]
pub(crate) use oidc::is_this_machine;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use carom_shared::internal::TOKEN_MIN_LEN;
use carom_shared::settings::InvalidSetting;
use carom_shared::{AddressBlock, Host, TargetPolicy, TargetUrl};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::click::clickhouse::{ClickHouseAt, ClickHouseServer};
use crate::db::PostgresAt;
use crate::redis::RedisAt;

/// How many connections to PostgreSQL can be asked for.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 2..=1000;

/// All that the control plane needs to know. The program composes it from its own settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where `{data_dir}` in the database URLs points to. The program makes and locks it.
    pub data_dir: PathBuf,
    /// What short URLs of the default domain begin with: an `http` or `https` origin.
    pub public_url: String,
    /// Where `/` of the default domain leads: an `http` or `https` URL. Empty: nowhere, 404.
    pub home_url: String,
    pub control: ControlConfig,
    pub internal: InternalConfig,
    pub database: DatabaseConfig,
    pub clicks: ClicksConfig,
    pub redis: RedisConfig,
    pub accounts: AccountsConfig,
    pub audit: AuditConfig,
    pub mail: MailConfig,
    pub limits: LimitsConfig,
    pub abuse: AbuseConfig,
    pub domains: DomainsConfig,
}

/// `control.*`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlConfig {
    /// The API.
    pub listen: SocketAddr,
    /// For edges; only with `internal.token`. Keep it in a private network: it is plain HTTP.
    pub internal_listen: SocketAddr,
    /// Health and metrics.
    pub admin_listen: SocketAddr,
    /// Where people and programs reach the API: an origin. The `type` of every problem document
    /// is an address under it that describes the problem.
    pub public_url: String,
    /// Blocks of proxies whose `X-Forwarded-For` is believed. None: every address is the
    /// connection's.
    pub trusted_proxies: Vec<AddressBlock>,
    /// Open connections of the API, at most; more wait in the kernel's backlog.
    pub max_connections: u32,
    /// Whether links may lead into private networks.
    pub allow_private_targets: bool,
    /// Longest target URL, in bytes; at most 8,192.
    pub max_target_bytes: usize,
}

impl Default for ControlConfig {
    fn default() -> Self {
        let policy = carom_shared::TargetPolicy::default();
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            internal_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8082)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9081)),
            public_url: "http://localhost:8081".into(),
            trusted_proxies: Vec::new(),
            max_connections: 1024,
            allow_private_targets: policy.allow_private,
            max_target_bytes: policy.max_len,
        }
    }
}

/// `internal.*`: what edges and control prove to each other that they belong together.
///
/// To change the token while all of them run: control gets the new one as `token` and the old one
/// as `previous_token`, then each edge the new one, then control no `previous_token`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InternalConfig {
    /// What edges show; at least 32 characters, random. Empty: no edges elsewhere.
    pub token: String,
    /// Taken as well, while tokens change.
    pub previous_token: String,
}

/// Without the tokens.
impl std::fmt::Debug for InternalConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InternalConfig").finish_non_exhaustive()
    }
}

impl InternalConfig {
    /// # Errors
    /// [`InvalidSetting`] for a token that can be guessed.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let tokens =
            [("internal.token", &self.token), ("internal.previous_token", &self.previous_token)];
        for (setting, token) in tokens {
            let is_sound =
                token.len() >= TOKEN_MIN_LEN && token.bytes().all(|byte| byte.is_ascii_graphic());
            if !token.is_empty() && !is_sound {
                let problem = format!(
                    "must have at least {TOKEN_MIN_LEN} characters, without spaces; make one with \
                     openssl rand -hex 32"
                );
                return Err(InvalidSetting::new(setting, problem));
            }
        }
        if self.token.is_empty() && !self.previous_token.is_empty() {
            let problem = "is of no use without internal.token";
            return Err(InvalidSetting::new("internal.previous_token", problem));
        }
        Ok(())
    }
}

/// `database.*`: workspaces, domains, keys, links.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite://PATH`, where `{data_dir}` stands for the data folder, or
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. Of a PostgreSQL URL's parameters, `host` (a
    /// folder with a socket too), `port`, `dbname`, `user`, `password` and `sslmode` are known.
    /// There is no TLS to the database yet: a URL that demands it is refused.
    pub url: String,
    /// Connections to PostgreSQL, at most: one writes, the others read. From 2 to 1,000. SQLite
    /// has numbers of its own.
    pub max_connections: u32,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: "sqlite://{data_dir}/carom.db".into(), max_connections: 16 }
    }
}

/// Without the URL, which may hold a password.
impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut config = f.debug_struct("DatabaseConfig");
        config.field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// The database that `database.url` names.
#[derive(Clone, Debug)]
pub(crate) enum DatabaseAt {
    Sqlite(PathBuf),
    Postgres(Box<PostgresAt>),
}

/// `clicks.*`: clicks and their statistics.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClicksConfig {
    /// `sqlite://PATH`; `{data_dir}` stands for the data folder. Of several control planes on one
    /// PostgreSQL database one alone can have a file, and the others say `none`: they refuse clicks
    /// and questions about them, and edges and people turn to the one that has them.
    /// `https://USER:PASSWORD@HOST:8443/DATABASE` is a ClickHouse, which all of them share; `http://` and
    /// 8123 without TLS.
    pub url: String,
    /// Certificates in PEM of the authorities of which a ClickHouse's has to be; empty: those that
    /// this machine trusts.
    pub ca_path: PathBuf,
    /// ClickHouse's name of the cluster in which tables are replicated. Empty: one server.
    pub cluster: String,
    /// Days for which each click is kept, with its details; 0 keeps them for ever. Totals and series
    /// of clicks and visitors stay when details go.
    pub retention_days: u32,
}

impl Default for ClicksConfig {
    fn default() -> Self {
        let url = "sqlite://{data_dir}/clicks.db".into();
        Self { url, ca_path: PathBuf::new(), cluster: String::new(), retention_days: 400 }
    }
}

impl ClicksConfig {
    /// Reads the URL. It is not repeated in errors: it may hold a password.
    pub(crate) fn at(&self, data_dir: &Path) -> Result<Option<ClicksAt>, InvalidSetting> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if !self.cluster.bytes().all(is_name) {
            let problem = "is the name of a cluster: letters, digits, dots, hyphens, underscores";
            return Err(InvalidSetting::new("clicks.cluster", problem));
        }
        if self.url == "none" {
            return Ok(None);
        }
        if let Some(path) = sqlite_path(&self.url, data_dir) {
            return Ok(Some(ClicksAt::Sqlite(path)));
        }
        if ["http://", "https://"].iter().any(|scheme| self.url.starts_with(scheme)) {
            let at = ClickHouseAt::parse(&self.url)
                .map_err(|problem| InvalidSetting::new("clicks.url", problem))?;
            let server = ClickHouseServer::new(at, &self.ca_path)?;
            return Ok(Some(ClicksAt::ClickHouse { server, cluster: self.cluster.clone() }));
        }
        let problem = "is not supported; write sqlite://PATH, for example \
             sqlite://{data_dir}/clicks.db, https://USER:PASSWORD@HOST:8443/DATABASE, or none";
        Err(InvalidSetting::new("clicks.url", problem))
    }
}

/// Without the URL, which may hold a password, if a wrong one.
impl std::fmt::Debug for ClicksConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut config = f.debug_struct("ClicksConfig");
        config.field("retention_days", &self.retention_days).finish_non_exhaustive()
    }
}

/// Settings of the control plane that may hold a password, in whatever program: never shown, and also
/// read from files.
pub const SECRETS: &[&str] = &[
    "accounts.oidc.client_secret", "accounts.secret_key", "clicks.url", "database.url",
    "edge.clicks_url", "internal.previous_token", "internal.token", "mail.url", "redis.url",
];

/// `redis.*`: the second cache of a fleet's edges, and the quick way of changes to them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://USER:PASSWORD@HOST:PORT/NUMBER` or `redis+unix:///PATH?db=NUMBER&user=&pass=`.
    /// `rediss://` is with TLS. The number is of a database that this installation has to itself.
    /// Empty: no Redis.
    pub url: String,
    /// Certificates in PEM of the authorities of which the server's has to be; empty: those that this
    /// machine trusts.
    pub ca_path: PathBuf,
}

/// Without the URL, which may hold a password.
impl std::fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConfig").finish_non_exhaustive()
    }
}

impl RedisConfig {
    /// Reads the URL. It is not repeated in errors: it may hold a password.
    fn at(&self) -> Result<Option<RedisAt>, InvalidSetting> {
        (!self.url.is_empty()).then(|| RedisAt::new(&self.url, &self.ca_path)).transpose()
    }
}

/// The store that `clicks.url` names.
#[derive(Clone, Debug)]
pub(crate) enum ClicksAt {
    Sqlite(PathBuf),
    ClickHouse { server: ClickHouseServer, cluster: String },
}

impl ClicksAt {
    /// What it is called in messages; never with a password.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                path.display().to_string()
            }
            Self::ClickHouse { server, .. } => server.shown(),
        }
    }
}

/// The settings in the types that the rest of the crate uses.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) public_url: Origin,
    pub(crate) control_url: Origin,
    pub(crate) home: Option<TargetUrl>,
    pub(crate) database: DatabaseAt,
    /// `None`: another control plane on the same database has them.
    pub(crate) clicks: Option<ClicksAt>,
    pub(crate) redis: Option<RedisAt>,
    /// `None`: no mail is sent.
    pub(crate) mail: Option<MailAt>,
}

impl Config {
    /// For this folder and what short URLs begin with; all else as it is by default.
    #[must_use]
    pub fn new(data_dir: PathBuf, public_url: &str) -> Self {
        Self {
            data_dir,
            public_url: public_url.into(),
            home_url: String::new(),
            control: ControlConfig::default(),
            internal: InternalConfig::default(),
            database: DatabaseConfig::default(),
            clicks: ClicksConfig::default(),
            redis: RedisConfig::default(),
            accounts: AccountsConfig::default(),
            audit: AuditConfig::default(),
            mail: MailConfig::default(),
            limits: LimitsConfig::default(),
            abuse: AbuseConfig::default(),
            domains: DomainsConfig::default(),
        }
    }

    /// Checks every setting; opens nothing but the files of authorities that they name.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first setting that cannot be used.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        self.checked().map(drop)
    }

    pub(crate) fn checked(&self) -> Result<Checked, InvalidSetting> {
        let control = &self.control;
        if control.max_connections == 0 {
            return Err(InvalidSetting::new("control.max_connections", "must be at least 1"));
        }
        let longest = carom_shared::TargetUrl::MAX_LEN;
        if !(1..=longest).contains(&control.max_target_bytes) {
            let problem = format!("must be from 1 to {longest}");
            return Err(InvalidSetting::new("control.max_target_bytes", problem));
        }
        self.internal.check()?;
        self.accounts.check()?;
        self.limits.check()?;
        let database = self.database.at(&self.data_dir)?;
        let clicks = self.clicks.at(&self.data_dir)?;
        if let DatabaseAt::Sqlite(path) = &database {
            let problem = match &clicks {
                None => {
                    Some("none is for one of several control planes on one PostgreSQL database")
                }
                Some(ClicksAt::Sqlite(clicks)) if clicks == path => {
                    Some("must be another file than database.url names")
                }
                Some(_) => None,
            };
            if let Some(problem) = problem {
                return Err(InvalidSetting::new("clicks.url", problem));
            }
        }
        Ok(Checked {
            public_url: Origin::parse("public_url", &self.public_url)?,
            control_url: Origin::parse("control.public_url", &control.public_url)?,
            home: self.home()?,
            database,
            clicks,
            redis: self.redis.at()?,
            mail: self.mail.at()?,
        })
    }

    fn home(&self) -> Result<Option<TargetUrl>, InvalidSetting> {
        if self.home_url.is_empty() {
            return Ok(None);
        }
        // The operator knows what visitors reach; a code of this installation is a home too.
        let policy = TargetPolicy { allow_private: true, ..TargetPolicy::default() };
        let home = TargetUrl::parse(&self.home_url, &policy);
        home.map(Some).map_err(|error| InvalidSetting::new("home_url", error.to_string()))
    }
}

impl DatabaseConfig {
    /// Reads the URL. It is not repeated in errors: it may hold a password.
    pub(crate) fn at(&self, data_dir: &Path) -> Result<DatabaseAt, InvalidSetting> {
        if !CONNECTIONS.contains(&self.max_connections) {
            let (least, most) = (CONNECTIONS.start(), CONNECTIONS.end());
            let problem = format!("must be from {least} to {most}");
            return Err(InvalidSetting::new("database.max_connections", problem));
        }
        if let Some(path) = sqlite_path(&self.url, data_dir) {
            return Ok(DatabaseAt::Sqlite(path));
        }
        if ["postgres://", "postgresql://"].iter().any(|scheme| self.url.starts_with(scheme)) {
            return PostgresAt::parse(&self.url, self.max_connections)
                .map(|at| DatabaseAt::Postgres(Box::new(at)))
                .map_err(|problem| InvalidSetting::new("database.url", problem));
        }
        let problem = "is not supported; write sqlite://PATH, for example \
             sqlite://{data_dir}/carom.db, or postgres://USER:PASSWORD@HOST/DATABASE";
        Err(InvalidSetting::new("database.url", problem))
    }
}

/// `None` if the URL is not SQLite's.
fn sqlite_path(url: &str, data_dir: &Path) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite://").filter(|path| !path.is_empty())?;
    Some(match path.strip_prefix("{data_dir}/") {
        Some(rest) => data_dir.join(rest),
        None => PathBuf::from(path),
    })
}

/// An `http` or `https` origin without a final slash: what addresses are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    text: Box<str>,
    host: Host,
    is_https: bool,
}

impl Origin {
    pub(crate) fn parse(setting: &'static str, text: &str) -> Result<Self, InvalidSetting> {
        let problem = "must be an address such as https://go.example.com, with no path";
        let error = || InvalidSetting::new(setting, problem);
        let url = Url::parse(text).map_err(|_| error())?;
        let is_bare = matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !is_bare {
            return Err(error());
        }
        let host = Host::parse(url.host_str().unwrap_or_default()).map_err(|_| error())?;
        Ok(Self {
            text: url.as_str().trim_end_matches('/').into(),
            host,
            is_https: url.scheme() == "https",
        })
    }

    pub(crate) const fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) const fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new("/data".into(), "http://localhost:8080")
    }

    #[test]
    fn the_defaults_are_usable() {
        let checked = config().checked().unwrap();
        let DatabaseAt::Sqlite(path) = checked.database else { panic!("{:?}", checked.database) };
        assert_eq!(path, Path::new("/data/carom.db"));
        let Some(ClicksAt::Sqlite(clicks)) = checked.clicks else { panic!("{:?}", checked.clicks) };
        assert_eq!(clicks, Path::new("/data/clicks.db"));
        assert_eq!(checked.public_url.as_str(), "http://localhost:8080");
        assert_eq!(checked.public_url.host().as_str(), "localhost");
    }

    #[test]
    fn errors_name_the_setting_and_never_repeat_a_password() {
        for url in [
            "mysql://carom:hunter2@db/carom", "postgres://carom:hunter2@db/carom?sslmode=always",
            "postgres:hunter2", "sqlite://",
        ] {
            let mut bad = config();
            bad.database.url = url.into();
            let text = bad.check().unwrap_err().to_string();
            let is_named = text.starts_with("setting database.url: ");
            assert!(is_named && !text.contains("hunter2"), "{text}");
            assert!(!format!("{bad:?}").contains("hunter2"));
        }
        let mut bad = config();
        bad.clicks.url = "postgres://carom:hunter2@db/carom".into();
        let text = bad.check().unwrap_err().to_string();
        assert!(text.starts_with("setting clicks.url: ") && !text.contains("hunter2"), "{text}");
        let mut clickhouse = config();
        for url in ["https://carom:hunter2@db", "http://carom:hunter2@db"] {
            clickhouse.clicks.url = url.into();
            let text = clickhouse.check().unwrap_err().to_string();
            let is_named = text.starts_with("setting clicks.url: ");
            assert!(is_named && !text.contains("hunter2"), "{text}");
        }
        clickhouse.clicks.url = "http://carom:hunter2@db/clicks".into();
        let checked = clickhouse.checked().unwrap();
        assert!(matches!(checked.clicks, Some(ClicksAt::ClickHouse { .. })));
        assert!(!format!("{clickhouse:?} {checked:?}").contains("hunter2"));
        // A file that cannot be read, and one for which there is no use.
        clickhouse.clicks.ca_path = "/nowhere/ca.pem".into();
        let text = clickhouse.check().unwrap_err().to_string();
        assert!(text.starts_with("setting clicks.ca_path: is of no use"), "{text}");
        clickhouse.clicks.url = "https://carom:hunter2@db/clicks".into();
        let text = clickhouse.check().unwrap_err().to_string();
        assert!(text.starts_with("setting clicks.ca_path: cannot be read"), "{text}");
        clickhouse.clicks.ca_path = PathBuf::new();
        clickhouse.clicks.url = "http://carom:hunter2@db/clicks".into();
        clickhouse.clicks.cluster = "a`b".into();
        assert_eq!(clickhouse.check().unwrap_err().setting, "clicks.cluster");
        for connections in [0, 1, 1001] {
            let mut bad = config();
            bad.database.max_connections = connections;
            assert_eq!(bad.check().unwrap_err().setting, "database.max_connections");
        }

        for url in [
            "localhost:8080", "ftp://a.example", "https://a.example/x", "https://u@a.example",
            "https://a.example/?q", "https://a.example/#f", "",
        ] {
            let mut bad = config();
            bad.public_url = url.into();
            assert_eq!(bad.check().unwrap_err().setting, "public_url", "{url}");
        }
        let mut bad = config();
        bad.clicks.url.clone_from(&bad.database.url);
        assert_eq!(bad.check().unwrap_err().setting, "clicks.url");
        bad.clicks.url = "none".into();
        assert_eq!(bad.check().unwrap_err().setting, "clicks.url");
        bad.database.url = "postgres://carom@db/carom".into();
        assert!(bad.checked().unwrap().clicks.is_none());
        let mut bad = config();
        bad.control.max_target_bytes = 8193;
        assert_eq!(bad.check().unwrap_err().setting, "control.max_target_bytes");
    }

    #[test]
    fn postgresql_is_known_by_its_scheme() {
        for url in ["postgres://carom:hunter2@db/carom", "postgresql://carom@db/carom"] {
            let mut config = config();
            config.database.url = url.into();
            let checked = config.checked().unwrap();
            assert!(matches!(checked.database, DatabaseAt::Postgres(_)));
            assert!(!format!("{checked:?}").contains("hunter2"));
        }
    }

    #[test]
    fn redis_is_known_by_its_scheme_and_its_password_is_never_shown() {
        for url in
            ["redis://:hunter2@r/5", "redis+unix:///run/r.sock?db=1&pass=hunter2", "valkey://r"]
        {
            let mut config = config();
            config.redis.url = url.into();
            let checked = config.checked().unwrap();
            assert!(checked.redis.is_some());
            assert!(!format!("{checked:?}{config:?}").contains("hunter2"));
        }
        assert!(config().checked().unwrap().redis.is_none());
        for url in [
            "rediss://:hunter2@r/#insecure", "http://:hunter2@r", "redis:hunter2",
            "redis://hunter2@r/x",
        ] {
            let mut config = config();
            config.redis.url = url.into();
            let text = config.check().unwrap_err().to_string();
            assert!(text.starts_with("setting redis.url: ") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        let error = serde_json::from_str::<ControlConfig>(r#"{"lisen": "127.0.0.1:1"}"#);
        assert!(error.unwrap_err().to_string().contains("lisen"));
    }
}
