use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const ROWS: u64 = 10;

fn found(rows: u64) -> Found {
    Found { is_noted: false, rows, erased: 0, is_older_than_ledger: false }
}

/// Every way through the picture above.
#[test]
fn each_answer_leads_to_the_step_of_the_table() {
    use Outcome::{Already, Later, Stored, TooOld};
    use Step::{Count, Delete, Done, Note, Send, Settle};
    let begin = |found: Found| {
        let mut shipment = Shipment::new(ROWS);
        shipment.looked(found);
        shipment
    };
    for (found, step) in [
        (Found { is_noted: true, ..found(0) }, Done(Already)),
        (Found { is_noted: true, is_older_than_ledger: true, ..found(3) }, Done(Already)),
        (found(ROWS), Note),
        (Found { is_older_than_ledger: true, ..found(ROWS) }, Note),
        (Found { is_older_than_ledger: true, ..found(0) }, Done(TooOld)),
        (found(0), Send(0)),
        (found(3), Settle),
        (found(ROWS + 1), Settle),
        (Found { erased: 4, ..found(6) }, Note),
        (Found { erased: 4, ..found(ROWS) }, Note),
        (Found { erased: 4, ..found(8) }, Done(Later("some of its clicks are being erased"))),
        (Found { erased: 4, ..found(3) }, Settle),
        (Found { erased: 4, ..found(0) }, Send(0)),
        (Found { erased: ROWS, ..found(0) }, Note),
    ] {
        assert_eq!(begin(found).step(), step, "{found:?}");
    }
    let mut there = begin(found(ROWS));
    there.noted();
    assert_eq!(there.step(), Done(Already));

    let sent = |sent: Sent| {
        let mut shipment = begin(found(0));
        shipment.sent(sent);
        shipment
    };
    assert!(matches!(sent(Sent::Refused).step(), Done(Later(_))));
    let mut clean = sent(Sent::Clean);
    assert_eq!(clean.step(), Count);
    clean.counted(ROWS);
    assert_eq!(clean.step(), Note);
    clean.noted();
    assert_eq!(clean.step(), Done(Stored));

    // A poisoned token: success, and nothing there.
    let mut poisoned = sent(Sent::Clean);
    poisoned.counted(0);
    assert_eq!(poisoned.step(), Settle);
    poisoned.settled();
    assert_eq!(poisoned.step(), Count);
    poisoned.counted(0);
    assert_eq!(poisoned.step(), Send(1));

    // Cut off: first it must have ended.
    let mut unknown = sent(Sent::Unknown);
    assert_eq!(unknown.step(), Settle);
    unknown.settled();
    let mut none = unknown.clone();
    none.counted(0);
    assert!(matches!(none.step(), Done(Later(_))));
    unknown.counted(4);
    assert_eq!(unknown.step(), Delete);
    unknown.deleted();
    unknown.counted(0);
    assert_eq!(unknown.step(), Send(1));
}

#[test]
fn a_call_ends_whatever_the_server_says() {
    for rows in [0, 3] {
        let mut shipment = Shipment::new(ROWS);
        shipment.looked(found(0));
        let mut steps = 0;
        while !matches!(shipment.step(), Step::Done(_)) {
            match shipment.step() {
                Step::Send(_) => shipment.sent(Sent::Clean),
                Step::Settle => shipment.settled(),
                Step::Count => shipment.counted(rows),
                Step::Delete => shipment.deleted(),
                step => panic!("{step:?}"),
            }
            steps += 1;
            assert!(steps < 100);
        }
        assert!(matches!(shipment.step(), Step::Done(Outcome::Later(_))));
    }
}

/// A server of which every step may be cut short.
#[derive(Debug, Default)]
struct Server {
    rows: u64,
    names: HashSet<u32>,
    is_noted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Nothing happens, and no answer comes.
    Before,
    /// It happens, and no answer comes.
    After,
    /// Killed with the name written and no rows.
    Poisoned,
    /// Killed with rows and no name.
    Nameless,
    /// One of two months' rows.
    Half,
    /// The server forgot all names.
    Forgot,
}

impl Server {
    /// Carries an insert out; whether an answer comes.
    fn insert(&mut self, name: u32, fault: Fault) -> Sent {
        if matches!(fault, Fault::Forgot) {
            self.names.clear();
        }
        if matches!(fault, Fault::Before) {
            return Sent::Unknown;
        }
        let is_new = if matches!(fault, Fault::Nameless) {
            !self.names.contains(&name)
        } else {
            self.names.insert(name)
        };
        if is_new {
            self.rows += match fault {
                Fault::Poisoned => 0,
                Fault::Half => ROWS / 2,
                _ => ROWS,
            };
        }
        if matches!(fault, Fault::None | Fault::Forgot) { Sent::Clean } else { Sent::Unknown }
    }
}

proptest! {
    /// Whoever ships is killed at any step, the server at any instruction that matters: who says
    /// "stored" has all rows there, once.
    #[test]
    fn what_is_said_to_be_stored_is_there_once(
        faults in prop::collection::vec(
            prop::sample::select(vec![
                Fault::None, Fault::None, Fault::Before, Fault::After, Fault::Poisoned,
                Fault::Nameless, Fault::Half, Fault::Forgot,
            ]), 0..40),
    ) {
        let mut server = Server::default();
        let mut faults = faults.into_iter();
        let mut calls = 0;
        'calls: loop {
            calls += 1;
            prop_assert!(calls < 60, "it comes to an end once nothing fails");
            let mut shipment = Shipment::new(ROWS);
            loop {
                let fault = faults.next().unwrap_or(Fault::None);
                let is_cut = matches!(fault, Fault::Before | Fault::After);
                match shipment.step() {
                    Step::Look if is_cut => continue 'calls,
                    Step::Look => {
                        let found = Found { is_noted: server.is_noted, ..found(server.rows) };
                        shipment.looked(found);
                    }
                    Step::Send(name) => shipment.sent(server.insert(name, fault)),
                    Step::Settle | Step::Count if is_cut => continue 'calls,
                    Step::Settle => shipment.settled(),
                    Step::Count => shipment.counted(server.rows),
                    Step::Delete => {
                        if !matches!(fault, Fault::Before) {
                            server.rows = 0;
                        }
                        if is_cut {
                            continue 'calls;
                        }
                        shipment.deleted();
                    }
                    Step::Note => {
                        server.is_noted |= !matches!(fault, Fault::Before);
                        if is_cut {
                            continue 'calls;
                        }
                        shipment.noted();
                    }
                    Step::Done(Outcome::Later(_)) => continue 'calls,
                    Step::Done(outcome) => {
                        prop_assert_ne!(outcome, Outcome::TooOld);
                        prop_assert_eq!(server.rows, ROWS);
                        break 'calls;
                    }
                }
            }
        }
    }
}
