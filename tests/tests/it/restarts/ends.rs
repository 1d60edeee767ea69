//! What can't be mended ends in order and says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roadbed::prometheus::Registry;
use roadbed::supervision::{ActorFault, Fault, Faults};
use roadbed::{Config, RetentionPolicy};
use roadbed_messages::api::{ActorKind, Error, GetGlobalBlock, GetQc, StopReason, TryGetBlock, WalKind};
use roadbed_messages::{BlockNumber, Timestamp};
use roadbed_tests::{Client, Files, Fixture, Rig};

use super::{lively, no_budget, opens_again, push, vote, watchful};

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
