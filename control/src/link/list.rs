//! Lists of links: what is asked for, and where a page ends. Pure.

use carom_shared::{DomainId, Host, LinkId, UnixMillis, WorkspaceId};
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    limit: Option<u32>,
    cursor: Option<String>,
    state: Option<ListState>,
    archived: Option<Archived>,
    tag: Option<String>,
    domain: Option<String>,
    q: Option<String>,
}

/// A state to list. Without one, all but deleted links are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ListState {
    Active,
    Disabled,
    Deleted,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Archived {
    True,
    #[default]
    False,
    Any,
}

/// A page of a list, checked.
#[derive(Clone, Debug)]
pub(crate) struct ListQuery {
    pub(crate) filter: ListFilter,
    /// `None`: from the newest on.
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

/// A place in the list of links: below it lies what is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) created_at: UnixMillis,
    pub(crate) id: LinkId,
}

/// Checks what a client asks for.
pub(crate) fn check_list(
    params: &ListParams,
    workspace: WorkspaceId,
    domains: &Domains,
    key: &CursorKey,
) -> Result<ListQuery, ApiError> {
    let limit = params.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::Request(format!("limit is from 1 to {PAGE_MAX}")));
    }
    let filter = ListFilter {
        workspace,
        state: params.state,
        archived: match params.archived.unwrap_or_default() {
            Archived::True => Some(true),
            Archived::False => Some(false),
            Archived::Any => None,
        },
        domain: params
            .domain
            .as_deref()
            .map(|host| domain(host, workspace, domains))
            .transpose()?,
        tag: params.tag.as_deref().map(tag).transpose()?,
        text: params.q.as_deref().map(text).transpose()?,
    };
    let below = params.cursor.as_deref().map(|cursor| filter.read_cursor(cursor, key));
    Ok(ListQuery { below: below.transpose()?, filter, limit })
}

fn domain(host: &str, workspace: WorkspaceId, domains: &Domains) -> Result<DomainId, ApiError> {
    let domain = Host::parse(host).ok().and_then(|host| domains.find(workspace, &host));
    domain
        .map(|domain| domain.id)
        .ok_or_else(|| ApiError::Request("domain names none that this workspace has".to_owned()))
}

fn tag(tag: &str) -> Result<String, ApiError> {
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

impl ListFilter {
    /// The cursor of a page that ends with `link`.
    pub(crate) fn cursor_after(&self, link: &Link, key: &CursorKey) -> String {
        let place = (u128::from(link.created_at.get().cast_unsigned()) << 64)
            | u128::from(link.id.get().cast_unsigned());
        key.sign(place.to_be_bytes(), &self.to_bytes())
    }

    fn read_cursor(&self, cursor: &str, key: &CursorKey) -> Result<Place, ApiError> {
        let read = || {
            let place = key.read(cursor, &self.to_bytes())?;
            let (created_at, id) = place.split_first_chunk::<8>()?;
            let id = i64::from_be_bytes(id.try_into().ok()?);
            let created_at = UnixMillis::new(i64::from_be_bytes(*created_at));
            Some(Place { created_at, id: LinkId::try_from(id).ok()? })
        };
        read().ok_or_else(|| {
            let detail = "cursor is not one that this list gave out with these filters; start \
                          without one";
            ApiError::Request(detail.into())
        })
    }

    /// What tells lists apart.
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers, words and texts are JSON")
    }
}
