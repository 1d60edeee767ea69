//! What a run came to: the last line on stdout with `--json`, a few lines for people without.

use std::collections::BTreeMap;
use std::fmt::Display;

use roadbed::Stats;
use roadbed_messages::api::{ActorKind, Cursors, Recovered, RunState, WorkerStatus};
use roadbed_messages::{AppHash, BlockNumber};
use serde::Serialize;

/// The name of the format.
const SCHEMA: &str = "roadbed.run/1";

/// The summary. Its names are part of the interface.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    schema: &'static str,
    /// `ok`, or the kind of failure.
    pub(crate) result: &'static str,
    /// Why the run ended.
    pub(crate) stop_reason: String,
    seed: u64,
    first: u64,
    next_app_proposal: u64,
    next_block_to_persist: u64,
    next_block: u64,
    next_qc: u64,
    /// Since this start.
    blocks_ingested: u64,
    /// Written to both logs since this start, without frames and padding.
    bytes_durable: u64,
    /// From the start of the actors to the stop.
    elapsed_seconds: f64,
    fsync_p50_us: PerLog,
    fsync_p99_us: PerLog,
    restarts: Restarts,
    rejected: BTreeMap<String, u64>,
    /// What the data layer was doing when nothing new came in any more, and why that was not all it should.
    state: &'static str,
    reasons: Vec<String>,
    /// Faults that were injected, by kind; nothing without chaos.
    chaos: Option<BTreeMap<&'static str, u64>>,
    /// What the start found; all zeros when it was refused.
    recovered: RecoveredPart,
    chain_check: ChainCheck,
    /// The application's state after the last block that the check has seen.
    chain_hash: AppHash,
    #[serde(skip)]
    check: CheckState,
}

/// How far the newest chain check got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckState {
    /// It has not begun.
    NotRun,
    /// A signal ended it.
    CutShort,
    /// It found a difference, or could not go on.
    Failed,
    /// Everything was compared, and nothing differed.
    Held,
}

/// A number for each log.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct PerLog {
    qcs: u64,
    blocks: u64,
}

/// Restarts of each worker.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Restarts {
    qc_wal: u64,
    block_wal: u64,
    verifier: u64,
    pruner: u64,
}

impl Restarts {
    /// Of these workers.
    pub(crate) fn of(workers: &[WorkerStatus]) -> Self {
        let of =
            |actor| workers.iter().find(|worker| worker.actor == actor).map_or(0, |worker| worker.restarts);
        Self {
            qc_wal: of(ActorKind::QcWal),
            block_wal: of(ActorKind::BlockWal),
            verifier: of(ActorKind::Verifier),
            pruner: of(ActorKind::Pruner),
        }
    }

    /// All together.
    pub(crate) fn sum(&self) -> u64 {
        self.qc_wal + self.block_wal + self.verifier + self.pruner
    }
}

#[derive(Debug, Default, Serialize)]
struct RecoveredPart {
    first: u64,
    next_block: u64,
    next_qc: u64,
    torn_bytes: u64,
    reconcile_case: String,
    /// Durable data that had vanished, in one sentence.
    lost: Option<String>,
    seconds: f64,
}

/// What the newest chain check said.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct ChainCheck {
    /// Whether everything was looked at, and nothing differed.
    ok: bool,
    /// Blocks that were compared, by the last check that held.
    checked_blocks: u64,
    /// Lines of the ack log that were compared, likewise, or found as an earlier check has compared them.
    acked_checked: u64,
    /// The block from which the chain was derived anew.
    derived_from: u64,
}

impl Summary {
    /// Of a run that recovered this and got no further.
    pub(crate) fn new(seed: u64, recovered: &Recovered) -> Self {
        let mut summary = Self::refused(seed, "failed", String::new());
        summary.recovered = RecoveredPart {
            first: recovered.first.0,
            next_block: recovered.next_block.0,
            next_qc: recovered.next_qc.0,
            torn_bytes: recovered.torn_bytes,
            reconcile_case: recovered.reconcile_case.clone(),
            lost: recovered.lost.clone(),
            seconds: recovered.seconds,
        };
        summary.set_cursors(&super::recovered_cursors(recovered));
        summary
    }

    /// Of a run that did not start, and why.
    pub(crate) fn refused(seed: u64, result: &'static str, stop_reason: String) -> Self {
        Self {
            schema: SCHEMA,
            result,
            stop_reason,
            seed,
            first: 0,
            next_app_proposal: 0,
            next_block_to_persist: 0,
            next_block: 0,
            next_qc: 0,
            blocks_ingested: 0,
            bytes_durable: 0,
            elapsed_seconds: 0.0,
            fsync_p50_us: PerLog::default(),
            fsync_p99_us: PerLog::default(),
            restarts: Restarts::default(),
            rejected: BTreeMap::new(),
            state: RunState::Stopped.name(),
            reasons: Vec::new(),
            chaos: None,
            recovered: RecoveredPart::default(),
            chain_check: ChainCheck::default(),
            chain_hash: AppHash::ZERO,
            check: CheckState::NotRun,
        }
    }

