//! Whatever happens, in any order: what is answered is never older than what was applied.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::AtomicU64;

use carom_shared::{TestClock, UnixMillis};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;

/// Changes and routes of one page: few, so that there are several pages.
const PAGE: usize = 3;

/// The database: routes, and the feed of their changes.
#[derive(Default)]
struct Database {
    routes: Mutex<BTreeMap<String, RouteRecord>>,
    feed: Mutex<Feed>,
    /// Questions for a code.
    asked: AtomicU64,
    /// Only the first page of all routes is to be had.
    is_cut: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct Feed {
    epoch: u64,
    /// How many of the oldest changes are not kept any more.
    pruned: usize,
    changes: Vec<RouteChange>,
}

impl Database {
    fn version(&self, code: &str) -> u64 {
        self.routes.lock().unwrap().get(code).map_or(0, |record| record.version)
    }

    /// Commits a change; returns it and its number.
    fn change(&self, code: &str) -> (RouteChange, u64) {
        let change = change(code, self.version(code) + 1);
        self.routes.lock().unwrap().insert(code.to_owned(), change.record.clone());
        let mut feed = self.feed.lock().unwrap();
        feed.changes.push(change.clone());
        (change, feed.changes.len() as u64)
    }
}

impl Origin for Database {
    fn resolve(&self, _domain: DomainId, code: &Code) -> OriginFuture {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.routes.lock().unwrap().get(code.as_str()).cloned();
        Box::pin(async { Ok(answer) })
    }

    fn announces_changes(&self) -> bool {
        true
    }

    fn changes(&self, after: Option<FeedPosition>) -> OriginFuture<Option<FeedPage>> {
        let feed = self.feed.lock().unwrap();
        let head = FeedPosition { epoch: feed.epoch, seq: feed.changes.len() as u64 };
        let skipped = usize::try_from(after.map_or(head.seq, |after| after.seq)).unwrap();
        let is_known = skipped >= feed.pruned && after.is_none_or(|at| at.epoch == feed.epoch);
        let page = is_known.then(|| {
            let changes: Vec<_> = feed.changes.iter().skip(skipped).take(PAGE).cloned().collect();
            FeedPage { head, first: skipped as u64 + 1, changes }
        });
        Box::pin(async { Ok(page) })
    }

    fn routes(&self, after: Option<(DomainId, Code)>) -> OriginFuture<Vec<RouteChange>> {
        if after.is_some() && self.is_cut.load(Ordering::SeqCst) {
            return Box::pin(async { Err(OriginError("away".to_owned())) });
        }
        let after = after.map_or(String::new(), |(_, code)| code.as_str().to_owned());
        let routes = self.routes.lock().unwrap();
        let route = |(code, record): (&String, &RouteRecord)| RouteChange {
            record: record.clone(),
            ..change(code, 1)
        };
        let page = routes.iter().filter(|(code, _)| **code > after).take(PAGE).map(route).collect();
        Box::pin(async { Ok(page) })
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A code is created or changed, and the edge is told.
    Change(usize),
    /// A code is created or changed, and the edge is told that it may have missed something.
    Missed(usize),
    /// The edge is told of a change a second time, or late.
    Again(usize),
    Ask(usize),
    /// The overlay forgets what it has.
    Forget,
    /// A snapshot is written, while these codes change, one after each route; then they change.
    Rewrite {
        during: Vec<usize>,
        is_given_up: bool,
    },
    /// The process ends, however it ends, and another starts.
    Restart,
    /// The same, and changes are not kept for that long.
    RestartLate,
    /// The same, with a byte of the file changed.
    RestartDamaged(usize),
    /// The same, on an older copy of the database.
    Restore,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let code = || 0..CODES.len();
    let step = prop_oneof![
        8 => code().prop_map(Step::Change),
        2 => code().prop_map(Step::Missed),
        2 => code().prop_map(Step::Again),
        8 => code().prop_map(Step::Ask),
        1 => Just(Step::Forget),
        4 => (proptest::collection::vec(code(), 0..6), prop::bool::weighted(0.2))
            .prop_map(|(during, is_given_up)| Step::Rewrite { during, is_given_up }),
        2 => Just(Step::Restart),
        1 => Just(Step::RestartLate),
        1 => any::<usize>().prop_map(Step::RestartDamaged),
        1 => Just(Step::Restore),
    ];
    proptest::collection::vec(step, 1..50)
}

const CODES: [&str; 7] = ["a", "b", "c", "dd", "ee", "ff", "ggg"];

/// An edge's memory with its file, on a database.
struct Life {
    runtime: Runtime,
    dir: TempDir,
    database: Arc<Database>,
    resolver: Resolver,
    keeper: RefCell<Keeper>,
    /// An older state of the database, to be restored.
    backup: BTreeMap<String, RouteRecord>,
    /// The overlay may have forgotten the newest version of these; a change that comes late is then
    /// no older than anything that is known.
    forgotten: RefCell<HashMap<String, bool>>,
}

fn start(runtime: &Runtime, dir: &Path, database: &Arc<Database>) -> (Resolver, Keeper) {
    let origin = Arc::clone(database) as Arc<dyn Origin>;
    let resolver = Resolver::new(&ResolveConfig::default(), origin, runtime.handle().clone());
    let plan = SnapshotPlan {
        path: dir.join("routes.snapshot"),
        bytes_max: 1 << 20,
        clock: Arc::new(TestClock::new(UnixMillis::new(1))),
    };
    (resolver.clone(), Keeper::open(resolver, plan))
}

impl Life {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let database = Arc::new(Database::default());
        let (resolver, keeper) = start(&runtime, dir.path(), &database);
        let (backup, forgotten) = Default::default();
        let keeper = RefCell::new(keeper);
        Self { runtime, dir, database, resolver, keeper, backup, forgotten }
    }

