//! Invitations over HTTP.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carom_shared::{AccountId, InvitationId};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Invitation;
use super::act::{Accept, Invite, Withdraw};
use super::store::{NewInvitation, invitation_list};
use crate::access::{Role, allow};
use crate::account::Email;
use crate::account::command::SecretText;
use crate::account::store::account_fetch;
use crate::app::App;
use crate::http::auth::By;
use crate::http::extract::{Id, Json, NoParams, Params};
use crate::http::problem::{ApiError, FieldError};
use crate::link::api::rfc3339;
use crate::mail::text;
use crate::openapi::responses::{Any, Fresh, MayConflict, OfOne, WithBody};
use crate::openapi::schema;
use crate::secret::token::Token;
use crate::session::api::{Client, SignedIn};
use crate::workspace::Membership;
use crate::workspace::api::MembershipView;

/// Somebody who was invited.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Invitation)]
struct InvitationView {
    #[schema(schema_with = schema::id)]
    id: InvitationId,
    email: String,
    role: Role,
    #[schema(schema_with = schema::optional_id, required = true)]
    invited_by: Option<AccountId>,
    #[schema(schema_with = schema::time)]
    created_at: String,
    #[schema(schema_with = schema::time)]
    expires_at: String,
}

impl From<Invitation> for InvitationView {
    fn from(invitation: Invitation) -> Self {
        Self {
            id: invitation.id,
            email: invitation.email.to_string(),
            role: invitation.role,
            invited_by: invitation.invited_by,
            created_at: rfc3339(invitation.created_at),
            expires_at: rfc3339(invitation.expires_at),
        }
    }
}

/// An invitation that was made.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = NewInvitation)]
struct InvitedView {
    #[serde(flatten)]
    invitation: InvitationView,
    /// Where mail is sent, `null`: it went to whom it is for. Otherwise shown once, to be passed on.
    #[schema(required = true, format = "uri")]
    link: Option<String>,
}

/// The invitations that can be accepted.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Invitations)]
struct InvitationList {
    data: Vec<InvitationView>,
}

/// Whom to invite.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Invite)]
pub(crate) struct InviteBody {
    #[schema(max_length = 254, format = "email")]
    email: String,
    /// What they are to be. Not an owner: a member can become one.
    role: Role,
}

/// What was in a letter.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AcceptInvitation)]
pub(crate) struct AcceptBody {
    /// What stands behind the # of the link.
    #[schema(value_type = String, max_length = 64)]
    token: SecretText,
}

/// The path of an invitation.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by its derive alone")]
struct InvitationPath {
    #[param(schema_with = schema::id)]
    id: InvitationId,
}

/// Lists whom the workspace waits for
#[utoipa::path(
    get,
    path = "/api/v1/invitations",
    tag = "workspaces",
    security(("api_key" = ["members:write"]), ("session" = ["members:write"])),
    responses((status = 200, body = InvitationList), Any),
    operation_id = "list_invitations",
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: By<allow::MembersWrite>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let found = invitation_list(app.read(), caller.workspace, app.now()).await?;
    let data = found.into_iter().map(InvitationView::from).collect();
    Ok(Json(InvitationList { data }).into_response())
}

/// Invites somebody into the workspace
///
/// By mail; where this installation sends none, the answer has the link, once. It works once, for seven
/// days, and for the account with this address alone; who has none makes it with the link. An earlier
/// invitation of the address is void. A key invites to roles whose scopes it has itself.
#[utoipa::path(
    post,
    path = "/api/v1/invitations",
    tag = "workspaces",
    security(("api_key" = ["members:write"]), ("session" = ["members:write"])),
    request_body = InviteBody,
    responses((status = 201, body = InvitedView), Any, Fresh, WithBody, MayConflict),
    operation_id = "invite",
)]
pub(crate) async fn invite(
    State(app): State<App>,
    caller: By<allow::MembersWrite>,
    _: Params<NoParams>,
    Json(body): Json<InviteBody>,
) -> Result<Response, ApiError> {
    let invalid = |error: FieldError| ApiError::Invalid(vec![error]);
    let email = Email::parse(&body.email, "#/email").map_err(invalid)?;
    match body.role {
        Role::Owner => {
            let detail = "nobody is invited as an owner; make them one when they are a member";
            return Err(invalid(FieldError::new("#/role", "owner", detail.into())));
        }
        Role::Admin => caller.credentials.require_fresh(app.now())?,
        Role::Viewer | Role::Editor => {}
    }
    caller.require_role(body.role)?;
    let invited_by = caller.actor.account;
    let hash = Token::hash_of(email.as_str());
    app.limits().invitation(invited_by, caller.workspace, &hash).await?;
    let inviter = match invited_by {
        Some(account) => account_fetch(app.read(), account).await?.map(|account| account.email),
        None => None,
    };
    let token = Token::generate(app.random());
    let (workspace, role) = (caller.workspace, body.role);
    let mailer = app.accounts().mailer().ok();
    let is_mailed = mailer.is_some();
    let new = NewInvitation { workspace, email, role, token: token.hash(), invited_by, is_mailed };
    let (made, _) = app.act(Invite { actor: caller.actor.clone(), new }).await??;
    let link = format!("{}/invitation#{}", app.problem_base(), token.reveal());
    let link = match mailer {
        Some(mailer) => {
            mailer.send(&made.email, text::invitation(&link, inviter.as_ref()));
            None
        }
        None => Some(link),
    };
    let view = InvitedView { invitation: made.into(), link };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Takes an invitation back
#[utoipa::path(
    delete,
    path = "/api/v1/invitations/{id}",
    tag = "workspaces",
    params(InvitationPath),
    security(("api_key" = ["members:write"]), ("session" = ["members:write"])),
    responses((status = 204, description = "It is void"), Any, OfOne),
    operation_id = "withdraw_invitation",
)]
pub(crate) async fn withdraw(
    State(app): State<App>,
    caller: By<allow::MembersWrite>,
    Id(id): Id<InvitationId>,
    _: Params<NoParams>,
) -> Result<Response, ApiError> {
    let (actor, workspace) = (caller.actor.clone(), caller.workspace);
    app.act(Withdraw { actor, workspace, id }).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Accepts an invitation
///
/// As who is signed in, with the address that was invited.
#[utoipa::path(
    post,
    path = "/api/v1/invitations/accept",
    tag = "workspaces",
    security(("session" = [])),
    request_body = AcceptBody,
    responses(
        (status = 200, body = MembershipView),
        Any, OfOne, Fresh, WithBody, MayConflict,
    ),
    operation_id = "accept_invitation",
)]
pub(crate) async fn accept(
    State(app): State<App>,
    signed_in: SignedIn,
    client: Client,
    Json(body): Json<AcceptBody>,
) -> Result<Response, ApiError> {
    let account = signed_in.account;
    let (actor, token) = (client.acting(account), Token::hash_of(body.token.as_str()));
    let (invitation, workspace) = app.act(Accept { actor, account, token }).await??;
    let membership = Membership { workspace, role: invitation.role };
    Ok(Json(MembershipView::from(membership)).into_response())
}
