//! Every setting of `carom-edge`, and where they are read from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use carom_edge::control::ControlClient;
use carom_edge::l2::L2;
use carom_edge::process::{LogConfig, OtelConfig, read_settings_file};
use carom_edge::ship::{ClickSink, StraightSink};
use carom_edge::{EdgeConfig, SpoolConfig};
use carom_shared::settings::{InvalidSetting, Layers};
use carom_shared::{Clock, Random, SystemRandom};
use serde::{Deserialize, Serialize};

use super::cli::SettingsArgs;
use super::error::ProgramError;

const SECRETS: &[&str] = &["internal.token", "redis.url", "edge.clicks_url"];

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// The click spool, and what is known of links, domains and salts.
    pub(super) data_dir: PathBuf,
    pub(super) log: LogConfig,
    pub(super) otel: OtelConfig,
    pub(super) edge: EdgeConfig,
    pub(super) spool: SpoolConfig,
    pub(super) internal: InternalConfig,
    pub(super) redis: RedisConfig,
}

/// `internal.*`: what edges and control prove to each other that they belong together.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InternalConfig {
    /// The control plane's.
    pub(super) token: String,
}

/// `redis.*`: the second cache level and the stream of changes, which a fleet shares.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RedisConfig {
    /// The control plane's; none: the control plane is asked for everything.
    pub(super) url: Option<String>,
    /// Certificates in PEM of the authorities of which the server's has to be; empty: those that this
    /// machine trusts.
    pub(super) ca_path: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        let mut edge = EdgeConfig::default();
        // An absence that is believed here would hide a link that was made meanwhile.
        edge.resolve.negative_ms = 0;
        Self {
            data_dir: "./carom-data".into(),
            log: LogConfig::default(),
            otel: OtelConfig::default(),
            edge,
            spool: SpoolConfig::default(),
            internal: InternalConfig::default(),
            redis: RedisConfig::default(),
        }
    }
}

impl Settings {
    /// Reads the settings: defaults < file < environment < flags.
    pub(super) fn load(
        args: &SettingsArgs,
        environment: Vec<(String, String)>,
    ) -> Result<Self, ProgramError> {
        let mut layers = Layers::new(SECRETS);
        if let Some((path, text)) = read_settings_file(args.config.as_deref())? {
            layers = layers.file(&path.display().to_string(), &text)?;
        }
        layers = layers.env(environment, |path| std::fs::read_to_string(path))?;
        for (name, value) in &args.set {
            layers = layers.flag(name, value);
        }
        Ok(layers.finish::<Self>()?.value)
    }

    /// Checks what the types alone do not say; opens nothing but the files of authorities.
    pub(super) fn check(&self) -> Result<(), InvalidSetting> {
        self.log.check()?;
        self.otel.check()?;
        self.edge.check()?;
        self.spool.check()?;
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        self.client(Arc::clone(&random))?;
        self.l2(random).map(drop)
    }

    fn resolve_max(&self) -> Duration {
        Duration::from_millis(self.edge.resolve.timeout_ms)
    }

    /// What asks Redis, if there is one.
    pub(super) fn l2(&self, random: Arc<dyn Random>) -> Result<Option<L2>, InvalidSetting> {
        let url = self.redis.url.as_deref().filter(|url| !url.is_empty());
        let question_max = L2::question_max(self.resolve_max());
        let new = |url| L2::new(url, &self.redis.ca_path, question_max, random);
        url.map(new).transpose()
    }

    /// Where batches of clicks go.
    pub(super) fn sink(
        &self,
        client: &ControlClient,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn ClickSink>, InvalidSetting> {
        let EdgeConfig { clicks_url, clicks_ca_path, .. } = &self.edge;
        let patience = Duration::from_millis(self.edge.clicks_patience_ms);
        let (control, clock) = (client.clone(), Arc::clone(clock));
        let straight = StraightSink::new(clicks_url, clicks_ca_path, control, clock, patience)?;
        Ok(match straight {
            Some(sink) => Arc::new(sink),
            None => Arc::new(client.clone()),
        })
    }

    /// What speaks to the control planes. It has the time that Redis leaves.
    pub(super) fn client(&self, random: Arc<dyn Random>) -> Result<ControlClient, InvalidSetting> {
        let mut resolve_max = self.resolve_max();
        if self.redis.url.is_some() {
            resolve_max -= L2::question_max(resolve_max);
        }
        ControlClient::new(&self.edge.control_url, &self.internal.token, resolve_max, random)
    }
}
