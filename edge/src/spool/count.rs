//! Clicks of which only the number is kept: what is left of detail when there is no room for it.
//!
//! A [`CountKey`] says which clicks are counted as one row: those of a link, a quarter of an hour
//! and a few small properties. The outbox is compacted to such rows, and when a ring is full a
//! [`Table`] in a mapped file counts by them.
//!
//! # Table file, format 1: 64-bit words (little endian)
//!
//! ```text
//!   0       "CAROMCNT"
//!   1       format = 1 in the low half, the worker above it
//!   2       epoch: random name of this life of the table
//!   3       CRC-32C of words 0..3, begun from the file's length in words
//!   4       drained: 0, or 1 once all that is in it is in a synced batch
//! 512 ...   slots of 8 words:
//!           0  how often: the number in the low half, its complement in the high half; 0: empty.
//!              Written last: it commits the slot
//!           1  link   2  workspace   3  domain
//!           4  quarter of an hour since 1970, 32 bits; kind, 8; via, 8; status, 16
//!           5  target revision, 32 bits; variant, 16
//!           6  CRC-32C of words 1..6, begun from the low half of the epoch
//!           7  zero
//! ```
//!
//! A slot is one cache line and one disk sector at most, so it is torn by nothing. A table has one
//! user at a time: the recorder, under the lock of its ring, and after an exchange the drainer.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use carom_shared::batch::{ROWS_MAX, Range};
use carom_shared::click::{Channel, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, DomainId, LinkId, RawClick, WorkspaceId};

use super::map::Words;

/// Seconds of the time that rows are counted by.
const QUARTER_S: u32 = 900;
const MAGIC: u64 = u64::from_le_bytes(*b"CAROMCNT");
const FORMAT: u64 = 1;
const DRAINED: usize = 4;
/// Words before the first slot: one page.
const HEADER_WORDS: usize = 512;
const SLOT_WORDS: usize = 8;
/// Slots that are looked at for a key before the table counts as full.
const PROBES_MAX: usize = 64;
/// Slots of a table, at most: as many rows as one batch may have.
const SLOTS_MAX: usize = ROWS_MAX;
/// Bytes of a table's slots, at most.
pub(super) const BYTES_MAX: u64 = (SLOTS_MAX * SLOT_WORDS * 8) as u64;
const SLOTS_MIN: usize = 64;

/// What clicks that are counted together have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CountKey {
    link: LinkId,
    workspace: WorkspaceId,
    domain: DomainId,
    quarter: u32,
    kind: Kind,
    via: Via,
    status: u16,
    target_revision: u32,
    variant: u16,
}

impl CountKey {
    pub(crate) const fn of(click: &Click<'_>) -> Self {
        Self {
            link: click.link,
            workspace: click.workspace,
            domain: click.domain,
            quarter: click.at_s / QUARTER_S,
            kind: click.kind,
            via: click.via,
            status: click.status,
            target_revision: click.target_revision,
            variant: click.variant,
        }
    }

    /// Of a click as it was seen, by a thread that has no time to find out more. Programs are told
    /// from people by three words, which most of them say; the others count as people.
    pub(crate) fn at_a_glance(click: &RawClick<'_>) -> Self {
        let says = |word: &[u8]| {
            click.user_agent.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
        };
        let kind = match (click.head, click.prefetch) {
            (true, _) => Kind::Head,
            (false, true) => Kind::Prefetch,
            _ if says(b"bot") || says(b"crawl") || says(b"spider") => Kind::Bot,
            _ => Kind::Human,
        };
        let at_s = u32::try_from(click.at_ms.div_euclid(1000).max(0)).unwrap_or(u32::MAX);
        Self {
            link: click.link,
            workspace: click.workspace,
            domain: click.domain,
            quarter: at_s / QUARTER_S,
            kind,
            via: click.via,
            status: click.status,
            target_revision: click.target_revision,
            variant: click.variant,
        }
    }

