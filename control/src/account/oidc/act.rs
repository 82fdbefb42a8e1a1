//! What is written when a provider says who somebody is, each in one transaction with its entry in
//! the audit log.

use carom_shared::{AccountId, IdentityId};
use serde_json::json;

use super::PER_ACCOUNT_MAX;
use super::store::{
    identity_find, identity_insert, identity_list_now, identity_remove, identity_use,
};
use crate::account::act::entry;
use crate::account::factor::Change;
use crate::account::store::{
    NewAccount, account_find_now, account_insert, account_now, token_insert, token_take,
    tokens_prune,
};
use crate::account::token::{NewToken, Purpose, TokenRow};
use crate::account::{Account, Email};
use crate::db::StoreError;
use crate::secret::token::TokenHash;
use crate::session::NewSession;
use crate::session::api::Client;
use crate::session::sign_in::{Begun, begin};
use crate::write::{Act, Writing};

/// Uses up the state that an answer came with.
pub(super) struct TakeState(pub(super) TokenHash);

impl Act for TakeState {
    /// `None`: it is nobody's, too old, or was used.
    type Done = Option<TokenRow>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        token_take(writing.tx, &self.0, Purpose::Provider, writing.now).await
    }
}

/// Who somebody is, as far as it counts here.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) issuer: String,
    pub(super) subject: String,
    /// As the provider says; may be empty.
    pub(super) said: String,
    /// One that is theirs for certain.
    pub(super) email: Option<Email>,
    pub(super) name: String,
}

impl Known {
    fn key(&self) -> (&str, &str, &str) {
        (&self.issuer, &self.subject, &self.said)
    }
}

/// Signs in whom a provider knows.
pub(super) struct BeginByProvider {
    pub(super) known: Known,
    /// Whether an account is made for who has none.
    pub(super) may_register: bool,
    pub(super) is_remembered: bool,
    /// Of the session or, where a second factor is asked for, of the ticket.
    pub(super) token: TokenHash,
    pub(super) client: Client,
}

/// What became of a sign-in.
pub(super) enum Outcome {
    Begun {
        begun: Box<Begun>,
        /// Whether the account was there, and the identity is its only from now on.
        is_linked: bool,
    },
    /// A code of the second factor is asked for, with the ticket.
    Second,
    /// No account is known by this identity, and none may be made.
    Unknown,
    Disabled,
}

impl Act for BeginByProvider {
    type Done = Outcome;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Outcome, StoreError> {
        let found = self.account(writing).await?;
        let (account, is_linked) = match found {
            Found::Account(account, is_linked) => (account, is_linked),
            Found::Unknown => return Ok(Outcome::Unknown),
            Found::Disabled => return Ok(Outcome::Disabled),
        };
        let Self { is_remembered, token, client, .. } = self;
        if account.has_second() {
            let detail = if is_remembered { "remember" } else { "" };
            let ticket = NewToken {
                hash: token,
                account: Some(account.id),
                purpose: Purpose::Ticket,
                detail: detail.into(),
                bound: account.bound(),
                life: Purpose::Ticket.life(),
            };
            tokens_prune(writing.tx, writing.now).await?;
            token_insert(writing.tx, &ticket, writing.now).await?;
            return Ok(Outcome::Second);
        }
        let session = NewSession {
            account: account.id,
            token,
            is_remembered,
            has_second: false,
            device: client.device.clone(),
        };
        let actor = client.acting(account.id);
        let begun = Box::new(begin(writing, account, &session, &actor).await?);
        Ok(Outcome::Begun { begun, is_linked })
    }
}

/// Whose identity it is.
enum Found {
    Account(Account, bool),
    Unknown,
    Disabled,
}

