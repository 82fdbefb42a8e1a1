//! A row for each fault, and whether it holds.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::super::check::Wrong;
use super::act::Proof;
use super::clicks::Compared;
use super::counts::{Answers, Calls, Counts};
use crate::latency::Quantiles;

/// What came of one fault.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) fault: String,
    happened: bool,
    /// What shows that it happened.
    proof: String,
    known: u64,
    changing: u64,
    failed: Wrong,
    cut: u64,
    wrong: Wrong,
    denied: u64,
    creates: Calls,
    edits: Calls,
    followed: Answers,
    missing: Answers,
    changing_unsure: u64,
    /// 503 in the quiet windows before and after.
    unsure_in_quiet: u64,
    /// From the end of the fault until links can be made and followed at once, and every feed is
    /// younger than a second; `None`: not within a minute.
    recovered_s: Option<f64>,
    feed_age_max_s: f64,
    redirect: Quantiles,
    create: Quantiles,
    /// Since the fault before.
    answered: u64,
    clicks: Compared,
}

impl Row {
    /// `quiet` is what was counted before and after, `during` from the fault until it was recovered.
    pub(super) fn new(
        fault: String,
        proof: Proof,
        quiet: Counts,
        during: Counts,
        recovered: Option<Duration>,
        clicks: Compared,
        answered_before: u64,
    ) -> Self {
        let Proof { happened, text, .. } = proof;
        let unsure_in_quiet = quiet.unsure();
        let (redirect, create) = (during.latencies.quantiles(), during.acknowledging.quantiles());
        let feed_age_max_s = during.feed_age_max.as_secs_f64();
        let mut all = quiet;
        all.add(during);
        Self {
            fault,
            happened,
            proof: text,
            known: all.known,
            changing: all.changing,
            failed: all.failed,
            cut: all.cut,
            wrong: all.wrong,
            denied: all.denied,
            creates: all.creates,
            edits: all.edits,
            followed: all.followed,
            missing: all.missing,
            changing_unsure: all.changing_unsure,
            unsure_in_quiet,
            recovered_s: recovered.map(|time| time.as_secs_f64()),
            feed_age_max_s,
            redirect,
            create,
            answered: clicks.answered.saturating_sub(answered_before),
            clicks,
        }
    }

    /// What does not hold.
    pub(super) fn problems(&self) -> Vec<String> {
        let asked = self.known.min(self.creates.acknowledged).min(self.missing.asked);
        [
            (!self.happened, "VOID: the fault did not happen, or nothing shows it".to_owned()),
            (asked == 0, "VOID: nobody asked, or no link was made".to_owned()),
            (self.failed.count > 0, format!("redirects failed: {}", self.failed)),
            (self.wrong.count > 0, format!("answers: {}, {} denied", self.wrong, self.denied)),
            (
                self.unsure_in_quiet > 0,
                format!("{} answers 503 without a fault", self.unsure_in_quiet),
            ),
            (self.recovered_s.is_none(), "it did not recover within a minute".to_owned()),
            (!self.clicks.is_exact(), format!("clicks: {:?}", self.clicks)),
        ]
        .into_iter()
        .filter_map(|(is_bad, text)| is_bad.then_some(text))
        .collect()
    }

    pub(super) fn holds(&self) -> bool {
        self.problems().is_empty()
    }
}

/// What came of all.
#[derive(Debug, Serialize)]
pub(crate) struct FaultsReport {
    pub(super) seed: u64,
    pub(super) controls: usize,
    pub(super) edges: usize,
    /// What cuts the network: a network namespace, or proxies.
    pub(super) network: &'static str,
    pub(super) rows: Vec<Row>,
    /// Faults that were not come to, because one broke off.
    pub(super) broken_off: Option<String>,
}

