//! `GetQc`, `GetBlock`, `GetGlobalBlock`, `GetAppProposal`, `TryGetBlock`, `GetBlockByHash`, `NeedBlock`.

use roadbed::Config;
use roadbed_messages::api::{
    ActorKind, Error, GetAppProposal, GetBlock, GetBlockByHash, GetGlobalBlock, GetQc, NeedBlock,
    PushAppHash, TryGetBlock,
};
use roadbed_messages::{AppProposal, BlockNumber, GlobalBlock, HeaderHash};
use roadbed_tests::{Fixture, Rig, app_hash, settings};

use super::everywhere;

/// What a global block must be, from the chain that was pushed.
fn assert_is(block: &GlobalBlock, number: BlockNumber, fixture: &Fixture) {
    let qc = fixture.qc_of(number);
    let range = qc.range(&fixture.members.committee).unwrap();
    let proposal = &qc.qc.proposal;
    assert_eq!(block.number, number);
    assert_eq!(block.header, fixture.block(number).header);
    assert_eq!(block.payload.block(), fixture.block(number));
    assert_eq!(block.timestamp, proposal.timestamp.checked_add_us(number.0 - range.start.0).unwrap());
    assert_eq!(block.app_proposal, proposal.app_proposal);
}

/// Everything durable is read from the disk: nothing of it stays in memory.
fn nothing_in_memory() -> Config {
    Config { memory_bytes_max: 0, ..settings() }
}

/// The whole chain, durable and out of memory.
async fn on_disk_only(fixture: Fixture) -> Rig {
    let rig = Rig::configured(fixture, nothing_in_memory()).await;
    rig.push_all().await;
    rig.until(|status| status.cursors.next_block_to_persist == rig.fixture.end() && status.memory_bytes == 0)
        .await;
    rig
}

#[tokio::test]
async fn get_qc_waits_for_the_qc_and_not_for_its_blocks() {
    everywhere(Fixture::new(1, 4, 2), async |rig| {
        let mut get = rig.send(GetQc { number: rig.nth(13) });
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        assert!(get.waits());
        rig.push_bare(&rig.fixture.chain[1]).await.unwrap();
        assert_eq!(get.reply().await.unwrap(), rig.fixture.chain[1].0);
        for distance in [0, 9] {
            let qc = rig.ask(GetQc { number: rig.nth(distance) }).await.unwrap();
            assert_eq!(qc, rig.fixture.chain[0].0);
        }
    })
    .await;
}

#[tokio::test]
async fn get_block_waits_until_the_block_is_in_the_contiguous_run() {
    everywhere(Fixture::new(2, 4, 1), async |rig| {
        let number = rig.nth(6);
        let mut block = rig.send(GetBlock { number });
        let mut global = rig.send(GetGlobalBlock { number });
        rig.push_bare(&rig.fixture.chain[0]).await.unwrap();
        // Held above a gap is not there yet.
        for distance in (1..10).rev() {
            rig.push_block(&rig.fixture, rig.nth(distance)).await.unwrap();
        }
        assert!(block.waits() && global.waits());
        rig.push_block(&rig.fixture, rig.nth(0)).await.unwrap();
        assert_eq!(&block.reply().await.unwrap(), rig.fixture.block(number));
        assert_is(&global.reply().await.unwrap(), number, &rig.fixture);
    })
    .await;
}

#[tokio::test]
async fn gets_answer_the_same_from_memory_and_from_disk() {
    let fixture = Fixture::new(3, 4, 8);
    for rig in [on_disk_only(fixture.clone()).await, {
        let rig = Rig::in_memory(fixture).await;
        rig.push_all().await;
        rig
    }] {
        let fixture = &rig.fixture;
        for distance in 0..80 {
            let number = rig.nth(distance);
            assert_eq!(&rig.ask(GetQc { number }).await.unwrap(), fixture.qc_of(number));
            assert_eq!(&rig.ask(GetBlock { number }).await.unwrap(), fixture.block(number));
            assert_eq!(&rig.ask(TryGetBlock { number }).await.unwrap(), fixture.block(number));
            assert_is(&rig.ask(GetGlobalBlock { number }).await.unwrap(), number, fixture);
            let hash = fixture.block(number).header.hash();
            assert_is(&rig.ask(GetBlockByHash { hash }).await.unwrap(), number, fixture);
        }
    }
}