    /// Where the run got to.
    pub(crate) fn set_cursors(&mut self, cursors: &Cursors) {
        self.first = cursors.first.0;
        self.next_app_proposal = cursors.next_app_proposal.0;
        self.next_block_to_persist = cursors.next_block_to_persist.0;
        self.next_block = cursors.next_block.0;
        self.next_qc = cursors.next_qc.0;
        self.blocks_ingested = cursors.next_block.0.saturating_sub(self.recovered.next_block);
    }

    /// What the logs did.
    pub(crate) fn set_stats(&mut self, stats: &Stats, elapsed_seconds: f64) {
        self.bytes_durable = stats.qcs.bytes + stats.blocks.bytes;
        self.elapsed_seconds = elapsed_seconds;
        self.fsync_p50_us = PerLog { qcs: stats.qcs.sync_p50_us, blocks: stats.blocks.sync_p50_us };
        self.fsync_p99_us = PerLog { qcs: stats.qcs.sync_p99_us, blocks: stats.blocks.sync_p99_us };
    }

    /// What the workers and the network went through.
    pub(crate) fn set_events(
        &mut self,
        restarts: Restarts,
        rejected: BTreeMap<String, u64>,
        chaos: Option<BTreeMap<&'static str, u64>>,
    ) {
        self.restarts = restarts;
        self.rejected = rejected;
        self.chaos = chaos;
    }

    /// How the data layer was.
    pub(crate) fn set_health(&mut self, state: &'static str, reasons: &[String]) {
        self.state = state;
        self.reasons = reasons.to_vec();
    }

    /// The chain check held: what it compared, and the application's state.
    pub(crate) fn check_held(&mut self, blocks: u64, acked: u64, derived_from: BlockNumber, hash: AppHash) {
        self.chain_check = ChainCheck {
            ok: true,
            checked_blocks: blocks,
            acked_checked: acked,
            derived_from: derived_from.0,
        };
        self.chain_hash = hash;
        self.check = CheckState::Held;
    }

    /// The chain check did not get to its end.
    pub(crate) fn check_ended(&mut self, state: CheckState) {
        self.chain_check.ok = state == CheckState::Held;
        self.check = state;
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        // Plain numbers and strings always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let Self {
            seed, first, next_block, next_app_proposal, chain_check, fsync_p50_us, fsync_p99_us, ..
        } = self;
        let mb = self.bytes_durable as f64 / 1e6;
        let rate = self.blocks_ingested as f64 / self.elapsed_seconds.max(1e-3);
        let rejected = counts(&self.rejected);
        let health =
            if self.reasons.is_empty() { String::new() } else { format!(": {}", self.reasons.join("; ")) };
        let check = match self.check {
            CheckState::NotRun => "not run".to_owned(),
            CheckState::CutShort => "cut short".to_owned(),
            CheckState::Failed => "FAILED".to_owned(),
            CheckState::Held => {
                let ChainCheck { checked_blocks, acked_checked, .. } = chain_check;
                format!(
                    "ok, {checked_blocks} blocks and {acked_checked} acknowledged hashes compared with seed {seed}"
                )
            }
        };
        let mut lines = vec![
            format!("result       {} ({})", self.result, self.stop_reason),
            format!("blocks       {first}..{next_block} held, {next_app_proposal} executed and durable"),
            format!(
                "this run     {} blocks, {mb:.1} MB durable, {:.1} s, {rate:.0} blocks/s",
                self.blocks_ingested, self.elapsed_seconds
            ),
            format!(
                "fsync        qcs p50 {} us, p99 {} us; blocks p50 {} us, p99 {} us",
                fsync_p50_us.qcs, fsync_p99_us.qcs, fsync_p50_us.blocks, fsync_p99_us.blocks
            ),
            format!("restarts     {}", self.restarts.sum()),
            format!("rejected     {rejected}"),
            format!("state        {}{health}", self.state),
            format!("chain check  {check}"),
            format!("chain hash   {}", self.chain_hash),
        ];
        if let Some(chaos) = &self.chaos {
            lines.push(format!("chaos        {}", counts(chaos)));
        }
        if let Some(lost) = &self.recovered.lost {
            lines.insert(1, format!("LOST         {lost}"));
        }
        lines.join("\n")
    }
}

/// How much in all, and of what.
fn counts(by_kind: &BTreeMap<impl Display, u64>) -> String {
    let sum: u64 = by_kind.values().sum();
    let kinds: Vec<String> = by_kind.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if kinds.is_empty() { sum.to_string() } else { format!("{sum}: {}", kinds.join(", ")) }
}
