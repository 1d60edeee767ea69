//! Counters of the five actors.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use roadbed_messages::api::ActorKind;
use roadbed_messages::api::workers::Cause;

use super::histogram::{Batch, Histogram, WORK_SECONDS};
use crate::supervision::Heartbeat;

/// All actors, in the order in which they are listed everywhere.
pub(crate) const ACTORS: [ActorKind; 5] =
    [ActorKind::State, ActorKind::QcWal, ActorKind::BlockWal, ActorKind::Verifier, ActorKind::Pruner];

macro_rules! messages {
    ($($msg:ident $name:literal),* $(,)?) => {
        /// Everything that an actor handles.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Msg { $($msg),* }

        impl Msg {
            /// The value of the label `msg`.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$msg => $name),* }
            }

            const ALL: &'static [Self] = &[$(Self::$msg),*];
        }
    };
}

messages! {
    PushQc "push_qc",
    PushBlock "push_block",
    PushAppHash "push_app_hash",
    GetQc "get_qc",
    GetBlock "get_block",
    GetGlobalBlock "get_global_block",
    GetAppProposal "get_app_proposal",
    TryGetBlock "try_get_block",
    GetBlockByHash "get_block_by_hash",
    NeedBlock "need_block",
    NextBlock "next_block",
    GetStatus "get_status",
    Subscribe "subscribe",
    PruneBefore "prune_before",
    Shutdown "shutdown",
    GetRetention "get_retention",
    Report "report",
    ReadDone "read_done",
    LoadDone "load_done",
    Space "space",
    Timer "timer",
    Open "open",
    Append "append",
    TruncateBefore "truncate_before",
    Close "close",
    Verify "verify",
    Look "look",
}

impl Msg {
    /// The actors that handle it.
    fn is_of(self, actor: ActorKind) -> bool {
        match self {
            Self::Open | Self::Append | Self::TruncateBefore | Self::Close => {
                matches!(actor, ActorKind::QcWal | ActorKind::BlockWal)
            }
            Self::Verify => actor == ActorKind::Verifier,
            Self::Look => actor == ActorKind::Pruner,
            _ => actor == ActorKind::State,
        }
    }
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was carried out.
    Ok,
    /// It was refused, or failed.
    Error,
    /// Whoever sent it no longer waits.
    Abandoned,
}

impl Outcome {
    pub(crate) const ALL: [Self; 3] = [Self::Ok, Self::Error, Self::Abandoned];

    /// The value of the label `result`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Abandoned => "abandoned",
        }
    }
}

impl<T, E> From<&Result<T, E>> for Outcome {
    fn from(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Ok } else { Self::Error }
    }
}

/// Why a message did not reach whom it was meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undelivered {
    /// The life of the worker that it was meant for is over.
    NoLife,
    /// It came from a life that no longer counts.
    Stale,
    /// The caller of the reply has gone.
    CallerGone,
}

impl Undelivered {
    pub(crate) const ALL: [Self; 3] = [Self::NoLife, Self::Stale, Self::CallerGone];

    /// The value of the label `reason`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoLife => "no_life",
            Self::Stale => "stale",
            Self::CallerGone => "caller_gone",
        }
    }
}

/// Every cause of a restart.
pub(crate) const CAUSES: [Cause; 6] =
    [Cause::Panic, Cause::Error, Cause::Stopped, Cause::Hung, Cause::DiskFull, Cause::Corruption];

/// Of one kind of message.
#[derive(Debug)]
pub(crate) struct MessageMetrics {
    pub(crate) msg: Msg,
    pub(crate) results: [AtomicU64; 3],
    pub(crate) handling: Histogram,
}

/// Of one actor, over all its lives.
#[derive(Debug)]
pub(crate) struct ActorMetrics {
    /// By the message's place in [`Msg::ALL`].
    messages: Vec<Option<MessageMetrics>>,
    pub(crate) mailbox_wait: Histogram,
    pub(crate) escalations: AtomicU64,
    pub(crate) undelivered: [AtomicU64; 3],
    /// When the present life began, in microseconds since the Unix epoch; 0 before the first.
    started_unix_us: AtomicU64,
    /// When it was last seen alive by itself, in microseconds since the Unix epoch.
    seen_unix_us: AtomicU64,
    /// Of the threads of the present life.
    heartbeats: Mutex<Vec<Heartbeat>>,
}

