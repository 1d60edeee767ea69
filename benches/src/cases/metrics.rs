//! A scrape of a busy node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use roadbed::prometheus::{Registry, TextEncoder};

use super::watched::config;
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::input::{SMALL, Source, blocks_in};
use crate::store::{Store, runtime};

const IN_FLIGHT: usize = 390;
/// A scrape that takes longer than this is too slow to be taken every second.
const SCRAPE_TARGET_MS: f64 = 5.0;
const SCRAPE_EVERY: Duration = Duration::from_millis(20);

/// How long a scrape of a busy node takes.
pub(super) fn scrape(bench: &Bench) -> Result<Measured> {
    let scratch = bench.scratch("scrape")?;
    let (registry, runtime) = (Registry::new(), runtime()?);
    let mut source = Source::new(4, SMALL);
    let store = runtime.block_on(Store::start_warm_watched(
        &scratch.path().join("store"),
        &mut source,
        config(bench.segment_bytes()),
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
