//! What one store of clicks gives to another, and sums that tell whether it arrived. Pure.

use std::collections::BTreeMap;

use carom_shared::click::{Channel, Detail, Details, Device, Kind, Privacy, Via};
use carom_shared::{Click, DomainId, LinkId, WorkspaceId};
use sha2::{Digest, Sha256};

use crate::click::export::StoredClick;
use crate::click::sketch::{Sketch, hash};
use crate::db::StoreError;

/// A place in a store's own order of clicks: part or day, workspace, link, second, number.
pub(crate) type Place = [i64; 5];
/// A place in the order of what is left of old clicks: part or day, workspace, link, quarter, kind.
pub(crate) type OldPlace = [i64; 5];

/// A click on its way.
#[derive(Clone, Debug)]
pub(crate) struct MovedClick {
    pub(crate) place: Place,
    pub(crate) workspace: WorkspaceId,
    pub(crate) link: LinkId,
    pub(crate) stored: StoredClick,
}

/// Clicks of a link (of a workspace: link 0), a quarter hour and a kind whose rows are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OldQuarter {
    pub(crate) place: OldPlace,
    pub(crate) workspace: i64,
    pub(crate) link: i64,
    /// In quarter hours since 1970.
    pub(crate) quarter: i64,
    pub(crate) kind: i64,
    pub(crate) n: i64,
    pub(crate) last_at_s: i64,
    pub(crate) visitors: Visitors,
}

/// Visitors of a time of which no click is left: stores keep them in forms of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Visitors {
    /// A number for each: who is the same has the same in every quarter hour.
    Hashes(Vec<u32>),
    /// How many there were. In the other store they are others in every quarter hour.
    Count(u64),
}

/// A batch that the ledger knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LedgerRow {
    /// Where it stands in the source's order.
    pub(crate) place: i128,
    pub(crate) token: String,
    pub(crate) rows: i64,
    pub(crate) clicks: i64,
    pub(crate) made_ms: i64,
    pub(crate) stored_ms: i64,
}

/// A link that ever had clicks, or had them until they were erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkRow {
    pub(crate) workspace: i64,
    pub(crate) link: i64,
    /// Of its clicks by people, those that came from files.
    pub(crate) imported: i64,
}

impl MovedClick {
    pub(crate) fn click(&self) -> Result<Click<'_>, StoreError> {
        let corrupt = || StoreError::Corrupt("click");
        let stored = &self.stored;
        let word = |found: Option<usize>| found.ok_or_else(corrupt);
        let kind = word(Kind::ALL.iter().position(|kind| kind.as_str() == stored.kind))?;
        let via = word(Via::ALL.iter().position(|via| via.as_str() == stored.via))?;
        let channel = Channel::ALL.iter().position(|channel| channel.as_str() == stored.channel);
        let device = Device::ALL.iter().position(|device| device.as_str() == stored.device);
        let mut details = Details::default();
        for (detail, name) in Detail::ALL.iter().zip(&stored.names) {
            details.set(*detail, name);
        }
        Ok(Click {
            workspace: self.workspace,
            link: self.link,
            domain: DomainId::try_from(stored.domain).map_err(|_| corrupt())?,
            at_s: stored.place.at_s,
            n: stored.n.try_into().map_err(|_| corrupt())?,
            kind: Kind::ALL[kind],
            via: Via::ALL[via],
            variant: stored.variant.try_into().map_err(|_| corrupt())?,
            status: stored.status.try_into().map_err(|_| corrupt())?,
            target_revision: stored.target_revision.try_into().map_err(|_| corrupt())?,
            visitor: stored.visitor,
            privacy: Privacy {
                do_not_track: stored.do_not_track,
                global_privacy_control: stored.global_privacy_control,
            },
            channel: Channel::ALL[word(channel)?],
            device: Device::ALL[word(device)?],
            details,
        })
    }

    /// Bytes of its names.
    pub(crate) fn text_len(&self) -> usize {
        self.stored.names.iter().map(String::len).sum()
    }
}

impl Visitors {
    /// Of a stored sketch; `None` if a newer version wrote it.
    pub(crate) fn of_sketch(bytes: &[u8]) -> Option<Self> {
        let mut sketch = Sketch::default();
        sketch.merge_bytes(bytes)?;
        Some(match sketch {
            Sketch::Exact(hashes) => {
                let mut hashes: Vec<u32> = hashes.into_iter().collect();
                hashes.sort_unstable();
                Self::Hashes(hashes)
            }
            Sketch::Registers(_) => Self::Count(sketch.estimate()),
        })
    }

    /// Hashes of as many, sorted; of those who are only counted, `key` makes them.
    pub(crate) fn hashes(&self, key: [i64; 3]) -> Vec<u32> {
        match self {
            Self::Hashes(hashes) => hashes.clone(),
            Self::Count(count) => {
                let seed = key.iter().fold(0_u64, |seed, part| {
                    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(part.cast_unsigned())
                });
                let made =
                    |nth: u64| hash(seed.wrapping_add(nth.wrapping_mul(0xbf58_476d_1ce4_e5b9)));
                let mut hashes: Vec<u32> = (1..=*count).map(made).collect();
                hashes.sort_unstable();
                hashes.dedup();
                hashes
            }
        }
    }
}

