//! Recovery: judge both logs, plan, load, repair, run.
//!
//! ```text
//! Judge both ──facts──▶ reconcile ──plan──▶ Load ──verified──▶ Open both ──opened──▶ Running
//!      ▲                    │                 └─damage: stop
//!      │                    └─refusal: stop                   (nothing was written by then)
//!      └── a WAL actor dies: both begin again, for its plan may be half carried out
//! ```

use roadbed_messages::BlockNumber;
use roadbed_messages::api::workers::{Generation, Loaded, LogFacts, Order, WalOrder};
use roadbed_messages::api::{ActorKind, Cursors, Recovered, StartError, StopReason, WalKind, WorkerState};

use super::chain::Chain;
use super::logs::{LogTrack, Logs};
use super::reconcile::{Plan, reconcile};
use super::{Core, Effect, Phase};

/// How far recovery has come with one log.
#[derive(Debug, Default)]
struct Side {
    facts: Option<LogFacts>,
    /// The life that is open, and the index of its next record.
    opened: Option<(Generation, u64)>,
}

/// How far recovery has come.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    qcs: Side,
    blocks: Side,
    plan: Option<Plan>,
    /// What was loaded as the plan says, until both logs are open.
    loaded: Option<Loaded>,
    /// What an earlier attempt found to be lost: it may have been mended by now, which makes it no less lost.
    lost: Option<String>,
    /// Counts how often recovery had to begin again.
    attempt: u64,
    /// The attempt that ordered the load that is out: what comes back after the next one began is not its.
    loading: Option<u64>,
}

impl Recovery {
    fn side(&mut self, wal: WalKind) -> &mut Side {
        match wal {
            WalKind::Qcs => &mut self.qcs,
            WalKind::Blocks => &mut self.blocks,
        }
    }
}

impl Core {
    /// Without logs there is nothing to recover.
    pub(super) fn run_in_memory(&mut self) {
        let cursors = self.chain.cursors();
        self.run(Recovered {
            first: cursors.first,
            next_block: cursors.next_block,
            next_qc: cursors.next_qc,
            torn_bytes: 0,
            reconcile_case: "1".to_owned(),
            lost: None,
            seconds: 0.0,
        });
    }

    pub(super) fn on_judged(&mut self, wal: WalKind, facts: LogFacts) {
        let Phase::Recovering(recovery) = &mut self.phase else { return };
        recovery.side(wal).facts = Some(facts);
        let (Some(qcs), Some(blocks)) = (&recovery.qcs.facts, &recovery.blocks.facts) else { return };
        match reconcile(self.committee.first_block(), blocks, qcs, self.config.accept_lost_qcs) {
            Ok(plan) => {
                if let Some(lost) = &plan.lost {
                    tracing::error!(lost, case = plan.case_label(), "durable data has vanished");
                    recovery.lost.get_or_insert_with(|| lost.clone());
                }
                recovery.plan = Some(plan);
                self.load();
            }
            Err(refusal) => self.escalate(StopReason::Start(refusal.into_start_error())),
        }
    }

    /// Has a log carry out its part of the plan.
    fn open(&mut self, wal: WalKind) {
        let Phase::Recovering(recovery) = &self.phase else { return };
        let (Some(plan), Some(generation)) = (&recovery.plan, self.workers.generation(wal.actor())) else {
            return;
        };
        self.effects.push(match wal {
            WalKind::Qcs => Effect::QcWal(Order { generation, order: WalOrder::Open(plan.qcs.clone()) }),
            WalKind::Blocks => {
                Effect::BlockWal(Order { generation, order: WalOrder::Open(plan.blocks.clone()) })
            }
        });
    }

    pub(super) fn on_refused(&mut self, actor: ActorKind, error: StartError) {
        let reason = match self.phase {
            Phase::Recovering(_) => StopReason::Start(error),
            _ => StopReason::Escalated { actor, error: error.to_string() },
        };
        self.workers.set_state(actor, WorkerState::Stopped);
        self.escalate(reason);
    }

    pub(super) fn on_opened(&mut self, wal: WalKind, generation: Generation, next_index: u64) {
        let expected = self.next_index_expected(wal);
        if expected != Some(next_index) {
            let expected = expected.map_or("nothing".to_owned(), |index| index.to_string());
            let error = format!("the {wal} log opened at index {next_index}, State expected {expected}");
            return self.escalate(StopReason::Escalated { actor: wal.actor(), error });
        }
        let Phase::Recovering(recovery) = &mut self.phase else {
            if let Some(logs) = &mut self.logs {
                logs.of_mut(wal).opened(generation);
            }
            return;
        };
        recovery.side(wal).opened = Some((generation, next_index));
        if wal == WalKind::Blocks && recovery.plan.as_ref().is_some_and(|plan| plan.blocks.set_aside) {
            self.open(WalKind::Qcs);
        }
        self.take_over();
    }

