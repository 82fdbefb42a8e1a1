//! What a key for some domains alone may do.
//!
//! It sees links on these as if there were no others, and nothing that is about the whole workspace.
//! Which calls it may use is decided here, by their routes, so that a call that is added later is
//! closed to it until somebody thought about it.

use axum::extract::{FromRequestParts, MatchedPath};
use carom_shared::{DomainId, LinkId};
use http::request::Parts;

use super::Caller;
use crate::app::App;
use crate::http::extract::Id;
use crate::http::problem::{ApiError, FieldError};
use crate::link::store::link_domain;

/// What calls about one link begin with.
const OF_LINK: &str = "/api/v1/links/{id}";
/// Calls that ask [`Caller::require_domain`], [`Caller::domain_of`] or [`Caller::require_link`].
const THAT_ASK: [&str; 6] = [
    "/shorten", "/api/v1/links", "/api/v1/links/bulk", "/api/v1/codes/{code}", "/api/v1/live",
    "/api/v1/missing",
];

impl Caller {
    fn domains(&self) -> &[DomainId] {
        self.grant.as_ref().map_or(&[], |grant| &grant.domains)
    }

    /// # Errors
    /// [`ApiError::KeyDomain`], if the call is not for keys of some domains alone; that there is no
    /// such link, if it is on another domain.
    pub(super) async fn require_route(&self, parts: &mut Parts, app: &App) -> Result<(), ApiError> {
        if self.domains().is_empty() {
            return Ok(());
        }
        let route = parts.extensions.get::<MatchedPath>().cloned();
        let route = route.as_ref().map_or("", MatchedPath::as_str);
        if THAT_ASK.contains(&route) {
            return Ok(());
        }
        let rest = route.strip_prefix(OF_LINK).ok_or(ApiError::KeyDomain)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return Err(ApiError::KeyDomain);
        }
        let Id(link) = Id::<LinkId>::from_request_parts(parts, app).await?;
        self.require_link(app, link).await
    }

    /// Before something is done with a link that was there, also a deleted one.
    ///
    /// # Errors
    /// There is no such link: it is on a domain that the key is not for.
    pub(crate) async fn require_link(&self, app: &App, link: LinkId) -> Result<(), ApiError> {
        if self.domains().is_empty() {
            return Ok(());
        }
        let domain = link_domain(app.read(), self.workspace, link).await?;
        let is_allowed = domain.is_some_and(|domain| self.domains().contains(&domain));
        if is_allowed { Ok(()) } else { Err(ApiError::NotFound("link")) }
    }

    /// Before something that is about the whole workspace.
    ///
    /// # Errors
    /// [`ApiError::KeyDomain`]
    pub(crate) fn require_whole(&self) -> Result<(), ApiError> {
        if self.domains().is_empty() { Ok(()) } else { Err(ApiError::KeyDomain) }
    }

    /// Before a link is made.
    ///
    /// # Errors
    /// The key is not for this domain.
    pub(crate) fn require_domain(&self, domain: DomainId) -> Result<(), ApiError> {
        if self.grant.as_ref().is_none_or(|grant| grant.allows_domain(domain)) {
            return Ok(());
        }
        let detail = "the key makes links on other domains only; name one of them";
        Err(ApiError::Invalid(vec![FieldError::new("#/domain", "not-allowed", detail.into())]))
    }

    /// The domain that a list is about, where the client names one or not.
    ///
    /// # Errors
    /// The key is not for the one that is named, or for several of which none is named.
    pub(crate) fn domain_of(&self, named: Option<DomainId>) -> Result<Option<DomainId>, ApiError> {
        match (self.domains(), named) {
            ([], named) => Ok(named),
            ([only], None) => Ok(Some(*only)),
            (domains, Some(named)) if domains.contains(&named) => Ok(Some(named)),
            (_, Some(_)) => {
                Err(ApiError::Request("domain names none that the key is for".to_owned()))
            }
            (_, None) => Err(ApiError::Request(
                "the key is for several domains: name one of them with domain".to_owned(),
            )),
        }
    }
}
