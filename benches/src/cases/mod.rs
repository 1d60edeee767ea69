//! What is measured.

mod company;
mod ingest;
mod kills;
mod latency;
mod logs;
mod metrics;
mod null;
mod recovery;
mod restart;
mod retention;
mod verify;
mod wal_append;
mod wal_open;
mod wal_open_scale;
mod wal_read;
mod wal_replay;
mod wal_sustained;
mod wal_truncate;
mod watched;
mod watching;

use anyhow::Result;
use roadbed_messages::testing::ChainShape;

use crate::bench::{Bench, Measured};
use crate::input::{LARGE, SMALL};
use company::{Company, Who};
use ingest::Ingest;
use logs::Pace;
use retention::{Last, What};
use wal_append::Append;
use wal_open_scale::Cache;
pub use wal_open_scale::open_and_tell;
pub use watched::ingest_and_tell;

/// Measures one case.
pub(crate) type Run = fn(&Bench) -> Result<Measured>;

const KIB: usize = 1024;

const SMALL_GROUPS: Append = Append { entry_bytes: KIB, entries: 64, pairs: [40, 100] };
const LARGE_GROUPS: Append = Append { entry_bytes: 300 * KIB, entries: 8, pairs: [10, 25] };

/// Every case, in the order in which they run. Programs outside know the ids.
pub(crate) const ALL: &[(&str, Run)] = &[
    ("wal/append/1k-sync1", |bench| Append { entry_bytes: KIB, entries: 1, pairs: [50, 150] }.run(bench)),
    ("wal/append/1k-sync64", |bench| SMALL_GROUPS.run(bench)),
    ("wal/append/1k-sync64-stream", |bench| SMALL_GROUPS.stream(bench)),
    ("wal/append/300k-sync8", |bench| LARGE_GROUPS.run(bench)),
    ("wal/append/300k-sync8-stream", |bench| LARGE_GROUPS.stream(bench)),
    ("wal/append/300k-sync8-sustained", |bench| wal_sustained::run(bench, Pace::Each)),
    ("wal/append/300k-sync8-sustained-stream", |bench| wal_sustained::run(bench, Pace::Stream)),
    ("wal/open/1m-entries", wal_open::run),
    ("wal/open/1m-against-10k-warm", |bench| wal_open_scale::open(bench, Cache::Warm)),
    ("wal/open/1m-against-10k-cold", |bench| wal_open_scale::open(bench, Cache::Cold)),
    ("wal/open/1m-against-10k-memory", wal_open_scale::memory),
    ("wal/replay/1k", |bench| wal_replay::run(bench, KIB)),
    ("wal/replay/300k", |bench| wal_replay::run(bench, 300 * KIB)),
    ("wal/truncate-front", wal_truncate::front),
    ("wal/truncate-tail", wal_truncate::tail),
    ("wal/read/random", wal_read::random),
    ("wal/read/beside-writer", wal_read::beside_writer),
    ("verify/batch/c4", |bench| verify::run(bench, 4)),
    ("verify/batch/c20", |bench| verify::run(bench, 20)),
    ("verify/batch/c100", |bench| verify::run(bench, 100)),
    ("ingest/small/c4", |bench| Ingest { committee: 4, shape: SMALL, qcs: [300, 1000] }.run(bench)),
    ("ingest/small/c20", |bench| Ingest { committee: 20, shape: SMALL, qcs: [300, 1000] }.run(bench)),
    ("ingest/small/c100", |bench| Ingest { committee: 100, shape: SMALL, qcs: [200, 600] }.run(bench)),
    ("ingest/small/c20-readers", |bench| Company { who: Who::Readers, count: 64 }.run(bench)),
    ("ingest/null", null::run),
    ("ingest/large/c4", |bench| Ingest { committee: 4, shape: LARGE, qcs: [30, 80] }.run(bench)),
    ("ingest/large/c20", |bench| Ingest { committee: 20, shape: LARGE, qcs: [30, 80] }.run(bench)),
    ("ingest/large/c100", |bench| Ingest { committee: 100, shape: LARGE, qcs: [30, 80] }.run(bench)),
    ("ingest/metrics-cost/c4", |bench| watching::cost(bench, 4, bench.pick(300, 1500), "info")),
    ("ingest/metrics-cost/c20", |bench| watching::cost(bench, 20, bench.pick(300, 800), "info")),
    ("latency/c4", |bench| latency::run(bench, 4)),
    ("latency/c20", |bench| latency::run(bench, 20)),
    ("latency/c100", |bench| latency::run(bench, 100)),
    ("recovery/small", |bench| recovery::run(bench, SMALL, 400)),
    ("recovery/large", |bench| recovery::run(bench, LARGE, 200)),
    ("recovery/1m-against-10k", |bench| long_history(bench, What::Start, Last::Alike)),
    ("memory/1m-against-10k", |bench| long_history(bench, What::Memory, Last::Alike)),
    ("restart/worker", restart::run),
    ("restart/one-kill-a-second", kills::run),
    ("metrics/scrape", metrics::scrape),
    ("scale/committee/c1000", |bench| Ingest { committee: 1000, shape: SMALL, qcs: [10, 40] }.run(bench)),
    ("scale/block/16k", |bench| Ingest { committee: 20, shape: sized(16 * KIB), qcs: [100, 400] }.run(bench)),
    ("scale/block/2m", |bench| Ingest { committee: 20, shape: sized(2048 * KIB), qcs: [4, 12] }.run(bench)),
    ("scale/retention/1k", |bench| retention::run(bench, What::Start, 1000, Last::Alike)),
    ("scale/retention/100k", |bench| retention::run(bench, What::Start, 100_000, Last::Alike)),
    ("scale/retention/1m-as-it-falls", |bench| long_history(bench, What::Start, Last::AsItFalls)),
    ("scale/subscribers/1", |bench| Company { who: Who::Subscribers, count: 1 }.run(bench)),
    ("scale/subscribers/100", |bench| Company { who: Who::Subscribers, count: 100 }.run(bench)),
];

/// Cases that run only when they are asked for by their whole id: they take minutes, and a large disk.
pub(crate) const ON_REQUEST: &[(&str, Run)] =
    &[("scale/retention/10m", |bench| retention::run(bench, What::Start, 10_000_000, Last::Alike))];

fn long_history(bench: &Bench, what: What, last: Last) -> Result<Measured> {
    retention::run(bench, what, bench.pick(100_000, 1_000_000), last)
}

/// Ten blocks of this size a QC.
const fn sized(block_bytes: usize) -> ChainShape {
    ChainShape { txs_per_block: 64, tx_bytes: block_bytes / 64, ..SMALL }
}

/// All ids, for an error.
pub(crate) fn ids() -> String {
    ALL.iter().chain(ON_REQUEST).map(|(id, _)| *id).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<&str> = ALL.iter().chain(ON_REQUEST).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ALL.len() + ON_REQUEST.len());
    }
}
