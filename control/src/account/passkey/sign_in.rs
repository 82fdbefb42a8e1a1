//! Passkeys at the door, over HTTP: signing in with one alone, and showing with one who is signed in.

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::act::{BeginByPasskey, NoteCopy};
use super::api::{answered, challenge, verifier};
use super::options::RequestOptions;
use super::store::{passkey_find, passkey_list};
use super::{Ceremony, Refused, ShownBody, Use, bound_to};
use crate::account::token::Purpose;
use crate::app::App;
use crate::http::extract::Json;
use crate::http::problem::ApiError;
use crate::openapi::responses::{Any, Fresh, OfOne, WithBody};
use crate::secret::token::{Token, TokenHash};
use crate::session::NewSession;
use crate::session::act::{Confirm, ConfirmBy};
use crate::session::api::{Client, SignedIn};
use crate::session::cookie::cookie;
use crate::session::sign_in::SignedInView;

/// The cookie that binds a challenge to a browser in which nobody is signed in.
const COOKIE: &str = "__Host-carom_passkey";

/// A passkey that signs in.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasskeySignInBody {
    credential: ShownBody,
    /// Whether the browser keeps the session when it closes, for up to 30 days.
    #[serde(default)]
    #[schema(required = false)]
    remember: bool,
}

/// A passkey that shows who you are.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasskeyConfirmBody {
    credential: ShownBody,
}

/// What the cookie of a browser holds.
pub(crate) struct Asking(Option<Token>);

impl FromRequestParts<App> for Asking {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        Ok(Self(cookie(&parts.headers, COOKIE).and_then(Token::sent)))
    }
}

/// Begins to sign in with a passkey
///
/// Give the answer to `navigator.credentials.get`, and what that gives to
/// `POST /api/v1/sessions/passkey`, with the cookie of the answer.
#[utoipa::path(
    post,
    path = "/api/v1/sessions/passkey/options",
    tag = "account",
    security(()),
    responses(
        (
            status = 200,
            body = RequestOptions,
            headers(("Set-Cookie" = String, description = "What the challenge is bound to"))
        ),
        Any, OfOne,
    ),
    operation_id = "begin_passkey_sign_in",
)]
pub(crate) async fn begin(
    State(app): State<App>,
    client: Client,
    Asking(asking): Asking,
) -> Result<Response, ApiError> {
    let verifier = verifier(&app)?;
    app.limits().passkey(client.actor.address).await?;
    // Each tab of the browser has a challenge of its own, and all of them have one cookie.
    let browser = asking.unwrap_or_else(|| Token::generate(app.random()));
    let challenge = challenge(&app, Ceremony::SignIn, None, browser.hash()).await?;
    let options = RequestOptions::new(verifier.rp_id(), &[], &challenge);
    let mut response = Json(options).into_response();
    let life = Purpose::Passkey.life().as_secs();
    set_cookie(response.headers_mut(), browser.reveal(), life);
    Ok(response)
}

/// Signs in with a passkey
///
/// It counts as both factors: no password and no code is asked for.
#[utoipa::path(
    post,
    path = "/api/v1/sessions/passkey",
    tag = "account",
    security(()),
    request_body = PasskeySignInBody,
    responses(
        (
            status = 201,
            body = SignedInView,
            headers(("Set-Cookie" = String, description = "The session"))
        ),
        Any, OfOne, WithBody,
    ),
    operation_id = "sign_in_with_passkey",
)]
pub(crate) async fn sign_in(
    State(app): State<App>,
    client: Client,
    Asking(asking): Asking,
    Json(body): Json<PasskeySignInBody>,
) -> Result<Response, ApiError> {
    verifier(&app)?;
    app.limits().passkey(client.actor.address).await?;
    let PasskeySignInBody { credential, remember } = body;
    let bound = asking.ok_or(ApiError::WrongLogin)?.hash();
    let used = check(&app, &client, &credential, Ceremony::SignIn, None, bound).await?;
    let (account, token) = (used.account, Token::generate(app.random()));
    let session = NewSession {
        account,
        token: token.hash(),
        is_remembered: remember,
        has_second: true,
        device: client.device.clone(),
    };
    let begin = BeginByPasskey { used, session, actor: client.acting(account) };
    let begun = app.act(begin).await?.ok_or(ApiError::WrongLogin)?;
    let mut response = begun.answer(&app, &client, &token);
    set_cookie(response.headers_mut(), "", 0);
    Ok(response)
}

