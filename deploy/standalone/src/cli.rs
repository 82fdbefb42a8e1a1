//! The command line: what can be said, and who does it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use carom_control::operator::{KeyCreated, KeyList, KeyRequest, KeyView};
use carom_edge::process::Inherited;
use carom_shared::ApiKeyId;

use crate::backup::{BackupArgs, RestoreArgs};
use crate::doctor::DoctorArgs;
use crate::error::CommandError;
use crate::export::ExportArgs;
use crate::import::ImportArgs;
use crate::operator::Operator;
use crate::serve;
use crate::settings::{self, Settings};
use crate::stats::StatsArgs;
use crate::{http_client, output};

/// URL shortener with analytics: redirects from memory, every click counted once.
#[derive(Debug, Parser)]
#[command(name = "carom", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where settings come from. Later ones win: defaults, file, environment (`CAROM_...`), flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct SettingsArgs {
    /// Settings file [default: carom.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder of the databases, the click spool and control.sock [default: ./carom-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// One setting by its name, such as edge.listen=0.0.0.0:80; may be repeated
    #[arg(long = "set", global = true, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve redirects and the API until Ctrl-C (what `carom` alone does)
    Serve,
    /// API keys
    #[command(subcommand)]
    Key(KeyCommand),
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
    /// Look for what is wrong, while it serves or not; exit code 1 if there are errors
    Doctor(DoctorArgs),
    /// The settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask the running process whether it is ready; exit code 0 if so
    Healthcheck,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key; it is shown once
    Create {
        /// What the key is for, as lists show it
        #[arg(long)]
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key at once
    Revoke {
        /// The key's id, from `carom key list`
        id: ApiKeyId,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check every setting without starting anything
    Check,
    /// Print every setting and where its value comes from
    Show,
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
        let loaded = settings::load(&self.settings, environment.to_vec())?;
        let settings = &loaded.value;
        match self.command {
            None | Some(Command::Serve) => serve::run(settings, inherited, program),
            Some(Command::Key(command)) => command.run(settings),
            Some(Command::Stats(args)) => args.run(settings, environment),
            Some(Command::Backup(args)) => args.run(settings),
            Some(Command::Restore(args)) => args.run(settings),
            Some(Command::Import(args)) => args.run(settings),
            Some(Command::Export(args)) => args.run(settings),
            Some(Command::Doctor(args)) => args.run(settings, environment),
            Some(Command::Config(ConfigCommand::Check)) => {
                settings.check()?;
                output::line("The settings are valid.")
            }
            Some(Command::Config(ConfigCommand::Show)) => output::settings(&loaded),
            Some(Command::Healthcheck) => healthcheck(settings),
        }
    }
}

impl KeyCommand {
    fn run(self, settings: &Settings) -> Result<(), CommandError> {
        match self {
            Self::Create { name, json } => {
                let body = KeyRequest { name };
                let created: KeyCreated = with_operator(settings, true, async |operator| {
                    operator.post("/v1/keys", &body).await
                })?;
                if json {
                    output::json(&created)
                } else {
                    output::key_created(&created, &settings.control.public_url)
                }
            }
            Self::List { json } => {
                let keys: KeyList = with_operator(settings, false, async |operator| {
                    operator.get("/v1/keys").await
                })?;
                if json { output::json(&keys) } else { output::keys(&keys) }
            }
            Self::Revoke { id } => {
                let path = format!("/v1/keys/{id}");
                let key: KeyView =
                    with_operator(settings, false, async |operator| operator.delete(&path).await)?;
                output::line(&format!("Key {} ({}) is revoked.", key.id, key.name))
            }
        }
    }
}

fn healthcheck(settings: &Settings) -> Result<(), CommandError> {
    runtime()?.block_on(async {
        for (part, address) in
            [("edge", settings.edge.admin_listen), ("control", settings.control.admin_listen)]
        {
            let ready = http_client::get(address, "/readyz").await;
            match ready {
                Ok((status, _)) if status.is_success() => {}
                Ok((status, body)) => {
                    let answer = String::from_utf8_lossy(&body);
                    return Err(CommandError::NotReady {
                        part,
                        reason: format!("{status}, {}", answer.trim()),
                    });
                }
                Err(error) => {
                    return Err(CommandError::NotReady {
                        part,
                        reason: format!("{address} does not answer: {error}"),
                    });
                }
            }
        }
        output::line("ready")
    })
}

/// Opens the operator's surface, calls it, and closes it again; `make` makes a missing data folder.
pub(crate) fn with_operator<T>(
    settings: &Settings,
    make: bool,
    call: impl AsyncFnOnce(&Operator) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    runtime()?.block_on(async {
        let operator = Operator::open(settings, make).await?;
        let result = call(&operator).await;
        operator.close().await;
        result
    })
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)
}
