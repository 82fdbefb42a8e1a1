//! The end of an account, by whom it is of. Its row stays without a name, an address and a way in: what
//! it made, and the audit log, refer to it.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use super::act::entry;
use super::factor::Change;
use super::oidc::store::identities_remove;
use super::passkey::store::passkeys_remove;
use super::store::{account_fetch, account_forget, recovery_replace};
use crate::app::App;
use crate::db::StoreError;
use crate::http::extract::Params;
use crate::http::problem::ApiError;
use crate::mail::text;
use crate::member::store::{members_remove, sole_owned};
use crate::openapi::responses::{Any, Fresh, MayConflict};
use crate::secret::token::Token;
use crate::session::api::{Client, SignedIn, signed_out};
use crate::session::store::sessions_forget;
use crate::write::{Act, Writing};

#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteParams {
    /// The account's e-mail address.
    #[param(max_length = 254)]
    confirm: Option<String>,
}

/// Deletes your account
///
/// For good, if `confirm` is its e-mail address. Every session ends, keys that you made are dead, and
/// your name and address are forgotten; links stay, for they are the workspaces'. Whoever is the only
/// owner of a workspace hands it over or deletes it first.
#[utoipa::path(
    delete,
    path = "/api/v1/account",
    tag = "account",
    security(("session" = [])),
    params(DeleteParams),
    responses(
        (status = 204, description = "It is deleted, and you are signed out"),
        Any, Fresh, MayConflict,
    ),
    operation_id = "delete_account",
)]
pub(crate) async fn delete(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Params(params): Params<DeleteParams>,
) -> Result<Response, ApiError> {
    signed_in.require_fresh(app.now())?;
    let account = account_fetch(app.read(), signed_in.account).await?;
    let account = account.ok_or(ApiError::NoCredentials)?;
    if params.confirm.as_deref() != Some(account.email.as_str()) {
        let detail = "an account ends for good: send its e-mail address as confirm";
        return Err(ApiError::Conflict(detail.into()));
    }
    let change = Change::of(&account, &signed_in, &Token::generate(app.random()), &client);
    match app.act(DeleteAccount(change)).await? {
        Deleted::Done => {}
        Deleted::Changed => return Err(ApiError::NoCredentials),
        Deleted::Owner(workspace) => {
            return Err(ApiError::Conflict(format!(
                "you are the only owner of the workspace {workspace}: hand it over, or delete it, first"
            )));
        }
    }
    app.accounts().notify(&account.email, text::ACCOUNT_DELETED);
    Ok(signed_out(&client))
}

struct DeleteAccount(Change);

enum Deleted {
    Done,
    /// The account has changed since.
    Changed,
    /// Nobody else owns this workspace.
    Owner(String),
}

impl Act for DeleteAccount {
    type Done = Deleted;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Deleted, StoreError> {
        let Some(account) = self.0.account_now(writing).await? else { return Ok(Deleted::Changed) };
        if let Some(workspace) = sole_owned(writing.tx, account.id).await? {
            return Ok(Deleted::Owner(workspace));
        }
        members_remove(writing.tx, account.id).await?;
        identities_remove(writing.tx, account.id).await?;
        passkeys_remove(writing.tx, account.id).await?;
        recovery_replace(writing.tx, account.id, &[]).await?;
        sessions_forget(writing.tx, account.id).await?;
        account_forget(writing.tx, account.id).await?;
        writing.note(&self.0.actor, entry("account.delete", account.id, json!({}))).await?;
        Ok(Deleted::Done)
    }
}
