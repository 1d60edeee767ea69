//! The library's own counters: atomic additions where the work is done, read without a message to any actor.
//!
//! ```text
//! State's shell, I/O threads, verifier ──add──▶ Metrics ◀──read── Collector ◀── Registry (the embedder's)
//! State's core ──snapshot, at every change and beat─▶ │ ◀──read── Roadbed::snapshot, Roadbed::health
//! ```
//!
//! [`Builder::metrics`](crate::Builder::metrics) exports them through a registry that the embedder supplies; without
//! one only what [`Roadbed::stats`](crate::Roadbed::stats), [`Roadbed::snapshot`](crate::Roadbed::snapshot) and
//! [`Roadbed::health`](crate::Roadbed::health) answer is kept. Nothing global is installed: every instance has its own.
//!
//! # Invariants
//! - A scrape sends no message, takes no lock that is held during I/O, and touches no disk.
//! - Every label set is there from the start, at 0.
//! - The five cursors that a scrape shows are of one snapshot.

mod actors;
mod catalog;
mod collector;
mod cursors;
mod health;
mod histogram;
mod pipeline;
mod wal;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use roadbed_messages::BlockNumber;
use roadbed_messages::api::{ActorKind, Cursors, WalKind};

pub(crate) use actors::{Msg, Outcome, Undelivered, Waits, unix_us};
pub use catalog::{CATALOG, Definition, MetricKind};
pub(crate) use collector::Registration;
pub use health::Health;
pub(crate) use pipeline::{Facts, Moment, Pipeline, Stage, StageMetrics, prune_took};
pub use wal::LogStats;
pub(crate) use wal::{Corruption, ErrorKind, Operation, Truncation, WalMetrics};

use crate::reader::ReaderSlot;
use crate::state::core::Observed;
use actors::ActorMetrics;
use histogram::{Histogram, WORK_SECONDS};

/// What both logs have done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The QC log.
    pub qcs: LogStats,
    /// The block log.
    pub blocks: LogStats,
}

/// A part of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Judge,
    Load,
    Open,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Judge, Self::Load, Self::Open];

    /// The value of the label `phase`.
    fn name(self) -> &'static str {
        match self {
            Self::Judge => "judge",
            Self::Load => "load",
            Self::Open => "open",
        }
    }
}

/// The kinds of pushes whose wait is measured.
const PUSHES: [Msg; 3] = [Msg::PushQc, Msg::PushBlock, Msg::PushAppHash];

/// The newest snapshot that State has published, and when.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) observed: Observed,
    pub(crate) at: Instant,
    /// Since when the oldest message of each actor has waited for its end.
    pub(crate) oldest: [Option<Instant>; 5],
}

/// All counters of one instance.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Whether anybody supplied a registry.
    enabled: bool,
    hung_after: Duration,
    cursors: cursors::PublishedCursors,
    published: Mutex<Arc<Published>>,
    actors: [ActorMetrics; 5],
    stages: [StageMetrics; 5],
    wals: [Arc<WalMetrics>; 2],
    readers: OnceLock<[ReaderSlot; 2]>,
    push_wait: [Histogram; 3],
    /// The bits of an f64: seconds, by phase.
    recovery_seconds: [AtomicU64; 3],
    /// Records that recovery has to read, and has read.
    recovery_wanted: AtomicU64,
    recovery_done: AtomicU64,
}

impl Metrics {
    pub(crate) fn new(enabled: bool, hung_after: Duration, first_block: BlockNumber) -> Self {
        let observed = Observed::before_the_start(first_block);
        let cursors = cursors::PublishedCursors::default();
        cursors.publish(observed.status.cursors);
        Self {
            enabled,
            hung_after,
            cursors,
            published: Mutex::new(Arc::new(Published { observed, at: Instant::now(), oldest: [None; 5] })),
            actors: actors::ACTORS.map(ActorMetrics::new),
            stages: Default::default(),
            wals: Default::default(),
            readers: OnceLock::new(),
            push_wait: PUSHES.map(|_| Histogram::new(WORK_SECONDS)),
            recovery_seconds: Default::default(),
            recovery_wanted: AtomicU64::new(0),
            recovery_done: AtomicU64::new(0),
        }
    }

    /// Whether what is only exported is counted at all.
    pub(crate) fn enabled(&self) -> bool {
        self.enabled
    }

    /// The counters of one log.
    pub(crate) fn wal(&self, wal: WalKind) -> &Arc<WalMetrics> {
        let [qcs, blocks] = &self.wals;
        match wal {
            WalKind::Qcs => qcs,
            WalKind::Blocks => blocks,
        }
    }

    /// The counters of one actor.
    pub(crate) fn actor(&self, actor: ActorKind) -> &ActorMetrics {
        &self.actors[actor as usize]
    }

    /// Notes how long the messages have waited that an actor's thread takes up together.
    pub(crate) fn waits(&self, actor: ActorKind) -> Waits<'_> {
        Waits::of(self.actor(actor), self.enabled)
    }

    /// The counters of all stages.
    pub(crate) fn stages(&self) -> &[StageMetrics; 5] {
        &self.stages
    }

    /// The counters of one stage.
    pub(crate) fn stage(&self, stage: Stage) -> &StageMetrics {
        &self.stages[stage as usize]
    }

    /// A push was answered so long after it came.
    pub(crate) fn push_waited(&self, msg: Msg, waited: Duration) {
        let pushes = PUSHES.iter().zip(&self.push_wait);
        if let Some((_, wait)) = pushes.into_iter().find(|(push, _)| **push == msg) {
            wait.observe_duration(waited);
        }
    }

    /// Publishes where the cursors are. State's thread alone calls it.
    pub(crate) fn publish_cursors(&self, cursors: Cursors) {
        self.cursors.publish(cursors);
    }

    /// Publishes a snapshot.
    pub(crate) fn publish(&self, observed: Observed, oldest: [Option<Instant>; 5]) {
        let published = Arc::new(Published { observed, at: Instant::now(), oldest });
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = published;
    }

    /// The newest snapshot.
    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where the logs' ranges and sizes can be read without their threads.
    pub(crate) fn set_readers(&self, readers: [ReaderSlot; 2]) {
        // There is one start, and so one set of them.
        let _ = self.readers.set(readers);
    }

    /// A phase of recovery took so long; of several attempts the last counts.
    pub(crate) fn recovery_took(&self, phase: Phase, took: Duration) {
        self.recovery_seconds[phase as usize].store(took.as_secs_f64().to_bits(), Ordering::Relaxed);
    }

    /// Recovery begins to read so many records.
    pub(crate) fn recovery_wants(&self, records: u64) {
        self.recovery_done.store(0, Ordering::Relaxed);
        self.recovery_wanted.store(records, Ordering::Relaxed);
    }

    /// Recovery has read a record of this log.
    pub(crate) fn recovery_read(&self, wal: WalKind) {
        self.recovery_done.fetch_add(1, Ordering::Relaxed);
        self.wal(wal).recovered_records.fetch_add(1, Ordering::Relaxed);
    }
}
