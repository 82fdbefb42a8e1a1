//! Lists of links: what is asked for, and where a page ends. Pure.

use carom_shared::{DomainId, Host, LinkId, UnixMillis, WorkspaceId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::tag::Tags;
use super::{Link, fold};
use crate::domain::Domains;
use crate::http::cursor::CursorKey;
use crate::http::problem::ApiError;

/// Links of a page.
const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 50;
/// Characters of a text to search for.
const TEXT_MAX: usize = 200;

/// A page of a list, as a client asks for it.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Links of a page; 50 unless it says otherwise.
    #[param(minimum = 1, maximum = 100)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before, with the same filters.
    #[param(max_length = 1000)]
    pub(crate) cursor: Option<String>,
    /// Only links in this state; without it, all but deleted ones.
    #[param(inline)]
    pub(crate) state: Option<ListState>,
    /// Archived links only, none of them (so it is without this), or any.
    #[param(inline)]
    pub(crate) archived: Option<Archived>,
    /// Only links with this tag; case makes no difference.
    #[param(max_length = 50)]
    pub(crate) tag: Option<String>,
    /// Only links on this host.
    #[param(max_length = 253)]
    pub(crate) domain: Option<String>,
    /// Only links whose code, target, title or notes hold this text; case makes no difference.
    #[param(min_length = 1, max_length = 200)]
    pub(crate) q: Option<String>,
    /// `created` (newest first) unless it says otherwise. Under `clicks` and `last_click`, a link
    /// that is clicked while somebody pages may move across a page's end.
    #[param(inline)]
    pub(crate) sort: Option<Sort>,
}

/// The order of a list. Links that are equal in it come newest first.
///
/// A link that is made or deleted while somebody pages lets no other be skipped or repeated. One
/// that is clicked meanwhile may move across the page's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sort {
    /// Newest first.
    #[default]
    Created,
    /// Most clicks first.
    Clicks,
    /// Last clicked first; those never clicked come last.
    LastClick,
}

/// A state to list. Without one, all but deleted links are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ListState {
    Active,
    Disabled,
    Deleted,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Archived {
    True,
    #[default]
    False,
    Any,
}

/// A page of a list, checked.
#[derive(Clone, Debug)]
pub(crate) struct ListQuery {
    pub(crate) filter: ListFilter,
    pub(crate) sort: Sort,
    /// `None`: from the first on.
    pub(crate) below: Option<Place>,
    pub(crate) limit: u32,
}

/// Which links are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ListFilter {
    pub(crate) workspace: WorkspaceId,
    pub(crate) state: Option<ListState>,
    /// `None`: archived or not.
    pub(crate) archived: Option<bool>,
    pub(crate) domain: Option<DomainId>,
    /// Folded.
    pub(crate) tag: Option<String>,
    /// What code, target, title or notes hold; folded.
    pub(crate) text: Option<String>,
}

/// A place in a list of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// What the list is sorted by; 0 where that is the age, which the id tells.
    pub(crate) key: i64,
    pub(crate) id: LinkId,
}

impl Place {
    /// Where a link stands.
    pub(crate) fn of(link: &Link, sort: Sort) -> Self {
        let key = match sort {
            Sort::Created => 0,
            Sort::Clicks => link.clicks.cast_signed(),
            Sort::LastClick => link.last_click_at.map_or(0, UnixMillis::get),
        };
        Self { key, id: link.id }
    }
}

/// Checks what a client asks for.
pub(crate) fn check_list(
    params: &ListParams,
    workspace: WorkspaceId,
    domains: &Domains,
    key: &CursorKey,
) -> Result<ListQuery, ApiError> {
    check_list_of(params, workspace, domains, key, Ok)
}

/// Checks what a client asks for who may see some domains only: `domain_of` says which domain the list
/// is of, where one is named or none.
pub(crate) fn check_list_of(
    params: &ListParams,
    workspace: WorkspaceId,
    domains: &Domains,
    key: &CursorKey,
    domain_of: impl FnOnce(Option<DomainId>) -> Result<Option<DomainId>, ApiError>,
) -> Result<ListQuery, ApiError> {
    let limit = params.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::Request(format!("limit is from 1 to {PAGE_MAX}")));
    }
    let named = params.domain.as_deref();
    let named = named.map(|host| domain(host, workspace, domains)).transpose()?;
    let filter = ListFilter {
        workspace,
        state: params.state,
        archived: match params.archived.unwrap_or_default() {
            Archived::True => Some(true),
            Archived::False => Some(false),
            Archived::Any => None,
        },
        domain: domain_of(named)?,
        tag: params.tag.as_deref().map(tag).transpose()?,
        text: params.q.as_deref().map(text).transpose()?,
    };
    let mut query = ListQuery { filter, sort: params.sort.unwrap_or_default(), below: None, limit };
    if let Some(cursor) = &params.cursor {
        query.below = Some(query.read_cursor(cursor, key)?);
    }
    Ok(query)
}

/// The domain that the parameter `domain` names, of those that a workspace may use.
pub(crate) fn domain(
    host: &str,
    workspace: WorkspaceId,
    domains: &Domains,
) -> Result<DomainId, ApiError> {
    let domain = Host::parse(host).ok().and_then(|host| domains.find(workspace, &host));
    domain
        .map(|domain| domain.id)
        .ok_or_else(|| ApiError::Request("domain names none that this workspace has".to_owned()))
}

/// The tag that the parameter `tag` names, folded.
pub(crate) fn tag(tag: &str) -> Result<String, ApiError> {
    let tags = Tags::new([tag]).map_err(|error| ApiError::Request(format!("tag: {error}")))?;
    Ok(tags.folded().collect())
}

fn text(text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    if !(1..=TEXT_MAX).contains(&text.chars().count()) || text.chars().any(char::is_control) {
        let detail = format!("q has 1 to {TEXT_MAX} characters, none of them control characters");
        return Err(ApiError::Request(detail));
    }
    Ok(fold(text))
}

impl ListQuery {
    /// The cursor of a page that ends with `link`.
    pub(crate) fn cursor_after(&self, link: &Link, key: &CursorKey) -> String {
        let place = Place::of(link, self.sort);
        let place = (u128::from(place.key.cast_unsigned()) << 64)
            | u128::from(place.id.get().cast_unsigned());
        key.sign(place.to_be_bytes(), &self.to_bytes())
    }

    fn read_cursor(&self, cursor: &str, key: &CursorKey) -> Result<Place, ApiError> {
        let read = || {
            let place = key.read(cursor, &self.to_bytes())?;
            let (key, id) = place.split_first_chunk::<8>()?;
            let id = i64::from_be_bytes(id.try_into().ok()?);
            Some(Place { key: i64::from_be_bytes(*key), id: LinkId::try_from(id).ok()? })
        };
        read().ok_or_else(|| {
            let detail = "cursor is not one that this list gave out with these filters and this \
                          order; start without one";
            ApiError::Request(detail.into())
        })
    }

    /// What tells lists apart.
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&(&self.filter, self.sort)).expect("numbers, words and texts are JSON")
    }
}
