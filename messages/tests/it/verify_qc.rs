//! What is a valid QC, and what each lie is called.

use std::sync::Arc;

use roadbed_messages::{
    Block, BlockNumber, ChainParams, FullCommitQc, HeaderHash, LaneBlockNumber, MatchError, PublicKey,
    QcError, Timestamp, VerifiedQc, codec,
    testing::{self, ChainShape, TestCommittee},
    verify_block, verify_commit_qc, verify_qc,
};

fn first_of(members: &TestCommittee) -> (FullCommitQc, Vec<Block>) {
    let shape = ChainShape { even_lanes: true, ..ChainShape::default() };
    testing::chain(1, members, shape).next().unwrap()
}

fn verify(members: &TestCommittee, qc: FullCommitQc) -> Result<VerifiedQc, QcError> {
    verify_qc(&members.committee, Arc::new(qc))
}

/// What a change to a valid QC of four members is refused with.
fn refusal(change: impl FnOnce(&mut FullCommitQc)) -> QcError {
    let members = testing::committee(1, 4);
    let mut qc = first_of(&members).0;
    change(&mut qc);
    verify(&members, qc).unwrap_err()
}

#[test]
fn a_valid_qc_proves_itself() {
    for n in [1, 3, 4, 100] {
        for first in [0, 1, 1_000_000, u64::MAX - 20] {
            let members = testing::committee_from(1, n, BlockNumber(first));
            let (qc, blocks) = first_of(&members);
            verify_commit_qc(&members.committee, &qc.qc).unwrap();
            let verified = verify(&members, qc.clone()).unwrap();
            let range = verified.range();
            assert_eq!(range, BlockNumber(first)..BlockNumber(first + 10));
            assert_eq!(verified.size_bytes(), codec::encode(&qc).len());
            assert_eq!(**verified.qc(), qc);
            assert_eq!(verified.headers(), qc.headers);
            for (position, block) in blocks.into_iter().enumerate() {
                let number = BlockNumber(first + position as u64);
                let block = verify_block(&members.committee, Arc::new(block)).unwrap();
                verified.match_block(number, &block).unwrap();
                assert_eq!(verified.position(number), Some(position));
                assert_eq!(verified.header_at(number), Some(&block.header));
                assert_eq!(verified.header_hash_at(number), Some(block.header_hash()));
                assert_eq!(verified.number_of(&block.header_hash()), Some(number));

                let global = verified.global_block(number, &block).unwrap();
                assert_eq!((global.number, global.header), (number, block.header));
                assert_eq!(*global.payload, block.payload);
                assert!(Arc::ptr_eq(global.payload.block(), block.block()));
                let proposed = qc.qc.proposal.timestamp.unix_us();
                assert_eq!(global.timestamp.unix_us(), proposed + position as u64);
                assert_eq!(global.app_proposal, qc.qc.proposal.app_proposal);
            }
        }
    }
}

#[test]
fn a_block_that_is_not_the_finalized_one_does_not_match() {
    let members = testing::committee_from(1, 4, BlockNumber(100));
    let (qc, blocks) = first_of(&members);
    let verified = verify(&members, qc).unwrap();
    let block = verify_block(&members.committee, Arc::new(blocks[3].clone())).unwrap();
    let (first, next) = (BlockNumber(100), BlockNumber(110));
    for number in [0, 99, 110, u64::MAX].map(BlockNumber) {
        let outside = MatchError::OutsideRange { number, first, next };
        assert_eq!(verified.match_block(number, &block), Err(outside.clone()));
        assert_eq!(verified.global_block(number, &block), Err(outside));
        assert_eq!(verified.position(number), None);
        assert_eq!(verified.header_at(number), None);
    }
    let number = BlockNumber(104);
    let expected = verified.header_hashes()[4];
    let mismatch = MatchError::HeaderMismatch { number, expected, found: block.header_hash() };
    assert_eq!(verified.match_block(number, &block), Err(mismatch.clone()));
    assert_eq!(verified.global_block(number, &block), Err(mismatch));
    assert_eq!(verified.number_of(&HeaderHash::ZERO), None);
}

#[test]
fn too_few_signatures_are_refused() {
    for n in [1, 3, 4, 100] {
        let members = testing::committee(1, n);
        let needed = members.committee.commit_quorum();
        let qc = testing::too_few_signatures(&members, &first_of(&members).0);
        assert_eq!(
            verify_commit_qc(&members.committee, &qc.qc),
            Err(QcError::NoQuorum { found: needed - 1, needed })
        );
        assert_eq!(verify(&members, qc), Err(QcError::NoQuorum { found: needed - 1, needed }));
    }
}

#[test]
fn more_signatures_than_the_quorum_are_welcome_and_must_all_be_valid() {
    let members = testing::committee(1, 4);
    let (qc, _) = first_of(&members);
    let all = members.sign(qc.qc.proposal.clone(), 0..4);
    let qc = FullCommitQc { qc: all, headers: qc.headers };
    verify(&members, qc.clone()).unwrap();
    for position in 0..4 {
        let signer = qc.qc.signatures[position].signer;
        let bad = testing::invalid_signature(&qc, position);
        assert_eq!(verify_commit_qc(&members.committee, &bad.qc), Err(QcError::InvalidSignature { signer }));
        assert_eq!(verify(&members, bad), Err(QcError::InvalidSignature { signer }));
    }
}

