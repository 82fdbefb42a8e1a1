//! `limits.*`: how much may be asked of the API.

use carom_shared::settings::InvalidSetting;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests a minute of one API key, where the key has no limit of its own, and of one person
    /// who is signed in. 0: no limit; so everywhere here. At most 1,000,000.
    pub key_per_minute: u32,
    /// Requests a minute of one workspace, all its keys and members together.
    pub workspace_per_minute: u32,
    /// Requests a minute of one address block without credentials, or with wrong ones.
    pub address_per_minute: u32,
    /// Whether people may make API keys that never expire.
    pub endless_keys: bool,
}

impl LimitsConfig {
    const MAX: u32 = 1_000_000;

    /// # Errors
    /// [`InvalidSetting`] for a number that cannot be counted.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        for (setting, number) in [
            ("limits.key_per_minute", self.key_per_minute),
            ("limits.workspace_per_minute", self.workspace_per_minute),
            ("limits.address_per_minute", self.address_per_minute),
        ] {
            if number > Self::MAX {
                let problem = format!("must be from 0, for no limit, to {}", Self::MAX);
                return Err(InvalidSetting::new(setting, problem));
            }
        }
        Ok(())
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            key_per_minute: 600,
            workspace_per_minute: 3000,
            address_per_minute: 60,
            endless_keys: false,
        }
    }
}