/// Begins to show once more who you are, with a passkey
///
/// As a sign-in begins, with your passkeys alone and in the same session.
#[utoipa::path(
    post,
    path = "/api/v1/sessions/current/confirm-by-passkey/options",
    tag = "account",
    security(("session" = [])),
    responses((status = 200, body = RequestOptions), Any, OfOne, Fresh),
    operation_id = "begin_confirm_by_passkey",
)]
pub(crate) async fn begin_confirm(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<Response, ApiError> {
    let verifier = verifier(&app)?;
    let has = passkey_list(app.read(), signed_in.account).await?;
    if has.is_empty() {
        return Err(ApiError::NotFound("passkey"));
    }
    let bound = bound_to(signed_in.session);
    let challenge = challenge(&app, Ceremony::Confirm, Some(&signed_in), bound).await?;
    Ok(Json(RequestOptions::new(verifier.rp_id(), &has, &challenge)).into_response())
}

/// Shows once more who you are, with a passkey
///
/// As `POST /api/v1/sessions/current/confirm` does.
#[utoipa::path(
    post,
    path = "/api/v1/sessions/current/confirm-by-passkey",
    tag = "account",
    security(("session" = [])),
    request_body = PasskeyConfirmBody,
    responses((status = 204, description = "You can go on"), Any, OfOne, WithBody, Fresh),
    operation_id = "confirm_by_passkey",
)]
pub(crate) async fn confirm(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Json(body): Json<PasskeyConfirmBody>,
) -> Result<Response, ApiError> {
    verifier(&app)?;
    app.limits().passkey(client.actor.address).await?;
    let bound = bound_to(signed_in.session);
    let (shown, by) = (&body.credential, Some(&signed_in));
    let used = check(&app, &client, shown, Ceremony::Confirm, by, bound).await?;
    let token = Token::generate(app.random());
    let actor = client.acting(signed_in.account);
    let by = ConfirmBy::Passkey(used);
    let confirm = Confirm { session: signed_in.current, by, token: token.hash(), actor };
    if !app.act(confirm).await? {
        return Err(ApiError::WrongLogin);
    }
    client.cookie.set(&signed_in.current, &token, app.now());
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Whose passkey it is that was shown; of whoever is signed in, if somebody is.
///
/// # Errors
/// [`ApiError::WrongLogin`], whatever is wrong.
async fn check(
    app: &App,
    client: &Client,
    shown: &ShownBody,
    ceremony: Ceremony,
    signed_in: Option<&SignedIn>,
    bound: TokenHash,
) -> Result<Use, ApiError> {
    let verifier = verifier(app)?;
    let refuse = |refused: &Refused| {
        tracing::info!(%refused, "a passkey is refused");
        ApiError::WrongLogin
    };
    let data = &shown.response.client_data;
    let challenge = answered(app, data, ceremony, signed_in, bound).await?;
    let challenge = challenge.map_err(|refused| refuse(&refused))?;
    let id = verifier.credential_id(&shown.id).ok_or(ApiError::WrongLogin)?;
    let found = passkey_find(app.read(), &id).await?;
    let found = found.filter(|it| signed_in.is_none_or(|by| by.account == it.account));
    let Some(passkey) = found else {
        return Err(refuse(&Refused::Wrong("it is not known".into())));
    };
    client.asker.set_account(passkey.account);
    let used = verifier.shown(shown, &challenge, &passkey);
    if used == Err(Refused::Counter) {
        let (account, passkey) = (passkey.account, passkey.id);
        tracing::warn!(account.id = %account, passkey.id = %passkey, "a passkey's counter went back");
        app.act(NoteCopy { account, passkey, actor: client.actor.clone() }).await?;
    }
    used.map_err(|refused| refuse(&refused))
}

/// Browsers send it with requests of this site's own pages alone.
fn set_cookie(headers: &mut HeaderMap, value: &str, life_s: u64) {
    let text =
        format!("{COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={life_s}");
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        headers.append(header::SET_COOKIE, value);
    }
}
