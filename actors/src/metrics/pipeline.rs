//! How blocks pass the stages: receive, verify, persist, execute, prune.
//!
//! State's thread alone writes here. What a stage still needs to know of a block (when it was made, its transactions,
//! their bytes) is kept for the blocks that are not executed, which the window bounds; for executed ones that are
//! retained it is kept in stretches that grow, so that their number is bounded whatever is retained. Blocks that were
//! recovered are not counted.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roadbed_messages::api::Cursors;
use roadbed_messages::{Block, BlockNumber};

use super::histogram::{AGE_SECONDS, Batch, Histogram, WORK_SECONDS};

/// Stretches of executed blocks that are kept, at most.
const STRETCHES_MAX: usize = 2048;

/// Blocks that are looked at together.
const TOGETHER: usize = 16;

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Receive,
    Verify,
    Persist,
    Execute,
    Prune,
}

impl Stage {
    pub(crate) const ALL: [Self; 5] =
        [Self::Receive, Self::Verify, Self::Persist, Self::Execute, Self::Prune];

    /// The value of the label `stage`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Verify => "verify",
            Self::Persist => "persist",
            Self::Execute => "execute",
            Self::Prune => "prune",
        }
    }
}

/// Counters of one stage.
#[derive(Debug)]
pub(crate) struct StageMetrics {
    pub(crate) block_latency: Histogram,
    pub(crate) tx_latency: Histogram,
    pub(crate) duration: Histogram,
    pub(crate) blocks: AtomicU64,
    pub(crate) txs: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// In microseconds since the Unix epoch; 0 before the first.
    pub(crate) last_progress_unix_us: AtomicU64,
}

impl Default for StageMetrics {
    fn default() -> Self {
        Self {
            block_latency: Histogram::new(AGE_SECONDS),
            tx_latency: Histogram::new(AGE_SECONDS),
            duration: Histogram::new(WORK_SECONDS),
            blocks: AtomicU64::new(0),
            txs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            last_progress_unix_us: AtomicU64::new(0),
        }
    }
}

/// When something happens: one look at the clocks does for all that a handler does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    /// By the clock that blocks are made with, in microseconds since the Unix epoch.
    pub(crate) wall_unix_us: u64,
    /// By the system's clock, in microseconds since the Unix epoch.
    pub(crate) unix_us: u64,
}

/// What the stages need to know of consecutive blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// When the last of them was made, in microseconds since the Unix epoch.
    created_unix_us: u64,
    blocks: u64,
    txs: u64,
    bytes: u64,
}

impl From<&Block> for Facts {
    fn from(block: &Block) -> Self {
        Self {
            created_unix_us: block.payload.created_at.unix_us(),
            blocks: 1,
            txs: block.payload.txs.len() as u64,
            bytes: block.payload.txs.total_bytes() as u64,
        }
    }
}

impl StageMetrics {
    /// Blocks leave the stage.
    pub(crate) fn passed(&self, moment: Moment, facts: impl IntoIterator<Item = Facts>) {
        let mut facts = facts.into_iter();
        let mut latencies = Batch::into_all([&self.block_latency, &self.tx_latency]);
        let (mut blocks, mut txs, mut bytes) = (0, 0, 0);
        loop {
            // Blocks lie anywhere in memory. Looking at several before anything is done with them lets the processor
            // fetch them at the same time.
            let (mut looked_at, mut count) = ([Facts::default(); TOGETHER], 0);
            for (place, next) in looked_at.iter_mut().zip(facts.by_ref()) {
                *place = next;
                count += 1;
            }
            for next in &looked_at[..count] {
                let latency = moment.wall_unix_us.saturating_sub(next.created_unix_us) as f64 / 1e6;
                latencies.observe_many(latency, [next.blocks, next.txs]);
                blocks += next.blocks;
                txs += next.txs;
                bytes += next.bytes;
            }
            if count < TOGETHER {
                break;
            }
        }
        if blocks > 0 {
            self.blocks.fetch_add(blocks, Ordering::Relaxed);
            self.txs.fetch_add(txs, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.last_progress_unix_us.store(moment.unix_us, Ordering::Relaxed);
        }
    }
}

/// Consecutive blocks that came into the stage that they are in at the same moment.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// The block after the last of them.
    end: BlockNumber,
    since: Instant,
}

/// Follows the cursors from the recovered ones on.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    /// As of the last look; `None` before recovery is done.
    seen: Option<Cursors>,
    /// From the later of next_app_proposal and the recovered next_block up to next_block.
    passing: VecDeque<Facts>,
    /// The first block in `passing`.
    base: BlockNumber,
    /// Of `passing`, what is not durable.
    arrived: VecDeque<Stretch>,
    /// Of `passing`, what is durable.
    durable: VecDeque<Stretch>,
    /// Executed blocks that are retained: the end of each stretch, and what it covers.
    executed: VecDeque<(BlockNumber, Facts)>,
    /// The blocks of a full stretch.
    stretch_blocks: u64,
}

