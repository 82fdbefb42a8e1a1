//! What is written of passkeys, each in one transaction with its entry in the audit log.

use carom_shared::{AccountId, PasskeyId};
use serde_json::json;

use super::store::{
    passkey_find_now, passkey_insert, passkey_list_now, passkey_remove, passkey_use,
};
use super::{Credential, PER_ACCOUNT_MAX, Passkey, Use};
use crate::account::act::entry;
use crate::account::factor::Change;
use crate::account::store::{account_now, token_take};
use crate::account::token::{Purpose, TokenRow};
use crate::audit::Actor;
use crate::db::StoreError;
use crate::secret::token::TokenHash;
use crate::session::NewSession;
use crate::session::act::renew;
use crate::session::sign_in::{Begun, begin};
use crate::write::{Act, Writing};

/// Uses up the challenge that an answer names.
pub(super) struct TakeChallenge(pub(super) TokenHash);

impl Act for TakeChallenge {
    /// `None`: it is nobody's, too old, or was used.
    type Done = Option<TokenRow>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        token_take(writing.tx, &self.0, Purpose::Passkey, writing.now).await
    }
}

/// Makes a credential a passkey of somebody who is signed in.
pub(super) struct Add {
    pub(super) credential: Credential,
    pub(super) name: String,
    pub(super) change: Change,
}

/// What became of it.
pub(super) enum Added {
    Done(Box<Passkey>),
    /// The credential is somebody's.
    Taken,
    TooMany,
    /// The account has changed since.
    Changed,
}

impl Act for Add {
    type Done = Added;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Added, StoreError> {
        let Self { credential, name, change } = self;
        let Some(account) = change.account_now(writing).await? else { return Ok(Added::Changed) };
        if passkey_find_now(writing.tx, &credential.id).await?.is_some() {
            return Ok(Added::Taken);
        }
        if passkey_list_now(writing.tx, account.id).await?.len() >= PER_ACCOUNT_MAX {
            return Ok(Added::TooMany);
        }
        let (now, random) = (writing.now, writing.random);
        let id = passkey_insert(writing.tx, account.id, (&name, &credential), now, random).await?;
        renew(writing, &account, change.session, &change.token).await?;
        let detail = json!({"passkey_id": id, "name": name});
        writing.note(&change.actor, entry("account.passkey_add", account.id, detail)).await?;
        let account = account.id;
        let passkey = Passkey { id, account, name, credential, created_at: now, used_at: None };
        Ok(Added::Done(Box::new(passkey)))
    }
}

/// Takes a passkey from an account. Whatever it is, it is not the only way in: an account has a password,
/// or an identity of a provider, which stays where there is no password.
pub(super) struct Remove {
    pub(super) id: PasskeyId,
    pub(super) change: Change,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    Done,
    NotFound,
    /// The account has changed since.
    Changed,
}

impl Act for Remove {
    type Done = Removed;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Removed, StoreError> {
        let Self { id, change } = self;
        let Some(account) = change.account_now(writing).await? else { return Ok(Removed::Changed) };
        let all = passkey_list_now(writing.tx, account.id).await?;
        let Some(passkey) = all.iter().find(|passkey| passkey.id == id) else {
            return Ok(Removed::NotFound);
        };
        let detail = json!({"passkey_id": id, "name": passkey.name});
        passkey_remove(writing.tx, account.id, id).await?;
        renew(writing, &account, change.session, &change.token).await?;
        writing.note(&change.actor, entry("account.passkey_remove", account.id, detail)).await?;
        Ok(Removed::Done)
    }
}

/// Signs in whom a passkey is of.
pub(super) struct BeginByPasskey {
    pub(super) used: Use,
    pub(super) session: NewSession,
    pub(super) actor: Actor,
}

impl Act for BeginByPasskey {
    /// `None`: the passkey was taken off or used since, or the account is disabled.
    type Done = Option<Begun>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Option<Begun>, StoreError> {
        let Self { used, session, actor } = self;
        let account = account_now(writing.tx, used.account).await?;
        let Some(account) = account.filter(|it| !it.is_disabled) else { return Ok(None) };
        if !passkey_use(writing.tx, &used, writing.now).await? {
            return Ok(None);
        }
        begin(writing, account, &session, &actor).await.map(Some)
    }
}

/// Notes that an authenticator's count went back: somebody may have a copy of it.
pub(super) struct NoteCopy {
    pub(super) account: AccountId,
    pub(super) passkey: PasskeyId,
    pub(super) actor: Actor,
}

impl Act for NoteCopy {
    type Done = ();

    async fn act(self, writing: &mut Writing<'_>) -> Result<(), StoreError> {
        let Self { account, passkey, actor } = self;
        // Nobody is who tried.
        let actor = Actor { account: None, ..actor };
        let detail = json!({"wrong": "passkey_counter", "passkey_id": passkey});
        writing.note(&actor, entry("session.refuse", account, detail)).await
    }
}
