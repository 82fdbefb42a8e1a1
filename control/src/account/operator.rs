//! Accounts for whoever operates the installation: made, listed, disabled over `control.sock`.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use carom_shared::{AccountId, WorkspaceId};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::act::{entry, issue};
use super::api::invalid;
use super::command::check_person;
use super::passkey::store::{passkey_list, passkeys_count, passkeys_remove};
use super::recover::link as password_link;
use super::store::{
    NewAccount, account_clear_password, account_insert, account_is_any_now, account_list,
    account_now, account_set_disabled, account_set_operator, account_totp_remove, email_is_taken,
    recovery_replace,
};
use super::token::{NewToken, Purpose};
use super::{Account, Email};
use crate::access::Role;
use crate::app::App;
use crate::audit::Actor;
use crate::db::StoreError;
use crate::http::extract::{Id, Json};
use crate::http::problem::{ApiError, FieldError};
use crate::link::api::rfc3339;
use crate::mail::text;
use crate::member::store::{member_count, member_put};
use crate::secret::token::{Token, TokenHash};
use crate::session::store::sessions_revoke;
use crate::workspace::store::workspace_now;
use crate::write::{Act, Writing};

/// How long a link works that an operator hands over.
const LINK_LIFE: Duration = Duration::from_hours(24);

/// The calls about accounts.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/users", get(list).post(create))
        .route("/v1/users/{id}/link", post(link))
        .route("/v1/users/{id}/disable", post(disable))
        .route("/v1/users/{id}/enable", post(enable))
        .route("/v1/users/{id}/promote", post(promote))
        .route("/v1/users/{id}/demote", post(demote))
        .route("/v1/users/{id}/reset-second-factor", post(reset_second))
}

/// A body of `POST /v1/users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRequest {
    pub email: String,
    #[serde(default)]
    pub name: String,
    /// `None`: the first one.
    pub workspace: Option<WorkspaceId>,
    /// `owner`, `admin`, `editor` or `viewer`. `None`: owner of a workspace without members, else
    /// editor.
    pub role: Option<String>,
    /// Whether they look after the installation in the dashboard. The first account does.
    #[serde(default)]
    pub operator: bool,
}

/// An account, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    pub id: AccountId,
    pub email: String,
    pub name: String,
    /// `active` or `disabled`.
    pub state: String,
    pub has_password: bool,
    pub second_factor: bool,
    /// How many passkeys they have.
    pub passkeys: u64,
    /// Whether they look after the installation in the dashboard.
    pub operator: bool,
    pub created_at: String,
}

/// An account, and a link that sets its password: once, within a day.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserLink {
    pub link: String,
    #[serde(flatten)]
    pub view: UserView,
}

impl std::fmt::Debug for UserLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserLink").field("view", &self.view).finish_non_exhaustive()
    }
}

/// All accounts, oldest first; at most 1,000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserList {
    pub data: Vec<UserView>,
}

impl UserView {
    fn of(account: Account, passkeys: u64) -> Self {
        Self {
            passkeys,
            id: account.id,
            second_factor: account.has_second(),
            has_password: account.password_hash.is_some(),
            operator: account.is_operator,
            state: if account.is_disabled { "disabled" } else { "active" }.into(),
            created_at: rfc3339(account.created_at),
            email: account.email.to_string(),
            name: account.name,
        }
    }
}

async fn list(State(app): State<App>) -> Result<Response, ApiError> {
    let passkeys = passkeys_count(app.read()).await?;
    let view = |account: Account| {
        let count = passkeys.get(&account.id).copied().unwrap_or_default();
        UserView::of(account, count)
    };
    let data = account_list(app.read()).await?.into_iter().map(view).collect();
    Ok(Json(UserList { data }).into_response())
}

async fn view(app: &App, account: Account) -> Result<UserView, StoreError> {
    let passkeys = passkey_list(app.read(), account.id).await?.len();
    Ok(UserView::of(account, passkeys as u64))
}

