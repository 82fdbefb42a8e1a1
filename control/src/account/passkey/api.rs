//! One's own passkeys over HTTP: which there are, a new one, and one less.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::PasskeyId;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::act::{Add, Added, Remove, Removed, TakeChallenge};
use super::options::CreationOptions;
use super::store::passkey_list;
use super::{
    Ceremony, MadeBody, NAME_MAX, PER_ACCOUNT_MAX, Passkey, Refused, Verifier, bound_to, not_made,
};
use crate::account::Account;
use crate::account::act::IssueToken;
use crate::account::api::invalid;
use crate::account::factor::Change;
use crate::account::store::account_fetch;
use crate::account::token::{NewToken, Purpose};
use crate::app::App;
use crate::http::extract::{Id, Json};
use crate::http::problem::{ApiError, FieldError};
use crate::link::api::rfc3339;
use crate::mail::text;
use crate::openapi::responses::{Any, Fresh, MayConflict, OfOne, WithBody};
use crate::openapi::schema;
use crate::secret::token::{Token, TokenHash};
use crate::session::api::{Client, SignedIn};

/// A passkey, as its owner sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Passkey)]
pub(crate) struct PasskeyView {
    #[schema(schema_with = schema::id)]
    id: String,
    /// As its owner calls it.
    name: String,
    /// Whether it was on more than one device, or in a service that keeps it, when it was used last.
    backed_up: bool,
    #[schema(schema_with = schema::time)]
    created_at: String,
    /// `null`: not since it was made.
    #[schema(schema_with = schema::optional_time)]
    last_used_at: Option<String>,
}

impl From<Passkey> for PasskeyView {
    fn from(passkey: Passkey) -> Self {
        Self {
            id: passkey.id.to_string(),
            name: passkey.name,
            backed_up: passkey.credential.is_backed_up,
            created_at: rfc3339(passkey.created_at),
            last_used_at: passkey.used_at.map(rfc3339),
        }
    }
}

/// Your passkeys, oldest first; at most 20.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PasskeyList {
    data: Vec<PasskeyView>,
    /// Whether passkeys can be made and used here.
    available: bool,
}

/// A passkey to be added.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPasskeyBody {
    /// What you call it: one line, to tell it from others.
    #[schema(max_length = 60, example = "Phone")]
    name: String,
    credential: MadeBody,
}

pub(super) fn verifier(app: &App) -> Result<&Verifier, ApiError> {
    app.accounts().passkeys.as_ref().ok_or(ApiError::NotFound("way to sign in"))
}

/// Makes a challenge, and remembers what it is for.
pub(super) async fn challenge(
    app: &App,
    ceremony: Ceremony,
    signed_in: Option<&SignedIn>,
    bound: TokenHash,
) -> Result<Token, ApiError> {
    let challenge = Token::generate(app.random());
    let token = NewToken {
        account: signed_in.map(|it| it.account),
        bound,
        ..NewToken::free(&challenge, Purpose::Passkey, ceremony.as_str().into())
    };
    app.act(IssueToken { token, noted: None }).await?;
    Ok(challenge)
}

/// The challenge that an answer is to. It is used up, whatever else is wrong with the answer.
pub(super) async fn answered(
    app: &App,
    client_data: &str,
    ceremony: Ceremony,
    signed_in: Option<&SignedIn>,
    bound: TokenHash,
) -> Result<Result<String, Refused>, ApiError> {
    let unknown =
        || Err(Refused::Wrong("its challenge is not known, too old, or was answered".into()));
    let Some(challenge) = verifier(app)?.challenge(client_data) else { return Ok(unknown()) };
    let row = app.act(TakeChallenge(Token::hash_of(&challenge))).await?;
    let is_ours = row.is_some_and(|row| {
        row.detail == ceremony.as_str()
            && row.bound == bound
            && row.account == signed_in.map(|it| it.account)
    });
    Ok(if is_ours { Ok(challenge) } else { unknown() })
}

async fn fetch(app: &App, signed_in: &SignedIn) -> Result<Account, ApiError> {
    account_fetch(app.read(), signed_in.account).await?.ok_or(ApiError::NoCredentials)
}

/// Lists your passkeys
#[utoipa::path(
    get,
    path = "/api/v1/account/passkeys",
    tag = "account",
    security(("session" = [])),
    responses((status = 200, body = PasskeyList), Any),
    operation_id = "list_passkeys",
)]
pub(crate) async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<Response, ApiError> {
    let found = passkey_list(app.read(), signed_in.account).await?;
    let data = found.into_iter().map(PasskeyView::from).collect();
    let available = app.accounts().passkeys.is_some();
    Ok(Json(PasskeyList { data, available }).into_response())
}

