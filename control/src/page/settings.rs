//! Settings: who somebody is, what their workspace has, and what the program says of itself.
//!
//! A part that somebody may not see is not in the menu, and its address says which role it needs. What
//! they may see and not change is shown without the controls.

mod about;
mod abuse;
mod audit;
mod data;
mod device;
mod domains;
mod factor;
mod keys;
mod limits;
mod members;
mod people;
mod profile;
mod reports;
mod sessions;
mod workspace;

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;

use super::message::message;
use super::message::phrase::phrase;
use super::respond::PageError;
use super::shell::{Section, Shell, Viewer};
use crate::access::{Role, Scope};
use crate::app::App;
use crate::http::problem::ApiError;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/settings", get(async || Redirect::to(Part::Profile.path())))
        .route(Part::Profile.path(), get(profile::show))
        .route(Part::Sessions.path(), get(sessions::list))
        .route(Part::Factor.path(), get(factor::show))
        .route(Part::Workspace.path(), get(workspace::show))
        .route(Part::Members.path(), get(members::list))
        .route(Part::Keys.path(), get(keys::list))
        .route("/settings/keys/{id}", get(keys::show))
        .route(Part::Domains.path(), get(domains::list))
        .route("/settings/domains/{id}", get(domains::show))
        .route(Part::Data.path(), get(data::show))
        .route(Part::Limits.path(), get(limits::show))
        .route(Part::Audit.path(), get(audit::list))
        .route("/settings/audit.csv", get(audit::csv))
        .route(Part::Reports.path(), get(reports::list))
        .route(Part::Abuse.path(), get(abuse::list))
        .route(Part::About.path(), get(about::show))
}

/// A page of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Profile,
    Sessions,
    Factor,
    Workspace,
    Members,
    Keys,
    Domains,
    Data,
    Limits,
    Audit,
    Reports,
    Abuse,
    About,
}

impl Part {
    const OF_PERSON: &[Self] = &[Self::Profile, Self::Sessions, Self::Factor];
    const OF_WORKSPACE: &[Self] = &[
        Self::Workspace,
        Self::Members,
        Self::Keys,
        Self::Domains,
        Self::Data,
        Self::Limits,
        Self::Audit,
        Self::Reports,
    ];
    const OF_PROGRAM: &[Self] = &[Self::Abuse, Self::About];

    const fn path(self) -> &'static str {
        match self {
            Self::Profile => "/settings/profile",
            Self::Sessions => "/settings/sessions",
            Self::Factor => "/settings/second-factor",
            Self::Workspace => "/settings/workspace",
            Self::Members => "/settings/members",
            Self::Keys => "/settings/keys",
            Self::Domains => "/settings/domains",
            Self::Data => "/settings/data",
            Self::Limits => "/settings/limits",
            Self::Audit => "/settings/audit",
            Self::Reports => "/settings/reports",
            Self::Abuse => "/settings/abuse",
            Self::About => "/settings/about",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Profile => message("Profile"),
            Self::Sessions => message("Sessions"),
            Self::Factor => message("Second factor"),
            Self::Workspace => message("Workspace"),
            Self::Members => message("Members"),
            Self::Keys => message("API keys"),
            Self::Domains => message("Domains"),
            Self::Data => message("Data"),
            Self::Limits => message("Limits"),
            Self::Audit => message("Audit log"),
            Self::Reports => message("Reports"),
            Self::Abuse => message("Abuse"),
            Self::About => message("About and health"),
        }
    }

    /// What somebody needs to see it. `None`: to be signed in.
    const fn scope(self) -> Option<Scope> {
        match self {
            Self::Profile | Self::Sessions | Self::Factor | Self::Workspace | Self::Limits => None,
            Self::Abuse | Self::About => None,
            Self::Members => Some(Scope::MembersRead),
            Self::Keys => Some(Scope::KeysRead),
            Self::Domains => Some(Scope::DomainsRead),
            Self::Data => Some(Scope::LinksRead),
            Self::Audit | Self::Reports => Some(Scope::AuditRead),
        }
    }

    /// Whether it is about the installation, and so for those who look after it.
    const fn is_for_operators(self) -> bool {
        matches!(self, Self::Abuse | Self::About)
    }
}

/// What is around a page of the settings: its menu.
#[derive(Clone, Debug)]
struct Frame {
    groups: Vec<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    title: &'static str,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    path: &'static str,
    title: &'static str,
    is_current: bool,
}

/// What a page of the settings begins with.
///
/// # Errors
/// The viewer may not see it.
fn open(app: &App, viewer: &Viewer, part: Part) -> Result<(Shell, Frame), PageError> {
    if let Some(scope) = part.scope() {
        viewer.caller.require(scope)?;
    }
    if part.is_for_operators() && !viewer.is_operator {
        return Err(ApiError::OperatorsOnly.into());
    }
    let may_see = |part: &&Part| {
        part.scope().is_none_or(|scope| viewer.caller.scopes.has(scope))
            && (viewer.is_operator || !part.is_for_operators())
    };
    let entry = |it: &Part| Entry { path: it.path(), title: it.title(), is_current: *it == part };
    let group = |(title, parts): (&'static str, &[Part])| Group {
        title,
        entries: parts.iter().filter(may_see).map(entry).collect(),
    };
    let all = [
        (message("You"), Part::OF_PERSON),
        (message("Workspace"), Part::OF_WORKSPACE),
        (message("Installation"), Part::OF_PROGRAM),
    ];
    let groups = all.into_iter().map(group).filter(|group| !group.entries.is_empty()).collect();
    let shell = Shell::new(app, viewer, Section::Settings, phrase(part.title()));
    Ok((shell, Frame { groups }))
}

/// A role in words.
#[derive(Clone, Copy, Debug)]
struct RoleWords {
    /// As the API has it.
    word: &'static str,
    title: &'static str,
    you_are: &'static str,
    what: &'static str,
}

impl RoleWords {
    const fn of(role: Role) -> Self {
        let (title, you_are, what) = match role {
            Role::Viewer => (
                message("Viewer"),
                message("you are a viewer"),
                message("sees links and statistics"),
            ),
            Role::Editor => (
                message("Editor"),
                message("you are an editor"),
                message("makes, changes and deletes links"),
            ),
            Role::Admin => (
                message("Admin"),
                message("you are an admin"),
                message("manages members, keys and domains too"),
            ),
            Role::Owner => (
                message("Owner"),
                message("you are an owner"),
                message("can also rename, hand over and delete all of it"),
            ),
        };
        Self { word: role.as_str(), title, you_are, what }
    }
}

/// Something short that is special about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Badge {
    class: &'static str,
    text: &'static str,
}
