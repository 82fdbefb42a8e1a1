//! What an edge may answer at a moment: pure, from what was sent to control planes and acknowledged.
//!
//! Each code has a history of states, of which the first is that there is no such code. A state begins
//! to be possible when the call that makes it is sent, and is sure from its acknowledgement on. An
//! answer is right if it is one of the states from the oldest to the newest that may be shown:
//!
//! - *newest*: what was sent before the answer was here.
//! - *oldest*: the last state that has to be known. A code that was acknowledged exists at once and
//!   everywhere. Any other state has to be known to an edge that said, before it was asked, that it
//!   knows all changes up to a time [`VISIBLE_MAX`] after the acknowledgement. And nobody goes back: not
//!   before what the same life of the same edge has answered to somebody before.
//!
//! So how old an answer may be does not depend on the machine, but on what the edge says of itself. A
//! call without an answer may have been done or not, also much later: its code is not changed again, and
//! both states stay possible.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::visitor::Shown;

/// How long after its acknowledgement a change may not be seen by an edge whose feed is fresh.
pub(super) const VISIBLE_MAX: Duration = Duration::from_secs(2);

/// An edge, when it was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) edge: usize,
    /// How often it had been started.
    pub(super) life: u32,
    /// Up to when it knew all changes, by its own account from before the question.
    pub(super) fresh: Option<Instant>,
    pub(super) sent: Instant,
    pub(super) received: Instant,
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    Right,
    /// A code that was acknowledged is said not to exist.
    Denied,
    /// It was right once, and is older than the edge says that it can be.
    TooOld,
    /// It never was right.
    Wrong,
}

/// All codes.
#[derive(Debug, Default)]
pub(super) struct Model {
    codes: HashMap<String, History>,
}

#[derive(Debug)]
struct History {
    states: Vec<State>,
    /// Of each edge: the oldest state that its last answer can have been.
    seen: Vec<Option<Seen>>,
    /// Requests that were cut: each may have left a click, or not.
    cut: u64,
}

#[derive(Debug)]
struct State {
    shown: Shown,
    /// The link, if it is known.
    link: Option<String>,
    sent: Option<Instant>,
    acknowledged: Option<Instant>,
    /// Redirects to it.
    answered: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    life: u32,
    state: usize,
    received: Instant,
}

/// What the clicks of a link must be between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) code: String,
    pub(super) answered: u64,
    pub(super) cut: u64,
}

impl Model {
    /// A call that makes a state was sent; the first one of a code creates it.
    pub(super) fn sent(&mut self, code: &str, shown: Shown, link: Option<&str>, now: Instant) {
        let history = self.codes.entry(code.to_owned()).or_insert_with(History::new);
        let link = link.map(str::to_owned);
        let state = State { shown, link, sent: Some(now), acknowledged: None, answered: 0 };
        history.states.push(state);
    }

    /// The last call of a code was acknowledged, and it is this link's.
    pub(super) fn acknowledged(&mut self, code: &str, link: &str, now: Instant) {
        if let Some(state) = self.codes.get_mut(code).and_then(|of| of.states.last_mut()) {
            state.acknowledged = Some(now);
            state.link = Some(link.to_owned());
        }
    }

    /// Judges an answer, and remembers it.
    pub(super) fn judge(&mut self, code: &str, asked: &Asked, shown: &Shown) -> Verdict {
        let Some(history) = self.codes.get_mut(code) else {
            return if *shown == Shown::Status(404) { Verdict::Right } else { Verdict::Wrong };
        };
        if let Shown::To(_) = shown
            && let Some(state) = history.states.iter_mut().find(|of| of.shown == *shown)
        {
            state.answered += 1;
        }
        let oldest = history.oldest(asked);
        let possible = |state: &State| {
            state.shown == *shown && state.sent.is_none_or(|sent| sent <= asked.received)
        };
        let mut right = (oldest..).zip(&history.states[oldest..]);
        if let Some((state, _)) = right.find(|(_, state)| possible(state)) {
            history.see(asked, state);
            return Verdict::Right;
        }
        if *shown == Shown::Status(404) {
            Verdict::Denied
        } else if history.states.iter().any(possible) {
            Verdict::TooOld
        } else {
            Verdict::Wrong
        }
    }

