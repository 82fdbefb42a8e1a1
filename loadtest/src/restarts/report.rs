//! What `restarts` says.

use std::fmt;

use serde::Serialize;

use super::load::Seen;
use crate::latency::Quantiles;

const EXAMPLES_MAX: usize = 10;

/// How one process takes the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    Restart,
    Upgrade,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Switch {
    pub(super) change: Change,
    /// From SIGTERM until the process was gone.
    pub(super) old_ends_ms: f64,
    /// From its start until it said that it is ready.
    pub(super) new_serves_ms: f64,
    pub(super) longest_wait_ms: f64,
}

/// All of one program.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SubjectReport {
    name: &'static str,
    switches: Vec<Switch>,
    sent: u64,
    connections: u64,
    answered: u64,
    refused: u64,
    reset: u64,
    timed_out: u64,
    server_errors: u64,
    wrong: u64,
    stored: u64,
    lost: u64,
    twice: u64,
    waits_while_switching: Quantiles,
    waits_otherwise: Quantiles,
    examples: Vec<String>,
}

/// The outcome.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RestartsReport {
    pub(super) seed: u64,
    pub(super) rate: u32,
    pub(super) visitors: usize,
    pub(super) subjects: Vec<SubjectReport>,
}

impl SubjectReport {
    /// Compares what each link was answered with what is stored of it, and what is stored in all.
    pub(super) fn new(
        name: &'static str,
        switches: Vec<Switch>,
        seen: Seen,
        stored: &[u64],
        in_all: u64,
    ) -> Self {
        let mut examples = seen.examples;
        let (mut lost, mut twice) = (0, 0);
        for (index, (answered, stored)) in seen.by_link.iter().zip(stored).enumerate() {
            lost += answered.saturating_sub(*stored);
            twice += stored.saturating_sub(*answered);
            if answered != stored && examples.len() < 2 * EXAMPLES_MAX {
                examples.push(format!("link {index}: {answered} answered, {stored} stored"));
            }
        }
        let sum: u64 = stored.iter().sum();
        if in_all != sum {
            examples.push(format!("the workspace shows {in_all} clicks, its links {sum}"));
            lost += sum.saturating_sub(in_all);
            twice += in_all.saturating_sub(sum);
        }
        Self {
            name,
            switches,
            sent: seen.sent,
            connections: seen.connections,
            answered: seen.by_link.iter().sum(),
            refused: seen.refused,
            reset: seen.reset,
            timed_out: seen.timed_out,
            server_errors: seen.server_errors,
            wrong: seen.wrong,
            stored: sum,
            lost,
            twice,
            waits_while_switching: seen.switching.quantiles(),
            waits_otherwise: seen.calm.quantiles(),
            examples,
        }
    }

    pub(super) const fn passed(&self) -> bool {
        self.answered > 0
            && self.sent == self.answered
            && self.refused + self.reset + self.timed_out + self.server_errors + self.wrong == 0
            && self.lost == 0
            && self.twice == 0
    }
}

impl RestartsReport {
    pub(crate) fn passed(&self) -> bool {
        self.subjects.iter().all(SubjectReport::passed)
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = match self.change {
            Change::Restart => "restart",
            Change::Upgrade => "upgrade",
        };
        let Self { old_ends_ms, new_serves_ms, longest_wait_ms, .. } = self;
        write!(
            f,
            "{change}: the old one ended in {old_ends_ms:.0} ms, the new one was ready in \
             {new_serves_ms:.0} ms, the longest wait was {longest_wait_ms:.0} ms"
        )
    }
}

impl fmt::Display for SubjectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "nobody noticed" } else { "NOTICED" };
        writeln!(f, "{}: {verdict}", self.name)?;
        self.switches.iter().try_for_each(|switch| writeln!(f, "  {switch}"))?;
        writeln!(f, "  requests    {} over {} connections", self.sent, self.connections)?;
        writeln!(f, "  answered    {}", self.answered)?;
        writeln!(
            f,
            "  not         {} refused, {} reset, {} timed out, {} with 5xx, {} wrong",
            self.refused, self.reset, self.timed_out, self.server_errors, self.wrong
        )?;
        writeln!(f, "  stored      {}: {} lost, {} too many", self.stored, self.lost, self.twice)?;
        writeln!(f, "  waits       {} while switching", self.waits_while_switching)?;
        writeln!(f, "              {} otherwise", self.waits_otherwise)?;
        self.examples.iter().try_for_each(|example| writeln!(f, "    {example}"))
    }
}

impl fmt::Display for RestartsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        let Self { seed, rate, visitors, .. } = self;
        writeln!(
            f,
            "restarts: {verdict} at {rate} requests a second of {visitors} visitors (seed {seed})"
        )?;
        self.subjects.iter().try_for_each(|subject| write!(f, "{subject}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::Seen;
    use super::*;
    use crate::latency::Latencies;

    fn seen(by_link: &[u64], reset: u64) -> Seen {
        Seen {
            by_link: by_link.to_vec(),
            sent: by_link.iter().sum::<u64>() + reset,
            connections: 1,
            refused: 0,
            reset,
            timed_out: 0,
            server_errors: 0,
            wrong: 0,
            examples: Vec::new(),
            switching: Latencies::new(),
            calm: Latencies::new(),
        }
    }

    #[test]
    fn one_too_many_and_one_too_few_do_not_cancel_out() {
        for (answered, reset, stored, in_all, expected) in [
            (&[2, 3][..], 0, &[2, 3][..], 5, (0, 0, true)),
            (&[2, 3], 0, &[3, 2], 5, (1, 1, false)),
            (&[2, 3], 0, &[2, 3], 6, (0, 1, false)),
            (&[2, 3], 0, &[2, 2], 4, (1, 0, false)),
            (&[2, 3], 1, &[2, 3], 5, (0, 0, false)),
            (&[0, 0], 0, &[0, 0], 0, (0, 0, false)),
        ] {
            let report = SubjectReport::new("x", Vec::new(), seen(answered, reset), stored, in_all);
            assert_eq!((report.lost, report.twice, report.passed()), expected, "{stored:?}");
        }
    }
}