    fn restart(&mut self) {
        let (resolver, keeper) = start(&self.runtime, self.dir.path(), &self.database);
        self.resolver = resolver;
        self.keeper.replace(keeper);
        self.forgotten.borrow_mut().extend(CODES.map(|code| (code.to_owned(), true)));
    }

    fn change(&self, code: &str) {
        let (change, number) = self.database.change(code);
        self.resolver.apply(change);
        self.resolver.advance(self.database.feed.lock().unwrap().epoch, number, number);
        self.forgotten.borrow_mut().insert(code.to_owned(), false);
    }

    fn missed(&self, code: &str) {
        self.database.change(code);
        self.resolver.missed();
        self.wait_until(|whole| whole.doubts() == 0);
        self.forgotten.borrow_mut().insert(code.to_owned(), false);
    }

    fn wait_until(&self, is_so: impl Fn(&whole::Whole) -> bool) {
        let end = Instant::now() + Duration::from_secs(5);
        while !is_so(&self.resolver.0.memory.whole) {
            assert!(Instant::now() < end, "in vain");
            std::thread::yield_now();
        }
    }

    fn ask(&self, code: &str) {
        let expected = self.database.version(code);
        let key = Key::new(domain(), code);
        let answered = match self.resolver.known(&key) {
            Known::Route(route) => Some(route),
            Known::Absent => None,
            Known::Unknown => {
                let asked = self.resolver.look_up(&key, domain(), Code::parse(code).unwrap());
                self.runtime.block_on(asked).unwrap()
            }
        };
        assert_eq!(answered.as_ref().map_or(0, |route| route.version), expected, "{code}");
        if let Some(route) = answered {
            assert_eq!(route.location, format!("https://example.com/{expected}"));
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Change(code) => self.change(CODES[*code]),
            Step::Missed(code) => self.missed(CODES[*code]),
            Step::Again(code) => {
                let code = CODES[*code];
                let is_forgotten = self.forgotten.borrow().get(code).is_some_and(|is| *is);
                let feed = self.database.feed.lock().unwrap();
                let mut of_code = feed.changes.iter().filter(|change| change.code.as_str() == code);
                let old = if is_forgotten { of_code.next_back() } else { of_code.next() }.cloned();
                drop(feed);
                if let Some(old) = old {
                    self.resolver.apply(old);
                }
            }
            Step::Ask(code) => self.ask(CODES[*code]),
            Step::Forget => {
                self.resolver.0.memory.forget();
                self.forgotten.borrow_mut().extend(CODES.map(|code| (code.to_owned(), true)));
            }
            Step::Rewrite { during, is_given_up } => self.rewrite(during, *is_given_up),
            Step::Restart => self.restart(),
            Step::RestartLate => {
                let mut feed = self.database.feed.lock().unwrap();
                feed.pruned = feed.changes.len();
                drop(feed);
                self.restart();
            }
            Step::RestartDamaged(at) => {
                let path = self.dir.path().join("routes.snapshot");
                if let Ok(mut bytes) = std::fs::read(&path) {
                    let at = at % bytes.len();
                    bytes[at] ^= 0x10;
                    std::fs::remove_file(&path).unwrap();
                    std::fs::write(&path, bytes).unwrap();
                }
                self.restart();
            }
            Step::Restore => {
                let routes = std::mem::take(&mut self.backup);
                self.backup = std::mem::replace(&mut *self.database.routes.lock().unwrap(), routes);
                let mut feed = self.database.feed.lock().unwrap();
                *feed = Feed { epoch: feed.epoch + 1, ..Feed::default() };
                drop(feed);
                self.restart();
            }
        }
    }

