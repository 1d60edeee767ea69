//! Reading a whole log in order.

use std::path::Path;

use anyhow::{Result, ensure};
use roadbed_benches::bench::{Bench, Measured, Round, Unit, params};
use roadbed_benches::limits::noise;

use super::{fill, peer_of, timed};
use crate::peer::Candidate;
use crate::peers::{self, OURS};

const ROUNDS: [usize; 2] = [3, 7];

/// Measures it for entries of one size, from the page cache.
pub fn run(bench: &Bench, candidate: &Candidate, entry_bytes: u64) -> Result<Measured> {
    let total_bytes: u64 = bench.pick(64 << 20, 256 << 20);
    let entries = total_bytes / entry_bytes;
    let scratch = bench.scratch(peers::KEEPS)?;
    let payload = noise(usize::try_from(entry_bytes)?);
    let dirs = ["ours", "peer"].map(|name| scratch.path().join(name));
    for (candidate, dir) in [&OURS, candidate].into_iter().zip(&dirs) {
        fill(&mut *(candidate.open)(dir, entry_bytes)?, &payload, entries)?;
    }
    let megabytes = (entries * entry_bytes) as f64 / 1e6;
    // Of a log that was just opened: nothing is in the memory of its process.
    let read = |candidate: &Candidate, dir: &Path| {
        let mut log = (candidate.open)(dir, entry_bytes)?;
        timed(|| {
            let bytes = log.replay()?;
            ensure!(bytes == entries * entry_bytes, "{bytes} of {} bytes came", entries * entry_bytes);
            Ok(())
        })
    };
    // Once, so that both find what they read in the page cache.
    read(&OURS, &dirs[0])?;
    read(candidate, &dirs[1])?;
    let mut rounds = Vec::new();
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        rounds.push(Round::pair(megabytes / read(&OURS, &dirs[0])?, megabytes / read(candidate, &dirs[1])?));
    }
    let params = params([
        peer_of(candidate),
        ("entry_bytes", entry_bytes.into()),
        ("entries", entries.into()),
        ("cache", "warm".into()),
    ]);
    Ok(Measured { unit: Unit::MegabytesPerSecond, limit: candidate.name.to_owned(), params, rounds })
}
