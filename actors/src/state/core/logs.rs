//! The two logs as State sees them: what was handed over, what is durable, what must be cut.

use std::collections::VecDeque;

use roadbed_messages::api::WalKind;
use roadbed_messages::api::workers::{CallId, Generation, Order, WalOrder, WalStart};
use roadbed_messages::{BlockNumber, VerifiedBlock, VerifiedQc};

use super::calls::{Kind, Pending, Stage};
use super::{Answer, Core, Effect};

/// Orders to append that one log has not answered, at most: what comes while a log syncs goes into its next group,
/// and the orders to one log never overflow the channel to its I/O thread.
pub(crate) const APPEND_ORDERS_MAX: usize = 32;
/// The most records in one order to append.
const APPEND_RECORDS_MAX: usize = 1024;
/// An order to append ends with the record that reaches this many bytes.
const APPEND_BYTES_TARGET: u64 = 4 << 20;

/// One log. All numbers are ends of records: the log is durable, or handed over, up to there.
#[derive(Debug)]
pub(super) struct LogTrack {
    /// The life that accepts records.
    ready: Option<Generation>,
    pub(super) durable: BlockNumber,
    pub(super) durable_index: u64,
    handed: BlockNumber,
    /// The ends of the orders that are not answered.
    unanswered: VecDeque<BlockNumber>,
    /// The newest truncation asked for, and the newest that is durable.
    drop_below: BlockNumber,
    dropped_below: BlockNumber,
    /// The truncation that the log is at.
    dropping: Option<BlockNumber>,
}

impl LogTrack {
    fn new(first: BlockNumber) -> Self {
        Self::recovered(first, first, 0)
    }

    /// A log as recovery left it: cut at `first`, durable up to `durable`.
    pub(super) fn recovered(first: BlockNumber, durable: BlockNumber, durable_index: u64) -> Self {
        Self {
            ready: None,
            durable,
            durable_index,
            handed: durable,
            unanswered: VecDeque::new(),
            drop_below: first,
            dropped_below: first,
            dropping: None,
        }
    }

    /// The log accepts records again from its durable point on; everything beyond is handed over anew.
    pub(super) fn opened(&mut self, generation: Generation) {
        self.failed();
        self.ready = Some(generation);
    }

    /// Its worker died.
    pub(super) fn failed(&mut self) {
        self.ready = None;
        self.handed = self.durable;
        self.unanswered.clear();
        self.dropping = None;
    }

    pub(super) fn resume(&self) -> WalStart {
        WalStart::Resume { next_index: self.durable_index, drop_below: self.drop_below }
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.len() + usize::from(self.dropping.is_some())
    }

    /// Takes the log out of work; answers the life that must be told to close.
    pub(super) fn close(&mut self) -> Option<Generation> {
        self.ready.take()
    }

    fn can_append(&self) -> Option<Generation> {
        self.ready.filter(|_| self.unanswered.len() < APPEND_ORDERS_MAX)
    }

    fn handed_over(&mut self, upto: BlockNumber) {
        self.handed = upto;
        self.unanswered.push_back(upto);
    }
}

/// Both logs.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) qcs: LogTrack,
    pub(super) blocks: LogTrack,
}

impl Logs {
    pub(super) fn new(first: BlockNumber) -> Self {
        Self { qcs: LogTrack::new(first), blocks: LogTrack::new(first) }
    }

    pub(super) fn of(&self, wal: WalKind) -> &LogTrack {
        match wal {
            WalKind::Qcs => &self.qcs,
            WalKind::Blocks => &self.blocks,
        }
    }

    pub(super) fn of_mut(&mut self, wal: WalKind) -> &mut LogTrack {
        match wal {
            WalKind::Qcs => &mut self.qcs,
            WalKind::Blocks => &mut self.blocks,
        }
    }

    /// A block is durable together with its QC where both logs are.
    fn durable(&self) -> BlockNumber {
        self.qcs.durable.min(self.blocks.durable)
    }

    fn dropped_below(&self) -> BlockNumber {
        self.qcs.dropped_below.min(self.blocks.dropped_below)
    }
}

impl Core {
    pub(super) fn on_durable(&mut self, wal: WalKind, next_index: u64, upto: BlockNumber) {
        let Some(logs) = &mut self.logs else { return };
        let log = logs.of_mut(wal);
        if upto <= log.durable {
            return;
        }
        assert!(upto <= log.handed, "a log made durable what it was not given: {upto} beyond {}", log.handed);
        log.durable = upto;
        log.durable_index = next_index;
        while log.unanswered.front().is_some_and(|end| *end <= upto) {
            log.unanswered.pop_front();
        }
        self.workers.progressed(wal.actor());
    }

