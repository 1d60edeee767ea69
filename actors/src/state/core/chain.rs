//! The chain in memory: cursors, QCs, blocks.
//!
//! Held are the QCs from the one of the oldest held block up to `next_qc`, and blocks: those that are not durable in
//! their log yet, those above a gap, and as many older ones as the memory limit allows. Everything else that is
//! retained is read from the logs. Only verified values enter, by their types.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use roadbed_messages::api::Cursors;
use roadbed_messages::{BlockNumber, GlobalBlock, HeaderHash, VerifiedBlock, VerifiedQc};

/// A QC in memory, with its index in the QC log.
#[derive(Clone, Debug)]
pub struct IndexedQc {
    /// The log's running number for it.
    pub index: u64,
    /// The QC.
    pub qc: VerifiedQc,
}

/// Cursors, QCs and blocks. Its methods keep the order of the cursors that [`Cursors`] promises.
#[derive(Debug)]
pub struct Chain {
    cursors: Cursors,
    /// By the end of their ranges, so that the QC of block n is the first with a key above n.
    qcs: BTreeMap<BlockNumber, IndexedQc>,
    next_qc_index: u64,
    blocks: BTreeMap<BlockNumber, VerifiedBlock>,
    numbers_by_hash: BTreeMap<HeaderHash, BlockNumber>,
    memory_bytes: u64,
}

impl Chain {
    /// An empty chain: all cursors at `first`, the next QC at index 0.
    pub fn new(first: BlockNumber) -> Self {
        Self {
            cursors: Cursors::all_at(first),
            qcs: BTreeMap::new(),
            next_qc_index: 0,
            blocks: BTreeMap::new(),
            numbers_by_hash: BTreeMap::new(),
            memory_bytes: 0,
        }
    }

    /// A chain as recovered: everything below `next_block` is durable, nothing was executed yet.
    pub fn recovered(cursors: Cursors, next_qc_index: u64) -> Self {
        Self { cursors, next_qc_index, ..Self::new(cursors.first) }
    }

    /// The five cursors.
    pub fn cursors(&self) -> Cursors {
        self.cursors
    }

    /// The index that the next QC gets in its log.
    pub fn next_qc_index(&self) -> u64 {
        self.next_qc_index
    }

    /// Bytes of the blocks and QCs that are held.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Appends the QC that starts at `next_qc`.
    pub fn insert_qc(&mut self, qc: VerifiedQc) {
        assert_eq!(qc.range().start, self.cursors.next_qc, "QCs are inserted without a gap");
        let index = self.next_qc_index;
        self.next_qc_index += 1;
        self.cursors.next_qc = qc.range().end;
        self.hold_qc(index, qc);
    }

    /// Puts a QC that recovery read back into memory; it moves no cursor.
    pub fn hold_qc(&mut self, index: u64, qc: VerifiedQc) {
        self.memory_bytes += qc.size_bytes() as u64;
        self.qcs.insert(qc.range().end, IndexedQc { index, qc });
    }

    /// Takes in a block that matches its header, unless it is already there; next_block jumps when a gap closes.
    /// Answers whether it was new.
    pub fn insert_block(&mut self, number: BlockNumber, block: VerifiedBlock) -> bool {
        assert!(number < self.cursors.next_qc, "a block enters only under a QC");
        if number < self.cursors.next_block || self.blocks.contains_key(&number) {
            return false;
        }
        self.hold_block(number, block);
        while self.blocks.contains_key(&self.cursors.next_block) {
            self.cursors.next_block = self.cursors.next_block.saturating_add(1);
        }
        true
    }

    /// Puts a block that recovery read back into memory; it moves no cursor.
    pub fn hold_block(&mut self, number: BlockNumber, block: VerifiedBlock) {
        self.memory_bytes += block.size_bytes() as u64;
        self.numbers_by_hash.insert(block.header_hash(), number);
        self.blocks.insert(number, block);
    }

    /// The QC of block `number`, if it is in memory.
    pub fn qc(&self, number: BlockNumber) -> Option<&IndexedQc> {
        let (_, found) = self.qcs.range(above(number)).next()?;
        found.qc.range().contains(&number).then_some(found)
    }

    /// The block, if it is in memory, whether in the contiguous run or above a gap.
    pub fn block(&self, number: BlockNumber) -> Option<&VerifiedBlock> {
        self.blocks.get(&number)
    }

    /// The blocks of a range that are in memory, in their order.
    pub fn blocks(&self, range: Range<BlockNumber>) -> impl Iterator<Item = &VerifiedBlock> {
        self.blocks.range(range).map(|(_, block)| block)
    }

