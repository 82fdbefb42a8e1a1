//! Who asks, and whether they may: an API key from the Authorization header (RFC 6750, 2.1), or a
//! session from its cookie. A request with both is the key's, and its cookie does not count.
//!
//! A handler names what it needs: `caller: By<allow::LinksRead>`. Nothing else of this crate looks at
//! credentials.

mod domains;
mod operator;

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use carom_shared::{AccountId, ApiKeyId, SessionId, UnixMillis, WorkspaceId};
use http::request::Parts;
use http::{HeaderMap, HeaderName, header};

pub(crate) use operator::ByOperator;

use super::RequestId;
use super::address::ClientAddress;
use super::problem::ApiError;
use super::refusal::Asker;
use crate::access::{Role, Scope, Scopes, allow};
use crate::apikey::command::Secret;
use crate::apikey::store::{key_find, key_scopes};
use crate::apikey::{Grant, KeyRow};
use crate::app::App;
use crate::audit::Actor;
use crate::db::StoreError;
use crate::limit::api::{count_failed, count_key, count_workspace, may_look_up};
use crate::member::store::member_find;
use crate::session::api::{SignedIn, cookie};
use crate::session::store::session_is_active;

/// The workspace that a person means, where they are in several.
const WORKSPACE: HeaderName = HeaderName::from_static("carom-workspace");
/// The workspace that was looked at last, where somebody is in several.
pub(crate) const WORKSPACE_COOKIE: &str = "carom_workspace";

/// Who asks, in which workspace, and what they may do there.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    pub(crate) workspace: WorkspaceId,
    pub(crate) scopes: Scopes,
    pub(crate) credentials: Credentials,
    /// What the key was given, if there is one.
    pub(crate) grant: Option<Arc<Grant>>,
}

/// What a request came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    Key(ApiKeyId),
    Session {
        id: SessionId,
        role: Role,
        /// When the person last showed who they are.
        auth_at: UnixMillis,
    },
}

/// What an answer that takes long was begun with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasting {
    credentials: Credentials,
    account: Option<AccountId>,
    workspace: WorkspaceId,
    scope: Scope,
}

impl Lasting {
    pub(crate) const fn workspace(self) -> WorkspaceId {
        self.workspace
    }

    /// Whether they may still: credentials end, members go, and roles and keys become less.
    pub(crate) async fn is_valid(self, app: &App) -> Result<bool, StoreError> {
        let Self { credentials, account, workspace, scope } = self;
        let scopes = match (credentials, account) {
            (Credentials::Key(key), _) => key_scopes(app.read(), key, app.now()).await?,
            (Credentials::Session { id, .. }, Some(account)) => {
                let member = member_find(app.read(), account, Some(workspace)).await?;
                let is_active = session_is_active(app.read(), id, app.now()).await?;
                member.filter(|_| is_active).map(|(_, role)| role.scopes())
            }
            (Credentials::Session { .. }, None) => None,
        };
        Ok(scopes.is_some_and(|scopes| scopes.has(scope)))
    }
}

impl Caller {
    /// For an answer that takes long, and needs this.
    pub(crate) fn lasting(&self, scope: Scope) -> Lasting {
        let (credentials, account) = (self.credentials, self.actor.account);
        Lasting { credentials, account, workspace: self.workspace, scope }
    }

    /// # Errors
    /// They may not: a role that has not the scope, or a key without it.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.has(scope) {
            return Ok(());
        }
        Err(match self.credentials {
            Credentials::Key(_) => ApiError::InsufficientScope(scope),
            Credentials::Session { .. } => ApiError::Forbidden(scope),
        })
    }
}

impl Caller {
    /// Before somebody is given this role: a key hands on no more than it has. What persons may give is
    /// decided where it is given.
    ///
    /// # Errors
    /// [`ApiError::InsufficientScope`]: the first scope of the role that the key is without. A conflict: the
    /// key is for some addresses, and members come from anywhere.
    pub(crate) fn require_role(&self, role: Role) -> Result<(), ApiError> {
        if matches!(self.credentials, Credentials::Session { .. }) {
            return Ok(());
        }
        if self.grant.as_ref().is_some_and(|grant| !grant.addresses.is_empty()) {
            let detail = "this key is for some network addresses, and a member comes from anywhere: \
                          use a key without addresses";
            return Err(ApiError::Conflict(detail.into()));
        }
        role.scopes().iter().try_for_each(|scope| self.require(scope))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return by_key(parts, app).await;
        }
        let signed_in = SignedIn::from_request_parts(parts, app).await?;
        let asked = match parts.headers.get(WORKSPACE) {
            Some(value) => {
                let id = value.to_str().ok().and_then(|text| text.parse().ok());
                Some(id.ok_or(ApiError::NotFound("workspace"))?)
            }
            None if parts.method.is_safe() => shown(parts, app, signed_in.account).await?,
            None => None,
        };
        by_session(parts, app, signed_in, asked).await
    }
}

