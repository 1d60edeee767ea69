//! The chain as its producers remember it: any part of it can be derived from the seed again.
//!
//! Deriving starts at a checkpoint, the proposal of a QC: behind it the chain can go on. Checkpoints thin out as the
//! chain grows, so that memory stays bounded; what was derived last is kept for the next who asks.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use roadbed_messages::testing::Chain;
use roadbed_messages::{Block, BlockNumber, CommitQc, FullCommitQc, RoadIndex};

use super::plan::Plan;

/// The newest roads all have a checkpoint.
const NEWEST_CHECKPOINTS: u64 = 512;
/// Checkpoints of older ones that are kept at most; above that every second one goes.
const OLDER_CHECKPOINTS_MAX: u64 = 2048;
/// QCs with their blocks that are kept at most.
const ROADS_MAX: usize = 64;
/// Bytes of transactions in them at most: a few QCs of the largest blocks, for those are dear to derive and asked for
/// while they are on their way.
const ROAD_BYTES_MAX: usize = 256 << 20;

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

/// What the chain goes on from behind a QC: its proposal.
pub(crate) fn resumable(qc: &FullCommitQc) -> FullCommitQc {
    let proposal = qc.qc.proposal.clone();
    FullCommitQc { qc: CommitQc { proposal, signatures: Vec::new() }, headers: Vec::new() }
}

/// QCs from which the chain can go on: each of the newest, for those are asked for most, and older ones at even
/// distances.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    /// Distance of the older ones, in roads.
    stride: u64,
    /// Only what [`Chain::resume_after`] looks at.
    kept: BTreeMap<RoadIndex, FullCommitQc>,
    /// Where deriving began; it stays.
    begin: Option<RoadIndex>,
}

impl Checkpoints {
    /// Of a chain that is derived from the QC behind `begin` on, or from its first QC on.
    pub(crate) fn new(begin: Option<&FullCommitQc>) -> Self {
        let begin = begin.map(|qc| (qc.road_index(), resumable(qc)));
        Self { stride: 32, begin: begin.as_ref().map(|(road, _)| *road), kept: begin.into_iter().collect() }
    }

    /// Notes a QC.
    pub(crate) fn note(&mut self, qc: &FullCommitQc) {
        let road = qc.road_index();
        let last = self.kept.last_key_value().map_or(road, |(last, _)| *last);
        // Of the newest, if this is the last one.
        let oldest = |last: RoadIndex| (last.0 + 1).saturating_sub(NEWEST_CHECKPOINTS);
        if road.0 < oldest(last) && !self.stays(road) {
            return;
        }
        for left in (oldest(last)..oldest(road)).map(RoadIndex) {
            if !self.stays(left) {
                self.kept.remove(&left);
            }
        }
        self.kept.insert(road, resumable(qc));
        if self.kept.len() as u64 > OLDER_CHECKPOINTS_MAX + NEWEST_CHECKPOINTS {
            self.stride *= 2;
            let mut kept = std::mem::take(&mut self.kept);
            kept.retain(|one, _| one.0 >= oldest(last.max(road)) || self.stays(*one));
            self.kept = kept;
        }
    }

    /// Whether a road keeps its checkpoint when it is old.
    fn stays(&self, road: RoadIndex) -> bool {
        (road.0 + 1).is_multiple_of(self.stride) || self.begin == Some(road)
    }

    /// The last one before `road`.
    fn before(&self, road: RoadIndex) -> Option<&FullCommitQc> {
        Some(self.kept.range(..road).next_back()?.1)
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
            let qc = next_road(&mut unsigned)?.qc;
            self.checkpoints.note(&qc);
            before = Some(qc);
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
        let mut history = History::new(plan(), Checkpoints::new(None), plan().first_block());
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
    fn what_was_finalized_last_is_not_derived_again_however_large_it_is() {
        let shape =
            ChainShape { blocks_per_qc: 3, txs_per_block: 1, tx_bytes: 4 << 20, ..ChainShape::default() };
        let plan = Plan { shape, ..plan() };
        let mut history = History::new(plan.clone(), Checkpoints::new(None), plan.first_block());
        let mut chain = plan.chain();
        let roads: Vec<_> = (0..4).map(|_| Arc::new(next_road(&mut chain).unwrap())).collect();
        roads.iter().for_each(|road| history.finalized(road));
        for road in &roads {
            assert!(Arc::ptr_eq(&history.road_of(road.range.start).unwrap(), road));
        }
    }

    #[test]
    fn knows_nothing_that_was_not_finalized() {
        let (mut history, roads) = history(3);
        assert!(history.road_of(roads[2].range.end).is_none());
    }

    #[test]
    fn checkpoints_stay_bounded_the_newest_are_all_there_and_the_older_evenly_spaced() {
        let (mut qc, _) = plan().chain().next().unwrap();
        let begin = RoadIndex(777);
        qc.qc.proposal.view.road_index = begin;
        let mut checkpoints = Checkpoints::new(Some(&qc));
        let end = OLDER_CHECKPOINTS_MAX * 32 * 3;
        for road in begin.0 + 1..end {
            qc.qc.proposal.view.road_index = RoadIndex(road);
            checkpoints.note(&qc);
        }
        let kept: Vec<u64> = checkpoints.kept.keys().map(|road| road.0).collect();
        assert!(kept.len() as u64 <= OLDER_CHECKPOINTS_MAX + NEWEST_CHECKPOINTS);
        assert!(kept.len() as u64 > OLDER_CHECKPOINTS_MAX / 2);
        let (newest, older): (Vec<u64>, Vec<u64>) =
            kept.iter().partition(|road| **road >= end - NEWEST_CHECKPOINTS);
        assert!(newest.into_iter().eq(end - NEWEST_CHECKPOINTS..end));
        assert_eq!(older[0], begin.0, "where deriving began stays");
        assert!(older[1..].windows(2).all(|pair| pair[1] - pair[0] == checkpoints.stride));
        assert!(checkpoints.before(begin).is_none());
    }

    #[test]
    fn a_history_that_begins_in_the_middle_derives_what_is_older_from_the_first_block() {
        let (_, roads) = history(40);
        let mut later = History::new(plan(), Checkpoints::new(Some(&roads[29].qc)), roads[39].range.end);
        for at in [35, 30, 29, 3, 4, 39] {
            let road = later.road_of(roads[at].range.start).unwrap();
            assert_eq!(road.qc, roads[at].qc, "road {at}");
        }
    }
}
