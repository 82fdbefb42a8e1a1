//! The commands about workspaces, and the audit log.

use carom_shared::WorkspaceId;
use clap::{Args, Subcommand};

use super::error::ProgramError;
use super::operator::Operator;
use super::output::{self, Align};
use crate::operator::{AuditPage, OperatorWorkspace, OperatorWorkspaces};

/// Entries that are asked for at once.
const PAGE: u32 = 1000;

/// What can be done with workspaces.
#[derive(Debug, Subcommand)]
pub enum WorkspaceCommand {
    /// List the workspaces
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a workspace out of service: its links answer 410, and its members and keys only read
    Disable {
        /// The workspace's id, from `workspace list`
        id: WorkspaceId,
    },
    /// Bring a workspace back that was disabled
    Enable {
        /// The workspace's id
        id: WorkspaceId,
    },
}

/// Show who changed what, newest first
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only this, such as link.change
    #[arg(long)]
    action: Option<String>,
    /// Only what was done to this, such as link:123
    #[arg(long)]
    object: Option<String>,
    /// Only from this time on, such as 2030-12-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Entries, at most
    #[arg(long, default_value_t = PAGE, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE)))]
    limit: u32,
    /// Go on where a page ended: its `next_cursor`, with the same filters
    #[arg(long)]
    cursor: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV
    #[arg(long)]
    csv: bool,
}

impl WorkspaceCommand {
    /// Does it and says what came of it.
    ///
    /// # Errors
    /// [`ProgramError`], as the operator's surface has it.
    pub async fn run(&self, operator: &Operator) -> Result<(), ProgramError> {
        let (id, what) = match self {
            Self::List { json } => {
                let list: OperatorWorkspaces = operator.get("/v1/workspaces").await?;
                return if *json { output::json(&list) } else { print(&list) };
            }
            Self::Disable { id } => (id, "disable"),
            Self::Enable { id } => (id, "enable"),
        };
        let path = format!("/v1/workspaces/{id}/{what}");
        let done: OperatorWorkspace = operator.post(&path, &serde_json::json!({})).await?;
        output::line(&format!("Workspace {} ({}) is {what}d.", done.id, done.name))
    }
}

impl AuditArgs {
    /// Prints a page of the log.
    ///
    /// # Errors
    /// [`ProgramError`], as the operator's surface has it.
    pub async fn run(&self, operator: &Operator) -> Result<(), ProgramError> {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &self.limit.to_string());
        for (name, value) in [
            ("action", &self.action),
            ("object", &self.object),
            ("from", &self.from),
            ("to", &self.to),
            ("cursor", &self.cursor),
        ] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        if self.csv {
            query.append_pair("format", "csv");
        }
        let path = format!("/v1/audit?{}", query.finish());
        if self.csv {
            return output::text(&operator.text(&path).await?);
        }
        let page: AuditPage = operator.get(&path).await?;
        if self.json { output::json(&page) } else { print_audit(&page) }
    }
}

fn print(list: &OperatorWorkspaces) -> Result<(), ProgramError> {
    let rows = list.data.iter().map(|workspace| {
        let disabled = workspace.disabled_at.as_deref().map(output::seconds);
        [
            workspace.id.to_string(),
            workspace.name.clone(),
            output::seconds(&workspace.created_at),
            disabled.unwrap_or_default(),
        ]
    });
    let head = ["ID", "NAME", "MADE", "DISABLED"];
    output::table(head, [Align::Left; 4], rows)
}

fn print_audit(page: &AuditPage) -> Result<(), ProgramError> {
    if page.data.is_empty() {
        return output::line("There is nothing.");
    }
    let rows = page.data.iter().map(|entry| {
        let by = match (&entry.account_id, &entry.key_id) {
            (Some(account), _) => format!("account:{account}"),
            (None, Some(key)) => format!("key:{key}"),
            (None, None) => "operator".to_owned(),
        };
        [
            output::seconds(&entry.at),
            by,
            entry.address.clone(),
            entry.action.clone(),
            entry.object.clone(),
            entry.detail.to_string(),
        ]
    });
    let head = ["AT", "BY", "FROM", "ACTION", "OBJECT", "DETAIL"];
    output::table(head, [Align::Left; 6], rows)?;
    match &page.next_cursor {
        Some(cursor) => output::line(&format!("Older ones: --cursor {cursor}")),
        None => Ok(()),
    }
}
