//! One's own account over HTTP: what is known of it, the name, the password.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::AccountId;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::act::entry;
use super::command::{SecretText, check_person};
use super::factor::Change;
use super::password::words_of;
use super::store::{account_fetch, account_rename, account_set_password, recovery_left};
use super::{Account, Password};
use crate::app::App;
use crate::audit::Actor;
use crate::db::StoreError;
use crate::http::extract::{Json, MergePatch};
use crate::http::problem::{ApiError, FieldError};
use crate::link::api::rfc3339;
use crate::mail::text;
use crate::openapi::responses::{Any, Fresh, WithBody};
use crate::openapi::schema;
use crate::secret::token::Token;
use crate::session::api::{Client, SignedIn, verify_own};
use crate::write::{Act, Writing};

/// An account, as its owner sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(crate) struct AccountView {
    #[schema(schema_with = schema::id)]
    id: String,
    email: String,
    /// May be empty.
    name: String,
    /// Whether signing in asks for a second factor.
    second_factor: bool,
    #[schema(schema_with = schema::time)]
    created_at: String,
}

impl AccountView {
    pub(crate) fn of(account: &Account) -> Self {
        Self {
            id: account.id.to_string(),
            email: account.email.to_string(),
            name: account.name.clone(),
            second_factor: account.has_second(),
            created_at: rfc3339(account.created_at),
        }
    }
}

/// An account and what stands beside it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AccountDetails {
    #[serde(flatten)]
    account: AccountView,
    /// Recovery codes that were not used.
    recovery_codes_left: u64,
    /// Whether what is sensitive asks once more for password or code.
    must_confirm: bool,
}

/// Your account
#[utoipa::path(
    get,
    path = "/api/v1/account",
    tag = "account",
    security(("session" = [])),
    responses((status = 200, body = AccountDetails), Any),
    operation_id = "get_account",
)]
pub(crate) async fn fetch(
    State(app): State<App>,
    signed_in: SignedIn,
) -> Result<Response, ApiError> {
    let account = account_fetch(app.read(), signed_in.account).await?;
    let account = account.ok_or(ApiError::NoCredentials)?;
    let recovery_codes_left = recovery_left(app.read(), account.id).await?;
    let must_confirm = !signed_in.is_fresh(app.now());
    let account = AccountView::of(&account);
    Ok(Json(AccountDetails { account, recovery_codes_left, must_confirm }).into_response())
}

#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AccountPatch {
    #[schema(max_length = 100)]
    name: Option<String>,
}

/// Changes your name
#[utoipa::path(
    patch,
    path = "/api/v1/account",
    tag = "account",
    security(("session" = [])),
    request_body(content((AccountPatch = "application/merge-patch+json"), (AccountPatch = "application/json"))),
    responses((status = 200, body = AccountView), Any, WithBody, Fresh),
    operation_id = "change_account",
)]
pub(crate) async fn change(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    MergePatch(patch): MergePatch<AccountPatch>,
) -> Result<Response, ApiError> {
    let account = signed_in.account;
    if let Some(name) = patch.name {
        let name = check_person(&name, "#/name").map_err(invalid)?;
        app.act(Rename { account, name, actor: client.acting(account) }).await?;
    }
    let account = account_fetch(app.read(), account).await?.ok_or(ApiError::NoCredentials)?;
    Ok(Json(AccountView::of(&account)).into_response())
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPasswordBody {
    /// Left out where there is none yet.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 1024, required = false)]
    current_password: Option<SecretText>,
    /// 15 to 128 characters, or from 8 beside a second factor; not easily guessed.
    #[schema(value_type = String, max_length = 1024)]
    password: SecretText,
}

/// Changes your password
///
/// Or sets the first one, of an account that a provider or a passkey alone signs in to: for that you have
/// just shown who you are. Every other session ends, and this one gets a new token.
#[utoipa::path(
    post,
    path = "/api/v1/account/password",
    tag = "account",
    security(("session" = [])),
    request_body = NewPasswordBody,
    responses((status = 204, description = "It is changed"), Any, WithBody, Fresh),
    operation_id = "change_password",
)]
pub(crate) async fn change_password(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Json(body): Json<NewPasswordBody>,
) -> Result<Response, ApiError> {
    let account = account_fetch(app.read(), signed_in.account).await?;
    let account = account.ok_or(ApiError::NoCredentials)?;
    if account.password_hash.is_some() {
        app.limits().confirm(signed_in.session).await?;
        let current = body.current_password.as_ref().map_or("", SecretText::as_str);
        verify_own(&app, &client, &account, current).await?;
    } else {
        signed_in.require_fresh(app.now())?;
    }
    let hash = password_hash(&app, &body.password, account.has_second(), &account).await?;
    let token = Token::generate(app.random());
    let set = SetPassword { hash, change: Change::of(&account, &signed_in, &token, &client) };
    if !app.act(set).await? {
        return Err(ApiError::WrongLogin);
    }
    client.cookie.set(&signed_in.current, &token, app.now());
    app.accounts().notify(&account.email, text::PASSWORD_CHANGED);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The hash of a new password for an account; refused if the policy does.
pub(super) async fn password_hash(
    app: &App,
    text: &SecretText,
    has_second: bool,
    account: &Account,
) -> Result<String, ApiError> {
    hash_for(app, text, has_second, account.email.as_str(), &account.name).await
}

/// As [`password_hash`], for an account that is yet to be made.
pub(super) async fn hash_for(
    app: &App,
    text: &SecretText,
    has_second: bool,
    email: &str,
    name: &str,
) -> Result<String, ApiError> {
    const POINTER: &str = "#/password";
    let password = Password::chosen(text.as_str(), POINTER, has_second).map_err(invalid)?;
    let words =
        words_of([email, name, app.control_url().host().as_str(), &app.config().public_url]);
    let checked = password.clone();
    let hasher = &app.accounts().hasher;
    let checked = hasher.run(move || checked.check_strength(POINTER, &words)).await?;
    checked.map_err(invalid)?;
    hasher.hash(password, app.random()).await
}

pub(super) fn invalid(error: FieldError) -> ApiError {
    ApiError::Invalid(vec![error])
}

/// What a link is answered with that does not work, whyever.
pub(super) fn dead_link() -> ApiError {
    let detail = "this link does not work: it was used, it is too old, or something has changed \
         since it was made. Ask for another one";
    invalid(FieldError::new("#/token", "unknown", detail.into()))
}

struct Rename {
    account: AccountId,
    name: String,
    actor: Actor,
}

impl Act for Rename {
    type Done = ();

    async fn act(self, writing: &mut Writing<'_>) -> Result<(), StoreError> {
        let Self { account, name, actor } = self;
        account_rename(writing.tx, account, &name).await?;
        writing.note(&actor, entry("account.rename", account, json!({}))).await
    }
}

struct SetPassword {
    hash: String,
    change: Change,
}

impl Act for SetPassword {
    /// False: the account has changed since.
    type Done = bool;

    async fn act(self, writing: &mut Writing<'_>) -> Result<bool, StoreError> {
        let Self { hash, change } = self;
        // It may be shorter beside a second factor: of one that was removed meanwhile it must not be.
        let is_same = |it: &Account| it.has_second() == change.account.has_second();
        let account = change.account_now(writing).await?.filter(is_same);
        let Some(account) = account else { return Ok(false) };
        account_set_password(writing.tx, account.id, &hash).await?;
        crate::session::store::session_confirm(writing.tx, change.session, false, writing.now)
            .await?;
        change.finish(writing, "account.password").await?;
        Ok(true)
    }
}
