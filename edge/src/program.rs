//! The program `carom-edge`: what can be said to it, and what it does.

mod cli;
mod error;
mod folder;
mod health;
mod serve;
mod settings;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use carom_edge::EdgeError;
use carom_edge::process::Inherited;
use carom_edge::spool::retry::retry_both;
use carom_shared::SystemRandom;
use listenfd::ListenFd;

use cli::{Command, Invocation};
use error::ProgramError;
use settings::Settings;

/// Runs what the arguments say.
pub(crate) fn run(
    environment: Vec<(String, String)>,
    arguments: Vec<OsString>,
    given: &mut ListenFd,
) -> ExitCode {
    match try_run(environment, arguments, given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            drop(writeln!(io::stderr().lock(), "error: {error}"));
            error.exit_code()
        }
    }
}

fn try_run(
    environment: Vec<(String, String)>,
    arguments: Vec<OsString>,
    given: &mut ListenFd,
) -> Result<(), ProgramError> {
    let Invocation { command, args } = cli::parse(arguments)?;
    match command {
        Command::Help => return say(cli::HELP),
        Command::Version => return say(concat!("carom-edge ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Serve | Command::Healthcheck | Command::CheckConfig | Command::RetrySpool => {}
    }
    let inherited = Inherited::take(&environment, given)?;
    let settings = Settings::load(&args, environment)?;
    match command {
        Command::Healthcheck => health::check(settings.edge.admin_listen),
        Command::CheckConfig => {
            settings.check()?;
            say("The settings are fine.\n")
        }
        Command::RetrySpool => {
            let [own, beside] = ["spool", "second/spool"].map(|name| settings.data_dir.join(name));
            let retried = retry_both(&own, &beside, &SystemRandom).map_err(EdgeError::from)?;
            say(&format!("{retried}\n"))
        }
        _ => serve::run(&settings, inherited),
    }
}

/// Prints a text to standard output; that nobody reads it is no error.
fn say(text: &str) -> Result<(), ProgramError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(ProgramError::Output),
    }
}
