//! Reading a whole log in order.

use std::path::Path;

use anyhow::{Result, ensure};
use roadbed_benches::bench::{Bench, Measured, Round, Unit, params};

use super::{fill, keeping, peer_of, timed};
use crate::peer::{Candidate, Looker, Payloads, verify};
use crate::peers::OURS;

const ROUNDS: [usize; 2] = [3, 7];

/// Measures it for entries of one size, from the page cache.
pub fn run(bench: &Bench, candidate: &Candidate, entry_bytes: u64) -> Result<Measured> {
    let total_bytes: u64 = bench.pick(64 << 20, 256 << 20);
    let entries = total_bytes / entry_bytes;
    let scratch = bench.scratch("replay")?;
    let payloads = Payloads::new(entry_bytes)?;
    let dirs = ["ours", "peer"].map(|name| scratch.path().join(name));
    for (candidate, dir) in [&OURS, candidate].into_iter().zip(&dirs) {
        fill(&mut *keeping(candidate, dir, &payloads)?, &payloads, entries)?;
        // This is also what brings all of it into the page cache.
        let whole = verify(&mut *keeping(candidate, dir, &payloads)?, &payloads)?;
        ensure!(whole == entries, "{whole} of {entries} entries are there");
    }
    let megabytes = (entries * entry_bytes) as f64 / 1e6;
    // Of a log that was just opened: nothing is in the memory of its process.
    let read = |candidate: &Candidate, dir: &Path| {
        let mut log = keeping(candidate, dir, &payloads)?;
        timed(|| {
            let seen = log.replay(Looker::default())?.entries;
            ensure!(seen == entries, "{seen} of {entries} entries came");
            Ok(())
        })
    };
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
