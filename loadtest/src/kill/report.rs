//! What a run of `kill` has shown, as figures.

use std::fmt;

use serde::Serialize;

use super::KillArgs;
use super::load::Visited;
use super::met::Met;
use super::sums::Sums;
use super::verdict::{Clicks, Creates, Edits, Evidence, Proof, Round};

/// The outcome. It passed if there are no `problems`.
#[derive(Debug, Serialize)]
pub(crate) struct KillReport {
    problems: Vec<String>,
    seed: u64,
    connections: usize,
    kills: usize,
    /// From the first kill's life to the end of the load.
    seconds: f64,
    sent: u64,
    answered: u64,
    cut: u64,
    wrong_answers: u64,
    wrong_examples: Vec<String>,
    #[serde(flatten)]
    proof: Proof,
    rollup_differences: u64,
    hour_differences: u64,
    met: Met,
    /// From the start of a server to its first redirect, over all restarts.
    restart_to_redirect: Option<Restarts>,
    /// From the end of the load until all clicks were in the totals; `None`: never.
    drained_after_s: Option<f64>,
    rounds: Vec<Round>,
}

/// Exact quantiles: a hundred restarts are too few for a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Restarts {
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Restarts {
    /// `None` if not every restart came to a redirect.
    fn of(rounds: &[Round]) -> Option<Self> {
        let times = rounds.iter().map(|round| round.restart_to_redirect_ms);
        let mut times: Vec<f64> = times.collect::<Option<_>>()?;
        times.sort_by(f64::total_cmp);
        let quantile = |percent: usize| times.get((times.len() * percent).div_ceil(100) - 1);
        let max_ms = *times.last()?;
        Some(Self { p50_ms: *quantile(50)?, p99_ms: *quantile(99)?, max_ms })
    }
}

/// What a run leaves behind, from which the report is made.
pub(super) struct Outcome {
    pub(super) seed: u64,
    pub(super) seconds: f64,
    /// How many requests were sent.
    pub(super) sent: u64,
    pub(super) visited: Visited,
    pub(super) proof: Proof,
    pub(super) rollup_differences: u64,
    pub(super) hour_differences: u64,
    pub(super) met: Met,
    pub(super) drained_after_s: Option<f64>,
    pub(super) rounds: Vec<Round>,
}

impl KillReport {
    /// Judges `outcome`.
    pub(super) fn new(args: &KillArgs, outcome: Outcome) -> Self {
        let Outcome { seed, seconds, sent, visited, proof, met, rounds, .. } = outcome;
        let Visited { answered, wrong, wrong_examples, cut, .. } = visited;
        let evidence = Evidence {
            proof: &proof,
            answered,
            wrong_answers: wrong,
            rollup_differences: outcome.rollup_differences,
            hour_differences: outcome.hour_differences,
            met: &met,
            rounds: &rounds,
        };
        Self {
            problems: evidence.problems(),
            seed,
            connections: args.connections,
            kills: rounds.len(),
            seconds,
            sent,
            answered,
            cut,
            wrong_answers: wrong,
            wrong_examples,
            proof,
            rollup_differences: outcome.rollup_differences,
            hour_differences: outcome.hour_differences,
            met,
            restart_to_redirect: Restarts::of(&rounds),
            drained_after_s: outcome.drained_after_s,
            rounds,
        }
    }

    pub(crate) const fn passed(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for KillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        writeln!(f, "kill: {verdict} (seed {})", self.seed)?;
        for problem in &self.problems {
            writeln!(f, "  PROBLEM               {problem}")?;
        }
        self.write_load(f)?;
        match &self.proof {
            Proof::ById(by_id) => write!(f, "{}{}{}", by_id.clicks, by_id.creates, by_id.edits)?,
            Proof::ByLink { sums } => write!(f, "{sums}")?,
        }
        let Self { rollup_differences, hour_differences, .. } = self;
        writeln!(
            f,
            "  rollups               {rollup_differences} rows differ from the clicks, \
             {hour_differences} hours of the API"
        )?;
        write!(f, "{}", self.met)?;
        match self.restart_to_redirect {
            Some(Restarts { p50_ms, p99_ms, max_ms }) => writeln!(
                f,
                "  restart to redirect   p50 {p50_ms:.0} ms, p99 {p99_ms:.0} ms, max {max_ms:.0} ms"
            )?,
            None => writeln!(f, "  restart to redirect   not after every kill")?,
        }
        match self.drained_after_s {
            Some(seconds) => writeln!(f, "  drained after         {seconds:.2} s"),
            None => writeln!(f, "  drained after         never"),
        }
    }
}