impl BeginByProvider {
    /// The account of the identity; or the one that has the address, or a new one, which it then is of
    /// unless the account has a second factor: its owner links it in the settings.
    async fn account(&self, writing: &mut Writing<'_>) -> Result<Found, StoreError> {
        let Self { known, client, .. } = self;
        if let Some(identity) = identity_find(writing.tx, &known.issuer, &known.subject).await? {
            let account = account_now(writing.tx, identity.account).await?;
            let Some(account) = account.filter(|it| !it.is_disabled) else {
                return Ok(Found::Disabled);
            };
            identity_use(writing.tx, identity.id, &known.said, writing.now).await?;
            return Ok(Found::Account(account, false));
        }
        let Some(email) = &known.email else { return Ok(Found::Unknown) };
        let (account, is_linked) = match account_find_now(writing.tx, email).await? {
            Some(account) if account.is_disabled => return Ok(Found::Disabled),
            // Somebody was let in by that name who may not be them. They sign in with the password, and
            // add the identity; or set a new one by a letter, which only the address's reader gets.
            Some(account) if !account.is_confirmed => return Ok(Found::Unknown),
            Some(account) => (account, true),
            None if self.may_register => {
                let new = NewAccount {
                    email: email.clone(),
                    name: known.name.clone(),
                    password_hash: None,
                    is_confirmed: true,
                };
                let id = account_insert(writing.tx, &new, writing.now, writing.random).await?;
                let entry = entry("account.register", id, json!({"issuer": known.issuer}));
                writing.note(&client.acting(id), entry).await?;
                let made = account_now(writing.tx, id).await?;
                (made.ok_or(StoreError::Corrupt("account row"))?, false)
            }
            None => return Ok(Found::Unknown),
        };
        // Whoever has the second factor is the owner; the address alone links nothing with the account.
        if account.has_second() {
            return Ok(Found::Account(account, false));
        }
        if identity_list_now(writing.tx, account.id).await?.len() >= PER_ACCOUNT_MAX {
            return Ok(Found::Unknown);
        }
        let (now, random) = (writing.now, writing.random);
        identity_insert(writing.tx, account.id, known.key(), now, random).await?;
        let detail = json!({"issuer": known.issuer, "by": "email"});
        let entry = entry("account.identity_add", account.id, detail);
        writing.note(&client.acting(account.id), entry).await?;
        Ok(Found::Account(account, is_linked))
    }
}

/// Makes an identity one of somebody who is signed in.
pub(super) struct Link {
    pub(super) known: Known,
    pub(super) change: Change,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linked {
    Done,
    /// It was theirs already.
    Already,
    /// It is another account's.
    Taken,
    TooMany,
    /// The account has changed since.
    Changed,
}

impl Act for Link {
    type Done = Linked;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Linked, StoreError> {
        let Self { known, change } = self;
        let Some(account) = change.account_now(writing).await? else { return Ok(Linked::Changed) };
        if let Some(found) = identity_find(writing.tx, &known.issuer, &known.subject).await? {
            let is_theirs = found.account == account.id;
            return Ok(if is_theirs { Linked::Already } else { Linked::Taken });
        }
        if identity_list_now(writing.tx, account.id).await?.len() >= PER_ACCOUNT_MAX {
            return Ok(Linked::TooMany);
        }
        let (now, random) = (writing.now, writing.random);
        identity_insert(writing.tx, account.id, known.key(), now, random).await?;
        change.finish(writing, "account.identity_add").await?;
        Ok(Linked::Done)
    }
}

/// Takes an identity from an account.
pub(super) struct Unlink {
    pub(super) id: IdentityId,
    pub(super) change: Change,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unlinked {
    Done,
    NotFound,
    /// Nothing else signs in to the account.
    Last,
    /// The account has changed since.
    Changed,
}

impl Act for Unlink {
    type Done = Unlinked;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Unlinked, StoreError> {
        let Self { id, change } = self;
        let Some(account) = change.account_now(writing).await? else {
            return Ok(Unlinked::Changed);
        };
        let all = identity_list_now(writing.tx, account.id).await?;
        if !all.iter().any(|identity| identity.id == id) {
            return Ok(Unlinked::NotFound);
        }
        if all.len() == 1 && account.password_hash.is_none() {
            return Ok(Unlinked::Last);
        }
        identity_remove(writing.tx, account.id, id).await?;
        change.finish(writing, "account.identity_remove").await?;
        Ok(Unlinked::Done)
    }
}

/// Whether an identity is this account's.
pub(super) struct IsOf {
    pub(super) known: Known,
    pub(super) account: AccountId,
}

impl Act for IsOf {
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let Self { known, account } = self;
        let found = identity_find(writing.tx, &known.issuer, &known.subject).await?;
        Ok(found.is_some_and(|found| found.account == account))
    }
}
