//! What State and its workers tell each other.
//!
//! Every order and every report carries the [`Generation`] of the worker's life: after State has noted a death it
//! ignores whatever that life still says.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use actix::Message;

use super::errors::{Error, StartError};
use super::status::ActorKind;
use crate::{Block, BlockNumber, FullCommitQc, VerifiedBlock, VerifiedQc};

/// One life of a worker, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies a caller's request from its arrival to its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What one log holds, as its files say, before anything is repaired.
///
/// Numbers are global block numbers in both logs; an index is the log's own running number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// Whether there are any segments at all.
    pub exists: bool,
    /// From the start of the first record to the end of the last; `None` when the log is empty.
    pub range: Option<Range<BlockNumber>>,
    /// The index of the next record; what an empty log keeps as its cursor.
    pub next_index: u64,
    /// Bytes of an unsynced write that a crash left behind.
    pub torn_bytes: u64,
}

/// What a log must do before it accepts records, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPlan {
    /// Move the files aside (kept, not deleted) before anything else.
    pub set_aside: bool,
    /// Make the log anew, with this index as its cursor.
    pub create_at: Option<u64>,
    /// Drop every record, with this index as the new cursor.
    pub reset_to: Option<u64>,
    /// Drop the records that start at this index or beyond.
    pub drop_from: Option<u64>,
    /// Drop the records that end at or below this block.
    pub drop_below: Option<BlockNumber>,
}

/// How a WAL actor begins its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalStart {
    /// Judge what is there, report [`Event::Judged`], then wait for [`WalOrder::Open`].
    Judge,
    /// Resume after a failure inside the process: drop whatever lies at or beyond `next_index`, without believing
    /// the page cache, then drop the records that end at or below `drop_below`.
    Resume {
        /// The log's durable point.
        next_index: u64,
        /// The newest truncation that was asked for.
        drop_below: BlockNumber,
    },
}

/// An order to a WAL actor, passed on to its I/O thread as it is.
#[derive(Clone, Debug)]
pub enum WalOrder<R> {
    /// Carry out the plan and become writable.
    Open(LogPlan),
    /// Make these records durable.
    Append {
        /// The index of the first of them.
        first_index: u64,
        /// Consecutive records.
        records: Vec<R>,
    },
    /// Drop the records that end at or below `first`, durably.
    TruncateBefore {
        /// The oldest block to keep.
        first: BlockNumber,
    },
    /// Sync, close cleanly and end.
    Close,
}

/// An order addressed to one life of a worker.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Order<T> {
    /// The life it is meant for.
    pub generation: Generation,
    /// The order.
    pub order: T,
}

/// Work for the verifier: everything that one push brought.
#[derive(Clone, Debug)]
pub struct VerifyJob {
    /// The call that it belongs to; also the job's name.
    pub call: CallId,
    /// The QC, unless its signatures need no check.
    pub qc: Option<Arc<FullCommitQc>>,
    /// The blocks.
    pub blocks: Vec<Arc<Block>>,
    /// Whether a life of the verifier ended while it had this job: then it shares its batch with no other, so that
    /// the next end names the one that is to blame.
    pub alone: bool,
}

/// What the verifier found out about one job.
pub type Verified = Result<(Option<VerifiedQc>, Vec<VerifiedBlock>), Error>;

/// What recovery brings into memory, all of it verified.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Consecutive QCs up to the end of the QC log, each with its index there.
    pub qcs: Vec<(u64, VerifiedQc)>,
    /// Consecutive blocks up to the end of the block log.
    pub blocks: Vec<VerifiedBlock>,
}

/// How a worker's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It panicked.
    Panic,
    /// It returned an error.
    Error,
    /// It stopped by itself, or was cancelled.
    Stopped,
    /// It did not answer.
    Hung,
    /// The disk is full.
    DiskFull,
    /// What the disk holds contradicts what it had acknowledged: a restart can't mend that.
    Corruption,
}

impl Cause {
    /// The name used in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Stopped => "stopped",
            Self::Hung => "hung",
            Self::DiskFull => "disk_full",
            Self::Corruption => "corruption",
        }
    }
}

/// What a worker reports to State.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Report {
    /// Who reports.
    pub actor: ActorKind,
    /// In which life.
    pub generation: Generation,
    /// What happened.
    pub event: Event,
}

/// What happened to a worker.
#[derive(Clone, Debug)]
pub enum Event {
    /// It is ready for orders.
    Up,
    /// A log was judged; nothing was written.
    Judged(LogFacts),
    /// A log can't be opened, and trying again would not help.
    Refused(StartError),
    /// A log is open and accepts records.
    Opened {
        /// The index of the next record.
        next_index: u64,
    },
    /// Every record that ends at or below `upto` is durable.
    Durable {
        /// The index after the last durable record.
        next_index: u64,
        /// The end of the last durable record.
        upto: BlockNumber,
    },
    /// A truncation is durable.
    Truncated {
        /// The `first` of the order.
        first: BlockNumber,
    },
    /// The log was closed cleanly.
    Closed,
    /// Jobs of the verifier are done: each with what came of it.
    Verified(Vec<(CallId, Verified)>),
    /// How long the operation has been running that runs now; `None` when nothing does.
    Beat {
        /// In seconds.
        running_for_seconds: Option<f64>,
        /// The verifier's job, where it is one.
        job: Option<CallId>,
    },
    /// Its life ended.
    Died {
        /// How.
        cause: Cause,
        /// In words, with the file or the panic's message.
        error: String,
        /// The verifier's job that it died with, where it is known.
        job: Option<CallId>,
    },
}
