//! What came of the attacks, and whether the edge stood them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::attacker::Did;
use super::good::{Seconds, Window};
use super::look::{Look, Share};
use crate::compare::pin::Cpus;
use crate::traffic::Faults;

/// How much longer the 99th percentile may be under attack...
const SLOWER_MAX: f64 = 2.0;
/// ... and what it may be in any case, in milliseconds: less is noise.
const P99_FLOOR_MS: f64 = 1.0;
/// What an attack may take at its height, in MiB, and in KiB for each of its connections: their
/// buffers, twice over with TLS. The first is for the clicks that it makes while they are stored.
const PEAK_MIB: f64 = 64.0;
const PEAK_KIB_EACH: f64 = 64.0;
/// What may be left of it, in MiB: pages that the allocator keeps, and what grows with clicks.
pub(super) const LEFT_MIB: f64 = 32.0;
/// Descriptors that may be left: connections of the good client that are about to end.
pub(super) const LEFT_DESCRIPTORS: u64 = 40;

#[derive(Debug, Serialize)]
pub(crate) struct AttackReport {
    pub(super) seed: u64,
    pub(super) links: usize,
    /// Requests a second of the good client.
    pub(super) rate: u32,
    pub(super) seconds: f64,
    pub(super) version: String,
    pub(super) machine: Machine,
    /// What would have attacked too.
    pub(super) missing: Vec<String>,
    /// Whether latencies count for the verdict.
    pub(super) judges_times: bool,
    pub(super) outcomes: Vec<Outcome>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) kernel: String,
    pub(super) cpus: Cpus,
    pub(super) load_before: String,
    pub(super) load_after: String,
    /// What keeps attackers from taking the good client's time.
    pub(super) attackers: &'static str,
}

/// What one attack did.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) attack: &'static str,
    pub(super) by: &'static str,
    pub(super) connections: usize,
    /// What the attacker says; other programs say nothing that can be read.
    pub(super) did: Option<Did>,
    pub(super) kept: Pair,
    pub(super) new: Pair,
    pub(super) faults: Faults,
    pub(super) before: Look,
    pub(super) peak: Look,
    pub(super) after: Look,
    pub(super) peak_max_mib: f64,
    /// Connections that the edge saw and that were not the good client's.
    pub(super) strangers: u64,
    /// Counters of the edge that grew in the attacked window, the good client's requests among them.
    pub(super) counters: BTreeMap<String, u64>,
    /// Of the edge's threads in the attacked window: what they waited for the processor is in the
    /// latencies, and no order of theirs would make it less.
    pub(super) share: Share,
    /// Why it is not stood; empty: it is.
    pub(super) problems: Vec<String>,
}

/// The same visitors in quiet and while attacked.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Pair {
    pub(super) quiet: Window,
    pub(super) attacked: Window,
    /// Of the 99th percentiles.
    pub(super) ratio: f64,
}

impl Pair {
    fn new(quiet: Window, attacked: Window) -> Self {
        Self { quiet, attacked, ratio: attacked.p99_ms / quiet.p99_ms.max(1e-6) }
    }

    fn problem(&self, who: &str) -> Option<String> {
        let allowed = (SLOWER_MAX * self.quiet.p99_ms).max(P99_FLOOR_MS);
        let p99 = self.attacked.p99_ms;
        (p99 > allowed).then(|| format!("p99 on {who} {p99:.2} ms, above {allowed:.2}"))
    }
}

impl Outcome {
    /// Puts together what was seen, without a verdict.
    pub(super) fn of(
        attack: &super::plan::Attack,
        did: Option<Did>,
        [quiet, attacked]: [&Seconds; 2],
        [before, peak, after]: [Look; 3],
        counters: BTreeMap<String, u64>,
        share: Share,
    ) -> Self {
        let mut faults = quiet.faults.clone();
        faults.add(attacked.faults.clone());
        let count = |name: &str| -> u64 {
            let of = counters.iter().filter(|(counter, _)| counter.starts_with(name));
            of.map(|(_, count)| *count).sum()
        };
        let seen = count("connections_total") + count("connections_refused_total");
        let held = peak.descriptors.saturating_sub(before.descriptors);
        Self {
            attack: attack.name,
            by: attack.who(),
            connections: attack.connections,
            did,
            kept: Pair::new(quiet.kept.window(), attacked.kept.window()),
            new: Pair::new(quiet.new.window(), attacked.new.window()),
            faults,
            before,
            peak,
            after,
            peak_max_mib: before.anonymous_mib + PEAK_MIB + held as f64 * PEAK_KIB_EACH / 1024.0,
            strangers: seen.saturating_sub(attacked.connections()),
            counters,
            share,
            problems: Vec::new(),
        }
    }