impl Pipeline {
    /// Recovery is done: what is there already is not counted.
    pub(crate) fn recovered(&mut self, cursors: Cursors) {
        *self = Self { seen: Some(cursors), base: cursors.next_block, stretch_blocks: 1, ..Self::default() };
    }

    /// Whether the cursors have moved since the last look.
    pub(crate) fn is_behind(&self, cursors: Cursors) -> bool {
        self.seen.is_some_and(|seen| seen != cursors)
    }

    /// Takes in where the cursors are now. `facts_of` is asked for blocks that have just joined the contiguous run, in
    /// their order.
    pub(crate) fn advance<F: Iterator<Item = Facts>>(
        &mut self,
        cursors: Cursors,
        moment: Moment,
        stages: &[StageMetrics; 5],
        facts_of: impl FnOnce(Range<BlockNumber>) -> F,
    ) {
        let Some(seen) = self.seen else { return };
        if seen.next_block < cursors.next_block {
            self.passing.extend(facts_of(seen.next_block..cursors.next_block));
            // One that is not in memory any more is not counted.
            self.passing.resize(self.place_of(cursors.next_block), Facts::default());
            self.arrived.push_back(Stretch { end: cursors.next_block, since: moment.now });
        }
        self.persisted(cursors.next_block_to_persist, moment, &stages[Stage::Persist as usize]);
        self.executed(cursors.next_app_proposal, moment, &stages[Stage::Execute as usize]);
        self.pruned(cursors.first, moment, &stages[Stage::Prune as usize]);
        self.seen = Some(cursors);
    }

    /// Where a block is in `passing`.
    fn place_of(&self, number: BlockNumber) -> usize {
        usize::try_from(number.0.saturating_sub(self.base.0)).unwrap_or(usize::MAX)
    }

    fn persisted(&mut self, next_block_to_persist: BlockNumber, moment: Moment, stage: &StageMetrics) {
        let begin = self.durable.back().map_or(self.base, |stretch| stretch.end);
        if next_block_to_persist <= begin {
            return;
        }
        let to = self.place_of(next_block_to_persist).min(self.passing.len());
        let from = self.place_of(begin).min(to);
        stage.passed(moment, self.passing.range(from..to).copied());
        leave(&mut self.arrived, begin, next_block_to_persist, moment.now, stage);
        self.durable.push_back(Stretch { end: next_block_to_persist, since: moment.now });
    }

    fn executed(&mut self, next_app_proposal: BlockNumber, moment: Moment, stage: &StageMetrics) {
        if next_app_proposal <= self.base {
            return;
        }
        let count = self.place_of(next_app_proposal).min(self.passing.len());
        stage.passed(moment, self.passing.range(..count).copied());
        leave(&mut self.durable, self.base, next_app_proposal, moment.now, stage);
        for _ in 0..count {
            let Some(facts) = self.passing.pop_front() else { break };
            self.base = self.base.saturating_add(1);
            self.retain(self.base, facts);
        }
    }

    fn retain(&mut self, end: BlockNumber, facts: Facts) {
        match self.executed.back_mut() {
            Some((last_end, last)) if last.blocks < self.stretch_blocks => {
                *last_end = end;
                *last = joined(*last, facts);
            }
            _ => self.executed.push_back((end, facts)),
        }
        if self.executed.len() > STRETCHES_MAX {
            self.stretch_blocks *= 2;
            let stretches = std::mem::take(&mut self.executed);
            let mut stretches = stretches.into_iter();
            while let Some((end, facts)) = stretches.next() {
                self.executed.push_back(match stretches.next() {
                    Some((next_end, next)) => (next_end, joined(facts, next)),
                    None => (end, facts),
                });
            }
        }
    }

    fn pruned(&mut self, first: BlockNumber, moment: Moment, stage: &StageMetrics) {
        while let Some((_, facts)) = self.executed.front().filter(|(end, _)| *end <= first) {
            stage.passed(moment, [*facts]);
            self.executed.pop_front();
        }
    }
}

/// The blocks from `begin` to `end` leave a stage in which these stretches are.
fn leave(
    stretches: &mut VecDeque<Stretch>,
    mut begin: BlockNumber,
    end: BlockNumber,
    now: Instant,
    stage: &StageMetrics,
) {
    let mut durations = Batch::of(&stage.duration);
    while begin < end
        && let Some(stretch) = stretches.front()
    {
        let upto = stretch.end.min(end);
        durations
            .observe_many(now.duration_since(stretch.since).as_secs_f64(), [upto.0.saturating_sub(begin.0)]);
        begin = upto;
        if stretch.end <= end {
            stretches.pop_front();
        }
    }
}

fn joined(earlier: Facts, later: Facts) -> Facts {
    Facts {
        created_unix_us: later.created_unix_us,
        blocks: earlier.blocks + later.blocks,
        txs: earlier.txs + later.txs,
        bytes: earlier.bytes + later.bytes,
    }
}

