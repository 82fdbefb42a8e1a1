//! Totals of what could not be kept: exported, shown, and never forgotten.
//!
//! # File `losses`, format 1: 64-bit words (little endian)
//!
//! ```text
//! 0      "CAROMLOS"
//! 1      format = 1
//! 8 ...  one word for each [`Loss`]: the total in the low 40 bits, above it the low 24 bits of the
//!        CRC-32C of these five bytes and the word's index
//! ```
//!
//! The file is mapped, so totals survive the process. They are statistics: after a power failure
//! they may be those of a moment ago.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use super::disk;
use super::map::Words;

const MAGIC: u64 = u64::from_le_bytes(*b"CAROMLOS");
const FORMAT: u64 = 1;
const FIRST: usize = 8;
const LEN: usize = 512;
const TOTAL_BITS: u32 = 40;
const TOTAL_MAX: u64 = (1 << TOTAL_BITS) - 1;

/// What can be lost, and how much of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Only the number is kept: the ring was full.
    Counted,
    /// Only the number is kept: the outbox had to be compacted.
    Compacted,
    /// Nothing is kept but this total: the table of counts was full too.
    Dropped,
    /// Recorded, and not on the disk when the machine stopped. What was recorded last before it
    /// leaves no gap, and cannot be known.
    Power,
    /// Records that a kill interrupted; their visitors had no answer.
    Torn,
    /// Records and slots that could not be read; their files are set aside.
    Damaged,
}

impl Loss {
    pub const ALL: [Self; 6] =
        [Self::Counted, Self::Compacted, Self::Dropped, Self::Power, Self::Torn, Self::Damaged];
}

/// The totals of a spool, over all its starts.
#[derive(Debug)]
pub(crate) struct Losses {
    words: Words,
}

impl Losses {
    /// Opens the totals. A damaged file is set aside, and what can be read of it goes on.
    pub(super) fn open(path: &Path, aside: &Path) -> io::Result<Self> {
        let found = match Words::open(path) {
            Ok(words) => Some(words),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // A file of no bytes cannot be mapped: it was made, and the process killed.
            Err(_) if std::fs::metadata(path)?.len() == 0 => {
                disk::remove(path)?;
                None
            }
            Err(error) => return Err(error),
        };
        let Some(words) = found else { return Self::create(path) };
        let is_blank = (0..words.len()).all(|at| words.at(at).load(Acquire) == 0);
        if is_blank {
            drop(words);
            disk::remove(path)?;
            return Self::create(path);
        }
        let word = |at: usize| (at < words.len()).then(|| words.at(at).load(Acquire));
        let totals = totals(word);
        if totals.iter().all(Option::is_some) {
            return Ok(Self { words });
        }
        disk::rename(path, aside)?;
        tracing::error!(path = %aside.display(), "the totals of lost clicks are damaged and were set aside");
        let losses = Self::create(path)?;
        for (loss, total) in Loss::ALL.into_iter().zip(totals) {
            losses.add(loss, total.unwrap_or_default());
        }
        Ok(losses)
    }

    fn create(path: &Path) -> io::Result<Self> {
        let words = Words::create(path, LEN)?;
        for at in FIRST..FIRST + Loss::ALL.len() {
            words.at(at).store(pack(at, 0), Release);
        }
        words.at(1).store(FORMAT, Release);
        words.at(0).store(MAGIC, Release);
        Ok(Self { words })
    }

    /// The totals in the bytes of a file that others may have open.
    pub(super) fn totals_of(bytes: &[u8]) -> [Option<u64>; Loss::ALL.len()] {
        if bytes.iter().all(|&byte| byte == 0) {
            return [Some(0); Loss::ALL.len()];
        }
        let (words, _) = bytes.as_chunks::<8>();
        totals(|at| words.get(at).map(|word| u64::from_le_bytes(*word)))
    }

    /// Adds to a total. When this returns, the addition survives the process.
    pub(crate) fn add(&self, loss: Loss, n: u64) {
        if n == 0 {
            return;
        }
        let at = FIRST + loss as usize;
        // It always gives a new word; a word that was damaged since the start begins again.
        let added = self.words.at(at).fetch_update(AcqRel, Acquire, |word| {
            let total = unpack(at, word).unwrap_or_default();
            Some(pack(at, total.saturating_add(n).min(TOTAL_MAX)))
        });
        debug_assert!(added.is_ok());
    }

    pub(crate) fn get(&self, loss: Loss) -> u64 {
        let at = FIRST + loss as usize;
        unpack(at, self.words.at(at).load(Acquire)).unwrap_or_default()
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.words.sync()
    }
}

/// Each total that can be read; none of a file that is something else.
fn totals(word: impl Fn(usize) -> Option<u64>) -> [Option<u64>; Loss::ALL.len()] {
    let is_known = word(0) == Some(MAGIC) && word(1) == Some(FORMAT);
    Loss::ALL.map(|loss| {
        let at = FIRST + loss as usize;
        word(at).filter(|_| is_known).and_then(|word| unpack(at, word))
    })
}

fn pack(at: usize, total: u64) -> u64 {
    let bytes = total.to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..5]), &at.to_le_bytes());
    total | u64::from(crc & 0xff_ffff) << TOTAL_BITS
}

fn unpack(at: usize, word: u64) -> Option<u64> {
    let total = word & TOTAL_MAX;
    (pack(at, total) == word).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_survive_and_a_flipped_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("losses"), dir.path().join("aside"));
        let losses = Losses::open(&path, &aside).unwrap();
        for (n, loss) in (1..).zip(Loss::ALL) {
            losses.add(loss, n);
            losses.add(loss, 100);
        }
        drop(losses);
        let totals = |losses: &Losses| Loss::ALL.map(|loss| losses.get(loss));
        assert_eq!(totals(&Losses::open(&path, &aside).unwrap()), [101, 102, 103, 104, 105, 106]);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[..16], *b"CAROMLOS\x01\0\0\0\0\0\0\0");
        for at in (0..16).chain(64..112) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            let losses = Losses::open(&path, &aside).unwrap();
            let lost = totals(&losses).into_iter().filter(|&total| total == 0).count();
            assert_eq!(lost, if at < 16 { 6 } else { 1 }, "byte {at}");
            assert_eq!(std::fs::read(&aside).unwrap(), damaged);
        }
        for empty in [0, 4096] {
            std::fs::write(&path, vec![0; empty]).unwrap();
            assert_eq!(totals(&Losses::open(&path, &aside).unwrap()), [0; 6]);
        }
    }
}
