use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const ROWS: u64 = 10;

fn found(rows: u64) -> Found {
    Found { is_noted: false, rows, erased: 0, is_older_than_ledger: false }
}

#[test]
fn whatever_is_not_plain_is_controls() {
    use LimitedStep::{Count, Done, Look, Note, Send};
    let begun = |found: Found| {
        let mut shipment = LimitedShipment::new(ROWS);
        assert_eq!(shipment.step(), Look);
        shipment.looked(found);
        shipment
    };
    for (found, step) in [
        (Found { is_noted: true, ..found(0) }, Done(LimitedOutcome::Already)),
        (found(ROWS), Note),
        (found(0), Send),
        (Found { is_older_than_ledger: true, ..found(0) }, Done(LimitedOutcome::TooOld)),
    ] {
        assert_eq!(begun(found).step(), step);
    }
    let is_controls =
        |shipment: &LimitedShipment| matches!(shipment.step(), Done(LimitedOutcome::ForControl(_)));
    assert!(is_controls(&begun(found(3))) && is_controls(&begun(found(2 * ROWS))));
    let sent = |sent: Sent| {
        let mut shipment = begun(found(0));
        shipment.sent(sent);
        shipment
    };
    for cut in [Sent::Unknown, Sent::Refused] {
        assert!(matches!(sent(cut).step(), Done(LimitedOutcome::Later(_))));
    }
    let counted = |rows: u64| {
        let mut shipment = sent(Sent::Clean);
        assert_eq!(shipment.step(), Count);
        shipment.counted(rows);
        shipment
    };
    assert!([0, 3, 2 * ROWS].into_iter().all(|rows| is_controls(&counted(rows))));
    let mut whole = counted(ROWS);
    assert_eq!(whole.step(), Note);
    whole.noted();
    assert_eq!(whole.step(), Done(LimitedOutcome::Stored));
}

/// What happens at a step, beside what should.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Whoever calls is killed before the step.
    Dies,
    /// It happens, and whoever called does not hear of it.
    Unheard,
    /// An insert, or a deletion, is on its way, and is carried out at some later step.
    OnItsWay,
    /// The server is killed with the name written and no rows.
    Poisoned,
    /// Killed with rows and no name.
    Nameless,
    /// Killed with one of two months' rows.
    Half,
}

/// A server, to which an edge and a control plane bring the same batch, in turn.
#[derive(Debug, Default)]
struct Server {
    rows: u64,
    names: HashSet<u32>,
    is_noted: bool,
    /// Inserts that it has not begun with.
    on_their_way: Vec<u32>,
}

impl Server {
    fn insert(&mut self, name: u32) {
        if self.names.insert(name) {
            self.rows += ROWS;
        }
    }

    /// What was on its way is carried out now.
    fn catch_up(&mut self) {
        for name in std::mem::take(&mut self.on_their_way) {
            self.insert(name);
        }
    }

    fn send(&mut self, name: u32, fault: Fault) -> Sent {
        match fault {
            Fault::None | Fault::Dies => {
                self.insert(name);
                return Sent::Clean;
            }
            Fault::Unheard => self.insert(name),
            Fault::OnItsWay => self.on_their_way.push(name),
            Fault::Poisoned | Fault::Nameless | Fault::Half => {
                // With the server ends what it had not begun with.
                self.on_their_way.clear();
                let is_new = match fault {
                    Fault::Nameless => !self.names.contains(&name),
                    _ => self.names.insert(name),
                };
                let rows = [0, ROWS, ROWS / 2];
                let rows = match fault {
                    Fault::Poisoned => rows[0],
                    Fault::Nameless => rows[1],
                    _ => rows[2],
                };
                self.rows += if is_new { rows } else { 0 };
            }
        }
        Sent::Unknown
    }
}

/// How a call ended: `None` if it was cut off, or has to be made again.
type Ended = Option<bool>;

