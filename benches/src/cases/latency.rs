//! From the push of one QC of ten small blocks to the answer of its app hash, one at a time.

use std::time::Instant;

use anyhow::Result;
use roadbed::Config;

use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::input::{SMALL, Source, stored_bytes};
use crate::limits::{RawFile, WritePair, signatures_of, verify_one_batch};
use crate::stats;
use crate::store::{Store, push, runtime};
use crate::threads::Spent;

const ROUNDS: [usize; 2] = [4, 10];
const PAIRS: [usize; 2] = [30, 100];
const RAW_BYTES: u64 = 16 << 20;

/// Measures it for a committee of one size.
pub(super) fn run(bench: &Bench, committee: usize) -> Result<Measured> {
    let scratch = bench.scratch("latency")?;
    let mut source = Source::new(committee, SMALL);
    let runtime = runtime()?;
    let config = Config { segment_bytes: bench.segment_bytes(), ..Config::default() };
    let raw = |name| RawFile::create(&scratch.path().join(name), RAW_BYTES, 1 << 20);
    let mut pair = WritePair::new(raw("raw-qcs")?, raw("raw-blocks")?);
    let how = pair.how();
    let store = runtime.block_on(Store::start_warm(&scratch.path().join("store"), &mut source, config))?;

    let pairs = bench.pick(PAIRS[0], PAIRS[1]);
    let mut rounds = vec![Round::default(); bench.pick(ROUNDS[0], ROUNDS[1])];
    let (mut verify_us, mut write_us) = (Vec::new(), Vec::new());
    let mut spent = Spent::default();
    for round in &mut rounds {
        for certified in source.take(pairs) {
            let signed = signatures_of(&source.members.committee, &certified.0);
            let (qc_bytes, block_bytes) = stored_bytes(std::slice::from_ref(&certified));
            let spent_before = Spent::now();
            let began = Instant::now();
            runtime.block_on(push(store.roadbed.clone(), certified))?;
            round.ours.push(began.elapsed().as_secs_f64() * 1e6);
            spent.add(Spent::now().since(&spent_before));
            let verify = verify_one_batch(&signed)? * 1e6;
            let write = pair.timed(qc_bytes, block_bytes)? * 1e6;
            round.limit.push(verify + write);
            verify_us.push(verify);
            write_us.push(write);
        }
    }
    let stats_of = store.roadbed.stats();
    runtime.block_on(store.stop())?;
    let params = params([
        ("committee", committee.into()),
        ("pairs_per_round", pairs.into()),
        ("cpu_us", spent.micros_each(verify_us.len() as f64)),
        ("limit_verify_us", stats::median(&verify_us).into()),
        ("limit_write_pair_us", stats::median(&write_us).into()),
        ("sync_p50_us_qcs", stats_of.qcs.sync_p50_us.into()),
        ("sync_p50_us_blocks", stats_of.blocks.sync_p50_us.into()),
    ]);
    let limit = format!("batch verification of the QC, then both logs' groups raw, in parallel ({how})");
    Ok(Measured { unit: Unit::Micros, limit, params, rounds })
}
