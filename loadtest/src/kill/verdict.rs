//! The judgement of `kill`: pure, from what clients saw and what is stored.
//!
//! As Jepsen's set checker: a request is answered, or cut and then indeterminate: its click may be
//! stored or not. With A the answered requests, S the sent ones and R the stored ones with their
//! number, the run passes if A \ R is empty (lost), R \ S is empty (spurious), nothing in R is there
//! twice, and |R \ A| is at most one for each connection and kill, as a connection has one request
//! in flight. A run that proves nothing must not pass either.

use std::collections::BTreeMap;

use serde::Serialize;

use super::met::Met;
use super::sums::Sums;

/// Ids and hosts that are named; the others are counted.
const EXAMPLES_MAX: usize = 10;

/// What visitors saw. Request ids are given from 0 on, without gaps, before a request is written.
#[derive(Debug)]
pub(crate) struct Journal<'a> {
    /// How many ids were given: S is `0..sent`.
    pub(crate) sent: u64,
    /// A: the ids whose complete response head was read, and was the right redirect.
    pub(crate) answered: &'a [u64],
}

/// What stored clicks have in common, and how many they are: their link, or the host of their
/// referrer, which is `""` where there is none.
pub(crate) type StoredCount = (String, u64);

/// The comparison of clicks.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Clicks {
    pub(crate) lost: u64,
    pub(crate) lost_examples: Vec<u64>,
    /// Ids that are stored more than once.
    pub(crate) twice: u64,
    pub(crate) twice_examples: Vec<u64>,
    /// Stored clicks that nobody sent.
    pub(crate) spurious: u64,
    pub(crate) spurious_examples: Vec<String>,
    /// Stored clicks of requests that were cut: permitted, up to `extras_max`.
    pub(crate) extras: u64,
    pub(crate) extras_max: u64,
}

/// One life of the server under load, and its end.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Round {
    /// From ready to SIGKILL.
    pub(crate) life_ms: u64,
    /// Requests that were written and not yet answered when SIGKILL was sent.
    pub(crate) in_flight: u64,
    /// Requests on this life's connections that ended without a complete response head.
    pub(crate) cut: u64,
    /// From the start of the next server to the first redirect that it answered.
    pub(crate) restart_to_redirect_ms: Option<f64>,
}

/// What became of the links that the API acknowledged.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Creates {
    pub(crate) acknowledged: u64,
    /// Acknowledged, and afterwards not on the edge or not in the API as acknowledged.
    pub(crate) missing: u64,
    pub(crate) missing_examples: Vec<String>,
    /// Calls without an answer: the link may exist.
    pub(crate) cut: u64,
    /// Calls that were answered with another status than 201.
    pub(crate) refused: u64,
    pub(crate) refused_examples: Vec<String>,
    /// Links that the API counts at the end, and what it may count: those of calls without an
    /// answer may be among them.
    pub(crate) links: u64,
    pub(crate) links_least: u64,
    pub(crate) links_most: u64,
}

/// What became of changes, deletions and restorations of links.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Edits {
    /// Links that were edited, and those of them that are not deleted at the end.
    pub(crate) links: u64,
    pub(crate) links_there: u64,
    /// Acknowledged ones.
    pub(crate) changes: u64,
    pub(crate) deletes: u64,
    pub(crate) restores: u64,
    /// Calls without an answer, and how many of their links were found edited.
    pub(crate) cut: u64,
    pub(crate) cut_done: u64,
    /// Calls with an answer that says nothing of the link; they are among those that were cut.
    pub(crate) refused: u64,
    pub(crate) refused_examples: Vec<String>,
    /// How often a link was looked at after a kill: API, edge, API.
    pub(crate) looks: u64,
    /// Links that were in a state in which they cannot be.
    pub(crate) wrong: u64,
    pub(crate) wrong_examples: Vec<String>,
}

impl Journal<'_> {
    /// Compares with what is stored.
    pub(crate) fn judge(&self, stored: &[StoredCount], extras_max: u64) -> Clicks {
        let mut clicks = Clicks { extras_max, ..Clicks::default() };
        let mut by_id: BTreeMap<u64, u64> = BTreeMap::new();
        for (host, n) in stored.iter().filter(|(_, n)| *n > 0) {
            match parse_id(host).filter(|&id| id < self.sent) {
                Some(id) => *by_id.entry(id).or_default() += n,
                None => {
                    clicks.spurious += n;
                    example(&mut clicks.spurious_examples, || host.clone());
                }
            }
        }
        for (&id, _) in by_id.iter().filter(|&(_, &n)| n > 1) {
            clicks.twice += 1;
            example(&mut clicks.twice_examples, || id);
        }
        let mut extras = by_id.len() as u64;
        for &id in self.answered {
            if by_id.contains_key(&id) {
                extras -= 1;
            } else {
                clicks.lost += 1;
                example(&mut clicks.lost_examples, || id);
            }
        }
        clicks.extras = extras;
        clicks
    }
}

