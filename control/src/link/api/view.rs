//! Links as clients see them.

use carom_shared::{ApiKeyId, Forward, LinkId, QueryPolicy, RouteState, UnixMillis};
use jiff::Timestamp;
use serde::Serialize;

use crate::app::App;
use crate::link::Link;
use crate::link::store::PastTarget;

/// A link. What it does not have is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LinkView {
    id: LinkId,
    code: String,
    domain: Option<String>,
    short_url: String,
    url: String,
    title: Option<String>,
    notes: Option<String>,
    tags: Vec<String>,
    redirect_status: u16,
    max_age: u16,
    state: &'static str,
    archived: bool,
    not_before: Option<String>,
    expires_at: Option<String>,
    fallback_url: Option<String>,
    query: QueryView,
    version: u64,
    created_at: String,
    updated_at: String,
    deleted_at: Option<String>,
    created_by: Option<ApiKeyId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct QueryView {
    forward: ForwardView,
    prefer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum ForwardView {
    Word(&'static str),
    Names(Vec<String>),
}

impl LinkView {
    pub(super) fn new(app: &App, link: Link) -> Self {
        let domains = app.domain_set();
        Self {
            id: link.id,
            short_url: domains.short_url(link.domain, &link.code),
            domain: domains.by_id(link.domain).map(|domain| domain.host.to_string()),
            state: match link.route_state() {
                RouteState::Deleted => "deleted",
                RouteState::Active => "active",
                RouteState::Disabled => "disabled",
                RouteState::Blocked => "blocked",
            },
            code: link.code.to_string(),
            url: link.target,
            title: Some(link.title).filter(|title| !title.is_empty()),
            notes: Some(link.notes).filter(|notes| !notes.is_empty()),
            tags: link.tags.into_vec(),
            redirect_status: link.redirect_status.code(),
            max_age: link.max_age_s,
            archived: link.is_archived,
            not_before: link.not_before.map(rfc3339),
            expires_at: link.expires_at.map(rfc3339),
            fallback_url: link.fallback,
            query: QueryView::from(&link.query),
            version: link.version,
            created_at: rfc3339(link.created_at),
            updated_at: rfc3339(link.updated_at),
            deleted_at: link.deleted_at.map(rfc3339),
            created_by: link.created_by,
        }
    }
}

impl From<&QueryPolicy> for QueryView {
    fn from(query: &QueryPolicy) -> Self {
        Self {
            forward: match &query.forward {
                Forward::None => ForwardView::Word("none"),
                Forward::All => ForwardView::Word("all"),
                Forward::Only(names) => {
                    ForwardView::Names(names.iter().map(str::to_owned).collect())
                }
            },
            prefer: if query.visitor_wins { "visitor" } else { "target" },
        }
    }
}

/// A target that a link has or had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct TargetView {
    revision: u32,
    url: String,
    at: String,
    by: Option<ApiKeyId>,
}

impl From<PastTarget> for TargetView {
    fn from(past: PastTarget) -> Self {
        Self {
            revision: past.revision,
            url: past.target,
            at: rfc3339(past.set_at),
            by: past.set_by,
        }
    }
}

/// A time as the API writes it. Years outside of jiff's range cannot be stored by any command.
pub(crate) fn rfc3339(time: UnixMillis) -> String {
    Timestamp::from_millisecond(time.get()).unwrap_or_default().to_string()
}
