//! Many QCs at once, all their signatures in one batch.

use std::sync::Arc;

use super::{
    error::QcError,
    qc::{VerifiedQc, check_quorum, check_structure, find_invalid, signed},
};
use crate::{
    committee::Committee,
    qc::FullCommitQc,
    signatures::{Signed, verify_all},
};

/// A QC that passed everything but its signatures.
struct Candidate {
    index: usize,
    signed: Vec<Signed>,
}

/// Verifies QCs together; answers in their order. The verdict on each is the one that
/// [`verify_qc`](crate::verify_qc) gives, whatever its neighbours are.
///
/// All signatures go into one batch: a third to a half of what a batch per QC costs. When it fails it is
/// halved until the invalid QCs are alone: `k` of them among `n` cost about `k * log2(n)` further batches, each
/// half of the one before, and in an invalid QC every signature is verified on its own until the first invalid
/// one.
///
/// ```
/// use std::sync::Arc;
/// use roadbed_messages::{testing, verify_qcs};
///
/// let members = testing::committee(1, 4);
/// let chain = testing::chain(1, &members, testing::ChainShape::default());
/// let mut qcs: Vec<_> = chain.take(3).map(|(qc, _)| qc).collect();
/// qcs[1] = testing::invalid_signature(&qcs[1], 0);
///
/// let verdicts = verify_qcs(&members.committee, qcs.into_iter().map(Arc::new).collect());
/// assert!(verdicts[0].is_ok() && verdicts[2].is_ok());
/// assert_eq!(verdicts[1].as_ref().unwrap_err().reason(), "invalid_signature");
/// ```
#[must_use]
pub fn verify_qcs(committee: &Committee, qcs: Vec<Arc<FullCommitQc>>) -> Vec<Result<VerifiedQc, QcError>> {
    let mut candidates = Vec::with_capacity(qcs.len());
    let mut verdicts: Vec<_> = qcs
        .into_iter()
        .enumerate()
        .map(|(index, qc)| {
            check_quorum(committee, &qc.qc)?;
            let verified = check_structure(committee, qc)?;
            candidates.push(Candidate { index, signed: signed(committee, &verified.qc().qc) });
            Ok(verified)
        })
        .collect();
    let mut refuse = |index: usize, error| verdicts[index] = Err(error);
    judge(committee, &candidates, false, &mut refuse);
    verdicts
}

/// Refuses the invalid ones of `candidates`. With `known_invalid` there is at least one among them.
fn judge(
    committee: &Committee,
    candidates: &[Candidate],
    known_invalid: bool,
    refuse: &mut impl FnMut(usize, QcError),
) {
    if candidates.is_empty() || (!known_invalid && all_valid(candidates)) {
        return;
    }
    if let [candidate] = candidates {
        if let Err(error) = find_invalid(committee, &candidate.signed) {
            refuse(candidate.index, error);
        }
        return;
    }
    let (left, right) = candidates.split_at(candidates.len() / 2);
    let left_valid = all_valid(left);
    if !left_valid {
        judge(committee, left, true, refuse);
    }
    // What is invalid must be on the right if it is not on the left.
    judge(committee, right, left_valid, refuse);
}

fn all_valid(candidates: &[Candidate]) -> bool {
    verify_all(candidates.iter().flat_map(|candidate| &candidate.signed))
}