/// The host of the `Referer` that carries an id.
pub(crate) fn referrer_host(id: u64) -> String {
    format!("r{id}.test")
}

fn parse_id(host: &str) -> Option<u64> {
    let id = host.strip_prefix('r')?.strip_suffix(".test")?.parse().ok()?;
    // "r01.test" and "r+1.test" would be read as 1, and nobody sent them.
    (referrer_host(id) == host).then_some(id)
}

fn example<T>(examples: &mut Vec<T>, make: impl FnOnce() -> T) {
    if examples.len() < EXAMPLES_MAX {
        examples.push(make());
    }
}

/// How clicks were compared, and what else was.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Proof {
    ById(Box<ById>),
    ByLink { sums: Sums },
}

#[derive(Debug, Serialize)]
pub(crate) struct ById {
    pub(crate) clicks: Clicks,
    pub(crate) creates: Creates,
    pub(crate) edits: Edits,
}

impl Proof {
    fn problems(&self) -> Vec<String> {
        match self {
            Self::ById(by_id) => {
                let ById { clicks, creates, edits } = &**by_id;
                [clicks.problems(), creates.problems(), edits.problems()].concat()
            }
            Self::ByLink { sums } => sums.problems(),
        }
    }
}

impl Clicks {
    fn problems(&self) -> Vec<String> {
        let mut problems = counted([
            (self.lost, "answered redirects are not stored"),
            (self.twice, "redirects are stored more than once"),
            (self.spurious, "stored clicks were never sent"),
        ]);
        if self.extras > self.extras_max {
            problems.push(format!(
                "{} clicks of cut requests are stored, but at most {} were in flight at the kills",
                self.extras, self.extras_max
            ));
        }
        problems
    }
}

impl Creates {
    fn problems(&self) -> Vec<String> {
        let mut problems = counted([(self.missing, "acknowledged links are missing")]);
        let Self { links, links_least, links_most, .. } = self;
        if !(links_least..=links_most).contains(&links) {
            problems.push(format!(
                "there are {links} links at the end, not {links_least} to {links_most}"
            ));
        }
        if self.acknowledged == 0 {
            problems.push("no create was acknowledged, so nothing is proved".to_owned());
        }
        problems
    }
}

impl Edits {
    fn problems(&self) -> Vec<String> {
        let mut problems =
            counted([(self.wrong, "edited links were in a state in which they cannot be")]);
        for (count, what) in
            [(self.changes, "change"), (self.deletes, "delete"), (self.restores, "restore")]
        {
            if count == 0 {
                problems.push(format!("no {what} was acknowledged, so nothing is proved"));
            }
        }
        if self.cut == 0 {
            problems.push("no edit was cut, so the kills prove nothing about them".to_owned());
        }
        problems
    }
}

/// All that a run has shown.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) proof: &'a Proof,
    pub(crate) answered: u64,
    /// Whole answers that were not the right redirect.
    pub(crate) wrong_answers: u64,
    /// Rollup rows that differ from the raw clicks.
    pub(crate) rollup_differences: u64,
    /// Hours in which the API shows other clicks than the raw ones.
    pub(crate) hour_differences: u64,
    pub(crate) met: &'a Met,
    pub(crate) rounds: &'a [Round],
}

impl Evidence<'_> {
    /// Why the run does not pass; empty if it does.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.proof.problems();
        let idle = self.rounds.iter().filter(|round| round.in_flight == 0 || round.cut == 0);
        problems.extend(counted([
            (self.wrong_answers, "answers were not the right redirect"),
            (self.rollup_differences, "rows of the rollups differ from the clicks"),
            (self.hour_differences, "hours have other clicks in the API than in the store"),
            (idle.count() as u64, "kills met no request in flight, so they prove nothing"),
        ]));
        if self.rounds.is_empty() {
            problems.push("nothing was killed, so nothing is proved".to_owned());
        }
        if self.answered == 0 {
            problems.push("no redirect was answered, so nothing is proved".to_owned());
        }
        problems.extend(self.met.problems(self.rounds.len()));
        problems
    }
}

