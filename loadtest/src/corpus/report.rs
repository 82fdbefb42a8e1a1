//! What `corpus` says.

use std::fmt;

use serde::Serialize;

use super::requests::Reads;

/// One request before one server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CaseReport {
    pub(super) name: &'static str,
    pub(super) reads: Reads,
    /// What Carom itself answers.
    pub(super) direct: &'static [u16],
    pub(super) statuses: Vec<u16>,
    /// Answers that redirect to the request's link, and to that of the one after it.
    pub(super) redirects: [u64; 2],
    pub(super) clicks: [u64; 2],
    /// Answers that Carom gave; the others are the proxy's, or to what Carom could not even read.
    pub(super) by_carom: u64,
    /// Whether the next visitor got their own answer.
    pub(super) is_probe_right: bool,
}

impl CaseReport {
    fn fault(&self, is_direct: bool) -> Option<&'static str> {
        let [first, second] = self.redirects;
        if self.clicks != self.redirects {
            Some("the clicks are not those that were answered")
        } else if self.by_carom > self.statuses.len() as u64 {
            Some("Carom answered what the client did not ask")
        } else if !self.is_probe_right {
            Some("the next visitor got another answer")
        } else if first > 1 || second > 1 || self.statuses.len() > 2 {
            Some("one request has two answers")
        } else if self.reads == Reads::One && second > 0 {
            Some("what follows the request was answered")
        } else if is_direct && self.statuses != self.direct {
            Some("the answers are not those of Carom")
        } else if self.statuses.iter().any(|status| matches!(status, 500 | 502..=504)) {
            Some("the server failed")
        } else {
            None
        }
    }
}

/// Who visitors were taken for.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Identity {
    /// Of two, who claimed to be others.
    pub(super) visitors: u64,
    /// Whom a trusted address told of, two.
    pub(super) visitors_told: u64,
    /// Answers to a stranger with a PROXY header, where one is expected.
    pub(super) stranger_answers: Option<u64>,
}

/// All of one front.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FrontReport {
    pub(super) name: &'static str,
    pub(super) version: String,
    pub(super) is_direct: bool,
    /// Whether a trusted address spoke for others.
    pub(super) is_told: bool,
    /// Sent, redirected, stored.
    pub(super) probes: [u64; 3],
    pub(super) cases: Vec<CaseReport>,
    pub(super) identity: Identity,
}

impl FrontReport {
    pub(super) fn passed(&self) -> bool {
        let [sent, redirected, stored] = self.probes;
        self.cases.iter().all(|case| case.fault(self.is_direct).is_none())
            && sent == redirected
            && redirected == stored
            && self.is_identity_right()
    }

    fn is_identity_right(&self) -> bool {
        let Identity { visitors, visitors_told, stranger_answers } = self.identity;
        visitors == 2
            && visitors_told == if self.is_told { 2 } else { 0 }
            && stranger_answers.is_none_or(|answers| answers == 0)
    }
}

/// The outcome.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct CorpusReport {
    pub(super) fronts: Vec<FrontReport>,
    /// What is not installed.
    pub(super) missing: Vec<String>,
}

impl CorpusReport {
    pub(crate) fn passed(&self) -> bool {
        !self.fronts.is_empty() && self.fronts.iter().all(FrontReport::passed)
    }
}

impl fmt::Display for FrontReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        writeln!(f, "behind {} ({}): {verdict}", self.name, self.version)?;
        for case in &self.cases {
            let statuses: Vec<_> = case.statuses.iter().map(u16::to_string).collect();
            let statuses = if statuses.is_empty() { "-".to_owned() } else { statuses.join(" ") };
            let [one, two] = case.clicks;
            write!(
                f,
                "  {:<34} {statuses:<8} {} by Carom, {one}+{two} clicks",
                case.name, case.by_carom
            )?;
            match case.fault(self.is_direct) {
                Some(fault) => writeln!(f, "  FAULT: {fault}")?,
                None => writeln!(f)?,
            }
        }
        let [sent, redirected, stored] = self.probes;
        writeln!(f, "  other visitors: {sent} asked, {redirected} redirected, {stored} clicks")?;
        let Identity { visitors, visitors_told, stranger_answers } = self.identity;
        write!(f, "  two who claim to be others are {visitors} visitors")?;
        if self.is_told {
            write!(f, "; two of whom a trusted address tells are {visitors_told}")?;
        }
        if let Some(answers) = stranger_answers {
            write!(f, "; a stranger with a PROXY header has {answers} answers")?;
        }
        writeln!(f)
    }
}

impl fmt::Display for CorpusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "corpus: {}", if self.passed() { "passed" } else { "FAILED" })?;
        self.fronts.iter().try_for_each(|front| write!(f, "{front}"))?;
        self.missing.iter().try_for_each(|missing| writeln!(f, "{missing}"))
    }
}
