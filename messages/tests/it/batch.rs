//! Many QCs in one batch: each gets the verdict it would get alone.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use roadbed_messages::{
    FullCommitQc, QcError,
    testing::{self, ChainShape, TestCommittee},
    verify_qc, verify_qcs,
};

fn qcs(members: &TestCommittee, count: usize) -> Vec<FullCommitQc> {
    let shape = ChainShape { txs_per_block: 1, ..ChainShape::default() };
    testing::chain(1, members, shape).take(count).map(|(qc, _)| qc).collect()
}

fn check(members: &TestCommittee, qcs: Vec<FullCommitQc>) -> usize {
    let qcs: Vec<_> = qcs.into_iter().map(Arc::new).collect();
    let alone: Vec<_> = qcs.iter().map(|qc| verify_qc(&members.committee, Arc::clone(qc))).collect();
    let together = verify_qcs(&members.committee, qcs);
    assert_eq!(together, alone);
    together.iter().filter(|verdict| verdict.is_ok()).count()
}

#[test]
fn none_and_one() {
    let members = testing::committee(1, 4);
    assert_eq!(verify_qcs(&members.committee, vec![]), vec![]);
    assert_eq!(check(&members, qcs(&members, 1)), 1);
    assert_eq!(check(&members, vec![testing::invalid_signature(&qcs(&members, 1)[0], 1)]), 0);
}

#[test]
fn one_bad_one_at_every_place_spoils_only_itself() {
    let members = testing::committee(1, 4);
    let good = qcs(&members, 9);
    assert_eq!(check(&members, good.clone()), 9);
    for bad in 0..9 {
        let mut mixed = good.clone();
        mixed[bad] = testing::invalid_signature(&mixed[bad], bad);
        assert_eq!(check(&members, mixed), 8);
    }
}

#[test]
fn a_large_committee_with_all_kinds_of_lies() {
    let members = testing::committee(1, 100);
    let mut mixed = qcs(&members, 8);
    mixed[1] = testing::outsider_signed(&members, &mixed[1]);
    mixed[2] = testing::invalid_signature(&mixed[2], 66);
    mixed[5] = testing::too_few_signatures(&members, &mixed[5]);
    mixed[7] = testing::duplicate_signer(&mixed[7]);
    assert_eq!(check(&members, mixed), 4);
}

#[test]
fn signatures_that_cancel_out_in_a_plain_sum_do_not_help() {
    // Two signatures of one vote swapped between QCs: their sum over both QCs is unchanged.
    let members = testing::committee(1, 4);
    let mut mixed = qcs(&members, 2);
    let (left, right) = mixed.split_at_mut(1);
    std::mem::swap(&mut left[0].qc.signatures[0].signature, &mut right[0].qc.signatures[0].signature);
    assert_eq!(check(&members, mixed), 0);
}

#[test]
fn the_same_qc_many_times_is_fine() {
    let members = testing::committee(1, 4);
    let one = qcs(&members, 1).remove(0);
    assert_eq!(check(&members, vec![one; 6]), 6);
}

#[test]
fn the_first_invalid_signer_is_named() {
    let members = testing::committee(1, 4);
    let mut mixed = qcs(&members, 3);
    mixed[1] = testing::invalid_signature(&testing::invalid_signature(&mixed[1], 2), 1);
    let signer = mixed[1].qc.signatures[1].signer;
    let verdicts = verify_qcs(&members.committee, mixed.into_iter().map(Arc::new).collect());
    assert_eq!(verdicts[1], Err(QcError::InvalidSignature { signer }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_mix_gets_the_verdicts_of_each_alone(lies in vec(0..8_u8, 1..12)) {
        let members = testing::committee(2, 4);
        let mut mixed = qcs(&members, lies.len());
        for (qc, lie) in mixed.iter_mut().zip(&lies) {
            *qc = match lie {
                1 => testing::outsider_signed(&members, qc),
                2 => testing::invalid_signature(qc, 0),
                3 => testing::invalid_signature(qc, 2),
                4 => testing::too_few_signatures(&members, qc),
                5 => testing::duplicate_signer(qc),
                6 => FullCommitQc { headers: Vec::new(), ..qc.clone() },
                _ => continue,
            };
        }
        let good = lies.iter().filter(|lie| matches!(lie, 0 | 7)).count();
        prop_assert_eq!(check(&members, mixed), good);
    }
}
