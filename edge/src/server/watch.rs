//! Who holds a connection and for how long: one sweep of a thread over its connections, instead of a
//! timer for each.
//!
//! ```text
//! New        nothing has come yet           ends after the time for a head
//! Head       a request has begun            ends after the time for a head
//! Answering  a request is under way         ends with its answer
//! Unread     an answer waits for its reader ends after the time for a head
//! Idle       answered, and waits            ends after the idle time
//! ```
//!
//! A connection of HTTP/2 may send frames that are no request, and each costs something. So many are free
//! between two sweeps, and so many with each request (`FRAMES_MAX`); beyond, the connection ends.
//!
//! A connection keeps its phase and since when, by a clock that the sweep sets: a request costs it two
//! stores, and no look at the time. (hyper's own timer for heads takes the time and the runtime's timer
//! lock once per request, and knows neither ages nor a drain.) The price is precision: a connection
//! ends up to two sweeps after its time, and never before: a sweep that comes late, because the process was
//! paused or had no processor, is no time that visitors had.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// From one sweep to the next, in milliseconds: an eighth of the shortest time, within these.
const SWEEP_MS: std::ops::RangeInclusive<u64> = 10..=1000;
/// Connections that a sweep looks at before it lets others run: some ten microseconds.
const AT_ONCE: usize = 512;

/// Answers of a connection until others have their turn: about 20 us. With more, a few who pipeline make
/// everybody wait for all they ask; with fewer, they cost a write for each answer.
pub(super) const ANSWERS_PER_TURN: u32 = 8;

/// Frames of HTTP/2 that a connection may send from one sweep to the next beside its requests. Browsers
/// send some ten at the begin and then one for each answer; PING and SETTINGS have no limit of their own
/// in h2, and are answered (CVE-2019-9512, CVE-2019-9515).
#[cfg(feature = "tls")]
pub(super) const FRAMES_MAX: u32 = 512;
/// Frames that come with a request: for its window, to reset it, a short body.
const FRAMES_OF_REQUEST: u32 = 8;

/// How long a connection may do what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// To send a request's head, and to take in the last answer.
    pub(crate) head: Duration,
    /// To wait between two requests.
    pub(crate) idle: Duration,
    /// To exist; the answer after that is its last.
    pub(crate) age: Duration,
}

impl Patience {
    pub(crate) fn sweep(self) -> Duration {
        let ms = u64::try_from(self.head.min(self.idle).as_millis() / 8).unwrap_or(u64::MAX);
        Duration::from_millis(ms.clamp(*SWEEP_MS.start(), *SWEEP_MS.end()))
    }
}

/// Milliseconds since the thread began in which it swept in time, as of its last sweep.
type Tick = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Head,
    Answering,
    Unread,
    Idle,
}

/// What is to become of a connection; from one to the next, never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Stays,
    /// Its next answer says that it is the last.
    LastAnswer,
    /// It takes no more requests: now, if none is under way.
    Closes,
    /// It ends as it is.
    IsCut,
}

/// One connection, for the sweep.
pub(super) struct Watch {
    clock: Rc<Cell<Tick>>,
    opened: Tick,
    phase: Cell<Phase>,
    since: Cell<Tick>,
    /// More than one only with HTTP/2.
    under_way: Cell<u32>,
    fate: Cell<Fate>,
    fated_at: Cell<Tick>,
    /// Frames of HTTP/2 since the last sweep, less those of requests.
    frames: Cell<u32>,
    /// Answers since it last had nothing to ask, or others had their turn.
    answers: Cell<u32>,
    /// Whether it waits for its next turn.
    waits: Cell<bool>,
    waker: Waker,
    place: Cell<usize>,
}