#[test]
fn one_member_does_not_make_a_quorum_by_signing_often() {
    for n in [1, 3, 4, 100] {
        let members = testing::committee(1, n);
        let qc = testing::duplicate_signer(&first_of(&members).0);
        let signer = qc.qc.signatures[0].signer;
        assert_eq!(verify(&members, qc), Err(QcError::DuplicateSigner { signer }));
    }
}

#[test]
fn outsiders_do_not_count() {
    let members = testing::committee(1, 4);
    let qc = testing::outsider_signed(&members, &first_of(&members).0);
    let signer = qc.qc.signatures[0].signer;
    assert_eq!(verify(&members, qc), Err(QcError::UnknownSigner { signer }));
}

#[test]
fn signatures_are_ordered_so_that_a_qc_has_one_form() {
    let members = testing::committee(1, 4);
    let mut qc = first_of(&members).0;
    qc.qc.signatures.swap(1, 2);
    let signer = qc.qc.signatures[2].signer;
    assert_eq!(verify(&members, qc), Err(QcError::SignerOrder { position: 2, signer }));
}

#[test]
fn a_signature_is_of_one_vote_of_one_chain_only() {
    let members = testing::committee(1, 4);
    let (qc, _) = first_of(&members);
    let params = ChainParams { lane_blocks_per_qc_max: 29, ..ChainParams::default() };
    let sister = testing::committee_with(1, 4, BlockNumber(0), params);
    assert_eq!(sister.committee.keys(), members.committee.keys());
    assert_eq!(verify(&sister, qc).unwrap_err().reason(), "invalid_signature");
    let invalid = |change: fn(&mut FullCommitQc)| assert_eq!(refusal(change).reason(), "invalid_signature");
    invalid(|qc| qc.qc.proposal.view.number.0 += 1);
    invalid(|qc| qc.qc.proposal.view.road_index.0 += 1);
    invalid(|qc| qc.qc.proposal.timestamp = Timestamp::from_unix_us(0));
    invalid(|qc| qc.qc.proposal.app_proposal = Some(crate::samples::app_proposal()));
}

#[test]
fn lane_ranges_are_one_per_lane_in_order() {
    let keys = testing::committee(1, 4).committee.keys().to_vec();
    assert_eq!(
        refusal(|qc| {
            qc.qc.proposal.lane_ranges.pop();
        }),
        QcError::LaneCount { expected: 4, found: 3 }
    );
    assert_eq!(
        refusal(|qc| qc.qc.proposal.lane_ranges.push(crate::samples::lane_range(1))),
        QcError::LaneCount { expected: 4, found: 5 }
    );
    let lane = PublicKey([7; 32]);
    assert_eq!(refusal(|qc| qc.qc.proposal.lane_ranges[1].lane = lane), QcError::UnknownLane { lane });
    assert_eq!(
        refusal(|qc| qc.qc.proposal.lane_ranges.swap(1, 2)),
        QcError::LaneOrder { expected: keys[1], found: keys[2] }
    );
    assert_eq!(
        refusal(|qc| qc.qc.proposal.lane_ranges[1] = qc.qc.proposal.lane_ranges[0]),
        QcError::LaneOrder { expected: keys[1], found: keys[0] }
    );
    let (first, next) = (LaneBlockNumber(u64::MAX), LaneBlockNumber(3));
    assert_eq!(
        refusal(|qc| qc.qc.proposal.lane_ranges[0].first = first),
        QcError::LaneBackwards { lane: keys[0], first, next }
    );
}

#[test]
fn numbers_that_overflow_are_an_error() {
    let keys = testing::committee(1, 4).committee.keys().to_vec();
    assert_eq!(
        refusal(|qc| qc.qc.proposal.lane_ranges.iter_mut().for_each(|range| range.next.0 = u64::MAX / 2)),
        QcError::NumberOverflow { lane: keys[2] }
    );
    // The sums must fit with the first block, to the very last number.
    for (first, fits) in [(u64::MAX - 10, true), (u64::MAX - 9, false), (u64::MAX, false)] {
        let low = testing::committee(1, 4);
        let high = testing::committee_from(1, 4, BlockNumber(first));
        assert_eq!(low.committee.keys(), high.committee.keys());
        let (qc, _) = first_of(&low);
        let proposal = qc.qc.proposal;
        let signers = low.quorum_of(&proposal);
        let qc = FullCommitQc { qc: high.sign(proposal, signers), headers: qc.headers };
        let verdict = verify(&high, qc);
        if fits {
            assert_eq!(verdict.unwrap().range().end, BlockNumber(u64::MAX));
        } else {
            assert_eq!(verdict.unwrap_err().reason(), "number_overflow");
        }
    }
    assert_eq!(
        refusal(|qc| qc.qc.proposal.timestamp = Timestamp::from_unix_us(u64::MAX - 9)),
        QcError::TimestampOverflow { timestamp: Timestamp::from_unix_us(u64::MAX - 9), blocks: 10 }
    );
    let just_fits = refusal(|qc| qc.qc.proposal.timestamp = Timestamp::from_unix_us(u64::MAX - 10));
    assert_eq!(just_fits.reason(), "invalid_signature");
}

