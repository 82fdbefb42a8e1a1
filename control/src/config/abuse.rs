//! `abuse.*`: what links may not lead to, and who may report one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AbuseConfig {
    /// Files of hosts that links may not lead to: of the form of a hosts file, or one host a line.
    /// They are read again when they change.
    pub blocklists: Vec<PathBuf>,
}
