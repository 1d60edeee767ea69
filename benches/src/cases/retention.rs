//! What a long history costs: the time of a start, and its memory, beside those with a short one.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use roadbed::store::{StoreLock, StorePaths, append_block, append_qc, log_options, prepare};
use roadbed_messages::api::WalKind;
use roadbed_messages::{BlockNumber, VerifiedBlock, VerifiedQc};
use roadbed_wal::{FileSystem, Log, LogOptions, Storage, survey};

use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::child::{COMMITTEE, Started, started};
use crate::input::{SMALL, Source, members};
use crate::limits::{drop_cache, files_of};
use crate::stats;

const ROUNDS: [usize; 2] = [3, 7];
/// Blocks of the history that the other is measured beside.
const SHORT: u64 = 10_000;
/// Blocks that at least stand in segments before the last ones: so many that theirs are full for segments of
/// [`SEGMENT_BYTES_MIN`].
const BEFORE: u64 = 500;
/// Blocks in the last segments, if there are so many: as these follow others in a short history too, they are spares that
/// were written before.
const LAST: u64 = SHORT - BEFORE;
/// The smallest segments that a log can have.
const SEGMENT_BYTES_MIN: u64 = 32 << 10;
/// QCs that are made at once.
const QCS_AT_ONCE: usize = 1000;

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// The time of a start, from the disk.
    Start,
    /// The memory of a process that starts, and reads blocks from all of its history.
    Memory,
}

/// Measures it with so many retained small blocks.
pub(super) fn run(bench: &Bench, what: What, blocks: u64, last: Last) -> Result<Measured> {
    let scratch = bench.scratch("retention")?;
    let (long, short) = (scratch.path().join("long"), scratch.path().join("short"));
    fill(&long, blocks, last)?;
    fill(&short, SHORT, Last::Alike)?;
    let cold = |dir: &Path| -> Result<Started> {
        for log in ["qcs", "blocks"] {
            drop_cache(&files_of(&dir.join(log), "seg")?)?;
        }
        started(dir)
    };
    let (mut rounds, mut all, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let (ours, limit) = (cold(&long)?, cold(&short)?);
        warm.push((started(&long)?.start_ms, started(&short)?.start_ms));
        rounds.push(match what {
            What::Start => Round::pair(ours.start_ms, limit.start_ms),
            What::Memory => Round::pair(ours.peak_kib, limit.peak_kib),
        });
        all.push((ours, limit));
    }
    let (unit, limit) = match what {
        What::Start => (Unit::Millis, "with 10,000 retained blocks, from the disk"),
        What::Memory => (Unit::Kibibytes, "with 10,000 retained blocks, VmHWM of a fresh process"),
    };
    let medians = |of: fn(&Started) -> f64| {
        let [ours, limit] = [0, 1].map(|which| {
            let one = |pair: &(Started, Started)| of(if which == 0 { &pair.0 } else { &pair.1 });
            stats::median(&all.iter().map(one).collect::<Vec<_>>())
        });
        vec![ours, limit].into()
    };
    let warm = [0, 1].map(|which| {
        stats::median(&warm.iter().map(|pair| if which == 0 { pair.0 } else { pair.1 }).collect::<Vec<_>>())
    });
    let params = params([
        ("committee", COMMITTEE.into()),
        ("blocks", blocks.into()),
        ("cache", "cold".into()),
        ("last_segments_bytes", vec![last_segments_bytes(&long)?, last_segments_bytes(&short)?].into()),
        ("start_ms", medians(|one| one.start_ms)),
        ("start_warm_ms", warm.to_vec().into()),
        ("by_number_us", medians(|one| one.by_number_us)),
        ("by_hash_us", medians(|one| one.by_hash_us)),
        ("peak_started_kib", medians(|one| one.peak_started_kib)),
        ("peak_kib", medians(|one| one.peak_kib)),
    ]);
    Ok(Measured { unit, limit: limit.to_owned(), params, rounds })
}

