//! Every setting of `carom`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use carom_control::{
    AbuseConfig, AccountsConfig, AuditConfig, ClicksConfig, Config, ControlConfig, DatabaseConfig,
    DomainsConfig, InternalConfig, LimitsConfig, MailConfig, RedisConfig,
};
use carom_edge::process::{LogConfig, OtelConfig};
use carom_edge::{EdgeConfig, SpoolConfig};

use crate::backup::BackupConfig;
use crate::error::CommandError;
use crate::upgrade::UpgradeConfig;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Databases, click spool, `control.sock`.
    pub(crate) data_dir: PathBuf,
    /// What short URLs of the default domain begin with.
    pub(crate) public_url: String,
    /// Where `/` of the default domain leads: an `http` or `https` URL. Empty: nowhere, 404.
    pub(crate) home_url: String,
    pub(crate) log: LogConfig,
    pub(crate) otel: OtelConfig,
    pub(crate) edge: EdgeConfig,
    pub(crate) spool: SpoolConfig,
    pub(crate) control: ControlConfig,
    pub(crate) internal: InternalConfig,
    pub(crate) database: DatabaseConfig,
    pub(crate) clicks: ClicksConfig,
    pub(crate) redis: RedisConfig,
    pub(crate) accounts: AccountsConfig,
    pub(crate) audit: AuditConfig,
    pub(crate) mail: MailConfig,
    pub(crate) limits: LimitsConfig,
    pub(crate) abuse: AbuseConfig,
    pub(crate) domains: DomainsConfig,
    pub(crate) backup: BackupConfig,
    pub(crate) upgrade: UpgradeConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "./carom-data".into(),
            public_url: "http://localhost:8080".into(),
            home_url: String::new(),
            log: LogConfig::default(),
            otel: OtelConfig::default(),
            edge: EdgeConfig::default(),
            spool: SpoolConfig::default(),
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
            backup: BackupConfig::default(),
            upgrade: UpgradeConfig::default(),
        }
    }
}

impl Settings {
    /// The part that the control plane takes.
    pub(crate) fn control_config(&self) -> Config {
        Config {
            data_dir: self.data_dir.clone(),
            public_url: self.public_url.clone(),
            home_url: self.home_url.clone(),
            control: self.control.clone(),
            internal: self.internal.clone(),
            database: self.database.clone(),
            clicks: self.clicks.clone(),
            redis: self.redis.clone(),
            accounts: self.accounts.clone(),
            audit: self.audit.clone(),
            mail: self.mail.clone(),
            limits: self.limits.clone(),
            abuse: self.abuse.clone(),
            domains: self.domains.clone(),
        }
    }

    /// Checks what the types alone do not say; opens nothing.
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        self.log.check()?;
        self.otel.check()?;
        self.edge.check()?;
        self.spool.check()?;
        self.backup.check()?;
        Ok(self.control_config().check()?)
    }
}
