//! The published snapshot: cursors, workers, recovery.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::BlockNumber;

/// The five cursors. In every published snapshot
/// `first <= next_app_proposal <= next_block_to_persist <= next_block <= next_qc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursors {
    /// The oldest block still retained.
    pub first: BlockNumber,
    /// The first block without an app hash.
    pub next_app_proposal: BlockNumber,
    /// The first block that is not durable together with its QC.
    pub next_block_to_persist: BlockNumber,
    /// The first block missing from the contiguous run.
    pub next_block: BlockNumber,
    /// The first block without a QC.
    pub next_qc: BlockNumber,
}

impl Cursors {
    /// All five at the same place: an empty store.
    pub fn all_at(number: BlockNumber) -> Self {
        Self {
            first: number,
            next_app_proposal: number,
            next_block_to_persist: number,
            next_block: number,
            next_qc: number,
        }
    }

    /// Whether the order that every snapshot promises holds.
    pub fn in_order(&self) -> bool {
        self.first <= self.next_app_proposal
            && self.next_app_proposal <= self.next_block_to_persist
            && self.next_block_to_persist <= self.next_block
            && self.next_block <= self.next_qc
    }
}

/// The actors of the subsystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// The root and supervisor.
    State,
    /// The QC write-ahead log.
    QcWal,
    /// The block write-ahead log.
    BlockWal,
    /// The pool that checks signatures and hashes.
    Verifier,
    /// The retention policies.
    Pruner,
}

impl ActorKind {
    /// The supervised workers, in the order in which they are listed everywhere.
    pub const WORKERS: [Self; 4] = [Self::QcWal, Self::BlockWal, Self::Verifier, Self::Pruner];

    /// The name used in metrics, logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::QcWal => "qc_wal",
            Self::BlockWal => "block_wal",
            Self::Verifier => "verifier",
            Self::Pruner => "pruner",
        }
    }
}

impl fmt::Display for ActorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalKind {
    /// The log of QCs.
    Qcs,
    /// The log of blocks.
    Blocks,
}

impl WalKind {
    /// Both logs.
    pub const BOTH: [Self; 2] = [Self::Qcs, Self::Blocks];

    /// The name used for the log's directory, in metrics, logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qcs => "qcs",
            Self::Blocks => "blocks",
        }
    }

    /// The actor that owns the log.
    pub fn actor(self) -> ActorKind {
        match self {
            Self::Qcs => ActorKind::QcWal,
            Self::Blocks => ActorKind::BlockWal,
        }
    }
}

impl fmt::Display for WalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the subsystem as a whole is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Opening and reconciling the logs.
    Recovering,
    /// Serving, every worker up.
    Running,
    /// Serving what it can while a worker restarts or hangs, or the disk is almost full.
    Degraded,
    /// Serving, pruning, and making nothing new durable until there is space again.
    DiskFull,
    /// Shutting down in order.
    Stopping,
    /// Ended.
    Stopped,
}

impl RunState {
    /// The name used in metrics, logs and JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Recovering => "recovering",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::DiskFull => "disk_full",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// What a supervised worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Its life has begun; it is not ready yet.
    Starting,
    /// Ready.
    Up,
    /// Failed, waiting for its backoff to end.
    Backoff,
    /// Failed for want of disk space; retried for ever.
    DiskFull,
    /// An operation has been running for too long.
    Hung,
    /// Ended for good.
    Stopped,
}

impl WorkerState {
    /// The name used in metrics, logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Backoff => "backoff",
            Self::DiskFull => "disk_full",
            Self::Hung => "hung",
            Self::Stopped => "stopped",
        }
    }
}

/// One worker in a [`Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Which worker.
    pub actor: ActorKind,
    /// What it is doing.
    pub state: WorkerState,
    /// Which life this is, from 1.
    pub generation: u64,
    /// How often it was restarted since the start.
    pub restarts: u64,
    /// Why it failed last.
    pub last_error: Option<String>,
    /// Orders that it was given and has not finished.
    pub mailbox: usize,
    /// The most orders that it is given at once.
    pub capacity: usize,
    /// How long its running operation has been running.
    pub running_for_seconds: Option<f64>,
}

/// What the last start found and did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovered {
    /// `first` after recovery.
    pub first: BlockNumber,
    /// `next_block` after recovery.
    pub next_block: BlockNumber,
    /// `next_qc` after recovery.
    pub next_qc: BlockNumber,
    /// Bytes of torn tails that were cut off, both logs together.
    pub torn_bytes: u64,
    /// The rows of the reconcile table that applied, such as `"4"` or `"5+7"`.
    pub reconcile_case: String,
    /// What was lost, when durable data had vanished: for people, in one sentence.
    pub lost: Option<String>,
    /// How long recovery took, in seconds.
    pub seconds: f64,
}

/// One consistent snapshot of the subsystem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What the subsystem is doing.
    pub state: RunState,
    /// The five cursors.
    pub cursors: Cursors,
    /// The workers, in the order of [`ActorKind::WORKERS`]. Without a data directory the WAL actors are missing.
    pub workers: Vec<WorkerStatus>,
    /// What the start found; `None` while it recovers.
    pub recovered: Option<Recovered>,
    /// Waiting calls by kind of message.
    pub waiters: BTreeMap<String, usize>,
    /// Pushes that were refused, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Blocks held above a gap.
    pub buffered_blocks: usize,
    /// Blocks between `next_block` and `next_qc` that are not there yet.
    pub missing_blocks: u64,
    /// Bytes of blocks and QCs held in memory.
    pub memory_bytes: u64,
    /// Bytes that are free where the data directory is, as they were sampled within the last second or so; `None` without
    /// one, and before the first sample.
    pub free_bytes: Option<u64>,
    /// Why the subsystem is not healthy; empty when it is.
    pub reasons: Vec<String>,
}
