//! What a trial has found: figures, and whether each pass figure holds.

use std::fmt;

use serde::Serialize;

use super::Stop;

/// What the machine lacks for a trial, and what would help.
#[derive(Debug)]
pub(super) struct Impossible(pub(super) String);

/// What one trial has shown.
#[derive(Debug, Default, Serialize)]
pub(super) struct Finding {
    /// What was done, in a sentence.
    fault: String,
    figures: Vec<(String, String)>,
    /// What shows that the fault happened.
    proofs: Vec<Check>,
    /// The pass figures.
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    holds: bool,
    /// What must be so, and what was.
    text: String,
}

impl Finding {
    pub(super) fn of(fault: impl Into<String>) -> Self {
        Self { fault: fault.into(), ..Self::default() }
    }

    pub(super) fn figure(&mut self, name: impl Into<String>, value: impl fmt::Display) {
        self.figures.push((name.into(), value.to_string()));
    }

    /// That the fault happened; if it did not, the trial is void.
    pub(super) fn happened(&mut self, holds: bool, text: impl Into<String>) {
        self.proofs.push(Check { holds, text: text.into() });
    }

    /// A pass figure.
    pub(super) fn must(&mut self, holds: bool, text: impl Into<String>) {
        self.checks.push(Check { holds, text: text.into() });
    }

    pub(super) fn holds(&self) -> bool {
        self.verdict() == Verdict::Holds
    }

    fn verdict(&self) -> Verdict {
        let all = |checks: &[Check]| checks.iter().all(|check| check.holds);
        match (all(&self.checks), all(&self.proofs) && !self.proofs.is_empty()) {
            (false, _) => Verdict::Failed,
            (true, false) => Verdict::Void,
            (true, true) => Verdict::Holds,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Holds,
    Failed,
    Void,
    BrokeOff,
    NotPossibleHere,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Failed => "FAILED",
            Self::Void => "VOID: the fault did not happen",
            Self::BrokeOff => "BROKE OFF",
            Self::NotPossibleHere => "not possible here",
        }
    }
}

#[derive(Debug, Serialize)]
struct Trial {
    name: &'static str,
    verdict: Verdict,
    /// Why there is no finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(flatten)]
    finding: Finding,
}

/// The findings of all trials of a run.
#[derive(Debug, Serialize)]
pub(crate) struct TrialReport {
    seed: u64,
    trials: Vec<Trial>,
}

impl TrialReport {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed, trials: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &'static str, found: Result<Finding, Stop>) {
        let trial = |verdict, reason, finding| Trial { name, verdict, reason, finding };
        self.trials.push(match found {
            Ok(finding) => trial(finding.verdict(), None, finding),
            Err(Stop::Impossible(Impossible(reason))) => {
                trial(Verdict::NotPossibleHere, Some(reason), Finding::default())
            }
            Err(Stop::Failure(failure)) => {
                trial(Verdict::BrokeOff, Some(failure.to_string()), Finding::default())
            }
        });
    }

    pub(super) fn has_failed(&self) -> bool {
        let bad = [Verdict::Failed, Verdict::Void, Verdict::BrokeOff];
        self.trials.iter().any(|trial| bad.contains(&trial.verdict))
    }

    pub(super) fn has_impossible(&self) -> bool {
        self.trials.iter().any(|trial| trial.verdict == Verdict::NotPossibleHere)
    }
}

impl fmt::Display for TrialReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Trial { name, verdict, reason, finding } in &self.trials {
            writeln!(f, "trial {name}: {} (seed {})", verdict.as_str(), self.seed)?;
            if let Some(reason) = reason {
                writeln!(f, "  {reason}")?;
                continue;
            }
            writeln!(f, "  fault: {}", finding.fault)?;
            for (name, value) in &finding.figures {
                writeln!(f, "    {name:<46} {value}")?;
            }
            for Check { holds, text } in &finding.proofs {
                writeln!(f, "  {} {text}", if *holds { "happened " } else { "DID NOT  " })?;
            }
            for Check { holds, text } in &finding.checks {
                writeln!(f, "  {} {text}", if *holds { "holds    " } else { "FAILS    " })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fault_that_happened_and_figures_that_hold_are_a_pass() {
        for (happened, holds, verdict) in [
            (Some(true), true, Verdict::Holds),
            (Some(true), false, Verdict::Failed),
            (Some(false), true, Verdict::Void),
            (Some(false), false, Verdict::Failed),
            (None, true, Verdict::Void),
        ] {
            let mut finding = Finding::of("a test");
            if let Some(happened) = happened {
                finding.happened(happened, "it");
            }
            finding.must(holds, "that");
            assert_eq!(finding.verdict(), verdict, "{happened:?} {holds}");
        }
    }

    #[test]
    fn what_is_not_possible_is_neither_passed_nor_failed() {
        let mut report = TrialReport::new(1);
        report.add("x", Err(Stop::Impossible(Impossible("no disk".to_owned()))));
        assert!(report.has_impossible() && !report.has_failed());
        assert!(report.to_string().contains("not possible here"));
    }
}
