//! Many QCs at once, all their signatures in one batch.

use std::{collections::HashMap, sync::Arc};

use super::{
    error::QcError,
    qc::{VerifiedQc, check_quorum, check_structure, find_invalid, signed},
};
use crate::{
    committee::Committee,
    hash::VoteHash,
    qc::FullCommitQc,
    signatures::{Signed, verify_all},
};

/// A QC that passed everything but its signatures.
struct Candidate {
    index: usize,
    vote: VoteHash,
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
    verify_unknown(committee, qcs, &mut || {}, |_, _| None, |_, _| {})
}

/// Verifies the QCs that `find` does not know under their vote, and none twice that is there twice; `learn`s those that
/// are valid.
pub(super) fn verify_unknown(
    committee: &Committee,
    qcs: Vec<Arc<FullCommitQc>>,
    between: &mut impl FnMut(),
    find: impl Fn(&VoteHash, &Arc<FullCommitQc>) -> Option<VerifiedQc>,
    learn: impl Fn(VoteHash, &VerifiedQc),
) -> Vec<Result<VerifiedQc, QcError>> {
    between();
    let mut candidates = Vec::<Candidate>::with_capacity(qcs.len());
    let mut by_vote = HashMap::<VoteHash, Vec<usize>>::with_capacity(qcs.len());
    // Positions of copies, each with the position of the first.
    let mut copies = Vec::new();
    let mut verdicts: Vec<_> = Vec::<Result<VerifiedQc, QcError>>::with_capacity(qcs.len());
    for (index, qc) in qcs.into_iter().enumerate() {
        let verdict = check_quorum(committee, &qc.qc).and_then(|()| {
            let vote = qc.qc.proposal.vote_hash(&committee.chain_id());
            if let Some(known) = find(&vote, &qc) {
                return Ok(known);
            }
            let same_vote = by_vote.entry(vote).or_default();
            for first in same_vote.iter() {
                if let Some(Ok(verified)) = verdicts.get(*first)
                    && *verified.qc() == qc
                {
                    copies.push((index, *first));
                    return Ok(verified.clone());
                }
            }
            let verified = check_structure(committee, qc)?;
            candidates.push(Candidate { index, vote, signed: signed(&verified.qc().qc, vote) });
            same_vote.push(index);
            Ok(verified)
        });
        verdicts.push(verdict);
    }
    let mut refuse = |index: usize, error| verdicts[index] = Err(error);
    judge(committee, &candidates, false, between, &mut refuse);
    for candidate in &candidates {
        if let Ok(verified) = &verdicts[candidate.index] {
            learn(candidate.vote, verified);
        }
    }
    for (copy, first) in copies {
        verdicts[copy] = verdicts[first].clone();
    }
    verdicts
}

/// Refuses the invalid ones of `candidates`. With `known_invalid` there is at least one among them.
fn judge(
    committee: &Committee,
    candidates: &[Candidate],
    known_invalid: bool,
    between: &mut impl FnMut(),
    refuse: &mut impl FnMut(usize, QcError),
) {
    between();
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
        judge(committee, left, true, between, refuse);
    }
    // What is invalid must be on the right if it is not on the left.
    judge(committee, right, left_valid, between, refuse);
}

fn all_valid(candidates: &[Candidate]) -> bool {
    verify_all(candidates.iter().flat_map(|candidate| &candidate.signed))
}
