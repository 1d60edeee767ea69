//! What dies is started again, and nobody notices: pushes, votes, readers, a truncation under way.

use roadbed::Config;
use roadbed::supervision::{ActorFault, Fault, Faults};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{ActorKind, Cursors, RunState, Status, WalKind};
use roadbed_messages::testing::{self, ChainShape};
use roadbed_tests::{Craft, Fixture, Rig};
use roadbed_wal::SyncPoint;
use roadbed_wal::sim::{self, Op, SimStorage};

use super::{LOGS, lively, push, vote};

/// Pushes and votes go on while a worker fails again and again: every call is answered as if nothing had happened,
/// the durable cursor never goes back, and nothing is lost.
async fn nobody_notices(actor: ActorKind, fault: Fault) {
    nobody_notices_what(actor, |faults| faults.inject(actor, fault.clone()), "injected").await;
}

async fn nobody_notices_what(actor: ActorKind, strike: impl Fn(&Faults), told: &str) {
    let rig = Rig::configured(Fixture::new(1, 4, 30), lively()).await;
    let mut votes = Vec::new();
    let mut last: Option<Cursors> = None;
    for at in 0..rig.fixture.chain.len() {
        if at % 9 == 4 {
            strike(&rig.faults);
        }
        push(&rig, at).reply().await.unwrap();
        votes.push(vote(&rig, BlockNumber(rig.fixture.range(at).end.0 - 1)));
        let cursors = rig.cursors().await;
        assert!(last.is_none_or(|last| last.next_block_to_persist <= cursors.next_block_to_persist));
        last = Some(cursors);
        if at % 9 == 8 {
            // Each fault strikes on its own.
            rig.until(|_| rig.faults.outstanding() == 0).await;
        }
    }
    for vote in votes {
        vote.reply().await.unwrap();
    }
    let healed = |status: &Status| status.state == RunState::Running;
    let status = rig.until(healed).await;
    assert_eq!(status.cursors.next_app_proposal, rig.fixture.end());
    for worker in status.workers {
        let (restarts, generation) = if worker.actor == actor { (3, 4) } else { (0, 1) };
        assert_eq!((worker.restarts, worker.generation), (restarts, generation), "{worker:?}");
        assert_eq!(worker.last_error.is_some_and(|error| error.contains(told)), worker.actor == actor);
    }
    let rig = rig.restarted().await;
    assert_eq!(rig.recovered().next_block, rig.fixture.end());
    rig.serves_what_it_retains().await;
}

#[tokio::test]
async fn a_panic_of_the_qc_wal_under_load_is_only_latency() {
    nobody_notices(ActorKind::QcWal, Fault::Panic).await;
}

#[tokio::test]
async fn a_panic_of_the_block_wal_under_load_is_only_latency() {
    nobody_notices(ActorKind::BlockWal, Fault::Panic).await;
}

#[tokio::test]
async fn a_panic_of_the_verifier_under_load_is_only_latency() {
    nobody_notices(ActorKind::Verifier, Fault::Panic).await;
}

#[tokio::test]
async fn a_panic_of_the_pruner_under_load_is_only_latency() {
    nobody_notices(ActorKind::Pruner, Fault::Panic).await;
}

#[tokio::test]
async fn an_error_of_the_qc_wal_under_load_is_only_latency() {
    nobody_notices(ActorKind::QcWal, Fault::Error).await;
}

#[tokio::test]
async fn an_error_of_the_block_wal_under_load_is_only_latency() {
    nobody_notices(ActorKind::BlockWal, Fault::Error).await;
}

#[tokio::test]
async fn an_error_of_the_verifier_under_load_is_only_latency() {
    nobody_notices(ActorKind::Verifier, Fault::Error).await;
}

#[tokio::test]
async fn an_error_of_the_pruner_under_load_is_only_latency() {
    nobody_notices(ActorKind::Pruner, Fault::Error).await;
}

#[tokio::test]
async fn a_full_disk_of_the_qc_wal_under_load_is_only_latency() {
    nobody_notices(ActorKind::QcWal, Fault::DiskFull).await;
}

#[tokio::test]
async fn a_full_disk_of_the_block_wal_under_load_is_only_latency() {
    nobody_notices(ActorKind::BlockWal, Fault::DiskFull).await;
}

#[tokio::test]
async fn a_panic_in_the_handler_of_any_worker_under_load_is_only_latency() {
    for actor in ActorKind::WORKERS {
        let strike = |faults: &Faults| faults.inject_actor(actor, ActorFault::Panic);
        nobody_notices_what(actor, strike, "injected panic").await;
    }
}

