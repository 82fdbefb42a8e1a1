//! Signing in by the provider, over HTTP: where a browser goes, what it comes back with, and whose
//! identities there are.

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use carom_shared::{AccountId, IdentityId, UnixMillis};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::act::{
    BeginByProvider, IsOf, Known, Link, Linked, Outcome, TakeState, Unlink, Unlinked,
};
use super::store::{Identity, identity_list};
use super::{Claims, PER_ACCOUNT_MAX, Provider, ProviderError, Question};
use crate::account::act::IssueToken;
use crate::account::factor::Change;
use crate::account::store::account_fetch;
use crate::account::token::{NewToken, Purpose, TokenRow};
use crate::app::App;
use crate::config::Registration;
use crate::http::extract::{Id, Json};
use crate::http::problem::ApiError;
use crate::invitation::store::email_is_invited;
use crate::link::api::rfc3339;
use crate::mail::text;
use crate::openapi::responses::{Any, Fresh, MayConflict, OfOne, WithBody};
use crate::openapi::schema;
use crate::secret::token::Token;
use crate::session::FRESH;
use crate::session::act::{Confirm, ConfirmBy};
use crate::session::api::{Client, SignedIn};
use crate::session::cookie::cookie;

/// The cookie that binds a question to the browser that asked it.
const COOKIE: &str = "__Host-carom_oidc";
/// Where people go afterwards.
const AFTER_SIGN_IN: &str = "/";
const AFTER_CHANGE: &str = "/settings";

/// What somebody goes to the provider for, as it is kept with the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    SignIn { is_remembered: bool },
    Link,
    Confirm,
}

impl Intent {
    const ALL: [Self; 4] = [
        Self::SignIn { is_remembered: false },
        Self::SignIn { is_remembered: true },
        Self::Link,
        Self::Confirm,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn { is_remembered: false } => "sign-in",
            Self::SignIn { is_remembered: true } => "remember",
            Self::Link => "link",
            Self::Confirm => "confirm",
        }
    }

    fn stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|intent| intent.as_str() == text)
    }
}

/// Whether the browser keeps the session.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderSignInBody {
    /// Whether the browser keeps the session when it closes, for up to 30 days.
    #[serde(default)]
    #[schema(required = false)]
    remember: bool,
}

/// Where the browser goes. The answer's cookie belongs to it, for ten minutes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AtProvider {
    /// An address of the provider.
    authorization_url: String,
}

/// Who you are to a provider.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Identity)]
pub(crate) struct IdentityView {
    #[schema(schema_with = schema::id)]
    id: String,
    /// The provider.
    issuer: String,
    /// What the provider calls you.
    subject: String,
    /// As the provider said when you signed in last; may be empty.
    email: String,
    #[schema(schema_with = schema::time)]
    created_at: String,
    #[schema(schema_with = schema::time)]
    last_used_at: String,
}

impl From<Identity> for IdentityView {
    fn from(identity: Identity) -> Self {
        Self {
            id: identity.id.to_string(),
            created_at: rfc3339(identity.created_at),
            last_used_at: rfc3339(identity.used_at),
            issuer: identity.issuer,
            subject: identity.subject,
            email: identity.email,
        }
    }
}

/// A provider that one can sign in with here.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ProviderView {
    issuer: String,
    label: String,
}

/// What signs in to your account besides a password.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct IdentityList {
    data: Vec<IdentityView>,
    /// `null` where there is none.
    provider: Option<ProviderView>,
}

fn provider(app: &App) -> Result<&Provider, ApiError> {
    app.accounts().provider.as_ref().ok_or(ApiError::NotFound("provider"))
}

/// Begins a sign-in by the provider
///
/// Send the browser to the address of the answer. It comes back to `/sign-in/callback`, which signs it
/// in, or asks for the second factor.
#[utoipa::path(
    post,
    path = "/api/v1/oidc",
    tag = "account",
    security(()),
    request_body = ProviderSignInBody,
    responses(
        (
            status = 200,
            body = AtProvider,
            headers(("Set-Cookie" = String, description = "What the answer is bound to"))
        ),
        Any, OfOne, WithBody,
    ),
    operation_id = "sign_in_by_provider",
)]
pub(crate) async fn sign_in(
    State(app): State<App>,
    client: Client,
    Json(body): Json<ProviderSignInBody>,
) -> Result<Response, ApiError> {
    begin(&app, &client, Intent::SignIn { is_remembered: body.remember }, None).await
}

