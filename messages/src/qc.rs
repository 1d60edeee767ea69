//! Quorum certificates: what a committee voted on, and who signed.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{
    block::BlockHeader,
    committee::Committee,
    hash::{AppHash, CanonicalHasher, ChainId, HeaderHash, VoteHash},
    keys::{PublicKey, Signature},
    numbers::{BlockNumber, LaneBlockNumber, RoadIndex, Timestamp, ViewNumber},
    verify::QcError,
};

/// Which vote of which QC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct View {
    /// Position of the QC.
    pub road_index: RoadIndex,
    /// Attempt at it.
    pub number: ViewNumber,
}

/// The blocks of one lane that a QC finalizes: `[first, next)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRange {
    /// The lane.
    pub lane: PublicKey,
    /// First block of it.
    pub first: LaneBlockNumber,
    /// First block behind it.
    pub next: LaneBlockNumber,
    /// Hash of the header before `next`; of an empty range too.
    pub last_hash: HeaderHash,
}

/// What the application computed, as the committee agreed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppProposal {
    /// Last block that was executed.
    pub number: BlockNumber,
    /// Position of that block's QC.
    pub road_index: RoadIndex,
    /// State after it.
    pub hash: AppHash,
}

/// What is voted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Which vote it is.
    pub view: View,
    /// When it was proposed; block timestamps count from here.
    pub timestamp: Timestamp,
    /// One range per lane, in committee order.
    pub lane_ranges: Vec<LaneRange>,
    /// What the application computed, now and then.
    pub app_proposal: Option<AppProposal>,
}

impl Proposal {
    /// What a member signs: the canonical hash of the proposal, bound to its chain.
    #[must_use]
    pub fn vote_hash(&self, chain_id: &ChainId) -> VoteHash {
        let mut hasher = CanonicalHasher::new("roadbed/1/vote");
        hasher.fixed(&chain_id.0);
        hasher.u64(self.view.road_index.0).u64(self.view.number.0).u64(self.timestamp.unix_us());
        hasher.count(self.lane_ranges.len());
        for range in &self.lane_ranges {
            hasher.fixed(&range.lane.0).u64(range.first.0).u64(range.next.0).fixed(&range.last_hash.0);
        }
        hasher.option(self.app_proposal.as_ref(), |hasher, app| {
            hasher.u64(app.number.0).u64(app.road_index.0).fixed(&app.hash.0);
        });
        VoteHash(hasher.finish())
    }

    /// The global numbers that it finalizes: from `first_block` plus the sum of the lanes' firsts to
    /// `first_block` plus the sum of their nexts.
    ///
    /// # Errors
    /// Unless there is exactly one range per lane of the committee, in its order, none of them backwards, and
    /// all sums fit u64.
    pub fn range(&self, committee: &Committee) -> Result<Range<BlockNumber>, QcError> {
        if self.lane_ranges.len() != committee.len() {
            return Err(QcError::LaneCount { expected: committee.len(), found: self.lane_ranges.len() });
        }
        let mut range = committee.first_block()..committee.first_block();
        for (lane, expected) in self.lane_ranges.iter().zip(committee.keys()) {
            if lane.lane != *expected {
                return Err(match committee.index_of(&lane.lane) {
                    None => QcError::UnknownLane { lane: lane.lane },
                    Some(_) => QcError::LaneOrder { expected: *expected, found: lane.lane },
                });
            }
            if lane.first > lane.next {
                return Err(QcError::LaneBackwards { lane: lane.lane, first: lane.first, next: lane.next });
            }
            let overflow = QcError::NumberOverflow { lane: lane.lane };
            range.start = range.start.checked_add(lane.first.0).ok_or(overflow.clone())?;
            range.end = range.end.checked_add(lane.next.0).ok_or(overflow)?;
        }
        Ok(range)
    }
}

/// One member's signature of a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureOf {
    /// The member.
    pub signer: PublicKey,
    /// Its signature.
    pub signature: Signature,
}

/// A proposal with the signatures of those who voted for it, ascending by signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitQc {
    /// What was voted on.
    pub proposal: Proposal,
    /// Who voted for it.
    pub signatures: Vec<SignatureOf>,
}

/// A [`CommitQc`] with the headers of all blocks that it finalizes, lane by lane in committee order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullCommitQc {
    /// The certificate.
    pub qc: CommitQc,
    /// Header of block `n` at `n - range.first`.
    pub headers: Vec<BlockHeader>,
}

impl FullCommitQc {
    /// The global numbers that it finalizes, see [`Proposal::range`].
    ///
    /// # Errors
    /// As [`Proposal::range`].
    pub fn range(&self, committee: &Committee) -> Result<Range<BlockNumber>, QcError> {
        self.qc.proposal.range(committee)
    }

    /// Position of the QC.
    #[must_use]
    pub fn road_index(&self) -> RoadIndex {
        self.qc.proposal.view.road_index
    }
}
