//! The ring against a model: whatever is done with it, and whenever it is crashed.
//!
//! A killed process leaves all pages. A machine without power leaves what was synced, and of the
//! other pages any, in the state of any sync or of now. The model knows what was recorded, what
//! was synced and what is in a batch.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::super::disk::fault;
use super::super::map::Reach;
use super::super::segment::{Boot, Header, SEALED_AT};
use super::super::sync::RingSync;
use super::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    Record(u16),
    /// As with `always`.
    SyncEnd,
    /// As with `interval`.
    SyncBehind,
    /// Reads and puts a batch, without noting it.
    Put,
    /// The same, noted.
    Drain,
    /// The store takes all batches that are noted.
    Ship,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..300_u16).prop_map(Op::Record),
        1 => (300..6000_u16).prop_map(Op::Record),
        2 => Just(Op::SyncEnd),
        3 => Just(Op::SyncBehind),
        1 => Just(Op::Put),
        3 => Just(Op::Drain),
        1 => Just(Op::Ship),
    ]
}

struct Model {
    rig: Rig,
    syncer: RingSync,
    recorded: i64,
    /// Clicks that the power failing must not cost.
    synced: i64,
    /// Clicks that were recorded before the last look of an interval.
    looked: i64,
    stored: BTreeMap<i64, u32>,
    /// A batch that was put and not noted.
    pending: bool,
}

impl Model {
    fn new() -> Self {
        let rig = Rig::of(RingSize { bytes: 0, count_bytes: 0 });
        let syncer = rig.ring.sync();
        Self {
            rig,
            syncer,
            recorded: 0,
            synced: 0,
            looked: 0,
            stored: BTreeMap::new(),
            pending: false,
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Record(n) => {
                for _ in 0..n {
                    if self.rig.recorder.record(&click(self.recorded + 1)).is_err() {
                        break;
                    }
                    self.recorded += 1;
                }
            }
            Op::SyncEnd => {
                assert!(self.syncer.sync(Reach::End).is_empty());
                (self.synced, self.looked) = (self.recorded, self.recorded);
            }
            Op::SyncBehind => {
                assert!(self.syncer.sync(Reach::Behind).is_empty());
                // What the last look saw is on the disk now.
                self.synced = self.synced.max(self.looked);
                self.looked = self.recorded;
            }
            Op::Put => self.put(),
            Op::Drain => {
                self.put();
                self.rig.ring.mark_drained().unwrap();
                self.pending = false;
            }
            Op::Ship if !self.pending => {
                for listed in self.rig.outbox.list().unwrap() {
                    let bytes = self.rig.outbox.read(&listed.token).unwrap();
                    for click in Batch::from_bytes(&bytes).unwrap().clicks() {
                        *self.stored.entry(click.link.get()).or_default() += 1;
                    }
                    self.rig.outbox.remove(&listed.token).unwrap();
                }
            }
            Op::Ship => {}
        }
    }

    fn put(&mut self) {
        if self.pending {
            return;
        }
        let mut builder = self.rig.read();
        if !builder.is_empty() {
            self.rig.put(&mut builder);
            self.pending = true;
            self.synced = self.recorded;
        }
    }

    /// What is found in an image, with what is stored already.
    fn found(&self, dir: &Path) -> (Recovered, BTreeMap<i64, u32>) {
        let (recovered, mut links) = recover_in(dir);
        for (link, clicks) in &self.stored {
            *links.entry(*link).or_default() += clicks;
        }
        (recovered, links)
    }

    /// All pages survive, and of the record that was being written any of its bytes but its length.
    fn killed(&self, random: &SeededRandom) {
        let dir = folder();
        copy(self.rig.dir.path(), dir.path());
        let torn = tear(&dir.path().join("ring"), random);
        let (recovered, links) = self.found(dir.path());
        assert_eq!((recovered.quarantined, recovered.lost, recovered.torn), (0, 0, torn));
        assert_eq!(links, once(1..self.recorded + 1));
    }