/// Lists what signs in to your account besides a password
#[utoipa::path(
    get,
    path = "/api/v1/account/identities",
    tag = "account",
    security(("session" = [])),
    responses((status = 200, body = IdentityList), Any),
    operation_id = "list_identities",
)]
pub(crate) async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<Response, ApiError> {
    let found = identity_list(app.read(), signed_in.account).await?;
    let view = |provider: &Provider| ProviderView {
        issuer: provider.issuer().to_owned(),
        label: provider.label().to_owned(),
    };
    let list = IdentityList {
        data: found.into_iter().map(IdentityView::from).collect(),
        provider: app.accounts().provider.as_ref().map(view),
    };
    Ok(Json(list).into_response())
}

/// Begins to link an identity of the provider with your account
///
/// As a sign-in begins. At most 10; other sessions end once it is linked.
#[utoipa::path(
    post,
    path = "/api/v1/account/identities",
    tag = "account",
    security(("session" = [])),
    responses(
        (
            status = 200,
            body = AtProvider,
            headers(("Set-Cookie" = String, description = "What the answer is bound to"))
        ),
        Any, OfOne, Fresh,
    ),
    operation_id = "link_identity",
)]
pub(crate) async fn link(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
) -> Result<Response, ApiError> {
    signed_in.require_fresh(app.now())?;
    begin(&app, &client, Intent::Link, Some(signed_in.account)).await
}

/// Begins to show once more who you are, by the provider
///
/// As a sign-in begins, with an identity that is linked. The provider is told to ask you anew.
#[utoipa::path(
    post,
    path = "/api/v1/sessions/current/confirm-by-provider",
    tag = "account",
    security(("session" = [])),
    responses(
        (
            status = 200,
            body = AtProvider,
            headers(("Set-Cookie" = String, description = "What the answer is bound to"))
        ),
        Any, OfOne, Fresh,
    ),
    operation_id = "confirm_by_provider",
)]
pub(crate) async fn confirm(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
) -> Result<Response, ApiError> {
    begin(&app, &client, Intent::Confirm, Some(signed_in.account)).await
}

/// Takes an identity off your account
///
/// Other sessions end. The last one stays where there is no password.
#[utoipa::path(
    delete,
    path = "/api/v1/account/identities/{id}",
    tag = "account",
    security(("session" = [])),
    params(("id" = String, Path, description = "One of your identities")),
    responses(
        (status = 204, description = "It signs in no more"),
        Any, OfOne, Fresh, MayConflict,
    ),
    operation_id = "unlink_identity",
)]
pub(crate) async fn unlink(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Id(id): Id<IdentityId>,
) -> Result<Response, ApiError> {
    signed_in.require_fresh(app.now())?;
    let account = account_fetch(app.read(), signed_in.account).await?;
    let account = account.ok_or(ApiError::NoCredentials)?;
    let token = Token::generate(app.random());
    let change = Change::of(&account, &signed_in, &token, &client);
    match app.act(Unlink { id, change }).await? {
        Unlinked::Done => {}
        Unlinked::NotFound => return Err(ApiError::NotFound("identity")),
        Unlinked::Changed => return Err(ApiError::NoCredentials),
        Unlinked::Last => {
            let detail = "nothing else signs in to your account: set a password first";
            return Err(ApiError::Conflict(detail.into()));
        }
    }
    client.cookie.set(&signed_in.current, &token, app.now());
    app.accounts().notify(&account.email, text::IDENTITY_REMOVED);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn begin(
    app: &App,
    client: &Client,
    intent: Intent,
    account: Option<AccountId>,
) -> Result<Response, ApiError> {
    let provider = provider(app)?;
    app.limits().provider(client.actor.address).await?;
    let (state, browser) = (Token::generate(app.random()), Token::generate(app.random()));
    let is_anew = intent == Intent::Confirm;
    let question = Question::of(state.reveal().to_owned(), browser.reveal(), is_anew);
    let authorization_url = provider.address(&question, app.now()).await?;
    let token = NewToken {
        account,
        bound: browser.hash(),
        ..NewToken::free(&state, Purpose::Provider, intent.as_str().into())
    };
    app.act(IssueToken { token, noted: None }).await?;
    let mut response = Json(AtProvider { authorization_url }).into_response();
    let life = Purpose::Provider.life().as_secs();
    set_cookie(response.headers_mut(), &format!("{}; Max-Age={life}", browser.reveal()));
    Ok(response)
}

/// `value` is what the cookie holds, and how long.
fn set_cookie(headers: &mut HeaderMap, value: &str) {
    let (value, life) = value.split_once(';').unwrap_or((value, " Max-Age=0"));
    let text = format!("{COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Lax;{life}");
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        headers.append(header::SET_COOKIE, value);
    }
}

