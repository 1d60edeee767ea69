//! From pushes to durable blocks.

use std::time::Duration;

use anyhow::Result;
use roadbed::{Config, RetentionPolicy, Stats};
use roadbed_messages::testing::ChainShape;

use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::input::{Source, blocks_in, in_flight_of, stored_bytes};
use crate::limits::{self, RawFile, write_both};
use crate::stats;
use crate::store::{Store, runtime};
use crate::threads::Spent;

const ROUNDS: [usize; 2] = [3, 7];
/// Space that each log's raw writes go round in.
const RAW_BYTES: u64 = 128 << 20;
/// The largest group that a log writes.
const GROUP_BYTES_MAX: u64 = 16 << 20;

/// One shape of input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ingest {
    /// Members of the committee.
    pub(super) committee: usize,
    /// What its chain looks like.
    pub(super) shape: ChainShape,
    /// QCs of a round, quick and usual.
    pub(super) qcs: [usize; 2],
}

/// What the machine needs for one round's input, at least.
struct Needs {
    disk: Duration,
    /// All hashes and signatures, by the same threads.
    verification: Duration,
    /// The payloads' hashes alone, on all cores.
    hashes: Duration,
    /// The signatures alone, on all cores.
    signatures: Duration,
}

impl Needs {
    fn slower(&self) -> Duration {
        self.disk.max(self.verification)
    }

    /// As if each of them had all cores to itself.
    fn slowest_part(&self) -> Duration {
        self.disk.max(self.hashes).max(self.signatures)
    }
}

impl Ingest {
    /// Measures it.
    pub(super) fn run(self, bench: &Bench) -> Result<Measured> {
        let scratch = bench.scratch("ingest")?;
        let mut source = Source::new(self.committee, self.shape);
        let qcs = bench.pick(self.qcs[0], self.qcs[1]);
        let runtime = runtime()?;
        let mut config = Config { segment_bytes: bench.segment_bytes(), ..Config::default() };
        let block_bytes = self.shape.txs_per_block * self.shape.tx_bytes;
        if block_bytes > 100_000 {
            // As a validator in its steady state: what was executed goes, and its space is used again.
            let interval = Duration::from_millis(50);
            config.retention = RetentionPolicy { blocks_max: Some(200), interval, ..config.retention };
        }
        let mut raw_qcs = RawFile::create(&scratch.path().join("raw-qcs"), RAW_BYTES, GROUP_BYTES_MAX)?;
        let mut raw_blocks = RawFile::create(&scratch.path().join("raw-blocks"), RAW_BYTES, GROUP_BYTES_MAX)?;
        let store =
            runtime.block_on(Store::start_warm(&scratch.path().join("store"), &mut source, config))?;

        // A round that does not count: buffers grow to the size of groups.
        let input = source.take(qcs);
        runtime.block_on(store.ingest(&input, in_flight_of(&input).min(32)))?;

        let (mut rounds, mut needs, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        let (mut sizes, mut in_flight) = ((0, 0), 0);
        let mut to_slowest_part = Vec::new();
        let (mut spent, mut blocks_all) = (Spent::default(), 0.0);
        for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
            let input = source.take(qcs);
            let blocks = blocks_in(&input) as f64;
            sizes = stored_bytes(&input);
            in_flight = in_flight_of(&input);
            let (before, spent_before) = (store.roadbed.stats(), Spent::now());
            let took = runtime.block_on(store.ingest(&input, in_flight))?;
            spent.add(Spent::now().since(&spent_before));
            blocks_all += blocks;
            let written = since(before, store.roadbed.stats());
            let need = Needs {
                disk: write_both(
                    (&mut raw_qcs, written.qcs.groups, mean(written.qcs.bytes, written.qcs.groups)),
                    (
                        &mut raw_blocks,
                        written.blocks.groups,
                        mean(written.blocks.bytes, written.blocks.groups),
                    ),
                )?,
                verification: limits::verify_in_full(&source.members.committee, &input)?,
                hashes: limits::hash(&input),
                signatures: limits::verify(&source.members.committee, &input)?,
            };
            rounds.push(Round::pair(blocks / took.as_secs_f64(), blocks / need.slower().as_secs_f64()));
            to_slowest_part.push(need.slowest_part().as_secs_f64() / took.as_secs_f64());
            groups.push((written.qcs.groups as f64, written.blocks.groups as f64));
            needs.push(need);
        }
        runtime.block_on(store.stop())?;

        let blocks = (qcs * self.shape.blocks_per_qc) as f64;
        let rate = |of: fn(&Needs) -> Duration| {
            blocks / stats::median(&needs.iter().map(|need| of(need).as_secs_f64()).collect::<Vec<_>>())
        };
        let (disk, verification) = (rate(|need| need.disk), rate(|need| need.verification));
        let slower = if disk < verification { "raw durable writes" } else { "verification" };
        let median_of =
            |of: fn(&(f64, f64)) -> f64| stats::median(&groups.iter().map(of).collect::<Vec<_>>());
        let params = params([
            ("committee", self.committee.into()),
            ("blocks_per_round", blocks.into()),
            ("qc_bytes", (sizes.0 / qcs as u64).into()),
            ("block_bytes", ((sizes.1 as f64 / blocks).round()).into()),
            ("qcs_in_flight", in_flight.into()),
            ("groups_qcs", median_of(|groups| groups.0).into()),
            ("groups_blocks", median_of(|groups| groups.1).into()),
            ("cpu_us_per_block", spent.micros_each(blocks_all)),
            ("limit_disk_blocks_per_s", disk.round().into()),
            ("limit_verification_blocks_per_s", verification.round().into()),
            ("hashes_alone_blocks_per_s", rate(|need| need.hashes).round().into()),
            ("signatures_alone_blocks_per_s", rate(|need| need.signatures).round().into()),
            ("ratio_to_slowest_part", stats::median(&to_slowest_part).into()),
        ]);
        let limit = format!(
            "{slower}, the slower of the same groups written raw and hashes with batched ed25519 on all cores"
        );
        Ok(Measured { unit: Unit::BlocksPerSecond, limit, params, rounds })
    }
}

fn mean(bytes: u64, groups: u64) -> u64 {
    bytes.div_ceil(groups.max(1)).min(GROUP_BYTES_MAX)
}

/// What was written between two looks at the counters.
fn since(before: Stats, after: Stats) -> Stats {
    let mut written = after;
    written.qcs.groups -= before.qcs.groups;
    written.qcs.bytes -= before.qcs.bytes;
    written.blocks.groups -= before.blocks.groups;
    written.blocks.bytes -= before.blocks.bytes;
    written
}
