//! What a program can fail with, as the person who called it reads it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use carom_process::{EXIT_SETTINGS, FileError, SocketError};
use carom_shared::settings::{InvalidSetting, SettingsError};

use crate::app::OpenError;
use crate::click::sole::KeepClicksError;
use crate::http::problem::Problem;

/// Why a command of a program that holds a control plane failed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    #[error("--set {0}: write NAME=VALUE, for example --set public_url=https://go.example.com")]
    Set(String),
    #[error(transparent)]
    SettingsFile(#[from] FileError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("data folder {}: {source}", .path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "there is no data folder {}; name it with --data-dir, or start there with serve or \
         key create",
        .0.display()
    )]
    NoFolder(PathBuf),
    #[error(
        "another carom serves {}; stop it first, or give this one a folder of its own with \
         --data-dir",
        .0.display()
    )]
    Locked(PathBuf),
    #[error(
        "{} is locked, and {} does not answer: another carom is starting, stopping or stuck; try \
         again in a moment",
        .folder.display(),
        .socket.display()
    )]
    NoAnswer { folder: PathBuf, socket: PathBuf },
    #[error(
        "a restore into {} was interrupted; remove everything in it, and restore again",
        .0.display()
    )]
    HalfRestored(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    KeepClicks(#[from] KeepClicksError),
    #[error("cannot listen on {address} (setting {setting}): {source}")]
    Listen { setting: &'static str, address: String, source: io::Error },
    #[error("the {part} is not ready: {reason}")]
    NotReady { part: &'static str, reason: String },
    #[error("{}", problem_text(.0))]
    Problem(Box<Problem>),
    #[error("the answer of the running carom cannot be understood ({0}); is it another version?")]
    Answer(String),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

impl ProgramError {
    /// 64 if a setting has to be mended, else 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_)
            | Self::Setting(_)
            | Self::Set(_)
            | Self::SettingsFile(_)
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
