//! What actors and channels cost: ingest whose storage and verifier answer at once, beside a durable one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use roadbed::{Config, Roadbed};
use roadbed_messages::api::workers::{Verified, VerifyJob};
use roadbed_messages::{RoadIndex, VerifiedBlock, VerifiedQc};

use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::input::{self, SMALL, Source, blocks_in};
use crate::null_storage::NullStorage;
use crate::stats;
use crate::store::{Store, runtime};
use crate::threads::Spent;

const ROUNDS: [usize; 2] = [3, 7];
const COMMITTEE: usize = 4;
const QCS: [usize; 2] = [300, 1000];
const IN_FLIGHT: usize = 390;
/// The part of a durable block's time that actors and channels may take.
const WANTED_PART: f64 = 0.05;

/// A QC with its blocks, verified.
type Certified = (VerifiedQc, Vec<VerifiedBlock>);

/// Verdicts by QC, made before any clock starts.
#[derive(Clone, Default)]
struct Verdicts(Arc<Mutex<HashMap<RoadIndex, Certified>>>);

impl Verdicts {
    fn prepare(&self, source: &Source, input: &[input::Certified]) -> Result<()> {
        let mut verdicts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (qc, blocks) in input {
            let blocks = blocks.iter().map(|block| VerifiedBlock::assume_verified(Arc::clone(block)));
            let verified = VerifiedQc::assume_verified(&source.members.committee, Arc::clone(qc))?;
            verdicts.insert(qc.road_index(), (verified, blocks.collect()));
        }
        Ok(())
    }

    fn take(&self, job: &VerifyJob) -> Verified {
        let mut verdicts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let road_index = job.qc.as_ref().map(|qc| qc.road_index());
        let (qc, blocks) = road_index
            .and_then(|road_index| verdicts.remove(&road_index))
            .expect("every QC of this case was prepared, and comes once");
        Ok((Some(qc), blocks))
    }
}

/// Measures it.
pub(super) fn run(bench: &Bench) -> Result<Measured> {
    let scratch = bench.scratch("null")?;
    let (qcs, runtime) = (bench.pick(QCS[0], QCS[1]), runtime()?);
    let config = Config { segment_bytes: bench.segment_bytes(), ..Config::default() };
    let (mut source, mut null_source) = (Source::new(COMMITTEE, SMALL), Source::new(COMMITTEE, SMALL));
    let full_dir = scratch.path().join("full");
    let full = runtime.block_on(Store::start_warm(&full_dir, &mut source, config.clone()))?;
    let verdicts = Verdicts::default();
    let asked = verdicts.clone();
    let builder = Roadbed::builder(null_source.members.committee.clone()).config(config);
    let builder = builder.data_dir(scratch.path().join("null")).storage(Arc::new(NullStorage::default()));
    let started = runtime.block_on(builder.verdict(move |job| asked.take(job)).start())?;
    let null = Store { roadbed: started, faults: Default::default() };

    let (mut rounds, mut spent, mut blocks_all) = (Vec::new(), Spent::default(), 0.0);
    let (mut full_us, mut null_us) = (Vec::new(), Vec::new());
    for round in 0..=bench.pick(ROUNDS[0], ROUNDS[1]) {
        let (input, null_input) = (source.take(qcs), null_source.take(qcs));
        verdicts.prepare(&null_source, &null_input)?;
        let blocks = blocks_in(&input) as f64;
        let spent_before = Spent::now();
        let took = runtime.block_on(null.ingest(&null_input, IN_FLIGHT))?;
        let spent_here = Spent::now().since(&spent_before);
        let full_took = runtime.block_on(full.ingest(&input, IN_FLIGHT))?;
        if round == 0 {
            // It does not count: buffers grow to the size of groups.
            continue;
        }
        spent.add(spent_here);
        blocks_all += blocks;
        let each = |took: Duration| took.as_secs_f64() * 1e6 / blocks;
        null_us.push(each(took));
        full_us.push(each(full_took));
        rounds.push(Round::pair(each(took), WANTED_PART * each(full_took)));
    }
    runtime.block_on(null.stop())?;
    runtime.block_on(full.stop())?;
    let params = params([
        ("committee", COMMITTEE.into()),
        ("qcs_in_flight", IN_FLIGHT.into()),
        ("durable_us_per_block", stats::median(&full_us).into()),
        ("null_us_per_block", stats::median(&null_us).into()),
        ("part", (stats::median(&null_us) / stats::median(&full_us)).into()),
        ("cpu_us_per_block", spent.micros_each(blocks_all)),
    ]);
    let limit = "a twentieth of the time of a durable small block".to_owned();
    Ok(Measured { unit: Unit::Micros, limit, params, rounds })
}
