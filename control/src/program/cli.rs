//! The command line of `carom-control`: what can be said, and who does it.

use carom_process::Inherited;
use clap::{Parser, Subcommand};

use super::abuse::{LinkCommand, ReportCommand};
use super::error::ProgramError;
use super::keys::KeyCommand;
use super::operator::{Operator, with_operator};
use super::settings::{self, Settings, SettingsArgs};
use super::users::UserCommand;
use super::workspaces::{AuditArgs, WorkspaceCommand};
use super::{client, output, serve};
use crate::app::{App, OpenError};
use crate::config::SECRETS;

/// The control plane of a fleet: API, statistics, and what edges follow. No redirects.
///
/// Any number of them may run on one PostgreSQL database. Import, export, backup and doctor are
/// commands of `carom`, which takes the same settings.
#[derive(Debug, Parser)]
#[command(name = "carom-control", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and the edges until SIGTERM (what `carom-control` alone does)
    Serve,
    /// Bring the databases to this version's schema, and end
    Migrate,
    /// API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Accounts: people who sign in
    #[command(subcommand)]
    User(UserCommand),
    /// Links: take one down, or bring it back
    #[command(subcommand)]
    Link(LinkCommand),
    /// What the public reports as abuse
    #[command(subcommand)]
    Report(ReportCommand),
    /// Workspaces: take one out of service, or bring it back
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// Show who changed what, newest first
    Audit(AuditArgs),
    /// The settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask the running process whether it is ready; exit code 0 if so
    Healthcheck,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check every setting without starting anything
    Check,
    /// Print every setting and where its value comes from
    Show,
}

impl Cli {
    /// Does what was asked; `inherited` are the sockets that the process was given.
    pub(super) fn run(
        self,
        environment: Vec<(String, String)>,
        inherited: Inherited,
    ) -> Result<(), ProgramError> {
        let loaded = self.settings.load::<Settings>(environment, SECRETS)?;
        let settings = &loaded.value;
        match self.command {
            Some(Command::Config(ConfigCommand::Show)) => output::settings(&loaded),
            Some(Command::Healthcheck) => healthcheck(settings),
            command => {
                settings::check(&loaded)?;
                match command {
                    Some(Command::Key(command)) => key(settings, &command),
                    Some(Command::User(command)) => user(settings, &command),
                    Some(Command::Link(command)) => {
                        ask(settings, async |operator| command.run(operator).await)
                    }
                    Some(Command::Report(command)) => {
                        ask(settings, async |operator| command.run(operator).await)
                    }
                    Some(Command::Workspace(command)) => {
                        ask(settings, async |operator| command.run(operator).await)
                    }
                    Some(Command::Audit(args)) => {
                        ask(settings, async |operator| args.run(operator).await)
                    }
                    Some(Command::Migrate) => migrate(settings),
                    Some(Command::Config(_)) => output::line("The settings are valid."),
                    _ => serve::run(settings, inherited),
                }
            }
        }
    }
}

fn key(settings: &Settings, command: &KeyCommand) -> Result<(), ProgramError> {
    let open = async || Ok(App::open(serve::options(settings)).await?);
    with_operator(&settings.data_dir, command.makes_folder(), open, async |operator| {
        command.run(operator, &settings.control.public_url).await
    })
}

fn user(settings: &Settings, command: &UserCommand) -> Result<(), ProgramError> {
    let open = async || Ok(App::open(serve::options(settings)).await?);
    with_operator(&settings.data_dir, command.makes_folder(), open, async |operator| {
        command.run(operator).await
    })
}

fn ask(
    settings: &Settings,
    call: impl AsyncFnOnce(&Operator) -> Result<(), ProgramError>,
) -> Result<(), ProgramError> {
    let open = async || Ok(App::open(serve::options(settings)).await?);
    with_operator(&settings.data_dir, false, open, call)
}

/// Opening is migrating. Several may do so at once, and beside control planes of this version.
fn migrate(settings: &Settings) -> Result<(), ProgramError> {
    runtime()?.block_on(async {
        let _folder = super::Folder::lock(&settings.data_dir).await?;
        let app = App::open(serve::options(settings)).await?;
        let migrated = app.migrate_clicks().await.map_err(OpenError::from);
        app.close().await;
        migrated?;
        output::line("The databases have this version's schema.")
    })
}

fn healthcheck(settings: &Settings) -> Result<(), ProgramError> {
    let address = settings.control.admin_listen;
    let unready = |reason| ProgramError::NotReady { part: "control", reason };
    let (status, body) = runtime()?
        .block_on(client::get(address, "/readyz"))
        .map_err(|error| unready(format!("{address} does not answer: {error}")))?;
    let answer = String::from_utf8_lossy(&body);
    match status.is_success() {
        true => output::line("ready"),
        false => Err(unready(format!("{status}, {}", answer.trim()))),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, ProgramError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(ProgramError::Runtime)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