    fn powerless(&self, shadow: &BTreeMap<std::path::PathBuf, Vec<u8>>, random: &SeededRandom) {
        let dir = folder();
        copy(self.rig.dir.path(), dir.path());
        for entry in std::fs::read_dir(self.rig.dir.path().join("ring")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().unwrap() != "seg" {
                continue;
            }
            let image = image(&std::fs::read(&path).unwrap(), shadow.get(&path), random);
            std::fs::write(dir.path().join("ring").join(path.file_name().unwrap()), image).unwrap();
        }
        let (recovered, links) = self.found(dir.path());
        assert!(links.values().all(|&clicks| clicks == 1), "doubled");
        let found: BTreeSet<_> = links.into_keys().collect();
        assert!(found.iter().all(|&link| link <= self.recorded), "invented");
        assert!((1..=self.synced).all(|link| found.contains(&link)), "lost though synced");
        let missing = (1..=self.recorded).filter(|link| !found.contains(link));
        let missing: Vec<_> = missing.collect();
        assert!(recovered.lost <= missing.len() as u64, "more is missed than is missing");
        if !self.pending {
            // Whatever has another behind it in its segment left a gap.
            let each = records_in_a_segment();
            let segment = |link: i64| (link - 1) / each;
            let is_gap = |&&link: &&i64| {
                found.range(link..).next().is_some_and(|&next| segment(next) == segment(link))
            };
            let gaps = missing.iter().filter(is_gap).count();
            assert!(recovered.lost >= gaps as u64, "{} of {gaps} gaps", recovered.lost);
        }
    }
}

fn records_in_a_segment() -> i64 {
    let record = padded(FRAME_LEN + click(1).encoded_len());
    i64::try_from((SEGMENT_LEN - HEADER_LEN) / record).unwrap()
}

/// Begins a record behind the last one of the segment that is written to, and breaks off; returns
/// how many were torn so.
fn tear(ring: &Path, random: &SeededRandom) -> u64 {
    use carom_shared::Random;
    let mut torn = 0;
    for entry in std::fs::read_dir(ring).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let is_segment = path.extension().unwrap() == "seg";
        if !is_segment || bytes[SEALED_AT..SEALED_AT + 8] != [0; 8] {
            continue;
        }
        let mut end = HEADER_LEN;
        while let Some(word) = bytes.get(end..).and_then(<[u8]>::first_chunk::<4>)
            && *word != [0; 4]
        {
            end += padded(u32::from_le_bytes(*word) as usize);
        }
        let len = FRAME_LEN + click(1).encoded_len();
        // A spare has no records, and a full one no room.
        if end == HEADER_LEN || end + len > bytes.len() {
            continue;
        }
        let mut written = [0; 2];
        random.fill(&mut written);
        let written = 1 + usize::from(u16::from_le_bytes(written)) % (len - 4);
        random.fill(&mut bytes[end + 4..end + 4 + written]);
        bytes[end + 4] |= 1;
        std::fs::write(&path, bytes).unwrap();
        torn += 1;
    }
    torn
}

/// Each page as it was synced last, or as it is now; of a machine that was started since.
fn image(now: &[u8], synced: Option<&Vec<u8>>, random: &SeededRandom) -> Vec<u8> {
    use carom_shared::Random;
    let mut image = vec![0; now.len()];
    if let Some(synced) = synced {
        image.copy_from_slice(synced);
    }
    let mut survives = vec![0; now.len() / 4096];
    random.fill(&mut survives);
    for (page, survives) in survives.into_iter().enumerate() {
        if survives % 2 == 0 {
            let page = page * 4096..page * 4096 + 4096;
            image[page.clone()].copy_from_slice(&now[page]);
        }
    }
    if let Some(header) = Header::from_bytes(&image) {
        let header = Header { boot: Boot::default(), ..header }.to_bytes();
        image[..header.len()].copy_from_slice(&header);
    }
    image
}

proptest! {
    #![proptest_config(ProptestConfig {
        // Each is a ring and two starts on disk. PROPTEST_CASES raises it.
        cases: ProptestConfig::default().cases / 5,
        ..ProptestConfig::default()
    })]
    #[test]
    fn a_crash_at_any_moment_costs_what_it_may(
        ops in proptest::collection::vec(op(), 1..24),
        seed: u64,
    ) {
        let random = SeededRandom::new(seed);
        fault::shadow(true);
        let mut model = Model::new();
        for &op in &ops {
            model.run(op);
        }
        model.killed(&random);
        model.powerless(&fault::shadow(false), &random);
    }
}

#[test]
fn a_shadow_is_what_was_synced() {
    fault::shadow(true);
    let mut rig = Rig::of(RingSize { bytes: 0, count_bytes: 0 });
    rig.record(1..101);
    assert_eq!(rig.read().len(), 100);
    let shadow = fault::shadow(false);
    let path = rig.dir.path().join("ring/000-00000.seg");
    let now = std::fs::File::open(&path).unwrap();
    let mut header = vec![0; HEADER_LEN];
    now.read_exact_at(&mut header, 0).unwrap();
    assert_eq!(shadow[&path][..HEADER_LEN], header);
    assert!(shadow[&path][HEADER_LEN..].iter().all(|&byte| byte == 0));
}