    /// Where a log that opens must go on: its durable point, or where its plan puts it. Anything else would be filled
    /// with records under wrong indices, or would bring back what was cut.
    fn next_index_expected(&mut self, wal: WalKind) -> Option<u64> {
        let Phase::Recovering(recovery) = &mut self.phase else {
            return self.logs.as_ref().map(|logs| logs.of(wal).durable_index);
        };
        let plan = recovery.plan.as_ref()?;
        let plan = if wal == WalKind::Qcs { &plan.qcs } else { &plan.blocks }.clone();
        let placed = plan.create_at.or(plan.reset_to).or(plan.drop_from);
        placed.or_else(|| recovery.side(wal).facts.as_ref().map(|facts| facts.next_index))
    }

    /// Orders the load once there is a plan; one at a time, so that its answer can't be taken for another's. What it
    /// reads is what the plan will leave: damage is found before anything is written.
    fn load(&mut self) {
        let Phase::Recovering(recovery) = &mut self.phase else { return };
        let (Some(plan), None) = (&recovery.plan, recovery.loading) else { return };
        recovery.loading = Some(recovery.attempt);
        let Plan { first, next_block, next_qc, .. } = *plan;
        let verify_from = if self.config.verify_all_on_start {
            first
        } else {
            first.max(BlockNumber(next_block.0.saturating_sub(self.config.window_blocks)))
        };
        self.effects.push(Effect::Load { first, verify_from, next_block, next_qc });
    }

    pub(super) fn on_loaded(&mut self, result: Result<Loaded, StartError>) {
        let Phase::Recovering(recovery) = &mut self.phase else { return };
        if recovery.loading.take() != Some(recovery.attempt) {
            // A log failed while it was being read, and recovery has begun again: neither what was read nor an error
            // says anything about the logs as they are now.
            return self.load();
        }
        recovery.loaded = match result {
            Ok(loaded) => Some(loaded),
            Err(error) => return self.escalate(StopReason::Start(error)),
        };
        // A new QC log beside old blocks looks like the crash in the very first write, which drops them: they must be
        // safe aside before it is made.
        let aside_first = recovery.plan.as_ref().is_some_and(|plan| plan.blocks.set_aside);
        self.open(WalKind::Blocks);
        if !aside_first {
            self.open(WalKind::Qcs);
        }
    }

    /// Once both logs are open, what was loaded becomes the chain.
    fn take_over(&mut self) {
        let Phase::Recovering(recovery) = &mut self.phase else { return };
        let (Some(qcs_opened), Some(blocks_opened)) = (recovery.qcs.opened, recovery.blocks.opened) else {
            return;
        };
        let (Some(plan), Some(loaded)) = (recovery.plan.take(), recovery.loaded.take()) else {
            unreachable!("logs are opened as a plan says, when all that it leaves was loaded")
        };
        let lost = recovery.lost.take();
        let torn = |facts: &Option<LogFacts>| facts.as_ref().map_or(0, |facts| facts.torn_bytes);
        let torn_bytes = torn(&recovery.qcs.facts) + torn(&recovery.blocks.facts);
        let seconds = self.now.as_secs_f64();

        let Plan { first, next_block, next_qc, .. } = plan;
        let cursors = Cursors {
            first,
            next_app_proposal: first,
            next_block_to_persist: next_block,
            next_block,
            next_qc,
        };
        self.chain = Chain::recovered(cursors, qcs_opened.1);
        for (index, qc) in loaded.qcs {
            self.chain.hold_qc(index, qc);
        }
        let held = loaded.blocks.len() as u64;
        for (block, number) in loaded.blocks.into_iter().zip(next_block.0 - held..) {
            self.chain.hold_block(BlockNumber(number), block);
        }
        let mut logs = Logs {
            qcs: LogTrack::recovered(first, next_qc, qcs_opened.1),
            blocks: LogTrack::recovered(first, next_block, blocks_opened.1),
        };
        logs.qcs.opened(qcs_opened.0);
        logs.blocks.opened(blocks_opened.0);
        self.logs = Some(logs);
        self.recovered_next_block = next_block;
        self.run(Recovered {
            first,
            next_block,
            next_qc,
            torn_bytes,
            reconcile_case: plan.case_label(),
            lost,
            seconds,
        });
    }

    /// A log failed during recovery: its plan may be half carried out, and the other log's facts may be stale. Both
    /// are judged again; reconcile is idempotent, and a crash inside it is one of its own cases.
    pub(super) fn restart_recovery(&mut self, failed: WalKind) {
        let Phase::Recovering(recovery) = &mut self.phase else { return };
        let Recovery { lost, attempt, loading, .. } = std::mem::take(&mut **recovery);
        **recovery = Recovery { lost, attempt: attempt + 1, loading, ..Recovery::default() };
        for wal in WalKind::BOTH.into_iter().filter(|wal| *wal != failed) {
            if self.workers.is_alive(wal.actor()) {
                self.replace_worker(wal.actor());
            }
        }
    }

    fn run(&mut self, recovered: Recovered) {
        self.recovered = Some(recovered.clone());
        self.phase = Phase::Running;
        self.effects.push(Effect::Running(recovered));
        self.take_up_early();
    }
}
