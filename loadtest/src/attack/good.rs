//! The good client: visitors at a constant rate, on connections that they keep and on new ones.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use crate::compare::generator::{Arrival, Expect, Load, Seen};
use crate::compare::requests::Draw;
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::traffic::{Faults, ONE_USER_AGENT, Until};

/// Not where an attack comes from: its block has limits of its own.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Connections that are kept, and that new ones share: together below what a block may have.
const KEPT: usize = 64;
const NEW: usize = 32;
/// One visitor in so many brings a new connection.
const NEW_EVERY: u32 = 20;

/// Who is measured.
pub(crate) struct Good<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) draws: &'a [Draw],
    /// Requests a second.
    pub(crate) rate: u32,
}

/// One window of the good client, or several.
pub(crate) struct Seconds {
    pub(crate) kept: Part,
    pub(crate) new: Part,
    pub(crate) faults: Faults,
}

/// Visitors of one sort.
pub(crate) struct Part {
    answered: u64,
    latencies: Latencies,
    lateness: Latencies,
}

/// What they saw, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Window {
    pub(crate) answered: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    /// How late the client itself was, at the 99th percentile: it is in the others.
    pub(crate) late_p99_ms: f64,
}

impl Good<'_> {
    /// Visits for so long.
    pub(crate) fn visit(&self, time: Duration) -> Result<Seconds, Failure> {
        let agents = [ONE_USER_AGENT.to_owned()];
        let load = |rate: u32, connections, reconnects| Load {
            address: self.address,
            source: Some(SOURCE),
            user_agents: &agents,
            draws: self.draws,
            expect: Expect::TheLink,
            arrival: Arrival::PerSecond(rate),
            connections,
            reconnects,
            until: Until::Elapsed(time),
            // An attacker shares its processor.
            spins: false,
        };
        let new_rate = (self.rate / NEW_EVERY).max(1);
        let (kept, new) = std::thread::scope(|scope| {
            let new = scope.spawn(|| load(new_rate, NEW, true).run());
            let kept = load(self.rate.saturating_sub(new_rate).max(1), KEPT, false).run();
            (kept, new.join())
        });
        let new = new.map_err(|_| Failure::new("the load generator panicked"))??;
        let (kept, mut faults) = Part::of(kept?);
        let (new, more) = Part::of(new);
        faults.add(more);
        Ok(Seconds { kept, new, faults })
    }
}

impl Seconds {
    /// Connections that these visitors made.
    pub(crate) fn connections(&self) -> u64 {
        KEPT as u64 + self.new.answered + self.faults.unanswered + self.faults.wrong
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.kept.add(&other.kept);
        self.new.add(&other.new);
        self.faults.add(other.faults.clone());
    }
}

impl Part {
    fn of(seen: Seen) -> (Self, Faults) {
        let Seen { answered, faults, latencies, lateness, .. } = seen;
        (Self { answered, latencies, lateness }, faults)
    }

    fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.latencies.add(&other.latencies);
        self.lateness.add(&other.lateness);
    }

    pub(crate) fn window(&self) -> Window {
        let [p50_ms, p99_ms, p999_ms] =
            [500, 990, 999].map(|per_mille| self.latencies.per_mille_ms(per_mille));
        let late_p99_ms = self.lateness.per_mille_ms(990);
        Window { answered: self.answered, p50_ms, p99_ms, p999_ms, late_p99_ms }
    }
}