impl ActorMetrics {
    pub(crate) fn new(actor: ActorKind) -> Self {
        let of = |msg: &Msg| {
            msg.is_of(actor).then(|| MessageMetrics {
                msg: *msg,
                results: Default::default(),
                handling: Histogram::new(WORK_SECONDS),
            })
        };
        Self {
            messages: Msg::ALL.iter().map(of).collect(),
            mailbox_wait: Histogram::new(WORK_SECONDS),
            escalations: AtomicU64::new(0),
            undelivered: Default::default(),
            started_unix_us: AtomicU64::new(0),
            seen_unix_us: AtomicU64::new(0),
            heartbeats: Mutex::default(),
        }
    }

    /// Its messages, in a fixed order.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &MessageMetrics> {
        self.messages.iter().flatten()
    }

    /// A message came to its end.
    pub(crate) fn ended(&self, msg: Msg, outcome: Outcome) {
        self.ended_many(msg, outcome, 1);
    }

    /// So many messages came to the same end.
    pub(crate) fn ended_many(&self, msg: Msg, outcome: Outcome, count: u64) {
        if let Some(Some(metrics)) = self.messages.get(msg as usize) {
            metrics.results[outcome as usize].fetch_add(count, Ordering::Relaxed);
        }
    }

    /// A handler ran for so long.
    pub(crate) fn handled(&self, msg: Msg, took: Duration) {
        if let Some(Some(metrics)) = self.messages.get(msg as usize) {
            metrics.handling.observe_duration(took);
        }
    }

    pub(crate) fn undelivered(&self, why: Undelivered, count: usize) {
        self.undelivered[why as usize].fetch_add(count as u64, Ordering::Relaxed);
    }

    /// The data layer ends because of it.
    pub(crate) fn escalated(&self) {
        self.escalations.fetch_add(1, Ordering::Relaxed);
    }

    /// A life begins, with these threads.
    pub(crate) fn began(&self, heartbeats: Vec<Heartbeat>) {
        self.started_unix_us.store(unix_us(), Ordering::Relaxed);
        self.seen();
        *self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner) = heartbeats;
    }

    /// It does something, so it lives.
    pub(crate) fn seen(&self) {
        self.seen_unix_us.store(unix_us(), Ordering::Relaxed);
    }

    /// When the present life began, in seconds since the Unix epoch.
    pub(crate) fn started_seconds(&self) -> f64 {
        seconds(self.started_unix_us.load(Ordering::Relaxed))
    }

    /// How long its oldest running operation has been running.
    pub(crate) fn running_for(&self) -> Option<Duration> {
        let heartbeats = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner);
        heartbeats.iter().filter_map(Heartbeat::running_for).map(|(running_for, _)| running_for).max()
    }

    /// Its life is over, or it is given up.
    pub(crate) fn retired(&self) {
        self.seen();
        self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// When it last showed a sign of life, in seconds since the Unix epoch. A thread shows one when it begins an
    /// operation, and as long as it is at none; what has no thread of its own (State, the pruner) when it says so.
    pub(crate) fn heartbeat_seconds(&self, own_threads: bool) -> f64 {
        let seen = seconds(self.seen_unix_us.load(Ordering::Relaxed));
        let now = seconds(unix_us());
        match self.running_for() {
            Some(running_for) => seen.max(now - running_for.as_secs_f64()),
            None if own_threads && self.has_threads() => now,
            None => seen,
        }
    }

    fn has_threads(&self) -> bool {
        !self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Seconds that its handlers have run.
    pub(crate) fn busy_seconds(&self) -> f64 {
        self.messages().map(|message| message.handling.sum()).sum()
    }
}

/// How long the messages have waited that a thread takes up together: one look at the clock does for all of them.
pub(crate) struct Waits<'a> {
    /// `None` where nothing is counted.
    batch: Option<Batch<'a>>,
    now: Option<Instant>,
}

impl<'a> Waits<'a> {
    pub(crate) fn of(actor: &'a ActorMetrics, counts: bool) -> Self {
        Self { batch: counts.then(|| Batch::of(&actor.mailbox_wait)), now: None }
    }

    /// A message is taken up that was sent at this time.
    pub(crate) fn taken(&mut self, sent: Instant) {
        if let Some(batch) = &mut self.batch {
            let now = self.now.get_or_insert_with(Instant::now);
            batch.observe_duration(now.saturating_duration_since(sent));
        }
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn unix_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since the Unix epoch.
pub(crate) fn seconds(unix_us: u64) -> f64 {
    unix_us as f64 / 1e6
}
