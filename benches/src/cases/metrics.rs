//! What watching costs: durable ingest with everything counted beside the same with nothing counted; and a scrape.
//!
//! Two stores run in one process on the same chain, one with a registry and one without: it is the registry that
//! switches counting on. They take turns, and whoever goes first in one turn goes second in the next; two turns give one
//! ratio, so neither the order nor a machine that drifts tells them apart.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use roadbed::prometheus::{Registry, TextEncoder};
use roadbed::{Config, RetentionPolicy};
use serde_json::Value;

use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::input::{Certified, SMALL, Source, blocks_in};
use crate::stats;
use crate::store::{Store, runtime, wait_until_quiet};
use crate::threads::Spent;

/// Ratios, quick and usual.
const ROUNDS: [usize; 2] = [6, 40];
const IN_FLIGHT: usize = 390;
/// The threads that count: State, the logs, the verifier.
const COUNTING: [&str; 4] = ["roadbed", "roadbed-qcs", "roadbed-blocks", "roadbed-verify"];
/// A scrape that takes longer than this is too slow to be taken every second.
const SCRAPE_TARGET_MS: f64 = 5.0;
const SCRAPE_EVERY: Duration = Duration::from_millis(20);

/// One of the two stores, and what it took in one round.
struct Side {
    store: Store,
    seconds: f64,
    spent: Spent,
    spent_all: Spent,
}

impl Side {
    fn new(store: Store) -> Self {
        Self { store, seconds: 0.0, spent: Spent::default(), spent_all: Spent::default() }
    }

    fn begin(&mut self) {
        self.seconds = 0.0;
        self.spent_all.add(std::mem::take(&mut self.spent));
    }

    async fn ingest(&mut self, input: &[Certified]) -> Result<()> {
        let before = Spent::now();
        self.seconds += self.store.ingest(input, IN_FLIGHT).await?.as_secs_f64();
        self.spent.add(Spent::now().since(&before));
        // Its housekeeping is not to meet the other's turn.
        wait_until_quiet().await
    }
}

/// A store that has pruning to do, as a validator in its steady state.
fn config(bench: &Bench) -> Config {
    let interval = Duration::from_millis(50);
    let retention = RetentionPolicy { blocks_max: Some(20_000), interval, ..RetentionPolicy::default() };
    Config { segment_bytes: bench.segment_bytes(), retention, ..Config::default() }
}

/// Ingest with metrics; the limit is the same without.
pub(super) fn cost(bench: &Bench, committee: usize, qcs: usize) -> Result<Measured> {
    let scratch = bench.scratch("metrics")?;
    let (registry, runtime) = (Registry::new(), runtime()?);
    let mut source = Source::new(committee, SMALL);
    // The same chain once more, for the other store's warm-up.
    let mut twin = Source::new(committee, SMALL);
    let mut with = Side::new(runtime.block_on(Store::start_warm_watched(
        &scratch.path().join("with"),
        &mut source,
        config(bench),
        Some(&registry),
    ))?);
    let mut without = Side::new(runtime.block_on(Store::start_warm(
        &scratch.path().join("without"),
        &mut twin,
        config(bench),
    ))?);
    let (mut rounds, mut times, mut cores) = (Vec::new(), Vec::new(), Vec::new());
    let (mut added, mut blocks_all) = (COUNTING.map(|_| Vec::new()), 0.0);
    for round in 0..=bench.pick(ROUNDS[0], ROUNDS[1]) {
        let inputs = [source.take(qcs), source.take(qcs)];
        with.begin();
        without.begin();
        for (turn, input) in inputs.iter().enumerate() {
            let mut order = [&mut with, &mut without];
            order.rotate_left((round + turn) % 2);
            for side in order {
                runtime.block_on(side.ingest(input))?;
            }
        }
        // The first one is a warm-up.
        if round == 0 {
            with.spent = Spent::default();
            without.spent = Spent::default();
            continue;
        }
        let blocks = inputs.iter().map(|input| blocks_in(input) as f64).sum::<f64>();
        blocks_all += blocks;
        rounds.push(Round::pair(blocks / with.seconds, blocks / without.seconds));
        times.push(with.seconds / without.seconds);
        cores.push(with.spent.total_nanos() / without.spent.total_nanos());
        for (name, added) in COUNTING.iter().zip(&mut added) {
            let more = with.spent.nanos_of(name) - without.spent.nanos_of(name);
            added.push(more / without.spent.total_nanos());
        }
    }
    with.begin();
    without.begin();
    let params = params([
        ("committee", committee.into()),
        ("qcs_per_turn", qcs.into()),
        ("time_ratio", median_with_interval(&times)),
        ("processor_time_ratio", median_with_interval(&cores)),
        // What each kind of thread does more, as a share of all that is done without.
        ("processor_time_added", Value::Object(COUNTING.iter().zip(&added).map(told).collect())),
        ("cpu_us_per_block", with.spent_all.micros_each(blocks_all)),
        ("cpu_us_per_block_without", without.spent_all.micros_each(blocks_all)),
    ]);
    runtime.block_on(with.store.stop())?;
    runtime.block_on(without.store.stop())?;
    Ok(Measured { unit: Unit::BlocksPerSecond, limit: "the same without metrics".to_owned(), params, rounds })
}

fn told((name, added): (&&str, &Vec<f64>)) -> (String, Value) {
    ((*name).to_owned(), median_with_interval(added))
}

/// The median, and where the true one lies with a probability of 95 %.
fn median_with_interval(ratios: &[f64]) -> Value {
    let (low, high) = stats::median_interval_95(ratios);
    let four = |ratio: f64| (ratio * 1e4).round() / 1e4;
    serde_json::json!({ "median": four(stats::median(ratios)), "low95": four(low), "high95": four(high) })
}

/// How long a scrape of a busy node takes.
pub(super) fn scrape(bench: &Bench) -> Result<Measured> {
    let scratch = bench.scratch("scrape")?;
    let (registry, runtime) = (Registry::new(), runtime()?);
    let mut source = Source::new(4, SMALL);
    let store = runtime.block_on(Store::start_warm_watched(
        &scratch.path().join("store"),
        &mut source,
        config(bench),
        Some(&registry),
    ))?;
    let input = source.take(bench.pick(3_000, 12_000));
    let over = AtomicBool::new(false);
    let (taken, ingested) = thread::scope(|scope| {
        let scraper = scope.spawn(|| scrapes(&registry, &over));
        let ingested = runtime.block_on(store.ingest(&input, IN_FLIGHT));
        over.store(true, Ordering::Relaxed);
        (scraper.join(), ingested)
    });
    let (taken, bytes) = taken.map_err(|_| anyhow::anyhow!("the scraper has panicked"))??;
    let took = ingested?;
    runtime.block_on(store.stop())?;
    let params = params([
        ("scrapes", taken.len().into()),
        ("bytes", bytes.into()),
        ("blocks_per_s", (blocks_in(&input) as f64 / took.as_secs_f64()).round().into()),
    ]);
    let rounds = taken.into_iter().map(|millis| Round::pair(millis, SCRAPE_TARGET_MS)).collect();
    Ok(Measured { unit: Unit::Millis, limit: "what it may take".to_owned(), params, rounds })
}

/// The milliseconds of each scrape, and the bytes of the last.
fn scrapes(registry: &Registry, over: &AtomicBool) -> Result<(Vec<f64>, usize)> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).context("encode the metrics")?;
        taken.push(began.elapsed().as_secs_f64() * 1e3);
        bytes = text.len();
        thread::sleep(SCRAPE_EVERY);
    }
    Ok((taken, bytes))
}
