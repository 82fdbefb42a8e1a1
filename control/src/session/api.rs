//! Sessions over HTTP: who is signed in, where else they are, and how that ends.

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use carom_shared::{AccountId, SessionId, UnixMillis};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::act::{Confirm, ConfirmBy, End, EndOthers, EndStolen, Regain, Rotate, Touch};
pub(crate) use super::cookie::{COOKIE, cookie};
use super::cookie::{ResponseCookie, is_of_other_site, is_of_this_site};
use super::store::{SessionRow, session_find, session_list};
use super::{Device, FRESH, Found, GRACE, Session};
use crate::account::command::SecretText;
use crate::account::store::account_fetch;
use crate::account::tries::{Tried, note_wrong};
use crate::account::{Account, Entered, Password, Verified};
use crate::app::App;
use crate::audit::Actor;
use crate::http::auth::{Credentials, actor};
use crate::http::extract::{Id, Json};
use crate::http::problem::{ApiError, FieldError};
use crate::http::refusal::Asker;
use crate::limit::api::{count_failed, count_person, count_stranger, may_look_up};
use crate::link::api::rfc3339;
use crate::mail::text;
use crate::openapi::responses::{Any, Fresh, OfOne, WithBody};
use crate::openapi::schema;
use crate::secret::token::Token;

/// Characters of a user agent that are kept.
const USER_AGENT_MAX: usize = 256;
/// What a browser must forget of somebody who has signed out (W3C Clear Site Data). Not `cookies`:
/// other programs of the host have some.
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
const CLEARED: HeaderValue = HeaderValue::from_static("\"cache\", \"storage\"");

/// A person who is signed in, wherever they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignedIn {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
    /// When they last showed who they are.
    pub(crate) auth_at: UnixMillis,
    pub(crate) current: Session,
}

impl SignedIn {
    /// Whether they have just shown who they are.
    pub(crate) fn is_fresh(&self, now: UnixMillis) -> bool {
        is_fresh(self.auth_at, now)
    }

    /// # Errors
    /// [`ApiError::Reauthenticate`]: it is more than ten minutes ago.
    pub(crate) fn require_fresh(&self, now: UnixMillis) -> Result<(), ApiError> {
        if self.is_fresh(now) { Ok(()) } else { Err(ApiError::Reauthenticate) }
    }
}

impl Credentials {
    /// For what is sensitive. A key has its scopes, and nobody behind it who could be asked.
    ///
    /// # Errors
    /// [`ApiError::Reauthenticate`]: a person who showed who they are more than ten minutes ago.
    pub(crate) fn require_fresh(self, now: UnixMillis) -> Result<(), ApiError> {
        match self {
            Self::Session { auth_at, .. } if !is_fresh(auth_at, now) => {
                Err(ApiError::Reauthenticate)
            }
            Self::Session { .. } | Self::Key(_) => Ok(()),
        }
    }
}

fn is_fresh(auth_at: UnixMillis, now: UnixMillis) -> bool {
    now <= auth_at.saturating_add(FRESH)
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = cookie(&parts.headers, COOKIE).ok_or(ApiError::NoCredentials)?;
        if !is_of_this_site(&parts.method, &parts.headers, app.problem_base()) {
            return Err(ApiError::CrossSite);
        }
        may_look_up(parts, app)?;
        let (hash, now) = (Token::hash_of(token), app.now());
        let jar = parts.extensions.get::<ResponseCookie>().cloned().unwrap_or_default();
        let (session, is_current) = match session_find(app.read(), &hash, now).await? {
            None => {
                jar.clear();
                return Err(count_failed(parts, app, ApiError::NoCredentials).await);
            }
            Some(Found::Replaced(session, at))
                if now > at.saturating_add(GRACE)
                    && session.is_token_unused()
                    && session.token_at == at =>
            {
                regain(app, session, hash, &jar).await?;
                (session, false)
            }
            Some(Found::Replaced(session, at)) if now > at.saturating_add(GRACE) => {
                end_stolen(app, session, actor(parts)).await?;
                jar.clear();
                return Err(count_failed(parts, app, ApiError::NoCredentials).await);
            }
            Some(Found::Replaced(session, _)) => (session, false),
            Some(Found::Current(session)) => (session, true),
        };
        if let Some(asker) = parts.extensions.get::<Asker>() {
            asker.set_account(session.account);
        }
        count_person(parts, app, session.account).await?;
        if is_current {
            keep(app, session, hash, &jar).await;
        }
        let Session { id, account, auth_at, .. } = session;
        Ok(Self { account, session: id, auth_at, current: session })
    }
}

