//! Ingest while others are served, beside ingest while nobody is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use roadbed::{Config, Roadbed};
use roadbed_messages::BlockNumber;
use tokio::task::JoinSet;

use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::input::{SMALL, Source, blocks_in};
use crate::store::{Store, runtime};
use crate::threads::Spent;

const ROUNDS: [usize; 2] = [4, 10];
const COMMITTEE: usize = 20;
const QCS: [usize; 2] = [1000, 3000];
const IN_FLIGHT: usize = 390;
/// A reader waits so long between two blocks.
const PAUSE: Duration = Duration::from_millis(10);
/// Places where readers begin, in blocks: a prime, so that they fall everywhere and never twice on one.
const PLACES_APART: u64 = 7919;
/// What State may keep in memory of what is durable, where old blocks are to be in the log only.
const LITTLE_MEMORY_BYTES: u64 = 4 << 20;

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Each reads old blocks one after the other, as a peer does that catches up, from a place of its own on.
    Readers,
    /// Each follows the stream of durable blocks.
    Subscribers,
}

/// So many of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Company {
    pub(super) who: Who,
    pub(super) count: usize,
}

/// Blocks that were served, and refused.
#[derive(Clone, Default)]
struct Counts {
    served: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl Counts {
    fn add(&self, served: bool) {
        let count = if served { &self.served } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    async fn read(self, roadbed: Roadbed, from: u64, below: u64) {
        for number in (from..below).chain(0..below).cycle() {
            self.add(roadbed.try_block(BlockNumber(number)).await.is_ok());
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow(self, roadbed: Roadbed, from: BlockNumber) {
        let mut stream = roadbed.subscribe(from, true);
        loop {
            self.add(stream.next().await.is_ok());
        }
    }
}

impl Company {
    /// Measures it.
    pub(super) fn run(self, bench: &Bench) -> Result<Measured> {
        let scratch = bench.scratch("company")?;
        let mut source = Source::new(COMMITTEE, SMALL);
        let (qcs, runtime) = (bench.pick(QCS[0], QCS[1]), runtime()?);
        let mut config = Config { segment_bytes: bench.segment_bytes(), ..Config::default() };
        if self.who == Who::Readers {
            config.memory_bytes_max = LITTLE_MEMORY_BYTES;
        }
        let store =
            runtime.block_on(Store::start_warm(&scratch.path().join("store"), &mut source, config))?;
        runtime.block_on(store.ingest(&source.take(qcs), IN_FLIGHT))?;
        let old = source.next().0;
        let mut places = (0..).map(|nth: u64| nth.wrapping_mul(PLACES_APART) % old);

        let (mut rounds, mut spent) = (Vec::new(), Spent::default());
        let (mut served, mut seconds, mut blocks_beside) = (0, 0.0, 0);
        for round in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
            let mut rate = |in_company: bool| {
                let (from, input, counts) = (source.next(), source.take(qcs), Counts::default());
                let before = Spent::now();
                let took = runtime.block_on(async {
                    let mut company = JoinSet::new();
                    for place in places.by_ref().take(if in_company { self.count } else { 0 }) {
                        let (counts, roadbed) = (counts.clone(), store.roadbed.clone());
                        match self.who {
                            Who::Readers => company.spawn(counts.read(roadbed, place, old)),
                            Who::Subscribers => company.spawn(counts.follow(roadbed, from)),
                        };
                    }
                    let took = store.ingest(&input, IN_FLIGHT).await;
                    company.shutdown().await;
                    took
                })?;
                ensure!(counts.refused.load(Ordering::Relaxed) == 0, "blocks were refused");
                if in_company {
                    spent.add(Spent::now().since(&before));
                    served += counts.served.load(Ordering::Relaxed);
                    seconds += took.as_secs_f64();
                    blocks_beside += blocks_in(&input);
                }
                Ok(blocks_in(&input) as f64 / took.as_secs_f64())
            };
            // Each goes first in turn: what a round leaves behind is no advantage to either.
            let first = rate(round % 2 == 0)?;
            let second = rate(round % 2 == 1)?;
            rounds.push(if round % 2 == 0 { Round::pair(first, second) } else { Round::pair(second, first) });
        }
        runtime.block_on(store.stop())?;
        let mut params = params([
            ("committee", COMMITTEE.into()),
            ("served_at_once", self.count.into()),
            ("blocks_served", served.into()),
            ("blocks_served_per_s", (served as f64 / seconds).round().into()),
            ("blocks_served_per_block_ingested", (served as f64 / blocks_beside as f64).into()),
            ("cpu_us_per_block", spent.micros_each(blocks_beside as f64)),
        ]);
        if self.who == Who::Readers {
            let reading_us = spent.nanos_of("roadbed-read") / 1e3 / served as f64;
            ensure!(reading_us > 1.0, "the blocks came from memory: a reader spent {reading_us} us on each");
            params.insert("pause_ms".to_owned(), (PAUSE.as_secs_f64() * 1e3).into());
            params.insert("reader_us_per_block".to_owned(), reading_us.into());
        }
        let limit = "the same while nobody is served".to_owned();
        Ok(Measured { unit: Unit::BlocksPerSecond, limit, params, rounds })
    }
}
