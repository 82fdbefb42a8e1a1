//! How many different visitors there were, in few bytes.
//!
//! A [`Sketch`] keeps 32-bit hashes of visitors: each of them, up to a bound, so that it counts
//! exactly; above that a `HyperLogLog` of 2¹² registers, whose standard error is 1.04/√4096 = 1.6 %,
//! read with Ertl's improved estimator ("New cardinality estimation algorithms for `HyperLogLog`
//! sketches", 2017, algorithm 6), which has no bias for small numbers and needs no tables.
//!
//! Sketches of the same visitors merge into the sketch of their union, whatever form they have.
//!
//! A visitor's number changes with each UTC day. So a union over several days is the sum of the
//! days' visitors: who came on three days counts three times.
//!
//! # Stored form, version 1
//!
//! Nothing at all is the empty sketch. Else a byte `1` and the hashes in ascending order, each a
//! little-endian u32; or a byte `2` and 4,096 registers of six bits, four in three bytes, the first
//! in the lowest bits. Any other first byte, or another length, was written by a newer version.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// Hashes that a stored sketch keeps one by one, at most: then it is 2 KiB.
pub(crate) const STORED_EXACT_MAX: usize = 512;
/// Hashes that a sketch in memory keeps one by one, at most: many small sketches merge exactly.
/// Among as many hashes of 32 bits, two are alike once in 30 times.
pub(crate) const EXACT_MAX: usize = 16_384;

const INDEX_BITS: u32 = 12;
const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a hash behind the register's number.
const RANK_BITS: u32 = 32 - INDEX_BITS;
/// The longest run of zeros, plus one.
const RANK_MAX: u8 = 21;
const PACKED_LEN: usize = REGISTERS / 4 * 3;

const LIST: u8 = 1;
const PACKED: u8 = 2;

/// The hash that stands for a visitor.
pub(crate) const fn hash(visitor: u64) -> u32 {
    // The finaliser of MurmurHash3: a visitor is the output of a keyed hash already, this guards
    // against one that is not.
    let mut x = visitor;
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (x >> 32) as u32
}

/// Spreads numbers that nobody outside can choose: hashes with a key, ids. A fifth of the price of
/// the standard one, which guards against those who can.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

pub(crate) type BuildIdHasher = BuildHasherDefault<IdHasher>;

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }

    fn write_u64(&mut self, number: u64) {
        // 2⁶⁴ divided by the golden ratio.
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // The table takes its place from the lowest bits, the best ones are the highest.
        self.0.rotate_left(32)
    }
}

/// A set of visitors, to be counted.
#[derive(Clone, Debug)]
pub(crate) enum Sketch {
    Exact(HashSet<u32, BuildIdHasher>),
    /// The longest run of zeros among the hashes of each register, plus one.
    Registers(Box<[u8; REGISTERS]>),
}

impl Default for Sketch {
    fn default() -> Self {
        Self::Exact(HashSet::default())
    }
}

impl Sketch {
    /// Adds a visitor; 0 is nobody.
    pub(crate) fn insert(&mut self, visitor: u64) {
        if visitor != 0 {
            self.insert_hash(hash(visitor));
        }
    }

    fn insert_hash(&mut self, hash: u32) {
        match self {
            Self::Exact(hashes) => {
                hashes.insert(hash);
                if hashes.len() > EXACT_MAX {
                    *self = Self::Registers(registers(hashes.iter().copied()));
                }
            }
            Self::Registers(registers) => raise(registers, hash),
        }
    }

    /// Makes this the sketch of both's visitors.
    pub(crate) fn merge(&mut self, other: &Self) {
        match other {
            Self::Exact(hashes) => hashes.iter().for_each(|&hash| self.insert_hash(hash)),
            Self::Registers(theirs) => self.with_registers(|ours| raise_to(ours, theirs)),
        }
    }