/// What a browser comes back with (RFC 6749, 4.1.2; RFC 9207). Providers add parameters of their own.
#[derive(Clone, Default, Deserialize)]
pub(crate) struct CallbackParams {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// A browser that comes back. It comes from another site, which is right here: what it may do says the
/// state alone.
pub(crate) struct Arriving {
    client: Client,
    /// What the cookie holds.
    browser: Option<String>,
    /// `None`: nobody is signed in.
    signed_in: Option<SignedIn>,
}

impl FromRequestParts<App> for Arriving {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let browser = cookie(&parts.headers, COOKIE).map(str::to_owned);
        let has_session = cookie(&parts.headers, crate::session::api::COOKIE).is_some();
        let signed_in = match has_session {
            true => SignedIn::from_request_parts(parts, app).await.ok(),
            false => None,
        };
        Ok(Self { client: Client::of(parts), browser, signed_in })
    }
}

/// Answers a browser that comes back: where it goes next. Its cookie is gone then; after a refusal it
/// is worth nothing, for the state is used up.
pub(crate) async fn arrive(
    app: &App,
    arriving: Arriving,
    params: CallbackParams,
) -> Result<Response, ApiError> {
    let next = answer(app, arriving, params).await?;
    let mut response = axum::response::Redirect::to(&next).into_response();
    set_cookie(response.headers_mut(), "");
    Ok(response)
}

async fn answer(app: &App, arriving: Arriving, params: CallbackParams) -> Result<String, ApiError> {
    let provider = provider(app)?;
    let Arriving { client, browser, signed_in } = arriving;
    app.limits().provider(client.actor.address).await?;
    let no = |text: &str| ProviderError::Refused(text.to_owned());
    let (state, browser) =
        params.state.zip(browser).ok_or_else(|| no("there is no state, or no cookie"))?;
    let row: Option<TokenRow> = app.act(TakeState(Token::hash_of(&state))).await?;
    let row = row.filter(|row| row.bound == Token::hash_of(&browser));
    let row = row.ok_or_else(|| no("its state is not known, too old, or another browser's"))?;
    let intent = Intent::stored(&row.detail).ok_or_else(|| no("its state says nothing"))?;
    provider.check_issuer(params.iss.as_deref(), app.now()).await?;
    if let Some(error) = params.error {
        // Of a stranger's text a few letters.
        let error: String = error.chars().filter(char::is_ascii_graphic).take(40).collect();
        return Err(no(&format!("it says {error}")).into());
    }
    let code = params.code.ok_or_else(|| no("there is no code"))?;
    let question = Question::of(state, &browser, intent == Intent::Confirm);
    let claims = provider.redeem(code, &question, app.now()).await?;
    match intent {
        Intent::SignIn { is_remembered } => {
            enter(app, &client, known(provider, claims), is_remembered).await
        }
        Intent::Link | Intent::Confirm => {
            let signed_in = signed_in.filter(|it| Some(it.account) == row.account);
            let signed_in = signed_in.ok_or_else(|| no("somebody else is signed in by now"))?;
            if intent == Intent::Link {
                join(app, &client, &signed_in, known(provider, claims)).await
            } else {
                let auth_at = claims.auth_at;
                let is_fresh = |at: UnixMillis| app.now() <= at.saturating_add(FRESH);
                if !auth_at.is_some_and(is_fresh) {
                    return Err(no("it has not asked the person anew").into());
                }
                renew(app, &client, &signed_in, known(provider, claims)).await
            }
        }
    }
}

