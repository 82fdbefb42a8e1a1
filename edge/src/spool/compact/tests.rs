use super::*;
use carom_shared::click::{Detail, Details};
use carom_shared::{Click, DomainId, LinkId, SeededRandom, TestClock, UnixMillis, WorkspaceId};

use rustix::io::Errno;

use super::super::Spool;
use super::super::disk::fault;
use super::super::outbox::End;

fn click(link: i64, at_s: u32, referrer: &str) -> Click<'_> {
    let key = CountKey::of(&Click {
        link: LinkId::try_from(link).unwrap(),
        workspace: WorkspaceId::try_from(1).unwrap(),
        domain: DomainId::try_from(1).unwrap(),
        ..empty()
    });
    Click { at_s, visitor: 7, details: Details::of(&[(Detail::Referrer, referrer)]), ..key.row(1) }
}

fn empty() -> Click<'static> {
    Click {
        workspace: WorkspaceId::try_from(1).unwrap(),
        link: LinkId::try_from(1).unwrap(),
        domain: DomainId::try_from(1).unwrap(),
        at_s: 0,
        n: 1,
        kind: carom_shared::click::Kind::Human,
        via: carom_shared::click::Via::Link,
        variant: 0,
        status: 302,
        target_revision: 1,
        visitor: 0,
        privacy: carom_shared::click::Privacy::default(),
        channel: carom_shared::click::Channel::Direct,
        device: carom_shared::click::Device::Unknown,
        details: Details::default(),
    }
}

const fn range(epoch: u64, from: u32, to: u32) -> Range {
    Range { epoch, from, to }
}

struct Rig {
    dir: tempfile::TempDir,
    _spool: Spool,
    outbox: Outbox,
    losses: Losses,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), &SeededRandom::new(1)).unwrap();
        let outbox = Outbox::open(&spool, u64::MAX).unwrap();
        let losses = spool.losses().unwrap();
        Self { dir, _spool: spool, outbox, losses }
    }

    /// A batch of 100 clicks on 10 links.
    fn put(&self, number: u32) -> Token {
        let mut builder = BatchBuilder::new();
        for n in 0..100 {
            let referrer = format!("{number}-{n}.example");
            builder.push(&click(i64::from(n % 10) + 1, 1_700_000_000 + n, &referrer));
        }
        let batch = builder.finish(UnixMillis::new(0), &[range(9, number * 64, number * 64 + 64)]);
        let token = self.outbox.name(&batch);
        self.outbox.put(&token, &batch).unwrap();
        let bytes = batch.bytes.len() as u64;
        self.outbox.hand_over(Waiting { token: token.clone(), bytes, is_compact: false });
        token
    }

    fn relieve(&self, quota: u64) {
        self.outbox.set_quota(quota);
        let mut compactor = Compactor::default();
        compactor.relieve(&self.outbox, &TestClock::default(), &self.losses).unwrap();
        assert!(!compactor.is_pending());
    }
}

#[test]
fn the_oldest_batches_become_one_and_the_sent_ones_stay() {
    let rig = Rig::new();
    let sent = rig.put(0);
    assert!(rig.outbox.may_be_sent(&sent).unwrap());
    // The mark is ahead: these may be sent without another.
    for number in 1..16 {
        rig.put(number);
    }
    let (before, _) = rig.outbox.fill();
    rig.relieve(before);
    assert_eq!(rig.outbox.len(), 16, "nothing may be compacted");
    for number in 16..36 {
        rig.put(number);
    }
    let (full, _) = rig.outbox.fill();
    rig.relieve(full);
    let listed = rig.outbox.list().unwrap();
    assert_eq!((listed.len(), rig.outbox.len()), (17, 17));
    let last = listed.last().unwrap();
    let batch = Batch::from_bytes(&rig.outbox.read(&last.token).unwrap()).unwrap();
    assert_eq!(batch.header().ranges, [range(9, 16 * 64, 36 * 64)]);
    assert_eq!((batch.len(), batch.header().clicks), (10, 2000));
    for (row, link) in batch.clicks().zip(1..) {
        assert_eq!((row.link.get(), row.n, row.visitor), (link, 200, 0));
        assert_eq!(row.at_s, 1_700_000_000 / 900 * 900);
        assert_eq!(row.details, Details::default());
    }
    assert_eq!(rig.losses.get(Loss::Compacted), 2000);
    let on_disk: u64 = listed.iter().map(|batch| batch.bytes).sum();
    assert_eq!(rig.outbox.fill().0, on_disk);
    rig.relieve(1);
    assert_eq!(rig.outbox.list().unwrap().len(), 17, "it is not compacted again");
}

