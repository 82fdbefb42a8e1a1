//! What a command can fail with, as the person who called it reads it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use carom_control::check::CheckError;
use carom_control::{OpenError, Problem};
use carom_edge::EdgeError;
use carom_edge::process::SocketError;
use carom_shared::settings::{InvalidSetting, SettingsError};

use crate::backup::{BackupError, BadBackup, RestoreError};
use crate::import::FileError;
use crate::upgrade::CopyAsideError;

/// `EX_USAGE` of BSD's sysexits: the start was refused because of what was said, not of what is.
const EXIT_SETTINGS: u8 = 64;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("--set {0}: write NAME=VALUE, for example --set edge.listen=0.0.0.0:80")]
    Set(String),
    #[error("settings file {}: {source}", .path.display())]
    ConfigFile { path: PathBuf, source: io::Error },
    #[error("data folder {}: {source}", .path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error(
        "there is no data folder {}; name it with --data-dir, or start there with carom serve or \
         carom key create",
        .0.display()
    )]
    NoDataDir(PathBuf),
    #[error(
        "another carom serves {}; stop it first, or give this one a folder of its own with \
         --data-dir",
        .0.display()
    )]
    Locked(PathBuf),
    #[error(
        "{} is locked, and {} does not answer: another carom is starting, stopping or stuck; try \
         again in a moment",
        .data_dir.display(),
        .socket.display()
    )]
    NoAnswer { data_dir: PathBuf, socket: PathBuf },
    #[error(
        "a restore into {} was interrupted; remove everything in it, and restore again",
        .0.display()
    )]
    HalfRestored(PathBuf),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("{0}")]
    BackupFailed(String),
    #[error(transparent)]
    BadBackup(#[from] BadBackup),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Edge(#[from] EdgeError),
    #[error("cannot listen on {address} (setting {setting}): {source}")]
    Listen { setting: &'static str, address: String, source: io::Error },
    #[error("the change feed has another subscriber")]
    Feed,
    #[error("the {part} is not ready: {reason}")]
    NotReady { part: &'static str, reason: String },
    #[error("{}", problem_text(.0))]
    Problem(Box<Problem>),
    #[error("the answer of the running carom cannot be understood ({0}); is it another version?")]
    Answer(String),
    #[error(transparent)]
    ImportFile(#[from] FileError),
    #[error("rows were refused: {0}")]
    RowsRefused(u64),
    #[error("--refused names the file that is imported; name another")]
    SameFile,
    #[error(transparent)]
    Store(CheckError),
    #[error(transparent)]
    CopyAside(CopyAsideError),
    #[error("errors were found")]
    Unwell,
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

impl CommandError {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_)
            | Self::Setting(_)
            | Self::Set(_)
            | Self::ConfigFile { .. }
            | Self::Open(OpenError::Config(_)) => ExitCode::from(EXIT_SETTINGS),
            _ => ExitCode::FAILURE,
        }
    }
}

/// What was refused, and each field's reason.
fn problem_text(problem: &Problem) -> String {
    let mut text = format!("{}: {}", problem.title, problem.detail);
    for field in &problem.errors {
        text.push_str("\n  ");
        text.push_str(&field.detail);
    }
    text
}