    /// Whether an edge that knows all changes up to then knows that there is such a code.
    pub(super) fn is_known(&self, code: &str, fresh: Option<Instant>) -> bool {
        let first = self.codes.get(code).and_then(|of| of.states.get(1)?.acknowledged);
        first.zip(fresh).is_some_and(|(created, fresh)| fresh >= created + VISIBLE_MAX)
    }

    /// A request for a code was cut.
    pub(super) fn cut(&mut self, code: &str) {
        if let Some(history) = self.codes.get_mut(code) {
            history.cut += 1;
        }
    }

    /// Redirects that were answered.
    pub(super) fn answered(&self) -> u64 {
        self.codes.values().flat_map(|of| &of.states).map(|state| state.answered).sum()
    }

    /// What must be stored of each link; and redirects to links whose ids are not known, by target.
    pub(super) fn expected(&self) -> (HashMap<String, Expected>, HashMap<String, Expected>) {
        let (mut links, mut targets) = (HashMap::new(), HashMap::new());
        for (code, history) in &self.codes {
            for state in &history.states {
                let (of, name) = match (&state.link, &state.shown) {
                    (Some(link), _) => (&mut links, link),
                    (None, Shown::To(target)) => (&mut targets, target),
                    (None, Shown::Status(_)) => continue,
                };
                let none = || Expected { code: code.clone(), answered: 0, cut: history.cut };
                of.entry(name.clone()).or_insert_with(none).answered += state.answered;
            }
        }
        (links, targets)
    }
}

impl History {
    fn new() -> Self {
        let nothing = State {
            shown: Shown::Status(404),
            link: None,
            sent: None,
            acknowledged: None,
            answered: 0,
        };
        Self { states: vec![nothing], seen: Vec::new(), cut: 0 }
    }

    /// The oldest state that may be shown.
    fn oldest(&self, asked: &Asked) -> usize {
        let has_to_be_known = |(index, state): (usize, &State)| {
            let acknowledged = state.acknowledged?;
            let exists = index == 1 && acknowledged <= asked.sent;
            let said = asked.fresh.is_some_and(|fresh| fresh >= acknowledged + VISIBLE_MAX);
            (exists || said).then_some(index)
        };
        let known = self.states.iter().enumerate().filter_map(has_to_be_known).max();
        let seen = self.seen.get(asked.edge).copied().flatten();
        let seen = seen.filter(|seen| seen.life == asked.life && seen.received <= asked.sent);
        known.unwrap_or(0).max(seen.map_or(0, |seen| seen.state))
    }

