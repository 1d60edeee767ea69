//! Durable appends, group by group.

use anyhow::Result;
use roadbed_benches::bench::{Bench, Measured, Round, Unit, params};
use roadbed_benches::limits::RawFile;
use roadbed_benches::stats;

use super::{append, peer_of, warm};
use crate::peer::{Candidate, FILE_BYTES, Payloads};
use crate::peers::OURS;

const ROUNDS: [usize; 2] = [4, 9];

/// One shape of groups.
pub struct Shape {
    /// Bytes of an entry.
    pub bytes: u64,
    /// Entries of a group.
    pub entries: u64,
    /// Groups of a round, quick and usual.
    pub pairs: [usize; 2],
}

/// Measures it: a group of ours, one of the peer's, one raw write, by turns.
pub fn run(bench: &Bench, candidate: &Candidate, shape: Shape) -> Result<Measured> {
    let Shape { bytes, entries, pairs } = shape;
    let scratch = bench.scratch("append")?;
    let payloads = Payloads::new(bytes)?;
    let mut ours = warm(&OURS, &scratch.path().join("ours"), &payloads)?;
    let mut peer = warm(candidate, &scratch.path().join("peer"), &payloads)?;
    let mut raw = RawFile::create(&scratch.path().join("raw"), FILE_BYTES, bytes * entries)?;
    let pairs = bench.pick(pairs[0], pairs[1]);
    let mut raw_us = Vec::new();
    let mut rounds = vec![Round::default(); bench.pick(ROUNDS[0], ROUNDS[1])];
    for round in &mut rounds {
        for _ in 0..pairs {
            round.ours.push(append(&mut *ours, entries)? * 1e6);
            round.limit.push(append(&mut *peer, entries)? * 1e6);
            raw_us.push(raw.timed(bytes * entries)? * 1e6);
        }
        for log in [&mut ours, &mut peer] {
            log.drop_front(log.next())?;
            log.free()?;
        }
    }
    let params = params([
        peer_of(candidate),
        ("entry_bytes", bytes.into()),
        ("entries_per_sync", entries.into()),
        ("pairs_per_round", pairs.into()),
        ("raw_us", stats::median(&raw_us).into()),
    ]);
    Ok(Measured { unit: Unit::Micros, limit: candidate.name.to_owned(), params, rounds })
}
