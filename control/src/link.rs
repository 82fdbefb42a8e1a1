//! Links and their routes: what a code leads to.

pub(crate) mod api;
pub(crate) mod block;
pub(crate) mod clicks;
pub(crate) mod code;
pub(crate) mod command;
pub mod csv;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod search;
pub(crate) mod store;
pub(crate) mod tag;
pub(crate) mod trail;

use carom_shared::{
    Code, DomainId, LinkId, QueryPolicy, RedirectStatus, RouteRecord, RouteState, UnixMillis,
    WorkspaceId,
};

use tag::Tags;

use crate::audit::Author;

/// A link, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) domain: DomainId,
    pub(crate) code: Code,
    /// A serialised `TargetUrl`. It was checked when it came in; the rules may have changed since,
    /// and a link that was accepted goes on working.
    pub(crate) target: String,
    /// Counts the changes of target, from 1.
    pub(crate) target_revision: u32,
    /// Empty if it has none.
    pub(crate) title: String,
    /// Empty if it has none.
    pub(crate) notes: String,
    pub(crate) tags: Tags,
    pub(crate) redirect_status: RedirectStatus,
    /// How long a browser may keep a permanent redirect, in seconds.
    pub(crate) max_age_s: u16,
    /// Never [`RouteState::Deleted`]: a deleted link keeps the state that it comes back with.
    pub(crate) state: RouteState,
    /// Out of sight, not out of service: lists leave it out, and its code goes on working.
    pub(crate) is_archived: bool,
    pub(crate) not_before: Option<UnixMillis>,
    pub(crate) expires_at: Option<UnixMillis>,
    /// Where it leads to once it has expired: a serialised `TargetUrl`.
    pub(crate) fallback: Option<String>,
    pub(crate) query: QueryPolicy,
    /// Counts the changes of the link, from 1: its entity tag.
    pub(crate) version: u64,
    pub(crate) created_at: UnixMillis,
    pub(crate) updated_at: UnixMillis,
    /// Since when its code answers 410; until it is restored.
    pub(crate) deleted_at: Option<UnixMillis>,
    /// Nobody if it was imported.
    pub(crate) created_by: Author,
    /// Clicks by people, as far as they were carried over: see [`clicks`].
    pub(crate) clicks: u64,
    /// Clicks that it had before it was imported, as the file said.
    pub(crate) imported_clicks: u64,
    /// Of a person; `None`: never clicked.
    pub(crate) last_click_at: Option<UnixMillis>,
}

impl Link {
    /// What the link's code is good for now.
    pub(crate) const fn route_state(&self) -> RouteState {
        if self.deleted_at.is_some() { RouteState::Deleted } else { self.state }
    }

    /// What the edge serves for the link's code.
    pub(crate) fn record(&self, route_version: u64) -> RouteRecord {
        if self.deleted_at.is_some() {
            return tombstone(route_version, self.id, self.workspace);
        }
        RouteRecord {
            version: route_version,
            state: self.state,
            link: self.id,
            workspace: self.workspace,
            status: self.redirect_status,
            target_revision: self.target_revision,
            not_before: self.not_before,
            expires_at: self.expires_at,
            target: self.target.as_str().into(),
            fallback: self.fallback.as_deref().map(Into::into),
            query: self.query.clone(),
            max_age_s: self.max_age_s,
        }
    }
}

/// What the edge serves for a code whose link was deleted.
pub(crate) fn tombstone(version: u64, link: LinkId, workspace: WorkspaceId) -> RouteRecord {
    RouteRecord {
        version,
        state: RouteState::Deleted,
        link,
        workspace,
        status: RedirectStatus::default(),
        target_revision: 1,
        not_before: None,
        expires_at: None,
        target: "".into(),
        fallback: None,
        query: QueryPolicy::default(),
        max_age_s: 0,
    }
}

/// A text in which case does not matter. Letter by letter: what a text holds, its folded form holds
/// folded. (The lower case of a whole text depends on where words end, as with the Greek sigma.)
pub(crate) fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}
