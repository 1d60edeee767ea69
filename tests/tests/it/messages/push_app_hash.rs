//! `PushAppHash{number, hash}`.

use roadbed_messages::AppHash;
use roadbed_messages::api::{ActorKind, Error, PushAppHash, PushQc};
use roadbed_tests::{Fixture, Rig, app_hash};

use super::everywhere;

#[tokio::test]
async fn push_app_hash_waits_until_block_and_qc_are_both_durable() {
    for (held, other) in [(ActorKind::QcWal, ActorKind::BlockWal), (ActorKind::BlockWal, ActorKind::QcWal)] {
        let rig = Rig::on_disk(Fixture::new(1, 4, 1)).await;
        let gate = rig.hold(held);
        rig.push_all().await;
        let number = rig.nth(9);
        let mut vote = rig.send(PushAppHash { number, hash: app_hash(number) });
        // The other log is durable: that is not enough.
        rig.until_worker(other, |worker| worker.mailbox == 0).await;
        assert!(vote.waits());
        assert_eq!(rig.cursors().await.next_app_proposal, rig.nth(0));
        gate.open();
        vote.reply().await.unwrap();
        let cursors = rig.cursors().await;
        assert_eq!((cursors.next_app_proposal, cursors.next_block_to_persist), (rig.nth(10), rig.nth(10)));
    }
}

#[tokio::test]
async fn push_app_hash_for_a_block_that_is_not_there_waits_for_it() {
    everywhere(Fixture::new(2, 4, 2), async |rig| {
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        let number = rig.nth(10);
        let mut vote = rig.send(PushAppHash { number, hash: app_hash(number) });
        rig.until_durable().await;
        assert!(vote.waits());
        rig.push(&rig.fixture.chain[1]).await.unwrap();
        vote.reply().await.unwrap();
        assert_eq!(rig.cursors().await.next_app_proposal, rig.nth(11));
    })
    .await;
}

#[tokio::test]
async fn push_app_hash_out_of_order_is_an_error() {
    everywhere(Fixture::new(3, 4, 1), async |rig| {
        rig.push_all().await;
        rig.execute(rig.nth(5)).await.unwrap();
        for distance in [5, 3, 0] {
            let number = rig.nth(distance);
            let refused = rig.execute(number).await;
            let expected =
                Error::AppHashOutOfOrder { number, hash: app_hash(number), next_app_proposal: rig.nth(6) };
            assert_eq!(refused, Err(expected));
        }
        rig.execute(rig.nth(6)).await.unwrap();
        assert_eq!(rig.status().await.rejected["app_hash_out_of_order"], 3);
    })
    .await;
}

#[tokio::test]
async fn of_two_app_hashes_for_one_block_that_wait_exactly_one_wins() {
    let rig = Rig::on_disk(Fixture::new(4, 4, 1)).await;
    let gate = rig.hold(ActorKind::BlockWal);
    rig.push_all().await;
    let number = rig.nth(4);
    let first = rig.send(PushAppHash { number, hash: AppHash([1; 32]) });
    let second = rig.send(PushAppHash { number, hash: AppHash([2; 32]) });
    rig.cursors().await;
    gate.open();
    assert_eq!(first.reply().await, Ok(()));
    let lost = second.reply().await;
    let expected = Error::AppHashOutOfOrder { number, hash: AppHash([2; 32]), next_app_proposal: rig.nth(5) };
    assert_eq!(lost, Err(expected));
    let proposal = rig.roadbed.app_proposal(number).await.unwrap();
    assert_eq!(proposal.hash, AppHash([1; 32]));
}

#[tokio::test]
async fn app_hashes_that_wait_are_granted_in_ascending_order() {
    let rig = Rig::on_disk(Fixture::new(5, 4, 2)).await;
    let gate = rig.hold_logs();
    rig.push_all().await;
    let descending: Vec<_> = (0..20)
        .rev()
        .map(|distance| {
            rig.send(PushAppHash { number: rig.nth(distance), hash: app_hash(rig.nth(distance)) })
        })
        .collect();
    rig.cursors().await;
    gate.open();
    for vote in descending {
        assert_eq!(vote.reply().await, Ok(()));
    }
    assert_eq!(rig.cursors().await.next_app_proposal, rig.nth(20));
}

#[tokio::test]
async fn a_jump_marks_everything_up_to_its_number() {
    everywhere(Fixture::new(6, 4, 5), async |rig| {
        rig.push_all().await;
        rig.execute(rig.nth(37)).await.unwrap();
        assert_eq!(rig.cursors().await.next_app_proposal, rig.nth(38));
        let refused = rig.execute(rig.nth(20)).await;
        assert!(matches!(refused, Err(Error::AppHashOutOfOrder { .. })), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn votes_are_granted_while_pushes_fill_their_bound() {
    let mut config = roadbed_tests::settings();
    config.bounds.push_qc.calls_max = 2;
    let rig = Rig::configured(Fixture::new(7, 4, 6), config).await;
    rig.push(&rig.fixture.chain[0]).await.unwrap();
    let push = |at: usize| {
        let (qc, blocks) = &rig.fixture.chain[at];
        PushQc { qc: qc.clone(), blocks: blocks.clone() }
    };
    let mut waiting: Vec<_> = [3, 4].into_iter().map(|at| rig.send(push(at))).collect();
    let refused = rig.ask(push(5)).await;
    assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
    rig.execute(rig.nth(9)).await.unwrap();
    assert!(waiting.iter_mut().all(roadbed_tests::Sent::waits));
}
