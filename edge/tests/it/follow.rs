//! An edge of its own, and what becomes of what it knows when its control plane forgets, changes its
//! database, or goes away.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carom_edge::control::{ControlClient, ControlUrls};
use carom_edge::follow::{Follower, first_bundle};
use carom_edge::l2::{L2, L2Origin};
use carom_edge::process::Inherited;
use carom_edge::resolve::Origin;
use carom_edge::ship::{ClickSink, ClicksUrls, StraightSink};
use carom_edge::{Domains, Edge, EdgeConfig, EdgeParts, OnStale, SpoolConfig};
use carom_shared::internal::RoutePage;
use carom_shared::{
    Bundle, Clock, FeedPage, FeedPosition, Host, RouteChange, RouteRecord, Salts, ServedDomain,
    SystemRandom, TestClock,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::world::{DOMAIN, NOW, change, domain, eventually, metric, route};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// How long a question to Redis may take: ten times what it may where visitors wait, as tests share
/// their processors with much else.
pub(crate) const L2_PATIENCE: Duration = Duration::from_millis(500);

/// A control plane that a test can make forget.
pub(crate) struct Control {
    pub(crate) is_away: bool,
    /// Questions for changes that came meanwhile.
    turned_away: u64,
    /// It fails for single routes.
    pub(crate) fails_for_routes: bool,
    pub(crate) epoch: u64,
    /// Numbers up to and with this are not known any more.
    forgotten: u64,
    changes: Vec<RouteChange>,
    pub(crate) routes: HashMap<String, RouteRecord>,
    /// How often it was asked for a route, and for changes.
    pub(crate) asked: u64,
    pub(crate) asked_changes: u64,
    /// Batches that it was brought.
    pub(crate) batches: u64,
    /// Whether it says that somebody watches clicks.
    pub(crate) are_clicks_watched: bool,
    /// Pages of all routes that it still gives.
    pub(crate) listings: u64,
    /// How long an answer takes.
    pub(crate) delay: Duration,
}

pub(crate) type Shared = Arc<Mutex<Control>>;

impl Control {
    pub(crate) fn start() -> (Shared, SocketAddr) {
        let control = Self {
            is_away: false,
            turned_away: 0,
            fails_for_routes: false,
            epoch: 1,
            forgotten: 0,
            changes: Vec::new(),
            routes: HashMap::new(),
            asked: 0,
            asked_changes: 0,
            batches: 0,
            are_clicks_watched: false,
            listings: 0,
            // It does not wait for changes, so it is asked the more often.
            delay: Duration::from_millis(10),
        };
        let control = Arc::new(Mutex::new(control));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&control);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        (control, address)
    }

    pub(crate) fn put(&mut self, code: &str, record: RouteRecord) {
        self.routes.insert(code.to_owned(), record.clone());
        self.changes.push(change(code, record));
    }

    pub(crate) fn head(&self) -> FeedPosition {
        FeedPosition { epoch: self.epoch, seq: self.forgotten + self.changes.len() as u64 }
    }

    /// Changes routes, and knows these changes no more.
    pub(crate) fn put_and_forget(&mut self, code: &str, record: RouteRecord) {
        self.put(code, record);
        // More than one, so that nobody can have heard of all but this.
        self.forgotten = self.head().seq + 10;
        self.changes.clear();
    }

    /// The status and the body of the answer to a path.
    fn answer(&mut self, path: &str) -> (u16, Vec<u8>) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let number = |name: &str| -> Option<u64> {
            query.split('&').find_map(|part| part.strip_prefix(name)?.parse().ok())
        };
        match path.strip_prefix("/internal/v1/").unwrap() {
            "bundle" => {
                let host = Host::parse("go.example.com").unwrap();
                let served = ServedDomain::new(domain(DOMAIN), host, false);
                let salts = Salts::default().roll(NOW, &SystemRandom);
                let bundle = Bundle::new(vec![served], salts);
                let bundle = bundle.with_watched_clicks(self.are_clicks_watched);
                (200, serde_json::to_vec(&bundle).unwrap())
            }
            "changes" => {
                self.asked_changes += 1;
                let head = self.head();
                let after = number("after=").unwrap_or(head.seq);
                let epoch = number("epoch=").unwrap_or(self.epoch);
                if epoch != self.epoch || after < self.forgotten || after > head.seq {
                    return (410, Vec::new());
                }
                let known = usize::try_from(after - self.forgotten).unwrap();
                let changes = &self.changes[known..];
                let changes = changes[..changes.len().min(FeedPage::CHANGES_MAX)].to_vec();
                (200, FeedPage { head, first: after + 1, changes }.to_bytes())
            }
            "routes" => {
                let Some(left) = self.listings.checked_sub(1) else { return (503, Vec::new()) };
                self.listings = left;
                let code = query.split('&').find_map(|part| part.strip_prefix("code="));
                let after = code.unwrap_or_default();
                let mut after: Vec<_> =
                    self.routes.iter().filter(|(code, _)| code.as_str() > after).collect();
                after.sort_by_key(|(code, _)| *code);
                let page = after.into_iter().take(RoutePage::ROUTES_MAX);
                let page = page.map(|(code, record)| change(code, record.clone())).collect();
                (200, RoutePage(page).to_bytes())
            }
            other => match other.strip_prefix(&format!("routes/{DOMAIN}/")) {
                Some(code) => {
                    self.asked += 1;
                    if self.fails_for_routes {
                        return (503, Vec::new());
                    }
                    let record = self.routes.get(code);
                    record.map_or((204, Vec::new()), |record| (200, record.to_bytes()))
                }
                None => {
                    self.batches += u64::from(other.starts_with("clicks/"));
                    (201, Vec::new())
                }
            },
        }
    }
}

