//! What recovery brings into memory: read from both logs without copies, verified on all cores as untrusted input.
//!
//! It reads what the plan will leave of the logs, before anything is written: where it finds damage, every file is as
//! it was.
//!
//! By default only the window is verified here, and of it only what memory may hold is kept; what is older is
//! verified when it is first read. A full verification goes through the history in stretches, so that its memory does
//! not grow with what is retained.
//!
//! ```text
//! both logs ──pieces──▶ threads: read, checksum, decode, hash, batch of signatures ──▶ in order: no gap, each block
//!                       under its QC ──▶ the newest, as many as memory may hold
//! ```

mod pieces;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use roadbed_messages::api::StartError;
use roadbed_messages::api::workers::Loaded;
use roadbed_messages::{BlockNumber, Committee, HeaderHash, MatchError, VerifiedBlock, VerifiedQc};
use roadbed_wal::{Reader, WalError};

use crate::metrics::Metrics;
use crate::supervision::panic_message;
use pieces::{Checked, CheckedBlocks, Pieces};

/// Blocks that a full verification has in hand at once, about: their QCs are in memory, and the hashes of their headers.
const STRETCH_BLOCKS: u64 = 1 << 16;

/// Everything that loading needs.
pub(crate) struct Load {
    pub(crate) committee: Committee,
    pub(crate) qcs: Option<Reader>,
    pub(crate) blocks: Option<Reader>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) threads: usize,
    pub(crate) memory_bytes_max: u64,
    pub(crate) first: BlockNumber,
    pub(crate) verify_from: BlockNumber,
    pub(crate) next_block: BlockNumber,
    pub(crate) next_qc: BlockNumber,
}

type LoadResult = Result<Loaded, StartError>;

impl Load {
    /// Loads on a thread of its own, and calls `done` with what came of it.
    pub(crate) fn spawn(self, done: impl FnOnce(LoadResult) + Send + 'static) {
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(|| self.load())).unwrap_or_else(|panic| {
                Err(StartError::Failed {
                    detail: format!("recovery panicked: {}", panic_message(panic.as_ref())),
                })
            });
            done(result);
        };
        if let Err(error) = thread::Builder::new().name("roadbed-recovery".to_owned()).spawn(body) {
            // The closure is gone with its thread: a start that gets no answer must not look alive.
            panic!("can't start the recovery thread: {error}");
        }
    }

    /// Loads here and now; with one thread, on this one.
    pub(crate) fn load(self) -> LoadResult {
        if self.first == self.next_qc {
            return Ok(Loaded::default());
        }
        let from = self.verify_from.max(self.first).min(self.next_block);
        let last_stretch = from.max(BlockNumber(self.next_block.0.saturating_sub(STRETCH_BLOCKS)));
        let qcs_wanted = log(&self.qcs)?.range().end - self.qc_index(self.first_qc_needed(from))?;
        self.metrics.recovery_wants(qcs_wanted + (self.next_block.0 - from.0));
        let mut at = from;
        while at < last_stretch {
            let end = last_stretch.min(at.saturating_add(STRETCH_BLOCKS));
            self.check(at, end, 0)?;
            at = end;
            let (verified, total) = (at.0 - from.0, self.next_block.0 - from.0);
            tracing::info!(verified, total, "verifying what is retained");
        }
        let Loaded { qcs, blocks } = self.check(last_stretch, self.next_block, self.memory_bytes_max)?;
        // QCs stay in memory from the one of the oldest block that does; those above next_block always do.
        let oldest = BlockNumber(self.next_block.0 - blocks.len() as u64);
        let qcs = qcs.into_iter().filter(|(_, qc)| qc.range().end > oldest).collect();
        Ok(Loaded { qcs, blocks })
    }

    /// Verifies the blocks of a stretch and their QCs; the last stretch goes with all QCs beyond it. Answers the QCs,
    /// with the newest blocks up to `keep_bytes_max`.
    fn check(&self, from: BlockNumber, end: BlockNumber, keep_bytes_max: u64) -> LoadResult {
        let qc_log = log(&self.qcs)?;
        let qc_from = self.first_qc_needed(from);
        let last = end == self.next_block;
        let qcs_end = if last { qc_log.range().end } else { self.qc_index(end.saturating_sub(1))? + 1 };
        let mut pieces = Pieces::new(self, keep_bytes_max);
        pieces.add_qcs(qc_log, self.qc_index(qc_from)?..qcs_end);
        if from < end {
            pieces.add_blocks(log(&self.blocks)?, from.0..end.0);
        }
        let Checked { qcs, blocks } = pieces.check()?;
        covers(&qcs, qc_from, if last { Some(self.next_qc) } else { None }, end)?;
        for CheckedBlocks { first, hashes, .. } in &blocks {
            for (number, hash) in (*first..).map(BlockNumber).zip(hashes) {
                matches_its_qc(&qcs, number, *hash)?;
            }
        }
        Ok(Loaded { qcs, blocks: newest(blocks, keep_bytes_max) })
    }

    /// A block whose QC is needed to verify from `from` on: there may be no block, but there is a QC.
    fn first_qc_needed(&self, from: BlockNumber) -> BlockNumber {
        from.min(self.next_qc.saturating_sub(1))
    }

    /// The index of a block's QC.
    fn qc_index(&self, number: BlockNumber) -> Result<u64, StartError> {
        let log = log(&self.qcs)?;
        Ok(log.get_by_key(number.0).map_err(unreadable)?.map_or(log.range().end, |entry| entry.index))
    }
}

