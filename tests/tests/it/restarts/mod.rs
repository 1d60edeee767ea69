//! Supervision, row by row of the table of failures: what dies is started again and nobody notices, what hangs is told
//! and not opened twice, what can't be mended ends in order and says why.

use std::time::Duration;

use roadbed::supervision::RestartPolicy;
use roadbed::{Config, RetentionPolicy};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{ActorKind, Error, PushAppHash, PushQc, StartError};
use roadbed_tests::{Fixture, Rig, Sent, app_hash, settings};

mod deaths;
mod ends;
mod full_disk;
mod hangs;
mod start_and_end;

pub(crate) const LOGS: [ActorKind; 2] = [ActorKind::QcWal, ActorKind::BlockWal];

/// Restarts soon, and a pruner that is often at work (and prunes nothing).
fn lively() -> Config {
    Config {
        restart: RestartPolicy {
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(20),
            ..RestartPolicy::default()
        },
        retention: RetentionPolicy { interval: Duration::from_millis(2), ..RetentionPolicy::default() },
        ..settings()
    }
}

/// As [`lively`], and what hangs is noticed soon.
fn watchful() -> Config {
    Config { hung_after: Duration::from_millis(300), beat_interval: Duration::from_millis(10), ..lively() }
}

/// As [`watchful`], and a log that hangs is given up soon.
fn impatient() -> Config {
    Config { give_up_after: Duration::from_millis(900), ..watchful() }
}

/// A budget that the first failure spends.
fn no_budget() -> Config {
    let config = lively();
    Config { restart: RestartPolicy { restarts_max: 0, ..config.restart }, ..config }
}

fn vote(rig: &Rig, number: BlockNumber) -> Sent<Result<(), Error>> {
    rig.send(PushAppHash { number, hash: app_hash(number) })
}

fn push(rig: &Rig, at: usize) -> Sent<Result<(), Error>> {
    let (qc, blocks) = rig.fixture.chain[at].clone();
    rig.send(PushQc { qc, blocks })
}

/// The directory of one that ended without leave, opened again: everything that was acknowledged is there.
async fn opens_again(rig: Rig, at_least: BlockNumber) -> Rig {
    rig.roadbed.stopped().await;
    let (fixture, dir) = rig.left();
    let rig = Rig::in_dir(fixture, settings(), dir).await.unwrap();
    assert!(rig.recovered().next_block >= at_least, "{:?}", rig.recovered());
    rig.push_all().await;
    rig.execute(BlockNumber(rig.fixture.end().0 - 1)).await.unwrap();
    rig.serves_what_it_retains().await;
    rig
}

/// A start in the same process is refused while a thread of the earlier one lives, and accepted when it has ended.
pub(crate) async fn free_again(fixture: Fixture, mut dir: tempfile::TempDir) -> Rig {
    loop {
        match Rig::in_dir(fixture.clone(), settings(), dir).await {
            Ok(rig) => return rig,
            Err((StartError::InUse { .. }, given_back)) => dir = given_back,
            Err((other, _)) => panic!("{other:?}"),
        }
    }
}
