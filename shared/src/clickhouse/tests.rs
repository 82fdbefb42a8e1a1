use super::*;
use crate::batch::Batch;
use crate::batch::{BatchBuilder, BatchFile, Token};
use crate::click::{Channel, Details, Device, Kind, Privacy, Via};
use crate::{Click, DomainId, LinkId, UnixMillis, WorkspaceId};

fn batch() -> (Token, Batch) {
    let file = file();
    (Token::new(1, 2, 3, file.rows, file.crc), Batch::from_bytes(&file.bytes).unwrap())
}

fn file() -> BatchFile {
    let mut builder = BatchBuilder::new();
    for n in 1..=3 {
        builder.push(&Click {
            workspace: WorkspaceId::try_from(1).unwrap(),
            link: LinkId::try_from(2).unwrap(),
            domain: DomainId::try_from(3).unwrap(),
            at_s: 4,
            n,
            kind: Kind::Human,
            via: Via::Link,
            variant: 0,
            status: 302,
            target_revision: 1,
            visitor: 5,
            privacy: Privacy::default(),
            channel: Channel::Direct,
            device: Device::Unknown,
            details: Details::default(),
        });
    }
    builder.finish(UnixMillis::new(6), &[])
}

#[test]
fn the_body_is_the_block_with_three_columns_behind_it() {
    let (token, batch) = batch();
    let body = insert_body(token.as_str(), &batch, true);
    let block = zstd::bulk::decompress(&body, 1 << 16).unwrap();
    // 14 numbers, 15 names, 3 of this module; then the number of rows.
    assert_eq!(block[..2], [32, 3]);
    let number = batch_number(token.as_str()).to_le_bytes();
    let mut end = b"\x05batch\x06UInt64".to_vec();
    end.extend(number.repeat(3));
    end.extend(b"\x03row\x06UInt16");
    end.extend([0, 0, 1, 0, 2, 0]);
    end.extend(b"\x08imported\x05UInt8\x01\x01\x01");
    assert!(block.ends_with(&end));
    assert_eq!(insert_body(token.as_str(), &batch, true), body, "the same bytes each time");
}

#[test]
fn a_prepared_batch_has_the_same_block() {
    let (token, batch) = batch();
    let prepared = PreparedBatch::new(&token, &file().bytes).unwrap();
    let body = zstd::stream::decode_all(&prepared.body[..]).unwrap();
    let whole = insert_body(token.as_str(), &batch, false);
    assert_eq!(body, zstd::stream::decode_all(&whole[..]).unwrap());
    assert_eq!((prepared.rows, prepared.clicks), (3, batch.header().clicks));
    assert_eq!((prepared.made_at, prepared.links), (batch.made_at(), batch.links()));
}

/// Stored rows are found again by it: it must never change.
#[test]
fn a_batchs_number_is_pinned() {
    assert_eq!(
        batch_number("00000000000000ab-00000001-00000010-42-deadbeef"),
        2_777_088_216_628_281_262
    );
}

#[test]
fn statements() {
    assert_eq!(insert_statement(), "INSERT INTO click FORMAT Native");
    assert_eq!(
        count_statement(u64::MAX),
        "SELECT count() FROM click WHERE batch = 18446744073709551615"
    );
    assert_eq!(delete_statement(7), "ALTER TABLE click DELETE WHERE batch = 7");
    assert_eq!(
        kill_statement("db", "a-1"),
        "KILL QUERY WHERE startsWith(query_id, 'db/a-1.') SYNC"
    );
    assert_eq!(attempt_name("a-1", 2), "a-1.2");
    assert_eq!(query_id("db", "a-1", 2), "db/a-1.2");
}
