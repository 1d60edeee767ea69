//! Input that must be refused, each made from valid input by one lie.

use super::{TestCommittee, sign_with, signing_keys};
use crate::{block::Block, hash::HeaderHash, qc::FullCommitQc};

/// The same proposal, signed for real by as many outsiders as the quorum needs.
#[must_use]
pub fn outsider_signed(members: &TestCommittee, qc: &FullCommitQc) -> FullCommitQc {
    let outsiders = signing_keys("outsiders", qc.road_index().0, members.committee.commit_quorum());
    let signed = sign_with(&members.committee, qc.qc.proposal.clone(), outsiders.iter());
    FullCommitQc { qc: signed, headers: qc.headers.clone() }
}

/// The same certificate over other headers, with blocks that match these headers: each block has one more
/// transaction, and the headers chain among themselves, but not to what was signed.
#[must_use]
pub fn tampered_headers(qc: &FullCommitQc, blocks: &[Block]) -> (FullCommitQc, Vec<Block>) {
    let mut blocks = blocks.to_vec();
    let mut before: Option<(crate::PublicKey, HeaderHash)> = None;
    for block in &mut blocks {
        block.payload.txs = block.payload.txs.iter().chain([b"tampered".as_slice()]).collect();
        block.header.payload = block.payload.hash();
        if let Some((_, parent)) = before.filter(|(lane, _)| *lane == block.header.lane) {
            block.header.parent = parent;
        }
        before = Some((block.header.lane, block.header.hash()));
    }
    let headers = blocks.iter().map(|block| block.header).collect();
    (FullCommitQc { qc: qc.qc.clone(), headers }, blocks)
}

/// One signature short of the quorum.
#[must_use]
pub fn too_few_signatures(members: &TestCommittee, qc: &FullCommitQc) -> FullCommitQc {
    let mut qc = qc.clone();
    qc.qc.signatures.truncate(members.committee.commit_quorum() - 1);
    qc
}

/// As many signatures as before, but the first signer twice instead of the second. With a single signature
/// the same one twice.
#[must_use]
pub fn duplicate_signer(qc: &FullCommitQc) -> FullCommitQc {
    let mut qc = qc.clone();
    let Some(first) = qc.qc.signatures.first().copied() else { return qc };
    match qc.qc.signatures.get_mut(1) {
        Some(second) => *second = first,
        None => qc.qc.signatures.push(first),
    }
    qc
}

/// One bit of the signature at `position` (modulo their number) flipped.
#[must_use]
pub fn invalid_signature(qc: &FullCommitQc, position: usize) -> FullCommitQc {
    let mut qc = qc.clone();
    let len = qc.qc.signatures.len().max(1);
    if let Some(one) = qc.qc.signatures.get_mut(position % len) {
        one.signature.0[40] ^= 1;
    }
    qc
}

/// The same header over another payload.
#[must_use]
pub fn wrong_payload(block: &Block) -> Block {
    let mut block = block.clone();
    block.payload.gas ^= 1;
    block
}