async fn create(
    State(app): State<App>,
    Json(body): Json<UserRequest>,
) -> Result<Response, ApiError> {
    let email = Email::parse(&body.email, "#/email").map_err(invalid)?;
    let name = check_person(&body.name, "#/name").map_err(invalid)?;
    let role = body.role.as_deref().map(|text| {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == text);
        let detail = "a role is owner, admin, editor or viewer".to_owned();
        role.ok_or_else(|| invalid(FieldError::new("#/role", "unknown", detail)))
    });
    let token = Token::generate(app.random());
    let create = Create {
        account: NewAccount { email, name, password_hash: None, is_confirmed: true },
        workspace: body.workspace.unwrap_or_else(|| app.first_workspace()),
        role: role.transpose()?,
        is_operator: body.operator,
        token: token.hash(),
    };
    let made = app.act(create).await?.map_err(|refused| match refused {
        Refused::Taken => ApiError::Conflict("there is an account with this address".into()),
        Refused::NoWorkspace => ApiError::NotFound("workspace"),
    })?;
    tracing::info!(account.id = %made.id, "account made");
    let link = password_link(app.problem_base(), &token);
    Ok((StatusCode::CREATED, Json(UserLink { link, view: UserView::of(made, 0) })).into_response())
}

async fn link(State(app): State<App>, Id(id): Id<AccountId>) -> Result<Response, ApiError> {
    let token = Token::generate(app.random());
    let account = app.act(GiveLink { id, token: token.hash() }).await?;
    let account = account.ok_or(ApiError::NotFound("account"))?;
    let link = password_link(app.problem_base(), &token);
    Ok(Json(UserLink { link, view: view(&app, account).await? }).into_response())
}

async fn reset_second(State(app): State<App>, Id(id): Id<AccountId>) -> Result<Response, ApiError> {
    let token = Token::generate(app.random());
    let account = app.act(ResetSecond { id, token: token.hash() }).await?;
    let account = account.ok_or(ApiError::NotFound("account"))?.ok_or_else(|| {
        ApiError::Conflict(
            "the account has neither second factor nor passkey; carom user link makes a link"
                .into(),
        )
    })?;
    tracing::info!(account.id = %id, "second factor removed");
    app.accounts().notify(&account.email, text::SECOND_RESET);
    let link = password_link(app.problem_base(), &token);
    Ok(Json(UserLink { link, view: UserView::of(account, 0) }).into_response())
}

async fn disable(State(app): State<App>, Id(id): Id<AccountId>) -> Result<Response, ApiError> {
    set_disabled(&app, id, true).await
}

async fn enable(State(app): State<App>, Id(id): Id<AccountId>) -> Result<Response, ApiError> {
    set_disabled(&app, id, false).await
}

async fn set_disabled(app: &App, id: AccountId, is_disabled: bool) -> Result<Response, ApiError> {
    let account = app.act(SetDisabled { id, is_disabled }).await?;
    let account = account.ok_or(ApiError::NotFound("account"))?;
    tracing::info!(account.id = %id, is_disabled, "account changed");
    Ok(Json(view(app, account).await?).into_response())
}

async fn promote(State(app): State<App>, Id(id): Id<AccountId>) -> Result<Response, ApiError> {
    set_operator(&app, id, true).await
}

async fn demote(State(app): State<App>, Id(id): Id<AccountId>) -> Result<Response, ApiError> {
    set_operator(&app, id, false).await
}

async fn set_operator(app: &App, id: AccountId, is_operator: bool) -> Result<Response, ApiError> {
    let account = app.act(SetOperator { id, is_operator }).await?;
    let account = account.ok_or(ApiError::NotFound("account"))?;
    tracing::info!(account.id = %id, is_operator, "account changed");
    Ok(Json(view(app, account).await?).into_response())
}

struct Create {
    account: NewAccount,
    workspace: WorkspaceId,
    role: Option<Role>,
    is_operator: bool,
    token: TokenHash,
}

/// Why no account was made.
enum Refused {
    Taken,
    NoWorkspace,
}

