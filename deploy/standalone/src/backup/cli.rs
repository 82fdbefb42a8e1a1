//! `carom backup`, `carom backup verify` and `carom restore`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use carom_edge::SpoolAtRest;
use carom_shared::{SystemClock, SystemRandom};
use clap::{Args, Subcommand};

use super::api::{BackupRequest, PATH};
use super::restore::{check, restore};
use super::{Backups, BadBackup, Made, Manifest, SpoolSource, State, Status};
use crate::cli::runtime;
use crate::data_dir::spool_path;
use crate::error::CommandError;
use crate::output;
use crate::settings::Settings;
use carom_control::program::{Operator, ProgramError};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BackupArgs {
    /// Folder for the backup, as the process that serves sees it [default: the setting backup.dir,
    /// or else this folder]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Also copy clicks that are in ClickHouse into it, as a file of clicks; without this they need
    /// a backup of their own (see the setting backup.clicks)
    #[arg(long)]
    clicks: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<BackupCommand>,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Check a backup in all that a restore would need; exit code 0 if it is good
    Verify {
        file: PathBuf,
        /// Folder for an unpacked copy meanwhile, as large as both databases [default: that of FILE]
        #[arg(long, value_name = "DIR")]
        temporary: Option<PathBuf>,
        /// Print JSON: the backup's manifest
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl BackupArgs {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        match self.command {
            None => {
                settings.check()?;
                let made = runtime()?.block_on(back_up(settings, self.to, self.clicks))?;
                if self.json { output::json(&made) } else { output::backup::made(&made) }
            }
            Some(BackupCommand::Verify { file, temporary, json }) => {
                let manifest = runtime()?.block_on(verify(&file, temporary))?;
                if json { output::json(&manifest) } else { output::backup::good(&file, &manifest) }
            }
        }
    }
}

impl RestoreArgs {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), CommandError> {
        let restored =
            runtime()?.block_on(restore(&self.file, &settings.control_config(), &SystemClock))?;
        if self.json { output::json(&restored) } else { output::backup::restored(&restored) }
    }
}

/// How often the process that serves is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Makes a backup in a folder: by the process that serves, or, where none does, here.
async fn back_up(
    settings: &Settings,
    to: Option<PathBuf>,
    with_clicks: bool,
) -> Result<Made, CommandError> {
    let to = to.or_else(|| settings.backup.dir().map(Path::to_owned)).unwrap_or(".".into());
    let to = std::path::absolute(&to).map_err(|_| super::BackupError::Path(to))?;
    let operator = crate::operator::open(settings, false).await?;
    let made = match &operator {
        Operator::Served { .. } => by_the_server(&operator, to, with_clicks).await,
        Operator::Held { .. } => at_rest(settings, &operator, &to, with_clicks).await,
    };
    operator.close().await;
    made
}

async fn by_the_server(
    operator: &Operator,
    to: PathBuf,
    with_clicks: bool,
) -> Result<Made, CommandError> {
    let begun: Status = operator.post(PATH, &BackupRequest { to, with_clicks }).await?;
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let status: Status = operator.get(PATH).await?;
        match status.state {
            State::Running if status.number == begun.number => {}
            State::Done { made } if status.number == begun.number => return Ok(*made),
            State::Failed { error } if status.number == begun.number => {
                return Err(CommandError::BackupFailed(error));
            }
            _ => return Err(ProgramError::Answer("it makes another backup".to_owned()).into()),
        }
    }
}

async fn at_rest(
    settings: &Settings,
    operator: &Operator,
    to: &Path,
    with_clicks: bool,
) -> Result<Made, CommandError> {
    let Operator::Held { app, .. } = operator else {
        return Err(ProgramError::Answer("it serves".to_owned()).into());
    };
    let salts = app.salts().await;
    let salts = salts.map_err(|reason| ProgramError::NotReady { part: "database", reason })?;
    let spool = SpoolAtRest {
        dir: spool_path(&settings.data_dir),
        spool: settings.spool.clone(),
        enrich: settings.edge.enrich.clone(),
        salts,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
    };
    let spool = SpoolSource::AtRest(Box::new(spool));
    let with_clicks = with_clicks || settings.backup.clicks;
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let backups = Backups::new(app.clone(), spool, clock, random, with_clicks);
    Ok(backups.make(to, with_clicks).await?)
}

/// Checks a backup; `temporary` takes an unpacked copy meanwhile, or else the backup's folder.
async fn verify(backup: &Path, temporary: Option<PathBuf>) -> Result<Manifest, BadBackup> {
    let unreadable = |source| BadBackup::Unreadable { path: backup.to_owned(), source };
    let backup = std::path::absolute(backup).map_err(unreadable)?;
    let temporary = temporary
        .unwrap_or_else(|| backup.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned));
    check(&backup, &temporary, &SystemRandom).await
}
