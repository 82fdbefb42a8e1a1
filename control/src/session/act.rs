//! What is written about sessions that are there: each in one transaction with its entry in the audit
//! log. What makes a session is in [`super::sign_in`].

use carom_shared::{AccountId, SessionId};
use serde_json::json;

use super::store::{
    session_regain, session_revoke, session_rotate, session_touch, sessions_revoke,
};
use super::{Session, store};
use crate::account::passkey::store::passkey_use;
use crate::account::store::account_now;
use crate::account::{Account, Email};
use crate::audit::{Actor, Entry};
use crate::db::StoreError;
use crate::secret::token::TokenHash;
use crate::write::{Act, Writing};

fn entry(action: &'static str, session: SessionId) -> Entry {
    Entry { workspace: None, action, object: format!("session:{session}"), detail: json!({}) }
}

/// A session was used.
pub(crate) struct Touch(pub(crate) Session);

impl Act for Touch {
    type Done = ();

    async fn act(self, writing: &mut Writing<'_>) -> Result<(), StoreError> {
        session_touch(writing.tx, &self.0, writing.now).await
    }
}

/// A token has become old. Nothing for the audit log: nobody decided it.
pub(crate) struct Rotate {
    pub(crate) session: Session,
    pub(crate) old: TokenHash,
    pub(crate) new: TokenHash,
}

impl Act for Rotate {
    /// Whether the session has the new token: another request may have been quicker.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let Self { session, old, new } = self;
        session_touch(writing.tx, &session, writing.now).await?;
        session_rotate(writing.tx, session.id, Some(&old), &new, writing.now).await
    }
}

/// A token was used in whose place nobody uses another: it gets one more. As [`Rotate`], not for the log.
pub(crate) struct Regain {
    pub(crate) session: Session,
    pub(crate) old: TokenHash,
    pub(crate) new: TokenHash,
}

impl Act for Regain {
    /// Whether the session has the new token: another request may have been quicker.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let Self { session, old, new } = self;
        session_regain(writing.tx, &session, &old, &new, writing.now).await
    }
}

/// A token was used that was replaced long ago: somebody has it who should not.
pub(crate) struct EndStolen {
    pub(crate) session: Session,
    pub(crate) actor: Actor,
}

impl Act for EndStolen {
    /// Whom to tell; `None` if the session was over already.
    type Done = Option<Email>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Option<Email>, StoreError> {
        let Session { id, account, .. } = self.session;
        if !session_revoke(writing.tx, account, id, writing.now).await? {
            return Ok(None);
        }
        writing.note(&self.actor, entry("session.stolen", id)).await?;
        Ok(account_now(writing.tx, account).await?.map(|account| account.email))
    }
}

/// Ends one session.
pub(crate) struct End {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
    pub(crate) actor: Actor,
}

impl Act for End {
    /// Whether there was such a one.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let is_ended = session_revoke(writing.tx, self.account, self.session, writing.now).await?;
        if is_ended {
            writing.note(&self.actor, entry("session.end", self.session)).await?;
        }
        Ok(is_ended)
    }
}

/// Ends all sessions of an account but one.
pub(crate) struct EndOthers {
    pub(crate) account: AccountId,
    pub(crate) kept: SessionId,
    pub(crate) actor: Actor,
}

impl Act for EndOthers {
    /// How many those were.
    type Done = u64;

    async fn act(self, writing: &mut Writing<'_>) -> Result<u64, StoreError> {
        let Self { account, kept, actor } = self;
        let ended = sessions_revoke(writing.tx, account, Some(kept), writing.now).await?;
        if ended > 0 {
            let entry =
                Entry { detail: json!({"ended": ended}), ..entry("session.end_others", kept) };
            writing.note(&actor, entry).await?;
        }
        Ok(ended)
    }
}

/// Somebody who is signed in has shown once more who they are.
pub(crate) struct Confirm {
    pub(crate) session: Session,
    pub(crate) by: ConfirmBy,
    pub(crate) token: TokenHash,
    pub(crate) actor: Actor,
}

/// With what.
pub(crate) enum ConfirmBy {
    /// The hash that the right password was compared with.
    Password(String),
    Code(crate::account::Entered, Box<crate::secret::seal::SealKey>),
    /// The provider says so, of an identity of this account.
    Provider,
    /// One of this account, which the person has just used.
    Passkey(crate::account::passkey::Use),
}

impl Act for Confirm {
    /// Whether it was right.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let Self { session, by, token, actor } = self;
        let Some(account) = account_now(writing.tx, session.account).await? else {
            return Ok(false);
        };
        let (is_right, by_second) = match &by {
            ConfirmBy::Password(hash) => (account.password_hash.as_ref() == Some(hash), false),
            ConfirmBy::Provider => (true, false),
            ConfirmBy::Passkey(used) => (passkey_use(writing.tx, used, writing.now).await?, true),
            ConfirmBy::Code(code, seal) => {
                (crate::account::factor::check(writing, &account, *code, seal).await?, true)
            }
        };
        if !is_right {
            return Ok(false);
        }
        store::session_confirm(writing.tx, session.id, by_second, writing.now).await?;
        if !session_rotate(writing.tx, session.id, None, &token, writing.now).await? {
            return Ok(false);
        }
        writing.note(&actor, entry("session.confirm", session.id)).await?;
        Ok(true)
    }
}

/// What follows from every change of how somebody signs in: a new token for the session in which it
/// was made, which has then just been confirmed, and the end of all others.
pub(crate) async fn renew(
    writing: &mut Writing<'_>,
    account: &Account,
    session: SessionId,
    token: &TokenHash,
) -> Result<(), StoreError> {
    sessions_revoke(writing.tx, account.id, Some(session), writing.now).await?;
    session_rotate(writing.tx, session, None, token, writing.now).await?;
    Ok(())
}
