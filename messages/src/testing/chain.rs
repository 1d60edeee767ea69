//! An endless chain of consecutive QCs with their blocks.

use rand_core::RngCore;

use super::{TestCommittee, rng};
use crate::{
    block::{Block, BlockHeader, Payload},
    hash::{AppHash, CanonicalHasher, HeaderHash},
    keys::Signature,
    numbers::{BlockNumber, LaneBlockNumber, RoadIndex, ViewNumber},
    qc::{AppProposal, CommitQc, FullCommitQc, LaneRange, Proposal, SignatureOf, View},
    txs::Txs,
};

const ROAD_STEP_US: u64 = 100_000;

/// What a chain looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainShape {
    /// Blocks that each QC finalizes; at least 1, at most what the committee's lanes may.
    pub blocks_per_qc: usize,
    /// Transactions of each block.
    pub txs_per_block: usize,
    /// Bytes of each transaction.
    pub tx_bytes: usize,
    /// One QC in so many, on average, carries an app proposal; 0 for none.
    pub app_proposal_every: u64,
    /// Whether the blocks of a QC fill all lanes evenly. Otherwise they fall on a random part of the lanes,
    /// and the other lanes' ranges are empty.
    pub even_lanes: bool,
}

impl Default for ChainShape {
    fn default() -> Self {
        Self { blocks_per_qc: 10, txs_per_block: 4, tx_bytes: 64, app_proposal_every: 3, even_lanes: false }
    }
}

/// Consecutive QCs with their blocks in global order, from a committee's first block on. Ends only when block
/// numbers do.
///
/// The QC at a road index is a function of seed, committee, shape and the QC before it.
#[derive(Debug, Clone)]
pub struct Chain {
    seed: u64,
    members: TestCommittee,
    shape: ChainShape,
    signed: bool,
    road_index: RoadIndex,
    first: BlockNumber,
    lanes: Vec<LaneRange>,
}

/// The chain of a seed. See the module for an example.
#[must_use]
pub fn chain(seed: u64, members: &TestCommittee, shape: ChainShape) -> Chain {
    let lanes = members
        .committee
        .keys()
        .iter()
        .map(|lane| LaneRange {
            lane: *lane,
            first: LaneBlockNumber(0),
            next: LaneBlockNumber(0),
            last_hash: HeaderHash::ZERO,
        })
        .collect();
    let first = members.committee.first_block();
    Chain { seed, members: members.clone(), shape, signed: true, road_index: RoadIndex(0), first, lanes }
}

/// The app hash that a chain's proposals carry for a block.
#[must_use]
pub fn app_hash(seed: u64, number: BlockNumber) -> AppHash {
    let mut hasher = CanonicalHasher::new("roadbed/testing/app-hash");
    hasher.u64(seed).u64(number.0);
    AppHash(hasher.finish())
}

impl Chain {
    /// The same chain with signatures that cost nothing and verify nowhere, for tests of pure cores.
    #[must_use]
    pub fn unsigned(mut self) -> Self {
        self.signed = false;
        self
    }

    /// The same chain, going on behind `qc`, which must be one of it.
    ///
    /// ```
    /// use roadbed_messages::testing::{self, ChainShape};
    ///
    /// let members = testing::committee(1, 4);
    /// let chain = testing::chain(1, &members, ChainShape::default());
    /// let all: Vec<_> = chain.clone().take(5).collect();
    /// assert_eq!(chain.resume_after(&all[2].0).next(), Some(all[3].clone()));
    /// ```
    ///
    /// # Panics
    /// When `qc` is of another committee.
    #[must_use]
    pub fn resume_after(mut self, qc: &FullCommitQc) -> Self {
        match qc.range(&self.members.committee) {
            Ok(range) => self.first = range.end,
            Err(error) => panic!("a QC of another chain: {error}"),
        }
        self.road_index = qc.road_index().saturating_add(1);
        self.lanes.clone_from(&qc.qc.proposal.lane_ranges);
        self
    }

    /// Number of the first block of the QC that comes next.
    #[must_use]
    pub fn next_first(&self) -> BlockNumber {
        self.first
    }