#[tokio::test]
async fn any_worker_that_stops_by_itself_under_load_is_only_latency() {
    for actor in ActorKind::WORKERS {
        let strike = |faults: &Faults| faults.inject_actor(actor, ActorFault::Stop);
        nobody_notices_what(actor, strike, "it stopped by itself").await;
    }
}

#[tokio::test]
async fn both_logs_that_die_at_once_come_back() {
    let rig = Rig::configured(Fixture::new(2, 4, 20), lively()).await;
    rig.push_qcs(0..5).await;
    for actor in LOGS {
        rig.faults.inject(actor, Fault::Panic);
    }
    rig.push_qcs(5..20).await;
    vote(&rig, rig.nth(199)).reply().await.unwrap();
    for actor in LOGS {
        assert_eq!(rig.worker(actor).await.restarts, 1);
    }
    let rig = rig.restarted().await;
    assert_eq!(rig.recovered().next_block, rig.fixture.end());
    rig.serves_what_it_retains().await;
}

#[tokio::test]
async fn reads_go_on_at_every_step_of_a_restart() {
    // Three groups fill a segment: more segments than a reader keeps open, and one group in the last of them.
    let shape = ChainShape { tx_bytes: 500, ..ChainShape::default() };
    let fixture = Fixture::of(23, testing::committee(23, 4), shape, 200);
    for point in [SyncPoint::Publish, SyncPoint::Retire] {
        let disk = SimStorage::new(23);
        let nothing_kept = Config { memory_bytes_max: 0, read_cache_bytes_max: 0, ..lively() };
        let rig = Rig::on_simulated(fixture.clone(), nothing_kept, &disk).await.unwrap();
        for at in 0..199 {
            rig.push_qcs(at..at + 1).await;
            rig.until_durable().await;
        }
        // The second life publishes a segment that holds the table of the one before, and dies before anything is in
        // it: reads need that table until the third life has written it anew; only then the segment is retired.
        disk.fail(sim::Fault::eio(Op::Write).point(SyncPoint::Group).path("blocks").times(2));
        let gate = disk.pause_at(Op::SyncDir, point);
        rig.push(&rig.fixture.chain[199]).await.unwrap();
        rig.until(|_| gate.reached()).await;
        rig.serves_what_it_retains().await;
        gate.open();
        rig.execute(rig.nth(1999)).await.unwrap();
        assert_eq!(rig.worker(ActorKind::BlockWal).await.restarts, 2);
        rig.serves_what_it_retains().await;
    }
}

#[tokio::test]
async fn a_vote_is_granted_only_for_what_is_durable_anew() {
    for actor in LOGS {
        let rig = Rig::configured(Fixture::new(3, 4, 2), lively()).await;
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        rig.until_durable().await;
        // The log dies with the next group, and its next life hangs before it is open.
        rig.faults.inject(actor, Fault::Error);
        let gate = rig.hold(actor);
        rig.push(&rig.fixture.chain[1]).await.unwrap();
        let mut vote = vote(&rig, rig.nth(19));
        rig.until(|_| rig.faults.outstanding() == 0).await;
        let other = if actor == ActorKind::QcWal { ActorKind::BlockWal } else { ActorKind::QcWal };
        rig.until_worker(other, |worker| worker.mailbox == 0).await;
        assert!(vote.waits());
        assert_eq!(rig.cursors().await.next_block_to_persist, rig.nth(10));
        gate.open();
        vote.reply().await.unwrap();
    }
}

#[tokio::test]
async fn a_truncation_that_a_death_interrupts_is_carried_out_by_the_next_life() {
    for actor in LOGS {
        for fault in [Fault::Panic, Fault::Error, Fault::DiskFull] {
            let rig = Rig::configured(Fixture::new(4, 4, 8), lively()).await;
            rig.push_all().await;
            rig.execute(rig.nth(79)).await.unwrap();
            rig.faults.inject(actor, fault);
            assert_eq!(rig.prune(rig.nth(45)).await, Ok(rig.nth(0)..rig.nth(45)));
            assert_eq!(rig.worker(actor).await.restarts, 1);
            let (fixture, dir) = rig.ended().await;
            let craft = Craft::new(dir.path(), &fixture);
            assert_eq!((craft.range(WalKind::Qcs), craft.range(WalKind::Blocks)), (4..8, 45..80));
        }
    }
}
