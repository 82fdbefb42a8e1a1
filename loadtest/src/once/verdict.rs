//! The judgement of `once`: pure, from what clients were answered and what links there are.
//!
//! A round keeps the promise of its idempotency key if all its 201s are alike to the byte, at most
//! one of them says that it was done now, and none says so after another was heard. In a round
//! without a kill exactly one says so, and every other request is answered again or sent back to
//! wait. Whatever a kill met, the last request, alone, has its 201, and in the end there is the
//! link of each round and no other. A run in which no kill met a request proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::api::Link;

/// Links and answers that are described; the others are counted.
const EXAMPLES_MAX: usize = 10;

/// What an answer with a link promises, and each later one repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    pub(super) id: String,
    pub(super) location: String,
    pub(super) etag: String,
    pub(super) body: String,
}

/// A 201.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Created {
    /// It says that it is the answer of an earlier request.
    pub(super) replayed: bool,
    pub(super) promise: Promise,
}

/// What one request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Created(Created),
    /// 409: another request with the key is under way.
    UnderWay,
    /// 503
    Busy,
    /// A whole answer that none of these is.
    Wrong(String),
    /// No whole answer: the link may exist.
    Cut(String),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created(Created { replayed, promise }) => {
                let again = if *replayed { ", given again" } else { "" };
                write!(f, "201 {}{again}", promise.id)
            }
            Self::UnderWay => f.write_str("409, under way"),
            Self::Busy => f.write_str("503"),
            Self::Wrong(what) | Self::Cut(what) => f.write_str(what),
        }
    }
}

/// One round: one key, one target, many requests.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) target: String,
    /// From when the requests were sent until SIGKILL was.
    pub(super) kill_after: Option<Duration>,
    /// Of the requests that were sent at once.
    pub(super) answers: Vec<Answer>,
    /// Of the last request, alone; or why it has no link.
    pub(super) settled: Result<Created, String>,
}

/// Answers by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Answers {
    /// 201 that says it was done now.
    pub(super) created: u64,
    /// 201 that is given again.
    pub(super) replayed: u64,
    pub(super) under_way: u64,
    pub(super) busy: u64,
    pub(super) wrong: u64,
    pub(super) cut: u64,
}

impl Answers {
    fn of(answers: &[Answer]) -> Self {
        let mut counts = Self::default();
        for answer in answers {
            *match answer {
                Answer::Created(Created { replayed: false, .. }) => &mut counts.created,
                Answer::Created(_) => &mut counts.replayed,
                Answer::UnderWay => &mut counts.under_way,
                Answer::Busy => &mut counts.busy,
                Answer::Wrong(_) => &mut counts.wrong,
                Answer::Cut(_) => &mut counts.cut,
            } += 1;
        }
        counts
    }

    fn add(&mut self, other: Self) {
        self.created += other.created;
        self.replayed += other.replayed;
        self.under_way += other.under_way;
        self.busy += other.busy;
        self.wrong += other.wrong;
        self.cut += other.cut;
    }
}

/// What a kill met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Met {
    /// The link was not stored: the last request made it.
    BeforeCommit,
    /// It was stored, and nobody had been told.
    BeforeAnswer,
    /// Some were told of it, and some have no answer.
    BetweenAnswers,
    /// All requests were answered.
    AfterAnswers,
}

impl Round {
    fn heard(&self) -> impl Iterator<Item = &Created> {
        self.answers.iter().filter_map(|answer| match answer {
            Answer::Created(created) => Some(created),
            _ => None,
        })
    }

    /// `None` without a kill, or if the round did not settle.
    pub(super) fn met(&self) -> Option<Met> {
        let (settled, _) = self.settled.as_ref().ok().zip(self.kill_after)?;
        let is_cut = self.answers.iter().any(|answer| matches!(answer, Answer::Cut(_)));
        Some(match (is_cut, settled.replayed, self.heard().next()) {
            (false, _, _) => Met::AfterAnswers,
            (true, false, _) => Met::BeforeCommit,
            (true, true, None) => Met::BeforeAnswer,
            (true, true, Some(_)) => Met::BetweenAnswers,
        })
    }

    /// One line for who watches.
    pub(super) fn tell(&self) -> String {
        let cut = Answers::of(&self.answers).cut;
        let after = self.kill_after.unwrap_or_default().as_secs_f64() * 1e3;
        format!(
            "after {after:.1} ms, {} of {} requests answered",
            self.answers.len() as u64 - cut,
            self.answers.len()
        )
    }

    /// 201s that differ from the one that was settled on.
    fn different(&self) -> u64 {
        let Ok(settled) = &self.settled else { return 0 };
        self.heard().filter(|created| created.promise != settled.promise).count() as u64
    }

    /// Whether the answers admit to more than one link.
    fn is_done_again(&self) -> bool {
        let now = self.heard().filter(|created| !created.replayed).count();
        let last = self.settled.as_ref().is_ok_and(|settled| !settled.replayed);
        now > 1 || (last && self.heard().next().is_some())
    }

    /// Whether it is a round without a kill in which not exactly one request did the work and all
    /// others were told so.
    fn is_unsound_calm(&self) -> bool {
        let Answers { created, busy, wrong, cut, .. } = Answers::of(&self.answers);
        self.kill_after.is_none() && (created != 1 || busy + wrong + cut > 0)
    }
}

