//! An edge that stores its clicks itself, in a real engine: the one that `TEST_CLICKHOUSE_URL` names, where
//! every test has a database of its own, with control's schema; and one that a test kills.

mod engine;
mod parts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use carom_edge::control::{ControlClient, ControlUrls};
use carom_edge::ship::{ClickSink, ClicksUrls, SinkError, Stored, StraightSink};
use carom_shared::batch::{Batch, BatchBuilder, Range, Token};
use carom_shared::click::{Channel, Details, Device, Kind, Privacy, Via};
use carom_shared::clickhouse::{CLOSED, batch_number, insert_body};
use carom_shared::{Click, DomainId, LinkId, SystemRandom, TestClock, UnixMillis, WorkspaceId};

use crate::client::Client;
use crate::follow::{Control, Fleet, Shared, TOKEN, version};
use crate::world::{NOW, eventually, metric};
use engine::{Database, Engine, shared_url};

/// Rows of a batch of [`batch`].
const ROWS: u64 = 100;

/// A batch of clicks on ten links, as a file.
fn batch(number: u32) -> (Token, Vec<u8>) {
    sized_batch(number, u32::try_from(ROWS).unwrap(), NOW)
}

fn sized_batch(number: u32, rows: u32, made_at: UnixMillis) -> (Token, Vec<u8>) {
    let mut builder = BatchBuilder::new();
    for row in 0..rows {
        builder.push(&Click {
            workspace: WorkspaceId::try_from(1).unwrap(),
            link: LinkId::try_from(i64::from(row % 10) + 1).unwrap(),
            domain: DomainId::try_from(1).unwrap(),
            at_s: u32::try_from(made_at.as_secs()).unwrap(),
            n: 1,
            kind: Kind::Human,
            via: Via::Link,
            variant: 0,
            status: 302,
            target_revision: 1,
            visitor: u64::from(row),
            privacy: Privacy::default(),
            channel: Channel::Direct,
            device: Device::Desktop,
            details: Details::default(),
        });
    }
    let file = builder.finish(made_at, &[Range { epoch: 1, from: 0, to: 64 }]);
    (Token::new(7, 1, number, file.rows, file.crc), file.bytes)
}

/// A sink on these servers, beside a control plane that takes everything.
fn sink(url: &str, control: &str, patience: Duration) -> StraightSink {
    let urls = ControlUrls::parse(control).unwrap();
    let (wait, random) = (Duration::from_secs(2), Arc::new(SystemRandom));
    let control = ControlClient::new(&urls, TOKEN, wait, random).unwrap();
    let clock = Arc::new(TestClock::new(NOW));
    let urls = ClicksUrls::parse(url).unwrap();
    StraightSink::new(&urls, Path::new(""), control, clock, patience).unwrap().unwrap()
}

/// A sink whose store is this database, and the control plane.
fn rig(database: &Database) -> (StraightSink, Shared) {
    let (control, address) = Control::start();
    (sink(&database.url(), &format!("http://{address}"), Duration::from_secs(60)), control)
}

async fn store(
    sink: &StraightSink,
    (token, bytes): &(Token, Vec<u8>),
) -> Result<Stored, SinkError> {
    sink.store(token.clone(), bytes.clone().into()).await
}

fn rows_of(database: &Database, token: &Token) -> u64 {
    database.number(&format!(
        "SELECT count() FROM click WHERE batch = {}",
        batch_number(token.as_str())
    ))
}

#[tokio::test]
async fn a_batch_is_stored_noted_and_recognised() {
    let database = Database::new(&shared_url());
    let (sink, control) = rig(&database);
    let one = batch(1);
    assert_eq!(store(&sink, &one).await.unwrap(), Stored::New);
    assert_eq!(store(&sink, &one).await.unwrap(), Stored::Already);
    let number = batch_number(one.0.as_str());
    assert_eq!(rows_of(&database, &one.0), ROWS);
    let count = |sql: &str| database.number(sql);
    assert_eq!(count(&format!("SELECT sum(rows) FROM batch WHERE batch = {number}")), ROWS);
    assert_eq!(count("SELECT count() FROM click_change"), 10);
    assert_eq!(
        count(&format!("SELECT count() FROM click_change WHERE changed_ms = {}", NOW.get())),
        10
    );
    assert_eq!(count("SELECT toUInt64(sum(click_quarter.n)) FROM click_quarter"), ROWS);
    assert_eq!(control.lock().unwrap().batches, 0);
}