#[tokio::test]
async fn gets_of_pruned_blocks_say_what_is_retained() {
    everywhere(Fixture::new(4, 4, 3), async |rig| {
        rig.push_all().await;
        rig.execute(rig.nth(25)).await.unwrap();
        rig.prune(rig.nth(15)).await.unwrap();
        // Its QC is still there for the blocks behind it; for this one it is not.
        for number in [rig.nth(14), rig.nth(0)] {
            let pruned = Error::Pruned { number, first: rig.nth(15) };
            assert_eq!(rig.ask(GetQc { number }).await.unwrap_err(), pruned);
            assert_eq!(rig.ask(GetBlock { number }).await.unwrap_err(), pruned);
            assert_eq!(rig.ask(GetGlobalBlock { number }).await.unwrap_err(), pruned);
            assert_eq!(rig.ask(TryGetBlock { number }).await.unwrap_err(), pruned);
            assert_eq!(rig.ask(GetAppProposal { number }).await.unwrap_err(), pruned);
            let hash = rig.fixture.block(number).header.hash();
            let by_hash = rig.ask(GetBlockByHash { hash }).await;
            assert!(matches!(by_hash, Err(Error::Pruned { .. } | Error::NotFound)), "{by_hash:?}");
        }
        let number = rig.nth(15);
        assert_eq!(&rig.ask(GetBlock { number }).await.unwrap(), rig.fixture.block(number));
        assert_eq!(&rig.ask(GetQc { number }).await.unwrap(), rig.fixture.qc_of(number));
    })
    .await;
}

#[tokio::test]
async fn get_app_proposal_waits_and_answers_the_lowest_that_covers() {
    everywhere(Fixture::new(5, 4, 4), async |rig| {
        rig.push_all().await;
        let mut waiting = rig.send(GetAppProposal { number: rig.nth(4) });
        rig.execute(rig.nth(3)).await.unwrap();
        assert!(waiting.waits());
        // A jump: it covers all blocks between.
        rig.execute(rig.nth(22)).await.unwrap();
        let proposal = |distance: u64| {
            let number = rig.nth(distance);
            let road_index = rig.fixture.qc_of(number).road_index();
            AppProposal { number, road_index, hash: app_hash(number) }
        };
        assert_eq!(waiting.reply().await.unwrap(), proposal(22));
        for (asked, covering) in [(0, 3), (3, 3), (4, 22), (22, 22)] {
            let answer = rig.ask(GetAppProposal { number: rig.nth(asked) }).await.unwrap();
            assert_eq!(answer, proposal(covering), "{asked}");
        }
        let mut beyond = rig.send(GetAppProposal { number: rig.nth(23) });
        rig.cursors().await;
        assert!(beyond.waits());
        // What was pruned covers nothing any more; what lies above keeps its proposal.
        rig.prune(rig.nth(10)).await.unwrap();
        assert_eq!(rig.ask(GetAppProposal { number: rig.nth(10) }).await.unwrap(), proposal(22));
    })
    .await;
}

#[tokio::test]
async fn get_app_proposal_after_a_restart_waits_for_what_is_reported_again() {
    let rig = Rig::on_disk(Fixture::new(6, 4, 3)).await;
    rig.push_all().await;
    for distance in 0..30 {
        rig.execute(rig.nth(distance)).await.unwrap();
    }
    let rig = rig.restarted().await;
    assert_eq!(rig.cursors().await.next_app_proposal, rig.nth(0));
    let mut waiting = rig.send(GetAppProposal { number: rig.nth(7) });
    rig.cursors().await;
    assert!(waiting.waits());
    let number = rig.nth(29);
    rig.ask(PushAppHash { number, hash: app_hash(number) }).await.unwrap();
    let proposal = waiting.reply().await.unwrap();
    assert_eq!((proposal.number, proposal.hash), (number, app_hash(number)));
    assert_eq!(proposal.road_index, rig.fixture.qc_of(number).road_index());
}

