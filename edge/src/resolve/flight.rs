//! One question to the origin per key, however many wait for its answer.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::memory::Key;

/// Locks held for nanoseconds; enough of them that threads rarely meet.
const SHARDS: usize = 64;

/// The flights under way. A key has at most one.
pub(super) struct Flights<T> {
    shards: Box<[Shard<T>]>,
    hasher: RandomState,
}

type Shard<T> = Mutex<HashMap<Key, Flight<T>>>;

struct Flight<T> {
    arrival: watch::Sender<Option<T>>,
    /// A change of the key was applied while the flight was under way.
    superseded: bool,
}

/// How a caller takes part; `wait_for(Option::is_some)` on the receiver is the arrival.
pub(super) enum Boarding<T> {
    /// The caller has to fly, and must land.
    Pilot(watch::Receiver<Option<T>>),
    Passenger(watch::Receiver<Option<T>>),
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl<T> Flights<T> {
    fn shard(&self, key: &Key) -> MutexGuard<'_, HashMap<Key, Flight<T>>> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        // A map is whole between any two of its calls, so a panic elsewhere leaves it usable.
        self.shards[hash].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the key's flight, or begins one.
    pub(super) fn board(&self, key: &Key) -> Boarding<T> {
        let mut flights = self.shard(key);
        if let Some(flight) = flights.get(key) {
            return Boarding::Passenger(flight.arrival.subscribe());
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(key.clone(), Flight { arrival: sender, superseded: false });
        Boarding::Pilot(receiver)
    }

    /// Takes over the duty to land the key's flight; if it is dropped without that, even by a
    /// panic, everyone is told `crashed`.
    pub(super) fn land_on_drop<'a>(&'a self, key: &'a Key, crashed: T) -> Landing<'a, T> {
        Landing { flights: self, key, crashed: Some(crashed) }
    }

    /// Lets all flights under way know of a change.
    pub(super) fn supersede_all(&self) {
        for shard in &self.shards {
            let mut flights = shard.lock().unwrap_or_else(PoisonError::into_inner);
            flights.values_mut().for_each(|flight| flight.superseded = true);
        }
    }

    /// Runs `change` under the key's lock and lets a flight under way know of it.
    pub(super) fn supersede(&self, key: &Key, change: impl FnOnce()) {
        let mut flights = self.shard(key);
        change();
        if let Some(flight) = flights.get_mut(key) {
            flight.superseded = true;
        }
    }
}

/// The duty of a pilot.
pub(super) struct Landing<'a, T> {
    flights: &'a Flights<T>,
    key: &'a Key,
    /// `None` once the flight has landed.
    crashed: Option<T>,
}

impl<T> Landing<'_, T> {
    /// Ends the flight with what `settle` decides, under the key's lock, that everyone is told. It
    /// is told whether a change came in since the last time; `None` means that the flight goes on.
    /// Returns whether it has landed.
    pub(super) fn land(&mut self, settle: impl FnOnce(bool) -> Option<T>) -> bool {
        let mut flights = self.flights.shard(self.key);
        let Some(flight) = flights.get_mut(self.key) else { return true };
        let Some(outcome) = settle(std::mem::take(&mut flight.superseded)) else { return false };
        flight.arrival.send_replace(Some(outcome));
        flights.remove(self.key);
        self.crashed = None;
        true
    }
}

impl<T> Drop for Landing<'_, T> {
    fn drop(&mut self) {
        if let Some(crashed) = self.crashed.take() {
            self.land(|_| Some(crashed));
        }
    }
}