    /// The row of `n` such clicks; when within the quarter, who and whence is not known any more.
    pub(crate) fn row(&self, n: u32) -> Click<'static> {
        Click {
            workspace: self.workspace,
            link: self.link,
            domain: self.domain,
            at_s: self.quarter.saturating_mul(QUARTER_S),
            n,
            kind: self.kind,
            via: self.via,
            variant: self.variant,
            status: self.status,
            target_revision: self.target_revision,
            visitor: 0,
            privacy: Privacy::default(),
            channel: Channel::Direct,
            device: Device::Unknown,
            details: Details::default(),
        }
    }

    fn words(&self) -> [u64; 5] {
        [
            self.link.get().cast_unsigned(),
            self.workspace.get().cast_unsigned(),
            self.domain.get().cast_unsigned(),
            u64::from(self.quarter)
                | (self.kind as u64) << 32
                | (self.via as u64) << 40
                | u64::from(self.status) << 48,
            u64::from(self.target_revision) | u64::from(self.variant) << 32,
        ]
    }

    #[expect(clippy::cast_possible_truncation, reason = "parts of a word are taken out of it")]
    fn from_words(words: [u64; 5]) -> Option<Self> {
        let [link, workspace, domain, small, target] = words;
        let key = Self {
            link: LinkId::try_from(link.cast_signed()).ok()?,
            workspace: WorkspaceId::try_from(workspace.cast_signed()).ok()?,
            domain: DomainId::try_from(domain.cast_signed()).ok()?,
            quarter: small as u32,
            kind: Kind::from_u8((small >> 32) as u8)?,
            via: Via::from_u8((small >> 40) as u8)?,
            status: (small >> 48) as u16,
            target_revision: target as u32,
            variant: (target >> 32) as u16,
        };
        (key.words() == words).then_some(key)
    }
}

/// The table has no slot for the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

/// A table that counts clicks by their keys; what was counted survives the process.
#[derive(Debug)]
pub(super) struct Table {
    words: Arc<Words>,
    worker: u16,
    epoch: u64,
    used: usize,
    hash: RandomState,
}

/// How many words a table of so many bytes has.
fn words_of(bytes: u64) -> usize {
    let slots = usize::try_from(bytes).unwrap_or(usize::MAX) / (8 * SLOT_WORDS);
    HEADER_WORDS + slots.clamp(SLOTS_MIN, SLOTS_MAX) * SLOT_WORDS
}

/// Bytes of the file of a table that is asked for with so many.
pub(super) fn file_bytes(bytes: u64) -> u64 {
    words_of(bytes) as u64 * 8
}

impl Table {
    pub(super) fn create(path: &Path, worker: u16, bytes: u64, epoch: u64) -> io::Result<Self> {
        let words = Arc::new(Words::create(path, words_of(bytes))?);
        let mut table = Self { words, worker, epoch, used: 0, hash: RandomState::new() };
        table.begin(epoch);
        Ok(table)
    }

    /// Begins a life of a table whose slots are empty. The header comes last.
    fn begin(&mut self, epoch: u64) {
        self.words.at(3).store(0, Release);
        self.words.at(DRAINED).store(0, Release);
        for (at, word) in header(self.worker, epoch, self.words.len()).into_iter().enumerate() {
            self.words.at(at).store(word, Release);
        }
        (self.epoch, self.used) = (epoch, 0);
    }

