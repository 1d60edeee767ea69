//! The chain in memory: cursors, QCs, blocks.
//!
//! Held are the QCs from the one of the oldest held block up to `next_qc`, and blocks: those that are not durable in
//! their log yet, those above a gap, and as many older ones as the memory limit allows. Everything else that is
//! retained is read from the logs. Only verified values enter, by their types.

use std::collections::VecDeque;
use std::ops::Range;

use roadbed_messages::api::Cursors;
use roadbed_messages::{BlockNumber, GlobalBlock, HeaderHash, VerifiedBlock, VerifiedQc};

use crate::lookup::Lookup;

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
    /// Consecutive, each with the end of its range: the QC of block n is the first with an end above n.
    qcs: VecDeque<(BlockNumber, IndexedQc)>,
    next_qc_index: u64,
    /// From `blocks_first` on, `None` where one is missing; the first is there.
    blocks: VecDeque<Option<VerifiedBlock>>,
    blocks_first: BlockNumber,
    numbers_by_hash: Lookup<HeaderHash, BlockNumber>,
    memory_bytes: u64,
}

impl Chain {
    /// An empty chain: all cursors at `first`, the next QC at index 0.
    pub fn new(first: BlockNumber) -> Self {
        Self {
            cursors: Cursors::all_at(first),
            qcs: VecDeque::new(),
            next_qc_index: 0,
            blocks: VecDeque::new(),
            blocks_first: first,
            numbers_by_hash: Lookup::default(),
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

    /// Puts a QC that recovery read back into memory, after the one before it; it moves no cursor.
    pub fn hold_qc(&mut self, index: u64, qc: VerifiedQc) {
        let Range { start, end } = qc.range();
        assert!(self.qcs.back().is_none_or(|(before, _)| *before == start), "QCs in memory are consecutive");
        self.memory_bytes += qc.size_bytes() as u64;
        self.qcs.push_back((end, IndexedQc { index, qc }));
    }

    /// Takes in a block that matches its header, unless it is already there; next_block jumps when a gap closes.
    /// Answers whether it was new.
    pub fn insert_block(&mut self, number: BlockNumber, block: VerifiedBlock) -> bool {
        assert!(number < self.cursors.next_qc, "a block enters only under a QC");
        if number < self.cursors.next_block || self.block(number).is_some() {
            return false;
        }
        self.hold_block(number, block);
        while self.block(self.cursors.next_block).is_some() {
            self.cursors.next_block = self.cursors.next_block.saturating_add(1);
        }
        true
    }

    /// Puts a block that recovery read back into memory; it moves no cursor.
    pub fn hold_block(&mut self, number: BlockNumber, block: VerifiedBlock) {
        self.memory_bytes += block.size_bytes() as u64;
        self.numbers_by_hash.insert(block.header_hash(), number);
        if self.blocks.is_empty() {
            self.blocks_first = number;
        }
        // Both gaps are within the window.
        for _ in number.0..self.blocks_first.0 {
            self.blocks.push_front(None);
        }
        self.blocks_first = self.blocks_first.min(number);
        let place = self.place(number);
        while self.blocks.len() <= place {
            self.blocks.push_back(None);
        }
        self.blocks[place] = Some(block);
    }

    /// Where block `number` is or would be, or the first one if it lies below.
    fn place(&self, number: BlockNumber) -> usize {
        usize::try_from(number.0.saturating_sub(self.blocks_first.0)).unwrap_or(usize::MAX)
    }

    /// Where the blocks of a range are, as far as they are held.
    fn places(&self, range: Range<BlockNumber>) -> Range<usize> {
        let end = self.place(range.end).min(self.blocks.len());
        self.place(range.start).min(end)..end
    }

    /// Where the QC of block `number` is or would be. Nearly always it is one of the newest, so the search goes back from
    /// the end, in steps that double, and looks at none of the many that are older.
    fn qc_place(&self, number: BlockNumber) -> usize {
        let ends_above = |place: usize| self.qcs.get(place).is_some_and(|(end, _)| *end > number);
        let (mut start, mut end, mut step) = (self.qcs.len(), self.qcs.len(), 1);
        // From `end` on all end above `number`.
        while start > 0 {
            start = start.saturating_sub(step);
            step *= 2;
            if !ends_above(start) {
                break;
            }
            end = start;
        }
        // Whatever lies before `start` ends at or below it.
        while start < end {
            let middle = start.midpoint(end);
            if ends_above(middle) {
                end = middle;
            } else {
                start = middle + 1;
            }
        }
        end
    }

    /// The QC of block `number`, if it is in memory.
    pub fn qc(&self, number: BlockNumber) -> Option<&IndexedQc> {
        let (_, found) = self.qcs.get(self.qc_place(number))?;
        found.qc.range().contains(&number).then_some(found)
    }

    /// The block, if it is in memory, whether in the contiguous run or above a gap.
    pub fn block(&self, number: BlockNumber) -> Option<&VerifiedBlock> {
        if number < self.blocks_first { None } else { self.blocks.get(self.place(number))?.as_ref() }
    }

    /// The blocks of a range that are in memory, in their order.
    pub fn blocks(&self, range: Range<BlockNumber>) -> impl Iterator<Item = &VerifiedBlock> {
        self.blocks.range(self.places(range)).flatten()
    }

    /// The block with what its QC says of it, if both are in memory.
    pub fn global_block(&self, number: BlockNumber) -> Option<GlobalBlock> {
        self.qc(number)?.qc.global_block(number, self.block(number)?).ok()
    }

    /// The number of the block in memory whose header has this hash.
    pub fn number_of(&self, hash: &HeaderHash) -> Option<BlockNumber> {
        self.numbers_by_hash.get(hash)
    }

    /// The header hash that the QCs finalize under `number`, if its QC is in memory.
    pub fn header_hash(&self, number: BlockNumber) -> Option<HeaderHash> {
        self.qc(number)?.qc.header_hash_at(number)
    }

    /// The QCs in memory that end above `from`, in order.
    pub fn qcs_from(&self, from: BlockNumber) -> impl Iterator<Item = &IndexedQc> {
        self.qcs.range(self.qc_place(from)..).map(|(_, qc)| qc)
    }

    /// The blocks of the contiguous run in memory from `from` on, in order.
    pub fn blocks_from(&self, from: BlockNumber) -> impl Iterator<Item = (BlockNumber, &VerifiedBlock)> {
        // Each has the number of its own place: were there ever a hole, whoever writes them would see it.
        let numbers = (self.blocks_first.max(from).0..=u64::MAX).map(BlockNumber);
        let places = self.blocks.range(self.places(from..self.cursors.next_block));
        numbers.zip(places).filter_map(|(number, block)| Some((number, block.as_ref()?)))
    }

    /// Blocks held above a gap.
    pub fn buffered_blocks(&self) -> usize {
        self.blocks(self.cursors.next_block..BlockNumber(u64::MAX)).count()
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
            more = self.oldest_block().is_some_and(|oldest| oldest < durable);
            if more {
                self.drop_oldest_block();
            }
            // A QC is needed while one of its blocks is held or missing.
            self.drop_qcs_ending_by(self.oldest_block().unwrap_or(durable).min(durable));
        }
    }

    fn oldest_block(&self) -> Option<BlockNumber> {
        (!self.blocks.is_empty()).then_some(self.blocks_first)
    }

    fn drop_below(&mut self, first: BlockNumber) {
        while self.oldest_block().is_some_and(|oldest| oldest < first) {
            self.drop_oldest_block();
        }
        self.drop_qcs_ending_by(first);
    }

    fn drop_oldest_block(&mut self) {
        if let Some(Some(block)) = self.blocks.pop_front() {
            self.memory_bytes -= block.size_bytes() as u64;
            self.numbers_by_hash.remove(&block.header_hash());
        }
        self.blocks_first = self.blocks_first.saturating_add(1);
        while let Some(None) = self.blocks.front() {
            self.blocks.pop_front();
            self.blocks_first = self.blocks_first.saturating_add(1);
        }
    }

    fn drop_qcs_ending_by(&mut self, end: BlockNumber) {
        while let Some((_, oldest)) = self.qcs.front().filter(|(here, _)| *here <= end) {
            self.memory_bytes -= oldest.qc.size_bytes() as u64;
            self.qcs.pop_front();
        }
    }
}