impl KillReport {
    fn write_load(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_flight = self.rounds.iter().map(|round| round.in_flight);
        writeln!(
            f,
            "  kills                 {} in {:.0} s, with {} to {} requests in flight on {} \
             connections",
            self.kills,
            self.seconds,
            in_flight.clone().min().unwrap_or_default(),
            in_flight.max().unwrap_or_default(),
            self.connections
        )?;
        let cut_by_kills: u64 = self.rounds.iter().map(|round| round.cut).sum();
        let Self { sent, answered, cut, wrong_answers, .. } = self;
        let gone = sent.saturating_sub(answered + cut + wrong_answers);
        writeln!(
            f,
            "  redirects             {sent} sent, {answered} answered, {cut} cut ({cut_by_kills} \
             by kills), {wrong_answers} wrong, {gone} for deleted links"
        )?;
        self.wrong_examples.iter().try_for_each(|text| writeln!(f, "    {text}"))
    }
}

impl fmt::Display for Clicks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, twice, spurious, extras, extras_max, .. } = self;
        writeln!(f, "  lost                  {lost} {:?}", self.lost_examples)?;
        writeln!(f, "  twice                 {twice} {:?}", self.twice_examples)?;
        writeln!(f, "  spurious              {spurious} {:?}", self.spurious_examples)?;
        writeln!(f, "  extras                {extras} cut and stored, of at most {extras_max}")
    }
}

impl fmt::Display for Creates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, missing, cut, refused, links, links_least, links_most, .. } = self;
        writeln!(
            f,
            "  creates               {acknowledged} acknowledged, {missing} missing, {cut} cut, \
             {refused} refused; {links} links at the end, of {links_least} to {links_most}"
        )?;
        let mut examples = self.missing_examples.iter().chain(&self.refused_examples);
        examples.try_for_each(|text| writeln!(f, "    {text}"))
    }
}

impl fmt::Display for Edits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { changes, deletes, restores, cut, cut_done, links, looks, wrong, .. } = self;
        writeln!(
            f,
            "  edits                 {changes} changes, {deletes} deletes, {restores} restores \
             acknowledged, {cut} cut ({cut_done} of them done), of {links} links"
        )?;
        writeln!(f, "  links looked at       {looks} times after kills: {wrong} wrong")?;
        let mut examples = self.wrong_examples.iter().chain(&self.refused_examples);
        examples.try_for_each(|text| writeln!(f, "    {text}"))
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { links, stored, lost, surplus, extras, unknown, shown_differently, .. } = self;
        writeln!(f, "  stored                {stored} clicks of {links} links")?;
        writeln!(f, "  lost, too many        {lost}, {surplus}; of other links {unknown}")?;
        writeln!(f, "  extras                {extras} cut and stored")?;
        writeln!(f, "  API                   {shown_differently} links differ from the store")?;
        self.examples.iter().try_for_each(|text| writeln!(f, "    {text}"))
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recovered_clicks, batches_left, batches_unfinished, .. } = self;
        writeln!(
            f,
            "  kills met             {recovered_clicks} clicks in no batch, {} torn; \
             {batches_left} times a batch to be stored, {} times one that was stored already, \
             {batches_unfinished} half written",
            self.records_torn, self.batches_repeated
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_restarts_are_exact() {
        let rounds = |times: &[f64]| -> Vec<Round> {
            let round = |&ms| Round { restart_to_redirect_ms: Some(ms), ..Round::default() };
            times.iter().map(round).collect()
        };
        let times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let expected = Restarts { p50_ms: 50.0, p99_ms: 99.0, max_ms: 100.0 };
        assert_eq!(Restarts::of(&rounds(&times)), Some(expected));
        let expected = Restarts { p50_ms: 1.0, p99_ms: 3.0, max_ms: 3.0 };
        assert_eq!(Restarts::of(&rounds(&[3.0, 1.0])), Some(expected));
        let mut rounds = rounds(&[1.0]);
        rounds.push(Round::default());
        assert_eq!(Restarts::of(&rounds), None, "one never came back");
        assert_eq!(Restarts::of(&[]), None);
    }
}