/// What links there are, against what was answered.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Links {
    pub(super) found: u64,
    /// Answered, and not there with its id and target.
    pub(super) missing: u64,
    /// Targets with more than one link.
    pub(super) doubled: u64,
    /// Links to targets that no round had.
    pub(super) foreign: u64,
    pub(super) examples: Vec<String>,
}

impl Links {
    fn compare(rounds: &[Round], links: &[Link]) -> Self {
        let mut compared = Self { found: links.len() as u64, ..Self::default() };
        let mut ids_by_target: BTreeMap<&str, BTreeSet<&str>> =
            rounds.iter().map(|round| (round.target.as_str(), BTreeSet::new())).collect();
        for link in links {
            match ids_by_target.get_mut(link.url.as_str()) {
                Some(ids) => {
                    ids.insert(&link.id);
                }
                None => {
                    compared.foreign += 1;
                    compared.example(format!("link {} to {} is of no round", link.id, link.url));
                }
            }
        }
        for round in rounds {
            let Some(ids) = ids_by_target.get(round.target.as_str()) else { continue };
            if ids.len() > 1 {
                compared.doubled += 1;
                compared.example(format!("{} has {} links", round.target, ids.len()));
            }
            let promised = round.settled.iter().chain(round.heard());
            let lost: BTreeSet<_> = promised
                .map(|created| created.promise.id.as_str())
                .filter(|id| !ids.contains(id))
                .collect();
            compared.missing += lost.len() as u64;
            lost.iter()
                .for_each(|id| compared.example(format!("{id} to {} is missing", round.target)));
        }
        compared
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text);
        }
    }
}

/// All that a run has shown.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) problems: Vec<String>,
    /// In rounds without a kill.
    pub(super) calm: Answers,
    /// In rounds with one; without the last requests.
    pub(super) killed: Answers,
    pub(super) before_commit: u64,
    pub(super) before_answer: u64,
    pub(super) between_answers: u64,
    pub(super) after_answers: u64,
    /// Rounds with a kill in which no request was answered at all, and in which some were.
    pub(super) none_answered: u64,
    pub(super) some_answered: u64,
    pub(super) links: Links,
    /// Answers that were wrong, and last requests without a link.
    pub(super) examples: Vec<String>,
}

impl Verdict {
    pub(super) fn new(rounds: &[Round], links: &[Link]) -> Self {
        let (mut calm, mut killed) = (Answers::default(), Answers::default());
        for round in rounds {
            let answers = Answers::of(&round.answers);
            if round.kill_after.is_some() { killed.add(answers) } else { calm.add(answers) }
        }
        let met = |what| rounds.iter().filter(|round| round.met() == Some(what)).count() as u64;
        let cut = rounds.iter().filter(|round| round.kill_after.is_some());
        let cut = cut.map(|round| (Answers::of(&round.answers).cut, round.answers.len() as u64));
        let mut verdict = Self {
            problems: Vec::new(),
            calm,
            killed,
            before_commit: met(Met::BeforeCommit),
            before_answer: met(Met::BeforeAnswer),
            between_answers: met(Met::BetweenAnswers),
            after_answers: met(Met::AfterAnswers),
            none_answered: cut.clone().filter(|(cut, all)| cut == all).count() as u64,
            some_answered: cut.filter(|&(cut, all)| cut > 0 && cut < all).count() as u64,
            links: Links::compare(rounds, links),
            examples: examples(rounds),
        };
        verdict.problems = verdict.find_problems(rounds);
        verdict
    }

    fn find_problems(&self, rounds: &[Round]) -> Vec<String> {
        let of = |is: fn(&Round) -> bool| rounds.iter().filter(|round| is(round)).count() as u64;
        let links = &self.links;
        let different: u64 = rounds.iter().map(Round::different).sum();
        let mut problems: Vec<String> = [
            (of(|round| round.settled.is_err()), "rounds have no link in the end"),
            (different, "answers differ from the others of their key"),
            (of(Round::is_done_again), "rounds were told twice that it was done now"),
            (of(Round::is_unsound_calm), "rounds without a kill were not done just once"),
            (self.killed.wrong, "answers around a kill were neither 201, 409 nor 503"),
            (links.missing, "answered links are missing"),
            (links.doubled, "targets have more than one link"),
            (links.foreign, "links are of no round"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        if self.before_commit + self.before_answer + self.between_answers == 0 {
            problems.push("no kill met a request under way, so nothing is proved".to_owned());
        }
        problems
    }
}

fn examples(rounds: &[Round]) -> Vec<String> {
    let told = rounds.iter().flat_map(|round| {
        let wrong = round.answers.iter().filter_map(|answer| match answer {
            Answer::Wrong(what) => Some(what),
            Answer::Cut(what) if round.kill_after.is_none() => Some(what),
            _ => None,
        });
        wrong.chain(round.settled.as_ref().err()).map(|what| format!("{}: {what}", round.target))
    });
    told.take(EXAMPLES_MAX).collect()
}

#[cfg(test)]
mod tests;
