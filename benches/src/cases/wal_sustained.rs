//! Gigabytes without a pause, the front truncated behind them.

use std::time::Instant;

use anyhow::Result;

use super::logs::{self, Pace};
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
pub(super) fn run(bench: &Bench, pace: Pace) -> Result<Measured> {
    let total_bytes: u64 = bench.pick(1 << 30, 8 << 30);
    let scratch = bench.scratch("sustained")?;
    // It begins as any log does: its first segments were never written.
    let mut log = logs::create(&scratch.path().join("log"), logs::options())?;
    let mut raw = RawFile::create(&scratch.path().join("raw"), RAW_BYTES, GROUP_BYTES)?;
    let payload = vec![0xa5; ENTRY_BYTES];
    let (mut groups_us, mut raw_groups_us) = (Vec::new(), Vec::new());
    let (mut rounds, mut rounds_s) = (Vec::new(), Vec::new());
    for _ in 0..total_bytes.div_ceil(GROUPS * GROUP_BYTES) {
        let ours = Instant::now();
        for _ in 0..GROUPS {
            let began = Instant::now();
            logs::put_group(&mut log, &payload, ENTRIES, pace)?;
            groups_us.push(began.elapsed().as_secs_f64() * 1e6);
            let range = log.range();
            if range.end - range.start >= RETAINED + CUT_EVERY {
                log.truncate_before(range.end - RETAINED)?;
            }
        }
        log.settle()?;
        let ours = ours.elapsed().as_secs_f64();
        rounds_s.push(ours);
        let limit = Instant::now();
        for _ in 0..GROUPS {
            raw_groups_us.push(raw.timed(GROUP_BYTES)? * 1e6);
        }
        let limit = limit.elapsed().as_secs_f64();
        let megabytes = (GROUPS * GROUP_BYTES) as f64 / 1e6;
        rounds.push(Round::pair(megabytes / ours, megabytes / limit));
    }
    // What "sustained" means: no later second is much slower than the first.
    let rates = each_second(&rounds_s);
    let over_first = |rate: f64| rate / rates[0];
    let params = params([
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries_per_sync", ENTRIES.into()),
        ("total_bytes", (rounds.len() as u64 * GROUPS * GROUP_BYTES).into()),
        ("retained_entries", RETAINED.into()),
        ("group_p50_us", stats::median(&groups_us).into()),
        ("group_p99_us", stats::quantile(&groups_us, 0.99).into()),
        ("limit_group_p99_us", stats::quantile(&raw_groups_us, 0.99).into()),
        ("seconds", rates.len().into()),
        ("last_second_over_first", over_first(rates[rates.len() - 1]).into()),
        ("slowest_second_over_first", over_first(rates.iter().copied().fold(f64::INFINITY, f64::min)).into()),
    ]);
    let limit = format!("raw durable writes of the same groups ({})", raw.how());
    Ok(Measured { unit: Unit::MegabytesPerSecond, limit, params, rounds })
}

/// Rounds a second, for each second of the rounds' own time; what is left at the end counts only if it is all there is.
fn each_second(rounds_s: &[f64]) -> Vec<f64> {
    let (mut rates, mut rounds, mut took_s) = (Vec::new(), 0.0, 0.0);
    for round_s in rounds_s {
        (rounds, took_s) = (rounds + 1.0, took_s + round_s);
        if took_s >= 1.0 {
            rates.push(rounds / took_s);
            (rounds, took_s) = (0.0, 0.0);
        }
    }
    if rates.is_empty() {
        rates.push(rounds / took_s);
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_cut_from_rounds() {
        assert_eq!(each_second(&[0.5, 0.5, 1.0, 0.25, 2.0, 0.5]), [2.0, 1.0, 2.0 / 2.25]);
        assert_eq!(each_second(&[0.25, 0.25]), [4.0]);
    }
}
