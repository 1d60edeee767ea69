//! `Subscribe{from, only_durable}`.

use roadbed::Subscription;
use roadbed_messages::BlockNumber;
use roadbed_messages::api::{ActorKind, Error, PushQc, StopReason, Subscribe};
use roadbed_tests::{Fixture, Rig, settings};

use super::everywhere;

/// The next `count` blocks of a stream are the chain's, from `from` on.
async fn assert_streams(stream: &mut Subscription, fixture: &Fixture, from: BlockNumber, count: u64) {
    for number in (from.0..from.0 + count).map(BlockNumber) {
        let block = stream.next().await.unwrap();
        assert_eq!((block.number, block.payload.block()), (number, fixture.block(number)));
    }
}

#[tokio::test]
async fn a_subscriber_gets_every_block_in_order_and_once_while_they_arrive() {
    everywhere(Fixture::new(1, 4, 30), async |rig| {
        let mut streams = [false, true].map(|durable| rig.roadbed.subscribe(rig.nth(0), durable));
        let pushes: Vec<_> = rig
            .fixture
            .chain
            .iter()
            .map(|(qc, blocks)| rig.send(PushQc { qc: qc.clone(), blocks: blocks.clone() }))
            .collect();
        for stream in &mut streams {
            assert_streams(stream, &rig.fixture, rig.nth(0), 300).await;
            assert_eq!(stream.next_number(), rig.nth(300));
        }
        for push in pushes {
            push.reply().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_subscriber_in_the_past_reads_from_disk_and_goes_on_in_memory() {
    let rig = Rig::on_disk(Fixture::new(2, 4, 20)).await;
    rig.push_qcs(0..10).await;
    let rig = rig.restarted_with(roadbed::Config { memory_bytes_max: 0, ..settings() }).await;
    let mut stream = rig.roadbed.subscribe(rig.nth(7), false);
    assert_streams(&mut stream, &rig.fixture, rig.nth(7), 50).await;
    rig.push_qcs(10..20).await;
    assert_streams(&mut stream, &rig.fixture, rig.nth(57), 143).await;
}

#[tokio::test]
async fn only_durable_waits_for_the_disk_and_the_default_does_not() {
    let rig = Rig::on_disk(Fixture::new(3, 4, 2)).await;
    rig.push(&rig.fixture.chain[0]).await.unwrap();
    rig.until_durable().await;
    let gate = rig.hold(ActorKind::QcWal);
    rig.push(&rig.fixture.chain[1]).await.unwrap();
    let ask = |only_durable| Subscribe { from: rig.nth(5), only_durable, blocks_max: 100 };
    let numbers = |blocks: Vec<roadbed_messages::GlobalBlock>| {
        blocks.iter().map(|block| block.number.0).collect::<Vec<_>>()
    };
    assert_eq!(numbers(rig.ask(ask(false)).await.unwrap()), (5..20).collect::<Vec<_>>());
    assert_eq!(numbers(rig.ask(ask(true)).await.unwrap()), (5..10).collect::<Vec<_>>());
    let mut waiting = rig.send(Subscribe { from: rig.nth(10), only_durable: true, blocks_max: 100 });
    rig.until_worker(ActorKind::BlockWal, |worker| worker.mailbox == 0).await;
    assert!(waiting.waits());
    gate.open();
    assert_eq!(numbers(waiting.reply().await.unwrap()), (10..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_reply_carries_at_most_what_was_asked_for() {
    everywhere(Fixture::new(4, 4, 3), async |rig| {
        rig.push_all().await;
        for (blocks_max, expected) in [(0, 1), (1, 1), (7, 7), (1000, 30)] {
            let ask = Subscribe { from: rig.nth(0), only_durable: false, blocks_max };
            assert_eq!(rig.ask(ask).await.unwrap().len(), expected, "{blocks_max}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_slow_subscriber_slows_nobody_and_misses_nothing() {
    everywhere(Fixture::new(5, 4, 30), async |rig| {
        let mut slow = rig.roadbed.subscribe(rig.nth(0), false);
        let mut fast = rig.roadbed.subscribe(rig.nth(0), false);
        for at in 0..30 {
            rig.push(&rig.fixture.chain[at]).await.unwrap();
            assert_streams(&mut fast, &rig.fixture, rig.nth(at as u64 * 10), 10).await;
            // One block for every ten.
            assert_streams(&mut slow, &rig.fixture, rig.nth(at as u64), 1).await;
        }
        // Nothing is kept for it: all that State knows of a subscriber is a request that waits.
        assert_eq!(rig.status().await.waiters["subscribe"], 0);
        assert_streams(&mut slow, &rig.fixture, rig.nth(30), 270).await;
    })
    .await;
}

#[tokio::test]
async fn a_subscription_ends_when_what_it_needs_is_pruned() {
    everywhere(Fixture::new(6, 4, 20), async |rig| {
        rig.push_all().await;
        let mut stream = rig.roadbed.subscribe(rig.nth(0), false);
        assert_streams(&mut stream, &rig.fixture, rig.nth(0), 1).await;
        rig.execute(rig.nth(199)).await.unwrap();
        // It does not hold back pruning.
        rig.prune(rig.nth(150)).await.unwrap();
        let end = loop {
            match stream.next().await {
                Ok(block) => {
                    assert_eq!(&block.payload.block().header, &rig.fixture.block(block.number).header)
                }
                Err(end) => break end,
            }
        };
        let number = stream.next_number();
        assert!(number < rig.nth(150));
        assert_eq!(end, Error::Pruned { number, first: rig.nth(150) });
        let mut anew = rig.roadbed.subscribe(rig.nth(150), false);
        assert_streams(&mut anew, &rig.fixture, rig.nth(150), 50).await;
    })
    .await;
}

#[tokio::test]
async fn a_subscriber_resumes_by_number_after_its_own_restart() {
    everywhere(Fixture::new(7, 4, 10), async |rig| {
        rig.push_all().await;
        let mut stream = rig.roadbed.subscribe(rig.nth(3), false);
        assert_streams(&mut stream, &rig.fixture, rig.nth(3), 40).await;
        let resume_from = stream.next_number();
        drop(stream);
        let mut stream = rig.roadbed.subscribe(resume_from, false);
        assert_streams(&mut stream, &rig.fixture, rig.nth(43), 57).await;
    })
    .await;
}

#[tokio::test]
async fn dropping_a_wait_for_the_next_block_loses_none() {
    everywhere(Fixture::new(8, 4, 2), async |rig| {
        let mut stream = rig.roadbed.subscribe(rig.nth(0), false);
        // Nothing is there yet: the wait is given up, again and again.
        for _ in 0..3 {
            tokio::select! {
                biased;
                block = stream.next() => panic!("{block:?}"),
                _ = rig.cursors() => {}
            }
        }
        rig.push_all().await;
        assert_streams(&mut stream, &rig.fixture, rig.nth(0), 20).await;
    })
    .await;
}

#[tokio::test]
async fn subscribers_learn_why_it_ended() {
    everywhere(Fixture::new(9, 4, 1), async |rig| {
        let mut stream = rig.roadbed.subscribe(rig.nth(0), false);
        let next = tokio::spawn(async move { stream.next().await });
        rig.until(|status| status.waiters["subscribe"] == 1).await;
        rig.roadbed.shutdown().await.unwrap();
        let end = next.await.unwrap();
        assert!(matches!(end, Err(Error::Stopped(StopReason::Shutdown(_)))), "{end:?}");
    })
    .await;
}
