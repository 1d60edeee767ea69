//! Supervision, row by row of the table of failures: what dies is started again and nobody notices, what hangs is told
//! and not opened twice, what can't be mended ends in order and says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roadbed::prometheus::Registry;
use roadbed::supervision::{ActorFault, Fault, Faults, RestartPolicy};
use roadbed::{Config, RetentionPolicy};
use roadbed_messages::api::{
    ActorKind, Cursors, Error, GetBlock, GetGlobalBlock, GetQc, PushAppHash, PushBlock, PushQc, RunState,
    Shutdown, StartError, Status, StopReason, TryGetBlock, WalKind, WorkerState,
};
use roadbed_messages::testing::{self, ChainShape};
use roadbed_messages::{BlockNumber, Timestamp};
use roadbed_tests::{Client, Craft, Files, Fixture, Rig, Sent, app_hash, settings};
use roadbed_wal::SyncPoint;
use roadbed_wal::sim::{self, Op, SimStorage};

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

// ---- deaths ----------------------------------------------------------------------------------------------------

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

// ---- deaths at the start and at the end ------------------------------------------------------------------------

#[tokio::test]
async fn a_worker_that_dies_in_its_start_up_is_started_again() {
    for actor in ActorKind::WORKERS {
        for fault in [Fault::Panic, Fault::Error, Fault::DiskFull] {
            let faults = Faults::default();
            // A log dies while it is judged, then while it is opened.
            faults.inject(actor, fault.clone());
            faults.inject(actor, fault);
            let dir = tempfile::tempdir().unwrap();
            let rig = Rig::in_dir_with(Fixture::new(5, 4, 3), lively(), dir, faults).await.unwrap();
            rig.push_all().await;
            rig.execute(rig.nth(29)).await.unwrap();
            rig.until(|_| rig.faults.outstanding() == 0).await;
            rig.until_worker(actor, |worker| worker.restarts == 2 && worker.state == WorkerState::Up).await;
            rig.ended().await;
        }
    }
}

#[tokio::test]
async fn a_death_during_recovery_begins_it_again_and_loses_nothing() {
    for actor in LOGS {
        let rig = Rig::configured(Fixture::new(6, 4, 10), lively()).await;
        rig.push_all().await;
        rig.until_durable().await;
        let (fixture, dir) = rig.ended().await;
        // Tail and front have to be repaired, and each life dies at a later operation.
        let craft = Craft::new(dir.path(), &fixture);
        craft.blocks(15..100).qcs(0..8);
        let faults = Faults::default();
        for _ in 0..3 {
            faults.inject(actor, Fault::Error);
        }
        let rig = Rig::in_dir_with(fixture, lively(), dir, faults).await.unwrap();
        let recovered = rig.recovered();
        assert_eq!((recovered.first, recovered.next_block), (rig.nth(15), rig.nth(80)));
        assert_eq!(rig.worker(actor).await.restarts, 3);
        rig.serves_what_it_retains().await;
    }
}

#[tokio::test]
async fn a_start_whose_worker_fails_beyond_its_budget_names_it() {
    for actor in LOGS {
        let faults = Faults::default();
        faults.inject(actor, Fault::Error);
        let dir = tempfile::tempdir().unwrap();
        let fixture = Fixture::new(7, 4, 1);
        let failed = Rig::in_dir_with(fixture, no_budget(), dir, faults).await.map(|_| ());
        let (error, dir) = failed.unwrap_err();
        let named = |detail: &str| detail.contains(actor.name()) && detail.contains("injected");
        assert!(matches!(&error, StartError::Failed { detail } if named(detail)), "{error:?}");
        // And the directory is free.
        Rig::in_dir(Fixture::new(7, 4, 1), settings(), dir).await.unwrap();
    }
}

#[tokio::test]
async fn a_log_that_hangs_while_it_is_judged_fails_the_start() {
    let faults = Faults::default();
    let gate = roadbed::supervision::Gate::default();
    faults.inject(ActorKind::BlockWal, Fault::Hang(gate.clone()));
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(8, 4, 1);
    let failed = Rig::in_dir_with(fixture.clone(), impatient(), dir, faults).await.map(|_| ());
    let (error, dir) = failed.unwrap_err();
    assert!(matches!(&error, StartError::Failed { detail } if detail.contains("block_wal")), "{error:?}");
    gate.open();
    free_again(fixture, dir).await;
}

