//! A forgotten password: a letter with a link, and what the link is good for.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::act::{IssueToken, entry};
use super::api::{dead_link, invalid, password_hash};
use super::command::SecretText;
use super::oidc::store::identities_remove;
use super::passkey::store::passkeys_remove;
use super::store::{
    account_confirm, account_fetch, account_find, account_now, account_set_password, token_find,
    token_take,
};
use super::token::{NewToken, Purpose};
use super::{Account, Email, afterwards};
use crate::app::App;
use crate::audit::Actor;
use crate::db::StoreError;
use crate::http::extract::Json;
use crate::http::problem::ApiError;
use crate::mail::text;
use crate::openapi::responses::{Any, WithBody};
use crate::secret::token::{Token, TokenHash};
use crate::session::api::Client;
use crate::session::store::sessions_revoke;
use crate::write::{Act, Writing};

/// An address to which a letter goes.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmailBody {
    #[schema(max_length = 254, example = "ada@example.com")]
    pub(super) email: String,
}

/// What is said whether there is such an account or not.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LetterView {
    detail: &'static str,
}

/// The one answer of all calls that send a letter.
pub(super) fn letter_answer() -> Response {
    let detail = "If the address can be written to, a letter is on its way.";
    (StatusCode::ACCEPTED, Json(LetterView { detail })).into_response()
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetBody {
    /// What stands behind the # of the link.
    #[schema(value_type = String, max_length = 64)]
    token: SecretText,
    /// 15 to 128 characters, or from 8 beside a second factor; not easily guessed.
    #[schema(value_type = String, max_length = 1024)]
    password: SecretText,
}

/// Asks for a new password
///
/// The answer is the same whether there is an account with this address or not.
#[utoipa::path(
    post,
    path = "/api/v1/password-resets",
    tag = "account",
    security(()),
    request_body = EmailBody,
    responses((status = 202, body = LetterView), Any, WithBody),
    operation_id = "request_password_reset",
)]
pub(crate) async fn request(
    State(app): State<App>,
    client: Client,
    Json(body): Json<EmailBody>,
) -> Result<Response, ApiError> {
    let mailer = app.accounts().mailer()?.clone();
    let email = Email::parse(&body.email, "#/email").map_err(invalid)?;
    app.limits().reset(client.actor.address, &Token::hash_of(email.as_str())).await?;
    let inner = app.clone();
    afterwards(&app, async move {
        let account = account_find(inner.read(), &email).await?;
        let Some(account) = account.filter(|account| !account.is_disabled) else { return Ok(()) };
        let token = Token::generate(inner.random());
        let noted = Some(("account.password_link", client.acting(account.id)));
        let new = NewToken::of(&token, &account, Purpose::Password, String::new());
        inner.act(IssueToken { token: new, noted }).await?;
        mailer.send(&email, text::reset(&link(mailer.base(), &token)));
        Ok(())
    })?;
    Ok(letter_answer())
}

/// Where a new password is entered.
pub(super) fn link(base: &str, token: &Token) -> String {
    format!("{base}/reset#{}", token.reveal())
}

/// Sets a new password
///
/// Every session ends. Sign in with the new password then; a second factor is asked for as before.
#[utoipa::path(
    post,
    path = "/api/v1/password-resets/confirm",
    tag = "account",
    security(()),
    request_body = ResetBody,
    responses((status = 204, description = "The password is set"), Any, WithBody),
    operation_id = "reset_password",
)]
pub(crate) async fn confirm(
    State(app): State<App>,
    client: Client,
    Json(body): Json<ResetBody>,
) -> Result<Response, ApiError> {
    let token = Token::hash_of(body.token.as_str());
    let row = token_find(app.read(), &token, Purpose::Password, app.now()).await?;
    let row = row.ok_or_else(dead_link)?;
    let id = row.account.ok_or_else(dead_link)?;
    let account = account_fetch(app.read(), id).await?;
    let account = account.filter(|it| !it.is_disabled && it.bound() == row.bound);
    let account = account.ok_or_else(dead_link)?;
    let hash = password_hash(&app, &body.password, account.has_second(), &account).await?;
    let email = account.email.clone();
    let reset = Reset { token, account, hash, actor: client.acting(id) };
    if !app.act(reset).await? {
        return Err(dead_link());
    }
    app.accounts().notify(&email, text::PASSWORD_CHANGED);
    Ok(StatusCode::NO_CONTENT.into_response())
}

struct Reset {
    token: TokenHash,
    /// As it was when the password was checked: with a second factor, or without.
    account: Account,
    hash: String,
    actor: Actor,
}

impl Act for Reset {
    /// Whether the link still worked.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let Self { token, account: seen, hash, actor } = self;
        let row = token_take(writing.tx, &token, Purpose::Password, writing.now).await?;
        let Some(row) = row.filter(|row| row.account == Some(seen.id)) else { return Ok(false) };
        let is_same = |it: &Account| {
            !it.is_disabled && it.bound() == row.bound && it.has_second() == seen.has_second()
        };
        let account = account_now(writing.tx, seen.id).await?.filter(is_same);
        let Some(account) = account else { return Ok(false) };
        account_set_password(writing.tx, account.id, &hash).await?;
        if !account.is_confirmed {
            // The link was in a letter to the address, or is an operator's word. Whoever was let in by the
            // address before may have been somebody else: nothing that they brought signs in any more.
            account_confirm(writing.tx, account.id, writing.now).await?;
            identities_remove(writing.tx, account.id).await?;
            passkeys_remove(writing.tx, account.id).await?;
        }
        sessions_revoke(writing.tx, account.id, None, writing.now).await?;
        writing.note(&actor, entry("account.password_reset", account.id, json!({}))).await?;
        Ok(true)
    }
}
