//! Who has had a turn waits here for the next one, behind everybody who is ready.
//!
//! A thread runs what is ready in the order in which it became so. Whoever always has more to ask is
//! always ready: with a hundred such connections each visitor waits for a hundred turns of 30 us. So a
//! connection that has had its turn does not queue with the others but here. One task, the attendant,
//! lets one through, then lets the thread look at its sockets and run all that became ready, and then
//! lets the next one through. A visitor who asks for little waits for one turn of somebody else's
//! instead of all of them, however many there are. The others lose nothing: when nobody else is ready
//! they have the thread to themselves, for one more look at the sockets (a microsecond) each turn.
//!
//! Who comes here: connections with [`ANSWERS_PER_TURN`](super::watch::ANSWERS_PER_TURN) answers since
//! they last had nothing to ask, whatever they speak; pieces of HTTP/2. Each step of a handshake of TLS,
//! which costs as much as a hundred redirects, has a turnstile of its own: who shakes hands has asked for
//! nothing yet, and waits for other newcomers only. Connections that are accepted need no place: the
//! acceptor takes a few and lets others run (`ACCEPTS_PER_TURN`).
//!
//! While the drainer is far behind, because those who ask for much are answered faster than their clicks
//! can be read, each turn waits a little ([`PAUSE`]): then the ring does not fill, and every click keeps
//! its detail. Who asks for little does not notice. A drainer that is stuck pauses nobody.
//!
//! A connection has one place at most, and whoever has left is passed over without a turn or a wait: the
//! wait is bounded by `edge.max_connections`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::watch::Watch;
use crate::metrics::Counter;

/// Before each turn while the drainer is far behind: with the answers of a turn, 8,000 a second of a
/// thread, less than a drainer reads.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(super) struct Turnstile {
    queue: RefCell<VecDeque<Rc<Watch>>>,
    /// While nobody waits, the attendant does.
    attendant: Cell<Option<Waker>>,
}

impl Turnstile {
    /// Gives a connection a place, if it has none; its task is woken when it is its turn.
    pub(super) fn enter(&self, watch: &Rc<Watch>) {
        if watch.waits() {
            return;
        }
        watch.wait();
        self.queue.borrow_mut().push_back(Rc::clone(watch));
        if let Some(attendant) = self.attendant.take() {
            attendant.wake();
        }
    }

    /// Lets one after another through, and counts them. Never ends.
    pub(super) async fn attend(&self, passed: &Counter, is_drainer_behind: impl Fn() -> bool) {
        loop {
            let next = poll_fn(|context| {
                let mut queue = self.queue.borrow_mut();
                while let Some(watch) = queue.pop_front() {
                    if watch.waits() {
                        return Poll::Ready(watch);
                    }
                }
                self.attendant.set(Some(context.waker().clone()));
                Poll::Pending
            })
            .await;
            // Woken after what became ready on sockets meanwhile, and so behind it.
            tokio::task::yield_now().await;
            if is_drainer_behind() {
                tokio::time::sleep(PAUSE).await;
            }
            passed.add(1);
            next.pass();
        }
    }

