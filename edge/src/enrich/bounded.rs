//! How many new names strangers may bring in: a link whose referrers are random must not fill the
//! store with names that are worth nothing.
//!
//! Names are remembered as hashes. What is remembered grows with what comes, up to a number of bytes;
//! from there on the older half is dropped when the younger is full. A name that was forgotten counts
//! as new once more, so an honest link stays within its budget as long as no more than that many of
//! its names are forgotten in a minute. Budgets are counters that several scopes share by chance. Each
//! scope has two of them, of which the lower one decides: so a link whose referrers are random uses up
//! no other's budget, but with one it shares both with. They grow along with the names.

use std::hash::Hasher;

use carom_shared::click::Detail;
use siphasher::sip::SipHasher13;

/// What stands for a name too many.
pub(super) const OTHER: &str = "(other)";

/// New names of a link and detail in a minute, at most.
pub(super) const PER_LINK: u16 = 64;
/// New names of a detail in a minute, at most, of all links together: for names out of user
/// agents, of which there are a few hundred.
pub(super) const PER_EDGE: u16 = 256;

/// Places of a table at the beginning.
const PLACES_MIN: usize = 1 << 12;
/// Places of a table, at most: beyond that, more memory is of no use.
const PLACES_MAX: usize = 1 << 24;
/// Two tables of hashes and one of budgets.
const BYTES_PER_PLACE: usize = 2 * size_of::<u64>() + size_of::<u16>();

/// Decides which names are kept.
#[derive(Debug)]
pub(super) struct Names {
    key: [u8; 16],
    /// Places of a table, at most.
    places_max: usize,
    minute: u32,
    /// New names in this minute: as many counters as places, two for each scope.
    used: Box<[u16]>,
    /// Hashes of known names, never 0; tables with open addressing. Empty until a name comes, and
    /// the older one until the younger may not grow.
    young: Box<[u64]>,
    old: Box<[u64]>,
    /// Names in `young`.
    len: usize,
}

impl Names {
    /// `max_bytes`: how much memory all of it takes, at most, but for 72 KiB.
    pub(super) fn new(key: [u8; 16], max_bytes: usize) -> Self {
        let places = (max_bytes / BYTES_PER_PLACE).clamp(PLACES_MIN, PLACES_MAX);
        // The greatest power of two within it.
        let places_max = 1 << places.ilog2();
        let (used, young, old) = Default::default();
        Self { key, places_max, minute: 0, used, young, old, len: 0 }
    }

    /// Whether a name is known in its scope, or still within the scope's budget of new ones.
    pub(super) fn admit(
        &mut self,
        scope: i64,
        detail: Detail,
        name: &str,
        at_s: u32,
        max: u16,
    ) -> bool {
        if self.young.is_empty() {
            self.used = vec![0; PLACES_MIN].into();
            self.young = vec![0; PLACES_MIN].into();
        }
        // Clicks of several threads come a little out of order; only a later minute is a new one.
        // A jump back (a clock, or clicks of an earlier run) is taken as it is.
        let minute = at_s / 60;
        if minute > self.minute || self.minute - minute > 1 {
            self.minute = minute;
            self.used.fill(0);
        }
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(&scope.to_le_bytes());
        hasher.write(&[detail as u8]);
        let budget = hasher.finish();
        hasher.write(name.as_bytes());
        let hash = hasher.finish().max(1);

        let Err(place) = find(&self.young, hash) else { return true };
        if self.old.is_empty() || find(&self.old, hash).is_err() {
            let places = self.young.len();
            let both = [index(budget, places), index(budget.rotate_left(32), places)];
            if both.iter().all(|&at| self.used[at] >= max) {
                return false;
            }
            both.iter().for_each(|&at| self.used[at] = self.used[at].saturating_add(1));
        }
        self.young[place] = hash;
        self.len += 1;
        // Three of four places.
        if self.len >= self.young.len() / 4 * 3 {
            if self.young.len() < self.places_max { self.grow() } else { self.turn() }
        }
        true
    }

    /// Gives everything twice the room. Budgets of this minute begin again: to keep them, they would
    /// have to know their scopes.
    fn grow(&mut self) {
        let places = 2 * self.young.len();
        let mut young: Box<[u64]> = vec![0; places].into();
        for &hash in self.young.iter().filter(|hash| **hash != 0) {
            if let Err(place) = find(&young, hash) {
                young[place] = hash;
            }
        }
        self.young = young;
        self.used = vec![0; places].into();
    }

