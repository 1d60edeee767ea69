//! What the demo chain is a function of, and what follows from it: the blocks and the application's hashes.

use roadbed_messages::hash::CanonicalHasher;
use roadbed_messages::testing::{self, Chain, ChainShape, TestCommittee};
use roadbed_messages::{AppHash, BlockNumber, FullCommitQc, Payload};
use serde::{Deserialize, Serialize};

use crate::cli::RunArgs;
use crate::exit::NodeError;

/// Seed, committee and shape of the chain. Two nodes with equal plans see the same blocks.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What everything is derived from.
    pub(crate) seed: u64,
    /// The committee with its keys.
    pub(crate) members: TestCommittee,
    /// What its blocks look like.
    pub(crate) shape: ChainShape,
}

impl Plan {
    /// The plan that the flags describe.
    ///
    /// # Errors
    /// When the data model has no such chain.
    pub(crate) fn new(args: &RunArgs) -> Result<Self, NodeError> {
        use roadbed_messages::limits::COMMITTEE_LEN_MAX;
        let usage = |text: String| Err(NodeError::Usage(text));
        if args.committee == 0 || args.committee > COMMITTEE_LEN_MAX {
            return usage(format!(
                "--committee {}: it must be from 1 to {COMMITTEE_LEN_MAX}",
                args.committee
            ));
        }
        let params = roadbed_messages::ChainParams::default();
        let blocks_max = params.lane_blocks_per_qc_max.saturating_mul(args.committee as u64);
        if args.blocks_per_qc == 0 || args.blocks_per_qc as u64 > blocks_max {
            return usage(format!(
                "--blocks-per-qc {}: with --committee {} it must be from 1 to {blocks_max} ({} for each lane)",
                args.blocks_per_qc, args.committee, params.lane_blocks_per_qc_max
            ));
        }
        if args.txs as u64 > params.block_txs_max {
            return usage(format!("--txs {}: it must be at most {}", args.txs, params.block_txs_max));
        }
        let bytes = (args.txs as u64).checked_mul(args.tx_bytes as u64);
        if bytes.is_none_or(|bytes| bytes > params.block_tx_bytes_max) {
            return usage(format!(
                "--txs {} times --tx-bytes {}: a block may have at most {} bytes of transactions",
                args.txs, args.tx_bytes, params.block_tx_bytes_max
            ));
        }
        Ok(Self {
            seed: args.seed,
            members: testing::committee(args.seed, args.committee),
            shape: ChainShape {
                blocks_per_qc: args.blocks_per_qc,
                txs_per_block: args.txs,
                tx_bytes: args.tx_bytes,
                ..ChainShape::default()
            },
        })
    }

    /// The chain from its first block on, with real signatures.
    pub(crate) fn chain(&self) -> Chain {
        testing::chain(self.seed, &self.members, self.shape)
    }

    /// The chain behind `last`, or from the first block on.
    pub(crate) fn chain_after(&self, last: Option<&FullCommitQc>) -> Chain {
        match last {
            Some(qc) => self.chain().resume_after(qc),
            None => self.chain(),
        }
    }

    /// Blocks of every QC.
    pub(crate) fn blocks_per_qc(&self) -> u64 {
        self.shape.blocks_per_qc as u64
    }

    /// Bytes of a block, about.
    pub(crate) fn block_bytes(&self) -> usize {
        // Header, lengths and offsets beside the transactions.
        self.shape.txs_per_block * (self.shape.tx_bytes + 4) + 256
    }

    /// The first block of the chain.
    pub(crate) fn first_block(&self) -> BlockNumber {
        self.members.committee.first_block()
    }

    /// The end of the QC that covers the block before `end`.
    pub(crate) fn whole_qcs(&self, end: BlockNumber) -> BlockNumber {
        let blocks = end.0 - self.first_block().0;
        self.first_block()
            .saturating_add(blocks.div_ceil(self.blocks_per_qc()).saturating_mul(self.blocks_per_qc()))
    }
}

/// The application: a running hash over all transactions, so that its state after a block depends on every block
/// before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct App {
    /// The block that is executed next.
    pub(crate) next: BlockNumber,
    /// The state after the block before it.
    pub(crate) hash: AppHash,
}

impl App {
    /// The state before the first block.
    pub(crate) fn genesis(plan: &Plan) -> Self {
        Self { next: plan.first_block(), hash: AppHash::ZERO }
    }

    /// Executes the next block; answers the new state.
    pub(crate) fn execute(&mut self, payload: &Payload) -> AppHash {
        let mut hasher = CanonicalHasher::new("roadbed/demo/app-state");
        hasher.fixed(&self.hash.0).u64(self.next.0);
        hasher.u32_list(payload.txs.ends()).bytes(payload.txs.data());
        self.hash = AppHash(hasher.finish());
        self.next = self.next.saturating_add(1);
        self.hash
    }
}