fn serve(mut stream: &TcpStream, control: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            head.push_str(&std::mem::take(&mut line));
        }
        let Some(path) = head.split(' ').nth(1) else { return };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        std::io::Read::read_exact(&mut reader, &mut body).unwrap();
        let (status, body, delay) = {
            let mut control = control.lock().unwrap();
            if control.is_away {
                control.turned_away += u64::from(path.contains("/changes"));
                return;
            }
            let (status, body) = control.answer(path);
            (status, body, control.delay)
        };
        std::thread::sleep(delay);
        let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n", body.len());
        drop(stream.write_all(&[head.as_bytes(), &body].concat()));
    }
}

/// An edge of its own, in this process.
pub(crate) struct Fleet {
    edge: Option<Edge>,
    stop: CancellationToken,
    _runtime: Runtime,
}

impl Fleet {
    fn start(dir: &Path, control: SocketAddr, clock: &Arc<TestClock>) -> Self {
        Self::start_with(dir, &format!("http://{control}"), None, clock)
    }

    /// An edge of these control planes and, if there is one, this Redis.
    pub(crate) fn start_with(
        dir: &Path,
        control: &str,
        redis: Option<&str>,
        clock: &Arc<TestClock>,
    ) -> Self {
        Self::start_whole(dir, control, redis, "", clock)
    }

    /// An edge that stores its clicks itself.
    #[cfg(feature = "clickhouse-tests")]
    pub(crate) fn start_storing(
        dir: &Path,
        control: &str,
        clicks: &str,
        clock: &Arc<TestClock>,
    ) -> Self {
        Self::start_whole(dir, control, None, clicks, clock)
    }

    fn start_whole(
        dir: &Path,
        control: &str,
        redis: Option<&str>,
        clicks: &str,
        clock: &Arc<TestClock>,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut config = EdgeConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            threads: 1,
            // A machine with much to do is no reason to refuse anybody.
            max_lag_ms: 60_000,
            drain_timeout_ms: 5000,
            stale_max_s: 3600,
            on_stale: OnStale::Refuse,
            ..EdgeConfig::default()
        };
        config.resolve.negative_ms = 0;
        let urls = ControlUrls::parse(control).unwrap();
        let (patience, stop) = (Duration::from_secs(2), CancellationToken::new());
        let client = ControlClient::new(&urls, TOKEN, patience, Arc::new(SystemRandom)).unwrap();
        let l2 = |url| L2::new(url, Path::new(""), L2_PATIENCE, Arc::new(SystemRandom)).unwrap();
        let l2 = redis.map(l2);
        let mut origin: Arc<dyn Origin> = Arc::new(client.clone());
        if let Some(l2) = &l2 {
            // The test ends it.
            #[expect(
                clippy::disallowed_methods,
                reason = "there is no owner that could wait for it"
            )]
            drop(runtime.handle().spawn(l2.clone().keep(stop.clone())));
            origin = Arc::new(L2Origin::new(l2.clone(), origin));
        }
        let kept = dir.join("bundle.json");
        let first = runtime.block_on(first_bundle(&client, &kept)).unwrap();
        let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
        let straight = StraightSink::new(
            &ClicksUrls::parse(clicks).unwrap(),
            Path::new(""),
            client.clone(),
            Arc::clone(&clock),
            Duration::from_secs(60),
        );
        let sink: Arc<dyn ClickSink> = match straight.unwrap() {
            Some(sink) => Arc::new(sink),
            None => Arc::new(client.clone()),
        };
        let edge = Edge::start(EdgeParts {
            config: config.clone(),
            inherited: Inherited::default(),
            spool: SpoolConfig { ring_bytes: 4 << 20, ..SpoolConfig::default() },
            spool_dir: dir.join("spool"),
            snapshot: Some(dir.join("routes.snapshot")),
            domains: Domains::serving(&first.bundle.domains),
            disabled: first.bundle.disabled_workspaces.clone(),
            salts: first.bundle.salts.clone(),
            clock: Arc::clone(&clock),
            random: Arc::new(SystemRandom),
            origin,
            sink,
            background: runtime.handle().clone(),
        })
        .unwrap();
        let random = Arc::new(SystemRandom);
        let follower = Follower::new(&edge, client, &config, first, kept, clock, random);
        let follower = follower.with_l2(l2);
        // The test ends it.
        #[expect(clippy::disallowed_methods, reason = "there is no owner that could wait for it")]
        drop(runtime.handle().spawn(follower.run(stop.clone())));
        Self { edge: Some(edge), stop, _runtime: runtime }
    }

    pub(crate) fn edge(&self) -> &Edge {
        self.edge.as_ref().unwrap()
    }

    /// The status of an answer, and where it leads.
    pub(crate) fn leads(&self, code: &str) -> (u16, String) {
        let reply = Client::connect(self.edge().address()).get(&format!("/{code}"));
        (reply.status, reply.header("location").unwrap_or_default().to_owned())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
        let edge = self.edge.take().unwrap();
        if std::thread::panicking() {
            return;
        }
        assert!(edge.stop().ring_drained);
    }
}

