//! Reading a whole log in order, as recovery does: each entry is checked and lent. The stream that answers entries to keep
//! is measured beside it.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::logs;
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::limits::{Piece, files_of, read_in_order};
use crate::stats;

const ROUNDS: [usize; 2] = [5, 15];

/// Measures it for entries of one size.
pub(super) fn run(bench: &Bench, entry_bytes: usize) -> Result<Measured> {
    let total_bytes: u64 = bench.pick(128 << 20, 512 << 20);
    let entries = total_bytes / entry_bytes as u64;
    let scratch = bench.scratch("replay")?;
    let dir = scratch.path().join("log");
    let mut log = logs::create(&dir, logs::options())?;
    logs::fill(&mut log, &vec![0xa5; entry_bytes], entries, (2 << 20) / entry_bytes)?;
    let reader = log.reader();
    let mut pieces = Vec::new();
    for (path, segment) in files_of(&dir, "seg")?.iter().zip(reader.segments()) {
        pieces.extend(Piece::of(path, segment.bytes)?);
    }
    // Once, so that both find what they read in the page cache.
    read_in_order(&pieces)?;

    let megabytes = (entries * entry_bytes as u64) as f64 / 1e6;
    let mut rounds = Vec::new();
    let mut owned = Vec::new();
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let began = Instant::now();
        let seen = reader.visit(0..entries, |entry| {
            black_box(entry.payload);
            ControlFlow::Continue(())
        })?;
        let ours = began.elapsed().as_secs_f64();
        ensure!(seen == entries, "the log gave {seen} of {entries} entries");
        let limit = read_in_order(&pieces)?.as_secs_f64();
        rounds.push(Round::pair(megabytes / ours, megabytes / limit));
        let began = Instant::now();
        for entry in reader.replay(0..entries) {
            black_box(&entry?.payload);
        }
        owned.push(limit / began.elapsed().as_secs_f64());
    }
    let params = params([
        ("entry_bytes", entry_bytes.into()),
        ("entries", entries.into()),
        ("cache", "warm".into()),
        ("owned_entries_ratio", stats::median(&owned).into()),
    ]);
    let limit = "pread + CRC32C of the same files, one thread, 1 MiB at once".to_owned();
    Ok(Measured { unit: Unit::MegabytesPerSecond, limit, params, rounds })
}