    pub(super) fn on_truncated(&mut self, wal: WalKind, first: BlockNumber) {
        let Some(logs) = &mut self.logs else { return };
        let log = logs.of_mut(wal);
        log.dropping = None;
        log.dropped_below = log.dropped_below.max(first);
        self.workers.progressed(wal.actor());
    }

    /// Raises the durable cursor and hands the logs what is new: records first, then the newest truncation.
    pub(super) fn settle_logs(&mut self) {
        let Some(logs) = &mut self.logs else {
            self.chain.set_persisted(self.chain.cursors().next_block);
            return self.settle_prunes();
        };
        self.chain.set_persisted(logs.durable());

        while let Some(generation) = logs.qcs.can_append() {
            let mut order: Vec<VerifiedQc> = Vec::new();
            let (mut first_index, mut bytes) = (0, 0);
            for found in self.chain.qcs_from(logs.qcs.handed) {
                if order.is_empty() {
                    first_index = found.index;
                }
                bytes += found.qc.size_bytes() as u64;
                order.push(found.qc.clone());
                if order.len() == APPEND_RECORDS_MAX || bytes >= APPEND_BYTES_TARGET {
                    break;
                }
            }
            let Some(last) = order.last() else { break };
            logs.qcs.handed_over(last.range().end);
            let order = WalOrder::Append { first_index, records: order };
            self.effects.push(Effect::QcWal(Order { generation, order }));
        }

        while let Some(generation) = logs.blocks.can_append() {
            let mut order: Vec<VerifiedBlock> = Vec::new();
            let first = logs.blocks.handed;
            let (mut next, mut bytes) = (first, 0);
            for (number, block) in self.chain.blocks_from(first) {
                assert_eq!(number, next, "what is not durable is in memory");
                next = number.saturating_add(1);
                bytes += block.size_bytes() as u64;
                order.push(block.clone());
                if order.len() == APPEND_RECORDS_MAX || bytes >= APPEND_BYTES_TARGET {
                    break;
                }
            }
            if order.is_empty() {
                break;
            }
            logs.blocks.handed_over(next);
            let order = WalOrder::Append { first_index: first.0, records: order };
            self.effects.push(Effect::BlockWal(Order { generation, order }));
        }

        for wal in WalKind::BOTH {
            let log = logs.of_mut(wal);
            let Some(generation) = log.ready else { continue };
            if log.dropping.is_none() && log.drop_below > log.dropped_below {
                log.dropping = Some(log.drop_below);
                let first = log.drop_below;
                self.effects.push(match wal {
                    WalKind::Qcs => {
                        Effect::QcWal(Order { generation, order: WalOrder::TruncateBefore { first } })
                    }
                    WalKind::Blocks => {
                        Effect::BlockWal(Order { generation, order: WalOrder::TruncateBefore { first } })
                    }
                });
            }
        }
        self.settle_prunes();
    }

    /// Prunes in memory first, then has both logs cut; the answer waits for the truncation at its end, even if an
    /// earlier request asked for that one.
    pub(super) fn on_prune_before(&mut self, call: CallId, retain_from: BlockNumber) {
        let nothing = BlockNumber(0)..BlockNumber(0);
        self.admit(call, Kind::PruneBefore, 0, 0, Stage::Finishing, Pending::Prune(nothing));
        let Some(pending) = self.calls.pending_mut(call) else { return };
        let pruned = self.chain.prune(retain_from);
        self.app.prune(pruned.end);
        if let Some(logs) = &mut self.logs {
            for wal in WalKind::BOTH {
                let log = logs.of_mut(wal);
                log.drop_below = log.drop_below.max(pruned.end);
            }
        }
        *pending = Pending::Prune(pruned);
    }

    fn settle_prunes(&mut self) {
        let dropped_below = self.logs.as_ref().map_or(BlockNumber(u64::MAX), Logs::dropped_below);
        for call in self.calls.of_kind(Kind::PruneBefore) {
            let Some(pending) = self.calls.get(call).map(|call| call.pending.clone()) else { continue };
            if let Pending::Prune(pruned) = pending
                && pruned.end <= dropped_below
            {
                self.answer(call, Ok(Answer::Pruned(pruned)));
            }
        }
    }

    /// Lets go of what the logs hold durably, down to the memory limit. Without logs nothing may go.
    pub(super) fn evict(&mut self) {
        if self.logs.is_some() {
            self.chain.evict(self.config.memory_bytes_max);
        }
    }
}