impl FaultsReport {
    pub(crate) fn passed(&self) -> bool {
        self.broken_off.is_none() && !self.rows.is_empty() && self.rows.iter().all(Row::holds)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, known, changing, failed, cut, wrong, denied, creates, .. } = self;
        let Self { edits, followed, missing, redirect, create, clicks, answered, .. } = self;
        let recovered = self.recovered_s.map_or("never".to_owned(), |s| format!("{s:.1} s"));
        let (age, seconds) = (self.feed_age_max_s, clicks.seconds);
        let differing = clicks.lost + clicks.surplus;
        let result = if self.holds() { "holds" } else { "**FAILS**" };
        write!(f, "| `{fault}` | {known} + {changing} / {} / {cut} ", failed.count)?;
        write!(f, "| {} / {denied} ", wrong.count)?;
        write!(f, "| {} / {} / {} ", creates.acknowledged, creates.refused, creates.unknown)?;
        write!(f, "| {} / {} ", followed.asked, followed.unsure)?;
        write!(f, "| {} / {} ", missing.asked, missing.unsure)?;
        write!(f, "| {} / {} ", edits.acknowledged, edits.refused + edits.unknown)?;
        write!(f, "| {recovered} | {age:.1} s ")?;
        write!(f, "| {answered} / {differing}, {seconds:.1} s ")?;
        write!(
            f,
            "| {:.0} / {:.0} ms | {:.0} / {:.0} ms ",
            redirect.p99_ms, redirect.max_ms, create.p50_ms, create.max_ms
        )?;
        write!(f, "| {result} |")
    }
}

impl fmt::Display for FaultsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, controls, edges, network, rows, broken_off } = self;
        writeln!(
            f,
            "{controls} control planes, {edges} edges, network by {network}; seed {seed}\n"
        )?;
        writeln!(
            f,
            "| fault | redirects of known + of new or changed links / failed / cut by a kill \
             | wrong answers / of them an acknowledged link denied \
             | creates acknowledged / refused / no answer | followed at once / 503 \
             | codes that do not exist / 503 | edits acknowledged / not | recovered after \
             | oldest feed | clicks answered / not stored exactly, until stored \
             | redirect p99 / max | create p50 / max | result |"
        )?;
        writeln!(f, "|{}", "---|".repeat(13))?;
        rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        writeln!(f)?;
        for row in rows {
            writeln!(f, "{}: {}", row.fault, row.proof)?;
            row.problems().iter().try_for_each(|problem| writeln!(f, "  FAILS: {problem}"))?;
        }
        if let Some(reason) = broken_off {
            writeln!(f, "BROKE OFF: {reason}")?;
        }
        write!(f, "{}", if self.passed() { "PASSED" } else { "FAILED" })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::counts::{Judged, Purpose};
    use super::super::model::Verdict;
    use super::*;

    fn counts(judged: &Judged) -> Counts {
        let mut counts = Counts::new();
        counts.creates.acknowledged = 1;
        counts.note(Purpose::Known, &Judged::Answer(Verdict::Right), str::to_owned);
        counts.note(Purpose::Missing, &Judged::Answer(Verdict::Right), str::to_owned);
        counts.note(Purpose::Followed, judged, str::to_owned);
        counts
    }

    fn row(quiet: &Judged, during: &Judged, happened: bool, recovered: bool, lost: u64) -> Row {
        let proof = Proof { happened, text: String::new(), over: Instant::now() };
        let clicks = Compared { lost, is_whole: true, ..Compared::default() };
        let recovered = recovered.then_some(Duration::from_secs(1));
        Row::new("x".to_owned(), proof, counts(quiet), counts(during), recovered, clicks, 0)
    }

    #[test]
    fn a_row_holds_only_if_nothing_is_wrong() {
        let right = Judged::Answer(Verdict::Right);
        let failed = Judged::Failed("503".to_owned());
        let denied = Judged::Answer(Verdict::Denied);
        for (row, holds) in [
            (row(&right, &right, true, true, 0), true),
            (row(&right, &Judged::Unsure, true, true, 0), true),
            (row(&right, &Judged::Cut, true, true, 0), true),
            (row(&Judged::Unsure, &right, true, true, 0), false),
            (row(&right, &failed, true, true, 0), false),
            (row(&denied, &right, true, true, 0), false),
            (row(&right, &right, false, true, 0), false),
            (row(&right, &right, true, false, 0), false),
            (row(&right, &right, true, true, 1), false),
        ] {
            assert_eq!(row.holds(), holds, "{:?}", row.problems());
        }
    }

    #[test]
    fn a_row_has_as_many_columns_as_the_head() {
        let right = Judged::Answer(Verdict::Right);
        let rows = vec![row(&right, &right, true, true, 0)];
        let report =
            FaultsReport { seed: 1, controls: 2, edges: 3, network: "x", rows, broken_off: None };
        let text = report.to_string();
        let columns: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.matches('|').count())
            .collect();
        assert_eq!(columns.len(), 3);
        assert!(columns.iter().all(|&count| count == columns[0]), "{columns:?}\n{text}");
        assert!(report.passed());
    }
}
