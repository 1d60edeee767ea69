//! How blocks pass the stages: receive, verify, persist, execute, prune.
//!
//! State's thread alone writes here. What a stage still needs to know of a block (when it was made, its transactions,
//! their bytes) is kept for the blocks that are not executed, which the window bounds; for executed ones that are
//! retained it is kept in stretches that grow, so that their number is bounded whatever is retained. Blocks that were
//! recovered are not counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roadbed_messages::api::Cursors;
use roadbed_messages::{Block, BlockNumber};

use super::actors::unix_us;
use super::histogram::{AGE_SECONDS, Histogram, WORK_SECONDS};

/// Stretches of executed blocks that are kept, at most.
const STRETCHES_MAX: usize = 2048;

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
    /// Blocks leave the stage at `now_unix_us`. Those that were made at the same moment are counted together.
    pub(crate) fn passed(&self, now_unix_us: u64, facts: impl IntoIterator<Item = Facts>) {
        let mut run: Option<Facts> = None;
        for next in facts {
            run = Some(match run {
                Some(run) if run.created_unix_us == next.created_unix_us => Facts {
                    created_unix_us: run.created_unix_us,
                    blocks: run.blocks + next.blocks,
                    txs: run.txs + next.txs,
                    bytes: run.bytes + next.bytes,
                },
                Some(run) => {
                    self.count(now_unix_us, run);
                    next
                }
                None => next,
            });
        }
        if let Some(run) = run {
            self.count(now_unix_us, run);
            self.last_progress_unix_us.store(unix_us(), Ordering::Relaxed);
        }
    }

    fn count(&self, now_unix_us: u64, run: Facts) {
        let latency = now_unix_us.saturating_sub(run.created_unix_us) as f64 / 1e6;
        self.block_latency.observe_many(latency, run.blocks);
        self.tx_latency.observe_many(latency, run.txs);
        self.blocks.fetch_add(run.blocks, Ordering::Relaxed);
        self.txs.fetch_add(run.txs, Ordering::Relaxed);
        self.bytes.fetch_add(run.bytes, Ordering::Relaxed);
    }
}

/// A block between its arrival in the contiguous run and its execution.
#[derive(Clone, Copy, Debug)]
struct Passing {
    facts: Facts,
    /// When it came into the stage that it is in.
    since: Instant,
}

/// Follows the cursors from the recovered ones on.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    /// As of the last look; `None` before recovery is done.
    seen: Option<Cursors>,
    /// From the later of next_app_proposal and the recovered next_block up to next_block.
    passing: VecDeque<Passing>,
    /// The first block in `passing`.
    base: BlockNumber,
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

    /// Takes in where the cursors are now. `facts_of` is asked for blocks that have just joined the contiguous run.
    pub(crate) fn advance(
        &mut self,
        cursors: Cursors,
        now_unix_us: u64,
        stages: &[StageMetrics; 5],
        facts_of: impl Fn(BlockNumber) -> Option<Facts>,
    ) {
        let Some(seen) = self.seen else { return };
        let now = Instant::now();
        for number in seen.next_block.0..cursors.next_block.0 {
            let facts = facts_of(BlockNumber(number)).unwrap_or_default();
            self.passing.push_back(Passing { facts, since: now });
        }
        let persisted = seen.next_block_to_persist.max(self.base)..cursors.next_block_to_persist;
        self.persisted(persisted, now, now_unix_us, &stages[Stage::Persist as usize]);
        self.executed(cursors.next_app_proposal, now, now_unix_us, &stages[Stage::Execute as usize]);
        self.pruned(cursors.first, now_unix_us, &stages[Stage::Prune as usize]);
        self.seen = Some(cursors);
    }

    fn persisted(
        &mut self,
        range: std::ops::Range<BlockNumber>,
        now: Instant,
        now_unix_us: u64,
        stage: &StageMetrics,
    ) {
        let place = |number: BlockNumber| usize::try_from(number.0 - self.base.0).unwrap_or(usize::MAX);
        if range.start >= range.end {
            return;
        }
        let (from, to) = (place(range.start), place(range.end).min(self.passing.len()));
        stage.passed(now_unix_us, self.passing.range(from..to).map(|block| block.facts));
        for block in self.passing.range_mut(from..to) {
            stage.duration.observe_duration(now.duration_since(block.since));
            block.since = now;
        }
    }

    fn executed(
        &mut self,
        next_app_proposal: BlockNumber,
        now: Instant,
        now_unix_us: u64,
        stage: &StageMetrics,
    ) {
        let count = usize::try_from(next_app_proposal.0.saturating_sub(self.base.0)).unwrap_or(usize::MAX);
        let count = count.min(self.passing.len());
        stage.passed(now_unix_us, self.passing.range(..count).map(|block| block.facts));
        for _ in 0..count {
            let Some(block) = self.passing.pop_front() else { break };
            stage.duration.observe_duration(now.duration_since(block.since));
            self.base = self.base.saturating_add(1);
            self.retain(self.base, block.facts);
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

    fn pruned(&mut self, first: BlockNumber, now_unix_us: u64, stage: &StageMetrics) {
        while let Some((_, facts)) = self.executed.front().filter(|(end, _)| *end <= first) {
            stage.passed(now_unix_us, [*facts]);
            self.executed.pop_front();
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

    fn facts(number: BlockNumber) -> Option<Facts> {
        Some(Facts { created_unix_us: number.0 * 1_000_000, blocks: 1, txs: 2, bytes: 10 })
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
        pipeline.advance(cursors([0, 0, 0, 5, 5]), 0, &stages, facts);
        pipeline.recovered(cursors([10, 10, 20, 20, 30]));
        pipeline.advance(cursors([10, 10, 20, 26, 30]), 30_000_000, &stages, facts);
        assert_eq!(counted(&stages), [(0, 0, 0); 3]);
        pipeline.advance(cursors([10, 15, 24, 26, 30]), 30_000_000, &stages, facts);
        assert_eq!(counted(&stages), [(4, 8, 40), (0, 0, 0), (0, 0, 0)]);
        pipeline.advance(cursors([10, 23, 26, 26, 30]), 30_000_000, &stages, facts);
        assert_eq!(counted(&stages), [(6, 12, 60), (3, 6, 30), (0, 0, 0)]);
        pipeline.advance(cursors([22, 26, 26, 26, 30]), 30_000_000, &stages, facts);
        assert_eq!(counted(&stages), [(6, 12, 60), (6, 12, 60), (2, 4, 20)]);
        // Made at seconds 20 to 25, durable at second 30, weighted by two transactions.
        assert_eq!(stages[Stage::Persist as usize].block_latency.sum(), 45.0);
        assert_eq!(stages[Stage::Persist as usize].tx_latency.sum(), 90.0);
    }

    #[test]
    fn what_is_kept_of_retained_blocks_is_bounded_and_their_sums_are_not_lost() {
        let stages = Default::default();
        let mut pipeline = Pipeline::default();
        pipeline.recovered(cursors([0; 5]));
        let end = 50_000;
        for next in (1_000..=end).step_by(1_000) {
            pipeline.advance(cursors([0, next, next, next, next]), 0, &stages, facts);
            assert!(pipeline.executed.len() <= STRETCHES_MAX && pipeline.passing.is_empty());
        }
        pipeline.advance(cursors([end, end, end, end, end]), 0, &stages, facts);
        assert_eq!(counted(&stages)[2], (end, 2 * end, 10 * end));
    }
}
