//! Every byte of what a killed process leaves, damaged: it is noticed, set aside, and hides
//! nothing else.

use super::*;

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(dir.join(name), bytes).unwrap();
}

fn quarantined(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("quarantine")).unwrap().count()
}

#[test]
fn a_flipped_byte_of_a_segment() {
    let mut rig = Rig::of(RingSize { bytes: 0, count_bytes: 0 });
    let short = |link| RawClick { user_agent: b"", referrer: b"", ..click(link) };
    for link in 1..4 {
        rig.recorder.record(&short(link)).unwrap();
    }
    drop(std::mem::replace(&mut rig.recorder, Rig::new().recorder));
    let whole = std::fs::read(rig.dir.path().join("ring/000-00000.seg")).unwrap();
    let record = FRAME_LEN + short(1).encoded_len();
    let dir = folder();
    let spool = Spool::open(dir.path(), &SeededRandom::new(2)).unwrap();
    let header = (0..44).chain(48..64);
    let records =
        (0..3).flat_map(|n| (0..record).map(move |at| HEADER_LEN + n * padded(record) + at));
    // One enricher for all: making one reads its lists.
    let mut enricher = Enricher::default();
    for at in header.chain(records) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        write(dir.path(), "ring/000-00000.seg", &damaged);
        let outbox = Outbox::open(&spool, QUOTA).unwrap();
        let losses = spool.losses().unwrap();
        let clock = &TestClock::default();
        let recovery = Recovery::new(&spool, &outbox, &losses, clock);
        let recovered = recovery.run(&mut enricher).unwrap();
        let links = links_in(&outbox);
        match at {
            // Which life it is, or what is drained of it, is not known.
            0..24 | 40..56 => assert_eq!((recovered.quarantined, links.len()), (1, 0), "byte {at}"),
            24..40 => assert_eq!((recovered.quarantined, links.len()), (1, 0), "byte {at}"),
            56..64 => assert_eq!((recovered.quarantined, links.len()), (1, 3), "byte {at}"),
            _ => {
                let hit = i64::try_from((at - HEADER_LEN) / padded(record)).unwrap() + 1;
                let mut expected = once(1..4);
                expected.remove(&hit);
                assert_eq!((links, recovered.lost), (expected, 1), "byte {at}");
                assert_eq!(recovered.quarantined, 1, "byte {at}");
            }
        }
        assert_eq!(quarantined(dir.path()), 1, "byte {at}");
        for folder in ["outbox", "quarantine"] {
            for entry in std::fs::read_dir(dir.path().join(folder)).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }
}

/// Bytes that no record and no word is made of.
#[test]
fn a_flipped_byte_that_means_nothing_changes_nothing() {
    let mut rig = Rig::of(RingSize { bytes: 0, count_bytes: 0 });
    rig.record(1..4);
    let whole = std::fs::read(rig.dir.path().join("ring/000-00000.seg")).unwrap();
    let record = FRAME_LEN + click(1).encoded_len();
    let dir = folder();
    let spool = Spool::open(dir.path(), &SeededRandom::new(2)).unwrap();
    let paddings = (0..3).flat_map(|n| {
        let from = HEADER_LEN + n * padded(record);
        from + record..from + padded(record)
    });
    assert!(padded(record) > record);
    for at in (44..48).chain([64, 65, 1000, HEADER_LEN - 1]).chain(paddings) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        write(dir.path(), "ring/000-00000.seg", &damaged);
        let (outbox, recovered) = recover(&spool).unwrap();
        assert_eq!((recovered.quarantined, recovered.lost), (0, 0), "byte {at}");
        assert_eq!(links_in(&outbox), once(1..4), "byte {at}");
        for entry in std::fs::read_dir(dir.path().join("outbox")).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

/// A start over a batch that is damaged and a ring that has its clicks still: as long as its header
/// does not say that they are drained, they are taken from the ring.
#[test]
fn a_start_with_a_flipped_byte_of_a_batch() {
    let mut rig = Rig::of(RingSize { bytes: 0, count_bytes: 0 });
    rig.record(1..4);
    let mut builder = rig.read();
    rig.put(&mut builder);
    let segment = std::fs::read(rig.dir.path().join("ring/000-00000.seg")).unwrap();
    let token = rig.outbox.list().unwrap().remove(0).token;
    let whole = rig.outbox.read(&token).unwrap();
    let dir = folder();
    let spool = Spool::open(dir.path(), &SeededRandom::new(2)).unwrap();
    let file = format!("outbox/{token}.clk");
    let header = 64 + 16 + 4;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        write(dir.path(), "ring/000-00000.seg", &segment);
        write(dir.path(), &file, &damaged);
        let (outbox, recovered) = recover(&spool).unwrap();
        if at < header {
            assert_eq!((recovered.quarantined, recovered.clicks), (1, 3), "byte {at}");
            assert_eq!(links_in(&outbox), once(1..4), "byte {at}");
        } else {
            // It waits for the store, which refuses it: none of its clicks is counted twice.
            assert_eq!((recovered.quarantined, recovered.clicks), (0, 0), "byte {at}");
            assert_eq!(outbox.read(&token).unwrap(), damaged, "byte {at}");
        }
        for folder in ["outbox", "quarantine"] {
            for entry in std::fs::read_dir(dir.path().join(folder)).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }
}

#[test]
fn a_flipped_byte_of_a_batch() {
    let mut rig = Rig::new();
    rig.record(1..4);
    let mut builder = rig.read();
    rig.put(&mut builder);
    let token = rig.outbox.list().unwrap().remove(0).token;
    let whole = rig.outbox.read(&token).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(Batch::from_bytes(&damaged).is_err(), "byte {at}");
        write(rig.dir.path(), &format!("outbox/{token}.clk"), &damaged);
        let listed = rig.outbox.list().unwrap().remove(0);
        // The header is what a start reads; the rest is the store's to refuse.
        assert_eq!(listed.header.is_err(), at < 64 + 16 + 4, "byte {at}");
    }
}

#[test]
fn a_flipped_byte_of_the_mark_of_what_was_sent() {
    let rig = Rig::new();
    let token: carom_shared::batch::Token =
        "00000000000000ab-00000001-00000010-42-deadbeef".parse().unwrap();
    rig.outbox.hand_over(Waiting { token: token.clone(), bytes: 1, is_compact: false });
    assert!(rig.outbox.may_be_sent(&token).unwrap());
    let path = rig.dir.path().join("sent");
    let whole = std::fs::read(&path).unwrap();
    let unsent = |number| {
        let outbox = Outbox::open(&rig._spool, QUOTA).unwrap();
        let token = carom_shared::batch::Token::new(0xab, 1, number, 1, 1);
        outbox.hand_over(Waiting { token, bytes: 1, is_compact: false });
        outbox.take_unsent(1).len()
    };
    assert_eq!((unsent(0x10 + 15), unsent(0x10 + 16)), (0, 1), "it is written ahead");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        // Then nobody knows: what is there from earlier starts may have been sent, all of it.
        let outbox = Outbox::open(&rig._spool, QUOTA).unwrap();
        let token = carom_shared::batch::Token::new(0xab, 0, u32::MAX, 1, 1);
        outbox.hand_over(Waiting { token, bytes: 1, is_compact: false });
        assert_eq!(outbox.take_unsent(1), [], "byte {at}");
    }
}