    fn rewrite(&self, during: &[usize], is_given_up: bool) {
        let left = RefCell::new(during.iter());
        let done = self.keeper.borrow_mut().rewrite(&|| match left.borrow_mut().next() {
            Some(code) => {
                self.change(CODES[*code]);
                self.ask(CODES[*code]);
                false
            }
            None => is_given_up,
        });
        assert!(matches!(done, Ok(()) | Err(RewriteError::GivenUp)), "{done:?}");
        for code in CODES {
            self.ask(code);
        }
    }
}

#[test]
fn no_answer_is_older_than_what_was_applied() {
    let config = proptest::test_runner::Config { cases: 32, ..Default::default() };
    proptest::test_runner::TestRunner::new(config)
        .run(&steps(), |steps| {
            let mut life = Life::new();
            for step in &steps {
                life.take(step);
            }
            for code in CODES {
                life.ask(code);
            }
            Ok(())
        })
        .unwrap();
}

/// The same with threads: who asks sees at least what was applied before, and is never told that
/// nothing is known while it is on its way from one place to another.
#[test]
fn answers_are_never_older_while_threads_apply_ask_and_rewrite() {
    const ROUTES: usize = 200;
    let life = Life::new();
    let codes: Vec<_> = (0..ROUTES).map(|n| format!("c{n}")).collect();
    let applied: Vec<_> = (0..ROUTES).map(|_| AtomicU64::new(0)).collect();
    let (resolver, database) = (&life.resolver, &life.database);
    let apply = |n: usize| {
        let (change, number) = database.change(&codes[n]);
        let version = change.record.version;
        resolver.apply(change);
        resolver.advance(0, number, number);
        applied[n].store(version, Ordering::SeqCst);
    };
    (0..ROUTES).for_each(apply);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let mut keeper = life.keeper.borrow_mut();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !is_over.load(Ordering::SeqCst) {
                n = (n * 5 + 3) % ROUTES;
                apply(n);
            }
        });
        for reader in 0..2 {
            let (codes, applied, is_over) = (&codes, &applied, &is_over);
            scope.spawn(move || {
                let mut n = reader;
                while !is_over.load(Ordering::SeqCst) {
                    n = (n + 7) % ROUTES;
                    let at_least = applied[n].load(Ordering::SeqCst);
                    let Known::Route(route) = resolver.known(&Key::new(domain(), &codes[n])) else {
                        panic!("{} is known", codes[n]);
                    };
                    assert!(route.version >= at_least, "{} < {at_least}", route.version);
                }
            });
        }
        let end = std::time::Instant::now() + Duration::from_millis(700);
        while std::time::Instant::now() < end {
            keeper.rewrite(&|| false).unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert!(keeper.counts().written() > 3, "{}", keeper.counts().written());
    let held = resolver.held();
    assert!(held.snapshot.unwrap().routes > 0 && held.routes() >= ROUTES as u64);
}

