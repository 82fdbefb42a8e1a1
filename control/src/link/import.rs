//! Links as files hold them, and what becomes of one that is imported. Pure.
//!
//! A file's link is judged by the rules for a new one, with four exceptions: it may have expired, it
//! may have been deleted, or (where an operator imports it) taken down, it says when it was made, and it
//! has a code. Without a code
//! of its own it would be another link each time the file is imported.
//!
//! ```text
//! the code is free                           made
//! the same target is there already           present, and left as it is
//! another target, or it was deleted here     refused; or skipped, or replaced, as asked
//! an operator took its link down             as above while it is there; deleted: refused, or skipped
//! the code is another workspace's            refused; or skipped
//! ```

pub(crate) mod api;
pub(crate) mod rows;

use std::sync::Arc;
use std::time::Duration;

use carom_shared::{Code, LinkId, Random, RouteState, UnixMillis, WorkspaceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Link;
use super::command::{
    CreateLink, Edit, EditLink, Field, ForwardBody, LinkBody, LinkChange, QueryBody, Refusal,
    Rules, check_create, check_time,
};
use super::store::new_link;
use crate::audit::Actor;
use crate::http::extract::Object;
use crate::http::precondition::IfMatch;
use crate::http::problem::FieldError;

/// How far `created_at` may lie ahead: a file's times may be of a zone that it does not name.
const AHEAD_MAX: Duration = Duration::from_hours(24);
/// Ids have 42 bits for the millisecond.
const CREATED_MAX: UnixMillis = UnixMillis::new((1 << 42) - 1);
/// Clicks of a link before its import. Far above any count, and sums of them stay numbers.
const CLICKS_MAX: u64 = 1_000_000_000_000_000;
/// Low bits of an id, below its millisecond.
const ID_RANDOM_BITS: u32 = 21;

/// A link as files of links hold it: each row of CSV, each line of JSON lines. What is left out is
/// as in a link made without it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The host that the code is on; left out: the default domain's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_status: Option<u16>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u16>,
    /// `active`, `disabled`, `blocked` or `deleted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<QueryRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
    /// All that it was ever clicked, here and elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clicks: Option<u64>,
    /// Kept if it is free and begins with `created_at`; otherwise the link gets another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What of a visitor's query reaches the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<ForwardRecord>,
    /// `target` or `visitor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefer: Option<String>,
}

/// Which parameters of a visitor's query are passed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ForwardRecord {
    /// `none` or `all`.
    Word(String),
    Names(Vec<String>),
}

/// What to do with a row whose code has another target here, or was deleted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    #[default]
    Refuse,
    /// What is here stays.
    Skip,
    /// The row wins, in those fields that it has.
    Replace,
}

/// A link to be imported, checked.
#[derive(Clone, Debug)]
pub(crate) struct ImportLink {
    pub(crate) create: CreateLink,
    pub(crate) code: Code,
    pub(crate) id: Option<LinkId>,
    pub(crate) created_at: UnixMillis,
    pub(crate) deleted_at: Option<UnixMillis>,
    pub(crate) is_blocked: bool,
    pub(crate) clicks: u64,
}

/// What a code leads to before a row is imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) workspace: WorkspaceId,
    /// `None`: its link is not there any more.
    pub(crate) target: Option<String>,
    pub(crate) is_deleted: bool,
    /// An operator has taken its link down: the code is not used anew.
    pub(crate) is_blocked: bool,
}

/// What is to be done with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Make,
    Present,
    Skip,
    /// Change the link that is there.
    Change,
    /// Make a link on the code of one that was deleted.
    Take,
    Refuse(FieldError),
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Imported {
    Made,
    Present,
    Skipped,
    Replaced,
    Refused(FieldError),
}

/// Checks every field of a row.
pub(crate) fn check_import(
    record: &LinkRecord,
    workspace: WorkspaceId,
    by: &Arc<Actor>,
    rules: Rules<'_>,
) -> Result<ImportLink, Vec<FieldError>> {
    let mut errors = Vec::new();
    let is_blocked = record.state.as_deref() == Some("blocked");
    if is_blocked && !by.is_machine() {
        let detail = "only an operator takes a link down and brings it back: import it as disabled, or \
                      let whoever runs the installation import the file with carom import";
        errors.push(FieldError::new("#/state", "blocked", detail.into()));
    }
    // What it leads to may be why it was taken down; nobody is led there.
    let unlisted = is_blocked.then(|| rules.policy.with_blocklist(Arc::default()));
    // Before all times: a link that has expired goes on saying so.
    let ended = Rules {
        now: UnixMillis::new(i64::MIN),
        policy: unlisted.as_ref().unwrap_or(rules.policy),
        ..rules
    };
    let create = match check_create(&record.body(), workspace, by, ended) {
        Ok(create) => Some(create),
        Err(Refusal::Invalid(refused)) => {
            errors.extend(refused);
            None
        }
        Err(Refusal::Reserved(code)) => {
            let detail = format!("{code} is a word that Carom keeps for itself; give it another");
            errors.push(FieldError::new("#/code", "code-reserved", detail));
            None
        }
    };
    if record.code.is_none() {
        let detail = "the row has no code, and would be another link each time it is imported";
        errors.push(FieldError::new("#/code", "required", detail.into()));
    }
    let mut time = |text: &Option<String>, pointer: &str| {
        let time = text.as_deref().map(|text| check_time(text, pointer)).transpose();
        time.unwrap_or_else(|error| {
            errors.push(error);
            None
        })
    };
    let created_at = time(&record.created_at, "#/created_at").unwrap_or(rules.now);
    let mut deleted_at = time(&record.deleted_at, "#/deleted_at");
    if record.state.as_deref() == Some("deleted") {
        deleted_at = deleted_at.or(Some(rules.now.max(created_at)));
    }
    if created_at > rules.now.saturating_add(AHEAD_MAX).min(CREATED_MAX) {
        let detail = "the link would have been made in the future; correct the date";
        errors.push(FieldError::new("#/created_at", "time-order", detail.into()));
    }
    let clicks = record.clicks.unwrap_or_default();
    if clicks > CLICKS_MAX {
        let detail = format!("a link has at most {CLICKS_MAX} clicks");
        errors.push(FieldError::new("#/clicks", "out-of-range", detail));
    }
    let (Some(create), []) = (create, &*errors) else { return Err(errors) };
    let Some(code) = create.code.clone() else { return Err(errors) };
    let id = record.id.as_deref().and_then(|id| id.parse::<LinkId>().ok());
    Ok(ImportLink {
        create,
        code,
        id: id.filter(|id| id.get() >> ID_RANDOM_BITS == created_at.get()),
        created_at,
        deleted_at,
        is_blocked,
        clicks,
    })
}

