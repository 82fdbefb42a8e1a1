//! Who members are, by their accounts: for pages that tell who made or did something.

use std::collections::HashMap;

use carom_shared::AccountId;

use crate::access::Scope;
use crate::app::App;
use crate::db::StoreError;
use crate::http::auth::Caller;
use crate::member::store::member_list;
use crate::member::{MEMBERS_MAX, Member};
use crate::page::message::Language;
use crate::page::message::phrase::{Phrase, phrase};

/// The members of a workspace, each with what they are called.
pub(super) struct People {
    names: HashMap<AccountId, Phrase>,
    /// In the order of their names.
    pub(super) all: Vec<(AccountId, Phrase)>,
}

impl People {
    pub(super) async fn of(app: &App, caller: &Caller) -> Result<Self, StoreError> {
        let most = u32::try_from(MEMBERS_MAX).unwrap_or(u32::MAX);
        let members = member_list(app.read(), caller.workspace, None, most).await?;
        let with_email = caller.scopes.has(Scope::MembersWrite);
        let named = |member: Member| (member.account, name(&member, with_email));
        let mut all: Vec<_> = members.into_iter().map(named).collect();
        all.sort_by_cached_key(|(_, name)| name.plain(Language::english()).to_lowercase());
        Ok(Self { names: all.iter().cloned().collect(), all })
    }

    /// `None`: they are no member (any more).
    pub(super) fn name(&self, account: AccountId) -> Option<&Phrase> {
        self.names.get(&account)
    }

    /// Who made something.
    pub(super) fn maker(&self, account: Option<AccountId>) -> Phrase {
        match account.map(|account| self.name(account)) {
            None => phrase("an operator"),
            Some(Some(name)) => name.clone(),
            Some(None) => phrase("somebody who has left"),
        }
    }
}

/// What a member is called: by those who manage members, their address if they gave no name.
pub(super) fn name(member: &Member, with_email: bool) -> Phrase {
    match (member.name.is_empty(), with_email) {
        (false, _) => Phrase::data(member.name.clone()),
        (true, true) => Phrase::data(member.email.to_string()),
        (true, false) => phrase("Somebody without a name"),
    }
}