/// How many there are, and the sum of their hashes, which knows no order. 128 bits of each hash, so that what
/// differs by accident has another sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) rows: u64,
    pub(crate) hash: u128,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let hash = Sha256::digest(bytes);
        let (half, _) = hash.split_at(16);
        self.hash = self.hash.wrapping_add(half.try_into().map_or(0, u128::from_be_bytes));
        self.rows += 1;
    }
}

/// What is in a store, so far as another one has the same after a move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Rows of each day (UTC), since 1970.
    pub(crate) days: BTreeMap<i64, Sum>,
    /// What the rollup says of days and kinds.
    pub(crate) rollup: BTreeMap<(i64, i64), i64>,
    pub(crate) ledger: Sum,
    /// Links with clicks from files.
    pub(crate) links: Sum,
}

impl Sums {
    /// `bytes` is room that is used again for each row.
    pub(crate) fn add_click(&mut self, moved: &MovedClick, bytes: &mut Vec<u8>) {
        let stored = &moved.stored;
        bytes.clear();
        let numbers = [
            moved.workspace.get().cast_unsigned(),
            moved.link.get().cast_unsigned(),
            stored.domain.cast_unsigned(),
            stored.place.at_s.into(),
            stored.n,
            stored.variant,
            stored.status,
            stored.target_revision,
            stored.visitor,
            stored.do_not_track.into(),
            stored.global_privacy_control.into(),
        ];
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        let words = [stored.kind, stored.via, stored.channel, stored.device];
        // How long a text is and what it says: no two clicks have the same bytes.
        for text in words.into_iter().chain(stored.names.iter().map(String::as_str)) {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        self.days.entry(i64::from(stored.place.at_s) / 86_400).or_default().add(bytes);
    }

    pub(crate) fn add_batch(&mut self, row: &LedgerRow) {
        let LedgerRow { token, rows, clicks, made_ms, .. } = row;
        self.ledger.add(format!("{rows} {clicks} {made_ms} {token}").as_bytes());
    }

    pub(crate) fn add_link(&mut self, row: &LinkRow) {
        let LinkRow { workspace, link, imported } = row;
        if *imported != 0 {
            self.links.add(format!("{workspace} {link} {imported}").as_bytes());
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.days.values().map(|sum| sum.rows).sum()
    }

    /// The sum of all days.
    pub(crate) fn checksum(&self) -> String {
        let sum = self.days.values().fold(0_u128, |sum, day| sum.wrapping_add(day.hash));
        format!("{sum:032x}")
    }

    /// What is not the same in another store; `None` if all is.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let shown = |day: i64| {
            let at = jiff::Timestamp::from_second(day.saturating_mul(86_400)).unwrap_or_default();
            at.strftime("%Y-%m-%d").to_string()
        };
        let days = self.days.keys().chain(other.days.keys());
        for day in days {
            let of = |sums: &Self| sums.days.get(day).copied().unwrap_or_default();
            let (here, there) = (of(self), of(other));
            if here != there {
                let (day, here, there) = (shown(*day), here.rows, there.rows);
                return Some(format!("clicks of {day}: {here}, and {there} in the target"));
            }
        }
        for key in self.rollup.keys().chain(other.rollup.keys()) {
            let of = |sums: &Self| sums.rollup.get(key).copied().unwrap_or_default();
            let (here, there) = (of(self), of(other));
            if here != there {
                let day = shown(key.0);
                return Some(format!("totals of {day}: {here}, and {there} in the target"));
            }
        }
        if self.ledger != other.ledger {
            let (here, there) = (self.ledger.rows, other.ledger.rows);
            return Some(format!("the ledger: {here} batches, and {there} in the target"));
        }
        (self.links != other.links).then(|| "clicks that came from files".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visitors_who_are_only_counted_are_as_many() {
        for count in [0, 1, 512, 700, 20_000] {
            let hashes = Visitors::Count(count).hashes([1, 2, 3]);
            let found = hashes.len() as u64;
            assert!(found <= count && found + 2 >= count, "{found} of {count}");
            assert_ne!(hashes, Visitors::Count(count + 1).hashes([1, 2, 4]));
        }
        let hashes = Visitors::Hashes(vec![1, 5]);
        assert_eq!(hashes.hashes([0; 3]), [1, 5]);
    }

    #[test]
    fn what_differs_is_named() {
        let mut here = Sums::default();
        assert_eq!(here.difference(&Sums::default()), None);
        here.rollup.insert((20_454, 0), 3);
        let told = here.difference(&Sums::default()).unwrap();
        assert!(told.contains("totals of 2026-01-01: 3, and 0"), "{told}");
        here.days.insert(20_453, Sum { rows: 1, hash: 5 });
        let mut there = here.clone();
        there.days.insert(20_453, Sum { rows: 1, hash: 6 });
        let told = here.difference(&there).unwrap();
        assert!(told.contains("clicks of 2025-12-31"), "{told}");
        there.clone_from(&here);
        there.add_link(&LinkRow { workspace: 1, link: 2, imported: 0 });
        assert_eq!(here.difference(&there), None);
        there.add_link(&LinkRow { workspace: 1, link: 2, imported: 1 });
        assert!(here.difference(&there).is_some());
    }
}