    fn see(&mut self, asked: &Asked, state: usize) {
        if self.seen.len() <= asked.edge {
            self.seen.resize(asked.edge + 1, None);
        }
        let seen = &mut self.seen[asked.edge];
        let is_newer = |seen: &Seen| seen.life != asked.life || seen.state <= state;
        if seen.as_ref().is_none_or(is_newer) {
            // The earlier of two times at which the same was seen says more.
            let received = match seen {
                Some(seen) if seen.life == asked.life && seen.state == state => {
                    seen.received.min(asked.received)
                }
                _ => asked.received,
            };
            *seen = Some(Seen { life: asked.life, state, received });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clock(Instant);

    impl Clock {
        fn at(&self, ms: u64) -> Instant {
            self.0 + Duration::from_millis(ms)
        }

        fn ask(&self, sent: u64, received: u64, fresh: Option<u64>) -> Asked {
            let (sent, received) = (self.at(sent), self.at(received));
            Asked { edge: 0, life: 1, fresh: fresh.map(|ms| self.at(ms)), sent, received }
        }
    }

    fn to(target: &str) -> Shown {
        Shown::To(target.to_owned())
    }

    const NOTHING: Shown = Shown::Status(404);
    const GONE: Shown = Shown::Status(410);

    /// A link that is made from 1,000 to 1,100, changed from 5,000 to 5,100, deleted from 9,000 on.
    fn model(clock: &Clock) -> Model {
        let mut model = Model::default();
        model.sent("a", to("x"), None, clock.at(1000));
        model.acknowledged("a", "7", clock.at(1100));
        model.sent("a", to("y"), Some("7"), clock.at(5000));
        model.acknowledged("a", "7", clock.at(5100));
        model.sent("a", GONE, Some("7"), clock.at(9000));
        model
    }

    #[test]
    fn an_answer_is_judged_by_what_the_edge_says_that_it_knows() {
        use Verdict::{Denied, Right, TooOld, Wrong};
        let clock = Clock(Instant::now());
        for (ask, shown, verdict) in [
            // Before it was made, while it is, after.
            (clock.ask(800, 900, None), NOTHING, Right),
            (clock.ask(800, 900, None), to("x"), Wrong),
            (clock.ask(800, 1001, None), to("x"), Right),
            (clock.ask(1050, 1200, None), NOTHING, Right),
            (clock.ask(1100, 1200, None), NOTHING, Denied),
            (clock.ask(1100, 1200, None), to("x"), Right),
            // While it is changed, and for as long as the edge may not know.
            (clock.ask(4000, 5001, Some(3900)), to("y"), Right),
            (clock.ask(4000, 4999, Some(3900)), to("y"), Wrong),
            (clock.ask(8000, 8001, Some(7099)), to("x"), Right),
            (clock.ask(8000, 8001, Some(7100)), to("x"), TooOld),
            (clock.ask(8000, 8001, None), to("x"), Right),
            (clock.ask(8000, 8001, Some(7100)), to("y"), Right),
            // What is under way may be done.
            (clock.ask(20_000, 20_001, Some(19_000)), GONE, Right),
            (clock.ask(20_000, 20_001, Some(19_000)), to("y"), Right),
            (clock.ask(20_000, 20_001, Some(19_000)), to("x"), TooOld),
            (clock.ask(20_000, 20_001, Some(19_000)), NOTHING, Denied),
            (clock.ask(20_000, 20_001, Some(19_000)), Shown::Status(500), Wrong),
        ] {
            assert_eq!(model(&clock).judge("a", &ask, &shown), verdict, "{ask:?} {shown:?}");
        }
    }

    #[test]
    fn nobody_goes_back_within_a_life() {
        let clock = Clock(Instant::now());
        let mut model = model(&clock);
        let first = clock.ask(5000, 5200, None);
        assert_eq!(model.judge("a", &first, &to("y")), Verdict::Right);
        // Asked before the other answer was here: they may have crossed.
        assert_eq!(model.judge("a", &clock.ask(5199, 5300, None), &to("x")), Verdict::Right);
        assert_eq!(model.judge("a", &clock.ask(5200, 5300, None), &to("x")), Verdict::TooOld);
        let other_edge = Asked { edge: 1, ..clock.ask(5200, 5300, None) };
        assert_eq!(model.judge("a", &other_edge, &to("x")), Verdict::Right);
        let other_life = Asked { life: 2, ..clock.ask(5200, 5300, None) };
        assert_eq!(model.judge("a", &other_life, &to("x")), Verdict::Right);
    }

    #[test]
    fn codes_that_nobody_made_do_not_exist() {
        let clock = Clock(Instant::now());
        let mut model = model(&clock);
        let ask = clock.ask(1, 2, None);
        assert_eq!(model.judge("b", &ask, &NOTHING), Verdict::Right);
        assert_eq!(model.judge("b", &ask, &to("x")), Verdict::Wrong);
        assert!(!model.is_known("b", Some(clock.at(90_000))));
        assert!(!model.is_known("a", Some(clock.at(3099))) && !model.is_known("a", None));
        assert!(model.is_known("a", Some(clock.at(3100))));
    }

    #[test]
    fn clicks_are_expected_by_link() {
        let clock = Clock(Instant::now());
        let mut model = model(&clock);
        for (sent, shown) in [(1200, to("x")), (1300, to("x")), (5200, to("y")), (9100, GONE)] {
            model.judge("a", &clock.ask(sent, sent + 1, None), &shown);
        }
        model.cut("a");
        // Made again, and no answer came.
        model.sent("a", to("z"), None, clock.at(9500));
        model.judge("a", &clock.ask(9600, 9601, None), &to("z"));
        let (links, targets) = model.expected();
        let expected = |answered| Expected { code: "a".to_owned(), answered, cut: 1 };
        assert_eq!((links.len(), targets.len()), (1, 1));
        assert_eq!((&links["7"], &targets["z"]), (&expected(3), &expected(1)));
        assert_eq!(model.answered(), 4);
    }
}