pub(crate) fn to(target: &str) -> (u16, String) {
    (302, target.to_owned())
}

pub(crate) fn version(version: u64, target: &str) -> RouteRecord {
    RouteRecord { version, ..route(7, target) }
}

#[test]
fn changes_that_were_missed_are_made_good_and_nothing_is_forgotten() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::new(NOW)));
    let (control, address) = Control::start();
    for code in ["a", "b", "c"] {
        control.lock().unwrap().put(code, version(1, "https://e.test/1"));
    }
    let fleet = Fleet::start(dir.path(), address, &clock);
    for code in ["a", "b", "c"] {
        assert_eq!(fleet.leads(code), to("https://e.test/1"));
    }
    control.lock().unwrap().put("b", version(2, "https://e.test/2"));
    eventually("a change is there", || fleet.leads("b") == to("https://e.test/2"));
    assert_eq!(metric(fleet.edge(), "carom_edge_feed_gaps_total"), 0);

    control.lock().unwrap().put_and_forget("a", version(2, "https://e.test/2"));
    eventually("what was missed is there", || fleet.leads("a") == to("https://e.test/2"));
    assert_eq!(metric(fleet.edge(), "carom_edge_feed_gaps_total"), 1);
    assert_eq!(fleet.leads("c"), to("https://e.test/1"));
    control.lock().unwrap().put("c", version(2, "https://e.test/2"));
    eventually("the feed is followed again", || fleet.leads("c") == to("https://e.test/2"));

    // What an edge missed while it was down, it has before it answers.
    drop(fleet);
    control.lock().unwrap().put("b", version(3, "https://e.test/3"));
    let fleet = Fleet::start(dir.path(), address, &clock);
    assert_eq!(fleet.leads("b"), to("https://e.test/3"));
}

#[test]
fn another_database_is_believed_though_its_versions_are_smaller() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::new(NOW)));
    let (control, address) = Control::start();
    control.lock().unwrap().put("a", version(9, "https://e.test/new"));
    let fleet = Fleet::start(dir.path(), address, &clock);
    assert_eq!(fleet.leads("a"), to("https://e.test/new"));
    {
        let mut control = control.lock().unwrap();
        control.epoch = 2;
        control.routes.insert("a".to_owned(), version(3, "https://e.test/restored"));
    }
    eventually("what was restored is served", || fleet.leads("a") == to("https://e.test/restored"));
}

