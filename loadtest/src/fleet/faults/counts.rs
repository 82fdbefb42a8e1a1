//! What is counted while visitors come and links are made: of one stretch of time.

use std::time::Duration;

use serde::Serialize;

use super::super::check::Wrong;
use super::model::Verdict;
use crate::latency::Latencies;

/// Why a code was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Purpose {
    /// A link that every edge has known for long.
    Known,
    /// A link that was made or changed of late.
    Changing,
    /// A link that was made just now.
    Followed,
    /// A code that does not exist.
    Missing,
}

/// How an answer is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Judged {
    Answer(Verdict),
    /// 503 of a code that this edge need not know.
    Unsure,
    /// No answer, or 503, though the edge was up and knew the link.
    Failed(String),
    /// The edge was killed meanwhile.
    Cut,
}

/// What happened in a stretch of time.
#[derive(Clone, Debug)]
pub(in super::super) struct Counts {
    /// Redirects of links that every edge has known for long.
    pub(super) known: u64,
    /// Of links that the edge knew, long or not.
    pub(in super::super) failed: Wrong,
    pub(super) cut: u64,
    pub(in super::super) changing: u64,
    pub(in super::super) wrong: Wrong,
    /// Of the wrong ones: a link that was acknowledged is said not to exist.
    pub(super) denied: u64,
    /// Of links that were made just now.
    pub(super) followed: Answers,
    pub(super) missing: Answers,
    /// 503 of links that were changed of late, where the edge need not know them.
    pub(in super::super) changing_unsure: u64,
    pub(super) creates: Calls,
    pub(super) edits: Calls,
    /// Redirects of links that were known for long.
    pub(super) latencies: Latencies,
    /// A create, from the call to its acknowledgement.
    pub(super) acknowledging: Latencies,
    pub(super) feed_age_max: Duration,
}

/// Answers that were certain, and those that were 503.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Answers {
    pub(super) asked: u64,
    pub(super) unsure: u64,
}

/// Calls of control planes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Calls {
    pub(super) acknowledged: u64,
    /// The answer is that it was not done.
    pub(super) refused: u64,
    /// No answer, or one that does not say whether it was done.
    pub(super) unknown: u64,
}

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            known: 0,
            failed: Wrong::default(),
            cut: 0,
            changing: 0,
            wrong: Wrong::default(),
            denied: 0,
            followed: Answers::default(),
            missing: Answers::default(),
            changing_unsure: 0,
            creates: Calls::default(),
            edits: Calls::default(),
            latencies: Latencies::new(),
            acknowledging: Latencies::new(),
            feed_age_max: Duration::ZERO,
        }
    }

    /// Counts one answer; `what` describes it.
    pub(super) fn note(
        &mut self,
        purpose: Purpose,
        judged: &Judged,
        what: impl FnOnce(&str) -> String,
    ) {
        match purpose {
            Purpose::Known => self.known += 1,
            Purpose::Changing => self.changing += 1,
            Purpose::Followed => self.followed.asked += 1,
            Purpose::Missing => self.missing.asked += 1,
        }
        match judged {
            Judged::Answer(Verdict::Right) => {}
            Judged::Answer(verdict) => {
                self.denied += u64::from(*verdict == Verdict::Denied);
                self.wrong.note(|| what(&format!("{verdict:?}")));
            }
            Judged::Unsure => match purpose {
                Purpose::Known | Purpose::Changing => self.changing_unsure += 1,
                Purpose::Followed => self.followed.unsure += 1,
                Purpose::Missing => self.missing.unsure += 1,
            },
            Judged::Failed(why) => self.failed.note(|| what(why)),
            Judged::Cut => self.cut += 1,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.known += other.known;
        self.failed.add(other.failed);
        self.cut += other.cut;
        self.changing += other.changing;
        self.wrong.add(other.wrong);
        self.denied += other.denied;
        self.followed.add(other.followed);
        self.missing.add(other.missing);
        self.changing_unsure += other.changing_unsure;
        self.creates.add(other.creates);
        self.edits.add(other.edits);
        self.latencies.add(&other.latencies);
        self.acknowledging.add(&other.acknowledging);
        self.feed_age_max = self.feed_age_max.max(other.feed_age_max);
    }

    /// 503 where no fault was.
    pub(super) const fn unsure(&self) -> u64 {
        self.followed.unsure + self.missing.unsure + self.changing_unsure
    }
}

impl Answers {
    const fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.unsure += other.unsure;
    }
}

impl Calls {
    const fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_counted_once_for_what_it_is() {
        let mut counts = Counts::new();
        let right = Judged::Answer(Verdict::Right);
        for (purpose, judged) in [
            (Purpose::Known, right),
            (Purpose::Known, Judged::Failed("503".to_owned())),
            (Purpose::Changing, Judged::Answer(Verdict::TooOld)),
            (Purpose::Changing, Judged::Unsure),
            (Purpose::Followed, Judged::Answer(Verdict::Denied)),
            (Purpose::Followed, Judged::Unsure),
            (Purpose::Missing, Judged::Unsure),
            (Purpose::Missing, Judged::Cut),
        ] {
            counts.note(purpose, &judged, str::to_owned);
        }
        let mut sum = counts.clone();
        sum.add(counts);
        assert_eq!((sum.known, sum.changing, sum.followed.asked, sum.missing.asked), (4, 4, 4, 4));
        assert_eq!((sum.failed.count, sum.wrong.count, sum.denied, sum.cut), (2, 4, 2, 2));
        assert_eq!(sum.unsure(), 6);
        assert_eq!(sum.failed.examples, ["503", "503"]);
    }
}
