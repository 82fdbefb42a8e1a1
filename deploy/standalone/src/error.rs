//! What a command can fail with, as the person who called it reads it.

use std::process::ExitCode;

use carom_control::OpenError;
use carom_control::check::CheckError;
use carom_control::clicks_moving::ClicksMoveError;
use carom_control::moving::MoveError;
use carom_control::program::ProgramError;
use carom_edge::EdgeError;
use carom_edge::process::EXIT_SETTINGS;
use carom_shared::settings::InvalidSetting;

use crate::backup::{BackupError, BadBackup, RestoreError};
use crate::import::FileError;
use crate::upgrade::CopyAsideError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("{0}")]
    BackupFailed(String),
    #[error(transparent)]
    BadBackup(#[from] BadBackup),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Move(#[from] MoveError),
    #[error(transparent)]
    MoveClicks(#[from] ClicksMoveError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Edge(#[from] EdgeError),
    #[error("the change feed has another subscriber")]
    Feed,
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
}

impl CommandError {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Program(error) => error.exit_code(),
            Self::Setting(_) | Self::Open(OpenError::Config(_)) => ExitCode::from(EXIT_SETTINGS),
            _ => ExitCode::FAILURE,
        }
    }
}
