//! What a long history costs: the time of a start, and its memory, beside those with a short one.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use roadbed::store::{StorePaths, append_block, append_qc, log_options, prepare};
use roadbed_messages::api::WalKind;
use roadbed_messages::{BlockNumber, VerifiedBlock, VerifiedQc};
use roadbed_wal::{FileSystem, Log, Storage};

use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::child::{COMMITTEE, Started, started};
use crate::input::{SMALL, Source};
use crate::limits::{drop_cache, files_of};
use crate::stats;

const ROUNDS: [usize; 2] = [3, 7];
/// Blocks of the history that the other is measured beside.
const SHORT: u64 = 10_000;
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
pub(super) fn run(bench: &Bench, what: What, blocks: u64) -> Result<Measured> {
    let scratch = bench.scratch("retention")?;
    let (long, short) = (scratch.path().join("long"), scratch.path().join("short"));
    fill(&long, blocks)?;
    fill(&short, SHORT)?;
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
        ("start_ms", medians(|one| one.start_ms)),
        ("start_warm_ms", warm.to_vec().into()),
        ("by_number_us", medians(|one| one.by_number_us)),
        ("by_hash_us", medians(|one| one.by_hash_us)),
        ("peak_started_kib", medians(|one| one.peak_started_kib)),
        ("peak_kib", medians(|one| one.peak_kib)),
    ]);
    Ok(Measured { unit, limit: limit.to_owned(), params, rounds })
}

/// A store with so many small blocks, ten a QC, written by the library itself but past its actors.
fn fill(dir: &Path, blocks: u64) -> Result<()> {
    let mut source = Source::new(COMMITTEE, SMALL);
    let committee = source.members.committee.clone();
    let storage: Arc<dyn Storage> = Arc::new(FileSystem);
    let paths = StorePaths::new(dir);
    let _lock = prepare(&storage, &paths, &committee, |wal| log_options(&committee, wal))?;
    let open = |wal| Log::open(storage.clone(), &paths.log(wal), log_options(&committee, wal));
    let (mut qc_log, mut block_log) = (open(WalKind::Qcs)?, open(WalKind::Blocks)?);
    let mut next = 0;
    while next < blocks {
        for (qc, blocks) in source.take(QCS_AT_ONCE) {
            // Recovery and readers verify what they read; here it would only take time.
            let qc = VerifiedQc::assume_verified(&committee, qc)?;
            let index = qc_log.range().end;
            append_qc(&mut qc_log, index, &qc)?;
            for block in blocks {
                append_block(&mut block_log, BlockNumber(next), &VerifiedBlock::assume_verified(block))?;
                next += 1;
            }
        }
        qc_log.sync()?;
        block_log.sync()?;
    }
    qc_log.close()?;
    block_log.close()?;
    Ok(())
}