    /// Adds the visitors of a stored sketch; `None` if a newer version wrote it.
    pub(crate) fn merge_bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let Some((&form, body)) = bytes.split_first() else { return Some(()) };
        match form {
            LIST if body.len().is_multiple_of(4) && body.len() / 4 <= STORED_EXACT_MAX => {
                let (hashes, _) = body.as_chunks::<4>();
                hashes.iter().for_each(|hash| self.insert_hash(u32::from_le_bytes(*hash)));
                Some(())
            }
            PACKED if body.len() == PACKED_LEN => {
                self.with_registers(|ours| raise_to_packed(ours, body));
                Some(())
            }
            _ => None,
        }
    }

    /// How many visitors there are: exactly, or within a standard error of 1.6 %.
    pub(crate) fn estimate(&self) -> u64 {
        match self {
            Self::Exact(hashes) => hashes.len() as u64,
            Self::Registers(registers) => estimate(registers),
        }
    }

    /// The stored form.
    #[cfg(test)]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Exact(hashes) if hashes.len() <= STORED_EXACT_MAX => {
                let mut sorted: Vec<u32> = hashes.iter().copied().collect();
                sorted.sort_unstable();
                list(&sorted)
            }
            Self::Exact(hashes) => pack(&registers(hashes.iter().copied())),
            Self::Registers(registers) => pack(registers),
        }
    }

    /// The stored form, if it does not know its visitors one by one any more.
    pub(crate) fn packed(&self) -> Option<Vec<u8>> {
        match self {
            Self::Exact(_) => None,
            Self::Registers(registers) => Some(pack(registers)),
        }
    }

    fn with_registers(&mut self, raise: impl FnOnce(&mut [u8; REGISTERS])) {
        match self {
            Self::Exact(hashes) => {
                let mut ours = registers(hashes.iter().copied());
                raise(&mut ours);
                *self = Self::Registers(ours);
            }
            Self::Registers(ours) => raise(ours),
        }
    }
}

/// The stored form of a stored sketch with more hashes in it, which are sorted and different; `None`
/// if a newer version wrote it.
pub(crate) fn stored_with(stored: &[u8], hashes: &[u32]) -> Option<Vec<u8>> {
    let mut all = match stored.split_first() {
        None => Vec::new(),
        Some((&LIST, body)) if body.len().is_multiple_of(4) => {
            let (known, _) = body.as_chunks::<4>();
            known.iter().map(|hash| u32::from_le_bytes(*hash)).collect()
        }
        Some((&PACKED, body)) if body.len() == PACKED_LEN => {
            let mut registers = registers(hashes.iter().copied());
            raise_to_packed(&mut registers, body);
            return Some(pack(&registers));
        }
        Some(_) => return None,
    };
    all.extend(hashes);
    all.sort_unstable();
    all.dedup();
    let is_list = all.len() <= STORED_EXACT_MAX;
    Some(if is_list { list(&all) } else { pack(&registers(all.into_iter())) })
}

fn registers(hashes: impl Iterator<Item = u32>) -> Box<[u8; REGISTERS]> {
    let mut registers = Box::new([0; REGISTERS]);
    hashes.for_each(|hash| raise(&mut registers, hash));
    registers
}

fn raise(registers: &mut [u8; REGISTERS], hash: u32) {
    let zeros = (hash << INDEX_BITS).leading_zeros().min(RANK_BITS);
    let rank = u8::try_from(zeros + 1).unwrap_or(RANK_MAX);
    let register = &mut registers[(hash >> RANK_BITS) as usize];
    *register = (*register).max(rank);
}

fn list(hashes: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + 4 * hashes.len());
    if !hashes.is_empty() {
        bytes.push(LIST);
    }
    hashes.iter().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
    bytes
}

fn pack(registers: &[u8; REGISTERS]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + PACKED_LEN);
    bytes.push(PACKED);
    let (fours, _) = registers.as_chunks::<4>();
    for four in fours {
        let bits = four.iter().rev().fold(0_u32, |bits, rank| bits << 6 | u32::from(*rank));
        bytes.extend_from_slice(&bits.to_le_bytes()[..3]);
    }
    bytes
}

fn raise_to(ours: &mut [u8; REGISTERS], theirs: &[u8; REGISTERS]) {
    for (ours, theirs) in ours.iter_mut().zip(theirs) {
        *ours = (*ours).max(*theirs);
    }
}

/// Without unpacking them into a place of their own: a month of a workspace has thousands.
fn raise_to_packed(ours: &mut [u8; REGISTERS], packed: &[u8]) {
    let (threes, _) = packed.as_chunks::<3>();
    let (fours, _) = ours.as_chunks_mut::<4>();
    for (four, &[a, b, c]) in fours.iter_mut().zip(threes) {
        let ranks = [a & 0x3f, a >> 6 | (b & 0xf) << 2, b >> 4 | (c & 3) << 4, c >> 2];
        for (ours, theirs) in four.iter_mut().zip(ranks) {
            // A rank beyond the highest is damage; it must not leave the histogram.
            *ours = (*ours).max(theirs.min(RANK_MAX));
        }
    }
}

