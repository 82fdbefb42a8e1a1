//! Missing codes over HTTP.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::store::missing_list;
use super::{CODES_MAX, MissingCode};
use crate::access::allow;
use crate::app::App;
use crate::http::auth::By;
use crate::http::extract::{Json, Params};
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::link::list::domain;
use crate::openapi::responses::Any;
use crate::openapi::schema;

/// Codes of an answer, unless it says otherwise.
const LIMIT_DEFAULT: u32 = 100;

/// Which missing codes a client asks for.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MissingParams {
    /// Only codes on this host.
    #[param(max_length = 253)]
    domain: Option<String>,
    /// Codes of the answer; 100 unless it says otherwise.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Codes that do not exist.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = MissingCodes)]
struct MissingPage {
    data: Vec<MissingView>,
}

/// A code that visitors asked for and that does not exist.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = MissingCode)]
struct MissingView {
    domain: String,
    code: String,
    /// How often it was asked for, at least.
    count: u64,
    /// When it was first reported: within a minute of the request.
    #[schema(schema_with = schema::time)]
    first_seen: String,
    #[schema(schema_with = schema::time)]
    last_seen: String,
}

impl From<MissingCode> for MissingView {
    fn from(code: MissingCode) -> Self {
        Self {
            domain: code.host,
            code: code.code,
            count: code.requests,
            first_seen: rfc3339(code.first_seen),
            last_seen: rfc3339(code.last_seen),
        }
    }
}

/// Lists codes that do not exist
///
/// Those that visitors ask for most: a misprint, a link that was never made. Of each domain the
/// 1,000 most frequent of the last 90 days are known. A code that has become a link is left out. Those
/// of the installation's own domain are shown in its first workspace alone.
#[utoipa::path(
    get,
    path = "/api/v1/missing",
    tag = "statistics",
    security(("api_key" = ["stats:read"]), ("session" = ["stats:read"])),
    params(MissingParams),
    responses((status = 200, body = MissingPage), Any),
    operation_id = "missing_codes",
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: By<allow::StatsRead>,
    Params(params): Params<MissingParams>,
) -> Result<Response, ApiError> {
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    if limit == 0 || limit as usize > CODES_MAX {
        return Err(ApiError::Request(format!("limit is from 1 to {CODES_MAX}")));
    }
    let host = params.domain.as_deref();
    let domain = host.map(|host| domain(host, caller.workspace, &app.domain_set())).transpose()?;
    let domain = caller.domain_of(domain)?;
    let codes = missing_list(app.read(), caller.workspace, domain, limit).await?;
    let data = codes.into_iter().map(MissingView::from).collect();
    Ok(Json(MissingPage { data }).into_response())
}
