//! `PushBlock{number, block}`.

use std::sync::Arc;

use roadbed::Config;
use roadbed_messages::api::{Error, GetBlock, PushBlock};
use roadbed_messages::{BlockError, BlockNumber, testing};
use roadbed_tests::{Fixture, settings};

use super::{everywhere, everywhere_with};

#[tokio::test]
async fn an_invalid_block_errs_at_once_however_far_ahead() {
    everywhere(Fixture::new(1, 4, 1), async |rig| {
        for number in [rig.nth(0), rig.nth(10_000), BlockNumber(u64::MAX)] {
            let block = Arc::new(testing::wrong_payload(rig.fixture.block(rig.nth(0))));
            let refused = rig.ask(PushBlock { number, block }).await;
            assert!(
                matches!(refused, Err(Error::InvalidBlock(BlockError::PayloadMismatch { .. }))),
                "{refused:?}"
            );
        }
        let mut block = rig.fixture.block(rig.nth(0)).as_ref().clone();
        block.header.lane = testing::committee(999, 4).committee.keys()[0];
        let refused = rig.ask(PushBlock { number: rig.nth(0), block: Arc::new(block) }).await;
        assert!(matches!(refused, Err(Error::InvalidBlock(BlockError::UnknownLane { .. }))), "{refused:?}");
        assert_eq!(rig.status().await.rejected["payload_mismatch"], 3);
    })
    .await;
}

#[tokio::test]
async fn push_block_at_exactly_next_qc_waits_for_its_qc() {
    everywhere(Fixture::new(2, 4, 2), async |rig| {
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        let number = rig.cursors().await.next_qc;
        let mut push = rig.send(PushBlock { number, block: rig.fixture.block(number).clone() });
        rig.settled().await;
        assert!(push.waits());
        rig.push_bare(&rig.fixture.chain[1]).await.unwrap();
        push.reply().await.unwrap();
        assert_eq!(rig.cursors().await.next_block, rig.nth(11));
    })
    .await;
}

#[tokio::test]
async fn a_block_that_was_not_finalized_under_its_number_is_refused() {
    everywhere(Fixture::new(3, 4, 2), async |rig| {
        let block = rig.fixture.block(rig.nth(4)).clone();
        let found = block.header.hash();
        let mismatch = |number: BlockNumber| {
            let expected = rig.fixture.block(number).header.hash();
            Err(Error::HeaderMismatch { number, expected, found })
        };
        rig.push_bare(&rig.fixture.chain[0]).await.unwrap();
        let refused = rig.ask(PushBlock { number: rig.nth(5), block: block.clone() }).await;
        assert_eq!(refused, mismatch(rig.nth(5)));
        // The same for one that had to wait for its QC.
        let mut early = rig.send(PushBlock { number: rig.nth(12), block: block.clone() });
        rig.settled().await;
        assert!(early.waits());
        rig.push_bare(&rig.fixture.chain[1]).await.unwrap();
        assert_eq!(early.reply().await, mismatch(rig.nth(12)));
        let status = rig.status().await;
        assert_eq!((status.buffered_blocks, status.rejected["hash_mismatch"]), (0, 2));
        rig.ask(PushBlock { number: rig.nth(4), block }).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_block_that_is_there_or_was_pruned_is_accepted_and_ignored() {
    everywhere(Fixture::new(4, 4, 2), async |rig| {
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        rig.execute(rig.nth(5)).await.unwrap();
        rig.prune(rig.nth(3)).await.unwrap();
        let other = rig.fixture.block(rig.nth(15)).clone();
        for number in [rig.nth(2), rig.nth(7)] {
            rig.push_block(&rig.fixture, number).await.unwrap();
            // Whatever it is: the number has its block, or had it.
            rig.ask(PushBlock { number, block: other.clone() }).await.unwrap();
        }
        assert_eq!(rig.cursors().await.first, rig.nth(3));
        let kept = rig.ask(GetBlock { number: rig.nth(7) }).await.unwrap();
        assert_eq!(&kept, rig.fixture.block(rig.nth(7)));
        // Held above a gap is there, too.
        rig.push_bare(&rig.fixture.chain[1]).await.unwrap();
        rig.push_block(&rig.fixture, rig.nth(14)).await.unwrap();
        rig.push_block(&rig.fixture, rig.nth(14)).await.unwrap();
        assert_eq!(rig.status().await.buffered_blocks, 1);
    })
    .await;
}

#[tokio::test]
async fn blocks_that_arrive_out_of_order_are_held_until_the_gap_closes() {
    everywhere(Fixture::new(5, 4, 2), async |rig| {
        rig.push_bare(&rig.fixture.chain[0]).await.unwrap();
        rig.push_bare(&rig.fixture.chain[1]).await.unwrap();
        for distance in (1..20).rev() {
            rig.push_block(&rig.fixture, rig.nth(distance)).await.unwrap();
            let status = rig.status().await;
            assert_eq!(status.cursors.next_block, rig.nth(0));
            assert_eq!(status.buffered_blocks as u64, 20 - distance);
        }
        rig.push_block(&rig.fixture, rig.nth(0)).await.unwrap();
        let status = rig.status().await;
        assert_eq!((status.cursors.next_block, status.buffered_blocks), (rig.nth(20), 0));
    })
    .await;
}

#[tokio::test]
async fn a_full_bound_of_waiting_blocks_admits_the_next_one() {
    let mut config = settings();
    config.bounds.push_block.calls_max = 3;
    everywhere_with(Fixture::new(6, 4, 3), Config { window_blocks: 10, ..config }, async |rig| {
        rig.push_bare(&rig.fixture.chain[0]).await.unwrap();
        let block = |distance: u64| PushBlock {
            number: rig.nth(distance),
            block: rig.fixture.block(rig.nth(distance)).clone(),
        };
        let mut waiting: Vec<_> = (20..23).map(|distance| rig.send(block(distance))).collect();
        rig.settled().await;
        let refused = rig.ask(block(25)).await;
        assert!(matches!(refused, Err(Error::Busy { kind: "push_block", .. })), "{refused:?}");
        for distance in 0..10 {
            rig.ask(block(distance)).await.unwrap();
        }
        assert_eq!(rig.cursors().await.next_block, rig.nth(10));
        // The highest had to make room, the others still wait.
        let highest = waiting.pop().unwrap().reply().await;
        assert!(matches!(highest, Err(Error::Busy { .. })), "{highest:?}");
        assert!(waiting.iter_mut().all(roadbed_tests::Sent::waits));
    })
    .await;
}
