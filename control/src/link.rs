//! Links and their routes: what a code leads to.

pub(crate) mod api;
pub(crate) mod command;
pub(crate) mod store;

use carom_shared::{
    ApiKeyId, Code, DomainId, LinkId, QueryPolicy, RedirectStatus, RouteRecord, RouteState,
    UnixMillis, WorkspaceId,
};

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
    pub(crate) redirect_status: RedirectStatus,
    pub(crate) state: RouteState,
    pub(crate) not_before: Option<UnixMillis>,
    pub(crate) expires_at: Option<UnixMillis>,
    /// Counts the changes of the link, from 1: its entity tag.
    pub(crate) version: u64,
    pub(crate) created_at: UnixMillis,
    pub(crate) updated_at: UnixMillis,
    /// `None` if no API key made it.
    pub(crate) created_by: Option<ApiKeyId>,
}

impl Link {
    /// What the edge serves for the link's code.
    pub(crate) fn record(&self, route_version: u64) -> RouteRecord {
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
            fallback: None,
            query: QueryPolicy::default(),
            max_age_s: RouteRecord::MAX_AGE_MAX_S,
        }
    }
}