impl Watch {
    /// Bytes came.
    pub(super) fn heard(&self) {
        if matches!(self.phase.get(), Phase::New | Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    /// The client does not take in what was answered.
    pub(super) fn unread(&self) {
        self.enter(Phase::Unread);
    }

    /// It has taken in everything.
    pub(super) fn taken(&self) {
        self.enter(Phase::Idle);
    }

    /// Whether it is the turn of others, if they are ready.
    pub(super) fn has_had_its_turn(&self) -> bool {
        self.answers.get() >= ANSWERS_PER_TURN
    }

    /// It has nothing to ask for now.
    pub(super) fn rests(&self) {
        self.answers.set(0);
    }

    /// It took as much of the thread's time as a turn is.
    #[cfg(feature = "tls")]
    pub(super) fn has_taken_its_turn(&self) {
        self.answers.set(ANSWERS_PER_TURN);
    }

    /// Whether it waits for its next turn: its task has nothing to do until then.
    pub(super) fn waits(&self) -> bool {
        self.waits.get()
    }

    /// It waits from now on.
    pub(super) fn wait(&self) {
        self.waits.set(true);
    }

    /// It is its turn.
    pub(super) fn pass(&self) {
        self.waits.set(false);
        self.answers.set(0);
        self.waker.wake_by_ref();
    }

    /// Another protocol begins on it, with the time that a new connection has.
    #[cfg(feature = "tls")]
    pub(super) fn renew(&self) {
        self.enter(Phase::New);
    }

    /// A frame of HTTP/2 came; whether it is one too many.
    #[cfg(feature = "tls")]
    pub(super) fn frame(&self) -> bool {
        self.frames.set(self.frames.get().saturating_add(1));
        self.has_too_many_frames()
    }

    /// A frame came that takes a request back, and with it the frames that were free with it: else those
    /// who ask and do not want to know could go on for ever (rapid reset, CVE-2023-44487).
    #[cfg(feature = "tls")]
    pub(super) fn reset(&self) -> bool {
        self.frames.set(self.frames.get().saturating_add(FRAMES_OF_REQUEST));
        self.frame()
    }

    #[cfg(feature = "tls")]
    pub(super) fn has_too_many_frames(&self) -> bool {
        self.frames.get() > FRAMES_MAX
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.clock.get());
    }

    pub(super) fn fate(&self) -> Fate {
        self.fate.get()
    }

    fn doom(&self, fate: Fate) -> bool {
        let is_worse = fate > self.fate.get();
        if is_worse {
            self.fate.set(fate);
            self.fated_at.set(self.clock.get());
            self.waker.wake_by_ref();
        }
        is_worse
    }
}

/// A request under way, until this is dropped: however it ends, and HTTP/2 lets clients end it.
pub(super) struct UnderWay<'a>(&'a Watch);

impl<'a> UnderWay<'a> {
    pub(super) fn begin(watch: &'a Watch) -> Self {
        watch.under_way.set(watch.under_way.get() + 1);
        watch.frames.set(watch.frames.get().saturating_sub(FRAMES_OF_REQUEST));
        watch.answers.set(watch.answers.get().saturating_add(1));
        watch.enter(Phase::Answering);
        Self(watch)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        if self.0.under_way.get() == 0 {
            self.0.enter(Phase::Idle);
        }
    }
}

/// The connections of a thread.
pub(super) struct Watches {
    begin: Instant,
    /// When the clock was set last, since `begin`.
    told_at: Cell<Tick>,
    clock: Rc<Cell<Tick>>,
    list: RefCell<Vec<Rc<Watch>>>,
    patience: Patience,
    draining_since: Cell<Option<Tick>>,
    /// How long connections stay open while draining, for their last answer.
    linger: Tick,
}

impl Watches {
    pub(super) fn new(patience: Patience, linger: Duration) -> Self {
        Self {
            begin: Instant::now(),
            told_at: Cell::new(0),
            clock: Rc::default(),
            list: RefCell::default(),
            patience,
            draining_since: Cell::new(None),
            linger: millis(linger),
        }
    }

    /// Watches a connection until [`Watches::leave`]. `waker` is that of its task, and stays so.
    pub(super) fn enter(&self, waker: Waker) -> Rc<Watch> {
        let now = self.clock.get();
        let fate = if self.draining_since.get().is_some() { Fate::LastAnswer } else { Fate::Stays };
        let mut list = self.list.borrow_mut();
        let watch = Rc::new(Watch {
            clock: Rc::clone(&self.clock),
            opened: now,
            phase: Cell::new(Phase::New),
            since: Cell::new(now),
            under_way: Cell::new(0),
            fate: Cell::new(fate),
            fated_at: Cell::new(now),
            frames: Cell::new(0),
            answers: Cell::new(0),
            waits: Cell::new(false),
            waker,
            place: Cell::new(list.len()),
        });
        list.push(Rc::clone(&watch));
        watch
    }

