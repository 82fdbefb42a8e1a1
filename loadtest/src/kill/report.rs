//! What a run of `kill` has shown, as figures.

use std::fmt;

use serde::Serialize;

use super::load::Visited;
use super::verdict::{Clicks, Creates, Evidence, Journal, Round};
use super::{KillArgs, Stored};

/// The outcome. It passed if there are no `problems`.
#[derive(Debug, Serialize)]
pub(crate) struct KillReport {
    problems: Vec<String>,
    seed: u64,
    connections: usize,
    kills: usize,
    sent: u64,
    answered: u64,
    cut: u64,
    wrong_answers: u64,
    wrong_examples: Vec<String>,
    clicks: Clicks,
    rollup_differences: u64,
    creates: Creates,
    /// From the start of a server to its first redirect, over all restarts.
    restart_to_redirect_p50_ms: Option<f64>,
    restart_to_redirect_max_ms: Option<f64>,
    /// From the end of the load until all clicks were in the totals; `None`: never.
    drained_after_s: Option<f64>,
    rounds: Vec<Round>,
}

/// What a run leaves behind, from which the report is made.
pub(super) struct Outcome {
    pub(super) seed: u64,
    /// How many request ids were given.
    pub(super) sent: u64,
    pub(super) visited: Visited,
    pub(super) stored: Stored,
    pub(super) creates: Creates,
    pub(super) drained_after_s: Option<f64>,
    pub(super) rounds: Vec<Round>,
}

impl KillReport {
    /// Judges `outcome`.
    pub(super) fn new(args: &KillArgs, outcome: Outcome) -> Self {
        let Outcome { seed, sent, visited, stored, creates, drained_after_s, rounds } = outcome;
        let Visited { answered, wrong, wrong_examples, cut } = visited;
        let journal = Journal { sent, answered };
        let clicks = journal.judge(&stored.referrers, (args.connections * args.kills) as u64);
        let answered = journal.answered.len() as u64;
        let rollup_differences = stored.rollup_differences;
        let evidence = Evidence {
            clicks: &clicks,
            answered,
            wrong_answers: wrong,
            rollup_differences,
            creates: &creates,
            rounds: &rounds,
        };
        let problems = evidence.problems();
        let mut restarts: Vec<f64> =
            rounds.iter().filter_map(|round| round.restart_to_redirect_ms).collect();
        restarts.sort_by(f64::total_cmp);
        Self {
            problems,
            seed,
            connections: args.connections,
            kills: rounds.len(),
            sent,
            answered,
            cut,
            wrong_answers: wrong,
            wrong_examples,
            clicks,
            rollup_differences,
            creates,
            restart_to_redirect_p50_ms: restarts.get(restarts.len() / 2).copied(),
            restart_to_redirect_max_ms: restarts.last().copied(),
            drained_after_s,
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
        self.write_clicks(f)?;
        self.write_creates(f)?;
        match (self.restart_to_redirect_p50_ms, self.restart_to_redirect_max_ms) {
            (Some(p50), Some(max)) => {
                writeln!(f, "  restart to redirect   p50 {p50:.0} ms, max {max:.0} ms")?;
            }
            _ => writeln!(f, "  restart to redirect   never")?,
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
            "  kills                 {}, with {} to {} requests in flight on {} connections",
            self.kills,
            in_flight.clone().min().unwrap_or_default(),
            in_flight.max().unwrap_or_default(),
            self.connections
        )?;
        let cut_by_kills: u64 = self.rounds.iter().map(|round| round.cut).sum();
        let Self { sent, answered, cut, wrong_answers, .. } = self;
        writeln!(
            f,
            "  redirects             {sent} sent, {answered} answered, {cut} cut ({cut_by_kills} \
             by kills), {wrong_answers} wrong"
        )?;
        self.wrong_examples.iter().try_for_each(|text| writeln!(f, "    {text}"))
    }

    fn write_clicks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Clicks { lost, twice, spurious, extras, extras_max, .. } = &self.clicks;
        writeln!(f, "  lost                  {lost} {:?}", self.clicks.lost_examples)?;
        writeln!(f, "  twice                 {twice} {:?}", self.clicks.twice_examples)?;
        writeln!(f, "  spurious              {spurious} {:?}", self.clicks.spurious_examples)?;
        writeln!(f, "  extras                {extras} cut and stored, of at most {extras_max}")?;
        writeln!(f, "  rollup                {} rows differ", self.rollup_differences)
    }

    fn write_creates(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Creates { acknowledged, missing, cut, refused, .. } = &self.creates;
        writeln!(
            f,
            "  creates               {acknowledged} acknowledged, {missing} missing, {cut} cut, \
             {refused} refused"
        )?;
        let mut examples =
            self.creates.missing_examples.iter().chain(&self.creates.refused_examples);
        examples.try_for_each(|text| writeln!(f, "    {text}"))
    }
}
