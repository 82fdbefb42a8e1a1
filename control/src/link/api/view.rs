//! Links as clients see them.

use carom_shared::{AccountId, ApiKeyId, Forward, LinkId, QueryPolicy, RouteState, UnixMillis};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::link::Link;
use crate::link::store::PastTarget;
use crate::openapi::schema;

/// A link. What it does not have is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Link)]
pub(super) struct LinkView {
    #[schema(schema_with = schema::id)]
    id: LinkId,
    code: String,
    /// The host that the code is on.
    #[schema(required = true)]
    domain: Option<String>,
    #[schema(format = "uri")]
    short_url: String,
    /// Where it leads to.
    #[schema(format = "uri")]
    url: String,
    #[schema(required = true)]
    title: Option<String>,
    #[schema(required = true)]
    notes: Option<String>,
    tags: Vec<String>,
    #[schema(schema_with = schema::redirect_status)]
    redirect_status: u16,
    /// How long browsers may keep a permanent redirect, in seconds.
    max_age: u16,
    #[schema(schema_with = schema::state)]
    state: &'static str,
    /// Out of sight in lists; the code goes on working.
    archived: bool,
    #[schema(schema_with = schema::optional_time, required = true)]
    not_before: Option<String>,
    #[schema(schema_with = schema::optional_time, required = true)]
    expires_at: Option<String>,
    /// Where it leads to once it has expired.
    #[schema(required = true, format = "uri")]
    fallback_url: Option<String>,
    #[schema(inline)]
    query: QueryView,
    /// Counts the changes of the link, from 1: its entity tag.
    version: u64,
    #[schema(schema_with = schema::time)]
    created_at: String,
    #[schema(schema_with = schema::time)]
    updated_at: String,
    #[schema(schema_with = schema::optional_time, required = true)]
    deleted_at: Option<String>,
    /// The API key that made it; `null` if it was made in a browser or imported.
    #[schema(schema_with = schema::optional_id, required = true)]
    created_by: Option<ApiKeyId>,
    /// The account of whoever made it, by themselves or with a key of theirs.
    #[schema(schema_with = schema::optional_id, required = true)]
    created_by_account: Option<AccountId>,
    clicks: u64,
    /// Clicks that it had before it was imported: they are not among `clicks`.
    imported_clicks: u64,
    #[schema(schema_with = schema::optional_time, required = true)]
    last_click_at: Option<String>,
}

/// What of a visitor's query reaches the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct QueryView {
    #[schema(schema_with = schema::forward)]
    forward: ForwardView,
    #[schema(schema_with = schema::prefer)]
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
            state: state_word(link.route_state()),
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
            created_by: link.created_by.key,
            created_by_account: link.created_by.account,
            clicks: link.clicks,
            imported_clicks: link.imported_clicks,
            last_click_at: link.last_click_at.map(rfc3339),
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Target)]
pub(super) struct TargetView {
    /// Counts the targets, from 1.
    revision: u32,
    #[schema(format = "uri")]
    url: String,
    /// Since when.
    #[schema(schema_with = schema::time)]
    at: String,
    /// The API key that set it.
    #[schema(schema_with = schema::optional_id, required = true)]
    by: Option<ApiKeyId>,
    /// The account of whoever set it.
    #[schema(schema_with = schema::optional_id, required = true)]
    by_account: Option<AccountId>,
}

impl From<PastTarget> for TargetView {
    fn from(past: PastTarget) -> Self {
        Self {
            revision: past.revision,
            url: past.target,
            at: rfc3339(past.set_at),
            by: past.set_by.key,
            by_account: past.set_by.account,
        }
    }
}

/// What a link's code is good for, as clients see it.
pub(crate) const fn state_word(state: RouteState) -> &'static str {
    match state {
        RouteState::Deleted => "deleted",
        RouteState::Active => "active",
        RouteState::Disabled => "disabled",
        RouteState::Blocked => "blocked",
    }
}

/// A time as the API writes it. Years outside of jiff's range cannot be stored by any command.
pub(crate) fn rfc3339(time: UnixMillis) -> String {
    Timestamp::from_millisecond(time.get()).unwrap_or_default().to_string()
}