#[test]
fn a_damaged_batch_is_set_aside_and_the_others_go_on() {
    let rig = Rig::new();
    let tokens: Vec<_> = (0..3).map(|number| rig.put(number)).collect();
    let path = rig.dir.path().join(format!("outbox/{}.clk", tokens[1]));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    rig.relieve(1);
    let listed = rig.outbox.list().unwrap();
    assert_eq!((listed.len(), rig.outbox.fill().0), (1, listed[0].bytes));
    assert_eq!(listed[0].header.as_ref().unwrap().clicks, 200);
    assert!(rig.dir.path().join(format!("quarantine/{}.clk", tokens[1])).exists());
}

/// Whoever looked at the list before has the batch still in hand, and reads it meanwhile.
#[test]
fn what_is_being_compacted_may_not_be_sent_and_what_may_be_sent_is_not_compacted() {
    let rig = Rig::new();
    let tokens: Vec<_> = (0..3).map(|number| rig.put(number)).collect();
    let chosen = rig.outbox.first(End::Oldest, |_| true).unwrap();
    assert_eq!(chosen, tokens[0]);
    let taken = rig.outbox.take_unsent(1);
    assert_eq!(taken[0].token, chosen);
    assert!(!rig.outbox.may_be_sent(&chosen).unwrap());
    assert!(!rig.dir.path().join("sent").exists(), "nothing was marked for it");
    rig.outbox.give_back(taken);
    assert!(rig.outbox.may_be_sent(&chosen).unwrap());
    assert_eq!(rig.outbox.take_unsent(9), []);
}

#[test]
fn a_damaged_batch_that_cannot_be_set_aside_hides_no_other() {
    let rig = Rig::new();
    let tokens: Vec<_> = (0..5).map(|number| rig.put(number)).collect();
    let path = rig.dir.path().join(format!("outbox/{}.clk", tokens[1]));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    rig.outbox.set_quota(1);
    let (mut compactor, clock) = (Compactor::default(), TestClock::default());
    // Two are read, then the second is to be renamed.
    let (relieved, failed) =
        fault::nth(2, Errno::NOSPC, || compactor.relieve(&rig.outbox, &clock, &rig.losses));
    assert!(relieved.is_err());
    assert_eq!((failed, rig.outbox.len()), (vec!["rename"], 5));
    compactor.relieve(&rig.outbox, &clock, &rig.losses).unwrap();
    assert_eq!((rig.outbox.len(), rig.losses.get(Loss::Compacted)), (1, 400));
}

#[test]
fn a_batch_is_replaced_by_a_later_one_that_holds_all_its_bytes() {
    let token = |number| Token::new(1, 1, number, 1, 1);
    let batches = [
        (token(0), vec![range(9, 0, 64), range(8, 0, 64)]),
        (token(1), vec![range(9, 64, 128)]),
        (token(2), vec![range(9, 128, 192)]),
        (token(3), vec![]),
        (token(4), vec![range(9, 64, 128), range(9, 0, 64), range(7, 0, 64)]),
        (token(5), vec![range(9, 64, 200)]),
    ];
    let replaced = replaced(&batches);
    // 0: only half of it is in 4. 3: it holds nothing that could be elsewhere.
    assert_eq!(replaced, [token(1), token(2)].into());
}