    /// Forgets the older half.
    fn turn(&mut self) {
        if self.old.is_empty() {
            self.old = vec![0; self.young.len()].into();
        }
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.fill(0);
        self.len = 0;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
const fn index(hash: u64, len: usize) -> usize {
    hash as usize & (len - 1)
}

/// Where a hash is, or else where it belongs: there is always a free place.
fn find(table: &[u64], hash: u64) -> Result<usize, usize> {
    let mut at = index(hash, table.len());
    loop {
        match table[at] {
            0 => return Err(at),
            found if found == hash => return Ok(at),
            _ => at = (at + 1) % table.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::EnrichConfig;

    const BYTES: usize = 1 << 20;

    fn admitted(names: &mut Names, link: i64, range: std::ops::Range<u32>, at_s: u32) -> usize {
        range
            .filter(|n| names.admit(link, Detail::Referrer, &n.to_string(), at_s, PER_LINK))
            .count()
    }

    #[test]
    fn a_link_has_so_many_new_names_a_minute_and_keeps_those_it_has() {
        let mut names = Names::new([1; 16], BYTES);
        assert_eq!(admitted(&mut names, 1, 0..1000, 600), 64);
        assert_eq!(admitted(&mut names, 1, 0..64, 601), 64, "known names are free");
        assert_eq!(admitted(&mut names, 1, 64..1000, 659), 0);
        assert_eq!(admitted(&mut names, 2, 0..1000, 659), 64, "another link");
        assert!(names.admit(1, Detail::UtmSource, "x", 659, PER_LINK), "another detail");
        assert_eq!(admitted(&mut names, 1, 0..1000, 660), 128, "another minute");
        assert_eq!(admitted(&mut names, 1, 1000..2000, 659), 0, "late clicks change no minute");
        assert_eq!(admitted(&mut names, 1, 1000..2000, 60), 64, "a clock that was set back");
    }

    #[test]
    fn many_names_stay_within_the_bytes() {
        let mut names = Names::new([2; 16], BYTES);
        let mut places = 0;
        for link in 0..20_000_u32 {
            admitted(&mut names, link.into(), 0..64, link / 1000 * 60);
            let used = |table: &[u64]| table.iter().filter(|hash| **hash != 0).count();
            if names.young.len() != places || link % 1000 == 0 {
                places = names.young.len();
                assert!(used(&names.young) == names.len && names.len < places / 4 * 3);
                let hashes = names.young.len() + names.old.len();
                assert!(8 * hashes + 2 * names.used.len() <= BYTES);
                assert_eq!(names.used.len(), places);
            }
        }
        assert_eq!((places, names.old.len()), (1 << 15, 1 << 15));
        assert_eq!(admitted(&mut names, 19_999, 0..64, 19 * 60), 64, "the latest are known");
    }

    /// What `carom-loadtest dimensions --links 10000` sends, and more: each of 10,000 links has 16
    /// referrers and some names of campaigns, and all of them come within a minute. Beside them, one
    /// link's referrers are random.
    #[test]
    fn an_honest_crowd_is_never_refused_and_a_random_one_is() {
        let mut names = Names::new([3; 16], EnrichConfig::default().max_name_bytes);
        let (mut state, mut random) = (1_u64, 0);
        for n in 0..1_000_000_u32 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let link = i64::from((state >> 33) as u32 % 10_000);
            let at_s = n / 17_000;
            let referrer = ((state >> 50) % 16).to_string();
            assert!(names.admit(link, Detail::Referrer, &referrer, at_s, PER_LINK), "{n}");
            let of_campaign = [Detail::UtmSource, Detail::UtmMedium, Detail::UtmCampaign];
            let (detail, name) = (of_campaign[n as usize % 3], ((state >> 54) % 5).to_string());
            assert!(names.admit(link, detail, &name, at_s, PER_LINK), "{n}");
            random += u32::from(names.admit(-1, Detail::Referrer, &n.to_string(), at_s, PER_LINK));
        }
        // 64, and as many again each time there is more room for names: seven times, and a minute.
        assert!((64..=64 * 9).contains(&random), "{random}");
    }
}
