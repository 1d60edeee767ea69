//! Test chains: what other tests may rely on.

use std::{collections::BTreeSet, sync::Arc};

use roadbed_messages::{
    BlockNumber, RoadIndex, VerifiedQc,
    testing::{self, ChainShape},
    verify_qc,
};

#[test]
fn qcs_are_consecutive_and_valid_for_every_committee_and_start() {
    for n in [1, 3, 4, 100] {
        for first in [0, 1, 1_000_000, u64::MAX - 1_000] {
            let members = testing::committee_from(3, n, BlockNumber(first));
            let mut next = members.committee.first_block();
            for (road, (qc, blocks)) in testing::chain(3, &members, ChainShape::default()).take(4).enumerate()
            {
                assert_eq!(qc.road_index(), RoadIndex(road as u64));
                assert_eq!(qc.qc.signatures.len(), members.committee.commit_quorum());
                assert_eq!(blocks.len(), 10);
                let verified = verify_qc(&members.committee, Arc::new(qc)).unwrap();
                assert_eq!(verified.range().start, next);
                next = verified.range().end;
            }
        }
    }
}

#[test]
fn lanes_chain_across_qcs() {
    let members = testing::committee(4, 4);
    let mut lanes = vec![None; 4];
    for (qc, _) in testing::chain(4, &members, ChainShape::default()).take(20) {
        for (range, last) in qc.qc.proposal.lane_ranges.iter().zip(&mut lanes) {
            if let Some((next, last_hash)) = *last {
                assert_eq!(range.first, next);
                if range.first == range.next {
                    assert_eq!(range.last_hash, last_hash);
                } else {
                    let header = qc.headers.iter().find(|header| header.lane == range.lane).unwrap();
                    assert_eq!(header.parent, last_hash);
                }
            }
            *last = Some((range.next, range.last_hash));
        }
    }
}

#[test]
fn a_seed_is_a_chain() {
    let members = testing::committee(5, 4);
    let shape = ChainShape::default();
    let chain = |seed| testing::chain(seed, &members, shape).take(6).collect::<Vec<_>>();
    assert_eq!(chain(5), chain(5));
    assert_ne!(chain(5), chain(6));
}

#[test]
fn a_chain_goes_on_behind_any_of_its_qcs() {
    for n in [1, 4, 20] {
        let members = testing::committee_from(6, n, BlockNumber(77));
        let chain = testing::chain(6, &members, ChainShape::default());
        let all: Vec<_> = chain.clone().take(8).collect();
        for (at, (qc, _)) in all.iter().enumerate() {
            let resumed = chain.clone().resume_after(qc);
            assert_eq!(resumed.next_first(), qc.range(&members.committee).unwrap().end);
            assert_eq!(resumed.take(7 - at).collect::<Vec<_>>(), all[at + 1..]);
        }
    }
}

#[test]
fn an_unsigned_chain_differs_in_signatures_only() {
    let members = testing::committee(7, 4);
    let chain = testing::chain(7, &members, ChainShape::default());
    for ((qc, blocks), (fake, fake_blocks)) in chain.clone().zip(chain.unsigned()).take(5) {
        assert_eq!((&qc.qc.proposal, &qc.headers, &blocks), (&fake.qc.proposal, &fake.headers, &fake_blocks));
        assert_ne!(qc.qc.signatures, fake.qc.signatures);
        let signers =
            |qc: &roadbed_messages::CommitQc| qc.signatures.iter().map(|one| one.signer).collect::<Vec<_>>();
        assert_eq!(signers(&qc.qc), signers(&fake.qc));
        VerifiedQc::assume_verified(&members.committee, Arc::new(fake)).unwrap();
    }
}

#[test]
fn chains_are_varied() {
    let members = testing::committee(8, 7);
    let all: Vec<_> =
        testing::chain(8, &members, ChainShape::default()).take(40).map(|(qc, _)| qc.qc).collect();
    let signers: BTreeSet<_> = all.iter().flat_map(|qc| &qc.signatures).map(|one| one.signer).collect();
    assert_eq!(signers.len(), 7, "signers rotate");
    let ranges = || all.iter().flat_map(|qc| &qc.proposal.lane_ranges);
    assert!(ranges().any(|range| range.first == range.next), "some lanes are empty");
    assert!(
        members
            .committee
            .keys()
            .iter()
            .all(|lane| { ranges().any(|range| range.lane == *lane && range.first < range.next) })
    );
    let with_app = all.iter().filter(|qc| qc.proposal.app_proposal.is_some()).count();
    assert!((5..30).contains(&with_app), "{with_app} of 40 QCs with an app proposal");
    assert!(all.is_sorted_by(|one, next| one.proposal.timestamp < next.proposal.timestamp));
    for qc in &all {
        if let Some(app) = qc.proposal.app_proposal {
            assert_eq!(app.hash, testing::app_hash(8, app.number));
            assert!(app.road_index < qc.proposal.view.road_index);
        }
    }
}

#[test]
fn a_shape_is_kept() {
    let members = testing::committee(9, 4);
    for (blocks_per_qc, expected) in [(0, 1), (1, 1), (2, 2), (119, 119), (120, 120), (500, 120)] {
        for even_lanes in [false, true] {
            let shape = ChainShape {
                blocks_per_qc,
                txs_per_block: 3,
                tx_bytes: 7,
                even_lanes,
                app_proposal_every: 0,
            };
            let (qc, blocks) = testing::chain(9, &members, shape).unsigned().nth(1).unwrap();
            assert_eq!(blocks.len(), expected);
            assert_eq!(qc.qc.proposal.app_proposal, None);
            assert!(blocks.iter().all(|block| block.payload.txs.len() == 3));
            assert!(blocks.iter().all(|block| block.payload.txs.iter().all(|tx| tx.len() == 7)));
            VerifiedQc::assume_verified(&members.committee, Arc::new(qc)).unwrap();
        }
    }
    let hollow = ChainShape { txs_per_block: 2, tx_bytes: 0, ..ChainShape::default() };
    let (_, blocks) = testing::chain(9, &members, hollow).next().unwrap();
    assert!(blocks.iter().all(|block| block.payload.txs.len() == 2 && block.payload.txs.total_bytes() == 0));
}

#[test]
fn a_chain_ends_where_block_numbers_end() {
    for (first, qcs) in [(u64::MAX, 0), (u64::MAX - 9, 0), (u64::MAX - 10, 1), (u64::MAX - 25, 2)] {
        let members = testing::committee_from(1, 4, BlockNumber(first));
        assert_eq!(testing::chain(1, &members, ChainShape::default()).count(), qcs);
    }
}
