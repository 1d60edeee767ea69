//! The chain as its producers remember it: any part of it can be derived from the seed again.
//!
//! Deriving starts at a checkpoint, the proposal of a QC: behind it the chain can go on. Checkpoints thin out as the
//! chain grows, so that memory stays bounded; what was derived last is kept for the next who asks.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use roadbed_messages::testing::Chain;
use roadbed_messages::{Block, BlockNumber, CommitQc, FullCommitQc, RoadIndex};

use super::plan::Plan;

/// Checkpoints that are kept at most; above that every second one goes.
const CHECKPOINTS_MAX: usize = 2048;
/// QCs with their blocks that are kept at most.
const ROADS_MAX: usize = 64;
/// Bytes of transactions in them at most.
const ROAD_BYTES_MAX: usize = 32 << 20;

/// A QC with all its blocks.
#[derive(Debug)]
pub(crate) struct Road {
    /// The blocks' numbers.
    pub(crate) range: Range<BlockNumber>,
    /// The QC.
    pub(crate) qc: FullCommitQc,
    /// The blocks in order.
    pub(crate) blocks: Vec<Block>,
}

impl Road {
    /// Block `number`, which is in the range.
    pub(crate) fn block(&self, number: BlockNumber) -> Option<&Block> {
        let position = number.distance_from(self.range.start)?;
        self.blocks.get(usize::try_from(position).ok()?)
    }

    fn tx_bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.payload.txs.total_bytes()).sum()
    }
}

/// The next road of a chain.
pub(crate) fn next_road(chain: &mut Chain) -> Option<Road> {
    let start = chain.next_first();
    let (qc, blocks) = chain.next()?;
    Some(Road { range: start..chain.next_first(), qc, blocks })
}

/// QCs from which the chain can go on, at even distances.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    stride: u64,
    /// Ascending by road index; only what [`Chain::resume_after`] looks at.
    kept: Vec<FullCommitQc>,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { stride: 32, kept: Vec::new() }
    }
}

impl Checkpoints {
    /// Notes a QC; to be called with each, in order.
    pub(crate) fn note(&mut self, qc: &FullCommitQc) {
        if !(qc.road_index().0 + 1).is_multiple_of(self.stride) {
            return;
        }
        let proposal = qc.qc.proposal.clone();
        self.kept
            .push(FullCommitQc { qc: CommitQc { proposal, signatures: Vec::new() }, headers: Vec::new() });
        if self.kept.len() > CHECKPOINTS_MAX {
            self.stride *= 2;
            let stride = self.stride;
            self.kept.retain(|qc| (qc.road_index().0 + 1).is_multiple_of(stride));
        }
    }

    /// The last one before `road`.
    fn before(&self, road: RoadIndex) -> Option<&FullCommitQc> {
        let at = self.kept.partition_point(|qc| qc.road_index() < road);
        self.kept.get(at.checked_sub(1)?)
    }
}

/// Everything that was finalized so far.
#[derive(Debug)]
pub(crate) struct History {
    plan: Plan,
    checkpoints: Checkpoints,
    /// The end of what was finalized.
    end: BlockNumber,
    /// The newest ones, and those that were asked for, oldest first.
    roads: VecDeque<Arc<Road>>,
    road_bytes: usize,
    /// Behind what was derived last: whoever asks usually asks for what follows.
    cursor: Option<Chain>,
}

impl History {
    /// The history of a chain that was finalized up to `end`.
    pub(crate) fn new(plan: Plan, checkpoints: Checkpoints, end: BlockNumber) -> Self {
        Self { plan, checkpoints, end, roads: VecDeque::new(), road_bytes: 0, cursor: None }
    }

    /// Adds what was finalized next.
    pub(crate) fn finalized(&mut self, road: &Arc<Road>) {
        self.checkpoints.note(&road.qc);
        self.end = road.range.end;
        self.keep(Arc::clone(road));
    }

