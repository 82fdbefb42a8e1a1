//! The whole spool on real files: at each step a copy of the folder is what a killed process would
//! have left, and recovering the copy must find each click in exactly one batch.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use carom_shared::batch::{Batch, BatchBuilder};
use carom_shared::click::Via;
use carom_shared::{DomainId, LinkId, RawClick, SeededRandom, TestClock, UnixMillis, WorkspaceId};

use super::losses::{Loss, Losses};
use super::outbox::{Outbox, Waiting};
use super::recover::{Recovered, Recovery};
use super::ring::{Recorder, RingFull, RingReader, RingSize};
use super::segment::{FRAME_LEN, HEADER_LEN, SEGMENT_LEN, padded};
use super::{Spool, SpoolConfig, SpoolError};
use crate::enrich::Enricher;

mod counts;
mod faults;
mod flips;
mod model;

const RING: RingSize = RingSize { bytes: 8 * SEGMENT_LEN as u64, count_bytes: 0 };
/// Of the outbox: no limit.
const QUOTA: u64 = u64::MAX;

struct Rig {
    dir: tempfile::TempDir,
    outbox: Outbox,
    recorder: Recorder,
    ring: RingReader,
    _spool: Spool,
}

impl Rig {
    fn new() -> Self {
        Self::of(RING)
    }

    fn of(size: RingSize) -> Self {
        let dir = folder();
        let random = Arc::new(SeededRandom::new(1));
        let spool = Spool::open(dir.path(), &*random).unwrap();
        let outbox = Outbox::open(&spool, QUOTA).unwrap();
        let (recorder, ring) = RingReader::create(&spool.ring_dir(), 0, size, random).unwrap();
        Self { dir, outbox, recorder, ring, _spool: spool }
    }

    fn record(&mut self, links: std::ops::Range<i64>) {
        for link in links {
            self.recorder.record(&click(link)).unwrap();
        }
    }

    fn read(&mut self) -> BatchBuilder {
        let mut builder = BatchBuilder::new();
        let read = ENRICHER.with_borrow_mut(|enricher| {
            self.ring.read(usize::MAX, |payload| {
                builder.push(&enricher.enrich(&RawClick::decode(payload).unwrap()));
            })
        });
        assert_eq!(read, builder.len());
        builder
    }

    fn put(&self, builder: &mut BatchBuilder) {
        let ranges: Vec<_> = self.ring.ranges().collect();
        let batch = builder.finish(UnixMillis::new(0), &ranges);
        self.outbox.put(&self.outbox.name(&batch), &batch).unwrap();
    }
}