/// Begins to add a passkey
///
/// Give the answer to `navigator.credentials.create`, and what that gives to
/// `POST /api/v1/account/passkeys`, in the same session.
#[utoipa::path(
    post,
    path = "/api/v1/account/passkeys/options",
    tag = "account",
    security(("session" = [])),
    responses((status = 200, body = CreationOptions), Any, OfOne, Fresh, MayConflict),
    operation_id = "begin_passkey",
)]
pub(crate) async fn begin(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<Response, ApiError> {
    let verifier = verifier(&app)?;
    signed_in.require_fresh(app.now())?;
    let account = fetch(&app, &signed_in).await?;
    let has = passkey_list(app.read(), account.id).await?;
    if has.len() >= PER_ACCOUNT_MAX {
        return Err(too_many());
    }
    let bound = bound_to(signed_in.session);
    let challenge = challenge(&app, Ceremony::Add, Some(&signed_in), bound).await?;
    let options = CreationOptions::new(verifier.rp_id(), &account, &has, &challenge);
    Ok(Json(options).into_response())
}

/// Adds a passkey
///
/// From now on it signs in by itself, without password and code. Other sessions end, and this one gets a
/// new token.
#[utoipa::path(
    post,
    path = "/api/v1/account/passkeys",
    tag = "account",
    security(("session" = [])),
    request_body = NewPasskeyBody,
    responses((status = 201, body = PasskeyView), Any, OfOne, WithBody, Fresh, MayConflict),
    operation_id = "add_passkey",
)]
pub(crate) async fn add(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Json(body): Json<NewPasskeyBody>,
) -> Result<Response, ApiError> {
    let verifier = verifier(&app)?;
    signed_in.require_fresh(app.now())?;
    let NewPasskeyBody { name, credential: sent } = body;
    let name = checked_name(&name).map_err(invalid)?;
    let account = fetch(&app, &signed_in).await?;
    let bound = bound_to(signed_in.session);
    let data = &sent.response.client_data;
    let challenge = answered(&app, data, Ceremony::Add, Some(&signed_in), bound).await?;
    let made = challenge.and_then(|challenge| verifier.made(&sent, &challenge));
    let credential = made.map_err(|refused| not_made(&refused))?;
    let token = Token::generate(app.random());
    let change = Change::of(&account, &signed_in, &token, &client);
    let passkey = match app.act(Add { credential, name, change }).await? {
        Added::Done(passkey) => *passkey,
        Added::Taken => {
            let detail = "this authenticator's passkey is somebody's already";
            return Err(ApiError::Conflict(detail.into()));
        }
        Added::TooMany => return Err(too_many()),
        Added::Changed => return Err(ApiError::NoCredentials),
    };
    client.cookie.set(&signed_in.current, &token, app.now());
    app.accounts().notify(&account.email, text::PASSKEY_ADDED);
    Ok((StatusCode::CREATED, Json(PasskeyView::from(passkey))).into_response())
}

/// Takes a passkey off your account
///
/// Other sessions end.
#[utoipa::path(
    delete,
    path = "/api/v1/account/passkeys/{id}",
    tag = "account",
    security(("session" = [])),
    params(("id" = String, Path, description = "One of your passkeys")),
    responses(
        (status = 204, description = "It signs in no more"),
        Any, OfOne, Fresh,
    ),
    operation_id = "remove_passkey",
)]
pub(crate) async fn remove(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Id(id): Id<PasskeyId>,
) -> Result<Response, ApiError> {
    signed_in.require_fresh(app.now())?;
    let account = fetch(&app, &signed_in).await?;
    let token = Token::generate(app.random());
    let change = Change::of(&account, &signed_in, &token, &client);
    match app.act(Remove { id, change }).await? {
        Removed::Done => {}
        Removed::NotFound => return Err(ApiError::NotFound("passkey")),
        Removed::Changed => return Err(ApiError::NoCredentials),
    }
    client.cookie.set(&signed_in.current, &token, app.now());
    app.accounts().notify(&account.email, text::PASSKEY_REMOVED);
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn too_many() -> ApiError {
    ApiError::Conflict(format!("an account has at most {PER_ACCOUNT_MAX} passkeys"))
}

fn checked_name(name: &str) -> Result<String, FieldError> {
    let name = name.trim();
    let error = |code, detail: String| Err(FieldError::new("#/name", code, detail));
    if name.is_empty() {
        return error("required", "call it something, to tell it from others".into());
    }
    if name.chars().count() > NAME_MAX {
        return error("too-long", format!("a passkey's name has at most {NAME_MAX} characters"));
    }
    if name.chars().any(char::is_control) {
        return error("control-character", "a name is one line of text".into());
    }
    Ok(name.to_owned())
}
