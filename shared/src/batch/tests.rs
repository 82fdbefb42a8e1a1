use super::*;
use proptest::prelude::*;

fn click(row: u32, referrer: &str) -> Click<'_> {
    Click {
        workspace: WorkspaceId::try_from(7).unwrap(),
        link: LinkId::try_from(i64::from(row) + 1).unwrap(),
        domain: DomainId::try_from(3).unwrap(),
        at_s: 1_700_000_000 + row,
        n: 1,
        kind: Kind::Human,
        via: Via::Qr,
        variant: 0,
        status: 302,
        target_revision: 1,
        visitor: 0x0102_0304_0506_0708,
        privacy: Privacy { do_not_track: true, global_privacy_control: false },
        channel: Channel::Search,
        device: Device::Tablet,
        details: Details::of(&[(Detail::Referrer, referrer)]),
    }
}

fn sample() -> BatchFile {
    let mut builder = BatchBuilder::new();
    builder.push(&click(0, "a.example"));
    builder.push(&Click { n: 5, kind: Kind::Bot, via: Via::Link, ..click(1, "") });
    builder.finish(UnixMillis::new(1_700_000_000_123), &[Range { epoch: 9, from: 64, to: 576 }])
}

#[test]
fn golden_bytes_of_format_1() {
    let file = sample();
    let mut header = b"CAROMCLK\x01\0\0\0\x54\0\0\0\x02\0\0\0".to_vec();
    header.extend(file.crc.to_le_bytes());
    header
        .extend(b"\x06\0\0\0\0\0\0\0\x7b\x68\xe5\xcf\x8b\x01\0\0\x00\xf1\x53\x65\x01\xf1\x53\x65");
    assert_eq!(file.bytes[..48], header);
    assert_eq!(file.bytes[56..80], *b"\x01\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x40\0\0\0\x40\x02\0\0");
    assert_eq!(file.bytes[80..84], crc32c::crc32c(&file.bytes[..80]).to_le_bytes());

    let block = Batch::from_bytes(&file.bytes).unwrap().block;
    let golden = b"\x1d\x02\
        \x09workspace\x05Int64\x07\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\
        \x04link\x05Int64\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\
        \x06domain\x05Int64\x03\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\
        \x02at\x06UInt32\x00\xf1\x53\x65\x01\xf1\x53\x65\
        \x01n\x06UInt32\x01\0\0\0\x05\0\0\0\
        \x04kind\x05UInt8\0\x01\
        \x03via\x05UInt8\x01\0\
        \x07variant\x06UInt16\0\0\0\0\
        \x06status\x06UInt16\x2e\x01\x2e\x01\
        \x0ftarget_revision\x06UInt32\x01\0\0\0\x01\0\0\0\
        \x07visitor\x06UInt64\x08\x07\x06\x05\x04\x03\x02\x01\x08\x07\x06\x05\x04\x03\x02\x01\
        \x07privacy\x05UInt8\x01\x01\
        \x07channel\x05UInt8\x02\x02\
        \x06device\x05UInt8\x03\x03\
        \x08referrer\x06String\x09a.example\0\
        \x0dreferrer_path\x06String\0\0\
        \x07country\x06String\0\0\
        \x06region\x06String\0\0\
        \x04city\x06String\0\0\
        \x07browser\x06String\0\0\
        \x0fbrowser_version\x06String\0\0\
        \x02os\x06String\0\0\
        \x0aos_version\x06String\0\0\
        \x08language\x06String\0\0\
        \x0autm_source\x06String\0\0\
        \x0autm_medium\x06String\0\0\
        \x0cutm_campaign\x06String\0\0\
        \x08utm_term\x06String\0\0\
        \x0butm_content\x06String\0\0";
    assert_eq!(block, golden);
}

#[test]
fn a_batch_comes_back_as_it_was() {
    let file = sample();
    let batch = Batch::from_bytes(&file.bytes).unwrap();
    assert_eq!((batch.len(), file.rows, batch.header().clicks), (2, 2, 6));
    assert_eq!(batch.made_at(), UnixMillis::new(1_700_000_000_123));
    assert_eq!(batch.header().ranges, [Range { epoch: 9, from: 64, to: 576 }]);
    let second = Click { n: 5, kind: Kind::Bot, via: Via::Link, ..click(1, "") };
    assert_eq!(batch.clicks().collect::<Vec<_>>(), [click(0, "a.example"), second]);
}

#[test]
fn every_flipped_byte_and_every_cut_is_noticed() {
    let file = sample();
    for at in 0..file.bytes.len() {
        assert!(Batch::from_bytes(&file.bytes[..at]).is_err(), "cut at {at}");
        let mut bytes = file.bytes.clone();
        bytes[at] ^= 0x10;
        assert!(Batch::from_bytes(&bytes).is_err(), "flipped at {at}");
    }
    let mut longer = file.bytes;
    longer.push(0);
    assert_eq!(Batch::from_bytes(&longer), Err(BatchError::Length));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut bytes = sample().bytes;
    bytes[8] = 2;
    assert_eq!(Batch::from_bytes(&bytes), Err(BatchError::Format(2)));
}

#[test]
fn a_builder_is_used_again() {
    let mut builder = BatchBuilder::new();
    builder.push(&click(5, "x"));
    let first = builder.finish(UnixMillis::new(1), &[]);
    assert!(builder.is_empty());
    builder.push(&click(5, "x"));
    assert_eq!(builder.finish(UnixMillis::new(1), &[]), first);
}

proptest! {
    #[test]
    fn any_clicks_survive(rows in proptest::collection::vec(
        (1_i64.., any::<u32>(), 1_u32..9, 0_usize..5, 0_usize..2, any::<(u16, u16, u32, u64)>(),
            proptest::collection::vec("\\PC{0,40}", Detail::ALL.len())),
        0..200,
    )) {
        let clicks: Vec<Click<'_>> = rows
            .iter()
            .map(|(link, at_s, n, kind, via, (variant, status, target_revision, visitor), names)| Click {
                link: LinkId::try_from(*link).unwrap(),
                at_s: *at_s,
                n: *n,
                kind: Kind::ALL[*kind],
                via: Via::ALL[*via],
                variant: *variant,
                status: *status,
                target_revision: *target_revision,
                visitor: *visitor,
                details: {
                    let mut details = Details::default();
                    for (detail, name) in Detail::ALL.iter().zip(names) {
                        details.set(*detail, name);
                    }
                    details
                },
                ..click(0, "")
            })
            .collect();
        let mut builder = BatchBuilder::new();
        clicks.iter().for_each(|click| builder.push(click));
        let file = builder.finish(UnixMillis::new(0), &[]);
        let batch = Batch::from_bytes(&file.bytes).unwrap();
        prop_assert_eq!(batch.clicks().collect::<Vec<_>>(), clicks);
    }
}
