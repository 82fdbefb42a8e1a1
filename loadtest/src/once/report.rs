//! What a run of `once` has shown, as figures.

use std::fmt;

use serde::Serialize;

use super::OnceArgs;
use super::verdict::{Answers, Met, Round, Verdict};
use crate::api::Link;

/// The outcome. It passed if there are no `problems`.
#[derive(Debug, Serialize)]
pub(crate) struct OnceReport {
    seed: u64,
    parallel: usize,
    calm_rounds: usize,
    kills: usize,
    #[serde(flatten)]
    verdict: Verdict,
    /// The kills, in their order.
    rounds: Vec<Kill>,
}

#[derive(Debug, Serialize)]
struct Kill {
    /// From when the requests were sent until SIGKILL was.
    after_ms: f64,
    met: Option<Met>,
}

impl OnceReport {
    /// Judges `rounds` by the `links` that there are.
    pub(super) fn new(args: &OnceArgs, seed: u64, rounds: &[Round], links: &[Link]) -> Self {
        let kill = |round: &Round| {
            let after_ms = round.kill_after?.as_secs_f64() * 1e3;
            Some(Kill { after_ms, met: round.met() })
        };
        Self {
            seed,
            parallel: args.parallel,
            calm_rounds: args.calm,
            kills: args.kills,
            verdict: Verdict::new(rounds, links),
            rounds: rounds.iter().filter_map(kill).collect(),
        }
    }

    pub(crate) const fn passed(&self) -> bool {
        self.verdict.problems.is_empty()
    }
}

impl fmt::Display for OnceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, parallel, calm_rounds, kills, verdict, rounds } = self;
        let Verdict { before_commit, before_answer, between_answers, after_answers, .. } = verdict;
        let Verdict { none_answered, some_answered, links, .. } = verdict;
        writeln!(f, "once: {} (seed {seed})", if self.passed() { "passed" } else { "FAILED" })?;
        for problem in &verdict.problems {
            writeln!(f, "  PROBLEM               {problem}")?;
        }
        writeln!(
            f,
            "  rounds                {calm_rounds} calm, {kills} with a kill, each of {parallel} \
             requests at once and one more"
        )?;
        writeln!(f, "  answers, calm         {}", verdict.calm)?;
        writeln!(f, "  answers, kills        {}", verdict.killed)?;
        writeln!(
            f,
            "  kills came            {before_commit} before the commit, {before_answer} between \
             it and the first answer, {between_answers} between answers, {after_answers} after the \
             last"
        )?;
        let all_answered = *kills as u64 - none_answered - some_answered;
        writeln!(
            f,
            "  requests answered     none in {none_answered} rounds with a kill, some in \
             {some_answered}, all in {all_answered}"
        )?;
        let times = rounds.iter().map(|kill| kill.after_ms);
        let (min, max) = (times.clone().fold(f64::MAX, f64::min), times.fold(0.0, f64::max));
        writeln!(f, "  killed after          {min:.2} to {max:.2} ms")?;
        writeln!(
            f,
            "  links                 {} of {} rounds: {} missing, {} targets with more than one, \
             {} of no round",
            links.found,
            calm_rounds + kills,
            links.missing,
            links.doubled,
            links.foreign
        )?;
        let mut examples = links.examples.iter().chain(&verdict.examples);
        examples.try_for_each(|text| writeln!(f, "    {text}"))
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, replayed, under_way, busy, wrong, cut } = self;
        write!(
            f,
            "{created} created, {replayed} given again, {under_way} under way, {busy} busy, \
             {wrong} wrong, {cut} cut"
        )
    }
}