    /// Says what is wrong with it.
    pub(super) fn judge(&mut self, judges_times: bool) {
        let mut problems = Vec::new();
        if self.strangers == 0 || self.did.is_some_and(|did| did.opened == 0) {
            problems.push("void: the edge saw no attacker".to_owned());
        }
        let Faults { wrong, unanswered, .. } = self.faults;
        if !self.faults.is_empty() {
            problems.push(format!("{wrong} good requests got a wrong answer, {unanswered} none"));
        }
        if self.kept.attacked.answered == 0 || self.new.attacked.answered == 0 {
            problems.push("good requests were not sent".to_owned());
        }
        if judges_times {
            let slower = [(&self.kept, "kept connections"), (&self.new, "new connections")];
            problems.extend(slower.iter().filter_map(|(pair, who)| pair.problem(who)));
        }
        let Self { before, peak, after, peak_max_mib, .. } = *self;
        if peak.anonymous_mib > peak_max_mib {
            problems.push(format!(
                "memory {:.1} MiB at its height, above {peak_max_mib:.1}",
                peak.anonymous_mib
            ));
        }
        if after.anonymous_mib > before.anonymous_mib + LEFT_MIB {
            let (now, was) = (after.anonymous_mib, before.anonymous_mib);
            problems.push(format!("memory stays at {now:.1} MiB, and was {was:.1}"));
        }
        if after.descriptors > before.descriptors + LEFT_DESCRIPTORS {
            let (now, was) = (after.descriptors, before.descriptors);
            problems.push(format!("{now} descriptors stay, and were {was}"));
        }
        self.problems = problems;
    }
}

impl AttackReport {
    pub(crate) fn passed(&self) -> bool {
        !self.outcomes.is_empty() && self.outcomes.iter().all(|of| of.problems.is_empty())
    }
}

impl fmt::Display for AttackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, links, rate, seconds, version, machine, .. } = self;
        writeln!(
            f,
            "attack: {version}, {links} links, {rate} good requests a second, {seconds} s quiet, \
             attacked, quiet (seed {seed})"
        )?;
        writeln!(
            f,
            "  machine  {}, Linux {}, server on processor {}, good client and attackers on {}; \
             load {} before, {} after",
            machine.processor,
            machine.kernel,
            machine.cpus.server,
            machine.cpus.client,
            machine.load_before,
            machine.load_after
        )?;
        writeln!(f, "  attackers run by {}", machine.attackers)?;
        if machine.cpus.are_shared() {
            writeln!(f, "  ONE PROCESSOR for server and clients: latencies say little")?;
        }
        self.missing.iter().try_for_each(|what| writeln!(f, "  NOT CARRIED OUT: {what}"))?;
        if !self.judges_times {
            writeln!(f, "  latencies are not judged")?;
        }
        writeln!(
            f,
            "\nquiet -> attacked, ms{:20}p50{:14}p99    ratio{:10}p99.9  client late",
            "", "", ""
        )?;
        for outcome in &self.outcomes {
            outcome.latencies(f)?;
        }
        writeln!(f, "\nbefore / at its height / after{:12}MiB anonymous{:14}descriptors", "", "")?;
        for Outcome { attack, before, peak, after, .. } in &self.outcomes {
            writeln!(
                f,
                "  {attack:<22}{:>12.1} /{:>7.1} /{:>7.1}{:>14} /{:>6} /{:>5}",
                before.anonymous_mib,
                peak.anonymous_mib,
                after.anonymous_mib,
                before.descriptors,
                peak.descriptors,
                after.descriptors
            )?;
        }
        writeln!(f, "\nwhat was done, and what the edge counted meanwhile")?;
        self.outcomes.iter().try_for_each(|outcome| outcome.fmt(f))
    }
}

