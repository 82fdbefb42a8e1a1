//! Where settings are read from, and every setting of `carom-control`.

use std::path::PathBuf;

use carom_process::{LogConfig, OtelConfig, read_settings_file};
use carom_shared::settings::{InvalidSetting, Layers, Origin, Settings as Loaded};
use clap::Args;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::ProgramError;
use crate::config::{
    AbuseConfig, AccountsConfig, AuditConfig, ClicksConfig, Config, ControlConfig, DatabaseConfig,
    DomainsConfig, InternalConfig, LimitsConfig, MailConfig, RedisConfig,
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// `control.sock`, and what is in SQLite.
    pub(super) data_dir: PathBuf,
    /// What short URLs of the default domain begin with.
    pub(super) public_url: String,
    /// Where `/` of the default domain leads. Empty: nowhere.
    pub(super) home_url: String,
    pub(super) log: LogConfig,
    pub(super) otel: OtelConfig,
    pub(super) control: ControlConfig,
    pub(super) internal: InternalConfig,
    pub(super) database: DatabaseConfig,
    pub(super) clicks: ClicksConfig,
    pub(super) redis: RedisConfig,
    pub(super) accounts: AccountsConfig,
    pub(super) audit: AuditConfig,
    pub(super) mail: MailConfig,
    pub(super) limits: LimitsConfig,
    pub(super) abuse: AbuseConfig,
    pub(super) domains: DomainsConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "./carom-data".into(),
            public_url: "http://localhost:8080".into(),
            home_url: String::new(),
            log: LogConfig::default(),
            otel: OtelConfig::default(),
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
}

impl Settings {
    /// The part that the library takes.
    pub(super) fn config(&self) -> Config {
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
}

/// Where settings come from. Later ones win: defaults, file, environment (`CAROM_...`), flags.
#[derive(Clone, Debug, Args)]
pub struct SettingsArgs {
    /// Settings file [default: carom.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of what is stored in files, and of control.sock [default: ./carom-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// One setting by its name, such as control.listen=0.0.0.0:80; may be repeated
    #[arg(long = "set", global = true, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

impl SettingsArgs {
    /// Reads the settings: defaults < file < environment < flags.
    ///
    /// # Errors
    /// [`ProgramError`] names the setting and where it was set.
    pub fn load<T: Default + Serialize + DeserializeOwned>(
        &self,
        environment: Vec<(String, String)>,
        secrets: &[&str],
    ) -> Result<Loaded<T>, ProgramError> {
        let mut layers = Layers::new(secrets);
        if let Some((path, text)) = read_settings_file(self.config.as_deref())? {
            layers = layers.file(&path.display().to_string(), &text)?;
        }
        layers = layers.env(environment, |path| std::fs::read_to_string(path))?;
        if let Some(data_dir) = &self.data_dir {
            layers = layers.flag("data_dir", &data_dir.display().to_string());
        }
        for setting in &self.set {
            let (name, value) =
                setting.split_once('=').ok_or_else(|| ProgramError::Set(setting.clone()))?;
            layers = layers.flag(name, value);
        }
        Ok(layers.finish::<T>()?)
    }
}

/// Checks what the types alone do not say; opens nothing.
pub(super) fn check(loaded: &Loaded<Settings>) -> Result<(), InvalidSetting> {
    let is_default =
        |of: &str| loaded.effective().any(|it| it.setting == of && it.origin == Origin::Default);
    // Who means one process alone is better off with `carom`; who forgot the URL would have a
    // control plane that shares nothing with the others.
    if is_default("database.url") {
        let problem = "must be set: postgres://USER:PASSWORD@HOST/DATABASE, which any number of \
             control planes share; or sqlite://{data_dir}/carom.db, if there is to be this one alone";
        return Err(InvalidSetting::new("database.url", problem));
    }
    loaded.value.log.check()?;
    loaded.value.otel.check()?;
    loaded.value.config().check()
}
