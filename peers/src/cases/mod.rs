//! What is measured: the cases of `benches/` for the log, under the same names.

mod append;
mod front_and_tail;
mod open;
mod read;
mod replay;
mod sustained;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use roadbed_benches::bench::{Bench, Measured};

use crate::peer::{Candidate, FILE_BYTES, Need, Payloads, Peer, Setup};
pub use open::fill_and_wait;

/// One case.
pub struct Case {
    /// Its name.
    pub id: &'static str,
    /// What it asks of a log.
    pub need: Need,
    /// Measures it for one peer.
    pub run: fn(&Bench, &Candidate) -> Result<Measured>,
}

const KIB: u64 = 1024;

/// Every case, in the order in which they run.
pub const ALL: &[Case] = &[
    Case {
        id: "wal/append/1k-sync1",
        need: Need::Append,
        run: |bench, peer| {
            append::run(bench, peer, append::Shape { bytes: KIB, entries: 1, pairs: [30, 100] })
        },
    },
    Case {
        id: "wal/append/1k-sync64",
        need: Need::Append,
        run: |bench, peer| {
            append::run(bench, peer, append::Shape { bytes: KIB, entries: 64, pairs: [30, 60] })
        },
    },
    Case {
        id: "wal/append/300k-sync8",
        need: Need::Append,
        run: |bench, peer| {
            append::run(bench, peer, append::Shape { bytes: 300 * KIB, entries: 8, pairs: [8, 15] })
        },
    },
    Case { id: "wal/append/300k-sync8-sustained", need: Need::Append, run: sustained::run },
    Case { id: "wal/open/1m-entries", need: Need::Append, run: open::run },
    Case { id: "wal/replay/1k", need: Need::Replay, run: |bench, peer| replay::run(bench, peer, KIB) },
    Case {
        id: "wal/replay/300k",
        need: Need::Replay,
        run: |bench, peer| replay::run(bench, peer, 300 * KIB),
    },
    Case { id: "wal/truncate-front", need: Need::DropFront, run: front_and_tail::front },
    Case { id: "wal/truncate-tail", need: Need::DropTail, run: front_and_tail::tail },
    Case { id: "wal/read/random", need: Need::Read, run: read::random },
    Case { id: "wal/read/beside-writer", need: Need::ReadBeside, run: read::beside_writer },
];

/// Bytes of the groups that fill a log, about.
const FILL_GROUP_BYTES: u64 = 8 << 20;

/// A new log, as it begins.
fn new(candidate: &Candidate, dir: &Path, payloads: &Payloads) -> Result<Box<dyn Peer>> {
    (candidate.open)(Setup { dir, payloads, keeps: false })
}

/// The same, whose entries will all be read again.
fn keeping(candidate: &Candidate, dir: &Path, payloads: &Payloads) -> Result<Box<dyn Peer>> {
    (candidate.open)(Setup { dir, payloads, keeps: true })
}

/// A log that has run for a while: what recycles its files has some to recycle.
fn warm(candidate: &Candidate, dir: &Path, payloads: &Payloads) -> Result<Box<dyn Peer>> {
    let mut log = new(candidate, dir, payloads)?;
    for files in [6, 1, 1] {
        fill(&mut *log, payloads, (files * FILE_BYTES).div_ceil(payloads.bytes()))?;
        log.drop_front(log.next())?;
        log.free()?;
    }
    Ok(log)
}

/// Adds so many entries, in large groups.
fn fill(log: &mut dyn Peer, payloads: &Payloads, entries: u64) -> Result<()> {
    let group = (FILL_GROUP_BYTES / payloads.bytes()).max(1);
    let mut left = entries;
    while left > 0 {
        append(log, left.min(group))?;
        left -= left.min(group);
    }
    Ok(())
}

/// Adds a group; answers the seconds that it took to become durable.
fn append(log: &mut dyn Peer, entries: u64) -> Result<f64> {
    log.prepare(entries);
    timed(|| log.append(entries))
}

/// Seconds that something takes.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

/// The entry in the report that says which peer it is about.
fn peer_of(candidate: &Candidate) -> (&'static str, serde_json::Value) {
    ("peer", candidate.name.into())
}