impl Act for Create {
    type Done = Result<Account, Refused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Self { account, workspace, role, is_operator, token } = self;
        if email_is_taken(writing.tx, &account.email).await? {
            return Ok(Err(Refused::Taken));
        }
        if workspace_now(writing.tx, workspace).await?.is_none() {
            return Ok(Err(Refused::NoWorkspace));
        }
        let is_empty = member_count(writing.tx, workspace, None).await? == 0;
        let role = role.unwrap_or(if is_empty { Role::Owner } else { Role::Editor });
        let is_operator = is_operator || !account_is_any_now(writing.tx).await?;
        let id = account_insert(writing.tx, &account, writing.now, writing.random).await?;
        if is_operator {
            account_set_operator(writing.tx, id, true).await?;
        }
        member_put(writing.tx, workspace, id, role, writing.now).await?;
        let detail = json!({"workspace_id": workspace, "role": role, "operator": is_operator});
        writing.note(&Actor::default(), entry("account.create", id, detail)).await?;
        let made = account_now(writing.tx, id).await?.ok_or(StoreError::Corrupt("account row"))?;
        issue(writing, &handed_over(token, &made)).await?;
        Ok(Ok(made))
    }
}

/// The operator brings it to its reader, which takes longer than mail.
fn handed_over(hash: TokenHash, account: &Account) -> NewToken {
    NewToken {
        hash,
        account: Some(account.id),
        purpose: Purpose::Password,
        detail: String::new(),
        bound: account.bound(),
        life: LINK_LIFE,
    }
}

struct GiveLink {
    id: AccountId,
    token: TokenHash,
}

impl Act for GiveLink {
    /// `None`: there is no such account.
    type Done = Option<Account>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Option<Account>, StoreError> {
        let Some(account) = account_now(writing.tx, self.id).await? else { return Ok(None) };
        issue(writing, &handed_over(self.token, &account)).await?;
        let entry = entry("account.password_link", self.id, json!({}));
        writing.note(&Actor::default(), entry).await?;
        Ok(Some(account))
    }
}

/// Removes a second factor that is lost, and passkeys, which may be on the same device. The password goes
/// with them: beside a second factor it may have been too short to stand alone, and whoever has lost both
/// must not be let in by half of it.
struct ResetSecond {
    id: AccountId,
    token: TokenHash,
}

impl Act for ResetSecond {
    /// `None`: there is no such account. `Some(None)`: it has none.
    type Done = Option<Option<Account>>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Self { id, token } = self;
        let Some(account) = account_now(writing.tx, id).await? else { return Ok(None) };
        let passkeys = passkeys_remove(writing.tx, id).await?;
        if !account.has_second() && passkeys == 0 {
            return Ok(Some(None));
        }
        account_totp_remove(writing.tx, id).await?;
        recovery_replace(writing.tx, id, &[]).await?;
        account_clear_password(writing.tx, id).await?;
        sessions_revoke(writing.tx, id, None, writing.now).await?;
        let account =
            account_now(writing.tx, id).await?.ok_or(StoreError::Corrupt("account row"))?;
        issue(writing, &handed_over(token, &account)).await?;
        let entry = entry("account.second_factor_reset", id, json!({"passkeys": passkeys}));
        writing.note(&Actor::default(), entry).await?;
        Ok(Some(Some(account)))
    }
}

struct SetDisabled {
    id: AccountId,
    is_disabled: bool,
}

impl Act for SetDisabled {
    /// `None`: there is no such account.
    type Done = Option<Account>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Option<Account>, StoreError> {
        let Self { id, is_disabled } = self;
        if !account_set_disabled(writing.tx, id, is_disabled).await? {
            return Ok(None);
        }
        if is_disabled {
            sessions_revoke(writing.tx, id, None, writing.now).await?;
        }
        let action = if is_disabled { "account.disable" } else { "account.enable" };
        writing.note(&Actor::default(), entry(action, id, json!({}))).await?;
        account_now(writing.tx, id).await
    }
}

struct SetOperator {
    id: AccountId,
    is_operator: bool,
}

impl Act for SetOperator {
    /// `None`: there is no such account.
    type Done = Option<Account>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Option<Account>, StoreError> {
        let Self { id, is_operator } = self;
        if !account_set_operator(writing.tx, id, is_operator).await? {
            return Ok(None);
        }
        let action = if is_operator { "account.promote" } else { "account.demote" };
        writing.note(&Actor::default(), entry(action, id, json!({}))).await?;
        account_now(writing.tx, id).await
    }
}
