//! What several calls about accounts write.

use carom_shared::AccountId;
use serde_json::Value;

use super::store::{token_insert, tokens_prune, tokens_void};
use super::token::NewToken;
use crate::audit::{Actor, Entry};
use crate::db::StoreError;
use crate::write::{Act, Writing};

/// An entry about an account.
pub(super) fn entry(action: &'static str, account: AccountId, detail: Value) -> Entry {
    Entry { workspace: None, action, object: format!("account:{account}"), detail }
}

/// Makes a link work, and ends those that it replaces.
pub(super) struct IssueToken {
    pub(super) token: NewToken,
    /// What the audit log says of it: of an account alone.
    pub(super) noted: Option<(&'static str, Actor)>,
}

impl Act for IssueToken {
    type Done = ();

    async fn act(self, writing: &mut Writing<'_>) -> Result<(), StoreError> {
        let Self { token, noted } = self;
        issue(writing, &token).await?;
        if let Some(((action, actor), account)) = noted.zip(token.account) {
            writing.note(&actor, entry(action, account, serde_json::json!({}))).await?;
        }
        Ok(())
    }
}

/// As [`IssueToken`], in a transaction of more.
pub(super) async fn issue(writing: &mut Writing<'_>, token: &NewToken) -> Result<(), StoreError> {
    tokens_prune(writing.tx, writing.now).await?;
    if token.purpose.replaces() {
        tokens_void(writing.tx, token.account, &token.detail, token.purpose).await?;
    }
    token_insert(writing.tx, token, writing.now).await
}
