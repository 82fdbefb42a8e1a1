//! An edge of its own that begins with nothing lists all routes, whatever happens meanwhile.

use std::sync::Arc;
use std::time::Duration;

use carom_shared::TestClock;

use crate::client::Client;
use crate::follow::{Control, Fleet, Shared, to, version};
use crate::world::{NOW, eventually, metric};

/// Three pages.
const ROUTES: usize = 3000;

fn with_routes() -> (Shared, std::net::SocketAddr) {
    let (control, address) = Control::start();
    {
        let mut control = control.lock().unwrap();
        for n in 0..ROUTES {
            control.routes.insert(format!("c{n}"), version(1, &format!("https://e.test/{n}")));
        }
        control.delay = Duration::from_millis(1);
    }
    (control, address)
}

fn snapshot_routes(fleet: &Fleet) -> u64 {
    metric(fleet.edge(), "carom_edge_snapshot_routes")
}

/// Nobody is asked, and nobody could be.
fn serves_all(fleet: &Fleet, control: &Shared) {
    control.lock().unwrap().is_away = true;
    let mut client = Client::connect(fleet.edge().address());
    for n in (0..ROUTES).step_by(7).chain([ROUTES - 1]) {
        let reply = client.get(&format!("/c{n}"));
        assert_eq!(reply.header("location"), Some(&*format!("https://e.test/{n}")), "{n}");
    }
    assert_eq!(control.lock().unwrap().asked, 0);
}

#[test]
fn an_edge_without_a_snapshot_knows_all_routes_before_anybody_asks() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::new(NOW)));
    let (control, address) = with_routes();
    control.lock().unwrap().listings = 4;
    let fleet = Fleet::start_with(dir.path(), &format!("http://{address}"), None, &clock);
    eventually("all are listed", || snapshot_routes(&fleet) == ROUTES as u64);
    // What is not listed may have been made just now.
    assert_eq!(fleet.leads("nobody").0, 404);
    assert_eq!(std::mem::take(&mut control.lock().unwrap().asked), 1);
    serves_all(&fleet, &control);

    // The next life lists nothing, also without anybody there.
    drop(fleet);
    let fleet = Fleet::start_with(dir.path(), &format!("http://{address}"), None, &clock);
    serves_all(&fleet, &control);
}

#[test]
fn a_listing_that_fails_goes_on_and_one_that_was_stopped_begins_anew() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::new(NOW)));
    let (control, address) = with_routes();
    control.lock().unwrap().listings = 2;
    let url = format!("http://{address}");
    let fleet = Fleet::start_with(dir.path(), &url, None, &clock);
    eventually("two pages are read", || control.lock().unwrap().listings == 0);
    assert_eq!(fleet.leads("c5"), to("https://e.test/5"));
    assert_eq!(snapshot_routes(&fleet), 0);
    // What a visitor asked for is there in the next life.
    drop(fleet);
    control.lock().unwrap().is_away = true;
    let fleet = Fleet::start_with(dir.path(), &url, None, &clock);
    assert_eq!((fleet.leads("c5"), snapshot_routes(&fleet)), (to("https://e.test/5"), 1));

    {
        let mut control = control.lock().unwrap();
        (control.is_away, control.asked, control.listings) = (false, 0, 1);
    }
    eventually("one page is read", || control.lock().unwrap().listings == 0);
    // No page is read twice: there are no more than these.
    control.lock().unwrap().listings = 3;
    eventually("all are listed", || snapshot_routes(&fleet) == ROUTES as u64);
    serves_all(&fleet, &control);
}

#[test]
fn what_was_listed_before_changes_were_missed_or_in_another_database_is_not_served() {
    for is_other in [false, true] {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::new(NOW)));
        let (control, address) = with_routes();
        control.lock().unwrap().listings = 2;
        let fleet = Fleet::start_with(dir.path(), &format!("http://{address}"), None, &clock);
        eventually("two pages are read", || control.lock().unwrap().listings == 0);
        {
            let mut control = control.lock().unwrap();
            // The first code of all: it was on the first page.
            control.put_and_forget("c0", version(2, "https://e.test/new"));
            if is_other {
                control.epoch += 1;
                control.routes.insert("c0".to_owned(), version(0, "https://e.test/new"));
            }
        }
        eventually("it was missed", || metric(fleet.edge(), "carom_edge_feed_gaps_total") == 1);
        control.lock().unwrap().listings = u64::MAX;
        eventually("all are listed", || snapshot_routes(&fleet) == ROUTES as u64);
        control.lock().unwrap().is_away = true;
        assert_eq!(fleet.leads("c0"), to("https://e.test/new"));
        assert_eq!(fleet.leads("c1"), to("https://e.test/1"));
    }
}