/// Ertl's improved raw estimator.
fn estimate(registers: &[u8; REGISTERS]) -> u64 {
    let mut counts = [0_u32; RANK_BITS as usize + 2];
    registers.iter().for_each(|rank| counts[usize::from(*rank)] += 1);
    let m = REGISTERS as f64;
    let last = RANK_BITS as usize + 1;
    let mut z = m * tau(1.0 - f64::from(counts[last]) / m);
    for count in counts[1..last].iter().rev() {
        z = 0.5 * (z + f64::from(*count));
    }
    z += m * sigma(f64::from(counts[0]) / m);
    let estimate = m * m / (2.0 * std::f64::consts::LN_2 * z);
    #[expect(clippy::cast_possible_truncation, reason = "it is far below 2⁵³, and not negative")]
    let rounded = estimate.round() as u64;
    rounded
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sketch(visitors: impl IntoIterator<Item = u64>) -> Sketch {
        let mut sketch = Sketch::default();
        visitors.into_iter().for_each(|visitor| sketch.insert(visitor));
        sketch
    }

    fn back(bytes: &[u8]) -> Sketch {
        let mut sketch = Sketch::default();
        sketch.merge_bytes(bytes).unwrap();
        sketch
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn merging_is_the_union_also_through_bytes(
            a in prop::collection::hash_set(1_u64..3000, 0..1500),
            b in prop::collection::hash_set(1_u64..3000, 0..1500),
        ) {
            let union = sketch(a.union(&b).copied());
            let (a, b) = (sketch(a), sketch(b));
            let mut merged = a.clone();
            merged.merge(&b);
            prop_assert_eq!(merged.estimate(), union.estimate());
            prop_assert_eq!(merged.to_bytes(), union.to_bytes());
            let mut stored = back(&a.to_bytes());
            stored.merge_bytes(&b.to_bytes()).unwrap();
            prop_assert_eq!(back(&stored.to_bytes()).to_bytes(), union.to_bytes());
        }

        #[test]
        fn few_visitors_are_counted_exactly(
            visitors in prop::collection::hash_set(any::<u64>(), 0..STORED_EXACT_MAX),
        ) {
            let known = visitors.iter().filter(|visitor| **visitor != 0).count() as u64;
            let stored = back(&sketch(visitors).to_bytes());
            prop_assert_eq!(stored.estimate(), known);
        }

        #[test]
        fn damaged_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..3100)) {
            let mut sketch = Sketch::default();
            let _read: Option<()> = sketch.merge_bytes(&bytes);
            prop_assert!(sketch.estimate() <= u64::MAX / 2);
        }
    }

    /// Five standard errors, at each size, over visitors that differ from size to size.
    #[test]
    fn many_visitors_are_counted_closely() {
        for n in [513_u64, 1000, 5000, 16_385, 100_000, 1_000_000, 5_000_000] {
            let stored = back(&sketch((1..=n).map(|i| i.wrapping_mul(n | 1))).to_bytes());
            let error = (stored.estimate() as f64 / n as f64 - 1.0).abs();
            assert!(error < 5.0 * 0.0163, "{n}: {}", stored.estimate());
        }
    }

    #[test]
    fn many_small_sketches_merge_exactly() {
        let mut all = Sketch::default();
        for part in 0..40_u64 {
            all.merge_bytes(&sketch(part * 400 + 1..=part * 400 + 400).to_bytes()).unwrap();
        }
        assert_eq!(all.estimate(), 16_000);
    }

    #[test]
    fn the_stored_form_is_as_specified() {
        assert_eq!(Sketch::default().to_bytes(), b"");
        let two = sketch([1, 2]);
        assert_eq!(two.to_bytes(), [1, 0x20, 0x2a, 0xbf, 0x3a, 0xfc, 0xbc, 0x56, 0xb4]);
        let many = sketch(1..=600).to_bytes();
        assert_eq!((many.len(), many[0]), (3073, 2));
        assert!(Sketch::default().merge_bytes(&[3]).is_none());
        assert!(Sketch::default().merge_bytes(&[1, 0]).is_none());
        assert!(Sketch::default().merge_bytes(&many[..3000]).is_none());
    }
}
