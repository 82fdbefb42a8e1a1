//! Calls to the file system that fail, one after the other, and a process that dies at each of
//! them.

use rustix::io::Errno;

use super::super::compact::Compactor;
use super::super::disk::fault;
use super::super::map::Reach;
use super::super::segment::{Header, Place};
use super::super::sync::Durability;
use super::*;

/// What a drainer does, each step as often as it takes, at most so often.
const TRIES: usize = 3;

fn again<T>(mut act: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    for _ in 1..TRIES {
        if let Ok(done) = act() {
            return Ok(done);
        }
    }
    act()
}

/// Records, drains and hands over three times, with a compaction at the end; stops at what fails
/// for good.
fn live(rig: &mut Rig, enricher: &mut Enricher, losses: &Losses) -> std::io::Result<()> {
    let clock = TestClock::default();
    let mut syncer = rig.ring.sync();
    let mut compactor = Compactor::default();
    for round in 0..3 {
        rig.record(round * 100 + 1..round * 100 + 101);
        rig.recorder.count(&click(1000 + round)).unwrap();
        drop(syncer.sync(Reach::End));
        let mut builder = BatchBuilder::new();
        rig.ring.read(usize::MAX, |payload| {
            builder.push(&enricher.enrich(&RawClick::decode(payload).unwrap()));
        });
        let ranges: Vec<_> = rig.ring.ranges().collect();
        let batch = builder.finish(UnixMillis::new(0), &ranges);
        let token = rig.outbox.name(&batch);
        again(|| rig.outbox.put(&token, &batch))?;
        again(|| rig.ring.mark_drained())?;
        let bytes = batch.bytes.len() as u64;
        rig.outbox.hand_over(Waiting { token, bytes, is_compact: false });

        assert!(rig.ring.take_counts());
        let (_, range) = rig.ring.counts(|row| builder.push(&row));
        let batch = builder.finish(UnixMillis::new(0), &[range.unwrap()]);
        let token = rig.outbox.name(&batch);
        again(|| rig.outbox.put(&token, &batch))?;
        again(|| rig.ring.mark_counts_drained())?;
        let bytes = batch.bytes.len() as u64;
        rig.outbox.hand_over(Waiting { token, bytes, is_compact: true });
    }
    rig.outbox.set_quota(1);
    again(|| compactor.relieve(&rig.outbox, &clock, losses))
}

fn expected() -> BTreeMap<i64, u32> {
    let mut expected = once(1..301);
    expected.extend(once(1000..1003));
    expected
}

fn small() -> Rig {
    Rig::of(RingSize { bytes: 0, count_bytes: 0 })
}

#[test]
fn whichever_call_fails_nothing_is_lost_or_doubled() {
    let mut enricher = Enricher::default();
    for errno in [Errno::IO, Errno::NOSPC, Errno::INTR] {
        let mut seen = std::collections::BTreeSet::new();
        for n in 0.. {
            let mut rig = small();
            let losses = rig._spool.losses().unwrap();
            let (lived, failed) = fault::nth(n, errno, || live(&mut rig, &mut enricher, &losses));
            lived.unwrap_or_else(|error| panic!("call {n}, {failed:?}: {error}"));
            assert_eq!(links_in(&rig.outbox), expected(), "call {n}, {failed:?}");
            assert_eq!(rig.outbox.len(), rig.outbox.list().unwrap().len());
            assert_eq!(losses.get(Loss::Compacted), 300, "call {n}, {failed:?}");
            // A retired segment has another in its place.
            rig.record(2000..2100);
            assert_eq!(rig.read().len(), 100);
            let Some(failed) = failed.first() else { break };
            seen.insert(*failed);
        }
        let all = ["create", "fdatasync", "fsync", "msync", "read", "rename", "unlink", "write"];
        assert!(all.iter().all(|call| seen.contains(call)), "{seen:?}");
    }
}

#[test]
fn killed_at_any_call_each_click_is_in_one_batch() {
    let mut enricher = Enricher::default();
    for n in 0.. {
        let mut rig = small();
        let losses = rig._spool.losses().unwrap();
        let (_, failed) = fault::dies_at(n, || live(&mut rig, &mut enricher, &losses));
        // How far it came is what was recorded.
        let (_, links) = killed_now(&rig);
        let whole = expected();
        assert!(links.iter().all(|(link, &clicks)| whole[link] == 1 && clicks == 1), "call {n}");
        let rounds = links.len() / 101;
        let mut reached = once(1..i64::try_from(rounds).unwrap() * 100 + 1);
        reached.extend(once(1000..1000 + i64::try_from(rounds).unwrap()));
        assert_eq!(links, reached, "call {n}, {:?}", failed.first());
        if failed.is_empty() {
            assert_eq!(rounds, 3);
            break;
        }
    }
}

