//! The log: to standard error, for people or for programs.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use carom_shared::settings::InvalidSetting;

/// `log.*`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or levels by module
    /// such as `info,carom_edge=debug`.
    pub filter: String,
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::default() }
    }
}

impl LogConfig {
    /// # Errors
    /// [`InvalidSetting`] if the filter cannot be read.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        self.targets().map(drop)
    }

    fn targets(&self) -> Result<Targets, InvalidSetting> {
        let problem = "must be a level, or levels by module such as info,carom_edge=debug";
        self.filter
            .parse()
            .map_err(|_| InvalidSetting { setting: "log.filter", problem: problem.to_owned() })
    }

    /// Logs from now on.
    ///
    /// # Errors
    /// [`InvalidSetting`] if the filter cannot be read.
    pub fn start(&self) -> Result<(), InvalidSetting> {
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let layer = match self.format {
            LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
            LogFormat::Json => layer.json().flatten_event(true).boxed(),
        };
        // A second start in one process keeps the first log.
        drop(tracing_subscriber::registry().with(layer.with_filter(self.targets()?)).try_init());
        Ok(())
    }
}
