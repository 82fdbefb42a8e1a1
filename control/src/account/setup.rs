//! The first account: made by whoever can read the terminal in which the program was started.
//!
//! There are no default credentials. As long as there is no account, each start prints a link that works
//! for half an hour and makes the owner of the first workspace; of many who use it at once, one is it.
//! Once there is an account, the call does not exist.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Email;
use super::act::IssueToken;
use super::api::{dead_link, hash_for, invalid};
use super::command::{SecretText, check_person};
use super::register::make;
use super::store::{
    NewAccount, account_is_any, account_is_any_now, account_set_operator, token_find, token_take,
};
use super::token::{NewToken, Purpose};
use crate::access::Role;
use crate::app::App;
use crate::db::StoreError;
use crate::http::extract::Json;
use crate::http::problem::ApiError;
use crate::member::store::member_put;
use crate::openapi::responses::{Any, OfOne, WithBody};
use crate::secret::token::{Token, TokenHash};
use crate::session::api::Client;
use crate::session::sign_in::{Begun, SignedInView};
use crate::write::{Act, Writing};

/// The first account of an installation.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetupBody {
    /// What stands behind the # of the link.
    #[schema(value_type = String, max_length = 64)]
    token: SecretText,
    #[schema(max_length = 254, example = "ada@example.com")]
    email: String,
    #[serde(default)]
    #[schema(required = false, max_length = 100)]
    name: String,
    /// 15 to 128 characters; not easily guessed.
    #[schema(value_type = String, max_length = 1024)]
    password: SecretText,
}

/// Makes the first account
///
/// With the link that the program printed when it started. Its owner owns the first workspace, and is
/// signed in.
#[utoipa::path(
    post,
    path = "/api/v1/setup",
    tag = "account",
    security(()),
    request_body = SetupBody,
    responses((status = 201, body = SignedInView), Any, WithBody, OfOne),
    operation_id = "set_up",
)]
pub(crate) async fn set_up(
    State(app): State<App>,
    client: Client,
    Json(body): Json<SetupBody>,
) -> Result<Response, ApiError> {
    if account_is_any(app.read()).await? {
        return Err(gone());
    }
    app.limits().registration(client.actor.address).await?;
    let link = Token::hash_of(body.token.as_str());
    let row = token_find(app.read(), &link, Purpose::Setup, app.now()).await?;
    row.ok_or_else(dead_link)?;
    let email = Email::parse(&body.email, "#/email").map_err(invalid)?;
    let name = check_person(&body.name, "#/name").map_err(invalid)?;
    let hash = hash_for(&app, &body.password, false, email.as_str(), &name).await?;
    let token = Token::generate(app.random());
    let set_up = SetUp {
        link,
        account: NewAccount { email, name, password_hash: Some(hash), is_confirmed: true },
        workspace: app.first_workspace(),
        token: token.hash(),
        client: client.clone(),
    };
    let begun = app.act(set_up).await?.ok_or_else(gone)?;
    tracing::info!(account.id = %begun.account.id, "the first account was made");
    Ok(begun.answer(&app, &client, &token))
}

fn gone() -> ApiError {
    ApiError::NotFound("setup")
}

struct SetUp {
    link: TokenHash,
    account: NewAccount,
    workspace: carom_shared::WorkspaceId,
    token: TokenHash,
    client: Client,
}

impl Act for SetUp {
    /// `None`: somebody was quicker.
    type Done = Option<Begun>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Option<Begun>, StoreError> {
        let Self { link, account, workspace, token, client } = self;
        if account_is_any_now(writing.tx).await?
            || token_take(writing.tx, &link, Purpose::Setup, writing.now).await?.is_none()
        {
            return Ok(None);
        }
        let begun = make(writing, &account, token, &client, "account.setup").await?;
        if let Some(begun) = &begun {
            let id = begun.account.id;
            member_put(writing.tx, workspace, id, Role::Owner, writing.now).await?;
            // The link was in the terminal: whoever has it looks after the machine.
            account_set_operator(writing.tx, id, true).await?;
        }
        Ok(begun)
    }
}

impl App {
    /// A link that makes the first account, for the terminal; `None` if there is an account. It works
    /// once, for 30 minutes; another start makes another.
    ///
    /// # Errors
    /// A sentence for the log, if it cannot be made.
    pub async fn setup_link(&self) -> Result<Option<String>, String> {
        let failed = |error: &dyn std::fmt::Display| format!("no setup link was made: {error}");
        if account_is_any(self.read()).await.map_err(|error| failed(&error))? {
            return Ok(None);
        }
        let token = Token::generate(self.random());
        let new = NewToken::free(&token, Purpose::Setup, String::new());
        self.act(IssueToken { token: new, noted: None }).await.map_err(|error| failed(&error))?;
        Ok(Some(format!("{}/setup#{}", self.problem_base(), token.reveal())))
    }
}
