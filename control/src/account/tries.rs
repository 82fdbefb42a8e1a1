//! Wrong passwords and codes in a row, of one account, from wherever they come.
//!
//! After [`MAX`] of them (NIST SP 800-63B-4, 3.2.2) a password alone signs in from network addresses
//! alone from which the account is, or was, signed in. Whoever guesses is out, and whoever owns the
//! account is not locked out where they always are; elsewhere a letter's link, an operator's, a
//! passkey, or the provider signs them in. Signing in, and a new password, begin the count anew.
//!
//! What went wrong is written after the answer, which must not tell whether there is an account.

use carom_shared::AccountId;
use serde_json::json;

use super::act::entry;
use super::store::{account_now, account_tried};
use super::{Account, Email, afterwards};
use crate::app::App;
use crate::audit::Actor;
use crate::db::StoreError;
use crate::mail::text;
use crate::session::api::Client;
use crate::session::store::address_is_known;
use crate::write::{Act, Writing};

/// Wrong tries in a row after which a password alone is not enough from everywhere.
pub(crate) const MAX: i64 = 100;

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    Password,
    Code,
}

impl Tried {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Code => "code",
        }
    }
}

/// Whether the right password signs in from where this comes.
pub(crate) async fn may_enter(
    app: &App,
    client: &Client,
    account: &Account,
) -> Result<bool, StoreError> {
    if account.wrong_tries < MAX {
        return Ok(true);
    }
    address_is_known(app.read(), account.id, &client.device.address).await
}

/// Notes a wrong password or code of an account, in the log now and in the database soon.
pub(crate) fn note_wrong(app: &App, client: &Client, account: AccountId, by: Tried) {
    client.asker.set_account(account);
    let note = NoteWrong { account, by, actor: client.actor.clone() };
    let inner = app.clone();
    let noted = afterwards(app, async move {
        let full = inner.act(note).await?;
        tell(&inner, full);
        Ok(())
    });
    if let Err(error) = noted {
        // Tries are limited before this, so it is a flood, and the rest of it is counted.
        tracing::warn!(?error, account.id = %account, "a wrong password was not counted");
    }
}

/// Tells the owner that the count is full, once.
pub(crate) fn tell(app: &App, full: Option<Email>) {
    if let Some(email) = full {
        tracing::warn!("an account has had {MAX} wrong passwords and codes in a row");
        app.accounts().notify(&email, text::TRIES_FULL);
    }
}

struct NoteWrong {
    account: AccountId,
    by: Tried,
    actor: Actor,
}

impl Act for NoteWrong {
    /// Whom to tell that the count has just become full.
    type Done = Option<Email>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Option<Email>, StoreError> {
        wrong(writing, self.account, self.by, &self.actor).await
    }
}

/// Counts a wrong try in a transaction of more.
pub(crate) async fn wrong(
    writing: &mut Writing<'_>,
    account: AccountId,
    by: Tried,
    actor: &Actor,
) -> Result<Option<Email>, StoreError> {
    let Some(tries) = account_tried(writing.tx, account).await? else { return Ok(None) };
    // Nobody is who tried.
    let actor = Actor { account: None, ..actor.clone() };
    let detail = json!({"wrong": by.as_str(), "in_a_row": tries});
    writing.note(&actor, entry("session.refuse", account, detail)).await?;
    if tries != MAX {
        return Ok(None);
    }
    Ok(account_now(writing.tx, account).await?.map(|account| account.email))
}

#[cfg(test)]
mod tests;
