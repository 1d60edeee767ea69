//! A QC on its own: structure, quorum, header chain, and last, because they cost most, signatures.

use std::{
    cmp::Ordering,
    ops::Range,
    sync::{Arc, Weak},
};

use super::{
    block::VerifiedBlock,
    error::{MatchError, QcError},
};
use crate::{
    block::{BlockHeader, GlobalBlock, SharedPayload},
    codec,
    committee::Committee,
    hash::{HeaderHash, VoteHash},
    numbers::{BlockNumber, LaneBlockNumber, RoadIndex, Timestamp},
    qc::{CommitQc, FullCommitQc, LaneRange, Proposal},
    signatures::{self, Signed},
};

/// A QC that is valid. Cheap to clone.
///
/// Invariants: the range is not empty, there is one header and one hash per number of it, and proposal time
/// plus the number of blocks fits u64.
#[derive(Debug, Clone)]
pub struct VerifiedQc(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    qc: Arc<FullCommitQc>,
    range: Range<BlockNumber>,
    header_hashes: Vec<HeaderHash>,
    size_bytes: usize,
}

impl VerifiedQc {
    /// The QC.
    #[must_use]
    pub fn qc(&self) -> &Arc<FullCommitQc> {
        &self.0.qc
    }

    /// What was voted on.
    #[must_use]
    pub fn proposal(&self) -> &Proposal {
        &self.0.qc.qc.proposal
    }

    /// Position of the QC.
    #[must_use]
    pub fn road_index(&self) -> RoadIndex {
        self.proposal().view.road_index
    }

    /// The headers, that of block `n` at `n - range.start`.
    #[must_use]
    pub fn headers(&self) -> &[BlockHeader] {
        &self.0.qc.headers
    }

    /// The global numbers that it finalizes.
    #[must_use]
    pub fn range(&self) -> Range<BlockNumber> {
        self.0.range.clone()
    }

    /// Hashes of its headers, in their order.
    #[must_use]
    pub fn header_hashes(&self) -> &[HeaderHash] {
        &self.0.header_hashes
    }

    /// Length of its encoding.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.0.size_bytes
    }

    /// Where among the headers block `number` is.
    #[must_use]
    pub fn position(&self, number: BlockNumber) -> Option<usize> {
        if !self.0.range.contains(&number) {
            return None;
        }
        usize::try_from(number.distance_from(self.0.range.start)?).ok()
    }

    /// Header of block `number`.
    #[must_use]
    pub fn header_at(&self, number: BlockNumber) -> Option<&BlockHeader> {
        self.0.qc.headers.get(self.position(number)?)
    }

    /// Hash of the header of block `number`.
    #[must_use]
    pub fn header_hash_at(&self, number: BlockNumber) -> Option<HeaderHash> {
        self.0.header_hashes.get(self.position(number)?).copied()
    }

    /// Number of the block with this header hash, by a search through the headers.
    #[must_use]
    pub fn number_of(&self, header_hash: &HeaderHash) -> Option<BlockNumber> {
        let position = self.0.header_hashes.iter().position(|hash| hash == header_hash)?;
        self.0.range.start.checked_add(position as u64)
    }

    /// Whether `block` is the one that is finalized as `number`.
    ///
    /// # Errors
    /// When the QC does not cover the number, or finalizes another block there.
    pub fn match_block(&self, number: BlockNumber, block: &VerifiedBlock) -> Result<(), MatchError> {
        self.match_hash(number, block.header_hash()).map(|_| ())
    }

    /// Block `number` as consumers see it.
    ///
    /// # Errors
    /// When the QC does not cover the number, or finalizes another block there.
    pub fn global_block(
        &self,
        number: BlockNumber,
        block: &VerifiedBlock,
    ) -> Result<GlobalBlock, MatchError> {
        let position = self.match_hash(number, block.header_hash())?;
        let proposal = self.proposal();
        Ok(GlobalBlock {
            number,
            header: block.header,
            payload: SharedPayload::new(Arc::clone(block.block())),
            // Invariant: the sum fits for every position of the range.
            timestamp: Timestamp::from_unix_us(proposal.timestamp.unix_us() + position as u64),
            app_proposal: proposal.app_proposal,
        })
    }

    pub(super) fn downgrade(&self) -> WeakQc {
        WeakQc(Arc::downgrade(&self.0))
    }

    fn match_hash(&self, number: BlockNumber, found: HeaderHash) -> Result<usize, MatchError> {
        let Range { start: first, end: next } = self.range();
        let position = self.position(number).ok_or(MatchError::OutsideRange { number, first, next })?;
        let expected = self.0.header_hashes[position];
        if expected == found {
            Ok(position)
        } else {
            Err(MatchError::HeaderMismatch { number, expected, found })
        }
    }

    /// Takes the signatures of a QC as valid, for tests with fake ones; all else is verified.
    ///
    /// # Errors
    /// As [`verify_qc`], signatures and quorum apart.
    #[cfg(feature = "testing")]
    pub fn assume_verified(committee: &Committee, qc: Arc<FullCommitQc>) -> Result<Self, QcError> {
        check_structure(committee, qc)
    }
}

/// A [`VerifiedQc`] for as long as somebody holds it.
#[derive(Debug)]
pub(super) struct WeakQc(Weak<Inner>);

impl WeakQc {
    pub(super) fn upgrade(&self) -> Option<VerifiedQc> {
        self.0.upgrade().map(VerifiedQc)
    }

    pub(super) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl PartialEq for VerifiedQc {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.qc == other.0.qc
    }
}

