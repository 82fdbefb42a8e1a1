//! What strangers may take of an edge: connections ([`connections`]), and codes that do not exist
//! ([`misses`]).
//!
//! Both are counted by [`Block`]: an IPv4 address, or the /64 of an IPv6 address, which is what one
//! subscriber gets and can fill with 2^64 addresses. Who is trusted (proxies) or named by the operator
//! (`edge.exempt`; by default this machine itself) is not counted.
//!
//! The tables hold keyed hashes, not addresses: the key is made at the start and never leaves the
//! process, so nothing of a visitor's address outlives the click's record. Two blocks with the same 64
//! bits would share their limits; among a million blocks that is one chance in 10^7.
//!
//! A redirect from memory on an open connection touches none of this.

pub(crate) mod connections;
pub(crate) mod misses;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carom_shared::{AddressBlock, Random};
use siphasher::sip::SipHasher13;

/// Parts of a table, each with a lock of its own, so that threads seldom meet.
const SHARDS: usize = 64;

/// Addresses that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Block(u64);

/// From an address to its block.
pub(crate) struct Blocks {
    hasher: SipHasher13,
    exempt: Box<[AddressBlock]>,
}

impl Blocks {
    pub(crate) fn new(exempt: impl IntoIterator<Item = AddressBlock>, random: &dyn Random) -> Self {
        let mut key = [0; 16];
        random.fill(&mut key);
        Self { hasher: SipHasher13::new_with_key(&key), exempt: exempt.into_iter().collect() }
    }

    /// The block of an address; `None`: it is not counted.
    pub(crate) fn of(&self, address: IpAddr) -> Option<Block> {
        let address = address.to_canonical();
        if self.exempt.iter().any(|block| block.contains(address)) {
            return None;
        }
        // Of different lengths, so that no IPv4 address is counted with a network of IPv6.
        Some(Block(match address {
            IpAddr::V4(v4) => self.hasher.hash(&v4.octets()),
            IpAddr::V6(v6) => self.hasher.hash(&v6.octets()[..8]),
        }))
    }
}

/// A map from blocks, in parts.
#[derive(Debug)]
struct Table<T>(Box<[Mutex<HashMap<Block, T>>]>);

impl<T> Table<T> {
    fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    /// Which part a block is in. The hash is uniform, so any of its bits choose well.
    fn place(block: Block) -> usize {
        usize::try_from(block.0 % SHARDS as u64).unwrap_or_default()
    }

    fn shard(&self, block: Block) -> MutexGuard<'_, HashMap<Block, T>> {
        self.0[Self::place(block)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        let of = |shard: &Mutex<HashMap<Block, T>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).len()
        };
        self.0.iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carom_shared::SeededRandom;

    #[test]
    fn neighbours_are_one_block_and_the_exempt_are_none() {
        let exempt = ["10.0.0.0/8", "2001:db8:1::/48"].map(|t| AddressBlock::parse(t).unwrap());
        let blocks = Blocks::new(exempt, &SeededRandom::new(1));
        let of = |text: &str| blocks.of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_eq!(of("203.0.113.1"), of("::ffff:203.0.113.1"));
        let all = ["203.0.113.1", "203.0.113.2", "2001:db8::", "2001:db8:0:1::", "cb00:7101::"];
        for (at, one) in all.iter().enumerate() {
            assert!(of(one).is_some());
            for other in &all[at + 1..] {
                assert_ne!(of(one), of(other), "{one} {other}");
            }
        }
        for text in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1:2::3"] {
            assert_eq!(of(text), None, "{text}");
        }
        let other = Blocks::new([], &SeededRandom::new(2));
        assert_ne!(of("203.0.113.1"), other.of("203.0.113.1".parse().unwrap()));
    }
}
