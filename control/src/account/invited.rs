//! Accounts of people who were invited: the invitation's link is enough to make one, and they are members
//! with it.
//!
//! Whether the address is confirmed depends on how the link came. A letter went to its reader alone, so
//! whoever has it reads that mail. A link that was handed over, where no mail is sent, says only that
//! somebody of the workspace wanted this person: the account works, and its address is nobody's for certain
//! until a letter was read. So a provider that knows the address does not sign in to it, and an admin who
//! makes an account in another's name gets nothing that was theirs.

use axum::extract::State;
use axum::response::Response;
use carom_shared::AccountId;
use serde_json::json;

use super::api::{dead_link, hash_for, invalid};
use super::command::check_person;
use super::register::{LinkAccountBody, make};
use super::store::{NewAccount, account_fetch, account_find, email_is_taken};
use crate::app::App;
use crate::audit::Entry;
use crate::config::Registration;
use crate::db::StoreError;
use crate::http::extract::Json;
use crate::http::problem::ApiError;
use crate::invitation::Invitation;
use crate::invitation::act::InvitationRefused;
use crate::invitation::store::{invitation_accept, invitation_find, invitation_of};
use crate::member::MEMBERS_MAX;
use crate::member::store::{member_count, member_put};
use crate::openapi::responses::{Any, MayConflict, WithBody};
use crate::secret::token::{Token, TokenHash};
use crate::session::api::Client;
use crate::session::sign_in::{Begun, SignedInView};
use crate::write::{Act, Writing};

/// Makes the account of somebody who was invited
///
/// With the address that was invited; accepts the invitation, and signs in. For whoever has no account yet.
/// Where `accounts.registration` is `closed`, only invitations of operators make accounts.
#[utoipa::path(
    post,
    path = "/api/v1/invitations/register",
    tag = "account",
    security(()),
    request_body = LinkAccountBody,
    responses((status = 201, body = SignedInView), Any, WithBody, MayConflict),
    operation_id = "register_invited",
)]
pub(crate) async fn register(
    State(app): State<App>,
    client: Client,
    Json(body): Json<LinkAccountBody>,
) -> Result<Response, ApiError> {
    app.limits().registration(client.actor.address).await?;
    let link = Token::hash_of(body.token.as_str());
    let found = invitation_find(app.read(), &link, app.now()).await?;
    let invitation = found.ok_or_else(dead_link)?;
    if account_find(app.read(), &invitation.email).await?.is_some() {
        return Err(Refused::HasAccount.into());
    }
    if !makes_account(&app, &invitation).await? {
        let detail =
            "invitations make no accounts here: ask whoever runs this installation for one";
        return Err(ApiError::Conflict(detail.into()));
    }
    let name = check_person(&body.name, "#/name").map_err(invalid)?;
    let email = invitation.email;
    let hash = hash_for(&app, &body.password, false, email.as_str(), &name).await?;
    let token = Token::generate(app.random());
    let register = RegisterInvited {
        link,
        account: NewAccount {
            email,
            name,
            password_hash: Some(hash),
            is_confirmed: invitation.is_mailed,
        },
        token: token.hash(),
        client: client.clone(),
    };
    let begun = app.act(register).await??;
    Ok(begun.answer(&app, &client, &token))
}

/// Whether an invitation makes an account: as operators have set it, or because one of them invites, who
/// could make the account as well.
async fn makes_account(app: &App, invitation: &Invitation) -> Result<bool, StoreError> {
    match (app.config().accounts.registration, invitation.invited_by) {
        (Registration::Invitation | Registration::Open, _) | (Registration::Closed, None) => {
            Ok(true)
        }
        (Registration::Closed, Some(inviter)) => is_operator(app, inviter).await,
    }
}

async fn is_operator(app: &App, id: AccountId) -> Result<bool, StoreError> {
    let account = account_fetch(app.read(), id).await?;
    Ok(account.is_some_and(|account| account.is_operator && !account.is_disabled))
}

/// Why no account was made.
enum Refused {
    Dead,
    HasAccount,
    MembersTooMany,
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Dead => dead_link(),
            Refused::MembersTooMany => InvitationRefused::MembersTooMany.into(),
            // Only whoever was invited hears it, and whoever invited them.
            Refused::HasAccount => Self::Conflict(
                "there is an account with the address that was invited: sign in with it, then open the \
                 link once more"
                    .into(),
            ),
        }
    }
}

struct RegisterInvited {
    link: TokenHash,
    account: NewAccount,
    token: TokenHash,
    client: Client,
}

impl Act for RegisterInvited {
    type Done = Result<Begun, Refused>;

    async fn act(self, writing: &mut Writing<'_>) -> Result<Self::Done, StoreError> {
        let Self { link, account, token, client } = self;
        let found = invitation_of(writing.tx, &link, writing.now).await?;
        let Some(invitation) = found.filter(|it| it.email == account.email) else {
            return Ok(Err(Refused::Dead));
        };
        if email_is_taken(writing.tx, &account.email).await? {
            return Ok(Err(Refused::HasAccount));
        }
        let workspace = invitation.workspace;
        if member_count(writing.tx, workspace, None).await? >= MEMBERS_MAX {
            return Ok(Err(Refused::MembersTooMany));
        }
        if !invitation_accept(writing.tx, invitation.id, writing.now).await? {
            return Ok(Err(Refused::Dead));
        }
        let begun = make(writing, &account, token, &client, "account.register").await?;
        let begun = begun.ok_or(StoreError::Corrupt("account row"))?;
        let id = begun.account.id;
        member_put(writing.tx, workspace, id, invitation.role, writing.now).await?;
        let entry = Entry {
            workspace: Some(workspace),
            action: "invitation.accept",
            object: format!("invitation:{}", invitation.id),
            detail: json!({"account": id, "role": invitation.role, "new_account": true}),
        };
        writing.note(&client.acting(id), entry).await?;
        Ok(Ok(begun))
    }
}
