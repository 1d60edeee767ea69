//! What watching costs: durable ingest with everything counted and a log at the level of an operator, beside the same with
//! nothing counted and nobody who subscribes.
//!
//! Each side is a process of its own, which ingests the same chain. In the first part of an epoch two of them take turns,
//! forth and back, and whoever goes first in one round goes second in the next: that gives the ratio of times. In the
//! second all ingest at the same time, on the same cores, so that whatever the machine does meets all alike: that gives
//! the ratio of the processor time of the whole processes. Whatever two processes differ by anyhow (where their memory and
//! their files lie) is another in each epoch, which starts them anew.

use std::array;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::watched::{Ingested, Spec, Watched};
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::stats;
use crate::threads::Spent;

/// Times that all is started anew, quick and usual.
const EPOCHS: [usize; 2] = [2, 3];
/// Of an epoch, quick and usual: rounds by turns (two turns each), and rounds at the same time.
const BY_TURNS: [usize; 2] = [2, 6];
const TOGETHER: [usize; 2] = [3, 60];
/// The threads that count: State, the logs, the verifier.
const COUNTING: [&str; 4] = ["roadbed", "roadbed-qcs", "roadbed-blocks", "roadbed-verify"];

/// The sides: watched by nobody; by a registry alone, as a validator is that embeds the library and subscribes to no
/// span; by a registry and a subscriber.
const UNWATCHED: usize = 0;
const COUNTED: usize = 1;
const LOGGED: usize = 2;
const SIDES: usize = 3;

/// What a watched side took beside the one that nobody watches, round by round.
#[derive(Default)]
struct Beside {
    cores: Vec<f64>,
    /// What each kind of thread does more, as a share of all that is done unwatched.
    added: [Vec<f64>; COUNTING.len()],
    spent: Spent,
}

impl Beside {
    fn together(&mut self, side: &Ingested, unwatched: &Ingested) {
        let all = unwatched.spent.total_nanos();
        self.cores.push(side.spent.total_nanos() / all);
        for (name, added) in COUNTING.iter().zip(&mut self.added) {
            added.push((side.spent.nanos_of(name) - unwatched.spent.nanos_of(name)) / all);
        }
        self.spent.add(side.spent.clone());
    }

    fn told(&self, blocks: f64) -> Value {
        let added = COUNTING.iter().zip(&self.added);
        let added = added.map(|(name, added)| ((*name).to_owned(), median_with_interval(added)));
        serde_json::json!({
            "processor_time_ratio": median_with_interval(&self.cores),
            "processor_time_added": Value::Object(added.collect()),
            "cpu_us_per_block": self.spent.micros_each(blocks),
        })
    }
}

/// The median, and where the true one lies with a probability of 95 %.
fn median_with_interval(ratios: &[f64]) -> Value {
    let (low, high) = stats::median_interval_95(ratios);
    let four = |ratio: f64| (ratio * 1e4).round() / 1e4;
    serde_json::json!({ "median": four(stats::median(ratios)), "low95": four(low), "high95": four(high) })
}

/// Ingest that is watched; the limit is the same unwatched.
pub(super) fn cost(bench: &Bench, committee: usize, qcs: usize, level: &str) -> Result<Measured> {
    let (mut counted, mut logged, mut unwatched) = (Beside::default(), Beside::default(), Spent::default());
    let (mut rounds, mut times, mut blocks_together) = (Vec::new(), Vec::new(), 0.0);
    for epoch in 0..bench.pick(EPOCHS[0], EPOCHS[1]) {
        let scratch = bench.scratch("watching")?;
        let spec = |side: usize| Spec {
            dir: scratch.path().join(side.to_string()),
            committee,
            qcs,
            segment_bytes: bench.segment_bytes(),
            registry: side != UNWATCHED,
            level: (side == LOGGED).then(|| level.to_owned()),
        };
        let mut sides = start(epoch, spec)?;
        for round in 0..=bench.pick(BY_TURNS[0], BY_TURNS[1]) {
            let [watched, unwatched] = by_turns(&mut sides, round)?;
            // The first one warms up.
            if round > 0 {
                rounds.push(Round::pair(watched, unwatched));
                times.push(unwatched / watched);
            }
        }
        for round in 0..=bench.pick(TOGETHER[0], TOGETHER[1]) {
            let ingested = together(&mut sides, round)?;
            if round > 0 {
                let alone = &ingested[UNWATCHED];
                counted.together(&ingested[COUNTED], alone);
                logged.together(&ingested[LOGGED], alone);
                unwatched.add(alone.spent.clone());
                blocks_together += alone.blocks;
            }
        }
        for mut side in sides {
            side.wait()?;
            side.stop()?;
        }
    }
    let params = params([
        ("committee", committee.into()),
        ("qcs_per_turn", qcs.into()),
        ("epochs", bench.pick(EPOCHS[0], EPOCHS[1]).into()),
        ("rounds_together", counted.cores.len().into()),
        ("level", level.into()),
        ("time_ratio", median_with_interval(&times)),
        ("registry_and_subscriber", logged.told(blocks_together)),
        ("registry_alone", counted.told(blocks_together)),
        ("cpu_us_per_block_unwatched", unwatched.micros_each(blocks_together)),
    ]);
    let limit = "the same with no registry and no subscriber".to_owned();
    Ok(Measured { unit: Unit::BlocksPerSecond, limit, params, rounds })
}

/// The sides in this round's order.
fn order(round: usize) -> [usize; SIDES] {
    array::from_fn(|place| (place + round) % SIDES)
}

/// Starts all, in another order in each epoch.
fn start(epoch: usize, spec: impl Fn(usize) -> Spec) -> Result<[Watched; SIDES]> {
    let mut started = [const { None }; SIDES];
    for side in order(epoch) {
        started[side] = Some(Watched::start(&spec(side))?);
    }
    let started: Option<Vec<Watched>> = started.into_iter().collect();
    started.and_then(|sides| sides.try_into().ok()).context("every side is started once")
}

/// One that is watched and the one that is not ingest twice each, and nobody else meanwhile; answers their rates.
fn by_turns(sides: &mut [Watched; SIDES], round: usize) -> Result<[f64; 2]> {
    let (mut seconds, mut blocks) = ([0.0; 2], [0.0; 2]);
    let (first, second) = (round % 2, (round + 1) % 2);
    for who in [first, second, second, first] {
        for side in &mut *sides {
            side.wait()?;
        }
        let side = &mut sides[[LOGGED, UNWATCHED][who]];
        side.go()?;
        let ingested = side.ingested()?;
        seconds[who] += ingested.seconds;
        blocks[who] += ingested.blocks;
    }
    Ok([0, 1].map(|who| blocks[who] / seconds[who]))
}

/// All ingest at the same time.
fn together(sides: &mut [Watched; SIDES], round: usize) -> Result<Vec<Ingested>> {
    for side in &mut *sides {
        side.wait()?;
    }
    for side in order(round) {
        sides[side].go()?;
    }
    sides.iter_mut().map(Watched::ingested).collect()
}
