//! The settings file: one that was named, or `carom.toml` if it is there.

use std::io;
use std::path::{Path, PathBuf};

/// The file that is read without being named, if it is there.
const DEFAULT_FILE: &str = "carom.toml";

/// A settings file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("settings file {}: {source}", .path.display())]
pub struct FileError {
    path: PathBuf,
    source: io::Error,
}

/// Path and text of the settings file; `None` if none was named and the default one is not there.
///
/// # Errors
/// [`FileError`] if it cannot be read. One that was named must be there.
pub fn read_settings_file(named: Option<&Path>) -> Result<Option<(PathBuf, String)>, FileError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError { path: path.to_owned(), source }),
    }
}
