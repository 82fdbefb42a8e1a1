use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

const POSITION: FeedPosition = FeedPosition { epoch: 7, seq: 9 };
/// A route with the version 3 and the target `https://e.com/`.
const RECORD: &[u8] = b"\x05\0\x03\x02\x08\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0https://e.com/";

fn key(code: &[u8]) -> Vec<u8> {
    [&1_i64.to_le_bytes()[..], code].concat()
}

fn record(version: u8) -> Vec<u8> {
    let mut record = RECORD.to_vec();
    record[2] = version;
    record
}

/// Writes routes; returns the file.
fn written(dir: &TempDir, routes: &[(Vec<u8>, Vec<u8>)], bytes_max: u64) -> (PathBuf, usize) {
    let path = dir.path().join("routes.snapshot");
    let mut writer = SnapshotWriter::create(dir.path().join("routes.tmp"), bytes_max).unwrap();
    let fit = routes.iter().take_while(|(key, record)| writer.push(key, record).unwrap()).count();
    writer.finish(&path, POSITION, UnixMillis::new(11), true).unwrap();
    (path, fit)
}

fn answer(snapshot: &Snapshot, key: &[u8]) -> Option<Bytes> {
    snapshot.live(snapshot.find(key)?)
}

#[test]
fn golden_bytes_of_format_1() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = written(&dir, &[(key(b"ab"), record(3))], u64::MAX);
    let mut golden = b"CAROMRTS\x01\x01\0\0\0\0\0\0\
        \x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x0b\0\0\0\0\0\0\0\
        \x01\0\0\0\0\0\0\0\x2f\0\0\0\0\0\0\0"
        .to_vec();
    let routes = [&b"\x0a\x01\0\0\0\0\0\0\0ab\x22\0"[..], RECORD].concat();
    golden.extend(crc32c::crc32c(&routes).to_le_bytes());
    golden.extend(crc32c::crc32c(&golden).to_le_bytes());
    golden.extend(routes);
    assert_eq!(std::fs::read(&path).unwrap(), golden);
    // CRC-32C of RFC 3720, B.4: what the checksums above are made with.
    assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);

    let snapshot = Snapshot::open(&path).unwrap();
    assert_eq!(snapshot.position(), POSITION);
    assert!(snapshot.is_whole());
    assert_eq!(snapshot.written_at(), UnixMillis::new(11));
    assert_eq!(answer(&snapshot, &key(b"ab")).unwrap(), RECORD);
    assert_eq!(snapshot.bytes().0, golden.len() as u64);
}

#[test]
fn each_key_is_found_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    for count in [0_u16, 1, 2, 3, 4, 1000] {
        let code = |n: u16| key(format!("c{n}").as_bytes());
        let routes: Vec<_> =
            (0..count).map(|n| (code(n), record(u8::try_from(n % 100).unwrap()))).collect();
        let (path, fit) = written(&dir, &routes, u64::MAX);
        let snapshot = Snapshot::open(&path).unwrap();
        assert_eq!((fit, snapshot.live_count()), (count.into(), count.into()));
        for (key, record) in &routes {
            assert_eq!(answer(&snapshot, key).unwrap(), record);
        }
        for stranger in count..count + 2000 {
            assert!(snapshot.find(&code(stranger)).is_none());
        }
    }
}

#[test]
fn of_a_key_that_is_there_twice_the_newer_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    for versions in [[1, 2], [2, 1]] {
        let routes = versions.map(|version| (key(b"ab"), record(version)));
        let snapshot = Snapshot::open(&written(&dir, &routes, u64::MAX).0).unwrap();
        assert_eq!(answer(&snapshot, &key(b"ab")).unwrap(), record(2));
        assert_eq!(snapshot.live_count(), 1);
    }
}

#[test]
fn what_is_superseded_is_not_answered_and_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let routes = [(key(b"a"), record(1)), (key(b"b"), record(1)), (key(b"c"), record(1))];
    let snapshot = Snapshot::open(&written(&dir, &routes, u64::MAX).0).unwrap();
    let place = snapshot.find(&key(b"a")).unwrap();
    for _ in 0..2 {
        snapshot.supersede(place);
    }
    assert_eq!(answer(&snapshot, &key(b"a")), None);
    assert_eq!((snapshot.live_count(), snapshot.superseded_count()), (2, 1));
    assert!(answer(&snapshot, &key(b"c")).is_some());
    let copied: Vec<_> = snapshot.routes().map(|(key, _)| key.to_vec()).collect();
    assert_eq!(copied, [key(b"c"), key(b"b")], "what was asked for comes first");
}

#[test]
fn a_file_takes_no_more_than_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let routes: Vec<_> =
        (0..100).map(|n| (key(format!("c{n:02}").as_bytes()), record(1))).collect();
    let (path, fit) = written(&dir, &routes, 1000);
    assert_eq!(fit, (1000 - HEADER_LEN) / (3 + 11 + RECORD.len()));
    assert!(std::fs::metadata(&path).unwrap().len() <= 1000);
    let snapshot = Snapshot::open(&path).unwrap();
    assert_eq!((snapshot.live_count(), snapshot.is_whole()), (fit as u64, false));
}

#[test]
fn a_file_with_any_byte_changed_or_missing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = written(&dir, &[(key(b"ab"), record(1)), (key(b"cd"), record(2))], u64::MAX);
    let good = std::fs::read(&path).unwrap();
    let error = |bytes: &[u8]| {
        // A file of its own: others may be mapped.
        let path = dir.path().join("bad");
        drop(std::fs::remove_file(&path));
        std::fs::write(&path, bytes).unwrap();
        Snapshot::open(&path).err().map(|error| error.to_string())
    };
    assert_eq!(error(&good), None);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let expected = match at {
            0..8 => "it is no snapshot",
            8 => "its format is 0",
            _ => "it is damaged",
        };
        let error = error(&bad).unwrap();
        assert!(error.starts_with(expected), "{at}: {error}");
    }
    for len in 0..good.len() {
        assert!(error(&good[..len]).is_some(), "{len}");
    }
    assert!(error(&[&good[..], b"x"].concat()).is_some());
}

#[test]
fn a_writer_that_ends_early_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SnapshotWriter::create(dir.path().join("routes.tmp"), u64::MAX).unwrap();
    assert!(writer.push(&key(b"ab"), RECORD).unwrap());
    drop(writer);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
