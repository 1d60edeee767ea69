//! A full disk: a state outside the budget, that ends by itself.

use roadbed::Config;
use roadbed::supervision::Fault;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{ActorKind, Error, RunState, Status, WorkerState};
use roadbed_tests::{Fixture, Rig, settings};
use roadbed_wal::SyncPoint;
use roadbed_wal::sim::{self, Op, SimStorage};

use super::{lively, push, vote};

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
