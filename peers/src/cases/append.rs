//! Durable appends, group by group.

use anyhow::Result;
use roadbed_benches::bench::{Bench, Measured, Round, Unit, params};
use roadbed_benches::limits::{RawFile, noise};
use roadbed_benches::stats;

use super::{peer_of, timed, warm};
use crate::peer::{Candidate, FILE_BYTES};
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
    let mut ours = warm(&OURS, &scratch.path().join("ours"), bytes)?;
    let mut peer = warm(candidate, &scratch.path().join("peer"), bytes)?;
    let mut raw = RawFile::create(&scratch.path().join("raw"), FILE_BYTES, bytes * entries)?;
    let payload = noise(usize::try_from(bytes)?);
    let pairs = bench.pick(pairs[0], pairs[1]);
    let mut raw_us = Vec::new();
    let mut rounds = vec![Round::default(); bench.pick(ROUNDS[0], ROUNDS[1])];
    for round in &mut rounds {
        for _ in 0..pairs {
            round.ours.push(timed(|| ours.append(&payload, entries))? * 1e6);
            round.limit.push(timed(|| peer.append(&payload, entries))? * 1e6);
            raw_us.push(raw.timed(bytes * entries)? * 1e6);
        }
        ours.drop_front(ours.next())?;
        peer.drop_front(peer.next())?;
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
