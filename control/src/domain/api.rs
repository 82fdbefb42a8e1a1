//! Domains over HTTP.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::DomainId;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::command::{DomainBody, check_change, check_new};
use super::store::{domain_fetch, domains_of};
use super::{Domain, DomainState};
use crate::access::allow;
use crate::app::App;
use crate::http::auth::By;
use crate::http::extract::{Id, Json, MergePatch, NoParams, Params};
use crate::http::precondition::{IfMatch, etag};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::openapi::responses::{Any, Conditional, IfMatchHeader, MayConflict, OfOne, WithBody};
use crate::openapi::schema;

/// A domain. What it does not have is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Domain)]
pub(crate) struct DomainView {
    #[schema(schema_with = schema::id)]
    id: DomainId,
    host: String,
    /// `waiting` until its TXT record was found.
    #[schema(schema_with = schema::domain_state)]
    state: &'static str,
    /// The installation's own: every workspace can put links on it, and none can change it.
    shared: bool,
    /// The one that links are on which name none.
    default: bool,
    /// The record to be added to DNS, and to be left there; `null` for a shared domain.
    #[schema(required = true, inline)]
    challenge: Option<Challenge>,
    #[schema(required = true, format = "uri")]
    home_url: Option<String>,
    #[schema(required = true, format = "uri")]
    not_found_url: Option<String>,
    #[schema(required = true, format = "uri")]
    expired_url: Option<String>,
    folds_case: bool,
    #[schema(schema_with = schema::optional_time, required = true)]
    verified_at: Option<String>,
    /// When the record was looked for last; that is done each day.
    #[schema(schema_with = schema::optional_time, required = true)]
    checked_at: Option<String>,
    /// Since when the record is not found any more. After seven days another workspace can verify
    /// the host and take it over.
    #[schema(schema_with = schema::optional_time, required = true)]
    missing_since: Option<String>,
    /// Counts the changes of the domain, from 1: its entity tag.
    version: u64,
    #[schema(schema_with = schema::time)]
    created_at: String,
}

/// A DNS record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Challenge {
    /// `TXT`
    r#type: &'static str,
    name: String,
    value: String,
}

/// The domains that a workspace can use or waits for, the default one first.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Domains)]
struct DomainList {
    data: Vec<DomainView>,
}

impl DomainView {
    fn new(app: &App, domain: Domain) -> Self {
        let shared = domain.workspace.is_none();
        let challenge = (!shared).then(|| Challenge {
            r#type: "TXT",
            name: domain.record_name(),
            value: domain.challenge.clone(),
        });
        let home = if domain.is_default { app.home().map(str::to_owned) } else { None };
        Self {
            id: domain.id,
            host: domain.host.to_string(),
            state: domain.state.as_str(),
            shared,
            default: domain.is_default,
            challenge,
            home_url: home.or(domain.ways_out.home),
            not_found_url: domain.ways_out.not_found,
            expired_url: domain.ways_out.expired,
            folds_case: domain.folds_case,
            verified_at: domain.verified_at.map(rfc3339),
            checked_at: domain.checked_at.map(rfc3339),
            missing_since: domain.missing_since.map(rfc3339),
            version: domain.version,
            created_at: rfc3339(domain.created_at),
        }
    }
}

/// The words of a domain's state that clients see.
pub(crate) const STATES: [&str; 2] =
    [DomainState::Waiting.as_str(), DomainState::Verified.as_str()];

fn show(app: &App, domain: Domain) -> Response {
    ([etag(domain.version)], Json(DomainView::new(app, domain))).into_response()
}

/// The path of a domain.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) struct DomainPath {
    /// The domain's id.
    #[param(pattern = "^[1-9][0-9]{0,18}$")]
    id: String,
}

/// Lists the domains
#[utoipa::path(
    get,
    path = "/api/v1/domains",
    tag = "domains",
    responses((status = 200, body = DomainList), Any),
    security(("api_key" = ["domains:read"]), ("session" = ["domains:read"])),
    operation_id = "list_domains",
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: By<allow::DomainsRead>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let domains = domains_of(app.read(), caller.workspace).await?;
    let data = domains.into_iter().map(|domain| DomainView::new(&app, domain)).collect();
    Ok(Json(DomainList { data }).into_response())
}

