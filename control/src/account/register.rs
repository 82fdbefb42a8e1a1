//! Accounts that people make themselves: an address first, and everything else once its mail was read.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::act::{IssueToken, entry};
use super::api::{dead_link, hash_for, invalid};
use super::command::{SecretText, check_person};
use super::recover::{EmailBody, LetterView, letter_answer};
use super::store::{
    NewAccount, account_find, account_insert, account_now, email_is_taken, token_find, token_take,
};
use super::token::{NewToken, Purpose};
use super::{Email, afterwards};
use crate::app::App;
use crate::audit::Actor;
use crate::config::Registration;
use crate::db::StoreError;
use crate::http::extract::Json;
use crate::http::problem::ApiError;
use crate::invitation::store::email_is_invited;
use crate::mail::{Mailer, text};
use crate::openapi::responses::{Any, MayConflict, WithBody};
use crate::secret::token::{Token, TokenHash};
use crate::session::NewSession;
use crate::session::api::Client;
use crate::session::sign_in::{Begun, SignedInView, begin};
use crate::write::{Act, Writing};

/// What a link makes an account of: of a letter, or of an invitation.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkAccountBody {
    /// What stands behind the # of the link.
    #[schema(value_type = String, max_length = 64)]
    pub(super) token: SecretText,
    #[serde(default)]
    #[schema(required = false, max_length = 100)]
    pub(super) name: String,
    /// 15 to 128 characters; not easily guessed.
    #[schema(value_type = String, max_length = 1024)]
    pub(super) password: SecretText,
}

/// Asks for an account
///
/// Who may is `accounts.registration`. The answer is the same whether there is an account with this
/// address or not, and whether it was invited or not.
#[utoipa::path(
    post,
    path = "/api/v1/registrations",
    tag = "account",
    security(()),
    request_body = EmailBody,
    responses((status = 202, body = LetterView), Any, WithBody, MayConflict),
    operation_id = "register",
)]
pub(crate) async fn request(
    State(app): State<App>,
    client: Client,
    Json(body): Json<EmailBody>,
) -> Result<Response, ApiError> {
    let registration = app.config().accounts.registration;
    if registration == Registration::Closed {
        let detail = "nobody makes an account here by themselves: ask the operator for one";
        return Err(ApiError::Conflict(detail.into()));
    }
    let mailer = app.accounts().mailer()?.clone();
    let email = Email::parse(&body.email, "#/email").map_err(invalid)?;
    app.limits().registration(client.actor.address).await?;
    app.limits().resend(&Token::hash_of(email.as_str())).await?;
    let inner = app.clone();
    afterwards(&app, async move {
        if account_find(inner.read(), &email).await?.is_some() {
            tell_registered(&mailer, &email);
            return Ok(());
        }
        let may = registration == Registration::Open
            || email_is_invited(inner.read(), &email, inner.now()).await?;
        if may {
            let token = Token::generate(inner.random());
            let new = NewToken::free(&token, Purpose::Register, email.to_string());
            inner.act(IssueToken { token: new, noted: None }).await?;
            let link = format!("{}/register#{}", mailer.base(), token.reveal());
            mailer.send(&email, text::register(&link));
        }
        Ok(())
    })?;
    Ok(letter_answer())
}

/// Somebody asked for an address that has an account. Nobody but its reader learns that.
pub(super) fn tell_registered(mailer: &Mailer, email: &Email) {
    let sign_in = format!("{}/sign-in", mailer.base());
    mailer.send(email, text::registered_already(&sign_in));
}

/// Makes the account of a letter
///
/// And signs in. The account is in no workspace yet: make one, or accept an invitation.
#[utoipa::path(
    post,
    path = "/api/v1/email-verifications",
    tag = "account",
    security(()),
    request_body = LinkAccountBody,
    responses((status = 201, body = SignedInView), Any, WithBody),
    operation_id = "verify_email",
)]
pub(crate) async fn verify(
    State(app): State<App>,
    client: Client,
    Json(body): Json<LinkAccountBody>,
) -> Result<Response, ApiError> {
    let link = Token::hash_of(body.token.as_str());
    let row = token_find(app.read(), &link, Purpose::Register, app.now()).await?;
    let email = Email::stored(row.ok_or_else(dead_link)?.detail);
    let name = check_person(&body.name, "#/name").map_err(invalid)?;
    let hash = hash_for(&app, &body.password, false, email.as_str(), &name).await?;
    let token = Token::generate(app.random());
    let register = Register {
        link,
        account: NewAccount { email, name, password_hash: Some(hash), is_confirmed: true },
        token: token.hash(),
        client: client.clone(),
    };
    let begun = app.act(register).await?.ok_or_else(dead_link)?;
    Ok(begun.answer(&app, &client, &token))
}

struct Register {
    link: TokenHash,
    account: NewAccount,
    token: TokenHash,
    client: Client,
}

impl Act for Register {
    /// `None`: the link does not work any more, or there is an account by now.
    type Done = Option<Begun>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Option<Begun>, StoreError> {
        let Self { link, account, token, client } = self;
        if token_take(writing.tx, &link, Purpose::Register, writing.now).await?.is_none()
            || email_is_taken(writing.tx, &account.email).await?
        {
            return Ok(None);
        }
        make(writing, &account, token, &client, "account.register").await
    }
}

/// Makes an account and signs it in.
pub(super) async fn make(
    writing: &mut Writing<'_>,
    account: &NewAccount,
    token: TokenHash,
    client: &Client,
    action: &'static str,
) -> Result<Option<Begun>, StoreError> {
    let id = account_insert(writing.tx, account, writing.now, writing.random).await?;
    let actor: Actor = client.acting(id);
    writing.note(&actor, entry(action, id, json!({}))).await?;
    let Some(made) = account_now(writing.tx, id).await? else { return Ok(None) };
    let session = NewSession {
        account: id,
        token,
        is_remembered: false,
        has_second: false,
        device: client.device.clone(),
    };
    begin(writing, made, &session, &actor).await.map(Some)
}
