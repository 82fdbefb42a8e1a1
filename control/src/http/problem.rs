//! Errors as clients see them: one exhaustive mapping to RFC 9457 problem documents.
//!
//! A handler returns [`ApiError`]; [`render`] writes the document, because only there the request's
//! id is known, and logs the cause, which clients never see. What axum answers by itself (405 with
//! its `Allow`) becomes a document there too.

use std::any::Any;
use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RequestId;
use super::refusal::ProblemCode;
use crate::access::Scope;
use crate::db::StoreError;
use crate::link::command::Refusal;
use crate::link::store::{CreateRefused, EditRefused};
use crate::openapi::responses::{Limited, OfOne};
use crate::write::WriteError;

/// The media type of RFC 9457.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");
/// What a client should wait before it tries again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// One field of a body that does not make sense.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body (RFC 6901), as a URI fragment.
    pub pointer: String,
    /// For programs; it does not change from version to version.
    pub code: String,
    /// For people.
    pub detail: String,
}

impl FieldError {
    pub(crate) fn new(pointer: &str, code: &str, detail: String) -> Self {
        Self { pointer: pointer.into(), code: code.into(), detail }
    }
}

/// A problem document (RFC 9457, 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// An address that describes this kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// The request, as the log knows it.
    pub instance: String,
    /// The last part of `type`.
    pub code: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// Everything that can go wrong with a request.