/// Does what time asks for: a new token, or a note that the session was used. A request does not fail
/// because that cannot be written now; the next one tries again.
async fn keep(app: &App, session: Session, old: [u8; 32], jar: &ResponseCookie) {
    let now = app.now();
    let done = if session.is_due_to_rotate(now) {
        let token = Token::generate(app.random());
        let rotated = app.act(Rotate { session, old, new: token.hash() }).await;
        if rotated == Ok(true) {
            jar.set(&session, &token, now);
        }
        rotated.map(drop)
    } else if session.is_due_to_be_seen(now) {
        app.act(Touch(session)).await
    } else {
        return;
    };
    if let Err(error) = done {
        tracing::debug!(%error, session.id = %session.id, "a session's use was not noted");
    }
}

/// Gives a token in place of one that was never used: the answer that brought it was lost.
async fn regain(
    app: &App,
    session: Session,
    old: [u8; 32],
    jar: &ResponseCookie,
) -> Result<(), ApiError> {
    let token = Token::generate(app.random());
    // Of several at the same time one is quicker; from then on the old token has its minute.
    if app.act(Regain { session, old, new: token.hash() }).await? {
        jar.set(&session, &token, app.now());
    }
    Ok(())
}

async fn end_stolen(app: &App, session: Session, actor: Actor) -> Result<(), ApiError> {
    let actor = Actor { account: Some(session.account), ..actor };
    let told = app.act(EndStolen { session, actor }).await?;
    let Some(email) = told else { return Ok(()) };
    tracing::warn!(
        session.id = %session.id, account.id = %session.account,
        "a session's old token was used: the session is ended"
    );
    app.accounts().notify(&email, text::SESSION_STOLEN);
    Ok(())
}

/// Who is at the other end of a request that anybody may send, or whom nothing is known of yet.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) actor: Actor,
    pub(crate) device: Device,
    pub(crate) cookie: ResponseCookie,
    pub(crate) asker: Asker,
}

impl FromRequestParts<App> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        // Another site's page must not sign its visitor in as somebody else.
        if is_of_other_site(&parts.headers, app.problem_base()) {
            return Err(ApiError::CrossSite);
        }
        // Whoever is signed in has been counted as themselves.
        count_stranger(parts, app).await?;
        Ok(Self::of(parts))
    }
}

impl Client {
    /// Also of a request that comes from another site.
    pub(crate) fn of(parts: &Parts) -> Self {
        let actor = actor(parts);
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let agent = agent.unwrap_or_default().chars().filter(|c| !c.is_control());
        let address = actor.address.map(|address| address.to_string()).unwrap_or_default();
        let device = Device { address, user_agent: agent.take(USER_AGENT_MAX).collect() };
        let cookie = parts.extensions.get::<ResponseCookie>().cloned().unwrap_or_default();
        let asker = parts.extensions.get::<Asker>().cloned().unwrap_or_default();
        Self { actor, device, cookie, asker }
    }

    /// As who is signed in, for the audit log.
    pub(crate) fn acting(&self, account: AccountId) -> Actor {
        Actor { account: Some(account), ..self.actor.clone() }
    }
}

/// A session, as its owner sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionView {
    #[schema(schema_with = schema::id)]
    id: String,
    #[schema(schema_with = schema::time)]
    created_at: String,
    /// To the minute.
    #[schema(schema_with = schema::time)]
    last_seen_at: String,
    /// When it ends unless it is used before.
    #[schema(schema_with = schema::time)]
    idle_expires_at: String,
    /// When it ends in any case.
    #[schema(schema_with = schema::time)]
    expires_at: String,
    /// From where somebody signed in; may be empty.
    address: String,
    /// What their browser calls itself; may be empty.
    user_agent: String,
    /// Whether a second factor was shown in it.
    second_factor: bool,
    /// Whether the browser keeps it when it closes.
    remembered: bool,
    /// Whether it is the one that asks.
    current: bool,
}

impl SessionView {
    fn of(row: SessionRow, current: SessionId) -> Self {
        let at = |ms| rfc3339(UnixMillis::new(ms));
        Self {
            id: row.id.to_string(),
            created_at: at(row.created_at_ms),
            last_seen_at: at(row.last_seen_at_ms),
            idle_expires_at: at(row.idle_expires_at_ms),
            expires_at: at(row.expires_at_ms),
            address: row.address,
            user_agent: row.user_agent,
            second_factor: row.second_factor,
            remembered: row.remembered,
            current: row.id == current.get(),
        }
    }
}

/// Where somebody is signed in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SessionList {
    data: Vec<SessionView>,
}

/// Lists where you are signed in
///
/// At most 50; the last used first.
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    tag = "account",
    security(("session" = [])),
    responses((status = 200, body = SessionList), Any),
    operation_id = "list_sessions",
)]
pub(crate) async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<Response, ApiError> {
    let rows = session_list(app.read(), signed_in.account, app.now()).await?;
    let data = rows.into_iter().map(|row| SessionView::of(row, signed_in.session)).collect();
    Ok(Json(SessionList { data }).into_response())
}

