//! Callers who look after the installation: accounts that an operator of the machine has made so. They
//! may look at all workspaces' reports and take links and workspaces out of service; what the machine's
//! operator may besides (keys, accounts, the database) stays there.
//!
//! Persons alone: a key is of one workspace.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::actor;
use crate::account::store::account_is_operator;
use crate::app::App;
use crate::audit::Actor;
use crate::http::problem::ApiError;
use crate::session::api::SignedIn;

/// Somebody who is signed in, and an operator.
#[derive(Clone, Debug)]
pub(crate) struct ByOperator {
    pub(crate) signed_in: SignedIn,
    pub(crate) actor: Actor,
}

impl FromRequestParts<App> for ByOperator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let signed_in = SignedIn::from_request_parts(parts, app).await?;
        // Asked each time: who is none any more is so for the next request.
        if !account_is_operator(app.read(), signed_in.account).await? {
            return Err(ApiError::OperatorsOnly);
        }
        let account = Some(signed_in.account);
        let actor = Actor { account, for_installation: true, ..actor(parts) };
        Ok(Self { signed_in, actor })
    }
}