#[tokio::test]
async fn get_app_proposal_reads_the_road_index_from_disk() {
    let rig = on_disk_only(Fixture::new(7, 4, 3)).await;
    rig.execute(rig.nth(12)).await.unwrap();
    let proposal = rig.ask(GetAppProposal { number: rig.nth(1) }).await.unwrap();
    assert_eq!(proposal.road_index, rig.fixture.chain[1].0.road_index());
    assert_eq!((proposal.number, proposal.hash), (rig.nth(12), app_hash(rig.nth(12))));
}

#[tokio::test]
async fn what_has_not_arrived_is_not_found_and_not_waited_for() {
    everywhere(Fixture::new(8, 4, 2), async |rig| {
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        rig.push_bare(&rig.fixture.chain[1]).await.unwrap();
        // Held above a gap.
        rig.push_block(&rig.fixture, rig.nth(15)).await.unwrap();
        for distance in [10, 15, 19, 20, 1000] {
            let not_found = rig.ask(TryGetBlock { number: rig.nth(distance) }).await;
            assert_eq!(not_found, Err(Error::NotFound), "{distance}");
        }
        for distance in [10, 15, 19] {
            let hash = rig.fixture.block(rig.nth(distance)).header.hash();
            assert_eq!(rig.ask(GetBlockByHash { hash }).await, Err(Error::NotFound), "{distance}");
        }
        let hash = HeaderHash([7; 32]);
        assert_eq!(rig.ask(GetBlockByHash { hash }).await, Err(Error::NotFound));
        for distance in 10..15 {
            rig.push_block(&rig.fixture, rig.nth(distance)).await.unwrap();
        }
        let number = rig.nth(15);
        assert_eq!(&rig.ask(TryGetBlock { number }).await.unwrap(), rig.fixture.block(number));
        let hash = rig.fixture.block(number).header.hash();
        assert_is(&rig.ask(GetBlockByHash { hash }).await.unwrap(), number, &rig.fixture);
    })
    .await;
}

#[tokio::test]
async fn a_block_is_served_while_only_one_log_holds_it() {
    for (held, other) in [(ActorKind::QcWal, ActorKind::BlockWal), (ActorKind::BlockWal, ActorKind::QcWal)] {
        let rig = Rig::configured(Fixture::new(11, 4, 3), nothing_in_memory()).await;
        let gate = rig.hold(held);
        rig.push_all().await;
        rig.until_worker(other, |worker| worker.mailbox == 0).await;
        for number in (0..30).map(BlockNumber) {
            assert_eq!(&rig.ask(GetQc { number }).await.unwrap(), rig.fixture.qc_of(number));
            assert_is(&rig.ask(GetGlobalBlock { number }).await.unwrap(), number, &rig.fixture);
            let hash = rig.fixture.block(number).header.hash();
            assert_is(&rig.ask(GetBlockByHash { hash }).await.unwrap(), number, &rig.fixture);
        }
        gate.open();
    }
}

#[tokio::test]
async fn reads_from_disk_go_on_while_both_logs_hang() {
    let rig = on_disk_only(Fixture::new(9, 4, 4)).await;
    let extra = Fixture::new(9, 4, 5).chain.remove(4);
    let gate = rig.hold_logs();
    rig.push(&extra).await.unwrap();
    rig.until(|_| rig.faults.outstanding() == 0).await;
    for number in (0..40).map(BlockNumber) {
        assert_is(&rig.ask(GetGlobalBlock { number }).await.unwrap(), number, &rig.fixture);
    }
    gate.open();
}

#[tokio::test]
async fn need_block_says_what_a_fetcher_should_still_ask_for() {
    everywhere(Fixture::new(10, 4, 2), async |rig| {
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        rig.push_bare(&rig.fixture.chain[1]).await.unwrap();
        rig.push_block(&rig.fixture, rig.nth(15)).await.unwrap();
        rig.execute(rig.nth(9)).await.unwrap();
        rig.prune(rig.nth(5)).await.unwrap();
        for (distance, needed) in [(0, false), (9, false), (10, true), (15, false), (16, true), (20, true)] {
            let answer = rig.ask(NeedBlock { number: rig.nth(distance) }).await;
            assert_eq!(answer, Ok(needed), "{distance}");
        }
    })
    .await;
}