    /// Counts one click. When this returns `Ok`, the click survives this process.
    pub(super) fn add(&mut self, key: &CountKey) -> Result<(), TableFull> {
        let slots = (self.words.len() - HEADER_WORDS) / SLOT_WORDS;
        let words = key.words();
        #[expect(clippy::cast_possible_truncation, reason = "a hash, cut to the slots there are")]
        let first = self.hash.hash_one(words) as usize % slots;
        for probe in 0..PROBES_MAX.min(slots) {
            let slot = HEADER_WORDS + (first + probe) % slots * SLOT_WORDS;
            let n = self.words.at(slot).load(Relaxed);
            if n == 0 {
                for (at, word) in words.into_iter().enumerate() {
                    self.words.at(slot + 1 + at).store(word, Relaxed);
                }
                self.words.at(slot + 6).store(slot_crc(self.epoch, words), Relaxed);
                self.words.at(slot).store(number_word(1), Release);
                self.used += 1;
                return Ok(());
            }
            let is_same =
                (0..words.len()).all(|at| self.words.at(slot + 1 + at).load(Relaxed) == words[at]);
            if is_same && let Some(n) = number(n).and_then(|n| n.checked_add(1)) {
                self.words.at(slot).store(number_word(n), Release);
                return Ok(());
            }
        }
        Err(TableFull)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The rows, and how many slots make no sense.
    pub(super) fn rows(&self, row: impl FnMut(Click<'static>)) -> usize {
        rows(&self.words, self.epoch, row)
    }

    /// What a batch says that holds the table.
    pub(super) const fn range(&self) -> Range {
        range(self.epoch)
    }

    /// Notes durably that all that is in it is in a synced batch.
    pub(super) fn mark_drained(&self) -> io::Result<()> {
        self.words.at(DRAINED).store(1, Release);
        self.words.sync()
    }

    /// Empties a drained table and begins another life. The slots come first: under the old header
    /// they are drained, under the new one they do not validate.
    pub(super) fn recycle(&mut self, epoch: u64) {
        for at in HEADER_WORDS..self.words.len() {
            self.words.at(at).store(0, Release);
        }
        self.begin(epoch);
    }

    /// The words, to be synced while others count.
    pub(super) fn words(&self) -> Arc<Words> {
        Arc::clone(&self.words)
    }
}

/// What a start finds in a table's file.
pub(super) enum Left {
    /// Nothing was counted, or all of it is drained.
    Nothing,
    /// The rows have this epoch.
    Rows { words: Words, epoch: u64 },
    /// It is no table.
    Damaged,
}

/// Looks at the file of a table that was left behind.
pub(super) fn open(path: &Path) -> io::Result<Left> {
    let len = std::fs::metadata(path)?.len();
    let whole = (HEADER_WORDS + SLOTS_MIN * SLOT_WORDS) as u64 * 8;
    if len < whole || !len.is_multiple_of(8) {
        // Made, and not yet allocated: nothing was ever counted in it.
        let is_blank = std::fs::read(path)?.iter().all(|&byte| byte == 0);
        return Ok(if is_blank { Left::Nothing } else { Left::Damaged });
    }
    let words = Words::open(path)?;
    let word = |at: usize| words.at(at).load(Acquire);
    if (HEADER_WORDS..words.len()).all(|at| word(at) == 0) {
        return Ok(Left::Nothing);
    }
    let [epoch, worker] = [word(2), word(1) >> 32];
    let is_whole = u16::try_from(worker).is_ok_and(|worker| {
        header(worker, epoch, words.len()) == [word(0), word(1), word(2), word(3)]
    });
    Ok(match word(DRAINED) {
        0 if is_whole => Left::Rows { words, epoch },
        1 if is_whole => Left::Nothing,
        _ => Left::Damaged,
    })
}

/// The rows of a table, and how many slots make no sense.
pub(super) fn rows(words: &Words, epoch: u64, mut row: impl FnMut(Click<'static>)) -> usize {
    let mut damaged = 0;
    for slot in (HEADER_WORDS..words.len()).step_by(SLOT_WORDS) {
        let count = words.at(slot).load(Acquire);
        if count == 0 {
            continue;
        }
        let key = std::array::from_fn(|at| words.at(slot + 1 + at).load(Relaxed));
        let is_whole = words.at(slot + 6).load(Relaxed) == slot_crc(epoch, key);
        match (number(count), CountKey::from_words(key)) {
            (Some(n), Some(key)) if is_whole => row(key.row(n)),
            _ => damaged += 1,
        }
    }
    damaged
}

/// What a batch says that holds a table of this epoch.
pub(super) const fn range(epoch: u64) -> Range {
    Range { epoch, from: 0, to: u32::MAX }
}

fn header(worker: u16, epoch: u64, len: usize) -> [u64; 4] {
    let words = [MAGIC, FORMAT | u64::from(worker) << 32, epoch];
    let crc = words.iter().fold(
        #[expect(clippy::cast_possible_truncation, reason = "files are smaller than 4 Gi words")]
        (len as u32),
        |crc, word| crc32c::crc32c_append(crc, &word.to_le_bytes()),
    );
    [words[0], words[1], words[2], u64::from(crc)]
}

fn slot_crc(epoch: u64, words: [u64; 5]) -> u64 {
    let [a, b, c, d, ..] = epoch.to_le_bytes();
    let begin = u32::from_le_bytes([a, b, c, d]);
    let append = |crc, word: &u64| crc32c::crc32c_append(crc, &word.to_le_bytes());
    u64::from(words.iter().fold(begin, append))
}

const fn number_word(n: u32) -> u64 {
    n as u64 | (!n as u64) << 32
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
fn number(word: u64) -> Option<u32> {
    let n = word as u32;
    (number_word(n) == word).then_some(n)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key(link: i64) -> CountKey {
        CountKey {
            link: LinkId::try_from(link).unwrap(),
            workspace: WorkspaceId::try_from(5).unwrap(),
            domain: DomainId::try_from(3).unwrap(),
            quarter: 0x0012_0304,
            kind: Kind::Bot,
            via: Via::Qr,
            status: 0x012e,
            target_revision: 0x0506_0708,
            variant: 9,
        }
    }

    #[test]
    fn golden_words_of_format_1() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.cnt");
        let mut table = Table::create(&path, 3, 0, 0x1122_3344_5566_7788).unwrap();
        table.add(&key(2)).unwrap();
        table.add(&key(2)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[..24], *b"CAROMCNT\x01\0\0\0\x03\0\0\0\x88\x77\x66\x55\x44\x33\x22\x11");
        let slot = bytes[4096..].chunks(64).find(|slot| slot[0] != 0).unwrap();
        assert_eq!(slot[..40], *b"\x02\0\0\0\xfd\xff\xff\xff\x02\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\x03\x12\0\x01\x01\x2e\x01");
        assert_eq!(slot[40..48], *b"\x08\x07\x06\x05\x09\0\0\0");
    }

    #[test]
    fn keys_survive_their_rows() {
        let row = key(2).row(7);
        assert_eq!((row.at_s, row.n), (0x0012_0304 * 900, 7));
        assert_eq!(CountKey::of(&row), key(2));
        assert_eq!(CountKey::from_words(key(2).words()), Some(key(2)));
    }

    #[test]
    fn a_table_counts_until_it_is_full_and_begins_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.cnt");
        let mut table = Table::create(&path, 0, 64 * 1024, 1).unwrap();
        let mut expected = BTreeMap::new();
        let full = (1..).find(|&link| {
            for _ in 0..link % 4 + 1 {
                if table.add(&key(link)).is_err() {
                    return true;
                }
                *expected.entry(key(link)).or_default() += 1;
            }
            false
        });
        assert!(full.unwrap() > 600, "it is well filled: {full:?}");
        let found = |epoch| {
            let mut found = BTreeMap::new();
            match open(&path).unwrap() {
                Left::Rows { words, epoch: of } => {
                    assert_eq!(of, epoch);
                    let add = |click: Click<'_>| {
                        found.insert(CountKey::of(&click), click.n);
                    };
                    assert_eq!(rows(&words, epoch, add), 0);
                }
                Left::Nothing => {}
                Left::Damaged => panic!("damaged"),
            }
            found
        };
        assert_eq!(found(1), expected);
        table.mark_drained().unwrap();
        assert_eq!(found(1), BTreeMap::new());
        table.recycle(2);
        assert_eq!(found(2), BTreeMap::new());
        assert!(table.is_empty());
        table.add(&key(1)).unwrap();
        assert_eq!(found(2), [(key(1), 1)].into());
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.cnt");
        let mut table = Table::create(&path, 0, 0, 1).unwrap();
        for link in 1..=3 {
            table.add(&key(link)).unwrap();
        }
        drop(table);
        let bytes = std::fs::read(&path).unwrap();
        let used = (0..bytes.len()).filter(|at| at % 64 < 56 && (*at < 32 || *at >= 4096));
        for at in used.chain(32..40) {
            let slot = at / 64 * 64;
            if at >= 4096 && bytes[slot..slot + 64].iter().all(|&byte| byte == 0) {
                continue;
            }
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&path, damaged).unwrap();
            match open(&path).unwrap() {
                Left::Damaged => assert!(at < 4096, "byte {at}"),
                Left::Rows { words, epoch } => {
                    let mut links = Vec::new();
                    assert_eq!(rows(&words, epoch, |row| links.push(row.link)), 1, "byte {at}");
                    assert_eq!(links.len(), 2, "its neighbours are there: byte {at}");
                }
                Left::Nothing => panic!("byte {at} hides the table"),
            }
        }
    }
}