#[derive(Clone, Debug)]
pub(crate) enum ApiError {
    NoRoute,
    NotFound(&'static str),
    Method,
    BodyTooLarge {
        max: usize,
    },
    MediaType,
    Json(String),
    /// A query parameter, a cursor, a header or a body that cannot be read.
    Request(String),
    Invalid(Vec<FieldError>),
    NoCredentials,
    BadCredentials,
    /// The role has not the scope.
    Forbidden(Scope),
    /// The key has not the scope.
    InsufficientScope(Scope),
    /// The key is not for the address that it came from.
    KeyAddress,
    /// The key is for some domains, and the call is about all of them.
    KeyDomain,
    /// The person does not look after the installation.
    OperatorsOnly,
    /// It is long ago that the person showed who they are.
    Reauthenticate,
    /// Address and password, code or ticket do not belong together.
    WrongLogin,
    /// What the provider says of somebody is not believed, or it says no.
    ProviderRefused,
    /// The provider cannot be asked.
    ProviderAway,
    /// A browser sent it for another site, or does not say for which.
    CrossSite,
    /// Too much was asked of a limit; what it is and when to come back.
    Limited {
        detail: String,
        retry_after_s: u64,
    },
    /// What there is does not allow it; a sentence says why.
    Conflict(String),
    /// A mail would have to be sent, and mail.url is not set.
    NoMail,
    CodeReserved(String),
    CodeTaken(String),
    /// The version that there is, where the client will have changed another.
    Precondition {
        version: u64,
    },
    KeyUsed,
    KeyUnderWay,
    Busy,
    Closing,
    Timeout,
    /// It is not known whether it was done.
    Unknown,
    /// They are another control plane's.
    NoClicks,
    /// Their store cannot be reached.
    ClicksAway,
    Internal(Arc<dyn Error + Send + Sync>),
}

/// Kinds of problems: what documents are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    help: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $code:literal $status:ident $title:literal $help:literal;)+) => {
        impl Kind {
            $(const $name: Self = Self {
                code: $code, status: StatusCode::$status, title: $title, help: $help,
            };)+
            const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

kinds! {
    NOT_FOUND = "not-found" NOT_FOUND "There is nothing here"
        "The address does not exist, or what it names belongs to another workspace.";
    METHOD = "method-not-allowed" METHOD_NOT_ALLOWED "This address does not take this method"
        "The Allow header lists the methods it takes.";
    TOO_LARGE = "payload-too-large" PAYLOAD_TOO_LARGE "The body is too large"
        "Send less in one request.";
    MEDIA_TYPE = "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "The body has the wrong media type"
        "Send the header Content-Type: application/json.";
    JSON = "malformed-json" BAD_REQUEST "The body is not JSON"
        "The detail says where reading stopped. Nothing was done.";
    REQUEST = "malformed-request" BAD_REQUEST "The request cannot be read"
        "A query parameter, a header or the body is malformed. Nothing was done.";
    VALIDATION = "validation" UNPROCESSABLE_ENTITY "Some fields do not make sense"
        "The member errors has one entry per field: pointer says which, code and detail say why.";
    NO_CREDENTIALS = "authentication-required" UNAUTHORIZED "An API key is required"
        "Send the header Authorization: Bearer crm_..., with a key made by carom key create.";
    BAD_CREDENTIALS = "invalid-credentials" UNAUTHORIZED "The API key is not valid"
        "It is mistyped, or it was revoked. Make a new one with carom key create.";
    WRONG_LOGIN = "wrong-login" UNAUTHORIZED "This does not sign in"
        "E-mail address, password, code or passkey is wrong, or was used before. After too many codes, \
         begin again with the password.";
    PROVIDER_REFUSED = "provider-refused" UNAUTHORIZED "The provider has not signed you in"
        "Its answer does not belong to a sign-in that this browser began within the last ten minutes, \
         or says no. Begin again at /sign-in. The operator finds the cause in the log.";
    PROVIDER_AWAY = "provider-unavailable" SERVICE_UNAVAILABLE "The provider cannot be reached"
        "Signing in by the provider does not work at the moment. Try again in a while, or sign in \
         with a password.";
    FORBIDDEN = "forbidden" FORBIDDEN "Your role does not allow this"
        "An admin or an owner of the workspace can do it, or can give you another role.";
    INSUFFICIENT_SCOPE = "insufficient-scope" FORBIDDEN "The API key does not allow this"
        "The scope that the detail names is missing: use a key that has it.";
    KEY_ADDRESS = "address-not-allowed" FORBIDDEN "The API key is not for this address"
        "The key may be used from some network addresses only, and the request came from another.";
    KEY_DOMAIN = "domain-restricted" FORBIDDEN "The API key is for some domains only"
        "This call is about the whole workspace. Use a key that is not bound to domains.";
    OPERATORS_ONLY = "operators-only" FORBIDDEN "This is for operators of the installation"
        "Whoever runs the installation makes an account an operator on its machine: carom user promote.";
    REAUTHENTICATE = "reauthentication-required" FORBIDDEN "Show once more who you are"
        "This needs a password (or second factor) that was entered within the last ten minutes.";
    CROSS_SITE = "cross-site-request" FORBIDDEN "The request came from another site"
        "A change with a session's cookie needs the header Origin or Sec-Fetch-Site, and the \
         dashboard's own origin in it. Programs send an API key instead.";
    LIMITED = "rate-limited" TOO_MANY_REQUESTS "Too many requests"
        "Nothing was done. Wait as long as the Retry-After header says, then go on more slowly.";
    CONFLICT = "conflict" CONFLICT "This cannot be done as things are"
        "The detail says what is in the way. Nothing was done.";
    NO_MAIL = "mail-not-configured" SERVICE_UNAVAILABLE "This installation sends no mail"
        "The operator sets mail.url and mail.from, or makes the account with carom user create.";
    CODE_TAKEN = "code-taken" CONFLICT "The code is not available"
        "Another link has it, or it is a reserved word. Choose another, or none for a random one.";
    PRECONDITION = "precondition-failed" PRECONDITION_FAILED "It has changed since"
        "If-Match names another version than there is. Read it again, then decide. Nothing was done.";
    KEY_USED = "idempotency-mismatch" UNPROCESSABLE_ENTITY "The idempotency key was used before"
        "Another request of the last 24 hours had the same Idempotency-Key. Nothing was done.";
    KEY_UNDER_WAY = "idempotency-in-progress" CONFLICT "The request is still being carried out"
        "A request with this Idempotency-Key is under way. Wait as long as the Retry-After header \
         says, then send it again to hear its answer.";
    OVERLOADED = "overloaded" SERVICE_UNAVAILABLE "The service is busy"
        "Nothing was done. Wait as long as the Retry-After header says, then try again.";
    TIMEOUT = "timeout" SERVICE_UNAVAILABLE "The request took too long"
        "It may have been carried out: look before trying again.";
    UNKNOWN = "outcome-unknown" SERVICE_UNAVAILABLE "It is not known whether it was done"
        "The database failed while it made the change durable: look before trying again, or send \
         the same request with the same Idempotency-Key.";
    NO_CLICKS = "clicks-elsewhere" SERVICE_UNAVAILABLE "Clicks are kept elsewhere"
        "This control plane keeps no clicks (clicks.url is none), or must not at the moment; another \
         one on the same database does. Ask that one.";
    CLICKS_AWAY = "clicks-unavailable" SERVICE_UNAVAILABLE "The store of clicks is away"
        "Statistics cannot be read at the moment; clicks are counted all the same, and are shown once it \
         is back. Wait as long as the Retry-After header says, then try again.";
    INTERNAL = "internal" INTERNAL_SERVER_ERROR "Something went wrong"
        "The operator finds the cause in the log, under the request id that instance ends with.";
}

impl ApiError {
    /// A defect that has no type of its own.
    pub(crate) fn from_text(text: &str) -> Self {
        Self::Internal(Arc::from(Box::<dyn Error + Send + Sync>::from(text)))
    }

