//! Deaths while the subsystem starts and while it ends.

use roadbed::supervision::{Fault, Faults};
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{ActorKind, Shutdown, StartError, WorkerState};
use roadbed_tests::{Craft, Fixture, Rig, settings};

use super::{LOGS, free_again, impatient, lively, no_budget, opens_again};

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
