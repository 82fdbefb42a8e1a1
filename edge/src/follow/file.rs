//! The last bundle, in a file of the data folder: what an edge starts with when nobody answers.
//!
//! It holds salts, so it is for its owner alone; and it is whole or not there: written under a
//! temporary name, synced, and renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use carom_shared::Bundle;

/// Writes a bundle.
pub(super) fn write(path: &Path, bundle: &Bundle) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    // One that a killed process left may have been made with other rights.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(bundle)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Reads the last one; `None` if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Bundle>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use carom_shared::{DomainId, Host, Salt, Salts, ServedDomain};

    use super::*;

    #[test]
    fn a_bundle_comes_back_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.json");
        assert_eq!(read(&path).unwrap(), None);
        fs::write(path.with_extension("tmp"), "half of one").unwrap();
        for id in [1, 2] {
            let host = Host::parse("go.example.com").unwrap();
            let domain = ServedDomain::new(DomainId::try_from(id).unwrap(), host, true);
            let salts = Salts::new([Salt { day: 20_000, key: [7; 16] }]);
            let bundle = Bundle::new(vec![domain], salts);
            write(&path, &bundle).unwrap();
            assert_eq!(read(&path).unwrap(), Some(bundle));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&path, "{").unwrap();
        assert!(read(&path).is_err());
    }
}
