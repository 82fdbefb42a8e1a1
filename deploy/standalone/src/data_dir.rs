//! What `carom` has in its data folder beside what every control plane has there.

use std::path::{Path, PathBuf};

pub(crate) use carom_control::program::Folder as DataDir;

/// What the edge knows of routes, for its next start. Nothing is lost with it.
pub(crate) fn snapshot_path(data_dir: &Path) -> PathBuf {
    data_dir.join("routes.snapshot")
}

/// Where clicks wait to be stored.
pub(crate) fn spool_path(data_dir: &Path) -> PathBuf {
    data_dir.join("spool")
}
