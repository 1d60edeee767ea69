//! A committee and the beginning of its chain.

use std::ops::Range;
use std::sync::Arc;

use roadbed::{Builder, Roadbed};
use roadbed_messages::testing::{self, ChainShape, TestCommittee};
use roadbed_messages::{AppHash, Block, BlockNumber, FullCommitQc};

/// A QC with the blocks that it finalizes.
pub type Certified = (Arc<FullCommitQc>, Vec<Arc<Block>>);

/// A committee and the beginning of its chain: QCs of ten small blocks each.
#[derive(Clone)]
pub struct Fixture {
    /// The committee with its keys.
    pub members: TestCommittee,
    /// Consecutive QCs with their blocks.
    pub chain: Vec<Certified>,
}

impl Fixture {
    /// A committee of `n` and `qcs` QCs, all from `seed`; the chain starts at block 0.
    pub fn new(seed: u64, n: usize, qcs: usize) -> Self {
        Self::of(seed, testing::committee(seed, n), ChainShape::default(), qcs)
    }

    /// A committee of four and `qcs` QCs; the chain starts at `first_block`.
    pub fn starting_at(first_block: u64, qcs: usize) -> Self {
        let members = testing::committee_from(first_block, 4, BlockNumber(first_block));
        Self::of(first_block, members, ChainShape::default(), qcs)
    }

    /// `qcs` QCs of `members`, made as `shape` says.
    pub fn of(seed: u64, members: TestCommittee, shape: ChainShape, qcs: usize) -> Self {
        let chain = testing::chain(seed, &members, shape).take(qcs).map(certified).collect();
        Self { members, chain }
    }

    /// A builder for this committee.
    pub fn builder(&self) -> Builder {
        Roadbed::builder(self.members.committee.clone())
    }

    /// The first block of the chain.
    pub fn first(&self) -> BlockNumber {
        self.members.committee.first_block()
    }

    /// The number after the last block of the chain.
    pub fn end(&self) -> BlockNumber {
        self.range(self.chain.len() - 1).end
    }

    /// The global numbers of the QC at `index`.
    pub fn range(&self, index: usize) -> Range<BlockNumber> {
        self.chain[index].0.range(&self.members.committee).expect("the chain is valid")
    }

    /// The QC that finalizes block `number`.
    pub fn qc_of(&self, number: BlockNumber) -> &Arc<FullCommitQc> {
        let at = (0..self.chain.len()).find(|at| self.range(*at).contains(&number));
        &self.chain[at.expect("a block of the chain")].0
    }

    /// Block `number`.
    pub fn block(&self, number: BlockNumber) -> &Arc<Block> {
        let at =
            (0..self.chain.len()).find(|at| self.range(*at).contains(&number)).expect("a block of the chain");
        let within = number.0 - self.range(at).start.0;
        &self.chain[at].1[usize::try_from(within).expect("a position in a QC")]
    }

    /// All blocks of the chain, in order.
    pub fn blocks(&self) -> Vec<Arc<Block>> {
        self.chain.iter().flat_map(|(_, blocks)| blocks.iter().cloned()).collect()
    }

    /// The block `distance` after the first one.
    pub fn nth(&self, distance: u64) -> BlockNumber {
        self.first().checked_add(distance).expect("within u64")
    }
}

/// What a test chain gives, shared.
pub fn certified((qc, blocks): (FullCommitQc, Vec<Block>)) -> Certified {
    (Arc::new(qc), blocks.into_iter().map(Arc::new).collect())
}

/// The app hash that these tests report for a block.
pub fn app_hash(number: BlockNumber) -> AppHash {
    testing::app_hash(0, number)
}
