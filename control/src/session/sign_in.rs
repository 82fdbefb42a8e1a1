//! Signing in: with a password, and then, where the account has one, with its second factor.
//!
//! Whoever has no account waits for a hash as long as who has one, and is told the same. Tries are
//! counted before that, by address and by account, and nobody is ever locked out for good: that would
//! let anybody lock out anybody.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::api::{Client, verify};
use super::store::{address_is_known_for, device_is_known, session_insert};
use super::{Device, NewSession, Session};
use crate::account::api::AccountView;
use crate::account::command::SecretText;
use crate::account::store::{
    account_find, account_now, account_rehash, account_tries_forget, token_insert, token_take,
    token_try, tokens_prune,
};
use crate::account::token::{NewToken, Purpose};
use crate::account::tries::{self, Tried};
use crate::account::{Account, Email, Entered, Verified, factor};
use crate::app::App;
use crate::audit::{Actor, Entry};
use crate::db::StoreError;
use crate::http::extract::Json;
use crate::http::problem::ApiError;
use crate::link::api::rfc3339;
use crate::mail::text;
use crate::openapi::responses::{Any, WithBody};
use crate::openapi::schema;
use crate::secret::seal::SealKey;
use crate::secret::token::{Token, TokenHash};
use crate::write::{Act, Writing};

/// Who signs in.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInBody {
    #[schema(max_length = 254, example = "ada@example.com")]
    email: String,
    #[schema(value_type = String, max_length = 1024)]
    password: SecretText,
    /// Whether the browser keeps the session when it closes, for up to 30 days.
    #[serde(default)]
    #[schema(required = false)]
    remember: bool,
}

/// The second step of signing in.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecondFactorBody {
    #[schema(value_type = String, max_length = 64)]
    ticket: SecretText,
    /// Six digits of the app, or a recovery code.
    #[schema(value_type = String, max_length = 64)]
    code: SecretText,
}

/// Somebody is signed in: the answer sets the cookie.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SignedInView {
    account: AccountView,
    #[schema(schema_with = schema::id)]
    session_id: String,
    #[schema(schema_with = schema::time)]
    expires_at: String,
}

/// A code of the second factor is missing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TicketView {
    /// Goes with the code, five times at most, within ten minutes.
    ticket: String,
    #[schema(schema_with = schema::time)]
    expires_at: String,
}

/// Signs in
///
/// Answers 201 and the cookie of the session; or 200 and a ticket, if the account has a second factor:
/// send that with a code to `/api/v1/sessions/second-factor`.
#[utoipa::path(
    post,
    path = "/api/v1/sessions",
    tag = "account",
    security(()),
    request_body = SignInBody,
    responses(
        (
            status = 201,
            body = SignedInView,
            headers(("Set-Cookie" = String, description = "The session"))
        ),
        (status = 200, body = TicketView, description = "A second factor is asked for"),
        Any,
        WithBody,
    ),
    operation_id = "sign_in",
)]
pub(crate) async fn sign_in(
    State(app): State<App>,
    client: Client,
    Json(body): Json<SignInBody>,
) -> Result<Response, ApiError> {
    let email = Email::parse(&body.email, "#/email").map_err(|_| ApiError::WrongLogin)?;
    limit(&app, &client, &email).await?;
    let account = account_find(app.read(), &email).await?.filter(|account| !account.is_disabled);
    let hash = account.as_ref().and_then(|account| account.password_hash.clone());
    let verified = verify(&app, body.password.as_str(), hash).await;
    if let (Some(account), Err(ApiError::WrongLogin)) = (&account, &verified) {
        tries::note_wrong(&app, &client, account.id, Tried::Password);
    }
    let verified = verified?;
    let account = account.ok_or(ApiError::WrongLogin)?;
    if !tries::may_enter(&app, &client, &account).await? {
        return Err(ApiError::WrongLogin);
    }
    let token = Token::generate(app.random());
    if account.has_second() {
        let detail = if body.remember { "remember" } else { "" };
        let ticket = NewToken::of(&token, &account, Purpose::Ticket, detail.into());
        let expires_at = rfc3339(app.now().saturating_add(ticket.life));
        app.act(GiveTicket(ticket)).await?;
        let ticket = token.reveal().to_owned();
        return Ok(Json(TicketView { ticket, expires_at }).into_response());
    }
    let rehash = match verified {
        Verified::Rehashed(new) => Some(new),
        Verified::Right | Verified::Wrong => None,
    };
    let begin = BeginByPassword {
        bound: account.bound(),
        rehash,
        session: NewSession {
            account: account.id,
            token: token.hash(),
            is_remembered: body.remember,
            has_second: false,
            device: client.device.clone(),
        },
        actor: client.acting(account.id),
    };
    let begun = app.act(begin).await?.ok_or(ApiError::WrongLogin)?;
    Ok(begun.answer(&app, &client, &token))
}

/// Counts a try, before a password is looked at: from where the account is, or lately was, signed in
/// apart, so that whoever tries elsewhere does not keep its owner out.
async fn limit(app: &App, client: &Client, email: &Email) -> Result<(), ApiError> {
    let (limits, from) = (app.limits(), client.actor.address);
    let device = &client.device.address;
    // One question, whether there is such an account or not.
    if address_is_known_for(app.read(), email, device).await? {
        return limits.login_known(from, &Token::hash_of(&format!("{device} {email}"))).await;
    }
    limits.login(from, &Token::hash_of(email.as_str())).await
}

