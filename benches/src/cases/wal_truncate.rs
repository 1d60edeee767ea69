//! Dropping the front half of 2,000 large entries.

use std::time::Instant;

use anyhow::Result;

use super::logs;
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::limits::RawFile;

const ENTRY_BYTES: usize = 300 << 10;
const ENTRIES: u64 = 2000;
const ROUNDS: [usize; 2] = [4, 15];

/// Measures it.
pub(super) fn run(bench: &Bench) -> Result<Measured> {
    let scratch = bench.scratch("truncate")?;
    let mut log = logs::create(&scratch.path().join("log"), logs::options())?;
    let mut raw = RawFile::create(&scratch.path().join("raw"), 1 << 20, 1)?;
    let payload = vec![0xa5; ENTRY_BYTES];
    let mut rounds = Vec::new();
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let range = log.range();
        logs::fill(&mut log, &payload, ENTRIES - (range.end - range.start), 8)?;
        let front = log.range().start + ENTRIES / 2;
        let began = Instant::now();
        log.truncate_before(front)?;
        let ours = began.elapsed().as_secs_f64() * 1e3;
        rounds.push(Round::pair(ours, raw.timed(1)? * 1e3));
    }
    let params = params([
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries", ENTRIES.into()),
        ("dropped", (ENTRIES / 2).into()),
    ]);
    let limit = format!("one raw durable page ({})", raw.how());
    Ok(Measured { unit: Unit::Millis, limit, params, rounds })
}
