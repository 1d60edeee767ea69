//! Dropping half of 2,000 large entries, at the front and at the back.

use anyhow::{Result, ensure};
use roadbed_benches::bench::{Bench, Measured, Round, Unit, params};

use super::{fill, new, peer_of, timed};
use crate::peer::{Candidate, Payloads, Peer, verify};
use crate::peers::OURS;

const ENTRY_BYTES: u64 = 300 << 10;
const ENTRIES: u64 = 2000;
const ROUNDS: [usize; 2] = [2, 5];

/// Measures the front.
pub fn front(bench: &Bench, candidate: &Candidate) -> Result<Measured> {
    let drop_front = |log: &mut dyn Peer| {
        let middle = log.next() - ENTRIES / 2;
        timed(|| log.drop_front(middle))
    };
    halve(bench, candidate, drop_front)
}

/// Measures the tail.
pub fn tail(bench: &Bench, candidate: &Candidate) -> Result<Measured> {
    let drop_tail = |log: &mut dyn Peer| {
        let middle = log.next() - ENTRIES / 2;
        timed(|| log.drop_tail(middle))
    };
    halve(bench, candidate, drop_tail)
}

fn halve(
    bench: &Bench,
    candidate: &Candidate,
    drop_half: impl Fn(&mut dyn Peer) -> Result<f64>,
) -> Result<Measured> {
    let scratch = bench.scratch("half")?;
    let payloads = Payloads::new(ENTRY_BYTES)?;
    let mut ours = new(&OURS, &scratch.path().join("ours"), &payloads)?;
    let mut peer = new(candidate, &scratch.path().join("peer"), &payloads)?;
    for log in [&mut ours, &mut peer] {
        fill(&mut **log, &payloads, ENTRIES / 2)?;
    }
    let mut rounds = Vec::new();
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        for log in [&mut ours, &mut peer] {
            fill(&mut **log, &payloads, ENTRIES / 2)?;
        }
        rounds.push(Round::pair(drop_half(&mut *ours)? * 1e3, drop_half(&mut *peer)? * 1e3));
        for log in [&mut ours, &mut peer] {
            log.free()?;
        }
    }
    for log in [&mut ours, &mut peer] {
        let left = verify(&mut **log, &payloads)?;
        ensure!((ENTRIES / 2..ENTRIES).contains(&left), "{left} entries are left of {ENTRIES}");
    }
    let params = params([
        peer_of(candidate),
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries", ENTRIES.into()),
        ("dropped", (ENTRIES / 2).into()),
    ]);
    Ok(Measured { unit: Unit::Millis, limit: candidate.name.to_owned(), params, rounds })
}