/// Whether control has to go on, if the batch is not stored.
fn edge_calls(server: &mut Server, mut next: impl FnMut() -> Fault) -> (Ended, bool) {
    let mut shipment = LimitedShipment::new(ROWS);
    loop {
        let fault = next();
        let is_cut = !matches!(fault, Fault::None);
        match shipment.step() {
            LimitedStep::Done(outcome) => {
                let is_stored = matches!(outcome, LimitedOutcome::Stored | LimitedOutcome::Already);
                let is_controls = matches!(outcome, LimitedOutcome::ForControl(_));
                return (is_stored.then_some(true), is_controls);
            }
            _ if matches!(fault, Fault::Dies) => return (None, false),
            LimitedStep::Send => {
                let sent = server.send(LimitedShipment::ATTEMPT, fault);
                shipment.sent(sent);
            }
            LimitedStep::Look | LimitedStep::Count if is_cut => return (None, false),
            LimitedStep::Look => {
                shipment.looked(Found { is_noted: server.is_noted, ..found(server.rows) });
            }
            LimitedStep::Count => shipment.counted(server.rows),
            LimitedStep::Note => {
                server.is_noted = true;
                if is_cut {
                    return (None, false);
                }
                shipment.noted();
            }
        }
    }
}

fn control_calls(server: &mut Server, mut next: impl FnMut() -> Fault) -> Ended {
    let mut shipment = Shipment::new(ROWS);
    loop {
        let fault = next();
        let is_cut = !matches!(fault, Fault::None);
        match shipment.step() {
            Step::Done(outcome) => {
                return matches!(outcome, Outcome::Stored | Outcome::Already).then_some(true);
            }
            _ if matches!(fault, Fault::Dies) => return None,
            Step::Send(name) => {
                let sent = server.send(name, fault);
                shipment.sent(sent);
            }
            Step::Look | Step::Count | Step::Settle if is_cut => return None,
            Step::Look => {
                shipment.looked(Found { is_noted: server.is_noted, ..found(server.rows) });
            }
            Step::Settle => {
                // Everybody's: what was on its way is stopped, or was carried out.
                server.catch_up();
                shipment.settled();
            }
            Step::Count => shipment.counted(server.rows),
            Step::Delete => {
                server.rows = 0;
                if is_cut {
                    return None;
                }
                shipment.deleted();
            }
            Step::Note => {
                server.is_noted = true;
                if is_cut {
                    return None;
                }
                shipment.noted();
            }
        }
    }
}

proptest! {
    /// An edge brings a batch straight to the server, then by way of control, and again straight, as it
    /// likes. Edge, control and server are killed at any step, and inserts arrive late. Who hears
    /// "stored" has all rows there, once, and so it stays, also when what was on its way arrives.
    #[test]
    fn both_ways_in_turn_store_a_batch_once(
        calls in prop::collection::vec((any::<bool>(), any::<bool>()), 1..12),
        faults in prop::collection::vec(
            prop::sample::select(vec![
                Fault::None, Fault::None, Fault::None, Fault::Dies, Fault::Unheard, Fault::OnItsWay,
                Fault::Poisoned, Fault::Nameless, Fault::Half,
            ]), 0..40),
    ) {
        let mut server = Server::default();
        let mut faults = faults.into_iter();
        let mut next = || faults.next().unwrap_or(Fault::None);
        let mut is_stored = None;
        for (by_control, arrives) in calls {
            if arrives {
                server.catch_up();
            }
            is_stored = if by_control {
                control_calls(&mut server, &mut next)
            } else {
                edge_calls(&mut server, &mut next).0
            };
            if is_stored.is_some() {
                break;
            }
        }
        // Nothing fails any more.
        let mut calls = 0;
        while is_stored.is_none() {
            calls += 1;
            prop_assert!(calls < 10, "it comes to an end: {server:?}");
            let (stored, is_controls) = edge_calls(&mut server, || Fault::None);
            is_stored = stored;
            if is_controls {
                is_stored = control_calls(&mut server, || Fault::None);
            }
        }
        prop_assert_eq!(server.rows, ROWS);
        server.catch_up();
        prop_assert_eq!(server.rows, ROWS, "what was on its way came later");
    }
}