/// Those of the figures that should be 0 and are not.
fn counted<const N: usize>(figures: [(u64, &str); N]) -> Vec<String> {
    let bad = figures.into_iter().filter(|(count, _)| *count > 0);
    bad.map(|(count, what)| format!("{count} {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (sent, answered, stored) → (lost, twice, spurious, extras)
    type Case<'a> = (&'a str, u64, &'a [u64], &'a [(&'a str, u64)], [u64; 4]);

    #[test]
    fn clicks_are_judged() {
        let all: &[(&str, u64)] = &[("r0.test", 1), ("r1.test", 1), ("r2.test", 1)];
        let cases: [Case<'_>; 13] = [
            ("nothing at all", 0, &[], &[], [0, 0, 0, 0]),
            ("all stored", 3, &[0, 1, 2], all, [0, 0, 0, 0]),
            ("in another order", 3, &[2, 0, 1], all, [0, 0, 0, 0]),
            ("cut and stored", 3, &[0, 2], all, [0, 0, 0, 1]),
            ("cut and not stored", 4, &[0, 1, 2], all, [0, 0, 0, 0]),
            ("one lost", 4, &[0, 1, 2, 3], all, [1, 0, 0, 0]),
            ("all lost", 3, &[0, 1, 2], &[], [3, 0, 0, 0]),
            ("one row counts two", 1, &[0], &[("r0.test", 2)], [0, 1, 0, 0]),
            ("two rows", 1, &[0], &[("r0.test", 1), ("r0.test", 1)], [0, 1, 0, 0]),
            ("a cut one twice", 1, &[], &[("r0.test", 2)], [0, 1, 0, 1]),
            ("an id of the future", 1, &[0], &[("r0.test", 1), ("r1.test", 1)], [0, 0, 1, 0]),
            (
                "hosts that are no id",
                2,
                &[],
                &[("", 4), ("r.test", 1), ("r01.test", 1), ("r+1.test", 1), ("example.com", 1)],
                [0, 0, 8, 0],
            ),
            ("+1 and −1 do not cancel", 2, &[0, 1], &[("r0.test", 2)], [1, 1, 0, 0]),
        ];
        for (name, sent, answered, stored, [lost, twice, spurious, extras]) in cases {
            let journal = Journal { sent, answered };
            let stored: Vec<_> = stored.iter().map(|&(host, n)| (host.to_owned(), n)).collect();
            let clicks = journal.judge(&stored, 9);
            let got = [clicks.lost, clicks.twice, clicks.spurious, clicks.extras];
            assert_eq!(got, [lost, twice, spurious, extras], "{name}");
            assert_eq!(clicks.lost_examples.len() as u64, lost, "{name}");
        }
    }

    /// A run that passes, to be spoilt in one place.
    struct Run {
        clicks: Clicks,
        creates: Creates,
        edits: Edits,
        met: Met,
        rounds: Vec<Round>,
        answered: u64,
        wrong_answers: u64,
        rollup_differences: u64,
        hour_differences: u64,
    }

    fn problems(spoil: Spoil) -> Vec<String> {
        let round = Round { in_flight: 3, cut: 2, ..Round::default() };
        let mut run = Run {
            clicks: Clicks { extras: 4, extras_max: 4, ..Clicks::default() },
            creates: Creates {
                acknowledged: 1,
                cut: 1,
                refused: 1,
                links: 5,
                links_least: 4,
                links_most: 5,
                ..Creates::default()
            },
            edits: Edits { changes: 1, deletes: 1, restores: 1, cut: 1, ..Edits::default() },
            met: Met { recovered_clicks: 1, ..Met::default() },
            rounds: vec![round.clone(), round],
            answered: 5,
            wrong_answers: 0,
            rollup_differences: 0,
            hour_differences: 0,
        };
        spoil(&mut run);
        let Run { clicks, creates, edits, .. } = run;
        let proof = Proof::ById(Box::new(ById { clicks, creates, edits }));
        let evidence = Evidence {
            proof: &proof,
            answered: run.answered,
            wrong_answers: run.wrong_answers,
            rollup_differences: run.rollup_differences,
            hour_differences: run.hour_differences,
            met: &run.met,
            rounds: &run.rounds,
        };
        evidence.problems()
    }

    type Spoil = fn(&mut Run);

    #[test]
    fn each_figure_alone_decides() {
        assert_eq!(problems(|_| {}), Vec::<String>::new());
        let cases: [(&str, Spoil); 21] = [
            ("not stored", |run| run.clicks.lost = 1),
            ("more than once", |run| run.clicks.twice = 1),
            ("never sent", |run| run.clicks.spurious = 1),
            ("at most 4", |run| run.clicks.extras = 5),
            ("missing", |run| run.creates.missing = 1),
            ("no create", |run| run.creates.acknowledged = 0),
            ("not 4 to 5", |run| run.creates.links = 3),
            ("not 4 to 5", |run| run.creates.links = 6),
            ("cannot be", |run| run.edits.wrong = 1),
            ("no change", |run| run.edits.changes = 0),
            ("no delete", |run| run.edits.deletes = 0),
            ("no restore", |run| run.edits.restores = 0),
            ("no edit was cut", |run| run.edits.cut = 0),
            ("1 kills met no request", |run| run.rounds[1].in_flight = 0),
            ("1 kills met no request", |run| run.rounds[1].cut = 0),
            ("nothing was killed", |run| run.rounds.clear()),
            ("no redirect", |run| run.answered = 0),
            ("not the right redirect", |run| run.wrong_answers = 1),
            ("rollup", |run| run.rollup_differences = 1),
            ("hours", |run| run.hour_differences = 1),
            ("recovery is not proved", |run| run.met.recovered_clicks = 0),
        ];
        for (text, spoil) in cases {
            let problems = problems(spoil);
            assert!(matches!(&problems[..], [one] if one.contains(text)), "{text}: {problems:?}");
        }
    }
}