    /// The road that covers block `number`; `None` unless it was finalized.
    pub(crate) fn road_of(&mut self, number: BlockNumber) -> Option<Arc<Road>> {
        if number >= self.end || number < self.plan.first_block() {
            return None;
        }
        if let Some(road) = self.roads.iter().find(|road| road.range.contains(&number)) {
            return Some(Arc::clone(road));
        }
        let wanted = RoadIndex((number.0 - self.plan.first_block().0) / self.plan.blocks_per_qc());
        let checkpoint = self.checkpoints.before(wanted);
        let from_checkpoint = self.plan.chain_after(checkpoint);
        let mut chain = match self.cursor.take() {
            Some(chain)
                if chain.next_first() <= number && chain.next_first() >= from_checkpoint.next_first() =>
            {
                chain
            }
            _ => from_checkpoint,
        };
        // Signing what nobody asked for would cost more than the rest.
        let mut unsigned = chain.clone().unsigned();
        let mut before = None;
        while unsigned.next_first().saturating_add(self.plan.blocks_per_qc()) <= number {
            before = Some(next_road(&mut unsigned)?.qc);
        }
        if let Some(before) = before {
            chain = self.plan.chain_after(Some(&before));
        }
        let road = Arc::new(next_road(&mut chain)?);
        self.cursor = Some(chain);
        self.keep(Arc::clone(&road));
        Some(road)
    }

    fn keep(&mut self, road: Arc<Road>) {
        self.road_bytes += road.tx_bytes();
        self.roads.push_back(road);
        while self.roads.len() > ROADS_MAX || (self.road_bytes > ROAD_BYTES_MAX && self.roads.len() > 1) {
            match self.roads.pop_front() {
                Some(oldest) => self.road_bytes -= oldest.tx_bytes(),
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roadbed_messages::testing::{self, ChainShape};

    fn plan() -> Plan {
        let shape = ChainShape { blocks_per_qc: 3, txs_per_block: 1, tx_bytes: 8, ..ChainShape::default() };
        Plan { seed: 5, members: testing::committee(5, 4), shape }
    }

    /// A history that was told of `roads` QCs, and those QCs.
    fn history(roads: usize) -> (History, Vec<Arc<Road>>) {
        let mut history = History::new(plan(), Checkpoints::default(), plan().first_block());
        let mut chain = plan().chain();
        let roads: Vec<_> = (0..roads).map(|_| Arc::new(next_road(&mut chain).unwrap())).collect();
        roads.iter().for_each(|road| history.finalized(road));
        (history, roads)
    }

    #[test]
    fn derives_any_road_again_in_any_order() {
        let (mut history, roads) = history(300);
        for at in [0, 1, 2, 299, 150, 151, 149, 31, 32, 33, 63, 64, 65, 0, 298] {
            let number = roads[at].range.start.saturating_add(at as u64 % 3);
            let road = history.road_of(number).unwrap();
            assert_eq!(road.qc, roads[at].qc, "road {at}");
            assert_eq!(road.block(number), roads[at].block(number), "road {at}");
        }
    }

    #[test]
    fn knows_nothing_that_was_not_finalized() {
        let (mut history, roads) = history(3);
        assert!(history.road_of(roads[2].range.end).is_none());
    }

    #[test]
    fn checkpoints_stay_bounded_and_evenly_spaced() {
        let mut checkpoints = Checkpoints::default();
        let (mut qc, _) = plan().chain().next().unwrap();
        for road in 0..(CHECKPOINTS_MAX as u64 * 32 * 3) {
            qc.qc.proposal.view.road_index = RoadIndex(road);
            checkpoints.note(&qc);
        }
        assert!(checkpoints.kept.len() <= CHECKPOINTS_MAX && checkpoints.kept.len() > CHECKPOINTS_MAX / 2);
        let gaps = checkpoints.kept.windows(2).map(|pair| pair[1].road_index().0 - pair[0].road_index().0);
        assert!(gaps.into_iter().all(|gap| gap == checkpoints.stride));
        assert!(checkpoints.before(RoadIndex(0)).is_none());
    }
}