fn click(link: i64) -> RawClick<'static> {
    RawClick {
        at_ms: 1_700_000_000_000,
        link: LinkId::try_from(link).unwrap(),
        workspace: WorkspaceId::try_from(1).unwrap(),
        domain: DomainId::try_from(1).unwrap(),
        address: [203, 0, 113, 77].into(),
        target_revision: 1,
        status: 302,
        variant: 0,
        via: Via::Link,
        head: false,
        prefetch: false,
        do_not_track: false,
        global_privacy_control: false,
        user_agent: b"Mozilla/5.0 (a user agent of the usual length, more or less)",
        referrer: b"https://news.example.com/",
        language: b"en",
        query: b"",
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Recovers a folder; returns what was found, and per link how many clicks are in its batches.
fn recover_in(dir: &Path) -> (Recovered, BTreeMap<i64, u32>) {
    let spool = Spool::open(dir, &SeededRandom::new(2)).unwrap();
    let (outbox, recovered) = recover(&spool).unwrap();
    assert_eq!(std::fs::read_dir(spool.ring_dir()).unwrap().count(), 0, "the ring is left empty");
    let links = links_in(&outbox);
    assert_eq!(outbox.len(), outbox.list().unwrap().len(), "every batch is handed over");
    (recovered, links)
}

fn recover(spool: &Spool) -> Result<(Outbox, Recovered), SpoolError> {
    let outbox = Outbox::open(spool, QUOTA).map_err(SpoolError::io(Path::new("outbox")))?;
    let losses = spool.losses()?;
    let clock = &TestClock::default();
    let recovery = Recovery::new(spool, &outbox, &losses, clock);
    let recovered = ENRICHER.with_borrow_mut(|enricher| recovery.run(enricher))?;
    Ok((outbox, recovered))
}

/// Per link, how many clicks are in the batches of an outbox.
fn links_in(outbox: &Outbox) -> BTreeMap<i64, u32> {
    let mut links = BTreeMap::new();
    for listed in outbox.list().unwrap() {
        let batch = Batch::from_bytes(&outbox.read(&listed.token).unwrap()).unwrap();
        for click in batch.clicks() {
            *links.entry(click.link.get()).or_default() += click.n;
        }
    }
    links
}

thread_local! {
    /// One for each test: making one reads its lists.
    static ENRICHER: RefCell<Enricher> = RefCell::default();
}

fn once(links: std::ops::Range<i64>) -> BTreeMap<i64, u32> {
    links.map(|link| (link, 1)).collect()
}

/// A folder for one test: in memory where there is room, because some tests sync ten thousand times.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory)
        .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) > 1 << 30);
    if has_room { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Recovers a copy of the folder as it is now.
fn killed_now(rig: &Rig) -> (Recovered, BTreeMap<i64, u32>) {
    let dir = folder();
    copy(rig.dir.path(), dir.path());
    let first = recover_in(dir.path());
    assert_eq!(recover_in(dir.path()).1, first.1, "a second start changes nothing");
    first
}

#[test]
fn killed_at_any_step_each_click_is_in_one_batch() {
    // More than a segment holds, so that segments are sealed, drained and used again.
    let n = 20_000;
    let mut rig = Rig::new();
    rig.record(1..n);
    let (recovered, links) = killed_now(&rig);
    assert_eq!((recovered.clicks, links), (19_999, once(1..n)), "recorded");

    let mut builder = rig.read();
    assert_eq!(killed_now(&rig).1, once(1..n), "read");
    rig.put(&mut builder);
    let (recovered, links) = killed_now(&rig);
    assert_eq!((recovered.clicks, recovered.batches), (0, 1), "in a batch");
    assert_eq!(links, once(1..n), "in a batch");

    // Recorded after the batch was cut, into the segment that the batch ends in.
    rig.record(n..n + 100);
    let (recovered, links) = killed_now(&rig);
    assert_eq!((recovered.clicks, links), (100, once(1..n + 100)), "in a batch and recorded");

    rig.ring.mark_drained().unwrap();
    assert_eq!(killed_now(&rig).1, once(1..n + 100), "marked and recycled");

    rig.record(n + 100..2 * n);
    let mut builder = rig.read();
    rig.put(&mut builder);
    rig.ring.mark_drained().unwrap();
    assert_eq!(killed_now(&rig).1, once(1..2 * n), "the second batch");
}

#[test]
fn a_stored_batch_is_not_drained_again() {
    let mut rig = Rig::new();
    rig.record(1..1000);
    let mut builder = rig.read();
    rig.put(&mut builder);
    rig.ring.mark_drained().unwrap();
    let token = rig.outbox.list().unwrap().remove(0).token;
    rig.outbox.remove(&token).unwrap();
    let (recovered, links) = killed_now(&rig);
    assert_eq!((recovered, links), (Recovered::default(), BTreeMap::new()));
}

#[test]
fn a_torn_record_hides_no_other() {
    let mut rig = Rig::new();
    rig.record(1..11);
    let segment = rig.dir.path().join("ring/000-00000.seg");
    let record = padded(FRAME_LEN + click(1).encoded_len());
    for torn in [HEADER_LEN + 3 * record, HEADER_LEN + 9 * record] {
        // The length never came, or a page of it.
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[torn..torn + 4].fill(0);
        bytes[torn + 70] ^= 0xff;
        std::fs::write(&segment, bytes).unwrap();
    }
    let mut expected = once(1..11);
    expected.remove(&4);
    expected.remove(&10);
    assert_eq!(killed_now(&rig).1, expected);
}

#[test]
fn what_cannot_be_read_is_set_aside_and_the_rest_is_recovered() {
    let mut rig = Rig::new();
    rig.record(1..4);
    let mut builder = rig.read();
    rig.put(&mut builder);
    rig.ring.mark_drained().unwrap();
    rig.record(4..7);
    let token = rig.outbox.list().unwrap().remove(0).token;
    std::fs::write(rig.dir.path().join(format!("outbox/{token}.clk")), b"CAROMCLK rubbish")
        .unwrap();
    std::fs::write(rig.dir.path().join("ring/999-00000000.seg"), vec![1; 9000]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(rig.dir.path(), dir.path());
    let (recovered, links) = recover_in(dir.path());
    assert_eq!((recovered.quarantined, links), (2, once(4..7)));
    assert_eq!(std::fs::read_dir(dir.path().join("quarantine")).unwrap().count(), 2);
}

#[test]
fn addresses_are_erased_with_the_segment() {
    let mut rig = Rig::new();
    rig.record(1..20_000);
    let holds_address = |rig: &Rig| {
        let needle = [0xff, 0xff, 203, 0, 113, 77];
        std::fs::read_dir(rig.dir.path().join("ring")).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    };
    assert!(holds_address(&rig));
    let mut builder = rig.read();
    rig.put(&mut builder);
    rig.ring.mark_drained().unwrap();
    assert!(!holds_address(&rig), "also those in the segment that is still written to");
    rig.record(1..100);
    assert!(holds_address(&rig));
    let mut builder = rig.read();
    assert_eq!(builder.len(), 99);
    rig.put(&mut builder);
    rig.ring.mark_drained().unwrap();
    assert!(!holds_address(&rig));
}

#[test]
fn a_full_ring_says_so_and_goes_on_when_there_is_room() {
    let mut rig = Rig::new();
    assert!(!rig.recorder.is_filling());
    let recorded =
        (1..).find(|&link| rig.recorder.record(&click(link)) == Err(RingFull)).unwrap() - 1;
    let capacity = 8 * ((SEGMENT_LEN - HEADER_LEN) / padded(FRAME_LEN + click(1).encoded_len()));
    assert_eq!(recorded, i64::try_from(capacity).unwrap());
    assert_eq!(rig.ring.segments_in_use(), 8);
    assert!(rig.recorder.is_filling());
    let mut builder = rig.read();
    assert_eq!(builder.len(), capacity);
    rig.put(&mut builder);
    rig.ring.mark_drained().unwrap();
    assert!(!rig.recorder.is_filling());
    rig.record(1..100);
    assert_eq!(rig.read().len(), 99);
    assert_eq!(rig.ring.segments_in_use(), 1, "the full ones came back");
}

#[test]
fn a_batch_that_is_put_again_is_one_batch() {
    let mut rig = Rig::new();
    rig.record(1..100);
    let batch = rig.read().finish(UnixMillis::new(0), &[]);
    let token = rig.outbox.name(&batch);
    for _ in 0..2 {
        rig.outbox.put(&token, &batch).unwrap();
    }
    assert_eq!(rig.outbox.list().unwrap().len(), 1);
}

#[test]
fn an_impossible_note_or_an_unknown_record_sets_the_segment_aside() {
    let segment = |rig: &Rig| {
        let mut paths: Vec<_> = std::fs::read_dir(rig.dir.path().join("ring"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| std::fs::read(path).unwrap()[HEADER_LEN] != 0)
            .collect();
        paths.pop().unwrap()
    };
    for note in [0_u64, 64, 4096, 4095, SEGMENT_LEN as u64 + 1, u64::MAX] {
        let mut rig = Rig::new();
        rig.record(1..10);
        let path = segment(&rig);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[48..56].copy_from_slice(&note.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let (recovered, links) = killed_now(&rig);
        assert_eq!((recovered.quarantined, links.len()), (1, 0), "{note}");
    }
}

#[test]
fn limits_that_are_none_are_refused() {
    let base = SpoolConfig::default();
    assert!(base.check().is_ok());
    let most = 64 * carom_shared::batch::ROWS_MAX as u64;
    assert!(SpoolConfig { count_bytes: most, flush_ms: 1, ..base }.check().is_ok());
    for (config, setting) in [
        (SpoolConfig { count_bytes: most + 1, ..base }, "spool.count_bytes"),
        (SpoolConfig { flush_ms: 0, ..base }, "spool.flush_ms"),
        (SpoolConfig { flush_ms: 86_400_000, ..base }, "spool.flush_ms"),
        (SpoolConfig { sync_interval_ms: 1, ..base }, "spool.sync_interval_ms"),
    ] {
        assert!(config.check().unwrap_err().to_string().contains(setting), "{setting}");
    }
}

#[test]
fn a_folder_has_one_name_many_generations_and_one_user() {
    let dir = tempfile::tempdir().unwrap();
    let first = Spool::open(dir.path(), &SeededRandom::new(1)).unwrap();
    assert!(matches!(
        Spool::open(dir.path(), &SeededRandom::new(2)),
        Err(SpoolError::Locked(path)) if path == dir.path()
    ));
    let (id, generation) = (first.id(), first.generation());
    drop(first);
    let second = Spool::open(dir.path(), &SeededRandom::new(3)).unwrap();
    assert_eq!((second.id(), second.generation()), (id, generation + 1));
    drop(second);
    std::fs::write(dir.path().join("identity"), "something else").unwrap();
    let refused = Spool::open(dir.path(), &SeededRandom::new(4));
    assert!(matches!(refused, Err(SpoolError::Identity(_))));
}