    pub(crate) fn from_panic(panic: Box<dyn Any + Send>) -> Self {
        let text = panic.downcast::<String>().map(|text| *text);
        let text = text.or_else(|panic| panic.downcast::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_else(|_| "no message".to_owned());
        Self::from_text(&format!("panic: {text}"))
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::NoRoute | Self::NotFound(_) => Kind::NOT_FOUND,
            Self::Method => Kind::METHOD,
            Self::BodyTooLarge { .. } => Kind::TOO_LARGE,
            Self::MediaType => Kind::MEDIA_TYPE,
            Self::Json(_) => Kind::JSON,
            Self::Request(_) => Kind::REQUEST,
            Self::Invalid(_) => Kind::VALIDATION,
            Self::NoCredentials => Kind::NO_CREDENTIALS,
            Self::BadCredentials => Kind::BAD_CREDENTIALS,
            Self::Forbidden(_) => Kind::FORBIDDEN,
            Self::InsufficientScope(_) => Kind::INSUFFICIENT_SCOPE,
            Self::KeyAddress => Kind::KEY_ADDRESS,
            Self::KeyDomain => Kind::KEY_DOMAIN,
            Self::OperatorsOnly => Kind::OPERATORS_ONLY,
            Self::Reauthenticate => Kind::REAUTHENTICATE,
            Self::WrongLogin => Kind::WRONG_LOGIN,
            Self::ProviderRefused => Kind::PROVIDER_REFUSED,
            Self::ProviderAway => Kind::PROVIDER_AWAY,
            Self::CrossSite => Kind::CROSS_SITE,
            Self::Limited { .. } => Kind::LIMITED,
            Self::Conflict(_) => Kind::CONFLICT,
            Self::NoMail => Kind::NO_MAIL,
            Self::CodeReserved(_) | Self::CodeTaken(_) => Kind::CODE_TAKEN,
            Self::Precondition { .. } => Kind::PRECONDITION,
            Self::KeyUsed => Kind::KEY_USED,
            Self::KeyUnderWay => Kind::KEY_UNDER_WAY,
            Self::Busy | Self::Closing => Kind::OVERLOADED,
            Self::Timeout => Kind::TIMEOUT,
            Self::Unknown => Kind::UNKNOWN,
            Self::NoClicks => Kind::NO_CLICKS,
            Self::ClicksAway => Kind::CLICKS_AWAY,
            Self::Internal(_) => Kind::INTERNAL,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::NoRoute => "this address does not exist".into(),
            Self::NotFound(what) => format!("there is no such {what}"),
            Self::BodyTooLarge { max } => format!("a body has at most {max} bytes"),
            Self::Json(detail)
            | Self::Request(detail)
            | Self::Conflict(detail)
            | Self::Limited { detail, .. } => detail.clone(),
            Self::Forbidden(scope) => {
                format!("this needs the role {} in the workspace", scope.least_role())
            }
            Self::InsufficientScope(scope) => {
                format!("the key has not the scope {}", scope.as_str())
            }
            Self::CodeReserved(code) => format!("the code {code} is a reserved word"),
            Self::CodeTaken(code) => format!("the code {code} is taken"),
            Self::Precondition { version } => {
                format!("If-Match does not name the version that there is, \"{version}\"")
            }
            Self::Closing => "the service is shutting down".into(),
            Self::Method
            | Self::MediaType
            | Self::Invalid(_)
            | Self::NoCredentials
            | Self::BadCredentials
            | Self::KeyAddress
            | Self::KeyDomain
            | Self::OperatorsOnly
            | Self::Reauthenticate
            | Self::WrongLogin
            | Self::ProviderRefused
            | Self::ProviderAway
            | Self::CrossSite
            | Self::NoMail
            | Self::KeyUsed
            | Self::KeyUnderWay
            | Self::Busy
            | Self::Timeout
            | Self::Unknown
            | Self::NoClicks
            | Self::ClicksAway
            | Self::Internal(_) => self.kind().help.into(),
        }
    }

