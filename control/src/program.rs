//! The program `carom-control`, and what it shares with `carom`.
//!
//! With the feature `program` alone: whoever embeds the library has no use for a command line.
//!
//! ```text
//! carom-control   cli -> settings -> serve: listeners around an App, until a signal
//!                               \--> operator: of the process that serves the folder, or of this one
//! ```
//!
//! Commands about keys work on any installation, because they go through the operator's surface
//! ([`crate::operator`]). What is about files of one machine (import, export, backup, restore, doctor) is
//! `carom`'s: it takes the same settings and works on the same database.

pub mod abuse;
mod cli;
pub mod client;
mod error;
mod folder;
pub mod keys;
mod listen;
mod operator;
pub mod output;
mod serve;
mod settings;
pub mod users;
/// Commands about workspaces, and the audit log.
pub mod workspaces;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use listenfd::ListenFd;

pub use error::ProgramError;
pub use folder::Folder;
pub use listen::{Listeners, OPERATOR_CONNECTIONS_MAX, listen_tcp, listen_unix};
pub use operator::{Operator, with_operator};
pub use settings::SettingsArgs;

/// Runs `carom-control`: what the arguments say, the program's name first.
#[must_use]
pub fn run(
    environment: Vec<(String, String)>,
    arguments: Vec<OsString>,
    given: &mut ListenFd,
) -> ExitCode {
    let done = carom_process::Inherited::take(&environment, given)
        .map_err(ProgramError::from)
        .and_then(|inherited| cli::Cli::parse_from(arguments).run(environment, inherited));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            error.exit_code()
        }
    }
}
