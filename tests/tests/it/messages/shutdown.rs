//! `Shutdown`.

use std::time::Duration;

use roadbed::Config;
use roadbed_messages::api::{
    ActorKind, Error, GetAppProposal, GetBlock, GetQc, NextBlock, PushAppHash, PushBlock, PushQc, RunState,
    Shutdown, StopReason, Subscribe, TryGetBlock,
};
use roadbed_messages::{AppHash, BlockNumber};
use roadbed_tests::{Fixture, Rig, app_hash, settings};

use super::everywhere;

#[tokio::test]
async fn shutdown_answers_thousands_of_waiters_with_the_reason() {
    everywhere(Fixture::new(1, 4, 3), async |rig| {
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        let cursors = rig.until_durable().await;
        let far = |n: u64| rig.nth(1000 + n);
        let (qc, blocks) = rig.fixture.chain[2].clone();
        let mut waiters = Vec::new();
        macro_rules! wait {
            ($message:expr) => {{
                let sent = rig.send($message);
                waiters.push(tokio::spawn(async move { sent.reply().await.map(|_| ()) }));
            }};
        }
        for n in 0..1000 {
            wait!(GetBlock { number: far(n) });
            wait!(GetQc { number: far(n) });
            wait!(GetAppProposal { number: far(n) });
            wait!(Subscribe { from: far(n), only_durable: n % 2 == 0, blocks_max: 1 });
            wait!(PushAppHash { number: far(n), hash: AppHash([0; 32]) });
            wait!(PushBlock { number: far(n), block: blocks[0].clone() });
        }
        for _ in 0..500 {
            wait!(PushQc { qc: qc.clone(), blocks: Vec::new() });
        }
        rig.until(|status| status.waiters.values().sum::<usize>() == 6500).await;
        let report = rig.ask(Shutdown).await.unwrap();
        assert_eq!((report.cursors, report.is_clean()), (cursors, true));
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), Err(Error::Stopped(StopReason::Shutdown(cursors))));
        }
        assert_eq!(rig.roadbed.stopped().await, StopReason::Shutdown(cursors));
    })
    .await;
}

#[tokio::test]
async fn shutdown_takes_no_more_pushes_and_makes_the_run_durable() {
    let rig = Rig::on_disk(Fixture::new(2, 4, 3)).await;
    let gate = rig.hold(ActorKind::BlockWal);
    rig.push_qcs(0..2).await;
    let vote = rig.send(PushAppHash { number: rig.nth(19), hash: app_hash(rig.nth(19)) });
    // Nothing will bring what this one waits for.
    let gap = rig.send(PushBlock { number: rig.nth(29), block: rig.fixture.block(rig.nth(29)).clone() });
    let mut shutdown = rig.send(Shutdown);
    let refused = gap.reply().await;
    assert!(matches!(refused, Err(Error::Stopped(StopReason::Shutdown(_)))), "{refused:?}");
    let refused = rig.push(&rig.fixture.chain[2]).await;
    assert!(matches!(refused, Err(Error::Stopped(StopReason::Shutdown(_)))), "{refused:?}");
    let refused = rig.push_block(&rig.fixture, rig.nth(20)).await;
    assert!(matches!(refused, Err(Error::Stopped(StopReason::Shutdown(_)))), "{refused:?}");
    // What is there is still served.
    assert_eq!(rig.status().await.state, RunState::Stopping);
    let block = rig.ask(TryGetBlock { number: rig.nth(7) }).await.unwrap();
    assert_eq!(&block, rig.fixture.block(rig.nth(7)));
    assert!(shutdown.waits());
    gate.open();
    // Durable now: the vote is safe, and the report clean.
    vote.reply().await.unwrap();
    let report = shutdown.reply().await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.cursors.next_block_to_persist, rig.nth(20));
    rig.roadbed.stopped().await;
}

#[tokio::test]
async fn what_was_shut_down_in_order_is_all_there_at_the_next_start() {
    let rig = Rig::on_disk(Fixture::new(3, 4, 8)).await;
    rig.push_all().await;
    let rig = rig.restarted().await;
    let recovered = rig.recovered();
    assert_eq!((recovered.next_block, recovered.next_qc), (rig.nth(80), rig.nth(80)));
    assert_eq!((recovered.torn_bytes, recovered.reconcile_case.as_str()), (0, "4"));
}

#[tokio::test]
async fn every_one_of_several_shutdowns_is_answered() {
    everywhere(Fixture::new(4, 4, 2), async |rig| {
        rig.push_all().await;
        let shutdowns: Vec<_> = (0..3).map(|_| rig.send(Shutdown)).collect();
        for shutdown in shutdowns {
            // One that comes after the end finds State gone: the handle then knows why.
            if let Ok(report) = shutdown.outcome().await {
                assert_eq!(report.unwrap().cursors.next_block_to_persist, rig.nth(20));
            }
        }
        let reason = rig.roadbed.stopped().await;
        assert!(rig.send(NextBlock).outcome().await.is_err());
        assert_eq!(rig.roadbed.next_block().await, Err(Error::Stopped(reason.clone())));
        assert_eq!(rig.roadbed.shutdown().await, Err(Error::Stopped(reason)));
    })
    .await;
}

#[tokio::test]
async fn shutdown_with_a_hung_disk_reports_what_is_not_durable() {
    let config = Config {
        shutdown_deadline: Duration::from_millis(300),
        hung_after: Duration::from_millis(100),
        ..settings()
    };
    let rig = Rig::configured(Fixture::new(5, 4, 3), config).await;
    rig.push(&rig.fixture.chain[0]).await.unwrap();
    rig.until_durable().await;
    let gate = rig.hold(ActorKind::QcWal);
    rig.push_qcs(1..3).await;
    let vote = rig.send(PushAppHash { number: rig.nth(25), hash: app_hash(rig.nth(25)) });
    let report = rig.ask(Shutdown).await.unwrap();
    assert!(!report.is_clean());
    assert_eq!(report.not_durable, rig.nth(10)..rig.nth(30));
    assert_eq!(report.cursors.next_block_to_persist, rig.nth(10));
    let refused = vote.reply().await;
    assert!(matches!(refused, Err(Error::Stopped(StopReason::Shutdown(_)))), "{refused:?}");
    // The end does not wait for the thread that hangs.
    assert!(matches!(rig.roadbed.stopped().await, StopReason::Shutdown(_)));
    gate.open();
}

#[tokio::test]
async fn dropping_the_last_handle_shuts_down_in_order() {
    let rig = Rig::on_disk(Fixture::new(6, 4, 2)).await;
    rig.push_all().await;
    let mut get = rig.send(GetBlock { number: BlockNumber(1000) });
    assert!(get.waits());
    let Rig { roadbed, fixture, .. } = rig;
    drop(roadbed);
    let end = get.reply().await;
    let at_end = |reason: &StopReason| match reason {
        StopReason::Shutdown(cursors) => cursors.next_block_to_persist == fixture.end(),
        _ => false,
    };
    assert!(matches!(&end, Err(Error::Stopped(reason)) if at_end(reason)), "{end:?}");
}
