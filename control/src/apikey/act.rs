//! What is written of keys, each with its entry in the audit log.

use std::time::Duration;

use carom_shared::{AccountId, ApiKeyId, WorkspaceId};
use serde_json::json;

use super::command::{KeyChange, check_within, lifetime, sooner};
use super::store::{NewKey, key_count, key_create, key_fetch, key_update};
use super::view::times;
use super::{Grant, KeyRow};
use crate::audit::{Actor, Entry};
use crate::db::StoreError;
use crate::http::problem::{ApiError, FieldError};
use crate::write::{Act, Writing};

/// Keys of a workspace that can be used, at most.
pub(crate) const KEYS_MAX: i64 = 500;

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyRefused {
    NotFound,
    TooMany,
    /// It has a successor already.
    Replaced(ApiKeyId),
    /// It can do more than whoever wants its successor.
    Beyond(Vec<FieldError>),
}

impl From<KeyRefused> for ApiError {
    fn from(refused: KeyRefused) -> Self {
        match refused {
            KeyRefused::NotFound => Self::NotFound("key"),
            KeyRefused::TooMany => Self::Conflict(format!(
                "a workspace has at most {KEYS_MAX} keys that can be used; revoke one"
            )),
            KeyRefused::Replaced(by) => {
                Self::Conflict(format!("the key was replaced by the key {by} already"))
            }
            KeyRefused::Beyond(errors) => {
                let detail: Vec<_> = errors.iter().map(|error| error.detail.as_str()).collect();
                Self::Conflict(format!("the key can do more than you can: {}", detail.join("; ")))
            }
        }
    }
}

fn entry(action: &'static str, key: &KeyRow) -> Entry {
    let Grant { scopes, domains, addresses, expires_at, rate_per_minute } = &key.grant;
    Entry {
        workspace: Some(key.workspace),
        action,
        object: format!("key:{}", key.id),
        detail: json!({
            "name": key.name,
            "hint": key.hint,
            "scopes": scopes.to_string(),
            "domains": domains.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "addresses": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "expires_at": times(*expires_at),
            "rate_per_minute": rate_per_minute,
        }),
    }
}

pub(crate) struct CreateKey {
    pub(crate) actor: Actor,
    pub(crate) key: NewKey,
}

impl Act for CreateKey {
    type Done = Result<KeyRow, KeyRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        if key_count(writing.tx, self.key.workspace, writing.now).await? >= KEYS_MAX {
            return Ok(Err(KeyRefused::TooMany));
        }
        let key = key_create(writing.tx, self.key, writing.now, writing.random).await?;
        writing.note(&self.actor, entry("key.create", &key)).await?;
        Ok(Ok(key))
    }
}

pub(crate) struct EditKey {
    pub(crate) actor: Actor,
    pub(crate) workspace: WorkspaceId,
    pub(crate) id: ApiKeyId,
    pub(crate) change: KeyChange,
    /// What whoever changes it can do themselves.
    pub(crate) by: Grant,
}

impl Act for EditKey {
    type Done = Result<KeyRow, KeyRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let found = key_fetch(writing.tx, Some(self.workspace), self.id).await?;
        let Some(mut key) = found.filter(|key| key.revoked_at.is_none()) else {
            return Ok(Err(KeyRefused::NotFound));
        };
        let before = key.grant.clone();
        self.change.apply_to(&mut key);
        // What becomes more is handed on, with all that the key can do already.
        let is_wider = !check_within(&key.grant, &before).is_empty();
        let beyond = check_within(&key.grant, &self.by);
        if is_wider && !beyond.is_empty() {
            return Ok(Err(KeyRefused::Beyond(beyond)));
        }
        let is_over = |grant: &Grant| grant.expires_at.is_some_and(|end| end <= writing.now);
        if is_over(&before)
            && !is_over(&key.grant)
            && key_count(writing.tx, self.workspace, writing.now).await? >= KEYS_MAX
        {
            return Ok(Err(KeyRefused::TooMany));
        }
        key_update(writing.tx, &key).await?;
        writing.note(&self.actor, entry("key.update", &key)).await?;
        Ok(Ok(key))
    }
}

pub(crate) struct RotateKey {
    pub(crate) actor: Actor,
    /// `None`: an operator, who may do it to any key.
    pub(crate) by: Option<Rotator>,
    pub(crate) id: ApiKeyId,
    pub(crate) hash: [u8; 32],
    pub(crate) hint: String,
    /// How long the old key can be used beside the new one.
    pub(crate) overlap: Duration,
}

/// Who wants a key's successor.
pub(crate) struct Rotator {
    pub(crate) workspace: WorkspaceId,
    /// Whose key it becomes: nobody holds a key in another's name.
    pub(crate) account: Option<AccountId>,
    /// What they can do themselves.
    pub(crate) grant: Grant,
}

impl Act for RotateKey {
    type Done = Result<KeyRow, KeyRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let now = writing.now;
        let workspace = self.by.as_ref().map(|by| by.workspace);
        let found = key_fetch(writing.tx, workspace, self.id).await?;
        let Some(mut old) = found.filter(|key| key.revoked_at.is_none()) else {
            return Ok(Err(KeyRefused::NotFound));
        };
        if let Some(by) = old.replaced_by {
            return Ok(Err(KeyRefused::Replaced(by)));
        }
        if key_count(writing.tx, old.workspace, now).await? >= KEYS_MAX {
            return Ok(Err(KeyRefused::TooMany));
        }
        let mut grant = old.grant.clone();
        grant.expires_at = lifetime(&old).map(|lifetime| now.saturating_add(lifetime));
        if let Some(by) = &self.by {
            // A key cannot make itself live longer.
            grant.expires_at = sooner(grant.expires_at, by.grant.expires_at);
            let beyond = check_within(&grant, &by.grant);
            if !beyond.is_empty() {
                return Ok(Err(KeyRefused::Beyond(beyond)));
            }
        }
        let (workspace, name) = (old.workspace, old.name.clone());
        let account = self.by.map_or(old.account, |by| by.account);
        let Self { hash, hint, .. } = self;
        let new = NewKey { workspace, account, name, hash, hint, grant };
        let new = key_create(writing.tx, new, now, writing.random).await?;
        let end = now.saturating_add(self.overlap);
        old.grant.expires_at = Some(old.grant.expires_at.map_or(end, |expires| expires.min(end)));
        old.replaced_by = Some(new.id);
        key_update(writing.tx, &old).await?;
        let mut entry = entry("key.rotate", &old);
        if let Some(detail) = entry.detail.as_object_mut() {
            detail.insert("replaced_by".into(), new.id.to_string().into());
        }
        writing.note(&self.actor, entry).await?;
        Ok(Ok(new))
    }
}

pub(crate) struct RevokeKey {
    pub(crate) actor: Actor,
    /// `None`: of any.
    pub(crate) workspace: Option<WorkspaceId>,
    pub(crate) id: ApiKeyId,
}

impl Act for RevokeKey {
    type Done = Result<KeyRow, KeyRefused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let found = key_fetch(writing.tx, self.workspace, self.id).await?;
        let Some(mut key) = found else { return Ok(Err(KeyRefused::NotFound)) };
        if key.revoked_at.is_some() {
            // An operator's list shows it, a workspace's does not.
            let is_shown = self.workspace.is_none();
            return Ok(is_shown.then_some(key).ok_or(KeyRefused::NotFound));
        }
        key.revoked_at = Some(writing.now);
        key_update(writing.tx, &key).await?;
        writing.note(&self.actor, entry("key.revoke", &key)).await?;
        Ok(Ok(key))
    }
}
