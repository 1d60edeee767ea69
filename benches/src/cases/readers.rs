//! Ingest while others read old blocks, beside ingest while nobody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use roadbed::{Config, Roadbed};
use roadbed_messages::BlockNumber;

use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::input::{SMALL, Source, blocks_in};
use crate::store::{Store, runtime};

const ROUNDS: [usize; 2] = [3, 7];
const COMMITTEE: usize = 20;
const QCS: [usize; 2] = [300, 800];
const IN_FLIGHT: usize = 390;
/// Readers at once.
const READERS: u64 = 64;
/// A reader waits so long between two blocks.
const PAUSE: Duration = Duration::from_millis(10);

/// Readers that go on until they are told to stop.
#[derive(Clone, Default)]
struct Readers {
    over: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
}

impl Readers {
    async fn read(self, roadbed: Roadbed, reader: u64, below: u64) {
        let mut place = reader;
        while !self.over.load(Ordering::Relaxed) {
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(reader | 1);
            let block = roadbed.try_block(BlockNumber((place >> 33) % below)).await;
            self.read.fetch_add(u64::from(block.is_ok()), Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Measures it.
pub(super) fn run(bench: &Bench) -> Result<Measured> {
    let scratch = bench.scratch("readers")?;
    let mut source = Source::new(COMMITTEE, SMALL);
    let (qcs, runtime) = (bench.pick(QCS[0], QCS[1]), runtime()?);
    let config = Config { segment_bytes: bench.segment_bytes(), ..Config::default() };
    let store = runtime.block_on(Store::start_warm(&scratch.path().join("store"), &mut source, config))?;
    runtime.block_on(store.ingest(&source.take(qcs), IN_FLIGHT))?;
    // What is older than the window is read from the log.
    let old = source.next().0 / 2;
    let (mut rounds, mut read) = (Vec::new(), 0);
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let readers = Readers::default();
        let with = source.take(qcs);
        let took = runtime.block_on(async {
            for reader in 0..READERS {
                tokio::spawn(readers.clone().read(store.roadbed.clone(), reader, old));
            }
            let took = store.ingest(&with, IN_FLIGHT).await;
            readers.over.store(true, Ordering::Relaxed);
            tokio::time::sleep(2 * PAUSE).await;
            took
        })?;
        read += readers.read.load(Ordering::Relaxed);
        let without = source.take(qcs);
        let alone = runtime.block_on(store.ingest(&without, IN_FLIGHT))?;
        let blocks = blocks_in(&with) as f64;
        rounds.push(Round::pair(blocks / took.as_secs_f64(), blocks / alone.as_secs_f64()));
    }
    runtime.block_on(store.stop())?;
    let params = params([
        ("committee", COMMITTEE.into()),
        ("readers", READERS.into()),
        ("pause_ms", PAUSE.as_secs_f64().into()),
        ("blocks_read", read.into()),
    ]);
    Ok(Measured {
        unit: Unit::BlocksPerSecond,
        limit: "the same while nobody reads".to_owned(),
        params,
        rounds,
    })
}
