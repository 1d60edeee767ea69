//! A worker that panics: how long until something is durable again.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use roadbed::Config;
use roadbed::supervision::{Fault, RestartPolicy};
use roadbed_messages::api::ActorKind;

use super::logs;
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::input::{SMALL, Source};
use crate::store::{Store, push, runtime};

const ROUNDS: [usize; 2] = [8, 30];
/// QCs between two panics: what the last segment of the log holds.
const QCS_BETWEEN: usize = 50;
const COMMITTEE: usize = 20;
const BLOCK_BYTES: usize = 1100;

/// Measures it.
pub(super) fn run(bench: &Bench) -> Result<Measured> {
    let scratch = bench.scratch("restart")?;
    let mut source = Source::new(COMMITTEE, SMALL);
    let runtime = runtime()?;
    let restart = RestartPolicy { restarts_max: u32::MAX, ..RestartPolicy::default() };
    let segment_bytes = 16 << 20;
    let config = Config { segment_bytes, restart, ..Config::default() };
    let store = runtime.block_on(Store::start_warm(&scratch.path().join("store"), &mut source, config))?;
    let alone = scratch.path().join("log");
    let mut options = logs::options();
    options.segment_bytes = segment_bytes;
    drop(logs::create_warm(&alone, options.clone())?);

    let mut rounds = Vec::new();
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        runtime.block_on(store.ingest(&source.take(QCS_BETWEEN), QCS_BETWEEN))?;
        let Some(next) = source.take(1).pop() else { continue };
        store.faults.inject(ActorKind::BlockWal, Fault::Panic);
        let began = Instant::now();
        runtime.block_on(push(store.roadbed.clone(), next))?;
        let ours = began.elapsed().as_secs_f64() * 1e3;
        rounds.push(Round::pair(ours, limit_ms(&alone, &options)?));
    }
    runtime.block_on(store.stop())?;
    let params = params([("actor", ActorKind::BlockWal.name().into())]);
    let limit = "one open of a log with the same last segment, one durable group".to_owned();
    Ok(Measured { unit: Unit::Millis, limit, params, rounds })
}

/// An opening after an unclean end, and one group.
fn limit_ms(dir: &Path, options: &roadbed_wal::LogOptions) -> Result<f64> {
    let payload = vec![0xa5; BLOCK_BYTES];
    logs::fill(&mut logs::open(dir, options.clone())?, &payload, 10 * QCS_BETWEEN as u64, 10 * QCS_BETWEEN)?;
    let began = Instant::now();
    let mut log = logs::open(dir, options.clone())?;
    logs::append_group(&mut log, &payload, 10)?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}
