use super::super::segment::Boot;
use super::*;

fn header(epoch: u64) -> Header {
    Header { worker: 0, epoch, boot: Boot::default() }
}

fn fill(text: &[u8]) -> impl FnOnce(&mut [u8]) {
    move |out| out.copy_from_slice(text)
}

#[test]
fn what_is_appended_is_read_in_order_and_a_full_segment_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader) = create(&dir.path().join("0.seg"), header(5), true).unwrap();
    assert_eq!(reader.next(), None);
    let payload = [7_u8; 1000];
    let mut count = 0;
    while writer.append(payload.len(), fill(&payload)) == Ok(()) {
        count += 1;
    }
    assert_eq!(count, (SEGMENT_LEN - HEADER_LEN) / padded(FRAME_LEN + payload.len()));
    assert!(!reader.is_at_end());
    for _ in 0..count {
        assert_eq!(reader.next(), Some(&payload[..]));
    }
    assert_eq!(reader.next(), None);
    assert!(!reader.is_at_end(), "not sealed yet");
    drop(writer);
    assert!(reader.is_at_end());
}

#[test]
fn a_segment_is_recycled_only_without_its_writer_and_comes_back_empty() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.seg");
    let (mut writer, mut reader) = create(&path, header(5), false).unwrap();
    writer.append(5, fill(b"hello")).unwrap();
    assert_eq!(reader.next(), Some(&b"hello"[..]));
    let mut reader = reader.recycle(header(6)).unwrap_err();
    drop(writer);
    assert!(reader.is_at_end());
    assert!(std::fs::read(&path).unwrap().windows(5).any(|bytes| bytes == b"hello"));

    let (mut writer, fresh) = reader.recycle(header(6)).unwrap();
    assert!(!std::fs::read(&path).unwrap().windows(5).any(|bytes| bytes == b"hello"));
    reader = fresh;
    assert_eq!(reader.next(), None);
    writer.append(5, fill(b"again")).unwrap();
    assert_eq!(reader.next(), Some(&b"again"[..]));
}

#[test]
fn a_reader_in_another_thread_sees_whole_records_only() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader) = create(&dir.path().join("0.seg"), header(5), true).unwrap();
    let written = 6000_u32;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..written {
                let text = n.to_le_bytes().repeat(usize::try_from(n % 40).unwrap() + 1);
                writer.append(text.len(), fill(&text)).unwrap();
            }
        });
        let mut expected = 0_u32;
        while !reader.is_at_end() {
            while let Some(payload) = reader.next() {
                let text =
                    expected.to_le_bytes().repeat(usize::try_from(expected % 40).unwrap() + 1);
                assert_eq!(payload, text);
                expected += 1;
            }
        }
        assert_eq!(expected, written);
    });
}

#[test]
fn what_was_read_can_be_erased_while_more_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.seg");
    let (mut writer, mut reader) = create(&path, header(5), false).unwrap();
    for text in [b"first", b"other"] {
        writer.append(5, fill(text)).unwrap();
    }
    assert_eq!(reader.next(), Some(&b"first"[..]));
    reader.erase_read();
    let holds = |text: &[u8]| std::fs::read(&path).unwrap().windows(5).any(|b| b == text);
    assert!(!holds(b"first") && holds(b"other"));
    assert_eq!(reader.next(), Some(&b"other"[..]));
    writer.append(5, fill(b"third")).unwrap();
    assert_eq!(reader.next(), Some(&b"third"[..]));
    assert!(matches!(reader.tail().sync(Reach::End), Tailed::Open));
}

#[test]
fn a_tail_leaves_the_page_alone_that_is_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, reader) = create(&dir.path().join("0.seg"), header(5), false).unwrap();
    let mut tail = reader.tail();
    let sync = |tail: &mut Tail, reach, to| {
        assert!(matches!(tail.sync(reach), Tailed::Open));
        assert_eq!(tail.synced, to);
    };
    sync(&mut tail, Reach::Behind, HEADER_LEN);
    for _ in 0..100 {
        writer.append(48, fill(&[1; 48])).unwrap();
    }
    sync(&mut tail, Reach::Behind, HEADER_LEN + PAGE_LEN);
    writer.append(48, fill(&[1; 48])).unwrap();
    // What was there at the last look is not put off again.
    sync(&mut tail, Reach::Behind, HEADER_LEN + 100 * 64);
    sync(&mut tail, Reach::End, HEADER_LEN + 101 * 64);
    drop(writer);
    assert!(matches!(tail.sync(Reach::Behind), Tailed::Done));
    drop(reader);
    assert!(!tail.is_alive());
}

#[test]
fn a_segment_whose_disk_fails_takes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader) = create(&dir.path().join("0.seg"), header(5), false).unwrap();
    writer.append(5, fill(b"hello")).unwrap();
    let mut tail = reader.tail();
    let (tailed, failed) = disk::fault::nth(0, rustix::io::Errno::IO, || tail.sync(Reach::End));
    assert!(matches!(tailed, Tailed::Failed(_)) && failed == ["msync"]);
    assert!(reader.is_retired());
    assert_eq!(writer.append(5, fill(b"other")), Err(Full));
    assert_eq!(reader.next(), Some(&b"hello"[..]), "it can still be read");
    assert!(matches!(tail.sync(Reach::End), Tailed::Done), "not the same file again");
}

#[test]
fn zeros_are_written_where_blocks_cannot_be_reserved() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("zeros")).unwrap();
    write_zeros(&file, (1 << 20) + 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (1 << 20) + 4096);
}