#[tokio::test]
async fn a_death_while_shutting_down_is_no_reason_to_hang() {
    for actor in LOGS {
        for fault in [Fault::Panic, Fault::Error, Fault::DiskFull] {
            let rig = Rig::configured(Fixture::new(9, 4, 3), lively()).await;
            rig.push_all().await;
            rig.until_durable().await;
            // Strikes when the log is told to close.
            rig.faults.inject(actor, fault);
            let report = rig.ask(Shutdown).await.unwrap();
            assert!(report.is_clean(), "{report:?}");
            opens_again(rig, BlockNumber(30)).await;
        }
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_a_log_that_is_being_restarted() {
    for actor in LOGS {
        let rig = Rig::configured(Fixture::new(10, 4, 3), lively()).await;
        rig.faults.inject(actor, Fault::Error);
        let gate = rig.hold(actor);
        rig.push_all().await;
        rig.until(|_| rig.faults.outstanding() == 0).await;
        let mut shutdown = rig.send(Shutdown);
        rig.status().await;
        assert!(shutdown.waits());
        gate.open();
        let report = shutdown.reply().await.unwrap();
        assert!(report.is_clean(), "{report:?}");
        opens_again(rig, BlockNumber(30)).await;
    }
}

// ---- a full disk -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_full_disk_is_a_state_outside_the_budget_and_ends_by_itself() {
    let rig = Rig::configured(Fixture::new(11, 4, 6), lively()).await;
    rig.push_qcs(0..3).await;
    rig.until_durable().await;
    // Far more often than the budget allows.
    for _ in 0..40 {
        rig.faults.inject(ActorKind::BlockWal, Fault::DiskFull);
    }
    rig.push_qcs(3..6).await;
    let mut vote = vote(&rig, rig.nth(59));
    let full = rig.until_worker(ActorKind::BlockWal, |worker| worker.state == WorkerState::DiskFull).await;
    assert!(full.last_error.is_some_and(|error| error.contains("full")));
    // Reads go on, nothing new is promised, and the reason is told.
    rig.serves_what_it_retains().await;
    assert!(vote.waits() || rig.faults.outstanding() == 0);
    rig.until(|status| status.state == RunState::DiskFull || rig.faults.outstanding() == 0).await;
    vote.reply().await.unwrap();
    let status = rig.until(|status| status.state == RunState::Running).await;
    assert!(status.reasons.is_empty());
    assert!(rig.worker(ActorKind::BlockWal).await.restarts >= 40);
    let rig = rig.restarted().await;
    assert_eq!(rig.recovered().next_block, rig.fixture.end());
}

#[tokio::test]
async fn pruning_goes_on_while_the_disk_is_full_and_frees_it() {
    let disk = SimStorage::new(12);
    let fixture = Fixture::new(12, 4, 400);
    // It is full only when nothing is left: what pruning frees here is far less than what is usually kept free.
    let config = Config { disk_reserve_bytes: 0, ..lively() };
    let rig = Rig::on_simulated(fixture, config, &disk).await.unwrap();
    rig.push_qcs(0..100).await;
    rig.execute(rig.nth(999)).await.unwrap();
    disk.set_capacity_bytes(Some(disk.used_bytes()));
    for at in 100..400 {
        rig.push(&rig.fixture.chain[at]).await.unwrap();
    }
    rig.until(|status| status.workers.iter().any(|worker| worker.state == WorkerState::DiskFull)).await;
    let mut vote = vote(&rig, rig.nth(3998));
    rig.status().await;
    assert!(vote.waits());
    // No space comes from anywhere else.
    rig.prune(rig.nth(990)).await.unwrap();
    let mut freed = 1000;
    while vote.waits() {
        // What was made durable since is executed, and may go, too.
        let durable = rig.cursors().await.next_block_to_persist.0;
        if durable > freed {
            // Unless the vote that waits was granted meanwhile.
            let executed = rig.execute(BlockNumber(durable - 1)).await;
            assert!(matches!(executed, Ok(()) | Err(Error::AppHashOutOfOrder { .. })), "{executed:?}");
            rig.prune(BlockNumber(durable - 1)).await.unwrap();
            freed = durable;
        }
        tokio::task::yield_now().await;
    }
    vote.reply().await.unwrap();
    rig.until(|status| status.state == RunState::Running).await;
    rig.serves_what_it_retains().await;
}

#[tokio::test]
async fn the_disk_counts_as_full_before_it_is_and_resumes_by_itself() {
    let disk = SimStorage::new(24);
    let reserve = 1 << 20;
    let config = Config { disk_reserve_bytes: reserve, ..lively() };
    let rig = Rig::on_simulated(Fixture::new(24, 4, 300), config, &disk).await.unwrap();
    rig.push_qcs(0..100).await;
    rig.execute(rig.nth(999)).await.unwrap();
    // Others fill the disk up to what is kept free, and then a bit more.
    disk.set_capacity_bytes(Some(disk.used_bytes() + reserve - 1));
    rig.push_qcs(100..300).await;
    let mut vote = vote(&rig, rig.nth(2999));
    let almost = |status: &Status| {
        let told = |part: &str| status.reasons.iter().any(|reason| reason.contains(part));
        let sampled = status.free_bytes.is_some_and(|free| free < reserve) && told("the disk is almost full");
        status.state == RunState::DiskFull && sampled && told(&format!("{reserve} are kept free"))
    };
    rig.until(almost).await;
    assert!(vote.waits());
    rig.serves_what_it_retains().await;
    rig.prune(rig.nth(900)).await.unwrap();
    disk.set_capacity_bytes(None);
    vote.reply().await.unwrap();
    // With the next sample of what is free.
    let free = |status: &Status| status.state == RunState::Running && status.free_bytes.is_none();
    assert_eq!(rig.until(free).await.reasons.len(), 0);
}

#[tokio::test]
async fn what_was_acknowledged_after_failed_writes_survives_a_power_loss() {
    for point in [SyncPoint::Group, SyncPoint::Header, SyncPoint::Publish] {
        let disk = SimStorage::new(13);
        let rig = Rig::on_simulated(Fixture::new(13, 4, 24), lively(), &disk).await.unwrap();
        let mut forks = Vec::new();
        for at in 0..24 {
            if at % 6 == 3 {
                let op = if point == SyncPoint::Publish { Op::SyncDir } else { Op::Write };
                disk.fail(sim::Fault::eio(op).point(point));
            }
            push(&rig, at).reply().await.unwrap();
            let number = rig.nth(at as u64 * 10 + 9);
            vote(&rig, number).reply().await.unwrap();
            forks.push((disk.crash(at as u64), number));
        }
        for (fork, acknowledged) in forks {
            let rig = Rig::on_simulated(rig.fixture.clone(), settings(), &fork).await.unwrap();
            assert!(rig.recovered().next_block > acknowledged, "{acknowledged}: {:?}", rig.recovered());
            rig.serves_what_it_retains().await;
            rig.roadbed.shutdown().await.unwrap();
        }
    }
}

// ---- hangs -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_log_that_hangs_is_told_and_reads_go_on_and_nothing_is_opened_twice() {
    for actor in LOGS {
        let rig = Rig::configured(Fixture::new(14, 4, 8), Config { memory_bytes_max: 0, ..watchful() }).await;
        rig.push_qcs(0..4).await;
        rig.until_durable().await;
        let gate = rig.hold(actor);
        rig.push_qcs(4..8).await;
        let mut vote = vote(&rig, rig.nth(79));
        let hung = rig.until_worker(actor, |worker| worker.state == WorkerState::Hung).await;
        assert!(hung.running_for_seconds.is_some_and(|seconds| seconds >= 0.3), "{hung:?}");
        let status = rig.status().await;
        assert_eq!(status.state, RunState::Degraded);
        assert!(status.reasons.iter().any(|reason| reason.contains(actor.name())), "{:?}", status.reasons);
        rig.serves_what_it_retains().await;
        assert!(vote.waits());
        gate.open();
        vote.reply().await.unwrap();
        let worker = rig.until_worker(actor, |worker| worker.state == WorkerState::Up).await;
        assert_eq!((worker.restarts, worker.generation), (0, 1));
        rig.until(|status| status.state == RunState::Running).await;
        let rig = rig.restarted().await;
        assert_eq!(rig.recovered().next_block, rig.fixture.end());
    }
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

#[tokio::test]
async fn a_log_that_hangs_for_too_long_escalates_and_keeps_its_directory_until_its_thread_ends() {
    for actor in LOGS {
        let rig = Rig::configured(Fixture::new(15, 4, 6), impatient()).await;
        rig.push_qcs(0..3).await;
        rig.until_durable().await;
        let gate = rig.hold(actor);
        rig.push_qcs(3..6).await;
        let waiting = [vote(&rig, rig.nth(59)), vote(&rig, rig.nth(45))];
        let get = rig.send(GetBlock { number: rig.nth(1000) });
        // It does not wait for the thread.
        let reason = rig.roadbed.stopped().await;
        match &reason {
            StopReason::Escalated { actor: named, error } => {
                assert_eq!(*named, actor);
                assert!(error.contains("running for"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        for vote in waiting {
            assert_eq!(vote.reply().await, Err(Error::Stopped(reason.clone())));
        }
        assert_eq!(get.reply().await, Err(Error::Stopped(reason.clone())));
        let (fixture, dir) = rig.left();
        for _ in 0..3 {
            let refused = fixture.builder().data_dir(dir.path()).start().await.map(|_| ()).unwrap_err();
            let told = |holder: &str| holder.starts_with("this process") && holder.contains("hangs");
            assert!(matches!(&refused, StartError::InUse { holder, .. } if told(holder)), "{refused:?}");
        }
        gate.open();
        let rig = free_again(fixture, dir).await;
        assert!(rig.recovered().next_block >= rig.nth(30));
        rig.push_all().await;
        rig.execute(rig.nth(59)).await.unwrap();
        rig.serves_what_it_retains().await;
    }
}

#[tokio::test]
async fn a_verifier_that_hangs_is_replaced_and_its_late_answers_are_ignored() {
    let rig = Rig::configured(Fixture::new(16, 4, 4), watchful()).await;
    let gate = rig.hold(ActorKind::Verifier);
    let pushes: Vec<_> = (0..4).map(|at| push(&rig, at)).collect();
    // Answered by the next life, while the first one still hangs.
    for push in pushes {
        push.reply().await.unwrap();
    }
    let worker = rig.until_worker(ActorKind::Verifier, |worker| worker.state == WorkerState::Up).await;
    assert_eq!((worker.restarts, worker.generation), (1, 2));
    assert!(worker.last_error.is_some_and(|error| error.contains("running for")));
    gate.open();
    rig.settled().await;
    let status = rig.status().await;
    assert_eq!(status.cursors.next_block, rig.fixture.end());
    rig.execute(rig.nth(39)).await.unwrap();
}

// ---- poisoned input --------------------------------------------------------------------------------------------

/// A push that the verifier fails on each time, among others that share its batch: it alone errs.
async fn only_its_caller_is_told(fault: Fault) {
    let rig = Rig::configured(Fixture::new(17, 4, 3), watchful()).await;
    rig.push_bare(&rig.fixture.chain[0]).await.unwrap();
    rig.push_bare(&rig.fixture.chain[1]).await.unwrap();
    rig.faults.poison(rig.fixture.block(rig.nth(7)).header.hash(), fault);
    // One batch: the verifier is held until all of them are there.
    let gate = rig.hold(ActorKind::Verifier);
    let warm_up = push(&rig, 2);
    rig.until(|_| rig.faults.outstanding() == 0).await;
    let block = |distance: u64| PushBlock {
        number: rig.nth(distance),
        block: rig.fixture.block(rig.nth(distance)).clone(),
    };
    let pushes: Vec<_> = (0..20).map(|distance| rig.send(block(distance))).collect();
    rig.cursors().await;
    gate.open();
    warm_up.reply().await.unwrap();
    for (distance, push) in pushes.into_iter().enumerate() {
        match push.reply().await {
            Ok(()) => assert_ne!(distance, 7),
            Err(Error::VerifierFailed { failures, .. }) => assert_eq!((distance, failures), (7, 2)),
            Err(other) => panic!("{distance}: {other:?}"),
        }
    }
    // It is not tried for ever, and once what was wrong with it is mended, it gets in.
    rig.until_worker(ActorKind::Verifier, |worker| worker.state == WorkerState::Up).await;
    assert_eq!(rig.cursors().await.next_block, rig.nth(7));
    rig.faults.clear();
    rig.ask(block(7)).await.unwrap();
    assert_eq!(rig.cursors().await.next_block, rig.nth(30));
}

#[tokio::test]
async fn a_job_that_makes_the_verifier_panic_errs_only_for_its_caller() {
    only_its_caller_is_told(Fault::Panic).await;
}

#[tokio::test]
async fn a_job_that_makes_the_verifier_hang_errs_only_for_its_caller() {
    let gate = roadbed::supervision::Gate::default();
    only_its_caller_is_told(Fault::Hang(gate.clone())).await;
    gate.open();
}

// ---- the end of the budget -------------------------------------------------------------------------------------

#[tokio::test]
async fn a_spent_budget_tells_everybody_the_worker_and_its_last_error() {
    for actor in ActorKind::WORKERS {
        let rig = Rig::configured(Fixture::new(18, 4, 3), no_budget()).await;
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        rig.until_durable().await;
        let get = rig.send(GetQc { number: rig.nth(1000) });
        let vote = vote(&rig, rig.nth(1000));
        let third = push(&rig, 2);
        rig.faults.inject(actor, Fault::Panic);
        let second = push(&rig, 1);
        let reason = rig.roadbed.stopped().await;
        let error = format!("injected panic in {actor}");
        assert_eq!(reason, StopReason::Escalated { actor, error });
        assert_eq!(get.reply().await.unwrap_err(), Error::Stopped(reason.clone()));
        assert_eq!(vote.reply().await, Err(Error::Stopped(reason.clone())));
        for push in [second, third] {
            // These may have been quick enough.
            assert!(matches!(push.reply().await, Ok(()) | Err(Error::Stopped(_))));
        }
        // Whoever comes later learns the same.
        assert_eq!(rig.roadbed.next_block().await, Err(Error::Stopped(reason)));
        opens_again(rig, BlockNumber(10)).await;
    }
}

#[tokio::test]
async fn a_log_that_lost_durable_data_while_running_escalates_and_is_not_touched() {
    let rig = Rig::configured(Fixture::new(20, 4, 6), lively()).await;
    rig.push_qcs(0..3).await;
    rig.until_durable().await;
    // The disk loses what had been durable; the next life of the log finds out.
    rig.faults.inject(ActorKind::BlockWal, Fault::Error);
    let gate = rig.hold(ActorKind::BlockWal);
    rig.push(&rig.fixture.chain[3]).await.unwrap();
    rig.until(|_| rig.faults.outstanding() == 0).await;
    // Nothing but the header is left.
    let segment = rig.craft().segments(WalKind::Blocks).pop().unwrap();
    std::fs::File::options().write(true).open(&segment).unwrap().set_len(4096).unwrap();
    let blocks = rig.dir().join("blocks");
    let damaged = Files::of(&blocks);
    let mut vote = vote(&rig, rig.nth(39));
    gate.open();
    let reason = rig.roadbed.stopped().await;
    assert!(matches!(&reason, StopReason::Escalated { actor: ActorKind::BlockWal, .. }), "{reason:?}");
    assert!(!vote.waits());
    assert_eq!(vote.reply().await, Err(Error::Stopped(reason)));
    assert_eq!(Files::of(&blocks), damaged);
}

/// However State ends, everybody learns of it, and it can be started again in the same process.
async fn state_ends(strike: impl Fn(&Faults), error: &str) {
    let rig = Rig::configured(Fixture::new(21, 4, 4), watchful()).await;
    rig.push_qcs(0..2).await;
    rig.execute(rig.nth(19)).await.unwrap();
    let get = rig.send(GetGlobalBlock { number: rig.nth(1000) });
    let vote = vote(&rig, rig.nth(39));
    rig.status().await;
    strike(&rig.faults);
    let reason = rig.roadbed.stopped().await;
    assert_eq!(reason, StopReason::StateFailed { error: error.to_owned() });
    assert_eq!(get.reply().await.unwrap_err(), Error::Stopped(reason.clone()));
    assert_eq!(vote.reply().await, Err(Error::Stopped(reason.clone())));
    assert_eq!(rig.roadbed.block(rig.nth(0)).await, Err(Error::Stopped(reason.clone())));
    assert_eq!(rig.roadbed.shutdown().await, Err(Error::Stopped(reason)));
    opens_again(rig, BlockNumber(20)).await;
}

#[tokio::test]
async fn a_panic_of_state_ends_it_in_order_and_it_can_be_started_again() {
    state_ends(|faults| faults.inject(ActorKind::State, Fault::Panic), "injected panic in state").await;
}

#[tokio::test]
async fn a_state_that_stops_by_itself_ends_it_in_order_and_it_can_be_started_again() {
    state_ends(|faults| faults.inject_actor(ActorKind::State, ActorFault::Stop), "it stopped by itself")
        .await;
}

#[tokio::test]
async fn a_paused_pruner_pauses_nobody_else() {
    let config =
        Config { retention: RetentionPolicy { blocks_max: Some(5), ..lively().retention }, ..lively() };
    let rig = Rig::configured(Fixture::new(22, 4, 3), config).await;
    let gate = rig.hold(ActorKind::Pruner);
    rig.until(|_| rig.faults.outstanding() == 0).await;
    rig.push_all().await;
    rig.execute(rig.nth(29)).await.unwrap();
    assert_eq!(rig.cursors().await.first, rig.nth(0));
    let block = rig.ask(TryGetBlock { number: rig.nth(3) }).await.unwrap();
    assert_eq!(&block, rig.fixture.block(rig.nth(3)));
    gate.open();
    rig.until(|status| status.cursors.first == rig.nth(25)).await;
}

/// Durations are those of a monotonic clock, whatever becomes of the world's time.
#[tokio::test]
async fn a_wall_clock_that_jumps_prunes_nothing_and_calls_nobody_hung() {
    let age = Some(Duration::from_secs(3600));
    let config = Config {
        retention: RetentionPolicy { age_after_execution: age, ..lively().retention },
        ..watchful()
    };
    let fixture = Fixture::new(25, 4, 6);
    let (dir, faults, registry) = (tempfile::tempdir().unwrap(), Faults::default(), Registry::new());
    let now = Arc::new(AtomicU64::new(1_700_000_000_000_000));
    let (clock, day_us) = (Arc::clone(&now), 86_400_000_000);
    let builder =
        fixture.builder().data_dir(dir.path()).config(config).faults(faults.clone()).metrics(&registry);
    let builder = builder.wall_clock(move || Timestamp::from_unix_us(clock.load(Ordering::Relaxed)));
    let roadbed = builder.start().await.unwrap();
    let client = Client::new(roadbed.addr());
    for (at, certified) in fixture.chain.iter().enumerate() {
        // A day back, two days forth, and so on.
        let jump = (at as u64 + 1) * day_us;
        now.store(1_700_000_000_000_000 + if at % 2 == 0 { 0 } else { 2 * jump } - jump, Ordering::Relaxed);
        client.push(certified).await.unwrap();
        client.execute(fixture.nth(at as u64 * 10 + 9)).await.unwrap();
        // The pruner has looked since.
        faults.inject(ActorKind::Pruner, Fault::Error);
        client.until(|_| faults.outstanding() == 0).await;
    }
    let status = client.status().await;
    assert_eq!((status.cursors.first, status.cursors.next_app_proposal), (fixture.nth(0), fixture.nth(60)));
    for worker in status.workers.iter().filter(|worker| worker.actor != ActorKind::Pruner) {
        assert_eq!((worker.restarts, &worker.last_error), (0, &None), "{worker:?}");
    }
    roadbed.shutdown().await.unwrap();
}