/// Whoever moves clicks away closes the store; edges that do not know it leave their batches to control.
#[tokio::test]
async fn a_store_that_is_closed_gets_no_batch() {
    let database = Database::new(&shared_url());
    let (sink, control) = rig(&database);
    let [workspace, link] = CLOSED;
    let far = i64::MAX;
    database.run(&format!("INSERT INTO erasure VALUES ({workspace}, {link}, {far}, 1)"));
    let one = batch(1);
    assert_eq!(store(&sink, &one).await.unwrap(), Stored::New, "by control");
    assert_eq!((control.lock().unwrap().batches, rows_of(&database, &one.0)), (1, 0));
    database.run("ALTER TABLE erasure DELETE WHERE workspace = 0 SETTINGS mutations_sync = 2");
    let two = batch(2);
    assert_eq!(store(&sink, &two).await.unwrap(), Stored::New);
    assert_eq!((control.lock().unwrap().batches, rows_of(&database, &two.0)), (1, ROWS));
}

#[tokio::test]
async fn what_a_killed_call_left_is_noted_or_left_to_control() {
    let database = Database::new(&shared_url());
    let (sink, control) = rig(&database);
    let brought = || control.lock().unwrap().batches;
    let body = |(token, bytes): &(Token, Vec<u8>)| {
        insert_body(token.as_str(), &Batch::from_bytes(bytes).unwrap(), false)
    };
    // All rows, and no ledger.
    let whole = batch(1);
    database.insert(&body(&whole), &format!("{}.0", whole.0));
    assert_eq!(store(&sink, &whole).await.unwrap(), Stored::Already);
    assert_eq!(database.number("SELECT count() FROM batch"), 1);
    assert_eq!(brought(), 0);
    // The token is known, and the rows are not.
    let swallowed = batch(2);
    database.insert(&body(&swallowed), &format!("{}.0", swallowed.0));
    let number = batch_number(swallowed.0.as_str());
    database.run(&format!(
        "ALTER TABLE click DELETE WHERE batch = {number} SETTINGS mutations_sync = 2"
    ));
    assert_eq!(store(&sink, &swallowed).await.unwrap(), Stored::New, "by control");
    assert_eq!((brought(), rows_of(&database, &swallowed.0)), (1, 0));
    // Twice.
    let twice = batch(3);
    database.insert(&body(&twice), "a");
    database.insert(&body(&twice), "b");
    store(&sink, &twice).await.unwrap();
    assert_eq!((brought(), rows_of(&database, &twice.0)), (2, 2 * ROWS));
    // In part.
    let part = batch(4);
    database.insert(&body(&part), "c");
    let number = batch_number(part.0.as_str());
    database.run(&format!(
        "ALTER TABLE click DELETE WHERE batch = {number} AND row > 3 SETTINGS mutations_sync = 2"
    ));
    store(&sink, &part).await.unwrap();
    assert_eq!((brought(), rows_of(&database, &part.0)), (3, 4));
    assert_eq!(database.number("SELECT count() FROM batch"), 1, "control notes what it stores");
}