/// Adds a domain
///
/// It waits until its TXT record was found; links can be put on it, and are served, from then on.
#[utoipa::path(
    post,
    path = "/api/v1/domains",
    tag = "domains",
    request_body = DomainBody,
    responses(
        (
            status = 201,
            body = DomainView,
            headers(
                ("Location" = String, description = "The domain's path in this API"),
                ("ETag" = String, description = "The domain's version"),
            ),
        ),
        Any, WithBody, MayConflict,
    ),
    security(("api_key" = ["domains:write"]), ("session" = ["domains:write"])),
    operation_id = "add_domain",
)]
pub(crate) async fn add(
    State(app): State<App>,
    caller: By<allow::DomainsWrite>,
    _: Params<NoParams>,
    Json(body): Json<DomainBody>,
) -> Result<Response, ApiError> {
    let domains = app.domain_set();
    let control = app.control_host();
    let own: Vec<_> =
        domains.default_domain().map(|domain| &domain.host).into_iter().chain(&control).collect();
    let new = check_new(&body, caller.workspace, &own, &app.policy());
    let domain = app.domain_add(new.map_err(ApiError::Invalid)?, caller.actor.clone()).await?;
    let location = [(header::LOCATION, format!("/api/v1/domains/{}", domain.id))];
    Ok((StatusCode::CREATED, location, show(&app, domain)).into_response())
}

/// Reads a domain
#[utoipa::path(
    get,
    path = "/api/v1/domains/{id}",
    tag = "domains",
    params(DomainPath),
    responses(
        (
            status = 200,
            body = DomainView,
            headers(("ETag" = String, description = "The domain's version")),
        ),
        Any, OfOne,
    ),
    security(("api_key" = ["domains:read"]), ("session" = ["domains:read"])),
    operation_id = "fetch_domain",
)]
pub(crate) async fn fetch(
    State(app): State<App>,
    caller: By<allow::DomainsRead>,
    Id(id): Id<DomainId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let domain = domain_fetch(app.read(), caller.workspace, id).await?;
    Ok(show(&app, domain.ok_or(ApiError::NotFound("domain"))?))
}

/// Changes where a domain sends people
///
/// A merge patch (RFC 7396): what is left out stays as it is. Host and case policy cannot be changed.
#[utoipa::path(
    patch,
    path = "/api/v1/domains/{id}",
    tag = "domains",
    params(DomainPath, IfMatchHeader),
    request_body(
        content((schema::DomainPatch = "application/merge-patch+json"), (schema::DomainPatch = "application/json"))
    ),
    responses(
        (
            status = 200,
            body = DomainView,
            headers(("ETag" = String, description = "The domain's new version")),
        ),
        Any, WithBody, OfOne, Conditional, MayConflict,
    ),
    security(("api_key" = ["domains:write"]), ("session" = ["domains:write"])),
    operation_id = "change_domain",
)]
pub(crate) async fn change(
    State(app): State<App>,
    caller: By<allow::DomainsWrite>,
    Id(id): Id<DomainId>,
    _: Params<NoParams>,
    headers: HeaderMap,
    MergePatch(body): MergePatch<DomainBody>,
) -> Result<Response, ApiError> {
    let change = check_change(&body, &app.policy()).map_err(ApiError::Invalid)?;
    let if_match = IfMatch::from_headers(&headers)?;
    let domain = app.domain_change(&caller, id, if_match, change).await?;
    Ok(show(&app, domain))
}

/// Looks for a domain's TXT record
///
/// Once it is found the domain is verified, and edges serve it within two seconds.
#[utoipa::path(
    post,
    path = "/api/v1/domains/{id}/verify",
    tag = "domains",
    params(DomainPath),
    responses(
        (
            status = 200,
            body = DomainView,
            headers(("ETag" = String, description = "The domain's new version")),
        ),
        Any, OfOne, MayConflict,
    ),
    security(("api_key" = ["domains:write"]), ("session" = ["domains:write"])),
    operation_id = "verify_domain",
)]
pub(crate) async fn verify(
    State(app): State<App>,
    caller: By<allow::DomainsWrite>,
    Id(id): Id<DomainId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    Ok(show(&app, app.domain_verify(&caller, id).await?))
}

/// Parameters of a release.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReleaseParams {
    /// Also while links are on it: they stop working.
    #[param(required = false)]
    force: Option<bool>,
}

/// Releases a domain
///
/// Nothing is served on it any more. Whoever adds the host again, this workspace too, gets a new
/// challenge; for this workspace the links that were on it are served again then.
#[utoipa::path(
    delete,
    path = "/api/v1/domains/{id}",
    tag = "domains",
    params(DomainPath, ReleaseParams, IfMatchHeader),
    responses(
        (status = 204, description = "It is released."),
        Any, OfOne, Conditional, MayConflict,
    ),
    security(("api_key" = ["domains:write"]), ("session" = ["domains:write"])),
    operation_id = "release_domain",
)]
pub(crate) async fn release(
    State(app): State<App>,
    caller: By<allow::DomainsWrite>,
    Id(id): Id<DomainId>,
    Params(params): Params<ReleaseParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let if_match = IfMatch::from_headers(&headers)?;
    app.domain_release(&caller, id, if_match, params.force == Some(true)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
