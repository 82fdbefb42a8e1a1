//! A new address: confirmed by who reads its mail and is signed in, and undone by who reads the old one's.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::act::{IssueToken, entry, issue};
use super::api::{AccountView, dead_link, invalid};
use super::command::SecretText;
use super::factor::Change;
use super::oidc::store::identities_remove;
use super::passkey::store::passkeys_remove;
use super::recover::{EmailBody, LetterView, letter_answer, link as reset_link};
use super::register::tell_registered;
use super::store::{
    account_clear_password, account_confirm, account_fetch, account_find, account_now,
    account_set_email, account_totp_remove_since, email_is_taken, recovery_replace, token_find,
    token_take, tokens_void, tokens_void_since,
};
use super::token::{NewToken, Purpose};
use super::{Account, Email, afterwards};
use crate::app::App;
use crate::audit::Actor;
use crate::db::StoreError;
use crate::http::extract::Json;
use crate::http::problem::ApiError;
use crate::mail::text;
use crate::openapi::responses::{Any, Fresh, MayConflict, WithBody};
use crate::secret::token::{Token, TokenHash};
use crate::session::api::{Client, SignedIn};
use crate::session::store::sessions_revoke;
use crate::write::{Act, Writing};

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenBody {
    /// What stands behind the # of the link.
    #[schema(value_type = String, max_length = 64)]
    token: SecretText,
}

/// Asks for another address
///
/// A letter goes there; the account keeps its address until the link in it was opened.
#[utoipa::path(
    post,
    path = "/api/v1/account/email",
    tag = "account",
    security(("session" = [])),
    request_body = EmailBody,
    responses((status = 202, body = LetterView), Any, WithBody, Fresh),
    operation_id = "request_email_change",
)]
pub(crate) async fn request(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Json(body): Json<EmailBody>,
) -> Result<Response, ApiError> {
    signed_in.require_fresh(app.now())?;
    let mailer = app.accounts().mailer()?.clone();
    let email = Email::parse(&body.email, "#/email").map_err(invalid)?;
    app.limits().resend(&Token::hash_of(email.as_str())).await?;
    let account = account_fetch(app.read(), signed_in.account).await?;
    let account = account.ok_or(ApiError::NoCredentials)?;
    let inner = app.clone();
    afterwards(&app, async move {
        if account_find(inner.read(), &email).await?.is_some() {
            tell_registered(&mailer, &email);
            return Ok(());
        }
        let token = Token::generate(inner.random());
        let new = NewToken::of(&token, &account, Purpose::Email, email.to_string());
        let noted = Some(("account.email_request", client.acting(account.id)));
        inner.act(IssueToken { token: new, noted }).await?;
        let link = format!("{}/account/email#{}", mailer.base(), token.reveal());
        mailer.send(&email, text::confirm_email(&link));
        Ok(())
    })?;
    Ok(letter_answer())
}

/// Confirms another address
///
/// By whoever is signed in to the account that asked for it. The address of before is told, with a
/// link that takes the change back within seven days. Every other session ends.
#[utoipa::path(
    post,
    path = "/api/v1/account/email/confirm",
    tag = "account",
    security(("session" = [])),
    request_body = TokenBody,
    responses((status = 200, body = AccountView), Any, WithBody, Fresh, MayConflict),
    operation_id = "confirm_email_change",
)]
pub(crate) async fn confirm(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Json(body): Json<TokenBody>,
) -> Result<Response, ApiError> {
    let mailer = app.accounts().mailer()?.clone();
    let link = Token::hash_of(body.token.as_str());
    let row = token_find(app.read(), &link, Purpose::Email, app.now()).await?;
    // Under another sign-in the link is left as it is.
    let row = row.filter(|row| row.account == Some(signed_in.account)).ok_or_else(dead_link)?;
    let account = account_fetch(app.read(), signed_in.account).await?;
    let account = account.filter(|account| account.bound() == row.bound).ok_or_else(dead_link)?;
    let (token, undo) = (Token::generate(app.random()), Token::generate(app.random()));
    let old = account.email.clone();
    let new = Email::stored(row.detail);
    let set = SetEmail {
        link,
        email: new.clone(),
        undo: NewToken::of(&undo, &account, Purpose::EmailUndo, old.to_string()),
        change: Change::of(&account, &signed_in, &token, &client),
    };
    match app.act(set).await? {
        Outcome::Done => {}
        Outcome::Dead => return Err(dead_link()),
        Outcome::Taken => return Err(taken()),
    }
    client.cookie.set(&signed_in.current, &token, app.now());
    let undo = format!("{}/undo-email#{}", mailer.base(), undo.reveal());
    mailer.send(&old, text::email_changed(new.as_str(), &undo));
    Ok(Json(AccountView::of(&Account { email: new, ..account })).into_response())
}