#[test]
fn a_start_without_a_snapshot_asks_for_all_routes_in_the_background() {
    let life = Life::new();
    for code in CODES {
        life.database.change(code);
    }
    let known = |resolver: &Resolver| {
        let is_known =
            |code: &&str| matches!(resolver.known(&Key::new(domain(), code)), Known::Route(_));
        CODES.iter().filter(|code| is_known(code)).count()
    };
    let (resolver, mut keeper) = start(&life.runtime, life.dir.path(), &life.database);
    assert_eq!(known(&resolver), 0);
    keeper.rewrite(&|| false).unwrap();
    assert_eq!((known(&resolver), resolver.held().overlay_routes), (CODES.len(), 0));
    // The next one has them at once, and what changed since.
    life.database.change("a");
    let (resolver, _keeper) = start(&life.runtime, life.dir.path(), &life.database);
    assert_eq!(known(&resolver), CODES.len());
    let Known::Route(route) = resolver.known(&Key::new(domain(), "a")) else { panic!() };
    assert_eq!(route.version, 2);
}

#[test]
fn a_listing_that_does_not_end_is_of_use_and_is_begun_anew() {
    let life = Life::new();
    for code in CODES {
        life.database.change(code);
    }
    let (resolver, mut keeper) = start(&life.runtime, life.dir.path(), &life.database);
    keeper.hurry();
    life.database.is_cut.store(true, Ordering::SeqCst);
    keeper.rewrite(&|| false).unwrap();
    let held = || resolver.held().snapshot.unwrap().routes;
    assert_eq!((held(), resolver.held().is_whole), (PAGE as u64, false));
    keeper.rewrite(&|| false).unwrap();
    assert_eq!(held(), PAGE as u64);
    life.database.is_cut.store(false, Ordering::SeqCst);
    keeper.rewrite(&|| false).unwrap();
    assert_eq!((held(), resolver.held().is_whole), (CODES.len() as u64, true));
}

#[test]
fn who_holds_everything_asks_for_nothing() {
    let mut life = Life::new();
    let asked = |life: &Life, code: &str| {
        let before = life.database.asked.load(Ordering::SeqCst);
        life.ask(code);
        life.database.asked.load(Ordering::SeqCst) - before
    };
    life.change("a");
    assert_eq!(asked(&life, "b"), 1, "nobody knows what there was before");
    life.rewrite(&[2], false);
    assert_eq!(asked(&life, "dd"), 0);
    life.change("dd");
    life.restart();
    assert_eq!(asked(&life, "ee"), 0, "a start knows what the file before it knew");
    life.missed("ee");
    assert_eq!((asked(&life, "ee"), asked(&life, "ff")), (0, 0));
    // A number is left out.
    life.database.change("ff");
    life.change("ggg");
    life.wait_until(|whole| whole.doubts() == 0);
    assert_eq!(asked(&life, "ff"), 0);
    life.resolver.0.memory.forget();
    assert_eq!(asked(&life, "ff"), 1, "what it held before is forgotten");
    assert_eq!(asked(&life, "none"), 1);
    life.restart();
    assert_eq!(asked(&life, "none"), 0, "the file is whole");
}

#[test]
fn who_has_no_room_for_everything_asks() {
    let life = Life::new();
    CODES.iter().for_each(|code| life.change(code));
    life.keeper.borrow_mut().shrink(200);
    life.rewrite(&[], false);
    assert!(!life.resolver.held().is_whole);
}

#[test]
fn a_file_that_cannot_be_used_is_set_aside() {
    let mut life = Life::new();
    life.change("a");
    life.rewrite(&[], false);
    let path = life.dir.path().join("routes.snapshot");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"something else").unwrap();
    std::fs::write(life.dir.path().join("routes.1-1.tmp"), b"left by a killed process").unwrap();
    life.restart();
    assert_eq!(life.keeper.borrow().counts().failed(), 1);
    let names = std::fs::read_dir(life.dir.path()).unwrap().map(|file| file.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["routes.unusable"]);
    life.ask("a");
}
