//! Stretches of both logs, checked beside each other: a thread reads, sums up, decodes and verifies a piece in one go,
//! while what it has just read is near.

use std::ops::{ControlFlow, Range};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use roadbed_messages::api::{StartError, WalKind};
use roadbed_messages::{HeaderHash, VerifiedBlock, VerifiedQc, verify_qcs};
use roadbed_wal::Reader;

use super::{Load, corrupt, damaged, unreadable};
use crate::reader::{checked_block, decoded_qc};

/// The most QCs of a piece: with more of them in a batch no signature becomes much cheaper.
const PIECE_QCS_MAX: u64 = 128;
/// Bytes of blocks in a piece, about.
const PIECE_BYTES: u64 = 8 << 20;
/// Pieces of QCs for each core at least, where there are so many: more would make their batches small.
const QC_PIECES_A_CORE: u64 = 2;
/// Pieces of blocks for each core at least: they come last, and are small so that all threads are busy to the end.
const BLOCK_PIECES_A_CORE: u64 = 16;
/// While one thread of a core waits for the disk, the other verifies.
const THREADS_A_CORE: usize = 2;

enum Piece<'a> {
    Qcs(&'a Reader, Range<u64>),
    Blocks(&'a Reader, Range<u64>),
}

/// A piece of the block log that was checked.
pub(super) struct CheckedBlocks {
    /// The number of its first block.
    pub(super) first: u64,
    /// Of its blocks' headers, in order.
    pub(super) hashes: Vec<HeaderHash>,
    /// The blocks, unless newer ones take all of the memory.
    pub(super) held: Option<Vec<VerifiedBlock>>,
}

/// Everything that was checked.
#[derive(Default)]
pub(super) struct Checked {
    /// In order, each with its index.
    pub(super) qcs: Vec<(u64, VerifiedQc)>,
    /// Newest first.
    pub(super) blocks: Vec<CheckedBlocks>,
}

enum Done {
    Qcs(Vec<(u64, VerifiedQc)>),
    Blocks(CheckedBlocks),
}

/// What the threads share.
struct Progress {
    /// The piece that is taken next.
    next: usize,
    /// Bytes of the blocks that are held.
    held_bytes: u64,
    done: Vec<Option<Result<Done, StartError>>>,
}

/// Pieces to check: QCs in order, then blocks, newest first.
pub(super) struct Pieces<'a> {
    load: &'a Load,
    keep_bytes_max: u64,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(load: &'a Load, keep_bytes_max: u64) -> Self {
        Self { load, keep_bytes_max, pieces: Vec::new() }
    }

    pub(super) fn add_qcs(&mut self, log: &'a Reader, range: Range<u64>) {
        let step = self.step(&range, QC_PIECES_A_CORE, PIECE_QCS_MAX);
        self.pieces.extend(cut(range, step).map(|piece| Piece::Qcs(log, piece)));
    }

    pub(super) fn add_blocks(&mut self, log: &'a Reader, range: Range<u64>) {
        let here = log.segments().into_iter().filter(|one| one.base < range.end && range.start < one.end);
        let (bytes, entries) =
            here.fold((0, 0), |(bytes, entries), one| (bytes + one.bytes, entries + (one.end - one.base)));
        let step = self.step(&range, BLOCK_PIECES_A_CORE, entries * PIECE_BYTES / u64::max(bytes, 1));
        let pieces: Vec<_> = cut(range, step).collect();
        self.pieces.extend(pieces.into_iter().rev().map(|piece| Piece::Blocks(log, piece)));
    }

    fn step(&self, range: &Range<u64>, pieces_a_core: u64, max: u64) -> u64 {
        let records = range.end.saturating_sub(range.start);
        records.div_ceil(pieces_a_core * self.load.threads as u64).min(max).max(1)
    }

    /// Checks all of them. Of several that fail, the first in order tells why.
    pub(super) fn check(&self) -> Result<Checked, StartError> {
        let done = std::iter::repeat_with(|| None).take(self.pieces.len()).collect();
        let progress = Mutex::new(Progress { next: 0, held_bytes: 0, done });
        let threads = (self.load.threads * THREADS_A_CORE).min(self.pieces.len());
        if self.load.threads == 1 || threads <= 1 {
            self.work(&progress);
        } else {
            thread::scope(|scope| {
                let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.work(&progress))).collect();
                for thread in threads {
                    if let Err(panic) = thread.join() {
                        resume_unwind(panic);
                    }
                }
            });
        }
        let mut checked = Checked::default();
        for done in progress.into_inner().unwrap_or_else(PoisonError::into_inner).done.into_iter().flatten() {
            match done? {
                Done::Qcs(qcs) => checked.qcs.extend(qcs),
                Done::Blocks(blocks) => checked.blocks.push(blocks),
            }
        }
        Ok(checked)
    }

    /// Checks one piece after the other until there is none, or one has failed.
    fn work(&self, progress: &Mutex<Progress>) {
        let lock = || progress.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // Taken in order under one lock: once a piece finds the memory full, all older ones do.
            let (at, keep) = {
                let mut progress = lock();
                progress.next += 1;
                (progress.next - 1, progress.held_bytes < self.keep_bytes_max)
            };
            let Some(piece) = self.pieces.get(at) else { return };
            let done = match piece {
                Piece::Qcs(log, range) => self.check_qcs(log, range).map(Done::Qcs),
                Piece::Blocks(log, range) => self.check_blocks(log, range, keep).map(Done::Blocks),
            };
            let mut progress = lock();
            match &done {
                Ok(Done::Blocks(CheckedBlocks { held: Some(held), .. })) => {
                    progress.held_bytes += held.iter().map(|block| block.size_bytes() as u64).sum::<u64>();
                }
                Ok(_) => {}
                // The pieces before it are under way; none after it matters.
                Err(_) => progress.next = self.pieces.len(),
            }
            progress.done[at] = Some(done);
        }
    }

    fn check_qcs(&self, log: &Reader, range: &Range<u64>) -> Result<Vec<(u64, VerifiedQc)>, StartError> {
        let mut qcs = Vec::new();
        visit(log, range, |index, payload| {
            qcs.push(Arc::new(decoded_qc(payload).map_err(|error| damaged("QC", index, &error))?));
            Ok(())
        })?;
        let verified = verify_qcs(&self.load.committee, qcs).into_iter().zip(range.clone());
        verified
            .map(|(qc, index)| match qc {
                Ok(qc) => {
                    self.load.metrics.recovery_read(WalKind::Qcs);
                    Ok((index, qc))
                }
                Err(error) => Err(damaged("QC", index, &error.to_string())),
            })
            .collect()
    }

    fn check_blocks(
        &self,
        log: &Reader,
        range: &Range<u64>,
        keep: bool,
    ) -> Result<CheckedBlocks, StartError> {
        let mut hashes = Vec::new();
        let mut held = keep.then(Vec::new);
        visit(log, range, |index, payload| {
            let block = checked_block(&self.load.committee, payload)
                .map_err(|error| damaged("block", index, &error))?;
            self.load.metrics.recovery_read(WalKind::Blocks);
            hashes.push(block.header_hash());
            if let Some(held) = &mut held {
                held.push(block);
            }
            Ok(())
        })?;
        Ok(CheckedBlocks { first: range.start, hashes, held })
    }
}

/// Visits every record of a range, until one is refused.
fn visit(
    log: &Reader,
    range: &Range<u64>,
    mut check: impl FnMut(u64, &[u8]) -> Result<(), StartError>,
) -> Result<(), StartError> {
    let mut refused = None;
    let mut seen = 0;
    log.visit(range.clone(), |entry| match check(entry.index, entry.payload) {
        Ok(()) => {
            seen += 1;
            ControlFlow::Continue(())
        }
        Err(error) => {
            refused = Some(error);
            ControlFlow::Break(())
        }
    })
    .map_err(unreadable)?;
    let wanted = range.end.saturating_sub(range.start);
    match refused {
        Some(error) => Err(error),
        None if seen == wanted => Ok(()),
        None => Err(corrupt(format!("a log gave {seen} of {wanted} entries that it should hold"))),
    }
}

fn cut(range: Range<u64>, step: u64) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let start = at;
        at = range.end.min(at.saturating_add(step));
        (start < range.end).then_some(start..at)
    })
}
