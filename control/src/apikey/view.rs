//! Keys as clients and operators see them: never the key itself, but once.

use carom_shared::{AccountId, ApiKeyId, DomainId, UnixMillis, WorkspaceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Grant, KeyRow};
use crate::access::{Scope, Scopes};
use crate::link::api::rfc3339;
use crate::openapi::schema;

/// An API key. The key itself is shown once, to whoever made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyView {
    #[schema(schema_with = schema::id)]
    pub id: ApiKeyId,
    pub name: String,
    /// The last four characters of the key.
    pub hint: String,
    #[schema(schema_with = schema::id)]
    pub workspace_id: WorkspaceId,
    /// Who made it, and whose role it depends on. `null`: an operator.
    #[schema(schema_with = schema::optional_id, required = true)]
    pub account_id: Option<AccountId>,
    /// What it may do; `*` is everything, which only an operator's key can.
    pub scopes: Vec<String>,
    /// Ids of the domains that it is for; empty: all of its workspace.
    #[schema(schema_with = schema::ids)]
    pub domains: Vec<DomainId>,
    /// Blocks of addresses that it may be used from; empty: from anywhere.
    pub addresses: Vec<String>,
    /// Requests a minute; `null`: as many as other keys.
    #[schema(required = true)]
    pub rate_per_minute: Option<u32>,
    #[schema(schema_with = schema::time)]
    pub created_at: String,
    #[schema(schema_with = schema::optional_time, required = true)]
    pub expires_at: Option<String>,
    #[schema(schema_with = schema::optional_time, required = true)]
    pub revoked_at: Option<String>,
    /// A minute late, at most.
    #[schema(schema_with = schema::optional_time, required = true)]
    pub last_used_at: Option<String>,
    #[schema(required = true)]
    pub last_used_from: Option<String>,
    /// The key that took its place; this one can be used until `expires_at`.
    #[schema(schema_with = schema::optional_id, required = true)]
    pub replaced_by: Option<ApiKeyId>,
}

/// A new key. The only answer that holds the key itself: it cannot be shown again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = KeyWithSecret)]
pub struct KeyCreated {
    /// What requests send as `Authorization: Bearer crm_...`.
    #[schema(pattern = "^crm_[0-9A-Za-z]{36}$")]
    pub key: String,
    #[serde(flatten)]
    pub view: KeyView,
}

impl std::fmt::Debug for KeyCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyCreated").field("view", &self.view).finish_non_exhaustive()
    }
}

/// Keys, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Keys)]
pub struct KeyList {
    pub data: Vec<KeyView>,
}

pub(super) fn times(time: Option<UnixMillis>) -> Option<String> {
    time.map(rfc3339)
}

fn names(scopes: Scopes) -> Vec<String> {
    match scopes {
        Scopes::ALL => vec!["*".to_owned()],
        some => some.iter().map(|scope: Scope| scope.as_str().to_owned()).collect(),
    }
}

impl From<KeyRow> for KeyView {
    fn from(row: KeyRow) -> Self {
        let Grant { scopes, domains, addresses, expires_at, rate_per_minute } = row.grant;
        Self {
            id: row.id,
            name: row.name,
            hint: row.hint,
            workspace_id: row.workspace,
            account_id: row.account,
            scopes: names(scopes),
            domains,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            rate_per_minute: rate_per_minute.map(Into::into),
            created_at: rfc3339(row.created_at),
            expires_at: times(expires_at),
            revoked_at: times(row.revoked_at),
            last_used_at: times(row.last_used_at),
            last_used_from: row.last_used_from.map(|address| address.to_string()),
            replaced_by: row.replaced_by,
        }
    }
}