/// How long one order to prune took.
pub(crate) fn prune_took(stages: &[StageMetrics; 5], took: Duration) {
    stages[Stage::Prune as usize].duration.observe_duration(took);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(range: Range<BlockNumber>) -> impl Iterator<Item = Facts> {
        let of = |number| Facts { created_unix_us: number * 1_000_000, blocks: 1, txs: 2, bytes: 10 };
        (range.start.0..range.end.0).map(of)
    }

    fn at(wall_unix_us: u64) -> Moment {
        Moment { now: Instant::now(), wall_unix_us, unix_us: 0 }
    }

    fn cursors(numbers: [u64; 5]) -> Cursors {
        let [first, next_app_proposal, next_block_to_persist, next_block, next_qc] = numbers.map(BlockNumber);
        Cursors { first, next_app_proposal, next_block_to_persist, next_block, next_qc }
    }

    fn counted(stages: &[StageMetrics; 5]) -> Vec<(u64, u64, u64)> {
        let of = |stage: &StageMetrics| {
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (load(&stage.blocks), load(&stage.txs), load(&stage.bytes))
        };
        stages[2..].iter().map(of).collect()
    }

    #[test]
    fn every_block_passes_each_stage_once_and_recovered_ones_never() {
        let stages = Default::default();
        let mut pipeline = Pipeline::default();
        pipeline.advance(cursors([0, 0, 0, 5, 5]), at(0), &stages, facts);
        pipeline.recovered(cursors([10, 10, 20, 20, 30]));
        pipeline.advance(cursors([10, 10, 20, 26, 30]), at(30_000_000), &stages, facts);
        assert_eq!(counted(&stages), [(0, 0, 0); 3]);
        pipeline.advance(cursors([10, 15, 24, 26, 30]), at(30_000_000), &stages, facts);
        assert_eq!(counted(&stages), [(4, 8, 40), (0, 0, 0), (0, 0, 0)]);
        pipeline.advance(cursors([10, 23, 26, 26, 30]), at(30_000_000), &stages, facts);
        assert_eq!(counted(&stages), [(6, 12, 60), (3, 6, 30), (0, 0, 0)]);
        pipeline.advance(cursors([22, 26, 26, 26, 30]), at(30_000_000), &stages, facts);
        assert_eq!(counted(&stages), [(6, 12, 60), (6, 12, 60), (2, 4, 20)]);
        // Made at seconds 20 to 25, durable at second 30, weighted by two transactions.
        assert_eq!(stages[Stage::Persist as usize].block_latency.sum(), 45.0);
        assert_eq!(stages[Stage::Persist as usize].tx_latency.sum(), 90.0);
        // Each block has been in each of the two stages once.
        let durations = |stage: Stage| stages[stage as usize].duration.export().get_sample_count();
        assert_eq!((durations(Stage::Persist), durations(Stage::Execute)), (6, 6));
        assert!(pipeline.arrived.is_empty() && pipeline.durable.is_empty() && pipeline.passing.is_empty());
    }

    #[test]
    fn time_within_a_stage_is_counted_for_each_block_from_its_own_arrival() {
        let stages: [StageMetrics; 5] = Default::default();
        let mut stretches = VecDeque::new();
        let now = Instant::now();
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).unwrap_or(now);
        for (end, seconds) in [(4, 8), (10, 2), (12, 1)] {
            stretches.push_back(Stretch { end: BlockNumber(end), since: ago(seconds) });
        }
        leave(&mut stretches, BlockNumber(3), BlockNumber(9), now, &stages[0]);
        let exported = stages[0].duration.export();
        assert_eq!((exported.get_sample_count(), exported.get_sample_sum()), (6, 8.0 + 5.0 * 2.0));
        assert_eq!(stretches.front().map(|stretch| stretch.end), Some(BlockNumber(10)));
        leave(&mut stretches, BlockNumber(9), BlockNumber(12), now, &stages[0]);
        assert_eq!(stages[0].duration.export().get_sample_sum(), 18.0 + 2.0 + 2.0);
        assert!(stretches.is_empty());
    }

    #[test]
    fn what_is_kept_of_retained_blocks_is_bounded_and_their_sums_are_not_lost() {
        let stages = Default::default();
        let mut pipeline = Pipeline::default();
        pipeline.recovered(cursors([0; 5]));
        let end = 50_000;
        for next in (1_000..=end).step_by(1_000) {
            pipeline.advance(cursors([0, next, next, next, next]), at(0), &stages, facts);
            assert!(pipeline.executed.len() <= STRETCHES_MAX && pipeline.passing.is_empty());
        }
        pipeline.advance(cursors([end, end, end, end, end]), at(0), &stages, facts);
        assert_eq!(counted(&stages)[2], (end, 2 * end, 10 * end));
    }
}
