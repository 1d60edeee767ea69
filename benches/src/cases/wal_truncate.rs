//! Dropping half of 2,000 large entries, at the front and at the back.

use std::time::Instant;

use anyhow::Result;
use roadbed_wal::{Log, WalError};

use super::logs;
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::limits::RawFile;

const ENTRY_BYTES: usize = 300 << 10;
const ENTRIES: u64 = 2000;
const ROUNDS: [usize; 2] = [4, 11];

/// Measures the front.
pub(super) fn front(bench: &Bench) -> Result<Measured> {
    run(bench, |log, middle| log.truncate_before(middle))
}

/// Measures the tail.
pub(super) fn tail(bench: &Bench) -> Result<Measured> {
    run(bench, |log, middle| log.truncate_after(middle))
}

fn run(bench: &Bench, cut: fn(&mut Log, u64) -> Result<(), WalError>) -> Result<Measured> {
    let scratch = bench.scratch("truncate")?;
    let mut log = logs::create(&scratch.path().join("log"), logs::options())?;
    let mut raw = RawFile::create(&scratch.path().join("raw"), 1 << 20, 1)?;
    let payload = vec![0xa5; ENTRY_BYTES];
    let mut rounds = Vec::new();
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let range = log.range();
        logs::fill(&mut log, &payload, ENTRIES - (range.end - range.start), 8)?;
        let middle = log.range().start + ENTRIES / 2;
        let began = Instant::now();
        cut(&mut log, middle)?;
        let ours = began.elapsed().as_secs_f64() * 1e3;
        rounds.push(Round::pair(ours, raw.timed(1)? * 1e3));
        // What it put off is done between two cuts, as its owner would.
        while log.idle()? {}
    }
    let params = params([
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries", ENTRIES.into()),
        ("dropped", (ENTRIES / 2).into()),
    ]);
    let limit = format!("one raw durable page ({})", raw.how());
    Ok(Measured { unit: Unit::Millis, limit, params, rounds })
}