    /// Runs what takes long at each step, with a turn for each.
    #[cfg(feature = "tls")]
    pub(super) async fn by_turns<F: Future>(&self, watch: &Rc<Watch>, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut has_asked = false;
        poll_fn(|context| {
            if watch.waits() {
                return Poll::Pending;
            }
            has_asked = !has_asked;
            if has_asked {
                self.enter(watch);
                return Poll::Pending;
            }
            work.as_mut().poll(context)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::task::spawn_local;

    use super::super::watch::{Patience, Watches};
    use super::*;

    const HEAVY: usize = 200;

    /// The runtime of a thread of the edge.
    fn on_thread(work: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default());
        runtime.unwrap().block_on(work);
    }

    fn watches() -> Rc<Watches> {
        let ms = Duration::from_millis;
        Rc::new(Watches::new(Patience { head: ms(100), idle: ms(100), age: ms(100) }, ms(100)))
    }

    async fn watch(watches: &Watches) -> Rc<Watch> {
        poll_fn(|context| Poll::Ready(watches.enter(context.waker().clone()))).await
    }

    /// Work without end, of which each step is counted.
    struct Endless(Rc<Cell<usize>>);

    impl Future for Endless {
        type Output = ();

        fn poll(self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<()> {
            self.0.set(self.0.get() + 1);
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }

    #[test]
    fn who_asks_for_little_waits_for_a_turn_or_two_however_many_others_there_are() {
        on_thread(async {
            let (turnstile, watches) = (Rc::new(Turnstile::default()), watches());
            let (turns, passed) = (Rc::new(Cell::new(0)), Rc::new(Counter::default()));
            let (attendant, counter) = (Rc::clone(&turnstile), Rc::clone(&passed));
            spawn_local(async move { attendant.attend(&counter, || false).await });
            for _ in 0..HEAVY {
                let (turnstile, watches) = (Rc::clone(&turnstile), Rc::clone(&watches));
                let work = Endless(Rc::clone(&turns));
                spawn_local(async move {
                    turnstile.by_turns(&watch(&watches).await, work).await;
                });
            }
            let (mut visitor, mut edge) = UnixStream::pair().unwrap();
            spawn_local(async move {
                while let Ok(byte) = edge.read_u8().await {
                    edge.write_u8(byte).await.unwrap();
                }
            });
            // To there and back the thread looks at its sockets twice; each time one has its turn.
            for _ in 0..50 {
                let before = turns.get();
                visitor.write_u8(1).await.unwrap();
                visitor.read_u8().await.unwrap();
                assert!(turns.get() - before <= 4, "{}", turns.get() - before);
            }
            while turns.get() < 3 * HEAVY {
                tokio::task::yield_now().await;
            }
            assert!(passed.get() >= turns.get() as u64, "each turn is let through");
        });
    }

    #[test]
    fn turns_wait_while_the_drainer_is_behind_and_no_longer() {
        on_thread(async {
            let (turnstile, watches) = (Rc::new(Turnstile::default()), watches());
            let (turns, is_behind) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(true)));
            let (attendant, behind) = (Rc::clone(&turnstile), Rc::clone(&is_behind));
            spawn_local(async move {
                attendant.attend(&Counter::default(), || behind.get()).await;
            });
            let work = Endless(Rc::clone(&turns));
            spawn_local(async move { turnstile.by_turns(&watch(&watches).await, work).await });
            let begun = Instant::now();
            while turns.get() < 5 {
                tokio::task::yield_now().await;
            }
            assert!(begun.elapsed() >= PAUSE * 4, "{:?}", begun.elapsed());
            is_behind.set(false);
            while turns.get() < 10_000 {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn those_who_left_hold_up_nobody() {
        on_thread(async {
            let (turnstile, watches) = (Rc::new(Turnstile::default()), watches());
            let enter = || watches.enter(Waker::noop().clone());
            let (gone, last): (Vec<_>, _) = ((0..1000).map(|_| enter()).collect(), enter());
            gone.iter().chain([&last]).for_each(|watch| turnstile.enter(watch));
            gone.iter().for_each(|watch| watches.leave(watch));
            let (attendant, passed) = (Rc::clone(&turnstile), Rc::new(Counter::default()));
            let counter = Rc::clone(&passed);
            spawn_local(async move { attendant.attend(&counter, || true).await });
            while last.waits() {
                tokio::task::yield_now().await;
            }
            assert_eq!(passed.get(), 1);
        });
    }

    #[test]
    fn turns_come_in_order_and_nobody_has_two_places() {
        on_thread(async {
            let (turnstile, watches) = (Rc::new(Turnstile::default()), watches());
            let all: Vec<_> = (0..5).map(|_| watches.enter(Waker::noop().clone())).collect();
            for watch in all.iter().chain(&all) {
                turnstile.enter(watch);
            }
            let attendant = Rc::clone(&turnstile);
            spawn_local(async move { attendant.attend(&Counter::default(), || false).await });
            for next in 0..=all.len() {
                while all.iter().take(next).any(|watch| watch.waits()) {
                    tokio::task::yield_now().await;
                }
                let waiting = all.iter().filter(|watch| watch.waits()).count();
                assert_eq!(waiting, all.len() - next, "one at a time, the first first");
            }
            assert!(turnstile.queue.borrow().is_empty());
        });
    }
}
