//! What callers ask State. Each message documents when its reply comes.

use std::ops::Range;
use std::sync::Arc;

use actix::Message;

use super::errors::Error;
use super::status::{Cursors, Status};
use crate::{AppHash, AppProposal, Block, BlockNumber, FullCommitQc, GlobalBlock, HeaderHash};

/// Offers a QC with any of the blocks that it finalizes.
///
/// Answered once it is in memory; it does not wait for the disk. Waits while the QC starts beyond the contiguous
/// run of QCs or beyond the window. A QC that starts below `next_qc` is stale: it is not inserted, its blocks are
/// matched against the headers that are already held. Blocks that match no header are ignored.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct PushQc {
    /// The certificate with the headers of all blocks it finalizes.
    pub qc: Arc<FullCommitQc>,
    /// Any subset of the blocks that it finalizes, in any order.
    pub blocks: Vec<Arc<Block>>,
}

/// Offers one block under its global number.
///
/// An invalid block errs at once; a valid one waits until a QC covers `number`, then must match its header.
/// Accepted and ignored when it is already there or below `first`.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct PushBlock {
    /// The global number under which the block was finalized.
    pub number: BlockNumber,
    /// The block.
    pub block: Arc<Block>,
}

/// Reports the application's hash after it executed every block up to and including `number`.
///
/// The reply is the permission to vote: it comes once block `number` and its QC would survive a crash.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), Error>")]
pub struct PushAppHash {
    /// The last executed block.
    pub number: BlockNumber,
    /// The application's state hash after it.
    pub hash: AppHash,
}

/// Asks for the QC that finalizes block `number`; waits until there is one.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Arc<FullCommitQc>, Error>")]
pub struct GetQc {
    /// Any block of the QC's range.
    pub number: BlockNumber,
}

/// Asks for block `number`; waits until it is in the contiguous run.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Arc<Block>, Error>")]
pub struct GetBlock {
    /// The block's global number.
    pub number: BlockNumber,
}

/// Asks for block `number` with what its QC says of it; waits until it is in the contiguous run.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<GlobalBlock, Error>")]
pub struct GetGlobalBlock {
    /// The block's global number.
    pub number: BlockNumber,
}

/// Asks for the lowest app proposal that covers block `number`; waits until the block was executed.
///
/// It may be that of a later block: where the application jumped, and far behind the newest reports, of which tens of
/// thousands are remembered one by one and older ones more thinly.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<AppProposal, Error>")]
pub struct GetAppProposal {
    /// The block that the proposal must cover; the proposal may be of a later one.
    pub number: BlockNumber,
}

/// Asks for block `number` without waiting for it to arrive: [`Error::NotFound`] at or above `next_block`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Arc<Block>, Error>")]
pub struct TryGetBlock {
    /// The block's global number.
    pub number: BlockNumber,
}

/// Asks for the block whose header has this hash, without waiting for it to arrive.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<GlobalBlock, Error>")]
pub struct GetBlockByHash {
    /// The hash of the block's header.
    pub hash: HeaderHash,
}

/// Asks whether a fetcher should still ask its peers for block `number`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<bool, Error>")]
pub struct NeedBlock {
    /// The block's global number.
    pub number: BlockNumber,
}

/// Asks for the cursors; `next_block` among them.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<Cursors, Error>")]
pub struct NextBlock;

/// Asks for one consistent snapshot of cursors, workers, restarts and last errors.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<Status, Error>")]
pub struct GetStatus;

/// Asks for the next stretch of the ordered stream of finalized blocks: what a subscription sends, one at a time.
///
/// The stream is pulled, so a slow subscriber holds nothing but its own place. The reply comes once at least one
/// block at `from` is there, and carries consecutive blocks from `from` on, at most `blocks_max` of them.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Vec<GlobalBlock>, Error>")]
pub struct Subscribe {
    /// The first block wanted.
    pub from: BlockNumber,
    /// Only blocks that would survive a crash.
    pub only_durable: bool,
    /// The most blocks that one reply may carry; 0 counts as 1.
    pub blocks_max: usize,
}

/// Asks to prune all blocks below `retain_from` that may go: only executed ones do, and one durable block stays.
///
/// Answered with the range that this request took out once both logs made it durable: what is in the answer never
/// comes back.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Range<BlockNumber>, Error>")]
pub struct PruneBefore {
    /// The oldest block to keep.
    pub retain_from: BlockNumber,
}

/// Stops the subsystem in order: no more pushes, the contiguous run made durable, the logs closed.
#[derive(Clone, Copy, Debug, Default, Message)]
#[rtype(result = "Result<ShutdownReport, Error>")]
pub struct Shutdown;

/// How an ordered shutdown ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// The cursors at the end.
    pub cursors: Cursors,
    /// The blocks of the contiguous run that could not be made durable before the deadline; empty when all were.
    pub not_durable: Range<BlockNumber>,
}

impl ShutdownReport {
    /// Whether everything in the contiguous run was made durable.
    pub fn is_clean(&self) -> bool {
        self.not_durable.is_empty()
    }
}