/// The start itself dies, at each of its calls, and the one after that as well.
#[test]
fn killed_at_any_call_of_a_start_the_next_one_goes_on() {
    let mut rig = small();
    let losses = rig._spool.losses().unwrap();
    let mut enricher = Enricher::default();
    // Batches that wait, a compaction half done, a segment and a table that are not drained.
    for n in 0.. {
        let (_, failed) = fault::dies_at(n, || live(&mut rig, &mut enricher, &losses));
        let replaced = rig.outbox.list().unwrap().len();
        if failed.first() == Some(&"unlink") && replaced > 3 {
            break;
        }
        rig = small();
        assert!(!failed.is_empty(), "the compaction was never caught half done");
    }
    rig.record(301..401);
    rig.recorder.count(&click(1003)).unwrap();
    let mut expected = expected();
    expected.extend(once(301..401));
    expected.insert(1003, 1);
    let mut clean = false;
    for n in 0.. {
        let dir = folder();
        copy(rig.dir.path(), dir.path());
        for again in [n, n / 2] {
            let (_, failed) = fault::dies_at(again, || {
                Spool::open(dir.path(), &SeededRandom::new(3)).and_then(|spool| recover(&spool))
            });
            clean = failed.is_empty();
        }
        let (_, links) = recover_in(dir.path());
        assert_eq!(links, expected, "call {n}");
        if clean {
            break;
        }
    }
    assert!(clean);
}

#[test]
fn whichever_call_fails_a_start_says_so_and_the_next_one_goes_on() {
    let mut rig = small();
    rig.record(1..101);
    rig.recorder.count(&click(1000)).unwrap();
    let mut expected = once(1..101);
    expected.insert(1000, 1);
    for errno in [Errno::IO, Errno::NOSPC, Errno::INTR] {
        for n in 0.. {
            let dir = folder();
            copy(rig.dir.path(), dir.path());
            let (started, failed) = fault::nth(n, errno, || {
                Spool::open(dir.path(), &SeededRandom::new(3)).and_then(|spool| recover(&spool))
            });
            assert!(started.is_ok() || !failed.is_empty());
            drop(started);
            assert_eq!(recover_in(dir.path()).1, expected, "call {n}, {failed:?}, {errno}");
            if failed.is_empty() {
                break;
            }
        }
    }
}

#[test]
fn a_ring_that_cannot_be_made_is_an_error_and_leaves_nothing_in_the_way() {
    let mut seen = std::collections::BTreeSet::new();
    for n in 0.. {
        let dir = folder();
        let spool = Spool::open(dir.path(), &SeededRandom::new(1)).unwrap();
        let size = RingSize { bytes: 0, count_bytes: 0 };
        let make =
            || RingReader::create(&spool.ring_dir(), 0, size, Arc::new(SeededRandom::new(1)));
        let (made, failed) = fault::nth(n, Errno::NOSPC, make);
        assert_eq!(made.is_err(), !failed.is_empty(), "call {n}");
        drop((made, spool));
        assert_eq!(recover_in(dir.path()), (Recovered::default(), BTreeMap::new()));
        seen.extend(failed.iter().copied());
        if failed.is_empty() {
            break;
        }
    }
    assert!(["create", "fallocate", "mmap", "fsync"].iter().all(|call| seen.contains(call)));
}

#[test]
fn the_default_durability_is_the_interval() {
    assert_eq!(super::super::SpoolConfig::default().durability, Durability::Interval);
}

/// The note of a segment whose sync failed is in a file of its own; after a start of the machine
/// the segment may be there as it was before.
#[test]
fn a_note_beside_its_segment_is_believed() {
    let mut rig = small();
    rig.record(1..101);
    let mut builder = rig.read();
    rig.put(&mut builder);
    let (marked, failed) = fault::nth(0, Errno::IO, || rig.ring.mark_drained());
    assert!(marked.is_ok() && failed == ["msync"]);
    let token = rig.outbox.list().unwrap().remove(0).token;
    rig.outbox.remove(&token).unwrap();

    let dir = folder();
    copy(rig.dir.path(), dir.path());
    let ring = dir.path().join("ring");
    let notes = std::fs::read_dir(&ring).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(notes.filter(|path| path.extension().unwrap() == "note").count(), 1);
    let segment = ring.join("000-00000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let header = Header::from_bytes(&bytes).unwrap();
    bytes[48..56].copy_from_slice(&Place::START.word(header.epoch).to_le_bytes());
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(recover_in(dir.path()), (Recovered::default(), BTreeMap::new()));

    // The thread goes on in another file, and the ring is as large as before.
    rig.record(101..201);
    assert_eq!(rig.read().len(), 100);
}
