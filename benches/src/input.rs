//! Signed chains, made before any clock starts.

use std::sync::Arc;
use std::thread;

use roadbed_messages::testing::{self, Chain, ChainShape, TestCommittee};
use roadbed_messages::{Block, BlockNumber, FullCommitQc, codec};

use crate::machine::cores;

/// A QC with the blocks that it finalizes.
pub(crate) type Certified = (Arc<FullCommitQc>, Vec<Arc<Block>>);

/// Ten blocks of about 1 KiB a QC.
pub(crate) const SMALL: ChainShape = ChainShape {
    blocks_per_qc: 10,
    txs_per_block: 4,
    tx_bytes: 240,
    app_proposal_every: 3,
    even_lanes: false,
};
/// Ten blocks of about 300 KiB a QC.
pub(crate) const LARGE: ChainShape = ChainShape { txs_per_block: 1000, tx_bytes: 303, ..SMALL };

/// The committee of this size, with its keys.
pub(crate) fn members(count: usize) -> TestCommittee {
    testing::committee(count as u64, count)
}

/// A committee and the rest of its chain.
#[derive(Debug)]
pub(crate) struct Source {
    /// The committee with its keys.
    pub(crate) members: TestCommittee,
    chain: Chain,
}

impl Source {
    /// A committee of `members` at the beginning of its chain.
    pub(crate) fn new(members: usize, shape: ChainShape) -> Self {
        let seed = members as u64;
        let members = self::members(members);
        let chain = testing::chain(seed, &members, shape).unsigned();
        Self { members, chain }
    }

    /// The next QCs with their blocks, really signed, on all cores.
    pub(crate) fn take(&mut self, qcs: usize) -> Vec<Certified> {
        let unsigned = self.take_unsigned(qcs);
        let per_core = unsigned.len().div_ceil(cores()).max(1);
        let mut signed = unsigned;
        thread::scope(|scope| {
            for part in signed.chunks_mut(per_core) {
                let members = &self.members;
                scope.spawn(move || {
                    for (qc, _) in part {
                        let proposal = qc.qc.proposal.clone();
                        let signers = members.quorum_of(&proposal);
                        qc.qc = members.sign(proposal, signers);
                    }
                });
            }
        });
        signed
            .into_iter()
            .map(|(qc, blocks)| (Arc::new(qc), blocks.into_iter().map(Arc::new).collect()))
            .collect()
    }

    /// The next QCs with their blocks, for who does not look at signatures.
    pub(crate) fn take_unsigned(&mut self, qcs: usize) -> Vec<(FullCommitQc, Vec<Block>)> {
        self.chain.by_ref().take(qcs).collect()
    }

    /// Number of the block after the last one that was taken.
    pub(crate) fn next(&self) -> BlockNumber {
        self.chain.next_first()
    }
}

/// Bytes of the QCs and of the blocks as they are stored, without frames.
pub(crate) fn stored_bytes(input: &[Certified]) -> (u64, u64) {
    let qcs = input.iter().map(|(qc, _)| codec::encoded_len(&**qc) as u64).sum();
    let blocks = input.iter().flat_map(|(_, blocks)| blocks).map(|block| codec::encoded_len(&**block) as u64);
    (qcs, blocks.sum())
}

/// QCs on their way at once: as many as the window takes, and of bytes no more than the bound takes.
const IN_FLIGHT_MAX: usize = 390;
const IN_FLIGHT_BYTES: u64 = 192 << 20;

/// How many QCs of an input may be on their way at once.
pub(crate) fn in_flight_of(input: &[Certified]) -> usize {
    let (qcs, blocks) = stored_bytes(input);
    let qc_bytes = ((qcs + blocks) / (input.len() as u64).max(1)).max(1);
    usize::try_from(IN_FLIGHT_BYTES / qc_bytes).unwrap_or(IN_FLIGHT_MAX).clamp(1, IN_FLIGHT_MAX)
}

/// How many blocks there are.
pub(crate) fn blocks_in(input: &[Certified]) -> u64 {
    input.iter().map(|(_, blocks)| blocks.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_on_its_way_than_the_bound_of_pushes_takes() {
        let bound = roadbed::Config::default().bounds.push_qc;
        let of_2m = ChainShape { txs_per_block: 64, tx_bytes: 32 << 10, ..SMALL };
        for (shape, expected) in [(SMALL, IN_FLIGHT_MAX), (LARGE, 65), (of_2m, 9)] {
            let mut source = Source::new(4, shape);
            let unsigned = source.take_unsigned(1).into_iter();
            let input: Vec<Certified> = unsigned
                .map(|(qc, blocks)| (Arc::new(qc), blocks.into_iter().map(Arc::new).collect()))
                .collect();
            let in_flight = in_flight_of(&input);
            assert_eq!(in_flight, expected);
            let (qcs, blocks) = stored_bytes(&input);
            assert!((qcs + blocks) * in_flight as u64 <= bound.bytes_max && in_flight <= bound.calls_max);
        }
    }

    #[test]
    fn every_qc_is_valid_and_follows_the_one_before() {
        let mut source = Source::new(4, SMALL);
        let mut input = source.take(3);
        input.extend(source.take(2));
        assert_eq!((blocks_in(&input), source.next()), (50, BlockNumber(50)));
        for (number, (qc, _)) in input.iter().enumerate() {
            let verified = roadbed_messages::verify_qc(&source.members.committee, qc.clone()).unwrap();
            assert_eq!(verified.range().start, BlockNumber(10 * number as u64));
        }
        let (_, blocks) = stored_bytes(&input);
        assert!((1024..1200).contains(&(blocks / 50)), "{blocks}");
    }
}