#[test]
fn a_qc_covers_something_and_not_too_much() {
    let empty = |qc: &mut FullCommitQc| {
        qc.qc.proposal.lane_ranges.iter_mut().for_each(|range| range.next = range.first);
        qc.headers.clear();
    };
    assert_eq!(refusal(empty), QcError::Empty);

    let roomy = testing::committee_with(1, 1, BlockNumber(0), ChainParams::default());
    let (qc, _) = first_of(&roomy);
    for (max, fits) in [(5, false), (9, false), (10, true)] {
        let params = ChainParams { lane_blocks_per_qc_max: max, ..ChainParams::default() };
        let tight = testing::committee_with(1, 1, BlockNumber(0), params);
        let lane = tight.committee.keys()[0];
        let signed = tight.sign(qc.qc.proposal.clone(), 0..1);
        let verdict = verify(&tight, FullCommitQc { qc: signed, headers: qc.headers.clone() });
        assert_eq!(verdict.err(), (!fits).then_some(QcError::LaneTooLong { lane, found: 10, max }));
    }
    assert_eq!(
        refusal(|qc| qc.qc.proposal.lane_ranges[0].next.0 = u64::MAX - 100),
        QcError::LaneTooLong {
            lane: testing::committee(1, 4).committee.keys()[0],
            found: u64::MAX - 100,
            max: 30
        }
    );
}

#[test]
fn there_is_one_header_per_block() {
    assert_eq!(
        refusal(|qc| {
            qc.headers.pop();
        }),
        QcError::HeaderCount { expected: 10, found: 9 }
    );
    assert_eq!(refusal(|qc| qc.headers.clear()), QcError::HeaderCount { expected: 10, found: 0 });
    assert_eq!(
        refusal(|qc| qc.headers.push(qc.headers[0])),
        QcError::HeaderCount { expected: 10, found: 11 }
    );
}

#[test]
fn headers_are_the_ones_that_were_signed() {
    let place = |change: fn(&mut FullCommitQc)| assert_eq!(refusal(change).reason(), "header_place");
    place(|qc| qc.headers.swap(0, 1));
    place(|qc| qc.headers.swap(0, 9));
    place(|qc| qc.headers[4].number.0 += 1);
    place(|qc| qc.headers[4].lane = qc.headers[0].lane);
    let chain = |position: usize, change: fn(&mut FullCommitQc)| {
        let refused = refusal(change);
        assert!(matches!(refused, QcError::HeaderChain { position: at, .. } if at == position), "{refused}");
    };
    // The first header of a lane, one in its middle, and the last one: three, three, two, two a lane.
    chain(0, |qc| qc.headers[0].payload.0[0] ^= 1);
    chain(1, |qc| qc.headers[1].payload.0[0] ^= 1);
    chain(2, |qc| qc.headers[2].payload.0[0] ^= 1);
    chain(9, |qc| qc.headers[9].payload.0[0] ^= 1);
    chain(0, |qc| qc.headers[1].parent.0[0] ^= 1);
    chain(0, |qc| qc.headers[0].parent.0[0] ^= 1);
}

#[test]
fn tampered_headers_with_matching_blocks_are_refused() {
    for n in [1, 3, 4, 100] {
        let members = testing::committee(1, n);
        let (qc, blocks) = first_of(&members);
        let (tampered, blocks) = testing::tampered_headers(&qc, &blocks);
        for (header, block) in tampered.headers.iter().zip(blocks) {
            assert_eq!(*header, block.header);
            verify_block(&members.committee, Arc::new(block)).unwrap();
        }
        verify_commit_qc(&members.committee, &tampered.qc).unwrap();
        assert_eq!(verify(&members, tampered).unwrap_err().reason(), "header_chain");
    }
}

#[test]
fn a_certificate_is_judged_without_its_headers() {
    let members = testing::committee(1, 4);
    let mut qc = first_of(&members).0.qc;
    verify_commit_qc(&members.committee, &qc).unwrap();
    qc.proposal.lane_ranges.pop();
    let refused = verify_commit_qc(&members.committee, &qc);
    assert_eq!(refused, Err(QcError::LaneCount { expected: 4, found: 3 }));
}

#[test]
fn fake_signatures_pass_only_where_that_is_asked_for() {
    let members = testing::committee(1, 4);
    let (qc, _) = testing::chain(1, &members, ChainShape::default()).unsigned().next().unwrap();
    let qc = Arc::new(qc);
    assert_eq!(verify_qc(&members.committee, Arc::clone(&qc)).unwrap_err().reason(), "invalid_signature");
    VerifiedQc::assume_verified(&members.committee, qc).unwrap();
}
