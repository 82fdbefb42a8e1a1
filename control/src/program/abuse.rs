//! The commands against abuse: links that are taken down, and what the public reports.

use carom_shared::ReportId;
use clap::Subcommand;

use super::error::ProgramError;
use super::operator::Operator;
use super::output::{self, Align};
use crate::operator::{CloseRequest, Closed, ReportList};

/// Characters of a comment in the list.
const COMMENT_MAX: usize = 60;

/// What an operator can do with a link.
#[derive(Debug, Subcommand)]
pub enum LinkCommand {
    /// Take a link down: it answers 451 until it is unblocked, whatever its owner does
    Block {
        /// Its short URL, its code, or its id
        link: String,
    },
    /// Bring a link back that was blocked; one that a blocklist has stays down
    Unblock {
        /// Its short URL, its code, or its id
        link: String,
    },
}

/// What can be done with what the public reports.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// List open reports, newest first
    List {
        /// Also those that are closed
        #[arg(long)]
        all: bool,
        /// Only those before this one: the last of the page before
        #[arg(long, value_name = "ID")]
        before: Option<ReportId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Close a report
    Close {
        /// The report's id, from `report list`
        id: ReportId,
        /// Block the link too, and close all reports about it
        #[arg(long, conflicts_with = "dismiss", required_unless_present = "dismiss")]
        block: bool,
        /// Leave the link as it is
        #[arg(long)]
        dismiss: bool,
    },
}

impl LinkCommand {
    /// Does it and says what came of it.
    ///
    /// # Errors
    /// [`ProgramError`], as the operator's surface has it.
    pub async fn run(&self, operator: &Operator) -> Result<(), ProgramError> {
        let (link, what) = match self {
            Self::Block { link } => (link, "block"),
            Self::Unblock { link } => (link, "unblock"),
        };
        let path = format!("/v1/links/{}/{what}", encoded(link));
        let done: Closed = operator.post(&path, &serde_json::json!({})).await?;
        output::line(&format!("Link {} is {} now.", done.link_id, done.state))
    }
}

impl ReportCommand {
    /// Does it and says what came of it.
    ///
    /// # Errors
    /// [`ProgramError`], as the operator's surface has it.
    pub async fn run(&self, operator: &Operator) -> Result<(), ProgramError> {
        match self {
            Self::List { all, before, json } => {
                let before = before.map_or_else(String::new, |id| format!("&before={id}"));
                let path = format!("/v1/reports?all={all}{before}");
                let reports: ReportList = operator.get(&path).await?;
                if *json { output::json(&reports) } else { print(&reports) }
            }
            Self::Close { id, block, dismiss: _ } => {
                let body = CloseRequest { block: *block };
                let done: Closed = operator.post(&format!("/v1/reports/{id}/close"), &body).await?;
                output::line(&format!(
                    "{} closed. Link {} is {}.",
                    match done.closed {
                        1 => "1 report is".to_owned(),
                        closed => format!("{closed} reports are"),
                    },
                    done.link_id,
                    done.state
                ))
            }
        }
    }
}

fn print(reports: &ReportList) -> Result<(), ProgramError> {
    if reports.data.is_empty() {
        return output::line("There are no reports.");
    }
    let rows = reports.data.iter().map(|report| {
        let comment: String = report
            .comment
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(COMMENT_MAX)
            .collect();
        [
            report.id.to_string(),
            output::seconds(&report.created_at),
            report.state.clone(),
            report.reason.clone(),
            report.short_url.clone(),
            report.url.clone().unwrap_or_else(|| "(deleted)".to_owned()),
            comment,
        ]
    });
    let head = ["ID", "REPORTED", "STATE", "REASON", "LINK", "LEADS TO", "COMMENT"];
    output::table(head, [Align::Left; 7], rows)
}

/// A segment of a path (RFC 3986, 2.1).
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
