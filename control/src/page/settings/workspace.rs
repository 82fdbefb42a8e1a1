//! The workspace itself: its name, who owns it, and the others that somebody is in.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use carom_shared::{AccountId, WorkspaceId};

use super::people::name;
use super::{Frame, Part, RoleWords, open};
use crate::access::{Role, Scope};
use crate::app::App;
use crate::http::extract::{NoParams, Params};
use crate::link::store::link_count;
use crate::member::store::member_list;
use crate::member::{MEMBERS_MAX, Member};
use crate::page::message::filters;
use crate::page::message::phrase::Phrase;
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};
use crate::page::text::time;
use crate::workspace::Membership;

struct Mine {
    id: WorkspaceId,
    name: String,
    role: &'static str,
    is_disabled: bool,
    is_current: bool,
}

/// Somebody to hand the workspace to.
struct Other {
    id: AccountId,
    label: Phrase,
}

#[derive(Template)]
#[template(path = "settings/workspace.html")]
struct Workspace {
    shell: Shell,
    frame: Frame,
    created_at: String,
    disabled_at: Option<String>,
    role: RoleWords,
    /// Whether who looks may do what owners do.
    owns: bool,
    is_last_owner: bool,
    /// Whether it is the installation's first.
    is_first: bool,
    links: u64,
    memberships: Vec<Mine>,
    others: Vec<Other>,
}

pub(super) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    _: Params<NoParams>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::Workspace)?;
    let (id, me) = (viewer.caller.workspace, viewer.signed_in.account);
    let current = viewer.memberships.iter().find(|it| it.workspace.id == id);
    let role = current.map_or(Role::Viewer, |it| it.role);
    let most = u32::try_from(MEMBERS_MAX).unwrap_or(u32::MAX);
    let members = member_list(app.read(), id, None, most).await?;
    let owners = members.iter().filter(|member| member.role == Role::Owner).count();
    let other = |it: &Member| Other {
        id: it.account,
        label: match it.name.is_empty() {
            true => name(it, true),
            false => Phrase::data(format!("{} ({})", it.name, it.email)),
        },
    };
    let mine = |it: &Membership| Mine {
        id: it.workspace.id,
        name: it.workspace.name.clone(),
        role: RoleWords::of(it.role).title,
        is_disabled: it.workspace.disabled_at.is_some(),
        is_current: it.workspace.id == id,
    };
    let page = Workspace {
        created_at: current.map(|it| time(it.workspace.created_at)).unwrap_or_default(),
        disabled_at: current.and_then(|it| it.workspace.disabled_at).map(time),
        role: RoleWords::of(role),
        owns: viewer.caller.scopes.has(Scope::WorkspaceWrite),
        is_last_owner: role == Role::Owner && owners <= 1,
        is_first: id == app.first_workspace(),
        links: link_count(app.read(), Some(id)).await?,
        memberships: viewer.memberships.iter().map(mine).collect(),
        others: members.iter().filter(|it| it.account != me).map(other).collect(),
        shell,
        frame,
    };
    Ok(Page::of(&page).respond(&viewer.headers))
}