impl Eq for VerifiedQc {}

/// Verifies a certificate without its headers: one range per lane, a quorum of distinct members, and every
/// signature that it carries.
///
/// # Errors
/// When one of these does not hold.
pub fn verify_commit_qc(committee: &Committee, qc: &CommitQc) -> Result<(), QcError> {
    qc.proposal.range(committee)?;
    check_quorum(committee, qc)?;
    let signed = signed(qc, qc.proposal.vote_hash(&committee.chain_id()));
    if signatures::verify_all(signed.iter()) { Ok(()) } else { find_invalid(committee, &signed) }
}

/// Verifies a QC in full, its signatures in one batch.
///
/// # Errors
/// When the certificate, the headers or the chain's limits do not hold; see [`QcError`].
pub fn verify_qc(committee: &Committee, qc: Arc<FullCommitQc>) -> Result<VerifiedQc, QcError> {
    check_quorum(committee, &qc.qc)?;
    let verified = check_structure(committee, qc)?;
    let certificate = &verified.0.qc.qc;
    let signed = signed(certificate, certificate.proposal.vote_hash(&committee.chain_id()));
    if !signatures::verify_all(signed.iter()) {
        find_invalid(committee, &signed)?;
    }
    Ok(verified)
}

/// Everything but quorum and signatures: ranges, limits, header chain.
pub(super) fn check_structure(committee: &Committee, qc: Arc<FullCommitQc>) -> Result<VerifiedQc, QcError> {
    let range = qc.range(committee)?;
    let proposal = &qc.qc.proposal;
    // Ranges that are not backwards sum up to one that is not.
    let expected = range.end.0 - range.start.0;
    if expected == 0 {
        return Err(QcError::Empty);
    }
    let max = committee.params().lane_blocks_per_qc_max;
    for LaneRange { lane, first, next, .. } in &proposal.lane_ranges {
        let found = next.0 - first.0;
        if found > max {
            return Err(QcError::LaneTooLong { lane: *lane, found, max });
        }
    }
    if qc.headers.len() as u64 != expected {
        return Err(QcError::HeaderCount { expected, found: qc.headers.len() });
    }
    if proposal.timestamp.checked_add_us(expected).is_none() {
        let (timestamp, blocks) = (proposal.timestamp, qc.headers.len());
        return Err(QcError::TimestampOverflow { timestamp, blocks });
    }
    let header_hashes = check_headers(&qc)?;
    let size_bytes = codec::encoded_len(&*qc);
    Ok(VerifiedQc(Arc::new(Inner { qc, range, header_hashes, size_bytes })))
}

/// Each lane's headers are at their place and chain back from the range's last hash. Their number is the sum
/// of the ranges' lengths, so every position exists.
fn check_headers(qc: &FullCommitQc) -> Result<Vec<HeaderHash>, QcError> {
    let hashes: Vec<HeaderHash> = qc.headers.iter().map(BlockHeader::hash).collect();
    let mut position = 0;
    for range in &qc.qc.proposal.lane_ranges {
        for number in (range.first.0..range.next.0).map(LaneBlockNumber) {
            let header = &qc.headers[position];
            if header.lane != range.lane || header.number != number {
                return Err(QcError::HeaderPlace {
                    position,
                    lane: range.lane,
                    number,
                    found_lane: header.lane,
                    found_number: header.number,
                });
            }
            let last = number.0 + 1 == range.next.0;
            let expected = if last { range.last_hash } else { qc.headers[position + 1].parent };
            if hashes[position] != expected {
                let found = hashes[position];
                return Err(QcError::HeaderChain { position, lane: range.lane, expected, found });
            }
            position += 1;
        }
    }
    Ok(hashes)
}

/// Distinct members, ascending, at least a quorum of them. What they signed is not looked at.
pub(super) fn check_quorum(committee: &Committee, qc: &CommitQc) -> Result<(), QcError> {
    let (found, needed) = (qc.signatures.len(), committee.commit_quorum());
    if found < needed {
        return Err(QcError::NoQuorum { found, needed });
    }
    for (position, pair) in qc.signatures.windows(2).enumerate() {
        let signer = pair[1].signer;
        match pair[0].signer.cmp(&signer) {
            Ordering::Less => {}
            Ordering::Equal => return Err(QcError::DuplicateSigner { signer }),
            Ordering::Greater => return Err(QcError::SignerOrder { position: position + 1, signer }),
        }
    }
    match qc.signatures.iter().find(|one| committee.index_of(&one.signer).is_none()) {
        Some(outsider) => Err(QcError::UnknownSigner { signer: outsider.signer }),
        None => Ok(()),
    }
}

/// The signatures of a QC, each with the vote that it must be of.
pub(super) fn signed(qc: &CommitQc, vote: VoteHash) -> Vec<Signed> {
    qc.signatures.iter().map(|one| Signed { signer: one.signer, signature: one.signature, vote }).collect()
}

/// Names the first signer whose signature is invalid, each verified on its own.
///
/// A batch refuses exactly when one of its signatures does, so this finds one whenever a batch of just these
/// was refused.
pub(super) fn find_invalid(committee: &Committee, signed: &[Signed]) -> Result<(), QcError> {
    let invalid = |one: &&Signed| match committee.index_of(&one.signer) {
        Some(index) => !signatures::verify_point(committee.point(index), &one.signature, &one.vote),
        None => true,
    };
    match signed.iter().find(invalid) {
        Some(one) => Err(QcError::InvalidSignature { signer: one.signer }),
        None => Ok(()),
    }
}
