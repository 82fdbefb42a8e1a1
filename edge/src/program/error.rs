//! What the program can fail with, as the person who started it reads it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use carom_edge::EdgeError;
use carom_edge::process::{EXIT_SETTINGS, FileError, SocketError};
use carom_shared::settings::{InvalidSetting, SettingsError};

#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("data folder {}: {source}", .path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error(
        "another program of Carom uses {}; stop it first, or give this one a folder of its own with \
         --data-dir",
        .0.display()
    )]
    Locked(PathBuf),
    #[error(transparent)]
    Edge(#[from] EdgeError),
    #[error("not ready: {0}")]
    Unready(String),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

impl ProgramError {
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Settings(_) | Self::Setting(_) | Self::File(_) => {
                ExitCode::from(EXIT_SETTINGS)
            }
            _ => ExitCode::FAILURE,
        }
    }
}
