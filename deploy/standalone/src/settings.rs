//! Every setting of `carom`, and where they are read from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use carom_control::{ClicksConfig, Config, ControlConfig, DatabaseConfig, InternalConfig};
use carom_edge::process::LogConfig;
use carom_edge::{EdgeConfig, SpoolConfig};
use carom_shared::settings::{Layers, Settings as Loaded};

use crate::backup::BackupConfig;
use crate::cli::SettingsArgs;
use crate::error::CommandError;
use crate::upgrade::UpgradeConfig;

/// The settings file that is read without being named, if it is there.
const DEFAULT_FILE: &str = "carom.toml";

/// Settings that may hold a password: never shown, and also read from files.
const SECRETS: &[&str] =
    &["clicks.url", "database.url", "internal.previous_token", "internal.token"];

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
    pub(crate) edge: EdgeConfig,
    pub(crate) spool: SpoolConfig,
    pub(crate) control: ControlConfig,
    pub(crate) internal: InternalConfig,
    pub(crate) database: DatabaseConfig,
    pub(crate) clicks: ClicksConfig,
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
            edge: EdgeConfig::default(),
            spool: SpoolConfig::default(),
            control: ControlConfig::default(),
            internal: InternalConfig::default(),
            database: DatabaseConfig::default(),
            clicks: ClicksConfig::default(),
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
        }
    }

    /// Checks what the types alone do not say; opens nothing.
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        self.log.check()?;
        self.edge.check()?;
        self.spool.check()?;
        self.backup.check()?;
        Ok(self.control_config().check()?)
    }
}

/// Reads the settings: defaults < file < environment < flags.
pub(crate) fn load(
    args: &SettingsArgs,
    environment: Vec<(String, String)>,
) -> Result<Loaded<Settings>, CommandError> {
    let mut layers = Layers::new(SECRETS);
    if let Some((path, text)) = read_file(args.config.as_deref())? {
        layers = layers.file(&path.display().to_string(), &text)?;
    }
    layers = layers.env(environment, |path| std::fs::read_to_string(path))?;
    if let Some(data_dir) = &args.data_dir {
        layers = layers.flag("data_dir", &data_dir.display().to_string());
    }
    for setting in &args.set {
        let (name, value) =
            setting.split_once('=').ok_or_else(|| CommandError::Set(setting.clone()))?;
        layers = layers.flag(name, value);
    }
    Ok(layers.finish::<Settings>()?)
}

/// A file that was named must be there; the default one may be missing.
fn read_file(named: Option<&Path>) -> Result<Option<(PathBuf, String)>, CommandError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CommandError::ConfigFile { path: path.to_owned(), source }),
    }
}
