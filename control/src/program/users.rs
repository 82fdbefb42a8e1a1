//! The commands about accounts.

use carom_shared::{AccountId, WorkspaceId};
use clap::Subcommand;

use super::error::ProgramError;
use super::operator::Operator;
use super::output::{self, Align};
use crate::operator::{UserLink, UserList, UserRequest, UserView};

/// What can be done with accounts.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make an account; prints a link that sets its password
    Create {
        /// The e-mail address that signs in
        #[arg(long)]
        email: String,
        /// What the person is called
        #[arg(long, default_value = "")]
        name: String,
        /// The workspace's id [default: the first workspace]
        #[arg(long, value_name = "ID")]
        workspace: Option<WorkspaceId>,
        /// owner, admin, editor or viewer [default: owner of a workspace without members, else editor]
        #[arg(long)]
        role: Option<String>,
        /// Let them look after the installation in the dashboard; the first account does anyway
        #[arg(long)]
        operator: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the accounts
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a link that sets a new password, for somebody who forgot theirs
    Link {
        /// The account's id, from `user list`
        id: AccountId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a lost second factor, and the password with it; prints a link that sets a new one
    ResetSecondFactor {
        /// The account's id, from `user list`
        id: AccountId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign an account out everywhere, and let it sign in no more
    Disable {
        /// The account's id, from `user list`
        id: AccountId,
    },
    /// Let an account sign in again
    Enable {
        /// The account's id, from `user list`
        id: AccountId,
    },
    /// Let an account look after the installation in the dashboard: reports of abuse, health
    Promote {
        /// The account's id, from `user list`
        id: AccountId,
    },
    /// Let it do so no more
    Demote {
        /// The account's id, from `user list`
        id: AccountId,
    },
}

impl UserCommand {
    /// Whether a data folder that is not there is made: the first account makes an installation.
    #[must_use]
    pub const fn makes_folder(&self) -> bool {
        matches!(self, Self::Create { .. })
    }

    /// Does it and prints what came of it.
    ///
    /// # Errors
    /// [`ProgramError`], as the operator's surface has it.
    pub async fn run(&self, operator: &Operator) -> Result<(), ProgramError> {
        match self {
            Self::Create { email, name, workspace, role, operator: is_operator, json } => {
                let body = UserRequest {
                    email: email.clone(),
                    name: name.clone(),
                    workspace: *workspace,
                    role: role.clone(),
                    operator: *is_operator,
                };
                let made: UserLink = operator.post("/v1/users", &body).await?;
                print_link(&made, *json)
            }
            Self::Link { id, json } => {
                let path = format!("/v1/users/{id}/link");
                let made: UserLink = operator.post(&path, &serde_json::json!({})).await?;
                print_link(&made, *json)
            }
            Self::ResetSecondFactor { id, json } => {
                let path = format!("/v1/users/{id}/reset-second-factor");
                let made: UserLink = operator.post(&path, &serde_json::json!({})).await?;
                print_link(&made, *json)
            }
            Self::List { json } => {
                let users: UserList = operator.get("/v1/users").await?;
                if *json { output::json(&users) } else { print_list(&users) }
            }
            Self::Disable { id } => set_state(operator, *id, "disable").await,
            Self::Enable { id } => set_state(operator, *id, "enable").await,
            Self::Promote { id } => set_operator(operator, *id, "promote").await,
            Self::Demote { id } => set_operator(operator, *id, "demote").await,
        }
    }
}

async fn set_state(operator: &Operator, id: AccountId, verb: &str) -> Result<(), ProgramError> {
    let path = format!("/v1/users/{id}/{verb}");
    let user: UserView = operator.post(&path, &serde_json::json!({})).await?;
    output::line(&format!("The account {} ({}) is {}.", user.id, user.email, user.state))
}

async fn set_operator(operator: &Operator, id: AccountId, verb: &str) -> Result<(), ProgramError> {
    let path = format!("/v1/users/{id}/{verb}");
    let user: UserView = operator.post(&path, &serde_json::json!({})).await?;
    let is = if user.operator { "is an operator" } else { "is no operator" };
    output::line(&format!("The account {} ({}) {is} now.", user.id, user.email))
}

fn print_link(made: &UserLink, json: bool) -> Result<(), ProgramError> {
    if json {
        return output::json(made);
    }
    output::text(&format!(
        "{}\n\nThis link sets the password of {}. It works once, within 24 hours: hand it over where \
         nobody else reads it.\n",
        made.link, made.view.email,
    ))
}

fn print_list(users: &UserList) -> Result<(), ProgramError> {
    if users.data.is_empty() {
        return output::line("There are no accounts. Make one with: user create --email ADDRESS");
    }
    let rows = users.data.iter().map(|user| {
        [
            user.id.to_string(),
            user.email.clone(),
            output::seconds(&user.created_at),
            user.state.clone(),
            if user.second_factor { "yes" } else { "no" }.to_owned(),
            user.passkeys.to_string(),
            if user.operator { "yes" } else { "no" }.to_owned(),
            user.name.clone(),
        ]
    });
    let head = ["ID", "EMAIL", "CREATED", "STATE", "TWO-FACTOR", "PASSKEYS", "OPERATOR", "NAME"];
    let (left, right) = (Align::Left, Align::Right);
    output::table(head, [left, left, left, left, left, right, left, left], rows)
}
