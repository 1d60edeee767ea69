//! What callers see when something is refused. One enum for replies, one for a start, one for the end.

use std::path::PathBuf;

use super::status::{ActorKind, Cursors};
use crate::{AppHash, BlockError, BlockNumber, HeaderHash, QcError};

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The QC does not verify. State is unchanged.
    #[error("invalid QC: {0}")]
    InvalidQc(#[from] QcError),
    /// A block does not verify. State is unchanged.
    #[error("invalid block: {0}")]
    InvalidBlock(#[from] BlockError),
    /// The block is valid by itself, but it is not the one that was finalized under this number.
    #[error("block {number} has header {found}, its QC finalized {expected}: ask another peer for it")]
    HeaderMismatch {
        /// The number under which the block was pushed.
        number: BlockNumber,
        /// The header hash that the QC names.
        expected: HeaderHash,
        /// The header hash of the block that was pushed.
        found: HeaderHash,
    },
    /// An app hash for a block that already has one.
    #[error(
        "app hash {hash} for block {number} is out of order: the next one wanted is {next_app_proposal} or later"
    )]
    AppHashOutOfOrder {
        /// The block that was reported.
        number: BlockNumber,
        /// The hash that was reported.
        hash: AppHash,
        /// The first block without an app hash.
        next_app_proposal: BlockNumber,
    },
    /// The bound of this kind of message is full, and this call asked for the highest number of all that wait.
    #[error(
        "too many {kind} calls wait ({waiting} calls, {waiting_bytes} bytes): push lower numbers first, then retry {number}"
    )]
    Busy {
        /// The kind of message.
        kind: &'static str,
        /// The number that the refused call named.
        number: u64,
        /// Calls of this kind that wait.
        waiting: usize,
        /// Bytes that they hold.
        waiting_bytes: u64,
    },
    /// The block was pruned.
    #[error("block {number} was pruned: the oldest block retained is {first}")]
    Pruned {
        /// The block asked for.
        number: BlockNumber,
        /// The oldest block retained.
        first: BlockNumber,
    },
    /// There is no such block (yet).
    #[error("there is no such block (yet)")]
    NotFound,
    /// The stored block can't be served: what the disk holds is damaged. Everything else goes on.
    #[error(
        "block {number} can't be served: {detail}; stop the node and run `roadbed verify` on its directory"
    )]
    Damaged {
        /// The block asked for.
        number: BlockNumber,
        /// What was found.
        detail: String,
    },
    /// This very input made the verifier fail more than once; it is not tried again.
    #[error("the verifier failed {failures} times on this input and gave up on it: {last_error}")]
    VerifierFailed {
        /// How many lives of the verifier ended with it.
        failures: u32,
        /// How the last of them ended.
        last_error: String,
    },
    /// The subsystem has ended, or is ending.
    #[error("the data layer has stopped: {0}")]
    Stopped(StopReason),
}

impl Error {
    /// The short name of the reason, for metrics and the run summary.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidQc(error) => error.reason(),
            Self::InvalidBlock(error) => error.reason(),
            Self::HeaderMismatch { .. } => "hash_mismatch",
            Self::AppHashOutOfOrder { .. } => "app_hash_out_of_order",
            Self::Busy { .. } => "busy",
            Self::Pruned { .. } => "pruned",
            Self::NotFound => "not_found",
            Self::Damaged { .. } => "damaged",
            Self::VerifierFailed { .. } => "verifier_failed",
            Self::Stopped(_) => "stopped",
        }
    }
}

/// Why the subsystem ended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// An ordered shutdown was asked for.
    #[error("shut down in order at {}", .0.next_block)]
    Shutdown(Cursors),
    /// It could not start.
    #[error("{0}")]
    Start(StartError),
    /// A worker failed more often than its budget allows, or in a way that a restart can't mend.
    #[error("{actor} failed for good: {error}")]
    Escalated {
        /// The worker.
        actor: ActorKind,
        /// Its last failure.
        error: String,
    },
    /// State itself failed.
    #[error("State failed: {error}")]
    StateFailed {
        /// How.
        error: String,
    },
}

/// Why a start was refused. Nothing was written, unless the message says so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of its bounds, or two settings contradict each other.
    #[error("configuration: {0}")]
    Config(String),
    /// Another owner has the directory.
    #[error("{} is in use by {holder}: stop it first, or choose another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who holds its lock.
        holder: String,
    },
    /// The directory belongs to another chain, or to something that is not Roadbed.
    #[error("{} does not belong to this chain: {detail}; choose another directory or the right committee", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What was expected and found.
        detail: String,
    },
    /// The directory was written by a newer version.
    #[error("{} has a newer format: {detail}; upgrade this program", path.display())]
    NewerFormat {
        /// The file or directory.
        path: PathBuf,
        /// What was expected and found.
        detail: String,
    },
    /// Durable data is damaged. All files are as they were.
    #[error("damaged: {detail}")]
    Corrupt {
        /// Which file, offset and number, what was expected and found, and the command to run.
        detail: String,
    },
    /// Durable data is missing, and going on would lose more. All files are as they were.
    #[error("refused: {detail}")]
    WouldLose {
        /// What is missing, and the way out.
        detail: String,
    },
    /// The disk or a worker failed while starting.
    #[error("could not start: {detail}")]
    Failed {
        /// The worker or file, and its last failure.
        detail: String,
    },
}
