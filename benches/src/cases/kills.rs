//! Ingest while one worker dies each second, beside ingest while none does; and nothing is lost.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use roadbed::Config;
use roadbed::RetentionPolicy;
use roadbed::store::{StorePaths, log_options};
use roadbed::supervision::{Fault, Faults, RestartPolicy};
use roadbed_messages::api::{ActorKind, WalKind};
use roadbed_messages::codec;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, interval_at, sleep};

use super::logs;
use crate::bench::{Bench, Measured, Round, Unit, params};
use crate::input::{SMALL, Source, blocks_in};
use crate::store::{Store, runtime};

const ROUNDS: [usize; 2] = [2, 7];
/// How long the ingest of a round takes, about, with kills and without.
const ROUND: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(4)];
/// Between two kills; the first one comes after half of it.
const EVERY: Duration = Duration::from_secs(1);
const COMMITTEE: usize = 20;
/// What tells how many QCs a round takes.
const WARM_UP_QCS: usize = 2000;
const IN_FLIGHT: usize = 390;
/// The pruner looks, and dies, so often.
const PRUNER_INTERVAL: Duration = Duration::from_millis(50);

/// Kills a worker at a time, for ever.
struct Killer {
    faults: Faults,
    dice: u64,
    kills: u64,
}

impl Killer {
    async fn kill(&mut self) {
        let mut ticks = interval_at(Instant::now() + EVERY / 2, EVERY);
        loop {
            ticks.tick().await;
            self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let actor = ActorKind::WORKERS[(self.dice >> 33) as usize % ActorKind::WORKERS.len()];
            self.faults.inject(actor, Fault::Panic);
            self.kills += 1;
        }
    }
}

/// Measures it.
pub(super) fn run(bench: &Bench) -> Result<Measured> {
    let scratch = bench.scratch("kills")?;
    let dir = scratch.path().join("store");
    let mut source = Source::new(COMMITTEE, SMALL);
    let runtime = runtime()?;
    let restart = RestartPolicy { restarts_max: u32::MAX, ..RestartPolicy::default() };
    let retention = RetentionPolicy { interval: PRUNER_INTERVAL, ..RetentionPolicy::default() };
    let config = Config { segment_bytes: bench.segment_bytes(), restart, retention, ..Config::default() };
    let store = runtime.block_on(Store::start_warm(&dir, &mut source, config))?;

    let warm_up = source.take(WARM_UP_QCS);
    let took = runtime.block_on(store.ingest(&warm_up, IN_FLIGHT))?;
    let qcs = WARM_UP_QCS as f64 * bench.pick(ROUND[0], ROUND[1]).as_secs_f64() / took.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of some thousands")]
    let qcs = qcs as usize;
    drop(warm_up);

    let mut killer = Killer { faults: store.faults.clone(), dice: 7, kills: 0 };
    let restarts_before = runtime.block_on(restarts(&store))?;
    let mut rounds = Vec::new();
    for _ in 0..bench.pick(ROUNDS[0], ROUNDS[1]) {
        let with = source.take(qcs);
        let blocks = blocks_in(&with) as f64;
        let took = runtime.block_on(async {
            tokio::select! {
                took = store.ingest(&with, IN_FLIGHT) => took,
                () = killer.kill() => unreachable!("it kills for ever"),
            }
        })?;
        runtime.block_on(settled(&store));
        drop(with);
        let without = source.take(qcs);
        let alone = runtime.block_on(store.ingest(&without, IN_FLIGHT))?;
        rounds.push(Round::pair(blocks / took.as_secs_f64(), blocks / alone.as_secs_f64()));
    }
    let restarts = runtime.block_on(restarts(&store))? - restarts_before;
    ensure!(restarts == killer.kills, "{} kills led to {restarts} restarts", killer.kills);
    runtime.block_on(store.stop())?;
    let blocks = nothing_is_lost(&dir, &source)?;
    let params = params([
        ("committee", COMMITTEE.into()),
        ("blocks_per_round", (qcs * SMALL.blocks_per_qc).into()),
        ("kills", killer.kills.into()),
        ("blocks_compared", blocks.into()),
    ]);
    let limit = "the same while nothing dies".to_owned();
    Ok(Measured { unit: Unit::BlocksPerSecond, limit, params, rounds })
}

async fn restarts(store: &Store) -> Result<u64> {
    Ok(store.roadbed.status().await?.workers.iter().map(|worker| worker.restarts).sum())
}

/// The last kill of a round may strike after it: the pruner only looks now and then.
async fn settled(store: &Store) {
    while store.faults.outstanding() > 0 {
        sleep(PRUNER_INTERVAL / 10).await;
    }
    sleep(PRUNER_INTERVAL).await;
}

/// Compares both logs with the chain that was pushed, the blocks byte for byte; answers how many there are.
fn nothing_is_lost(dir: &Path, pushed: &Source) -> Result<u64> {
    let log_of =
        |wal| logs::open(&StorePaths::new(dir).log(wal), log_options(&pushed.members.committee, wal));
    let end = pushed.next();
    let last_qc = log_of(WalKind::Qcs)?.last_key();
    ensure!(last_qc == Some(end.0), "the QCs end at {last_qc:?}, they were pushed up to {end}");
    let log = log_of(WalKind::Blocks)?;
    ensure!(log.range() == (0..end.0), "the log holds {:?}, pushed was 0..{end}", log.range());
    let (mut stored, mut expected) = (Sha256::new(), Sha256::new());
    let read = log.reader().visit(log.range(), |entry| {
        stored.update(entry.payload);
        ControlFlow::Continue(())
    })?;
    let mut again = Source::new(COMMITTEE, SMALL);
    while again.next() < end {
        for (_, blocks) in again.take_unsigned(1) {
            blocks.iter().for_each(|block| expected.update(codec::encode(block)));
        }
    }
    ensure!(stored.finalize() == expected.finalize(), "what is stored is not what was pushed");
    Ok(read)
}
