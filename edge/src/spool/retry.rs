//! Gives batches that were set aside back to the outbox.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use carom_shared::Random;
use carom_shared::batch::Batch;

use super::inspect::token_of;
use super::{Spool, SpoolError, disk};

/// What became of the files in `quarantine/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// Batches that are in the outbox again, to be stored at the next start.
    pub batches: u64,
    /// Their clicks.
    pub clicks: u64,
    /// Files that stay: they are no batches, or damaged ones.
    pub left: u64,
}

impl fmt::Display for Retried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batches, clicks, left } = self;
        write!(f, "Batches given back: {batches}, with {clicks} clicks. Files that stay: {left}.")
    }
}

/// The same for a spool and for one that a process beside it may have had, if that is there.
///
/// # Errors
/// As [`retry`] for either; what was given back by then stays so.
pub fn retry_both(dir: &Path, beside: &Path, random: &dyn Random) -> Result<Retried, SpoolError> {
    let mut retried = Retried::default();
    let dirs = [dir, beside].into_iter().filter(|dir| dir.join("identity").exists());
    let dirs: Vec<_> = dirs.collect();
    // Neither: the error names the one that should be there.
    for dir in if dirs.is_empty() { vec![dir] } else { dirs } {
        let Retried { batches, clicks, left } = retry(dir, random)?;
        retried.batches += batches;
        retried.clicks += clicks;
        retried.left += left;
    }
    Ok(retried)
}

/// Moves each whole batch of `quarantine/` into `outbox/`. The store recognises those that it has, and
/// refuses again what it still will not take: nothing is counted twice, and nothing is lost.
///
/// # Errors
/// [`SpoolError`] if there is no spool, somebody uses it, or a file cannot be moved; calling it again goes on.
pub fn retry(dir: &Path, random: &dyn Random) -> Result<Retried, SpoolError> {
    let identity = dir.join("identity");
    // Opening would make one where there is none.
    fs::metadata(&identity).map_err(SpoolError::io(&identity))?;
    let spool = Spool::open(dir, random)?;
    let from = spool.quarantine_dir();
    let mut retried = Retried::default();
    let mut moved = || -> io::Result<()> {
        for entry in fs::read_dir(&from)? {
            let path = entry?.path();
            let batch = token_of(&path).map(|token| (token, fs::read(&path)));
            let Some((token, bytes)) = batch else {
                retried.left += 1;
                continue;
            };
            match Batch::from_bytes(&bytes?) {
                Ok(batch) => {
                    disk::rename(&path, &spool.outbox_dir().join(format!("{token}.clk")))?;
                    retried.batches += 1;
                    retried.clicks += batch.header().clicks;
                }
                Err(_) => retried.left += 1,
            }
        }
        // In this order: after a power failure a batch may be in both, which is one, and never in none.
        disk::sync_folder(&File::open(spool.outbox_dir())?)?;
        disk::sync_folder(&File::open(&from)?)
    };
    moved().map_err(SpoolError::io(&from))?;
    Ok(retried)
}

#[cfg(test)]
mod tests {
    use carom_shared::batch::{BatchBuilder, Token};
    use carom_shared::click::{Channel, Details, Device, Kind, Privacy, Via};
    use carom_shared::{Click, DomainId, LinkId, SeededRandom, UnixMillis, WorkspaceId};

    use super::*;

    fn click() -> Click<'static> {
        Click {
            workspace: WorkspaceId::try_from(1).unwrap(),
            link: LinkId::try_from(1).unwrap(),
            domain: DomainId::try_from(1).unwrap(),
            at_s: 1_700_000_000,
            n: 1,
            kind: Kind::Human,
            via: Via::Link,
            variant: 0,
            status: 302,
            target_revision: 1,
            visitor: 0,
            privacy: Privacy::default(),
            channel: Channel::Direct,
            device: Device::Unknown,
            details: Details::default(),
        }
    }

    #[test]
    fn whole_batches_go_back_and_everything_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let random = SeededRandom::new(1);
        assert!(retry(&dir.path().join("none"), &random).is_err());
        let spool = Spool::open(dir.path(), &random).unwrap();
        let mut builder = BatchBuilder::new();
        builder.push(&click());
        builder.push(&click());
        let batch = builder.finish(UnixMillis::new(0), &[]);
        let token = |number| Token::new(spool.id(), 1, number, batch.rows, batch.crc);
        let aside = |name: String| spool.quarantine_dir().join(name);
        fs::write(aside(format!("{}.clk", token(1))), &batch.bytes).unwrap();
        let cut = &batch.bytes[..batch.bytes.len() - 1];
        fs::write(aside(format!("{}.clk", token(2))), cut).unwrap();
        fs::write(aside("00000001-segment".to_owned()), b"records").unwrap();
        let given_back = spool.outbox_dir().join(format!("{}.clk", token(1)));
        assert!(matches!(retry(dir.path(), &random), Err(SpoolError::Locked(_))));
        drop(spool);
        let expected = Retried { batches: 1, clicks: 2, left: 2 };
        assert_eq!(retry(dir.path(), &random).unwrap(), expected);
        assert_eq!(fs::read(given_back).unwrap(), batch.bytes);
        assert_eq!(retry(dir.path(), &random).unwrap(), Retried { left: 2, ..Retried::default() });
    }

    #[test]
    fn the_spool_of_a_process_beside_is_looked_through_too() {
        let data = tempfile::tempdir().unwrap();
        let random = SeededRandom::new(2);
        let (first, second) = (data.path().join("spool"), data.path().join("second/spool"));
        let error = retry_both(&first, &second, &random).unwrap_err();
        assert!(error.to_string().contains(&*first.join("identity").to_string_lossy()), "{error}");
        let mut builder = BatchBuilder::new();
        builder.push(&click());
        let batch = builder.finish(UnixMillis::new(0), &[]);
        let aside = |dir: &Path| {
            let spool = Spool::open(dir, &random).unwrap();
            let name = format!("{}.clk", Token::new(spool.id(), 1, 1, batch.rows, batch.crc));
            fs::write(spool.quarantine_dir().join(&name), &batch.bytes).unwrap();
            spool.outbox_dir().join(name)
        };
        let given_back = [aside(&second), aside(&first)];
        let expected = Retried { batches: 2, clicks: 2, left: 0 };
        assert_eq!(retry_both(&first, &second, &random).unwrap(), expected);
        assert!(given_back.iter().all(|path| path.exists()));
    }
}
