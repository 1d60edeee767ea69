//! Durable appends, group by group: the time of a group beside that of one raw durable write of the same payloads. The
//! raw write takes memory that nobody touches; what it takes after the payloads were copied there is told beside it.
//!
//! In a stream the caller puts the next group together while one is written: the time is that from one group that becomes
//! durable to the next.

use std::time::Instant;

use anyhow::Result;

use super::logs::{self, Pace};
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::limits::RawFile;
use crate::stats;

/// How often ours and the limit alternate: rounds, quick and usual.
const ROUNDS: [usize; 2] = [5, 15];
/// Space that the raw writes go round in.
const RAW_BYTES: u64 = 64 << 20;

/// One shape of groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Append {
    /// Bytes of an entry.
    pub(super) entry_bytes: usize,
    /// Entries of a group.
    pub(super) entries: usize,
    /// Pairs in a round, quick and usual.
    pub(super) pairs: [usize; 2],
}

impl Append {
    /// Measures it.
    pub(super) fn run(self, bench: &Bench) -> Result<Measured> {
        let scratch = bench.scratch("append")?;
        let mut log = logs::create_warm(&scratch.path().join("log"), logs::options())?;
        let payload = vec![0xa5; self.entry_bytes];
        let group_bytes = (self.entry_bytes * self.entries) as u64;
        let mut raw = RawFile::create(&scratch.path().join("raw"), RAW_BYTES, group_bytes)?;
        let pairs = bench.pick(self.pairs[0], self.pairs[1]);
        let mut rounds = vec![Round::default(); bench.pick(ROUNDS[0], ROUNDS[1])];
        let mut after_copy_us = Vec::new();
        for round in &mut rounds {
            for _ in 0..pairs {
                let began = Instant::now();
                logs::append_group(&mut log, &payload, self.entries)?;
                round.ours.push(began.elapsed().as_secs_f64() * 1e6);
                round.limit.push(raw.timed(group_bytes)? * 1e6);
                after_copy_us.push(raw.timed_after_copy(&payload, self.entries)? * 1e6);
            }
            // What was appended goes back into the pool, so that the next round finds written space.
            log.truncate_before(log.range().end)?;
        }
        let ours: Vec<f64> = rounds.iter().flat_map(|round| &round.ours).copied().collect();
        let after_copy = stats::median(&after_copy_us);
        let params = params([
            ("entry_bytes", self.entry_bytes.into()),
            ("entries_per_sync", self.entries.into()),
            ("pairs_per_round", pairs.into()),
            ("direct", log.writes_directly().into()),
            ("limit_after_copy_us", after_copy.into()),
            ("limit_after_copy_over_ours", (after_copy / stats::median(&ours)).into()),
        ]);
        let limit = format!("one raw durable write of the payloads ({})", raw.how());
        Ok(Measured { unit: Unit::Micros, limit, params, rounds })
    }

    /// Measures it in a stream, beside raw writes one after the other.
    pub(super) fn stream(self, bench: &Bench) -> Result<Measured> {
        let scratch = bench.scratch("stream")?;
        let mut log = logs::create_warm(&scratch.path().join("log"), logs::options())?;
        let payload = vec![0xa5; self.entry_bytes];
        let group_bytes = (self.entry_bytes * self.entries) as u64;
        let mut raw = RawFile::create(&scratch.path().join("raw"), RAW_BYTES, group_bytes)?;
        let groups = bench.pick(self.pairs[0], self.pairs[1]);
        let mut rounds = vec![Round::default(); bench.pick(ROUNDS[0], ROUNDS[1])];
        for round in &mut rounds {
            let mut put = || logs::put_group(&mut log, &payload, self.entries, Pace::Stream);
            // The first two find room at once.
            put()?;
            put()?;
            for _ in 0..groups {
                let began = Instant::now();
                put()?;
                round.ours.push(began.elapsed().as_secs_f64() * 1e6);
            }
            log.settle()?;
            for _ in 0..groups {
                round.limit.push(raw.timed(group_bytes)? * 1e6);
            }
            log.truncate_before(log.range().end)?;
        }
        let total = |of: fn(&Round) -> &Vec<f64>| rounds.iter().flat_map(of).sum::<f64>();
        let params = params([
            ("entry_bytes", self.entry_bytes.into()),
            ("entries_per_group", self.entries.into()),
            ("groups_per_round", groups.into()),
            ("direct", log.writes_directly().into()),
            // With the segments that were rolled, which medians don't show.
            ("ratio_of_totals", (total(|round| &round.limit) / total(|round| &round.ours)).into()),
        ]);
        let limit = format!("one raw durable write of the payloads ({})", raw.how());
        Ok(Measured { unit: Unit::Micros, limit, params, rounds })
    }
}
