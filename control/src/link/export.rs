//! Links as they are written to files, so that an import elsewhere makes the same ones. Pure.
//!
//! What belongs to an installation stays there: who made a link, its version, its history of
//! targets. A link on the default domain names none, so that it finds its place on any other
//! installation's.

pub(crate) mod api;
pub(crate) mod file;

use carom_shared::{Forward, RouteState};

use super::Link;
use super::api::rfc3339;
use super::import::{ForwardRecord, LinkRecord, QueryRecord};
use crate::domain::Domains;

/// A link as a file holds it.
pub(crate) fn record(link: Link, domains: &Domains) -> LinkRecord {
    let domain = domains.by_id(link.domain).filter(|domain| !domain.is_default);
    let (forward, visitor_wins) = (link.query.forward, link.query.visitor_wins);
    LinkRecord {
        code: Some(link.code.to_string()),
        url: Some(link.target),
        domain: domain.map(|domain| domain.host.to_string()),
        title: Some(link.title).filter(|title| !title.is_empty()),
        notes: Some(link.notes).filter(|notes| !notes.is_empty()),
        tags: link.tags.into_vec(),
        redirect_status: Some(link.redirect_status.code()),
        max_age: Some(link.max_age_s),
        state: Some(
            match link.state {
                RouteState::Active | RouteState::Deleted => "active",
                RouteState::Disabled => "disabled",
                RouteState::Blocked => "blocked",
            }
            .into(),
        ),
        archived: Some(link.is_archived),
        not_before: link.not_before.map(rfc3339),
        expires_at: link.expires_at.map(rfc3339),
        fallback_url: link.fallback,
        query: Some(QueryRecord {
            forward: Some(match forward {
                Forward::None => ForwardRecord::Word("none".into()),
                Forward::All => ForwardRecord::Word("all".into()),
                Forward::Only(names) => {
                    ForwardRecord::Names(names.iter().map(str::to_owned).collect())
                }
            }),
            prefer: Some(if visitor_wins { "visitor" } else { "target" }.into()),
        }),
        created_at: Some(rfc3339(link.created_at)),
        deleted_at: link.deleted_at.map(rfc3339),
        clicks: Some(link.clicks.saturating_add(link.imported_clicks)),
        id: Some(link.id.to_string()),
    }
}
