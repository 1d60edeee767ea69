//! What the integration tests share: a chain to feed, and a store to feed it to.

pub mod chaos;

use std::path::Path;
use std::sync::Arc;

use roadbed::{Builder, Config, Roadbed};
use roadbed_messages::testing::{self, ChainShape, TestCommittee};
use roadbed_messages::{AppHash, Block, BlockNumber, FullCommitQc};

/// A QC with the blocks that it finalizes.
pub type Certified = (Arc<FullCommitQc>, Vec<Arc<Block>>);

/// A committee and the beginning of its chain.
pub struct Fixture {
    /// The committee with its keys.
    pub members: TestCommittee,
    /// Consecutive QCs with their blocks.
    pub chain: Vec<Certified>,
}

impl Fixture {
    /// A committee of `n` and `qcs` QCs of ten small blocks, all from `seed`.
    pub fn new(seed: u64, n: usize, qcs: usize) -> Self {
        let members = testing::committee(seed, n);
        let chain = testing::chain(seed, &members, ChainShape::default())
            .take(qcs)
            .map(|(qc, blocks)| (Arc::new(qc), blocks.into_iter().map(Arc::new).collect()))
            .collect();
        Self { members, chain }
    }

    /// A builder for this committee.
    pub fn builder(&self) -> Builder {
        Roadbed::builder(self.members.committee.clone())
    }

    /// Starts on a directory, with small segments.
    ///
    /// # Panics
    /// When the start is refused.
    pub async fn start(&self, dir: &Path) -> Roadbed {
        self.builder().data_dir(dir).config(small_segments()).start().await.expect("the start is not refused")
    }

    /// All blocks of the chain, by number.
    pub fn blocks(&self) -> Vec<Arc<Block>> {
        self.chain.iter().flat_map(|(_, blocks)| blocks.iter().cloned()).collect()
    }

    /// The number after the last block of the chain.
    pub fn end(&self) -> BlockNumber {
        let blocks = self.chain.iter().map(|(_, blocks)| blocks.len() as u64).sum();
        self.members.committee.first_block().saturating_add(blocks)
    }
}

/// Settings under which small tests roll and retire segments.
pub fn small_segments() -> Config {
    Config { segment_bytes: 64 << 10, ..Config::default() }
}

/// The app hash that these tests report for a block.
pub fn app_hash(number: BlockNumber) -> AppHash {
    testing::app_hash(0, number)
}