/// Signs out everywhere else
#[utoipa::path(
    delete,
    path = "/api/v1/sessions",
    tag = "account",
    security(("session" = [])),
    responses((status = 204, description = "This session alone is left"), Any, Fresh),
    operation_id = "end_other_sessions",
)]
pub(crate) async fn end_others(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
) -> Result<Response, ApiError> {
    let SignedIn { account, session, .. } = signed_in;
    app.act(EndOthers { account, kept: session, actor: client.acting(account) }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Signs out somewhere
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{id}",
    tag = "account",
    security(("session" = [])),
    params(("id" = String, Path, description = "One of your sessions")),
    responses((status = 204, description = "It is over"), Any, OfOne, Fresh),
    operation_id = "end_session",
)]
pub(crate) async fn end(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Id(id): Id<SessionId>,
) -> Result<Response, ApiError> {
    let account = signed_in.account;
    let end = End { account, session: id, actor: client.acting(account) };
    if !app.act(end).await? {
        return Err(ApiError::NotFound("session"));
    }
    Ok(if id == signed_in.session {
        signed_out(&client)
    } else {
        StatusCode::NO_CONTENT.into_response()
    })
}

/// Signs out here
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/current",
    tag = "account",
    security(("session" = [])),
    responses(
        (
            status = 204,
            description = "You are signed out",
            headers(("Clear-Site-Data" = String, description = "What the browser forgets"))
        ),
        Any,
        Fresh,
    ),
    operation_id = "sign_out",
)]
pub(crate) async fn sign_out(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
) -> Result<Response, ApiError> {
    let SignedIn { account, session, .. } = signed_in;
    app.act(End { account, session, actor: client.acting(account) }).await?;
    Ok(signed_out(&client))
}

pub(crate) fn signed_out(client: &Client) -> Response {
    client.cookie.clear();
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(CLEAR_SITE_DATA, CLEARED);
    response
}

/// What shows once more who you are: one of the two.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmBody {
    #[schema(value_type = Option<String>, max_length = 1024)]
    password: Option<SecretText>,
    /// A code of the second factor, or a recovery code.
    #[schema(value_type = Option<String>, max_length = 64)]
    code: Option<SecretText>,
}

/// Shows once more who you are
///
/// For ten minutes you can then do what is sensitive: what is answered with
/// `reauthentication-required` otherwise. The session gets a new token.
#[utoipa::path(
    post,
    path = "/api/v1/sessions/current/confirm",
    tag = "account",
    security(("session" = [])),
    request_body = ConfirmBody,
    responses((status = 204, description = "You can go on"), Any, WithBody, Fresh),
    operation_id = "confirm_session",
)]
pub(crate) async fn confirm(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Json(body): Json<ConfirmBody>,
) -> Result<Response, ApiError> {
    let account = account_fetch(app.read(), signed_in.account).await?;
    let account = account.ok_or(ApiError::NoCredentials)?;
    let by = match (body.password, body.code) {
        (Some(password), None) => {
            let hash = account.password_hash.clone();
            app.limits().confirm(signed_in.session).await?;
            verify_own(&app, &client, &account, password.as_str()).await?;
            ConfirmBy::Password(hash.ok_or(ApiError::WrongLogin)?)
        }
        (None, Some(code)) => {
            app.limits().totp(account.id).await?;
            let code = Entered::parse(code.as_str()).ok_or(ApiError::WrongLogin)?;
            ConfirmBy::Code(code, Box::new(app.accounts().seal.clone()))
        }
        _ => {
            let detail = "send either password or code".to_owned();
            return Err(ApiError::Invalid(vec![FieldError::new("#", "one-of", detail)]));
        }
    };
    let is_code = matches!(by, ConfirmBy::Code(..));
    let token = Token::generate(app.random());
    let actor = client.acting(account.id);
    let confirm = Confirm { session: signed_in.current, by, token: token.hash(), actor };
    if !app.act(confirm).await? {
        if is_code {
            note_wrong(&app, &client, account.id, Tried::Code);
        }
        return Err(ApiError::WrongLogin);
    }
    client.cookie.set(&signed_in.current, &token, app.now());
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// As [`verify`], of somebody who is signed in; what is wrong is counted and in the audit log.
pub(crate) async fn verify_own(
    app: &App,
    client: &Client,
    account: &Account,
    password: &str,
) -> Result<Verified, ApiError> {
    let verified = verify(app, password, account.password_hash.clone()).await;
    if matches!(verified, Err(ApiError::WrongLogin)) {
        note_wrong(app, client, account.id, Tried::Password);
    }
    verified
}

/// Whether this is the password that the hash is of; without a hash it is not, after as long.
///
/// # Errors
/// [`ApiError::WrongLogin`], or [`ApiError::Busy`].
pub(crate) async fn verify(
    app: &App,
    password: &str,
    hash: Option<String>,
) -> Result<Verified, ApiError> {
    let password = Password::entered(password).ok_or(ApiError::WrongLogin)?;
    match app.accounts().hasher.verify(password, hash, app.random()).await? {
        Verified::Wrong => Err(ApiError::WrongLogin),
        verified => Ok(verified),
    }
}