    /// The block with what its QC says of it, if both are in memory.
    pub fn global_block(&self, number: BlockNumber) -> Option<GlobalBlock> {
        self.qc(number)?.qc.global_block(number, self.block(number)?).ok()
    }

    /// The number of the block in memory whose header has this hash.
    pub fn number_of(&self, hash: &HeaderHash) -> Option<BlockNumber> {
        self.numbers_by_hash.get(hash).copied()
    }

    /// The header hash that the QCs finalize under `number`, if its QC is in memory.
    pub fn header_hash(&self, number: BlockNumber) -> Option<HeaderHash> {
        self.qc(number)?.qc.header_hash_at(number)
    }

    /// The QCs in memory that end above `from`, in order.
    pub fn qcs_from(&self, from: BlockNumber) -> impl Iterator<Item = &IndexedQc> {
        self.qcs.range(above(from)).map(|(_, qc)| qc)
    }

    /// The blocks of the contiguous run in memory from `from` on, in order.
    pub fn blocks_from(&self, from: BlockNumber) -> impl Iterator<Item = (BlockNumber, &VerifiedBlock)> {
        let end = self.cursors.next_block.max(from);
        self.blocks.range(from..end).map(|(number, block)| (*number, block))
    }

    /// Blocks held above a gap.
    pub fn buffered_blocks(&self) -> usize {
        self.blocks.range(self.cursors.next_block..).count()
    }

    /// Raises next_block_to_persist to `number`, within the contiguous run; it never goes back.
    pub fn set_persisted(&mut self, number: BlockNumber) {
        let cursor = &mut self.cursors.next_block_to_persist;
        *cursor = number.min(self.cursors.next_block).max(*cursor);
    }

    /// Raises next_app_proposal to `number`.
    pub fn set_executed(&mut self, number: BlockNumber) {
        assert!(number <= self.cursors.next_block_to_persist, "an app hash covers only durable blocks");
        self.cursors.next_app_proposal = number.max(self.cursors.next_app_proposal);
    }

    /// Drops everything that may go below `retain_from`, and answers what went: only executed blocks, and at least
    /// one durable block stays.
    pub fn prune(&mut self, retain_from: BlockNumber) -> Range<BlockNumber> {
        let Cursors { first, next_app_proposal, next_block_to_persist, .. } = self.cursors;
        let one_stays = BlockNumber(next_block_to_persist.0.saturating_sub(1));
        let new_first = first.max(retain_from.min(next_app_proposal).min(one_stays));
        self.cursors.first = new_first;
        self.drop_below(new_first);
        first..new_first
    }

    /// Lets go of blocks, oldest first, each QC with its last block, until at most `bytes_max` are held or nothing
    /// more may go.
    ///
    /// What goes is read back from both logs, so it must be durable in both: a block whose QC is not could be found
    /// nowhere.
    pub fn evict(&mut self, bytes_max: u64) {
        let durable = self.cursors.next_block_to_persist;
        let mut more = true;
        while more && self.memory_bytes > bytes_max {
            let oldest = |chain: &Self| chain.blocks.first_key_value().map(|(number, _)| *number);
            let goes = oldest(self).filter(|oldest| *oldest < durable);
            if let Some(number) = goes {
                self.drop_block(number);
            }
            // A QC is needed while one of its blocks is held or missing.
            self.drop_qcs_ending_by(oldest(self).unwrap_or(durable).min(durable));
            more = goes.is_some();
        }
    }

    fn drop_below(&mut self, first: BlockNumber) {
        while let Some((&number, _)) = self.blocks.first_key_value().filter(|(number, _)| **number < first) {
            self.drop_block(number);
        }
        self.drop_qcs_ending_by(first);
    }

    fn drop_block(&mut self, number: BlockNumber) {
        if let Some(block) = self.blocks.remove(&number) {
            self.memory_bytes -= block.size_bytes() as u64;
            self.numbers_by_hash.remove(&block.header_hash());
        }
    }

    fn drop_qcs_ending_by(&mut self, end: BlockNumber) {
        while let Some(entry) = self.qcs.first_entry().filter(|entry| *entry.key() <= end) {
            self.memory_bytes -= entry.remove().qc.size_bytes() as u64;
        }
    }
}

/// Everything above a number, also above the last one that there is.
fn above(number: BlockNumber) -> (Bound<BlockNumber>, Bound<BlockNumber>) {
    (Bound::Excluded(number), Bound::Unbounded)
}
