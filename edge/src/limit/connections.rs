//! How many connections a block has open. There is an entry for each block that has one, so the table
//! is bounded by `edge.max_connections` and needs no forgetting.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::{Block, Table};

#[derive(Debug)]
pub(crate) struct Connections {
    open: Table<usize>,
    max: usize,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    connections: Arc<Connections>,
    block: Block,
}

impl Connections {
    /// At most `max` for each block.
    pub(crate) fn new(max: usize) -> Self {
        Self { open: Table::new(), max }
    }

    /// Counts one more, or `None` if the block has as many as it may.
    pub(crate) fn open(self: &Arc<Self>, block: Block) -> Option<Counted> {
        let mut shard = self.open.shard(block);
        let open = shard.get(&block).copied().unwrap_or_default();
        if open >= self.max {
            return None;
        }
        shard.insert(block, open + 1);
        Some(Counted { connections: Arc::clone(self), block })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut open) = self.connections.open.shard(self.block).entry(self.block)
        {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_has_its_own_count_which_ends_with_its_connections() {
        let connections = Arc::new(Connections::new(2));
        let (one, other) = (Block(1), Block(1 + super::super::SHARDS as u64));
        let first = connections.open(one).unwrap();
        let _second = connections.open(one).unwrap();
        assert!(connections.open(one).is_none());
        let _others = connections.open(other).unwrap();
        drop(first);
        let third = connections.open(one).unwrap();
        assert!(connections.open(one).is_none());
        assert_eq!(connections.open.len(), 2);
        drop((third, _second, _others));
        assert_eq!(connections.open.len(), 0, "nothing is kept of who has gone");
    }
}