/// Bytes that the last segments of both logs hold.
fn last_segments_bytes(dir: &Path) -> Result<u64> {
    let committee = &members(COMMITTEE).committee;
    let mut bytes = 0;
    for wal in [WalKind::Qcs, WalKind::Blocks] {
        let log = StorePaths::new(dir).log(wal);
        let segments = survey(&FileSystem, &log, &log_options(committee, wal))?;
        bytes += segments.last().map_or(0, |last| last.bytes);
    }
    Ok(bytes)
}

/// Where the last segment of each log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// So that it holds the newest [`LAST`] blocks, or their QCs, as that of the short history does.
    Alike,
    /// Where the one before it was full.
    AsItFalls,
}

/// A store in the making, written by the library itself but past its actors.
struct Filling {
    source: Source,
    storage: Arc<dyn Storage>,
    paths: StorePaths,
    _lock: StoreLock,
    qcs: Log,
    blocks: Log,
}

/// A store with so many small blocks, ten a QC. Its last segments are in space that was written before, as those of a
/// validator are that has run for a while: to open a log reads all of its last segment, whatever is in it.
fn fill(dir: &Path, blocks: u64, last: Last) -> Result<()> {
    let source = Source::new(COMMITTEE, SMALL);
    let committee = &source.members.committee;
    let storage: Arc<dyn Storage> = Arc::new(FileSystem);
    let paths = StorePaths::new(dir);
    let lock = prepare(&storage, &paths, committee, |wal| log_options(committee, wal))?;
    let open = |wal| Log::open(storage.clone(), &paths.log(wal), log_options(committee, wal));
    let (qcs, blocks_log) = (open(WalKind::Qcs)?, open(WalKind::Blocks)?);
    let mut store = Filling { source, storage, paths, _lock: lock, qcs, blocks: blocks_log };
    if last == Last::Alike {
        store.append_up_to(blocks.saturating_sub(LAST).max(BEFORE))?;
        store = store.begin_segments()?;
    }
    store.append_up_to(blocks)?;
    store.keep_house()?;
    store.qcs.close()?;
    store.blocks.close()?;
    Ok(())
}

impl Filling {
    fn append_up_to(&mut self, end: u64) -> Result<()> {
        while self.blocks.range().end < end {
            let missing = usize::try_from(end - self.blocks.range().end)?;
            self.append(missing.div_ceil(SMALL.blocks_per_qc).min(QCS_AT_ONCE))?;
        }
        Ok(())
    }

    fn append(&mut self, qcs: usize) -> Result<()> {
        for (qc, blocks) in self.source.take(qcs) {
            // Recovery and readers verify what they read; here it would only take time.
            let qc = VerifiedQc::assume_verified(&self.source.members.committee, qc)?;
            let index = self.qcs.range().end;
            append_qc(&mut self.qcs, index, &qc)?;
            for block in blocks {
                let number = BlockNumber(self.blocks.range().end);
                append_block(&mut self.blocks, number, &VerifiedBlock::assume_verified(block))?;
            }
        }
        self.qcs.sync()?;
        self.blocks.sync()?;
        Ok(())
    }

    /// Lets the next QC and its blocks begin segments, in spares that the housekeeping has made: for these, the segments
    /// before are full at any size.
    fn begin_segments(mut self) -> Result<Self> {
        self.keep_house()?;
        let segments = (self.qcs.segments() + 1, self.blocks.segments() + 1);
        self = self.reopen(|options| LogOptions { segment_bytes: SEGMENT_BYTES_MIN, ..options })?;
        self.append(1)?;
        ensure!(segments == (self.qcs.segments(), self.blocks.segments()), "both logs begin a segment");
        self.reopen(|options| options)
    }

    fn reopen(self, with: impl Fn(LogOptions) -> LogOptions) -> Result<Self> {
        let Self { source, storage, paths, _lock, qcs, blocks } = self;
        qcs.close()?;
        blocks.close()?;
        let committee = &source.members.committee;
        let open = |wal| Log::open(storage.clone(), &paths.log(wal), with(log_options(committee, wal)));
        let (qcs, blocks) = (open(WalKind::Qcs)?, open(WalKind::Blocks)?);
        Ok(Self { source, storage, paths, _lock, qcs, blocks })
    }

    fn keep_house(&mut self) -> Result<()> {
        while self.qcs.idle()? || self.blocks.idle()? {}
        Ok(())
    }
}