fn taken() -> ApiError {
    ApiError::Conflict("another account has this address by now".into())
}

/// Takes a change of address back
///
/// The account has its old address again, and nothing that signs in: no password, no session, no passkey,
/// no identity of a provider, and no second factor that was set since. A letter with a link to set a new
/// password goes to that address. Links that take later changes back do not work any more.
#[utoipa::path(
    post,
    path = "/api/v1/email-undos",
    tag = "account",
    security(()),
    request_body = TokenBody,
    responses((status = 204, description = "The address is what it was"), Any, WithBody, MayConflict),
    operation_id = "undo_email_change",
)]
pub(crate) async fn undo(
    State(app): State<App>,
    client: Client,
    Json(body): Json<TokenBody>,
) -> Result<Response, ApiError> {
    let mailer = app.accounts().mailer()?.clone();
    let link = Token::hash_of(body.token.as_str());
    let row = token_find(app.read(), &link, Purpose::EmailUndo, app.now()).await?;
    let row = row.ok_or_else(dead_link)?;
    let id = row.account.ok_or_else(dead_link)?;
    let token = Token::generate(app.random());
    let email = Email::stored(row.detail);
    let undo =
        UndoEmail { link, email: email.clone(), actor: client.acting(id), token: token.hash() };
    match app.act(undo).await? {
        Outcome::Done => {}
        Outcome::Dead => return Err(dead_link()),
        Outcome::Taken => return Err(taken()),
    }
    mailer.send(&email, text::EMAIL_UNDONE.into());
    mailer.send(&email, text::reset(&reset_link(mailer.base(), &token)));
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What came of a change of address.
enum Outcome {
    Done,
    /// The link does not work any more.
    Dead,
    /// The address is another account's.
    Taken,
}

struct SetEmail {
    link: TokenHash,
    email: Email,
    undo: NewToken,
    change: Change,
}

impl Act for SetEmail {
    type Done = Outcome;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Outcome, StoreError> {
        let Self { link, email, undo, change } = self;
        let Some(account) = change.account_now(writing).await? else { return Ok(Outcome::Dead) };
        if email_is_taken(writing.tx, &email).await? {
            return Ok(Outcome::Taken);
        }
        if token_take(writing.tx, &link, Purpose::Email, writing.now).await?.is_none() {
            return Ok(Outcome::Dead);
        }
        account_set_email(writing.tx, account.id, &email).await?;
        account_confirm(writing.tx, account.id, writing.now).await?;
        issue(writing, &undo).await?;
        change.finish(writing, "account.email").await?;
        Ok(Outcome::Done)
    }
}

struct UndoEmail {
    link: TokenHash,
    email: Email,
    actor: Actor,
    /// Of the link with which a new password is set.
    token: TokenHash,
}

impl Act for UndoEmail {
    type Done = Outcome;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Outcome, StoreError> {
        let Self { link, email, actor, token } = self;
        let Some(id) = actor.account else { return Ok(Outcome::Dead) };
        let Some(account) = account_now(writing.tx, id).await? else { return Ok(Outcome::Dead) };
        if account.email != email && email_is_taken(writing.tx, &email).await? {
            return Ok(Outcome::Taken);
        }
        let taken = token_take(writing.tx, &link, Purpose::EmailUndo, writing.now).await?;
        let Some(taken) = taken else { return Ok(Outcome::Dead) };
        account_set_email(writing.tx, id, &email).await?;
        account_confirm(writing.tx, id, writing.now).await?;
        account_clear_password(writing.tx, id).await?;
        // Whoever changed the address may have made some, also before that.
        passkeys_remove(writing.tx, id).await?;
        identities_remove(writing.tx, id).await?;
        // One of before stays: to have read this address once must not be enough to pass it.
        if account_totp_remove_since(writing.tx, id, taken.created_at).await? {
            recovery_replace(writing.tx, id, &[]).await?;
        }
        // An address that the account had only after this one is not its reader's to go back to.
        tokens_void_since(writing.tx, id, Purpose::EmailUndo, taken.created_at).await?;
        sessions_revoke(writing.tx, id, None, writing.now).await?;
        tokens_void(writing.tx, Some(id), "", Purpose::Email).await?;
        let account = Account { email, password_hash: None, ..account };
        let life = Purpose::Password.life();
        let reset = NewToken {
            hash: token,
            account: Some(id),
            purpose: Purpose::Password,
            detail: String::new(),
            bound: account.bound(),
            life,
        };
        issue(writing, &reset).await?;
        writing.note(&actor, entry("account.email_undo", id, json!({}))).await?;
        Ok(Outcome::Done)
    }
}