    /// The document, for the request `id`.
    pub(crate) fn problem(&self, id: &RequestId, base: &str) -> Problem {
        let kind = self.kind();
        Problem {
            kind: format!("{base}/problems/{}", kind.code),
            title: kind.title.into(),
            status: kind.status.as_u16(),
            detail: self.detail(),
            instance: format!("urn:uuid:{}", id.as_str()),
            code: kind.code.into(),
            errors: if let Self::Invalid(errors) = self { errors.clone() } else { Vec::new() },
        }
    }

    /// What a page says of it.
    pub(crate) fn words(&self) -> (StatusCode, &'static str, String) {
        let kind = self.kind();
        (kind.status, kind.title, self.detail())
    }

    /// What axum answered by itself: a status without a body. A handler that means to answer
    /// text with an error's status, as the probes do, is left alone.
    fn from_bare(response: &Response) -> Option<Self> {
        if response.headers().contains_key(header::CONTENT_TYPE) {
            return None;
        }
        match response.status() {
            StatusCode::NOT_FOUND => Some(Self::NoRoute),
            StatusCode::METHOD_NOT_ALLOWED => Some(Self::Method),
            status if status.is_client_error() => {
                Some(Self::Request(format!("the request was refused with status {status}")))
            }
            status if status.is_server_error() => {
                Some(Self::from_text(&format!("answered with status {status}")))
            }
            _ => None,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoClicks => Self::NoClicks,
            StoreError::Clicks(error) if error.is_unavailable() => Self::ClicksAway,
            error if error.is_unavailable() => Self::Busy,
            error => Self::Internal(Arc::new(error)),
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            // What failed before the commit was not done, and the writer logged why.
            WriteError::Busy | WriteError::Failed => Self::Busy,
            WriteError::Closing => Self::Closing,
            WriteError::Unknown => Self::Unknown,
            WriteError::KeyUnderWay => Self::KeyUnderWay,
            WriteError::KeyUsed => Self::KeyUsed,
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(errors) => Self::Invalid(errors),
            Refusal::Reserved(code) => Self::CodeReserved(code.to_string()),
        }
    }
}

impl From<CreateRefused> for ApiError {
    fn from(refused: CreateRefused) -> Self {
        match refused {
            CreateRefused::Taken(code) => Self::CodeTaken(code.to_string()),
            CreateRefused::NoWorkspace => Self::NotFound("workspace"),
            CreateRefused::NoFreeCode => Self::Internal(Arc::new(refused)),
        }
    }
}

impl From<EditRefused> for ApiError {
    fn from(refused: EditRefused) -> Self {
        match refused {
            EditRefused::NotFound => Self::NotFound("link"),
            EditRefused::Precondition { version } => Self::Precondition { version },
            EditRefused::Invalid(error) => Self::Invalid(vec![error]),
            EditRefused::Taken(code) => Self::CodeTaken(code.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.kind().status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Turns an error into its document and logs its cause.
pub(super) fn render(
    mut response: Response,
    id: &RequestId,
    base: &str,
    (method, route): (&Method, Option<&str>),
) -> Response {
    let error = response.extensions_mut().remove::<ApiError>();
    let Some(error) = error.or_else(|| ApiError::from_bare(&response)) else {
        return response;
    };
    let kind = error.kind();
    let route = route.unwrap_or("none");
    match &error {
        ApiError::Internal(cause) => tracing::error!(
            request.id = id.as_str(), %method, route, error = &**cause as &dyn Error,
            "request failed"
        ),
        _ => tracing::debug!(
            request.id = id.as_str(), %method, route, code = kind.code, "request refused"
        ),
    }
    let problem = error.problem(id, base);
    let mut body = serde_json::to_vec(&problem).unwrap_or_default();
    body.push(b'\n');
    // Headers that were set with the status stay: Allow is one.
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, MEDIA_TYPE);
    match error {
        // RFC 6750, 3: no error code where there were no credentials.
        ApiError::NoCredentials | ApiError::WrongLogin | ApiError::ProviderRefused => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        ApiError::BadCredentials => {
            let value = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        ApiError::InsufficientScope(scope) => {
            let challenge =
                format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scope.as_str());
            headers
                .extend(HeaderValue::try_from(challenge).map(|it| (header::WWW_AUTHENTICATE, it)));
        }
        ApiError::Limited { retry_after_s, .. } => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
        }
        ApiError::Busy
        | ApiError::Closing
        | ApiError::Timeout
        | ApiError::Unknown
        | ApiError::ClicksAway
        | ApiError::ProviderAway
        | ApiError::KeyUnderWay => {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        ApiError::NoClicks => {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            // On a new connection, whoever asked may come to the one that has them.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response.extensions_mut().insert(ProblemCode(kind.code));
    *response.status_mut() = kind.status;
    *response.body_mut() = Body::from(body);
    response
}

/// What the `type` of a problem document leads to.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "document",
    security(()),
    params(("code" = String, Path, description = "The last part of a problem's `type`")),
    responses((status = 200, body = String, content_type = "text/plain; charset=utf-8"), OfOne, Limited)
)]
pub(crate) async fn describe(Path(code): Path<String>) -> Result<Response, ApiError> {
    let kind = Kind::ALL.iter().find(|kind| kind.code == code);
    let kind = kind.ok_or(ApiError::NotFound("kind of problem"))?;
    let text = format!("{} ({})\n\n{}\n", kind.title, kind.status, kind.help);
    Ok(text.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_fit_into_an_address() {
        let mut codes: Vec<_> = Kind::ALL.iter().map(|kind| kind.code).collect();
        assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
    }

    #[test]
    fn causes_stay_inside() {
        let error = ApiError::from(StoreError::Database(sqlx::Error::Protocol("secret".into())));
        assert!(!error.detail().contains("secret"));
        assert_eq!(error.kind().status, StatusCode::INTERNAL_SERVER_ERROR);
        let full = ApiError::from(StoreError::Database(sqlx::Error::PoolTimedOut));
        assert_eq!(full.kind().status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
