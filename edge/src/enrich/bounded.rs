//! How many new names strangers may bring in: a link whose referrers are random must not fill the
//! store with names that are worth nothing.
//!
//! All of it is of fixed size. Names are remembered as hashes in two tables, of which the older is
//! dropped when the younger is full; budgets are counters that several scopes may share by chance,
//! which costs the busiest of them a few names.

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

/// Names that a table remembers: 512 KiB.
const NAMES_MAX: usize = 1 << 16;
/// How full a table gets.
const FULL: usize = NAMES_MAX / 4 * 3;
const BUDGETS: usize = 1 << 15;

/// Decides which names are kept.
#[derive(Debug)]
pub(super) struct Names {
    key: [u8; 16],
    minute: u32,
    /// New names in this minute.
    used: Box<[u16]>,
    /// Hashes of known names, never 0; tables with open addressing. Empty until a name comes.
    young: Box<[u64]>,
    old: Box<[u64]>,
    /// Names in `young`.
    len: usize,
}

impl Names {
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self { key, minute: 0, used: [].into(), young: [].into(), old: [].into(), len: 0 }
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
            self.used = vec![0; BUDGETS].into();
            self.young = vec![0; NAMES_MAX].into();
            self.old = vec![0; NAMES_MAX].into();
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
        if find(&self.old, hash).is_err() {
            let used = &mut self.used[index(budget, BUDGETS)];
            if *used >= max {
                return false;
            }
            *used += 1;
        }
        self.young[place] = hash;
        self.len += 1;
        if self.len >= FULL {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.fill(0);
            self.len = 0;
        }
        true
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

    fn admitted(names: &mut Names, link: i64, range: std::ops::Range<u32>, at_s: u32) -> usize {
        range
            .filter(|n| names.admit(link, Detail::Referrer, &n.to_string(), at_s, PER_LINK))
            .count()
    }

    #[test]
    fn a_link_has_so_many_new_names_a_minute_and_keeps_those_it_has() {
        let mut names = Names::new([1; 16]);
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
    fn many_names_stay_within_the_tables() {
        let mut names = Names::new([2; 16]);
        for link in 0..5000 {
            admitted(&mut names, link, 0..64, 0);
        }
        let used = |table: &[u64]| table.iter().filter(|hash| **hash != 0).count();
        assert!(used(&names.young) == names.len && names.len < FULL);
        assert!(used(&names.old) <= FULL);
        assert_eq!(admitted(&mut names, 4999, 0..64, 0), 64, "the latest are known");
    }
}
