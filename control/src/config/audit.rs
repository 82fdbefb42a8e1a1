//! `audit.*`: how long it is remembered who changed what.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Days that entries of the audit log are kept; 0: for ever.
    pub retention_days: u32,
}

impl Default for AuditConfig {
    /// A year, and what is needed to look at it afterwards.
    fn default() -> Self {
        Self { retention_days: 400 }
    }
}
