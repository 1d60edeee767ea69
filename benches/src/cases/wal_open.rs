//! Opening a log of a million entries after an unclean end.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use roadbed_wal::Log;

use super::logs;
use super::wal_open_scale::{ENTRY_BYTES, LAST_ENTRIES, Logs};
use crate::bench::{Bench, Measured, Round, Unit};
use crate::limits::{PAGE_BYTES, Piece, RawFile, drop_cache, files_of, read_in_order};
use crate::stats;

const ROUNDS: [usize; 2] = [3, 9];

/// Measures it; a log of 10,000 entries is opened beside it.
pub(super) fn run(bench: &Bench) -> Result<Measured> {
    let logs = Logs::fill(bench)?;
    let raw_file = bench.scratch("raw")?;
    let mut raw = RawFile::create(&raw_file.path().join("raw"), 1 << 20, 1)?;
    let (mut rounds, mut small_ms) = (Vec::new(), Vec::new());
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let limit_ms = limit_ms(&logs.large, &mut raw)?;
        let (large, took_ms) = open(&logs.large)?;
        drop(large);
        small_ms.push(open(&logs.small)?.1);
        rounds.push(Round::pair(took_ms, limit_ms));
    }
    let ours: Vec<f64> = rounds.iter().map(|round| round.ours[0]).collect();
    let mut params = logs.params();
    params.insert("small_log_ms".to_owned(), stats::median(&small_ms).into());
    let times = stats::median(&ours) / stats::median(&small_ms);
    params.insert("times_the_small_log".to_owned(), times.into());
    let limit =
        "pread + CRC32C of the last segment and one page of each other, one raw durable page".to_owned();
    Ok(Measured { unit: Unit::Millis, limit, params, rounds })
}

fn open(dir: &Path) -> Result<(Log, f64)> {
    let began = Instant::now();
    let log = logs::open(dir, logs::options())?;
    Ok((log, began.elapsed().as_secs_f64() * 1e3))
}

/// What no opening can do without: to read the last segment from the disk, to look at each other one, and to write that
/// it is open again.
fn limit_ms(dir: &Path, raw: &mut RawFile) -> Result<f64> {
    let files = files_of(dir, "seg")?;
    drop_cache(&files)?;
    let began = Instant::now();
    if let Some((last, others)) = files.split_last() {
        for path in others {
            read_in_order(&Piece::of(path, PAGE_BYTES as u64)?)?;
        }
        read_in_order(&Piece::of(last, LAST_ENTRIES * ENTRY_BYTES as u64)?)?;
    }
    raw.write(1)?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}