#[tokio::test]
async fn a_batch_older_than_the_ledger_is_refused_unless_it_is_known() {
    let database = Database::new(&shared_url());
    let (sink, control) = rig(&database);
    let long_ago = UnixMillis::new(NOW.get() - 91 * 86_400_000);
    let old = sized_batch(1, 5, long_ago);
    assert!(matches!(store(&sink, &old).await, Err(SinkError::Refused(_))));
    let body = insert_body(old.0.as_str(), &Batch::from_bytes(&old.1).unwrap(), false);
    database.insert(&body, "x");
    assert_eq!(store(&sink, &old).await.unwrap(), Stored::Already);
    assert_eq!(control.lock().unwrap().batches, 0);
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for_and_then_gone_around() {
    let (control, address) = Control::start();
    let control_url = format!("http://{address}");
    let nobody = "http://127.0.0.1:1/carom";
    let patient = sink(nobody, &control_url, Duration::from_secs(60));
    assert!(matches!(store(&patient, &batch(1)).await, Err(SinkError::Unavailable(_))));
    assert_eq!(control.lock().unwrap().batches, 0);
    let hasty = sink(nobody, &control_url, Duration::ZERO);
    for number in 1..=3 {
        assert_eq!(store(&hasty, &batch(number)).await.unwrap(), Stored::New);
    }
    assert_eq!(control.lock().unwrap().batches, 3);
    control.lock().unwrap().is_away = true;
    assert!(matches!(store(&hasty, &batch(4)).await, Err(SinkError::Unavailable(_))));
    // Of several servers the one that is there.
    let database = Database::new(&shared_url());
    let urls = format!("{},{}", nobody.replace("carom", database.name()), database.url());
    let several = sink(&urls, &control_url, Duration::from_secs(60));
    assert_eq!(store(&several, &batch(5)).await.unwrap(), Stored::New);
    assert_eq!(rows_of(&database, &batch(5).0), ROWS);
}

#[tokio::test]
async fn what_the_store_refuses_is_shown_to_control() {
    // No tables.
    let database = Database::empty(&shared_url());
    let (sink, control) = rig(&database);
    assert_eq!(store(&sink, &batch(1)).await.unwrap(), Stored::New);
    // Not the right password.
    let wrong = database.url().replacen("http://", "http://nobody:secret@", 1);
    let (_, address) = Control::start();
    let wrong = self::sink(&wrong, &format!("http://{address}"), Duration::from_secs(60));
    assert_eq!(store(&wrong, &batch(2)).await.unwrap(), Stored::New);
    assert_eq!(control.lock().unwrap().batches, 1);
    // Bytes that are no batch.
    let (token, mut bytes) = batch(3);
    bytes.truncate(100);
    drop(store(&sink, &(token, bytes)).await);
    assert_eq!(control.lock().unwrap().batches, 2);
}

#[test]
fn an_edge_stores_its_clicks_and_brings_them_to_who_watches() {
    let database = Database::new(&shared_url());
    let (control, address) = Control::start();
    control.lock().unwrap().put("a", version(1, "https://e.test/a"));
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::new(NOW)));
    let fleet =
        Fleet::start_storing(dir.path(), &format!("http://{address}"), &database.url(), &clock);
    let mut client = Client::connect(fleet.edge().address());
    for _ in 0..50 {
        assert_eq!(client.get("/a").status, 302);
    }
    eventually("the clicks are stored", || database.number("SELECT count() FROM click") == 50);
    let edge = fleet.edge();
    let straight = || metric(edge, "carom_edge_batches_stored_total{way=\"straight\"}");
    let by_control = || metric(edge, "carom_edge_batches_stored_total{way=\"control\"}");
    eventually("it is counted", || straight() > 0);
    assert_eq!((by_control(), metric(edge, "carom_edge_store_away_seconds")), (0, 0));
    assert!(metric(edge, "carom_edge_store_bytes_total") > 0);

    control.lock().unwrap().are_clicks_watched = true;
    eventually("clicks are brought to control", || {
        assert_eq!(client.get("/a").status, 302);
        std::thread::sleep(Duration::from_millis(100));
        by_control() > 0
    });
}

/// `CAROM_KILLS` says how often.
#[test]
fn an_engine_that_is_killed_has_each_batch_once() {
    #[expect(clippy::disallowed_methods, reason = "a test's environment")]
    let kills = std::env::var("CAROM_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let mut engine = Engine::start();
    let database = Database::new(&engine.url());
    let (control, address) = Control::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = database.url();
    let shipping = runtime.handle().clone();
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let shipper = std::thread::spawn(move || {
        let sink = sink(&url, &format!("http://{address}"), Duration::from_secs(3600));
        let (mut number, mut failed, mut already) = (0, 0_u32, 0_u32);
        while !over.load(std::sync::atomic::Ordering::SeqCst) {
            let one = batch(number);
            loop {
                match shipping.block_on(store(&sink, &one)) {
                    Ok(stored) => break already += u32::from(stored == Stored::Already),
                    Err(_) => failed += 1,
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            number += 1;
        }
        (number, failed, already)
    });
    let mut seed = 0x9e37_79b9_u32;
    for _ in 0..kills {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::thread::sleep(Duration::from_millis(u64::from(seed >> 16) % 600 + 50));
        engine.kill();
        engine.restart();
        eventually("it is back", || database.try_number("SELECT 1") == Some(1));
    }
    is_over.store(true, std::sync::atomic::Ordering::SeqCst);
    let (stored, failed, already) = shipper.join().unwrap();
    let by_control = control.lock().unwrap().batches;
    let whole = database.number(&format!(
        "SELECT count() FROM (SELECT batch FROM click GROUP BY batch HAVING count() = {ROWS})"
    ));
    let batches = database.number("SELECT uniqExact(batch) FROM click");
    // Of those that were left to control nothing may be there, or a part.
    assert!(whole + by_control >= u64::from(stored) && batches - whole <= by_control);
    let rows = database.number("SELECT count() FROM click");
    assert!(rows >= whole * ROWS && whole <= u64::from(stored), "{rows} {whole} {stored}");
    assert!(kills == 0 || failed > 0, "void if no call was cut off");
    #[expect(clippy::print_stderr, reason = "the figures of a run")]
    {
        eprintln!(
            "{kills} kills, {stored} batches, {failed} calls failed, {already} found, {by_control} left to control"
        );
    }
}