impl Outcome {
    fn latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, who, pair) in [(self.attack, "kept", &self.kept), ("", "new", &self.new)] {
            let Pair { quiet, attacked, ratio } = pair;
            writeln!(
                f,
                "  {name:<22}{who:<5}{:>7.2} ->{:>7.2}{:>7.2} ->{:>7.2}{ratio:>8.2}{:>8.2} ->{:>7.2}{:>8.2}",
                quiet.p50_ms,
                attacked.p50_ms,
                quiet.p99_ms,
                attacked.p99_ms,
                quiet.p999_ms,
                attacked.p999_ms,
                attacked.late_p99_ms
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.problems.is_empty() { "stood" } else { "NOT STOOD" };
        let Self { attack, by, connections, .. } = self;
        writeln!(f, "  {attack:<22}{verdict:<11}{connections} connections at a time; {by}")?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "    {problem}"))?;
        self.faults.examples.iter().try_for_each(|example| writeln!(f, "      {example}"))?;
        if let Some(did) = self.did {
            let Did { opened, not_opened, ended, sent, sent_bytes, read_bytes } = did;
            writeln!(
                f,
                "    attacker: {opened} connections made, {not_opened} not, {ended} ended by the edge, \
                 {sent} requests or frames, {:.1} MB sent, {:.1} read",
                sent_bytes as f64 / 1e6,
                read_bytes as f64 / 1e6
            )?;
        }
        let Share { ran_ns, waited_ns } = self.share;
        writeln!(
            f,
            "    edge: {} connections of strangers; its threads ran {:.0} ms, and were ready while \
             others had the processor for {:.0} ms",
            self.strangers,
            ran_ns as f64 / 1e6,
            waited_ns as f64 / 1e6
        )?;
        let counters: Vec<_> =
            self.counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(f, "      {}", counters.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let window =
            Window { answered: 1, p50_ms: 0.1, p99_ms: 0.4, p999_ms: 1.0, late_p99_ms: 0.0 };
        let look = Look { anonymous_mib: 50.0, descriptors: 100 };
        Outcome {
            attack: "idle",
            by: "own",
            connections: 1,
            did: Some(Did { opened: 1, ..Did::default() }),
            kept: Pair::new(window, window),
            new: Pair::new(window, window),
            faults: Faults::default(),
            before: look,
            peak: look,
            after: look,
            peak_max_mib: 60.0,
            strangers: 1,
            counters: BTreeMap::new(),
            share: Share::default(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn each_way_to_fail_is_told_and_noise_is_not() {
        let problems = |change: fn(&mut Outcome), judges_times| {
            let mut outcome = outcome();
            change(&mut outcome);
            outcome.judge(judges_times);
            outcome.problems.len()
        };
        assert_eq!(problems(|_| {}, true), 0);
        assert_eq!(problems(|of| of.kept.attacked.p99_ms = 0.99, true), 0, "below the floor");
        assert_eq!(problems(|of| of.kept.attacked.p99_ms = 1.01, true), 1);
        assert_eq!(problems(|of| of.new.attacked.p99_ms = 1.01, true), 1);
        assert_eq!(problems(|of| of.new.attacked.p99_ms = 1.01, false), 0);
        assert_eq!(problems(|of| of.faults.unanswered = 1, false), 1);
        assert_eq!(problems(|of| of.did = Some(Did::default()), false), 1);
        assert_eq!(problems(|of| of.strangers = 0, false), 1);
        assert_eq!(problems(|of| of.peak.anonymous_mib = 61.0, false), 1);
        assert_eq!(problems(|of| of.after.anonymous_mib = 83.0, false), 1);
        assert_eq!(problems(|of| of.after.descriptors = 141, false), 1);
        assert_eq!(problems(|of| of.new.attacked.answered = 0, false), 1);
    }
}
