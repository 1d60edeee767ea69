//! Gigabytes without a pause, the front dropped behind them: nobody waits for one group before the next is put together,
//! where the log can do without.

use anyhow::Result;
use roadbed_benches::bench::{Bench, Measured, Round, Unit, params};
use roadbed_benches::limits::RawFile;
use roadbed_benches::stats;

use super::{new, peer_of, timed};
use crate::peer::{Candidate, Payloads, Peer};
use crate::peers::OURS;

const ENTRY_BYTES: u64 = 300 << 10;
const ENTRIES: u64 = 8;
const GROUP_BYTES: u64 = ENTRY_BYTES * ENTRIES;
/// Groups between two changes of turn: about 630 MB, so that what a log puts off falls into its own turn.
const GROUPS: u64 = 256;
/// Entries that stay.
const RETAINED: u64 = 512;
/// The front goes each time that so many entries have come.
const CUT_EVERY: u64 = 144;
const RAW_BYTES: u64 = 256 << 20;

/// Measures it.
pub fn run(bench: &Bench, candidate: &Candidate) -> Result<Measured> {
    let total_bytes: u64 = bench.pick(2 << 30, 8 << 30);
    let scratch = bench.scratch("sustained")?;
    // Both begin as any log does: in files that were never written.
    let payloads = Payloads::new(ENTRY_BYTES)?;
    let mut ours = new(&OURS, &scratch.path().join("ours"), &payloads)?;
    let mut peer = new(candidate, &scratch.path().join("peer"), &payloads)?;
    let mut raw = RawFile::create(&scratch.path().join("raw"), RAW_BYTES, GROUP_BYTES)?;
    let megabytes = (GROUPS * GROUP_BYTES) as f64 / 1e6;
    let (mut ours_cut, mut peer_cut) = (0, 0);
    let (mut rounds, mut raw_rates) = (Vec::new(), Vec::new());
    for _ in 0..(total_bytes / (GROUPS * GROUP_BYTES)).max(2) {
        let ours_took = stretch(&mut *ours, &mut ours_cut)?;
        let peer_took = stretch(&mut *peer, &mut peer_cut)?;
        let raw_took = timed(|| (0..GROUPS).try_for_each(|_| Ok(raw.write(GROUP_BYTES)?)))?;
        rounds.push(Round::pair(megabytes / ours_took, megabytes / peer_took));
        raw_rates.push(megabytes / raw_took);
    }
    let params = params([
        peer_of(candidate),
        ("entry_bytes", ENTRY_BYTES.into()),
        ("entries_per_sync", ENTRIES.into()),
        ("total_bytes", (rounds.len() as u64 * GROUPS * GROUP_BYTES).into()),
        ("retained_entries", RETAINED.into()),
        ("raw_mb_per_s", stats::median(&raw_rates).into()),
    ]);
    Ok(Measured { unit: Unit::MegabytesPerSecond, limit: candidate.name.to_owned(), params, rounds })
}

/// One turn; `cut` is the front as it was dropped last. Answers the seconds that the log took.
fn stretch(log: &mut dyn Peer, cut: &mut u64) -> Result<f64> {
    let mut took = 0.0;
    for _ in 0..GROUPS {
        log.prepare(ENTRIES);
        took += timed(|| log.stream(ENTRIES))?;
        if log.next() - *cut >= RETAINED + CUT_EVERY {
            *cut = log.next() - RETAINED;
            took += timed(|| {
                log.drop_front(*cut)?;
                log.free()
            })?;
        }
    }
    Ok(took + timed(|| log.settle())?)
}
