//! `GET /api/v1/codes/{code}`: whether a link could be made with a code. It is asked while somebody
//! types; what counts is the answer to making the link.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use carom_shared::{Code, LinkId, RouteState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::list::domain;
use super::store::code_is_withheld;
use crate::access::allow;
use crate::app::App;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::problem::ApiError;
use crate::openapi::responses::Any;
use crate::openapi::schema;

/// The path of a code.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) struct CodePath {
    /// What somebody would have as a code.
    #[param(min_length = 1, max_length = 200)]
    code: String,
}

#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CodeParams {
    /// The host that the code would be on; the default domain's if it is left out.
    #[param(max_length = 253)]
    domain: Option<String>,
}

/// Whether a code can be had.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = CodeAvailability)]
struct AvailabilityView {
    /// As it would be: on some domains, in lower case.
    code: String,
    available: bool,
    /// Why it is not: for programs.
    #[schema(required = true, inline)]
    reason: Option<Reason>,
    /// Why it is not: for people.
    #[schema(required = true)]
    detail: Option<String>,
    /// This workspace's link that has it.
    #[schema(schema_with = schema::optional_id, required = true)]
    link: Option<LinkId>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Reason {
    Malformed,
    Reserved,
    Taken,
}

/// Says whether a code is available
///
/// A code of a link that this workspace has deleted is, unless an operator took the link down.
#[utoipa::path(
    get,
    path = "/api/v1/codes/{code}",
    tag = "links",
    security(("api_key" = ["links:write"]), ("session" = ["links:write"])),
    params(CodePath, CodeParams),
    responses((status = 200, body = AvailabilityView), Any),
    operation_id = "code_availability",
)]
pub(crate) async fn availability(
    State(app): State<App>,
    caller: By<allow::LinksWrite>,
    Path(text): Path<String>,
    Params(params): Params<CodeParams>,
) -> Result<Response, ApiError> {
    let domains = app.domain_set();
    let host = params.domain.as_deref();
    let named = host.map(|host| domain(host, caller.workspace, &domains)).transpose()?;
    let domain = match named {
        Some(id) => domains.by_id(id),
        None => domains.default_domain(),
    };
    let domain = domain.ok_or_else(|| {
        ApiError::Request("there is no default domain; name one with domain".into())
    })?;
    caller.require_domain(domain.id)?;
    let refused = |code: String, reason, detail: String, link| {
        let (reason, detail) = (Some(reason), Some(detail));
        Json(AvailabilityView { code, available: false, reason, detail, link }).into_response()
    };
    let code = match Code::parse(&text) {
        Ok(code) if domain.folds_case => code.folded(),
        Ok(code) => code,
        Err(error) => return Ok(refused(text, Reason::Malformed, error.to_string(), None)),
    };
    if code.is_reserved() {
        let detail = "it is a word that is kept for other things";
        return Ok(refused(code.to_string(), Reason::Reserved, detail.into(), None));
    }
    let route = app.resolve(domain.id, &code).await?;
    Ok(match route {
        Some(route) if route.workspace != caller.workspace => {
            let detail = "another link has it";
            refused(code.to_string(), Reason::Taken, detail.into(), None)
        }
        Some(route) if route.state != RouteState::Deleted => {
            let detail = "another link of yours has it";
            refused(code.to_string(), Reason::Taken, detail.into(), Some(route.link))
        }
        Some(_) if code_is_withheld(app.read(), domain.id, &code).await? => {
            let detail = "an operator has taken down the link of yours that had it";
            refused(code.to_string(), Reason::Taken, detail.into(), None)
        }
        _ => {
            let code = code.to_string();
            let view =
                AvailabilityView { code, available: true, reason: None, detail: None, link: None };
            Json(view).into_response()
        }
    })
}