/// The workspace that the dashboard shows, for what its pages load without a script: pictures,
/// downloads and streams send no header of ours. One that the person has left is as good as none.
async fn shown(
    parts: &Parts,
    app: &App,
    account: AccountId,
) -> Result<Option<WorkspaceId>, ApiError> {
    let shown = cookie(&parts.headers, WORKSPACE_COOKIE).and_then(|id| id.parse().ok());
    let Some(shown) = shown else { return Ok(None) };
    let found = member_find(app.read(), account, Some(shown)).await?;
    Ok(found.map(|(workspace, _)| workspace))
}

async fn by_key(parts: &mut Parts, app: &App) -> Result<Caller, ApiError> {
    let token = bearer(&parts.headers)?;
    // The checksum first, which typing errors do not pass; invented keys may, and are counted.
    let secret = Secret::parse(token).ok_or(ApiError::BadCredentials)?;
    may_look_up(parts, app)?;
    app.metrics().key_lookups.add(1);
    let Some((key, scopes)) = key_find(app.read(), &secret.hash(), app.now()).await? else {
        return Err(count_failed(parts, app, ApiError::BadCredentials).await);
    };
    if let Some(asker) = parts.extensions.get::<Asker>() {
        asker.set_key(key.id);
    }
    let actor = Actor { account: key.account, key: Some(key.id), ..actor(parts) };
    if !key.grant.allows_address(actor.address) {
        return Err(count_failed(parts, app, ApiError::KeyAddress).await);
    }
    count_key(parts, app, (key.id, key.grant.rate_per_minute), key.workspace).await?;
    app.key_uses().note(&key, app.now(), actor.address);
    let KeyRow { id, workspace, grant, .. } = key;
    let (credentials, grant) = (Credentials::Key(id), Some(Arc::new(grant)));
    let caller = Caller { actor, workspace, scopes, credentials, grant };
    caller.require_route(parts, app).await?;
    Ok(caller)
}

/// Somebody who is signed in, in this workspace, or in the first that they came into.
pub(crate) async fn by_session(
    parts: &Parts,
    app: &App,
    signed_in: SignedIn,
    workspace: Option<WorkspaceId>,
) -> Result<Caller, ApiError> {
    let found = member_find(app.read(), signed_in.account, workspace).await?;
    let (workspace, role) = found.ok_or(ApiError::NotFound("workspace"))?;
    count_workspace(parts, app, workspace).await?;
    Ok(Caller {
        actor: Actor { account: Some(signed_in.account), ..actor(parts) },
        workspace,
        scopes: role.scopes(),
        credentials: Credentials::Session {
            id: signed_in.session,
            role,
            auth_at: signed_in.auth_at,
        },
        grant: None,
    })
}

/// From where a request came, before it is known whose it is.
pub(crate) fn actor(parts: &Parts) -> Actor {
    let address = parts.extensions.get::<ClientAddress>().and_then(|address| address.0);
    let request = parts.extensions.get::<RequestId>().map(|id| id.as_str().to_owned());
    Actor { address, request: request.unwrap_or_default(), ..Actor::default() }
}

/// A caller who may do what `P` names.
#[derive(Clone, Debug)]
pub(crate) struct By<P>(Caller, PhantomData<P>);

impl<P> Deref for By<P> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl<P: allow::Permission> FromRequestParts<App> for By<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        caller.require(P::SCOPE)?;
        Ok(Self(caller, PhantomData))
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(ApiError::NoCredentials)?;
    if values.next().is_some() {
        return Err(ApiError::Request("there is more than one Authorization header".into()));
    }
    let value = value.to_str().map_err(|_| ApiError::BadCredentials)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(ApiError::NoCredentials),
    }
}