/// What is to be done with a row whose code `holder` has.
pub(crate) fn judge(
    link: &ImportLink,
    holder: Option<&Holder>,
    on_conflict: OnConflict,
) -> Verdict {
    let Some(holder) = holder else { return Verdict::Make };
    let is_own = holder.workspace == link.create.workspace;
    let is_same = holder.target.as_deref() == Some(link.create.target.as_str());
    let (is_deleted, was_deleted) = (holder.is_deleted, link.deleted_at.is_some());
    if is_own && is_same && (!is_deleted || was_deleted) {
        return Verdict::Present;
    }
    let is_gone = is_deleted && holder.is_blocked;
    let detail = match (is_own, is_deleted) {
        (false, _) => "another workspace has the code",
        (true, true) if is_gone => {
            "an operator has taken the link with this code down, and it was deleted since"
        }
        (true, true) => "the link with this code was deleted here; restore it, or replace it",
        (true, false) => "the code leads to another address here",
    };
    match on_conflict {
        OnConflict::Skip => Verdict::Skip,
        // To replace a link by one that was deleted is to delete it: that is not for a file.
        OnConflict::Replace if is_own && !was_deleted && !is_gone => {
            if is_deleted {
                Verdict::Take
            } else {
                Verdict::Change
            }
        }
        OnConflict::Replace | OnConflict::Refuse => {
            Verdict::Refuse(FieldError::new("#/code", "code-taken", detail.into()))
        }
    }
}

impl ImportLink {
    /// The link as it is made; its id may be taken.
    pub(crate) fn link(&self, random: &dyn Random) -> Link {
        let mut link = new_link(&self.create, self.code.clone(), self.created_at, random);
        link.id = self.id.unwrap_or(link.id);
        if self.is_blocked {
            link.state = RouteState::Blocked;
        }
        link.deleted_at = self.deleted_at;
        link.updated_at = self.deleted_at.unwrap_or(self.created_at).max(self.created_at);
        link.imported_clicks = self.clicks;
        link
    }

    /// What the row changes of the link that has its code.
    pub(crate) fn change(&self) -> LinkChange {
        LinkChange {
            target: Some(self.create.target.clone()),
            settings: self.create.settings.clone(),
        }
    }

    /// The same as a command.
    pub(crate) fn edit(&self, link: LinkId) -> EditLink {
        EditLink {
            workspace: self.create.workspace,
            link,
            by: Arc::clone(&self.create.by),
            if_match: IfMatch::Any,
            edit: Edit::Change(Box::new(self.change())),
        }
    }

    /// What the row's code leads to once it is imported.
    pub(crate) fn holder(&self) -> Holder {
        Holder {
            workspace: self.create.workspace,
            target: Some(self.create.target.as_str().to_owned()),
            is_deleted: self.deleted_at.is_some(),
            is_blocked: self.is_blocked,
        }
    }
}

impl LinkRecord {
    fn body(&self) -> LinkBody {
        let query = self.query.as_ref().map(|query| QueryBody {
            forward: query.forward.as_ref().map_or(Field::Absent, |forward| {
                Field::Value(match forward {
                    ForwardRecord::Word(word) => ForwardBody::Word(word.clone()),
                    ForwardRecord::Names(names) => ForwardBody::Names(names.clone()),
                })
            }),
            prefer: field(query.prefer.as_ref()),
        });
        // What a client cannot ask for is the import's own.
        let is_asked = |state: &&String| !matches!(state.as_str(), "blocked" | "deleted");
        LinkBody {
            url: field(self.url.as_ref()),
            code: field(self.code.as_ref()),
            domain: field(self.domain.as_ref()),
            title: field(self.title.as_ref()),
            notes: field(self.notes.as_ref()),
            tags: field(Some(&self.tags).filter(|tags| !tags.is_empty())),
            redirect_status: field(self.redirect_status.as_ref()),
            max_age: field(self.max_age.as_ref()),
            state: field(self.state.as_ref().filter(is_asked)),
            archived: field(self.archived.as_ref()),
            not_before: field(self.not_before.as_ref()),
            expires_at: field(self.expires_at.as_ref()),
            fallback_url: field(self.fallback_url.as_ref()),
            query: query.map_or(Field::Absent, |query| Field::Value(Object(query))),
        }
    }
}

fn field<T: Clone>(value: Option<&T>) -> Field<T> {
    value.map_or(Field::Absent, |value| Field::Value(value.clone()))
}

#[cfg(test)]
mod tests;