#[test]
fn what_is_too_old_is_refused_where_that_is_wanted_also_after_a_restart() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::new(NOW)));
    let (control, address) = Control::start();
    control.lock().unwrap().put("a", version(1, "https://e.test/"));
    let fleet = Fleet::start(dir.path(), address, &clock);
    assert_eq!(fleet.leads("a"), to("https://e.test/"));
    control.lock().unwrap().is_away = true;
    // What was answered before that is heard: it asks again.
    eventually("nobody answers", || control.lock().unwrap().turned_away > 0);
    clock.advance(Duration::from_secs(3590));
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(fleet.leads("a"), to("https://e.test/"));
    clock.advance(Duration::from_secs(20));
    eventually("it is refused", || fleet.leads("a").0 == 503);
    drop(fleet);

    let fleet = Fleet::start(dir.path(), address, &clock);
    eventually("it is refused", || fleet.leads("a").0 == 503);
    control.lock().unwrap().is_away = false;
    eventually("it is served again", || fleet.leads("a") == to("https://e.test/"));
    drop(fleet);

    // What a start brought up to date is not as old as its file.
    clock.advance(Duration::from_secs(7200));
    let fleet = Fleet::start(dir.path(), address, &clock);
    for _ in 0..20 {
        assert_eq!(fleet.leads("a"), to("https://e.test/"));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The feed is followed again at once; what is known is not fresh before it has been asked for.
#[test]
fn what_was_missed_is_stale_until_it_was_asked_for_again() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::new(NOW)));
    let (control, address) = Control::start();
    control.lock().unwrap().put("a", version(1, "https://e.test/1"));
    let fleet = Fleet::start(dir.path(), address, &clock);
    assert_eq!(fleet.leads("a"), to("https://e.test/1"));
    control.lock().unwrap().is_away = true;
    eventually("nobody answers", || control.lock().unwrap().turned_away > 0);
    clock.advance(Duration::from_secs(3601));
    eventually("it is refused", || fleet.leads("a").0 == 503);
    {
        let mut control = control.lock().unwrap();
        control.put_and_forget("a", version(2, "https://e.test/2"));
        (control.is_away, control.fails_for_routes, control.asked_changes) = (false, true, 0);
    }
    eventually("the feed is followed", || control.lock().unwrap().asked_changes > 5);
    // Longer than it takes to see that nothing is stale.
    for _ in 0..12 {
        assert_eq!(fleet.leads("a").0, 503);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(metric(fleet.edge(), "carom_edge_feed_refuses") == 1);
    control.lock().unwrap().fails_for_routes = false;
    eventually("it is served again", || fleet.leads("a") == to("https://e.test/2"));
}

/// Nobody answers for days: what is kept of salts goes all the same.
#[test]
fn salts_are_kept_no_longer_than_they_may_be_also_without_a_control_plane() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::new(NOW)));
    let (control, address) = Control::start();
    let _fleet = Fleet::start(dir.path(), address, &clock);
    let salts = || {
        let kept = std::fs::read(dir.path().join("bundle.json")).ok()?;
        Some(serde_json::from_slice::<Bundle>(&kept).ok()?.salts.iter().count())
    };
    eventually("a bundle is kept", || salts() == Some(2));
    control.lock().unwrap().is_away = true;
    clock.advance(Duration::from_hours(72));
    eventually("its salts go", || salts() == Some(0));
}

#[test]
fn another_control_plane_is_asked_once_one_fails_and_clicks_wait_for_the_first() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::new(NOW)));
    let ((first, first_at), (second, second_at)) = (Control::start(), Control::start());
    for control in [&first, &second] {
        control.lock().unwrap().put("a", version(1, "https://e.test/"));
    }
    let urls = format!("http://{first_at},http://{second_at}");
    let fleet = Fleet::start_with(dir.path(), &urls, None, &clock);
    assert_eq!(fleet.leads("a"), to("https://e.test/"));
    eventually("clicks are brought", || first.lock().unwrap().batches == 1);
    assert_eq!(second.lock().unwrap().asked_changes, 0);

    first.lock().unwrap().is_away = true;
    for control in [&first, &second] {
        control.lock().unwrap().put("b", version(1, "https://e.test/b"));
    }
    assert_eq!(fleet.leads("b"), to("https://e.test/b"));
    eventually("the other one is followed", || second.lock().unwrap().asked_changes > 5);
    second.lock().unwrap().put("a", version(2, "https://e.test/2"));
    eventually("a change is there", || fleet.leads("a") == to("https://e.test/2"));
    assert_eq!(metric(fleet.edge(), "carom_edge_feed_gaps_total"), 0);
    eventually("the clicks wait", || metric(fleet.edge(), "carom_edge_batches_waiting") > 0);

    let asked = {
        let mut first = first.lock().unwrap();
        (first.is_away, _) = (false, first.put("a", version(2, "https://e.test/2")));
        first.asked_changes
    };
    eventually("they are brought", || metric(fleet.edge(), "carom_edge_batches_waiting") == 0);
    assert_eq!(second.lock().unwrap().batches, 0);
    assert_eq!(first.lock().unwrap().asked_changes, asked, "who answers is asked");
}
