//! What is known is not verified again, and nothing else is taken for it.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use roadbed_messages::{
    Block, BlockError, FullCommitQc, Known, QcError, VerifiedQc,
    testing::{self, ChainShape, TestCommittee},
    verify_qc, verify_qcs,
};

fn chain(members: &TestCommittee) -> impl Iterator<Item = (FullCommitQc, Vec<Block>)> + use<> {
    testing::chain(1, members, ChainShape { txs_per_block: 2, ..ChainShape::default() })
}

fn verify(known: &Known, members: &TestCommittee, qcs: &[&FullCommitQc]) -> Vec<Result<VerifiedQc, QcError>> {
    let copies = qcs.iter().map(|qc| Arc::new((*qc).clone())).collect();
    known.verify_qcs(&members.committee, copies, || {})
}

#[test]
fn second_copy_of_a_qc_is_the_first() {
    let members = testing::committee(1, 4);
    let (qc, _) = chain(&members).next().unwrap();
    let known = Known::default();
    let first = verify(&known, &members, &[&qc]).remove(0).unwrap();
    let again = verify(&known, &members, &[&qc]).remove(0).unwrap();
    assert!(Arc::ptr_eq(first.qc(), again.qc()), "it was not verified anew");
    let weak = Arc::downgrade(first.qc());
    drop((first, again));
    assert!(weak.upgrade().is_none(), "nothing is kept alive");
    assert!(verify(&known, &members, &[&qc])[0].is_ok());
}

#[test]
fn copies_in_one_batch_are_verified_once() {
    let members = testing::committee(1, 4);
    let (good, _) = chain(&members).next().unwrap();
    let bad = testing::invalid_signature(&good, 1);
    let verdicts = verify(&Known::default(), &members, &[&good, &bad, &good, &bad, &good]);
    let [first, _, third, _, fifth] = &verdicts[..] else { panic!("one verdict each") };
    let qc_of = |verdict: &Result<VerifiedQc, QcError>| verdict.as_ref().unwrap().qc().clone();
    assert!(Arc::ptr_eq(&qc_of(first), &qc_of(third)));
    assert_eq!(first, fifth);
    assert_eq!(verdicts[1], verdicts[3]);
    assert_eq!(verdicts[1].as_ref().unwrap_err().reason(), "invalid_signature");
}

#[test]
fn same_vote_with_other_signatures_or_headers_is_verified_on_its_own() {
    let members = testing::committee(1, 4);
    let (good, _) = chain(&members).next().unwrap();
    let known = Known::default();
    let held = verify(&known, &members, &[&good]);
    assert!(held[0].is_ok());
    let mut cut = good.clone();
    cut.headers.pop();
    let mut swapped = good.clone();
    swapped.qc.signatures[0].signature = good.qc.signatures[1].signature;
    for (lie, reason) in [(cut, "header_count"), (swapped, "invalid_signature")] {
        assert_eq!(verify(&known, &members, &[&lie])[0].as_ref().unwrap_err().reason(), reason);
        assert_eq!(verify(&known, &members, &[&lie, &good])[0].as_ref().unwrap_err().reason(), reason);
    }
}

#[test]
fn second_copy_of_a_block_is_the_first_and_another_payload_is_not() {
    let members = testing::committee(1, 4);
    let (_, blocks) = chain(&members).next().unwrap();
    let known = Known::default();
    let first = known.verify_block(&members.committee, Arc::new(blocks[0].clone())).unwrap();
    let again = known.verify_block(&members.committee, Arc::new(blocks[0].clone())).unwrap();
    assert!(Arc::ptr_eq(first.block(), again.block()), "it was not hashed anew");
    assert_eq!((again.header_hash(), again.size_bytes()), (first.header_hash(), first.size_bytes()));

    let mut forged = blocks[0].clone();
    forged.payload.gas += 1;
    let refused = known.verify_block(&members.committee, Arc::new(forged)).unwrap_err();
    assert!(matches!(refused, BlockError::PayloadMismatch { .. }), "{refused}");

    let weak = Arc::downgrade(first.block());
    drop((first, again));
    assert!(weak.upgrade().is_none(), "nothing is kept alive");
}

#[test]
fn blocks_with_their_qc_get_the_verdicts_that_they_get_alone() {
    let members = testing::committee(1, 4);
    let (qc, blocks) = chain(&members).next().unwrap();
    let (_, strangers) = chain(&members).nth(1).unwrap();
    let qc = verify_qc(&members.committee, Arc::new(qc)).unwrap();
    let block = |place: usize| Arc::new(blocks[place].clone());
    let stranger = Arc::new(strangers[0].clone());
    for pushed in [
        (0..blocks.len()).map(block).collect(),
        vec![block(1), block(4), block(7)],
        vec![block(7), block(1), block(1), stranger, block(2)],
    ] {
        let mut parts = 0;
        let known = Known::default();
        let verified = known.verify_blocks(&members.committee, Some(&qc), &pushed, || parts += 1).unwrap();
        assert_eq!(parts, pushed.len());
        for (verified, pushed) in verified.iter().zip(&pushed) {
            assert_eq!((verified.header_hash(), &verified.header), (pushed.header.hash(), &pushed.header));
            assert_eq!(**verified, **pushed);
        }
    }

    let mut forged = blocks[1].clone();
    forged.payload.gas += 1;
    let pushed = [block(0), Arc::new(forged), block(2)];
    let refused = Known::default().verify_blocks(&members.committee, Some(&qc), &pushed, || {}).unwrap_err();
    assert!(matches!(refused, BlockError::PayloadMismatch { .. }), "{refused}");
}

#[test]
fn work_is_interrupted_between_its_parts() {
    let members = testing::committee(1, 4);
    let mut qcs: Vec<_> = chain(&members).take(8).map(|(qc, _)| Arc::new(qc)).collect();
    let mut parts = 0;
    Known::default().verify_qcs(&members.committee, qcs.clone(), || parts += 1);
    assert!(parts >= 1);
    let with_all_valid = std::mem::take(&mut parts);
    qcs[5] = Arc::new(testing::invalid_signature(&qcs[5], 0));
    Known::default().verify_qcs(&members.committee, qcs, || parts += 1);
    assert!(parts > with_all_valid + 3, "each half is a part of its own: {parts}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn verdicts_are_those_of_verification_whatever_came_before(
        rounds in vec(vec((0..4_usize, 0..3_u8), 1..8), 1..4),
    ) {
        let members = testing::committee(2, 4);
        let qcs: Vec<_> = chain(&members).take(4).map(|(qc, _)| qc).collect();
        let known = Known::default();
        let mut held = Vec::new();
        for round in rounds {
            let pushed: Vec<_> = round.into_iter().map(|(at, lie)| Arc::new(match lie {
                0 => qcs[at].clone(),
                1 => testing::invalid_signature(&qcs[at], 1),
                _ => testing::outsider_signed(&members, &qcs[at]),
            })).collect();
            let verdicts = known.verify_qcs(&members.committee, pushed.clone(), || {});
            prop_assert_eq!(&verdicts, &verify_qcs(&members.committee, pushed.clone()));
            for (verdict, qc) in verdicts.iter().zip(pushed) {
                prop_assert_eq!(verdict, &verify_qc(&members.committee, qc));
            }
            held.extend(verdicts);
        }
    }
}
