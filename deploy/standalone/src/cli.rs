//! The command line: what can be said, and who does it.

use clap::{Parser, Subcommand};

use carom_control::SECRETS;
use carom_control::program::abuse::{LinkCommand, ReportCommand};
use carom_control::program::client;
use carom_control::program::keys::KeyCommand;
use carom_control::program::users::UserCommand;
use carom_control::program::workspaces::{AuditArgs, WorkspaceCommand};
use carom_control::program::{ProgramError, SettingsArgs};
use carom_edge::EdgeError;
use carom_edge::process::Inherited;
use carom_edge::spool::retry::retry;
use carom_shared::SystemRandom;

use crate::backup::{BackupArgs, RestoreArgs};
use crate::data_dir::spool_path;
use crate::doctor::DoctorArgs;
use crate::error::CommandError;
use crate::export::ExportArgs;
use crate::import::ImportArgs;
use crate::moving::MoveArgs;
use crate::operator::with_operator;
use crate::output;
use crate::serve;
use crate::settings::Settings;
use crate::stats::StatsArgs;

/// URL shortener with analytics: redirects from memory, every click counted once.
#[derive(Debug, Parser)]
#[command(name = "carom", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve redirects and the API until Ctrl-C (what `carom` alone does)
    Serve,
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
    /// Clicks: totals and the most clicked links, or a report with a plot
    Stats(StatsArgs),
    /// Make a backup, while it serves or not; or check one
    Backup(BackupArgs),
    /// Make a new data folder (--data-dir) of a backup
    Restore(RestoreArgs),
    /// Import links of a file: Carom's own, or an export of Shlink, YOURLS, Kutt, Bitly, Dub, Chhoto; or
    /// clicks (--clicks)
    Import(ImportArgs),
    /// Export all links, or all clicks
    Export(ExportArgs),
    /// Move all links to another database, PostgreSQL or a file; while nobody serves
    Move(MoveArgs),
    /// Look for what is wrong, while it serves or not; exit code 1 if there are errors
    Doctor(DoctorArgs),
    /// The folder of clicks that are not stored yet
    #[command(subcommand)]
    Spool(SpoolCommand),
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

#[derive(Debug, Subcommand)]
enum SpoolCommand {
    /// Give the batches that were set aside back, to be stored at the next start; while nobody serves
    Retry,
}

impl Cli {
    /// Does what was asked. `program` is how this program was called, `inherited` are the sockets that
    /// it was given.
    pub(crate) fn run(
        self,
        environment: &[(String, String)],
        inherited: Inherited,
        program: &str,
    ) -> Result<(), CommandError> {
        let loaded = self.settings.load::<Settings>(environment.to_vec(), SECRETS)?;
        let settings = &loaded.value;
        match self.command {
            None | Some(Command::Serve) => serve::run(settings, inherited, program),
            Some(Command::Key(command)) => key(settings, &command),
            Some(Command::User(command)) => user(settings, &command),
            Some(Command::Link(command)) => {
                with_operator(settings, false, async |operator| Ok(command.run(operator).await?))
            }
            Some(Command::Report(command)) => {
                with_operator(settings, false, async |operator| Ok(command.run(operator).await?))
            }
            Some(Command::Workspace(command)) => {
                with_operator(settings, false, async |operator| Ok(command.run(operator).await?))
            }
            Some(Command::Audit(args)) => {
                with_operator(settings, false, async |operator| Ok(args.run(operator).await?))
            }
            Some(Command::Stats(args)) => args.run(settings, environment),
            Some(Command::Backup(args)) => args.run(settings),
            Some(Command::Restore(args)) => args.run(settings),
            Some(Command::Import(args)) => args.run(settings),
            Some(Command::Export(args)) => args.run(settings),
            Some(Command::Move(args)) => args.run(settings),
            Some(Command::Doctor(args)) => args.run(settings, environment),
            Some(Command::Spool(SpoolCommand::Retry)) => {
                let dir = spool_path(&settings.data_dir);
                let retried = retry(&dir, &SystemRandom).map_err(EdgeError::from)?;
                output::line(&retried.to_string())
            }
            Some(Command::Config(ConfigCommand::Check)) => {
                settings.check()?;
                output::line("The settings are valid.")
            }
            Some(Command::Config(ConfigCommand::Show)) => output::settings(&loaded),
            Some(Command::Healthcheck) => healthcheck(settings),
        }
    }
}

fn key(settings: &Settings, command: &KeyCommand) -> Result<(), CommandError> {
    with_operator(settings, command.makes_folder(), async |operator| {
        Ok(command.run(operator, &settings.control.public_url).await?)
    })
}

fn user(settings: &Settings, command: &UserCommand) -> Result<(), CommandError> {
    with_operator(settings, command.makes_folder(), async |operator| {
        Ok(command.run(operator).await?)
    })
}

fn healthcheck(settings: &Settings) -> Result<(), CommandError> {
    runtime()?.block_on(async {
        for (part, address) in
            [("edge", settings.edge.admin_listen), ("control", settings.control.admin_listen)]
        {
            let ready = client::get(address, "/readyz").await;
            match ready {
                Ok((status, _)) if status.is_success() => {}
                Ok((status, body)) => {
                    let answer = String::from_utf8_lossy(&body);
                    return Err(ProgramError::NotReady {
                        part,
                        reason: format!("{status}, {}", answer.trim()),
                    }
                    .into());
                }
                Err(error) => {
                    return Err(ProgramError::NotReady {
                        part,
                        reason: format!("{address} does not answer: {error}"),
                    }
                    .into());
                }
            }
        }
        output::line("ready")
    })
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ProgramError::Runtime(error).into())
}
