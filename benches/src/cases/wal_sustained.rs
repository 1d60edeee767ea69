//! Gigabytes without a pause, the front truncated behind them.

use std::time::Instant;

use anyhow::Result;

use super::logs;
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::limits::RawFile;
use crate::stats;

const ENTRY_BYTES: usize = 300 << 10;
const ENTRIES: usize = 8;
const GROUP_BYTES: u64 = (ENTRY_BYTES * ENTRIES) as u64;
/// Groups of a round: about 150 MB.
const GROUPS: u64 = 64;
/// Entries that stay.
const RETAINED: u64 = 512;
/// The front is cut each time that so many entries have come: about two thirds of a segment.
const CUT_EVERY: u64 = 144;
/// Space that the raw writes go round in, as the log goes round in its segments.
const RAW_BYTES: u64 = 256 << 20;

/// Measures it.
pub(super) fn run(bench: &Bench) -> Result<Measured> {
    let total_bytes: u64 = bench.pick(1 << 30, 8 << 30);
    let scratch = bench.scratch("sustained")?;
    // It begins as any log does: its first segments were never written.
    let mut log = logs::create(&scratch.path().join("log"), logs::options())?;
    let mut raw = RawFile::create(&scratch.path().join("raw"), RAW_BYTES, GROUP_BYTES)?;
    let payload = vec![0xa5; ENTRY_BYTES];
    let (mut groups_us, mut raw_groups_us) = (Vec::new(), Vec::new());
    let mut rounds = Vec::new();
    for _ in 0..total_bytes / (GROUPS * GROUP_BYTES) {
        let ours = Instant::now();
        for _ in 0..GROUPS {
            let began = Instant::now();
            logs::append_group(&mut log, &payload, ENTRIES)?;
            groups_us.push(began.elapsed().as_secs_f64() * 1e6);
            let range = log.range();
            if range.end - range.start >= RETAINED + CUT_EVERY {
                log.truncate_before(range.end - RETAINED)?;
            }
        }
        let ours = ours.elapsed().as_secs_f64();
        let limit = Instant::now();
        for _ in 0..GROUPS {
            raw_groups_us.push(raw.timed(GROUP_BYTES)? * 1e6);
        }
        let limit = limit.elapsed().as_secs_f64();
        let megabytes = (GROUPS * GROUP_BYTES) as f64 / 1e6;
        rounds.push(Round::pair(megabytes / ours, megabytes / limit));
    }
    // The first and the last tenth: what "sustained" means.
    let part = rounds.len().div_ceil(10);
    let rate =
        |rounds: &[Round]| stats::median(&rounds.iter().map(|round| round.ours[0]).collect::<Vec<_>>());
    let (first, last) = (rate(&rounds[..part]), rate(&rounds[rounds.len() - part..]));
    let params = params([
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries_per_sync", ENTRIES.into()),
        ("total_bytes", total_bytes.into()),
        ("retained_entries", RETAINED.into()),
        ("group_p50_us", stats::median(&groups_us).into()),
        ("group_p99_us", stats::quantile(&groups_us, 0.99).into()),
        ("limit_group_p99_us", stats::quantile(&raw_groups_us, 0.99).into()),
        ("last_tenth_over_first", (last / first).into()),
    ]);
    let limit = format!("raw durable writes of the same groups ({})", raw.how());
    Ok(Measured { unit: Unit::MegabytesPerSecond, limit, params, rounds })
}
