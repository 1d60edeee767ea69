//! Opening a log of a million entries after an unclean end.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use roadbed_wal::Log;

use super::logs;
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::limits::{PAGE_BYTES, Piece, RawFile, drop_cache, files_of, read_in_order};
use crate::stats;

const ENTRY_BYTES: usize = 1024;
const GROUP: usize = 64;
/// Entries in the last segment of both logs.
const LAST_ENTRIES: u64 = 10_000;
const ROUNDS: [usize; 2] = [3, 9];

/// Measures it; a log of 10,000 entries is opened beside it.
pub(super) fn run(bench: &Bench) -> Result<Measured> {
    let entries: u64 = bench.pick(200_000, 1_000_000);
    let scratch = bench.scratch("open")?;
    let (large, small) = (scratch.path().join("large"), scratch.path().join("small"));
    let payload = vec![0xa5; ENTRY_BYTES];
    let mut log = logs::create(&large, logs::options())?;
    logs::fill(&mut log, &payload, entries - LAST_ENTRIES, GROUP)?;
    let segments = log.segments();
    while log.segments() == segments {
        logs::append_group(&mut log, &payload, GROUP)?;
    }
    drop(log);
    drop(logs::create(&small, logs::options())?);
    let mut raw = RawFile::create(&scratch.path().join("raw"), 1 << 20, 1)?;

    let mut rounds = Vec::new();
    let (mut small_ms, mut opened) = (Vec::new(), 0);
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        // The opening ends the last segment and begins an empty one: it is filled alike for every sample.
        for dir in [&large, &small] {
            logs::fill(&mut logs::open(dir, logs::options())?, &payload, LAST_ENTRIES, GROUP)?;
        }
        let limit_ms = limit_ms(&large, &mut raw)?;
        let (log, took_ms) = open(&large)?;
        opened = log.range().end;
        drop(log);
        small_ms.push(open(&small)?.1);
        rounds.push(Round::pair(took_ms, limit_ms));
    }
    let ours: Vec<f64> = rounds.iter().map(|round| round.ours[0]).collect();
    let params = params([
        ("entries", opened.into()),
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries_in_last_segment", LAST_ENTRIES.into()),
        ("small_log_ms", stats::median(&small_ms).into()),
        ("times_the_small_log", (stats::median(&ours) / stats::median(&small_ms)).into()),
    ]);
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