/// Signs in with the second factor
#[utoipa::path(
    post,
    path = "/api/v1/sessions/second-factor",
    tag = "account",
    security(()),
    request_body = SecondFactorBody,
    responses(
        (
            status = 201,
            body = SignedInView,
            headers(("Set-Cookie" = String, description = "The session"))
        ),
        Any,
        WithBody,
    ),
    operation_id = "sign_in_with_second_factor",
)]
pub(crate) async fn second_factor(
    State(app): State<App>,
    client: Client,
    Json(body): Json<SecondFactorBody>,
) -> Result<Response, ApiError> {
    let ticket = Token::hash_of(body.ticket.as_str());
    let found = crate::account::store::token_find(app.read(), &ticket, Purpose::Ticket, app.now());
    let account = found.await?.and_then(|row| row.account).ok_or(ApiError::WrongLogin)?;
    app.limits().totp(account).await?;
    let code = Entered::parse(body.code.as_str()).ok_or(ApiError::WrongLogin)?;
    let token = Token::generate(app.random());
    let begin = BeginByTicket {
        ticket,
        code,
        seal: app.accounts().seal.clone(),
        token: token.hash(),
        device: client.device.clone(),
        actor: client.acting(account),
    };
    match app.act(begin).await? {
        ByTicket::Begun(begun) => Ok(begun.answer(&app, &client, &token)),
        ByTicket::Wrong { full } => {
            client.asker.set_account(account);
            tries::tell(&app, full);
            Err(ApiError::WrongLogin)
        }
        ByTicket::Dead => Err(ApiError::WrongLogin),
    }
}

/// A session that has begun.
pub(crate) struct Begun {
    pub(crate) account: Account,
    pub(crate) session: Session,
    /// The account was used before, but not from such a browser.
    is_new_device: bool,
}

impl Begun {
    /// Gives the browser its cookie, and tells the owner of a device that is new.
    pub(crate) fn answer(self, app: &App, client: &Client, token: &Token) -> Response {
        let Self { account, session, is_new_device } = self;
        client.cookie.set(&session, token, app.now());
        if is_new_device {
            let Device { address, user_agent } = &client.device;
            let letter = text::new_device(address, user_agent, &rfc3339(session.auth_at));
            app.accounts().notify(&account.email, letter);
        }
        let view = SignedInView {
            account: AccountView::of(&account),
            session_id: session.id.to_string(),
            expires_at: rfc3339(session.expires_at),
        };
        (StatusCode::CREATED, Json(view)).into_response()
    }
}

/// Begins a session of an account, whatever it was that showed who somebody is.
pub(crate) async fn begin(
    writing: &mut Writing<'_>,
    account: Account,
    new: &NewSession,
    actor: &Actor,
) -> Result<Begun, StoreError> {
    account_tries_forget(writing.tx, account.id).await?;
    let (is_used, is_known) = device_is_known(writing.tx, account.id, &new.device).await?;
    let session = session_insert(writing.tx, new, writing.now, writing.random).await?;
    let entry = Entry {
        workspace: None,
        action: "session.begin",
        object: format!("session:{}", session.id),
        detail: json!({"second_factor": new.has_second, "user_agent": new.device.user_agent}),
    };
    writing.note(actor, entry).await?;
    Ok(Begun { account, session, is_new_device: is_used && !is_known })
}

struct GiveTicket(NewToken);

impl Act for GiveTicket {
    type Done = ();

    async fn act(self, writing: &mut Writing<'_>) -> Result<(), StoreError> {
        tokens_prune(writing.tx, writing.now).await?;
        token_insert(writing.tx, &self.0, writing.now).await
    }
}

struct BeginByPassword {
    /// What the account was when the password was compared.
    bound: [u8; 32],
    rehash: Option<String>,
    session: NewSession,
    actor: Actor,
}

impl Act for BeginByPassword {
    /// `None`: the account has changed since.
    type Done = Option<Begun>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Option<Begun>, StoreError> {
        let Self { bound, rehash, session, actor } = self;
        let account = account_now(writing.tx, session.account).await?;
        let is_same = |it: &Account| !it.is_disabled && !it.has_second() && it.bound() == bound;
        let Some(account) = account.filter(is_same) else { return Ok(None) };
        if let Some((old, new)) = account.password_hash.as_deref().zip(rehash) {
            account_rehash(writing.tx, account.id, old, &new).await?;
        }
        begin(writing, account, &session, &actor).await.map(Some)
    }
}

struct BeginByTicket {
    ticket: TokenHash,
    code: Entered,
    seal: SealKey,
    token: TokenHash,
    device: Device,
    actor: Actor,
}

/// What became of a code.
enum ByTicket {
    Begun(Box<Begun>),
    Wrong {
        /// Whom to tell that there were very many.
        full: Option<Email>,
    },
    /// The ticket is no good any more.
    Dead,
}

impl Act for BeginByTicket {
    type Done = ByTicket;

    async fn act(self, writing: &mut Writing<'_>) -> Result<ByTicket, StoreError> {
        let Self { ticket, code, seal, token, device, actor } = self;
        let Some(row) = token_try(writing.tx, &ticket, writing.now).await? else {
            return Ok(ByTicket::Dead);
        };
        let Some(id) = row.account else { return Ok(ByTicket::Dead) };
        let account = account_now(writing.tx, id).await?;
        let is_same = |it: &Account| !it.is_disabled && it.bound() == row.bound;
        let Some(account) = account.filter(is_same) else { return Ok(ByTicket::Dead) };
        if !factor::check(writing, &account, code, &seal).await? {
            let full = tries::wrong(writing, id, Tried::Code, &actor).await?;
            return Ok(ByTicket::Wrong { full });
        }
        token_take(writing.tx, &ticket, Purpose::Ticket, writing.now).await?;
        let is_remembered = row.detail == "remember";
        let session = NewSession { account: id, token, is_remembered, has_second: true, device };
        begin(writing, account, &session, &actor).await.map(|it| ByTicket::Begun(Box::new(it)))
    }
}