/// The newest blocks that are held without a gap, up to so many bytes. `pieces` comes newest first.
fn newest(pieces: Vec<CheckedBlocks>, bytes_max: u64) -> Vec<VerifiedBlock> {
    let mut newest = Vec::new();
    let mut bytes = 0;
    'full: for piece in pieces {
        let Some(held) = piece.held else { break };
        for block in held.into_iter().rev() {
            bytes += block.size_bytes() as u64;
            if bytes > bytes_max {
                break 'full;
            }
            newest.push(block);
        }
    }
    newest.reverse();
    newest
}

/// Refuses QCs that leave a block out from `from` to `end`, or that do not end where the log's last key says.
fn covers(
    qcs: &[(u64, VerifiedQc)],
    from: BlockNumber,
    log_end: Option<BlockNumber>,
    end: BlockNumber,
) -> Result<(), StartError> {
    for pair in qcs.windows(2) {
        let [(_, before), (index, after)] = pair else { unreachable!("windows of two") };
        let (end, start) = (before.range().end, after.range().start);
        if end != start {
            return Err(corrupt(format!(
                "the QC log has a gap: a QC that ends at block {end} is followed by one that starts at {start} (entry \
                 {index}); run `roadbed verify` on the directory, and restore it from a backup"
            )));
        }
    }
    let found = qcs.last().map_or(from, |(_, last)| last.range().end);
    if let Some(log_end) = log_end.filter(|log_end| *log_end != found) {
        return Err(corrupt(format!("the QC log ends at block {found}, its last key says {log_end}")));
    }
    match qcs.first() {
        Some((_, qc)) if qc.range().start <= from && found >= end => Ok(()),
        _ => Err(corrupt(format!("the QC log does not cover the blocks from {from} to {end}"))),
    }
}

fn matches_its_qc(
    qcs: &[(u64, VerifiedQc)],
    number: BlockNumber,
    found: HeaderHash,
) -> Result<(), StartError> {
    let at = qcs.partition_point(|(_, qc)| qc.range().end <= number);
    match qcs.get(at).and_then(|(_, qc)| qc.header_hash_at(number)) {
        Some(expected) if expected == found => Ok(()),
        Some(expected) => {
            let error = MatchError::HeaderMismatch { number, expected, found };
            Err(damaged("block", number.0, &error.to_string()))
        }
        None => Err(damaged("block", number.0, "no QC covers it")),
    }
}

/// A log that must be there, for the plan says that something of it stays.
fn log(reader: &Option<Reader>) -> Result<&Reader, StartError> {
    let missing = || StartError::Failed { detail: "recovery began before both logs were judged".to_owned() };
    reader.as_ref().ok_or_else(missing)
}

fn unreadable(error: WalError) -> StartError {
    match error.is_corruption() {
        true => StartError::Corrupt { detail: error.to_string() },
        false => StartError::Failed { detail: error.to_string() },
    }
}

fn corrupt(detail: String) -> StartError {
    StartError::Corrupt { detail }
}

fn damaged(what: &str, index: u64, error: &str) -> StartError {
    corrupt(format!(
        "the {what} log's entry {index} does not verify: {error}; run `roadbed verify --deep` on the directory, and \
         restore it from a backup"
    ))
}