    pub(super) fn leave(&self, watch: &Watch) {
        // A place that it has in a queue is nobody's.
        watch.waits.set(false);
        let mut list = self.list.borrow_mut();
        let place = watch.place.get();
        list.swap_remove(place);
        if let Some(moved) = list.get(place) {
            moved.place.set(place);
        }
    }

    /// From now on every answer is a connection's last, and who asks nothing has `linger` to go.
    pub(super) fn drain(&self) {
        self.tell_time();
        self.draining_since.set(Some(self.clock.get()));
        for watch in &*self.list.borrow() {
            watch.doom(Fate::LastAnswer);
        }
    }

    fn tell_time(&self) {
        let now = millis(self.begin.elapsed());
        let passed = now.saturating_sub(self.told_at.replace(now));
        self.clock.set(self.clock.get() + passed.min(millis(self.patience.sweep())));
    }

    /// Looks at all connections, with breaks.
    pub(super) async fn sweep(&self, metrics: &Metrics) {
        self.tell_time();
        let mut at = 0;
        loop {
            let is_done = {
                let list = self.list.borrow();
                let end = list.len().min(at + AT_ONCE);
                // One that moves while others run may be missed once.
                list.get(at..end).unwrap_or_default().iter().for_each(|of| self.look(of, metrics));
                at = end;
                at == list.len()
            };
            if is_done {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn look(&self, watch: &Watch, metrics: &Metrics) {
        let now = self.clock.get();
        // What the clock did not see has to be added, so that nobody ends before its time.
        let is_over = |since: Tick, time: Duration| {
            now.saturating_sub(since) > millis(time.saturating_add(self.patience.sweep()))
        };
        watch.frames.set(0);
        let since = watch.since.get();
        let ended = &metrics.connections_ended;
        match watch.phase.get() {
            Phase::New | Phase::Head if is_over(since, self.patience.head) => {
                if watch.doom(Fate::IsCut) {
                    ended.head.add(1);
                }
                return;
            }
            Phase::Unread if is_over(since, self.patience.head) => {
                if watch.doom(Fate::IsCut) {
                    ended.unread.add(1);
                }
                return;
            }
            Phase::Idle if is_over(since, self.patience.idle) => {
                if watch.doom(Fate::Closes) {
                    ended.idle.add(1);
                }
            }
            Phase::New | Phase::Head | Phase::Answering | Phase::Unread | Phase::Idle => {}
        }
        if is_over(watch.opened, self.patience.age) && watch.doom(Fate::LastAnswer) {
            ended.age.add(1);
        }
        let is_answering = watch.phase.get() == Phase::Answering;
        if let Some(begin) = self.draining_since.get()
            && !is_answering
            && now.saturating_sub(begin) >= self.linger
        {
            watch.doom(Fate::Closes);
        }
        // Its last answer waits in our buffers, and nobody reads it.
        if watch.fate() == Fate::Closes
            && !is_answering
            && is_over(watch.fated_at.get(), self.patience.head)
            && watch.doom(Fate::IsCut)
        {
            ended.unread.add(1);
        }
    }
}

fn millis(duration: Duration) -> Tick {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: u64 = 800;

    /// A thread's connections, and its clock to be set.
    fn watches() -> Watches {
        let ms = Duration::from_millis;
        let patience = Patience { head: ms(HEAD), idle: ms(1600), age: ms(10_000) };
        Watches::new(patience, ms(200))
    }

    /// What becomes of `watch` if it is looked at every 100 ms from `from` on until `to`.
    fn fates(watches: &Watches, watch: &Watch, from: u64, to: u64) -> Vec<(u64, Fate)> {
        let metrics = Metrics::new(1);
        let mut seen = Vec::new();
        for now in (from..=to).step_by(100) {
            watches.clock.set(now);
            watches.look(watch, &metrics);
            let last = seen.last().map_or(Fate::Stays, |(_, fate)| *fate);
            if watch.fate() != last {
                seen.push((now, watch.fate()));
            }
        }
        seen
    }

    #[test]
    fn silence_and_half_a_head_are_cut() {
        let watches = watches();
        let silent = watches.enter(Waker::noop().clone());
        assert_eq!(fates(&watches, &silent, 0, 2000), [(1000, Fate::IsCut)]);
        let half = watches.enter(Waker::noop().clone());
        half.heard();
        watches.clock.set(2500);
        half.heard();
        let cut = fates(&watches, &half, 2500, 5000);
        assert_eq!(cut, [(3000, Fate::IsCut)], "each byte is in time, and their number is not");
    }

    #[test]
    fn a_thread_that_was_away_cuts_nobody_before_its_time() {
        let mut watches = watches();
        let watch = watches.enter(Waker::noop().clone());
        watches.begin -= Duration::from_secs(5);
        watches.tell_time();
        watches.look(&watch, &Metrics::new(1));
        assert_eq!((watches.clock.get(), watch.fate()), (100, Fate::Stays));
        watches.tell_time();
        assert!(watches.clock.get() <= 200, "what was left out stays so");
    }

    #[test]
    fn who_does_not_read_is_cut() {
        let watches = watches();
        let watch = watches.enter(Waker::noop().clone());
        drop(UnderWay::begin(&watch));
        watch.unread();
        assert_eq!(fates(&watches, &watch, 0, 2000), [(1000, Fate::IsCut)]);
        let watch = watches.enter(Waker::noop().clone());
        watch.unread();
        watch.taken();
        assert_eq!(fates(&watches, &watch, 2000, 3500), [], "it waits for another request");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn frames_are_limited_between_two_sweeps_and_come_with_requests() {
        let watches = watches();
        let watch = watches.enter(Waker::noop().clone());
        let flood = |most: u32| (0..most).take_while(|_| !watch.frame()).count();
        let max = usize::try_from(FRAMES_MAX).unwrap();
        assert_eq!(flood(10_000), max);
        watches.look(&watch, &Metrics::new(1));
        assert_eq!(flood(FRAMES_MAX), max);
        for _ in 0..3 {
            drop(UnderWay::begin(&watch));
            assert!((0..FRAMES_OF_REQUEST - 1).all(|_| !watch.frame()), "each brings its own");
        }
        assert!(flood(10_000) < 30);
    }

    #[test]
    fn who_is_answered_is_waited_for_and_then_idle_for_a_time() {
        let watches = watches();
        let watch = watches.enter(Waker::noop().clone());
        watch.heard();
        let (first, second) = (UnderWay::begin(&watch), UnderWay::begin(&watch));
        assert_eq!(fates(&watches, &watch, 0, 5000), []);
        drop(first);
        assert_eq!(fates(&watches, &watch, 5000, 8000), []);
        drop(second);
        let fates = fates(&watches, &watch, 8000, 12_000);
        assert_eq!(fates, [(9800, Fate::Closes), (10_800, Fate::IsCut)]);
    }

    #[test]
    fn the_old_get_one_more_answer_while_they_ask() {
        let watches = watches();
        let watch = watches.enter(Waker::noop().clone());
        for now in (0..12_000).step_by(500) {
            drop(UnderWay::begin(&watch));
            let fate = fates(&watches, &watch, now, now).pop().map_or(Fate::Stays, |(_, f)| f);
            assert_eq!(fate, if now > 10_100 { Fate::LastAnswer } else { Fate::Stays }, "{now}");
        }
    }

    #[test]
    fn a_drain_lets_the_silent_go_after_a_while() {
        let watches = watches();
        let (idle, busy) =
            (watches.enter(Waker::noop().clone()), watches.enter(Waker::noop().clone()));
        let under_way = UnderWay::begin(&busy);
        watches.drain();
        assert_eq!((idle.fate(), busy.fate()), (Fate::LastAnswer, Fate::LastAnswer));
        let seen = fates(&watches, &idle, 0, 500);
        assert_eq!(seen, [(0, Fate::LastAnswer), (200, Fate::Closes)]);
        assert_eq!(fates(&watches, &busy, 0, 500), [(0, Fate::LastAnswer)]);
        drop(under_way);
        assert_eq!(fates(&watches, &busy, 500, 600), [(500, Fate::Closes)]);
        let late = watches.enter(Waker::noop().clone());
        assert_eq!(late.fate(), Fate::LastAnswer);
    }

    #[test]
    fn the_list_loses_who_leaves() {
        let watches = watches();
        let many: Vec<_> = (0..5).map(|_| watches.enter(Waker::noop().clone())).collect();
        for at in [0, 4, 2, 1, 3] {
            watches.leave(&many[at]);
            let list = watches.list.borrow();
            assert!(list.iter().enumerate().all(|(place, watch)| watch.place.get() == place));
            assert!(!list.iter().any(|watch| Rc::ptr_eq(watch, &many[at])));
        }
        assert!(watches.list.borrow().is_empty());
    }
}
