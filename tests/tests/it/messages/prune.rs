//! `PruneBefore{retain_from}`.

use roadbed_messages::BlockNumber;
use roadbed_messages::api::{ActorKind, Error, GetBlock, PruneBefore, TryGetBlock, WalKind};
use roadbed_tests::{Craft, Fixture, Rig};

use super::everywhere;

#[tokio::test]
async fn only_executed_blocks_go_and_the_last_durable_one_stays() {
    everywhere(Fixture::new(1, 4, 4), async |rig| {
        rig.push_all().await;
        rig.until_durable().await;
        assert_eq!(rig.prune(rig.nth(40)).await, Ok(rig.nth(0)..rig.nth(0)));
        rig.execute(rig.nth(11)).await.unwrap();
        assert_eq!(rig.prune(rig.nth(5)).await, Ok(rig.nth(0)..rig.nth(5)));
        // Below what is gone already, and above what was executed.
        assert_eq!(rig.prune(rig.nth(2)).await, Ok(rig.nth(5)..rig.nth(5)));
        assert_eq!(rig.prune(rig.nth(30)).await, Ok(rig.nth(5)..rig.nth(12)));
        rig.execute(rig.nth(39)).await.unwrap();
        assert_eq!(rig.prune(BlockNumber(u64::MAX)).await, Ok(rig.nth(12)..rig.nth(39)));
        assert_eq!(rig.cursors().await.first, rig.nth(39));
        let last = rig.ask(GetBlock { number: rig.nth(39) }).await.unwrap();
        assert_eq!(&last, rig.fixture.block(rig.nth(39)));
    })
    .await;
}

#[tokio::test]
async fn an_empty_store_has_nothing_to_prune() {
    everywhere(Fixture::new(2, 4, 1), async |rig| {
        assert_eq!(rig.prune(BlockNumber(u64::MAX)).await, Ok(rig.nth(0)..rig.nth(0)));
        rig.push_all().await;
        assert_eq!(rig.cursors().await.next_block, rig.nth(10));
    })
    .await;
}

#[tokio::test]
async fn pruning_is_answered_when_both_logs_have_made_it_durable() {
    for (held, other) in [(ActorKind::QcWal, ActorKind::BlockWal), (ActorKind::BlockWal, ActorKind::QcWal)] {
        let rig = Rig::on_disk(Fixture::new(3, 4, 4)).await;
        rig.push_all().await;
        rig.execute(rig.nth(39)).await.unwrap();
        let gate = rig.hold(held);
        let mut prune = rig.send(PruneBefore { retain_from: rig.nth(25) });
        rig.until_worker(other, |worker| worker.mailbox == 0).await;
        assert!(prune.waits());
        // Gone from memory at once.
        assert_eq!(rig.cursors().await.first, rig.nth(25));
        let pruned = rig.ask(TryGetBlock { number: rig.nth(24) }).await;
        assert_eq!(pruned, Err(Error::Pruned { number: rig.nth(24), first: rig.nth(25) }));
        gate.open();
        assert_eq!(prune.reply().await, Ok(rig.nth(0)..rig.nth(25)));
    }
}

#[tokio::test]
async fn state_goes_on_while_the_disk_prunes() {
    let rig = Rig::on_disk(Fixture::new(4, 4, 6)).await;
    rig.push_qcs(0..4).await;
    rig.execute(rig.nth(39)).await.unwrap();
    let gate = rig.hold(ActorKind::BlockWal);
    let mut prune = rig.send(PruneBefore { retain_from: rig.nth(15) });
    rig.until(|_| rig.faults.outstanding() == 0).await;
    rig.push_qcs(4..6).await;
    assert_eq!(rig.cursors().await.next_block, rig.nth(60));
    assert!(prune.waits());
    gate.open();
    prune.reply().await.unwrap();
    rig.until_durable().await;
}

#[tokio::test]
async fn of_prunings_that_pile_up_the_newest_is_carried_out_and_all_are_answered() {
    let rig = Rig::on_disk(Fixture::new(5, 4, 10)).await;
    rig.push_all().await;
    rig.execute(rig.nth(99)).await.unwrap();
    let gate = rig.hold(ActorKind::BlockWal);
    let prunes: Vec<_> =
        [10, 20, 30, 30, 80].map(|to| rig.send(PruneBefore { retain_from: rig.nth(to) })).into();
    // At most one truncation is in flight, however many were asked for.
    rig.until(|_| rig.faults.outstanding() == 0).await;
    assert_eq!(rig.worker(ActorKind::BlockWal).await.mailbox, 1);
    gate.open();
    let mut from = 0;
    for (prune, to) in prunes.into_iter().zip([10, 20, 30, 30, 80]) {
        assert_eq!(prune.reply().await, Ok(rig.nth(from)..rig.nth(to)));
        from = to;
    }
    let (fixture, dir) = rig.ended().await;
    assert_eq!(Craft::new(dir.path(), &fixture).range(WalKind::Blocks), 80..100);
}

#[tokio::test]
async fn a_block_whose_pruning_was_answered_never_comes_back() {
    let rig = Rig::on_disk(Fixture::new(6, 4, 6)).await;
    rig.push_all().await;
    rig.execute(rig.nth(59)).await.unwrap();
    rig.prune(rig.nth(33)).await.unwrap();
    let rig = rig.restarted().await;
    assert_eq!(rig.cursors().await.first, rig.nth(33));
    // The QC that straddles the front stays, those wholly below it are gone.
    assert_eq!(rig.recovered().reconcile_case, "5");
    let (fixture, dir) = rig.ended().await;
    let craft = Craft::new(dir.path(), &fixture);
    assert_eq!((craft.range(WalKind::Qcs), craft.range(WalKind::Blocks)), (3..6, 33..60));
}

#[tokio::test]
async fn a_full_bound_of_prunings_refuses_and_goes_on() {
    let mut config = roadbed_tests::settings();
    config.bounds.prune.calls_max = 2;
    let rig = Rig::configured(Fixture::new(7, 4, 4), config).await;
    rig.push_all().await;
    rig.execute(rig.nth(39)).await.unwrap();
    let gate = rig.hold(ActorKind::QcWal);
    let first = rig.send(PruneBefore { retain_from: rig.nth(10) });
    let second = rig.send(PruneBefore { retain_from: rig.nth(20) });
    let refused = rig.prune(rig.nth(30)).await;
    assert!(matches!(refused, Err(Error::Busy { kind: "prune_before", .. })), "{refused:?}");
    // It changed nothing.
    assert_eq!(rig.cursors().await.first, rig.nth(20));
    gate.open();
    assert_eq!(first.reply().await, Ok(rig.nth(0)..rig.nth(10)));
    assert_eq!(second.reply().await, Ok(rig.nth(10)..rig.nth(20)));
    assert_eq!(rig.prune(rig.nth(30)).await, Ok(rig.nth(20)..rig.nth(30)));
}
