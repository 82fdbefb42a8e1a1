//! API keys: who may use the API, for which workspace.

pub(crate) mod command;
pub(crate) mod store;

use carom_shared::{ApiKeyId, UnixMillis, WorkspaceId};

/// A key as lists show it: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) id: ApiKeyId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) name: String,
    /// The last four characters of the key.
    pub(crate) hint: String,
    pub(crate) created_at: UnixMillis,
    pub(crate) revoked_at: Option<UnixMillis>,
}
