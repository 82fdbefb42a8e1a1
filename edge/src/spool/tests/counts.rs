//! Clicks of which only the number is kept, through the drainer and through a kill.

use rustix::io::Errno;

use super::super::disk::fault;
use super::super::map::Reach;
use super::*;

/// Takes the table as the drainer does; returns its batch's token.
fn put_counts(rig: &mut Rig) -> bool {
    assert!(rig.ring.take_counts());
    let mut builder = BatchBuilder::new();
    let (damaged, range) = rig.ring.counts(|row| builder.push(&row));
    assert_eq!(damaged, 0);
    let batch = builder.finish(UnixMillis::new(0), &[range.unwrap()]);
    rig.outbox.put(&rig.outbox.name(&batch), &batch).unwrap();
    batch.rows > 0
}

fn count(rig: &mut Rig, links: std::ops::Range<i64>) {
    for link in links {
        rig.recorder.count(&click(link)).unwrap();
    }
}

#[test]
fn what_was_counted_is_in_one_batch_however_often_it_is_killed() {
    let mut rig = Rig::new();
    rig.record(1..10);
    count(&mut rig, 1..30);
    count(&mut rig, 1..10);
    let mut expected = once(1..30);
    for link in 1..10 {
        *expected.get_mut(&link).unwrap() = 3;
    }
    let (recovered, links) = killed_now(&rig);
    assert_eq!((recovered.clicks, links), (47, expected.clone()), "counted");

    assert!(put_counts(&mut rig));
    assert_eq!(killed_now(&rig).1, expected, "in a batch and not noted");
    // The other table counts on meanwhile.
    count(&mut rig, 30..40);
    expected.extend(once(30..40));
    assert_eq!(killed_now(&rig).1, expected, "in a batch and in the other table");
    rig.ring.mark_counts_drained().unwrap();
    assert_eq!(killed_now(&rig).1, expected, "noted and begun anew");

    assert!(put_counts(&mut rig));
    rig.ring.mark_counts_drained().unwrap();
    count(&mut rig, 40..50);
    expected.extend(once(40..50));
    assert_eq!(killed_now(&rig).1, expected, "the first table again");
}

/// Their detail was lost, and told as that, when they were counted.
#[test]
fn counts_that_a_start_finds_are_not_compacted() {
    let mut rig = Rig::new();
    rig.record(1..10);
    count(&mut rig, 1..30);
    let dir = folder();
    copy(rig.dir.path(), dir.path());
    let spool = Spool::open(dir.path(), &SeededRandom::new(2)).unwrap();
    let (outbox, recovered) = recover(&spool).unwrap();
    assert_eq!((recovered.clicks, outbox.len()), (38, 2));
    let taken = outbox.take_unsent(9);
    assert_eq!(taken.len(), 1, "only what was recorded");
}

/// Whoever waits for the disk may have been counted just before the drainer took the table.
#[test]
fn a_table_is_synced_also_while_it_is_drained() {
    let mut rig = Rig::new();
    let mut syncer = rig.ring.sync();
    let mut synced = || fault::nth(0, Errno::IO, || syncer.sync(Reach::End).len());
    assert_eq!(synced(), (0, vec![]));
    count(&mut rig, 1..2);
    assert_eq!(synced(), (1, vec!["msync"]), "while it counts");
    assert!(put_counts(&mut rig));
    assert_eq!(synced(), (1, vec!["msync"]), "while it is in no synced batch");
    rig.ring.mark_counts_drained().unwrap();
    assert_eq!(synced(), (0, vec![]));
}

#[test]
fn counting_ends_and_says_so() {
    let mut rig = Rig::new();
    let counted = (1..).take_while(|&link| rig.recorder.count(&click(link)).is_ok()).count();
    assert_eq!(counted, 64, "a table of the least size");
    assert!(rig.recorder.count(&click(1)).is_ok(), "what is in it can be counted on");
    assert!(rig.ring.take_counts());
    assert!(rig.recorder.count(&click(65)).is_ok());
}
