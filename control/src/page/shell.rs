//! Who looks, and what is around every page: the bar, the dialogs, the workspace.

use axum::extract::FromRequestParts;
use carom_shared::WorkspaceId;
use http::HeaderMap;
use http::request::Parts;

use super::message::phrase::Phrase;
use super::respond::PageError;
use crate::access::Scope;
use crate::account::passkey::store::passkey_is_any;
use crate::account::store::account_is_operator;
use crate::app::App;
use crate::click::report::time::Zone;
use crate::http::auth::{Caller, WORKSPACE_COOKIE, by_session};
use crate::http::problem::ApiError;
use crate::session::api::{SignedIn, cookie};
use crate::workspace::Membership;
use crate::workspace::store::workspace_list_of;

/// The zone of the viewer's clock, as their browser said.
const ZONE_COOKIE: &str = "carom_zone";

/// A person in front of a page.
#[derive(Clone, Debug)]
pub(super) struct Viewer {
    pub(super) caller: Caller,
    pub(super) zone: Zone,
    pub(super) headers: HeaderMap,
    pub(super) signed_in: SignedIn,
    /// Where they are members, in the order in which they came.
    pub(super) memberships: Vec<Membership>,
    /// Whether they can show who they are with a passkey.
    pub(super) has_passkey: bool,
    /// Whether they look after the installation.
    pub(super) is_operator: bool,
}

impl FromRequestParts<App> for Viewer {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, PageError> {
        let signed_in = match SignedIn::from_request_parts(parts, app).await {
            Err(ApiError::NoCredentials) => {
                let next = parts.uri.path_and_query().map_or("/", |it| it.as_str()).to_owned();
                return Err(PageError::Gate { next });
            }
            signed_in => signed_in?,
        };
        let memberships = workspace_list_of(app.read(), signed_in.account).await?;
        if memberships.is_empty() {
            return Err(PageError::NoWorkspace);
        }
        let asked = cookie(&parts.headers, WORKSPACE_COOKIE).and_then(|id| id.parse().ok());
        // One that they have left since is as good as none.
        let asked = asked.filter(|asked| memberships.iter().any(|it| it.workspace.id == *asked));
        let caller = by_session(parts, app, signed_in, asked).await?;
        let zone = zone_of(&parts.headers)?;
        let headers = parts.headers.clone();
        let has_passkey = match app.accounts().passkeys {
            Some(_) => passkey_is_any(app.read(), signed_in.account).await?,
            None => false,
        };
        let is_operator = account_is_operator(app.read(), signed_in.account).await?;
        Ok(Self { caller, zone, headers, signed_in, memberships, has_passkey, is_operator })
    }
}

/// The zone of whoever looks; UTC if their browser does not say.
pub(super) fn zone_of(headers: &HeaderMap) -> Result<Zone, ApiError> {
    let zone = cookie(headers, ZONE_COOKIE).unwrap_or("UTC");
    Ok(Zone::parse(zone).or_else(|_| Zone::parse("UTC"))?)
}

/// A part of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Links,
    Analytics,
    Missing,
    Settings,
}

/// A workspace to switch to.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) id: WorkspaceId,
    pub(super) name: String,
    pub(super) is_current: bool,
}

/// What is around a page's own part.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    pub(super) title: Phrase,
    pub(super) section: Section,
    pub(super) workspace: WorkspaceId,
    pub(super) workspace_name: String,
    pub(super) workspaces: Vec<Choice>,
    pub(super) may_write: bool,
    pub(super) may_delete: bool,
    /// Hosts that a new link can be on, the default first.
    pub(super) hosts: Vec<String>,
    /// What the provider is called that people may sign in by.
    pub(super) provider: Option<String>,
    /// Whether whoever looks can show who they are with a passkey.
    pub(super) has_passkey: bool,
}

impl Shell {
    pub(super) fn new(app: &App, viewer: &Viewer, section: Section, title: Phrase) -> Self {
        let workspace = viewer.caller.workspace;
        let choice = |it: &Membership| Choice {
            id: it.workspace.id,
            name: it.workspace.name.clone(),
            is_current: it.workspace.id == workspace,
        };
        let workspaces: Vec<Choice> = viewer.memberships.iter().map(choice).collect();
        let current = workspaces.iter().find(|it| it.is_current);
        let domains = app.domain_set();
        let usable = domains.verified().filter(|it| it.workspace.is_none_or(|it| it == workspace));
        let provider = app.accounts().provider.as_ref();
        Self {
            title,
            section,
            provider: provider.map(|provider| provider.label().to_owned()),
            has_passkey: viewer.has_passkey,
            workspace,
            workspace_name: current.map(|it| it.name.clone()).unwrap_or_default(),
            workspaces,
            may_write: viewer.caller.scopes.has(Scope::LinksWrite),
            may_delete: viewer.caller.scopes.has(Scope::LinksDelete),
            hosts: usable.map(|domain| domain.host.to_string()).collect(),
        }
    }

    pub(super) fn is_in(&self, section: Section) -> bool {
        self.section == section
    }
}
