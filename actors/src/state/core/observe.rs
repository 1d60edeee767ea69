//! Everything that is shown of State, in one consistent snapshot: the published status, and what only metrics show.

use std::collections::BTreeMap;
use std::time::Duration;

use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::Cause;
use roadbed_messages::api::{ActorKind, Cursors, RunState, Status, StopReason, WalKind};

use super::calls::{Bound, Kind};
use super::{Core, Phase};

/// One consistent snapshot.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What [`GetStatus`](roadbed_messages::api::GetStatus) answers.
    pub status: Status,
    /// How long it is until the next lives of failed workers begin.
    pub backoffs: BTreeMap<ActorKind, Duration>,
    /// Restarts by worker and by what ended the life before.
    pub restarts: BTreeMap<(ActorKind, Cause), u64>,
    /// Calls in the table, and the most that its bounds allow.
    pub calls: usize,
    /// See there.
    pub calls_max: usize,
    /// What came of QCs that were pushed.
    pub qcs: BTreeMap<&'static str, u64>,
    /// What came of blocks that were pushed.
    pub blocks: BTreeMap<&'static str, u64>,
    /// Records that are not durable yet, of the QC log and of the block log.
    pub pending_records: [u64; 2],
    /// Why it ended, once it has.
    pub stopped: Option<StopReason>,
}

impl Observed {
    /// What is shown before State has begun.
    pub fn before_the_start(first_block: BlockNumber) -> Self {
        let status = Status {
            state: RunState::Recovering,
            cursors: Cursors::all_at(first_block),
            workers: Vec::new(),
            recovered: None,
            waiters: BTreeMap::new(),
            rejected: BTreeMap::new(),
            buffered_blocks: 0,
            missing_blocks: 0,
            memory_bytes: 0,
            free_bytes: None,
            reasons: Vec::new(),
        };
        Self {
            status,
            backoffs: BTreeMap::new(),
            restarts: BTreeMap::new(),
            calls: 0,
            calls_max: 0,
            qcs: BTreeMap::new(),
            blocks: BTreeMap::new(),
            pending_records: [0; 2],
            stopped: None,
        }
    }
}

impl Core {
    /// One consistent snapshot. It costs more than an input: it is for a few times a second.
    pub fn observe(&self) -> Observed {
        let workers = self.workers.all();
        let backoffs = workers.iter().filter_map(|worker| {
            worker.start_at.map(|start_at| (worker.actor, start_at.saturating_sub(self.now)))
        });
        let restarts = workers.iter().flat_map(|worker| {
            worker.restarts_by_cause.iter().map(|(cause, count)| ((worker.actor, *cause), *count))
        });
        let calls_max = |kind: &Kind| self.config.bounds.of(*kind);
        Observed {
            status: self.status(),
            backoffs: backoffs.collect(),
            restarts: restarts.collect(),
            calls: Kind::ALL.iter().map(|kind| self.calls.count(*kind)).sum(),
            calls_max: Kind::ALL
                .iter()
                .map(calls_max)
                .fold(0, |sum: usize, Bound { calls_max, .. }| sum.saturating_add(calls_max)),
            qcs: self.tally.qcs.clone(),
            blocks: self.tally.blocks.clone(),
            pending_records: WalKind::BOTH.map(|wal| self.pending_records(wal)),
            stopped: match &self.phase {
                Phase::Stopped(reason) => Some(reason.clone()),
                _ => None,
            },
        }
    }

    /// Records that are in memory and not durable in a log.
    fn pending_records(&self, wal: WalKind) -> u64 {
        let Some(logs) = &self.logs else { return 0 };
        let next = match wal {
            WalKind::Qcs => self.chain.next_qc_index(),
            WalKind::Blocks => self.cursors().next_block.0,
        };
        match self.phase {
            Phase::Recovering(_) => 0,
            _ => next.saturating_sub(logs.of(wal).durable_index),
        }
    }
}