    /// How many blocks the QC has in each lane.
    fn lane_counts(&self, rng: &mut impl RngCore) -> Vec<u64> {
        let lanes = self.lanes.len();
        let lane_max = self.members.committee.params().lane_blocks_per_qc_max;
        let total = (self.shape.blocks_per_qc as u64).clamp(1, lane_max.saturating_mul(lanes as u64));
        let mut counts = vec![0; lanes];
        if self.shape.even_lanes {
            for (lane, count) in counts.iter_mut().enumerate() {
                *count = total / lanes as u64 + u64::from((lane as u64) < total % lanes as u64);
            }
            return counts;
        }
        // A random part of the lanes is active, large enough for all blocks.
        let active_min = usize::try_from(total.div_ceil(lane_max)).unwrap_or(lanes);
        let active = active_min + below(rng, lanes - active_min + 1);
        let active = active.max(1);
        let mut order: Vec<usize> = (0..lanes).collect();
        for position in 0..active {
            order.swap(position, position + below(rng, lanes - position));
        }
        for _ in 0..total {
            let mut lane = below(rng, active);
            while counts[order[lane]] >= lane_max {
                lane = (lane + 1) % active;
            }
            counts[order[lane]] += 1;
        }
        counts
    }

    fn payload(&self, created_at: crate::Timestamp, rng: &mut impl RngCore) -> Payload {
        let ChainShape { txs_per_block, tx_bytes, .. } = self.shape;
        let mut data = vec![0; txs_per_block * tx_bytes];
        rng.fill_bytes(&mut data);
        // Empty transactions have no bytes to tell them apart.
        let txs = if tx_bytes == 0 {
            (0..txs_per_block).map(|_| []).collect::<Txs>()
        } else {
            data.chunks_exact(tx_bytes).collect()
        };
        Payload { created_at, gas: u64::from(rng.next_u32()), txs }
    }

    fn sign(&self, proposal: Proposal) -> CommitQc {
        let signers = self.members.quorum_of(&proposal);
        if self.signed {
            return self.members.sign(proposal, signers);
        }
        let mut signers: Vec<_> = signers.collect();
        signers.sort_unstable();
        let signature_of = |signer: usize| SignatureOf {
            signer: self.members.committee.keys()[signer],
            signature: Signature([0xee; 64]),
        };
        let signatures = signers.into_iter().map(signature_of).collect();
        CommitQc { proposal, signatures }
    }
}

impl Iterator for Chain {
    type Item = (FullCommitQc, Vec<Block>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut rng = rng("chain", &[self.seed, self.road_index.0]);
        let counts = self.lane_counts(&mut rng);
        let total: u64 = counts.iter().sum();
        let next_first = self.first.checked_add(total)?;
        let next_road = self.road_index.next()?;
        let step = self.road_index.0.checked_mul(ROAD_STEP_US)?;
        let timestamp = self.members.committee.genesis().checked_add_us(step)?;

        let mut blocks = Vec::new();
        let mut lanes = self.lanes.clone();
        for (range, count) in lanes.iter_mut().zip(counts) {
            range.first = range.next;
            for _ in 0..count {
                let payload = self.payload(timestamp, &mut rng);
                let header = BlockHeader {
                    lane: range.lane,
                    number: range.next,
                    parent: range.last_hash,
                    payload: payload.hash(),
                };
                range.next = range.next.next()?;
                range.last_hash = header.hash();
                blocks.push(Block { header, payload });
            }
        }
        let every = self.shape.app_proposal_every;
        let proposes = every > 0 && rng.next_u64().is_multiple_of(every);
        let app_proposal = match self.road_index.checked_sub(1) {
            // Road index 0 has nothing behind it; after that the last block of the QC before is there.
            Some(road_index) if proposes => {
                let number = self.first.saturating_sub(1);
                Some(AppProposal { number, road_index, hash: app_hash(self.seed, number) })
            }
            _ => None,
        };
        let view = View { road_index: self.road_index, number: ViewNumber(rng.next_u64() % 3) };
        let proposal = Proposal { view, timestamp, lane_ranges: lanes.clone(), app_proposal };
        let headers = blocks.iter().map(|block| block.header).collect();
        let qc = FullCommitQc { qc: self.sign(proposal), headers };
        (self.road_index, self.first, self.lanes) = (next_road, next_first, lanes);
        Some((qc, blocks))
    }
}

/// A number below `bound`, which is at least 1.
fn below(rng: &mut impl RngCore, bound: usize) -> usize {
    // The remainder is below a usize.
    usize::try_from(rng.next_u64() % bound as u64).unwrap_or(0)
}
