//! The judgement of `kill --full-speed`: pure, from the sums of each link.
//!
//! Without ids a click lost and another stored twice cancel in a sum. So each link has one
//! connection to itself, on which one request is in flight, and its sum has little room: at least
//! what was answered, at most that and the requests that were cut.

use std::collections::BTreeMap;

use serde::Serialize;

use super::verdict::StoredCount;

/// Links that are described; the others are counted.
const EXAMPLES_MAX: usize = 10;

/// What the one visitor of a link saw.
#[derive(Debug)]
pub(crate) struct LinkSeen {
    pub(crate) link: String,
    pub(crate) answered: u64,
    /// Requests without a complete response head: stored or not.
    pub(crate) cut: u64,
    /// The clicks that the API shows for it at the end.
    pub(crate) shown: u64,
}

/// The comparison of sums.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sums {
    pub(crate) links: u64,
    pub(crate) stored: u64,
    /// What is missing at links with fewer clicks than answers.
    pub(crate) lost: u64,
    /// What is too much at links with more clicks than requests.
    pub(crate) surplus: u64,
    /// Stored clicks of cut requests: permitted.
    pub(crate) extras: u64,
    /// Stored clicks of links that nobody visited.
    pub(crate) unknown: u64,
    /// Links whose clicks in the API are not the stored ones.
    pub(crate) shown_differently: u64,
    pub(crate) examples: Vec<String>,
}

impl Sums {
    /// Compares with what is stored for each link.
    pub(crate) fn judge(seen: &[LinkSeen], stored: &[StoredCount]) -> Self {
        let mut stored_by_link: BTreeMap<&str, u64> = BTreeMap::new();
        for (link, n) in stored {
            *stored_by_link.entry(link).or_default() += n;
        }
        let mut sums = Self { links: seen.len() as u64, ..Self::default() };
        sums.stored = stored_by_link.values().sum();
        for LinkSeen { link, answered, cut, shown } in seen {
            let stored = stored_by_link.remove(link.as_str()).unwrap_or_default();
            let extras = stored.saturating_sub(*answered);
            let lost = answered.saturating_sub(stored);
            let surplus = extras.saturating_sub(*cut);
            sums.lost += lost;
            sums.surplus += surplus;
            sums.extras += extras - surplus;
            sums.shown_differently += u64::from(*shown != stored);
            if (lost > 0 || surplus > 0 || *shown != stored) && sums.examples.len() < EXAMPLES_MAX {
                sums.examples.push(format!(
                    "link {link}: {answered} answered, {cut} cut, {stored} stored, {shown} shown"
                ));
            }
        }
        sums.unknown = stored_by_link.values().sum();
        sums
    }

    /// Why it does not pass.
    pub(super) fn problems(&self) -> Vec<String> {
        let Self { lost, surplus, unknown, shown_differently, .. } = self;
        [
            (lost, "clicks are missing at links with fewer clicks than answers"),
            (surplus, "clicks are too many at links with more clicks than requests"),
            (unknown, "stored clicks are of links that nobody visited"),
            (shown_differently, "links have other clicks in the API than in the store"),
        ]
        .into_iter()
        .filter(|(count, _)| **count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (answered, cut, stored, shown) of each link → (lost, surplus, extras, shown differently)
    type Case<'a> = (&'a str, &'a [[u64; 4]], [u64; 4]);

    #[test]
    fn sums_are_judged_link_by_link() {
        let cases: [Case<'_>; 7] = [
            ("all stored", &[[5, 2, 5, 5], [0, 0, 0, 0]], [0, 0, 0, 0]),
            ("cut ones stored, as far as there were any", &[[5, 2, 7, 7]], [0, 0, 2, 0]),
            ("one too many", &[[5, 2, 8, 8]], [0, 1, 2, 0]),
            ("one lost", &[[5, 2, 4, 4]], [1, 0, 0, 0]),
            ("+1 and −1 do not cancel", &[[5, 0, 6, 6], [5, 0, 4, 4]], [1, 1, 0, 0]),
            ("nothing stored", &[[3, 1, 0, 0]], [3, 0, 0, 0]),
            ("shown too few", &[[5, 1, 6, 5]], [0, 0, 1, 1]),
        ];
        for (name, links, expected) in cases {
            let seen = links.iter().enumerate().map(|(n, &[answered, cut, _, shown])| LinkSeen {
                link: n.to_string(),
                answered,
                cut,
                shown,
            });
            let stored = links.iter().enumerate().map(|(n, counts)| (n.to_string(), counts[2]));
            let sums =
                Sums::judge(&seen.collect::<Vec<_>>(), &stored.collect::<Vec<StoredCount>>());
            let got = [sums.lost, sums.surplus, sums.extras, sums.shown_differently];
            assert_eq!(got, expected, "{name}");
            let [lost, surplus, _, shown] = expected;
            let bad = [lost, surplus, shown].iter().filter(|count| **count > 0).count();
            assert_eq!(sums.problems().len(), bad, "{name}");
            assert_eq!(sums.examples.is_empty(), bad == 0, "{name}");
        }
    }

    #[test]
    fn clicks_of_other_links_are_found() {
        let seen = [LinkSeen { link: "1".to_owned(), answered: 1, cut: 0, shown: 1 }];
        let sums = Sums::judge(&seen, &[("1".to_owned(), 1), ("2".to_owned(), 3)]);
        assert_eq!((sums.unknown, sums.stored, sums.problems().len()), (3, 4, 1));
    }
}
