//! What hangs is told and never opened twice; what makes the verifier die or hang errs for its caller alone.

use roadbed::Config;
use roadbed::supervision::Fault;
use roadbed_messages::api::{
    ActorKind, Error, GetBlock, PushBlock, RunState, StartError, StopReason, WorkerState,
};
use roadbed_tests::{Fixture, Rig};

use super::{LOGS, free_again, impatient, push, vote, watchful};

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