/// An e-mail address counts if the provider says that it was verified, and the operator that the
/// provider is to be believed.
fn known(provider: &Provider, claims: Claims) -> Known {
    let is_sure = claims.is_email_verified && provider.is_email_trusted();
    Known {
        issuer: provider.issuer().to_owned(),
        subject: claims.subject,
        said: claims.email.as_ref().map(ToString::to_string).unwrap_or_default(),
        email: claims.email.filter(|_| is_sure),
        name: claims.name,
    }
}

async fn enter(
    app: &App,
    client: &Client,
    known: Known,
    is_remembered: bool,
) -> Result<String, ApiError> {
    let may_register = match (app.config().accounts.registration, &known.email) {
        (Registration::Closed, _) | (_, None) => false,
        (Registration::Open, Some(_)) => true,
        (Registration::Invitation, Some(email)) => {
            email_is_invited(app.read(), email, app.now()).await?
        }
    };
    let token = Token::generate(app.random());
    let (client, hash) = (client.clone(), token.hash());
    let begin =
        BeginByProvider { known, may_register, is_remembered, token: hash, client: client.clone() };
    match app.act(begin).await? {
        Outcome::Begun { begun, is_linked } => {
            if is_linked {
                app.accounts().notify(&begun.account.email, text::IDENTITY_ADDED);
            }
            // Its answer is for programs; its cookie and its letter are for this one too.
            drop(begun.answer(app, &client, &token));
            Ok(AFTER_SIGN_IN.into())
        }
        Outcome::Second => Ok(format!("/sign-in#ticket={}", token.reveal())),
        Outcome::Disabled => Err(ApiError::WrongLogin),
        Outcome::Unknown => Err(ApiError::Conflict(
            "no account here is known by what the provider says of you: sign in as you do \
             otherwise, and link the provider in your settings; or ask for an account"
                .into(),
        )),
    }
}

async fn join(
    app: &App,
    client: &Client,
    signed_in: &SignedIn,
    known: Known,
) -> Result<String, ApiError> {
    let account = account_fetch(app.read(), signed_in.account).await?;
    let account = account.ok_or(ApiError::NoCredentials)?;
    let token = Token::generate(app.random());
    let change = Change::of(&account, signed_in, &token, client);
    let refused = match app.act(Link { known, change }).await? {
        Linked::Done => {
            client.cookie.set(&signed_in.current, &token, app.now());
            app.accounts().notify(&account.email, text::IDENTITY_ADDED);
            return Ok(AFTER_CHANGE.into());
        }
        Linked::Already => return Ok(AFTER_CHANGE.into()),
        Linked::Changed => return Err(ApiError::NoCredentials),
        Linked::Taken => "it is linked with another account".to_owned(),
        Linked::TooMany => format!("an account has at most {PER_ACCOUNT_MAX} identities"),
    };
    Err(ApiError::Conflict(refused))
}

async fn renew(
    app: &App,
    client: &Client,
    signed_in: &SignedIn,
    known: Known,
) -> Result<String, ApiError> {
    let account = signed_in.account;
    if !app.act(IsOf { known, account }).await? {
        let detail = "this identity is not linked with your account";
        return Err(ApiError::Conflict(detail.into()));
    }
    let token = Token::generate(app.random());
    let actor = client.acting(account);
    let (session, by) = (signed_in.current, ConfirmBy::Provider);
    if !app.act(Confirm { session, by, token: token.hash(), actor }).await? {
        return Err(ApiError::NoCredentials);
    }
    client.cookie.set(&signed_in.current, &token, app.now());
    Ok(AFTER_CHANGE.into())
}
