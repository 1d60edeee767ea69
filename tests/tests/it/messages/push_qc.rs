//! `PushQc{qc, blocks}`.

use std::sync::Arc;

use roadbed::Config;
use roadbed_messages::api::{ActorKind, Error, PushQc, WalKind};
use roadbed_messages::testing::{self, ChainShape};
use roadbed_messages::{Block, BlockNumber, FullCommitQc, QcError};
use roadbed_tests::{Certified, Craft, Fixture, Rig, settings};

use super::{everywhere, everywhere_with};

fn message((qc, blocks): &Certified) -> PushQc {
    PushQc { qc: qc.clone(), blocks: blocks.clone() }
}

fn bare(qc: FullCommitQc) -> PushQc {
    PushQc { qc: Arc::new(qc), blocks: Vec::new() }
}

#[tokio::test]
async fn push_qc_inserts_the_qc_and_all_its_blocks_in_one_step() {
    everywhere(Fixture::new(1, 4, 12), async |rig| {
        let pushes: Vec<_> = rig.fixture.chain.iter().map(|certified| rig.send(message(certified))).collect();
        // Whoever looks sees a QC together with its blocks, or not at all.
        loop {
            let cursors = rig.cursors().await;
            assert_eq!(cursors.next_block, cursors.next_qc);
            if cursors.next_qc == rig.fixture.end() {
                break;
            }
        }
        for push in pushes {
            push.reply().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn push_qc_takes_any_subset_of_its_blocks_in_any_order() {
    everywhere(Fixture::new(2, 4, 1), async |rig| {
        let (qc, blocks) = &rig.fixture.chain[0];
        let subset = [7, 2, 0, 1, 2].map(|at: usize| blocks[at].clone()).to_vec();
        rig.ask(PushQc { qc: qc.clone(), blocks: subset }).await.unwrap();
        let status = rig.status().await;
        assert_eq!((status.cursors.next_block, status.cursors.next_qc), (rig.nth(3), rig.nth(10)));
        assert_eq!((status.buffered_blocks, status.missing_blocks), (1, 6));
    })
    .await;
}

#[tokio::test]
async fn push_qc_beyond_the_run_of_qcs_waits_for_the_one_before() {
    everywhere(Fixture::new(3, 4, 3), async |rig| {
        let mut third = rig.send(message(&rig.fixture.chain[2]));
        let mut second = rig.send(message(&rig.fixture.chain[1]));
        rig.settled().await;
        assert!(second.waits() && third.waits());
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        second.reply().await.unwrap();
        third.reply().await.unwrap();
        assert_eq!(rig.cursors().await.next_block, rig.fixture.end());
    })
    .await;
}

#[tokio::test]
async fn push_qc_beyond_the_window_waits_until_the_application_moves() {
    let config = Config { window_blocks: 20, ..settings() };
    everywhere_with(Fixture::new(4, 4, 4), config, async |rig| {
        rig.push_qcs(0..2).await;
        rig.until_durable().await;
        let mut beyond = rig.send(message(&rig.fixture.chain[2]));
        rig.settled().await;
        assert!(beyond.waits());
        assert_eq!(rig.cursors().await.next_qc, rig.nth(20));

        rig.execute(rig.nth(0)).await.unwrap();
        beyond.reply().await.unwrap();
        assert_eq!(rig.cursors().await.next_qc, rig.nth(30));
        // The window has moved by one block, not by one QC.
        let mut beyond = rig.send(message(&rig.fixture.chain[3]));
        rig.settled().await;
        assert!(beyond.waits());
        rig.execute(rig.nth(9)).await.unwrap();
        rig.settled().await;
        assert!(beyond.waits());
        rig.execute(rig.nth(10)).await.unwrap();
        beyond.reply().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn push_qc_does_not_wait_for_the_disk() {
    let rig = Rig::on_disk(Fixture::new(5, 4, 3)).await;
    let gate = rig.hold_logs();
    rig.push_all().await;
    let cursors = rig.cursors().await;
    assert_eq!((cursors.next_block_to_persist, cursors.next_block), (rig.nth(0), rig.nth(30)));
    gate.open();
    assert_eq!(rig.until_durable().await.next_block_to_persist, rig.nth(30));
}

#[tokio::test]
async fn a_stale_qc_is_not_inserted_even_where_it_reaches_further() {
    everywhere(Fixture::new(6, 4, 3), async |rig| {
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        // Really signed, from the same start, but longer than what is there.
        let longer = ChainShape { blocks_per_qc: 25, ..ChainShape::default() };
        let longer = Fixture::of(6, rig.fixture.members.clone(), longer, 1).chain.remove(0);
        rig.push(&longer).await.unwrap();
        let cursors = rig.cursors().await;
        assert_eq!((cursors.next_block, cursors.next_qc), (rig.nth(10), rig.nth(10)));
        rig.push_qcs(1..3).await;
        assert_eq!(rig.cursors().await.next_block, rig.nth(30));
    })
    .await;
}

#[tokio::test]
async fn a_stale_qc_brings_blocks_that_are_missing() {
    everywhere(Fixture::new(7, 4, 2), async |rig| {
        rig.push_bare(&rig.fixture.chain[0]).await.unwrap();
        rig.push_bare(&rig.fixture.chain[1]).await.unwrap();
        // Its signatures need no check: nothing of it is taken but blocks that match the stored headers.
        let (qc, blocks) = &rig.fixture.chain[0];
        let unsigned = testing::invalid_signature(qc, 0);
        rig.ask(PushQc { qc: Arc::new(unsigned), blocks: blocks.clone() }).await.unwrap();
        assert_eq!(rig.cursors().await.next_block, rig.nth(10));
        rig.push(&rig.fixture.chain[1]).await.unwrap();
        assert_eq!(rig.cursors().await.next_block, rig.nth(20));
    })
    .await;
}

#[tokio::test]
async fn a_stale_qc_with_an_invalid_block_is_refused() {
    everywhere(Fixture::new(8, 4, 1), async |rig| {
        rig.push_bare(&rig.fixture.chain[0]).await.unwrap();
        let (qc, blocks) = &rig.fixture.chain[0];
        let blocks = vec![blocks[0].clone(), Arc::new(testing::wrong_payload(&blocks[1]))];
        let refused = rig.ask(PushQc { qc: qc.clone(), blocks }).await;
        assert!(matches!(refused, Err(Error::InvalidBlock(_))), "{refused:?}");
        assert_eq!(rig.cursors().await.next_block, rig.nth(0));
    })
    .await;
}

#[tokio::test]
async fn copies_of_a_qc_that_race_go_in_once() {
    let fixture = Fixture::new(9, 4, 3);
    let rig = Rig::configured(fixture, Config { verify_threads: 4, ..settings() }).await;
    for certified in &rig.fixture.chain {
        let copies: Vec<_> = (0..8).map(|_| rig.send(message(certified))).collect();
        for copy in copies {
            copy.reply().await.unwrap();
        }
    }
    assert_eq!(rig.cursors().await.next_block, rig.nth(30));
    let (fixture, dir) = rig.ended().await;
    let craft = Craft::new(dir.path(), &fixture);
    assert_eq!((craft.range(WalKind::Qcs), craft.range(WalKind::Blocks)), (0..3, 0..30));
}

#[tokio::test]
async fn an_invalid_qc_is_refused_with_its_reason_and_changes_nothing() {
    everywhere(Fixture::new(10, 4, 2), async |rig| {
        let members = rig.fixture.members.clone();
        let (qc, blocks) = &rig.fixture.chain[0];
        let plain: Vec<Block> = blocks.iter().map(|block| Block::clone(block)).collect();
        let (tampered, tampered_blocks) = testing::tampered_headers(qc, &plain);
        let mut headers_missing = FullCommitQc::clone(qc);
        headers_missing.headers.pop();
        let tampered_blocks = tampered_blocks.into_iter().map(Arc::new).collect();
        type Expected = fn(&QcError) -> bool;
        let invalid: [(PushQc, Expected); 6] = [
            (bare(testing::too_few_signatures(&members, qc)), |e| matches!(e, QcError::NoQuorum { .. })),
            (bare(testing::duplicate_signer(qc)), |e| matches!(e, QcError::DuplicateSigner { .. })),
            (bare(testing::invalid_signature(qc, 1)), |e| matches!(e, QcError::InvalidSignature { .. })),
            (bare(testing::outsider_signed(&members, qc)), |e| matches!(e, QcError::UnknownSigner { .. })),
            (bare(headers_missing), |e| matches!(e, QcError::HeaderCount { .. })),
            (PushQc { qc: Arc::new(tampered), blocks: tampered_blocks }, |e| {
                matches!(e, QcError::HeaderChain { .. })
            }),
        ];
        for (push, expected) in invalid {
            match rig.ask(push).await {
                Err(Error::InvalidQc(error)) => assert!(expected(&error), "{error:?}"),
                other => panic!("{other:?}"),
            }
        }
        let status = rig.status().await;
        assert_eq!(status.cursors.next_qc, rig.nth(0));
        assert_eq!(status.rejected.values().sum::<u64>(), 6, "{:?}", status.rejected);
        assert_eq!(status.rejected["no_quorum"], 1);
        rig.push_all().await;
        assert_eq!(rig.cursors().await.next_block, rig.nth(20));
    })
    .await;
}

#[tokio::test]
async fn a_valid_qc_with_an_invalid_block_is_refused_whole() {
    everywhere(Fixture::new(11, 4, 1), async |rig| {
        let (qc, blocks) = &rig.fixture.chain[0];
        let mut tampered = blocks.clone();
        tampered[9] = Arc::new(testing::wrong_payload(&blocks[9]));
        let refused = rig.ask(PushQc { qc: qc.clone(), blocks: tampered }).await;
        assert!(matches!(refused, Err(Error::InvalidBlock(_))), "{refused:?}");
        assert_eq!(rig.cursors().await.next_qc, rig.nth(0));
    })
    .await;
}

#[tokio::test]
async fn blocks_that_match_no_header_are_ignored() {
    everywhere(Fixture::new(12, 4, 2), async |rig| {
        let (qc, _) = &rig.fixture.chain[0];
        let (_, others) = &rig.fixture.chain[1];
        rig.ask(PushQc { qc: qc.clone(), blocks: others.clone() }).await.unwrap();
        let status = rig.status().await;
        assert_eq!((status.cursors.next_qc, status.cursors.next_block), (rig.nth(10), rig.nth(0)));
        assert_eq!(status.buffered_blocks, 0);
    })
    .await;
}

#[tokio::test]
async fn a_full_bound_refuses_the_highest_number_to_admit_a_lower_one() {
    let mut config = settings();
    config.bounds.push_qc.calls_max = 4;
    everywhere_with(Fixture::new(13, 4, 10), config, async |rig| {
        let busy = |at: usize| -> BlockNumber { rig.fixture.range(at).start };
        // Nothing can go on: the first QC is missing.
        let mut waiting: Vec<_> = (5..9).map(|at| rig.send(message(&rig.fixture.chain[at]))).collect();
        match rig.push(&rig.fixture.chain[9]).await {
            Err(Error::Busy { kind: "push_qc", number, waiting: 4, .. }) => assert_eq!(number, busy(9).0),
            other => panic!("{other:?}"),
        }
        let mut lower = rig.send(message(&rig.fixture.chain[3]));
        match waiting.pop().unwrap().reply().await {
            Err(Error::Busy { number, .. }) => assert_eq!(number, busy(8).0),
            other => panic!("{other:?}"),
        }
        assert!(lower.waits());
        // What is needed next always gets in.
        rig.push(&rig.fixture.chain[0]).await.unwrap();
        match waiting.pop().unwrap().reply().await {
            Err(Error::Busy { number, .. }) => assert_eq!(number, busy(7).0),
            other => panic!("{other:?}"),
        }
        rig.push_qcs(1..5).await;
        lower.reply().await.unwrap();
        for push in waiting {
            push.reply().await.unwrap();
        }
        assert_eq!(rig.cursors().await.next_block, rig.nth(70));
    })
    .await;
}

#[tokio::test]
async fn what_is_needed_next_gets_in_while_copies_of_it_fill_the_bound() {
    let mut config = settings();
    config.bounds.push_qc.calls_max = 2;
    everywhere_with(Fixture::new(15, 4, 3), config, async |rig| {
        let gate = rig.hold(ActorKind::Verifier);
        // Two copies with a verifier that is stuck; they can't be displaced.
        let invalid = testing::invalid_signature(&rig.fixture.chain[0].0, 0);
        let copies: Vec<_> = (0..2).map(|_| rig.send(bare(invalid.clone()))).collect();
        let refused = rig.push(&rig.fixture.chain[1]).await;
        assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
        let mut needed = rig.send(message(&rig.fixture.chain[0]));
        rig.cursors().await;
        assert!(needed.waits());
        gate.open();
        needed.reply().await.unwrap();
        for copy in copies {
            assert!(matches!(copy.reply().await, Err(Error::InvalidQc(_))));
        }
    })
    .await;
}

#[tokio::test]
async fn a_bound_in_bytes_holds_too_and_lets_a_single_large_push_in() {
    let mut config = settings();
    config.bounds.push_qc.bytes_max = 1;
    everywhere_with(Fixture::new(14, 4, 4), config, async |rig| {
        let mut waiting = rig.send(message(&rig.fixture.chain[2]));
        let refused = rig.push(&rig.fixture.chain[3]).await;
        assert!(matches!(refused, Err(Error::Busy { waiting: 1, .. })), "{refused:?}");
        assert!(waiting.waits());
        rig.push_qcs(0..2).await;
    })
    .await;
}
