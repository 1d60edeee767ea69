//! Blocks: what a lane produces, and how it looks once finalized.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    hash::{CanonicalHasher, HeaderHash, PayloadHash},
    keys::PublicKey,
    numbers::{BlockNumber, LaneBlockNumber, Timestamp},
    qc::AppProposal,
    txs::Txs,
};

/// Place of a block in its lane, and what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHeader {
    /// The member that produced it.
    pub lane: PublicKey,
    /// Position in the lane.
    pub number: LaneBlockNumber,
    /// Hash of the lane's header before this one; [`HeaderHash::ZERO`] in front of the first.
    pub parent: HeaderHash,
    /// Hash of the payload.
    pub payload: PayloadHash,
}

impl BlockHeader {
    /// The canonical hash.
    #[must_use]
    pub fn hash(&self) -> HeaderHash {
        let mut hasher = CanonicalHasher::new("roadbed/1/block-header");
        hasher.fixed(&self.lane.0).u64(self.number.0).fixed(&self.parent.0).fixed(&self.payload.0);
        HeaderHash(hasher.finish())
    }
}

/// What a block carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// When its producer made it.
    pub created_at: Timestamp,
    /// Gas that its transactions may use together.
    pub gas: u64,
    /// The transactions.
    pub txs: Txs,
}

impl Payload {
    /// The canonical hash. It reads every byte: hash a payload once and keep the result.
    #[must_use]
    pub fn hash(&self) -> PayloadHash {
        let mut hasher = CanonicalHasher::new("roadbed/1/payload");
        hasher.u64(self.created_at.unix_us()).u64(self.gas);
        hasher.u32_list(self.txs.ends()).bytes(self.txs.data());
        PayloadHash(hasher.finish())
    }
}

/// A header with its payload. Valid only once [`verify_block`](crate::verify_block) said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Place in the lane.
    pub header: BlockHeader,
    /// What it carries.
    pub payload: Payload,
}

/// A finalized block at its place in the global order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalBlock {
    /// Place in the global order.
    pub number: BlockNumber,
    /// Place in its lane.
    pub header: BlockHeader,
    /// What it carries, shared with the store.
    pub payload: SharedPayload,
    /// Proposal time plus one microsecond per position in the QC's range.
    pub timestamp: Timestamp,
    /// What the QC's proposal says of the application, never the local hash.
    pub app_proposal: Option<AppProposal>,
}

/// A payload inside a block that others hold as well; cloning it copies a pointer.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedPayload(Arc<Block>);

impl SharedPayload {
    /// The payload of `block`.
    #[must_use]
    pub fn new(block: Arc<Block>) -> Self {
        Self(block)
    }

    /// The block that it belongs to.
    #[must_use]
    pub fn block(&self) -> &Arc<Block> {
        &self.0
    }
}

impl Deref for SharedPayload {
    type Target = Payload;

    fn deref(&self) -> &Payload {
        &self.0.payload
    }
}

impl fmt::Debug for SharedPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.payload, f)
    }
}
