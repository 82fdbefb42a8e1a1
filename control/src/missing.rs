//! Codes that visitors ask for and that do not exist: the most frequent of each domain, so that its
//! owner finds the misprint on the poster, and makes the link.
//!
//! Edges count them in memory and hand them over from time to time ([`App::note_missing`]); here
//! they outlive restarts. What is handed over is added once or, where the commit fails or the
//! process is killed before, not at all: a minute of requests that led nowhere is not worth a
//! ledger.
//!
//! A domain has at most [`CODES_MAX`] of them, and whoever asks for random codes must not push out
//! those that many ask for. So what comes in is merged as two summaries of frequent items are
//! (Agarwal et al., "Mergeable summaries", 2012): where there are too many, the count of the first
//! that is too many is taken off all, and those at zero go. To drop the least instead would let no
//! newcomer in once the list is full of old ones. A count is too low by at most what was taken off.
//!
//! [`App::note_missing`]: crate::App::note_missing

pub(crate) mod api;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use carom_shared::{Code, DomainId, UnixMillis};

/// Codes of a domain, at most.
pub(crate) const CODES_MAX: usize = 1000;
/// A code that nobody has asked for in so long is forgotten.
pub(crate) const LIFETIME: Duration = Duration::from_hours(24 * 90);

/// A code that does not exist, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MissingCode {
    pub(crate) host: String,
    pub(crate) code: String,
    /// How often it was asked for, at least.
    pub(crate) requests: u64,
    pub(crate) first_seen: UnixMillis,
    pub(crate) last_seen: UnixMillis,
}

/// By domain, each code once, with its requests: at most [`CODES_MAX`], those with the most.
pub(crate) fn by_domain(
    requests: impl IntoIterator<Item = (DomainId, Code, u64)>,
) -> BTreeMap<DomainId, Vec<(Code, u64)>> {
    let mut sums: BTreeMap<DomainId, BTreeMap<Code, u64>> = BTreeMap::new();
    for (domain, code, n) in requests {
        *sums.entry(domain).or_default().entry(code).or_default() += n;
    }
    let most = |codes: BTreeMap<Code, u64>| {
        let mut codes: Vec<_> = codes.into_iter().filter(|(_, n)| *n > 0).collect();
        codes.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        codes.truncate(CODES_MAX);
        codes
    };
    sums.into_iter().map(|(domain, codes)| (domain, most(codes))).collect()
}
