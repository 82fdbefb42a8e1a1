//! Which problems calls answer with, by what the calls have in common.

use utoipa::{IntoParams, IntoResponses};

use crate::http::problem::Problem;

const PROBLEM: &str = "application/problem+json";

/// Any call with an API key.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) enum Any {
    /// `malformed-request`, `malformed-json`: the request cannot be read.
    #[response(status = 400, content_type = PROBLEM)]
    Malformed(Problem),
    /// `authentication-required`, `invalid-credentials`: there is no valid API key.
    #[response(
        status = 401,
        content_type = PROBLEM,
        headers(("WWW-Authenticate" = String, description = "`Bearer` (RFC 6750)"))
    )]
    Unauthorized(Problem),
    /// `insufficient-scope`, `forbidden`, `operators-only`: the key, or what you are, does not allow it.
    #[response(status = 403, content_type = PROBLEM)]
    Forbidden(Problem),
    /// `rate-limited`: nothing was done. The headers say of which limit there is nothing left.
    #[response(
        status = 429,
        content_type = PROBLEM,
        headers(
            ("Retry-After" = u32, description = "Seconds to wait"),
            ("RateLimit-Policy" = String, description = "The limits that the request counted for"),
            ("RateLimit" = String, description = "What is left of them")
        )
    )]
    Limited(Problem),
    /// `internal`: something went wrong; the operator finds the cause under the request's id.
    #[response(status = 500, content_type = PROBLEM)]
    Internal(Problem),
    /// `overloaded`: nothing was done. `timeout`, `outcome-unknown`: look before trying again.
    #[response(
        status = 503,
        content_type = PROBLEM,
        headers(("Retry-After" = u32, description = "Seconds to wait"))
    )]
    Unavailable(Problem),
}

/// A call for everybody.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) enum Limited {
    /// `rate-limited`: nothing was done. The headers say of which limit there is nothing left.
    #[response(
        status = 429,
        content_type = PROBLEM,
        headers(
            ("Retry-After" = u32, description = "Seconds to wait"),
            ("RateLimit-Policy" = String, description = "The limits that the request counted for"),
            ("RateLimit" = String, description = "What is left of them")
        )
    )]
    Limited(Problem),
}

/// A call with a body.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) enum WithBody {
    /// `payload-too-large`: send less at a time.
    #[response(status = 413, content_type = PROBLEM)]
    TooLarge(Problem),
    /// `unsupported-media-type`: the body has another media type than this call takes.
    #[response(status = 415, content_type = PROBLEM)]
    MediaType(Problem),
    /// `validation`: `errors` says which fields make no sense. `idempotency-mismatch`: the key was
    /// used for another request.
    #[response(status = 422, content_type = PROBLEM)]
    Invalid(Problem),
}

/// A call that names one object.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) enum OfOne {
    /// `not-found`: there is none with this id in the key's workspace.
    #[response(status = 404, content_type = PROBLEM)]
    NotFound(Problem),
}

/// A call that may conflict with what there is.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) enum MayConflict {
    /// `code-taken`: the code is not available. `idempotency-in-progress`: a request with this key
    /// is under way; send it again after `Retry-After` seconds.
    #[response(status = 409, content_type = PROBLEM)]
    Conflict(Problem),
}

/// A call of somebody who is signed in.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) enum Fresh {
    /// `cross-site-request`: the request does not come from the dashboard's own origin.
    /// `reauthentication-required`: show once more who you are, and send it again.
    #[response(status = 403, content_type = PROBLEM)]
    Refused(Problem),
}

/// A call with `If-Match`.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) enum Conditional {
    /// `precondition-failed`: the link has another version than `If-Match` names.
    #[response(status = 412, content_type = PROBLEM)]
    Precondition(Problem),
}

/// A request that may be sent again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) struct OnceHeader {
    /// A text of your own for this request, best in double quotes. Sent again within 24 hours, the
    /// same request is answered as it was, with `Idempotent-Replayed: true`, and is not done again.
    #[param(
        rename = "Idempotency-Key",
        value_type = String,
        required = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[ !#-~]+$",
        example = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\""
    )]
    key: Option<String>,
}

/// A change that is made only to the version that the client has seen.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) struct IfMatchHeader {
    /// The `ETag` that the link must have, or `*`.
    #[param(
        rename = "If-Match",
        value_type = String,
        required = false,
        pattern = r#"^(\*|"[0-9]{1,19}")$"#,
        example = "\"1\""
    )]
    if_match: Option<String>,
}

/// A question for what the client may have already.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by its derive alone")]
pub(crate) struct IfNoneMatchHeader {
    /// The `ETag` of the version that is known already, or `*`.
    #[param(
        rename = "If-None-Match",
        value_type = String,
        required = false,
        pattern = r#"^(\*|"[0-9]{1,19}")$"#,
        example = "\"1\""
    )]
    if_none_match: Option<String>,
}
