//! A block on its own: its lane exists, and its payload is the one its header names.

use std::{ops::Deref, sync::Arc};

use super::error::BlockError;
use crate::{block::Block, codec, committee::Committee, hash::HeaderHash};

/// A block that is valid on its own. Cheap to clone.
#[derive(Debug, Clone)]
pub struct VerifiedBlock {
    block: Arc<Block>,
    header_hash: HeaderHash,
    size_bytes: usize,
}

impl VerifiedBlock {
    /// The block.
    #[must_use]
    pub fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// Hash of its header.
    #[must_use]
    pub fn header_hash(&self) -> HeaderHash {
        self.header_hash
    }

    /// Length of its encoding.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Takes any block for valid: for tests of code that never looks inside.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn assume_verified(block: Arc<Block>) -> Self {
        let hash = block.header.hash();
        Self::proven(block, hash)
    }

    /// A block that was verified, with its header's hash.
    pub(super) fn proven(block: Arc<Block>, header_hash: HeaderHash) -> Self {
        Self { header_hash, size_bytes: codec::encoded_len(&*block), block }
    }
}

impl Deref for VerifiedBlock {
    type Target = Block;

    fn deref(&self) -> &Block {
        &self.block
    }
}

impl PartialEq for VerifiedBlock {
    fn eq(&self, other: &Self) -> bool {
        self.header_hash == other.header_hash
    }
}

impl Eq for VerifiedBlock {}

/// Verifies a block on its own: cheap checks first, then one pass of SHA-256 over the payload.
///
/// Whether a QC finalizes it is another question:
/// [`VerifiedQc::match_block`](crate::VerifiedQc::match_block).
///
/// # Errors
/// When its lane is unknown, its transactions are above the chain's limits, or the payload does not hash to
/// what the header says.
pub fn verify_block(committee: &Committee, block: Arc<Block>) -> Result<VerifiedBlock, BlockError> {
    let header_hash = block.header.hash();
    verify_hashed(committee, block, header_hash)
}

/// As [`verify_block`], for a block whose header's hash is known.
pub(super) fn verify_hashed(
    committee: &Committee,
    block: Arc<Block>,
    header_hash: HeaderHash,
) -> Result<VerifiedBlock, BlockError> {
    let lane = block.header.lane;
    if committee.index_of(&lane).is_none() {
        return Err(BlockError::UnknownLane { lane });
    }
    let (txs, params) = (&block.payload.txs, committee.params());
    let found = txs.len() as u64;
    if found > params.block_txs_max {
        return Err(BlockError::TooManyTxs { found, max: params.block_txs_max });
    }
    let found = txs.total_bytes() as u64;
    if found > params.block_tx_bytes_max {
        return Err(BlockError::TxsTooLong { found, max: params.block_tx_bytes_max });
    }
    // No transaction is longer than all of them.
    if found > params.tx_bytes_max {
        let found = txs.longest_bytes() as u64;
        if found > params.tx_bytes_max {
            return Err(BlockError::TxTooLong { found, max: params.tx_bytes_max });
        }
    }
    let (expected, found) = (block.header.payload, block.payload.hash());
    if expected != found {
        return Err(BlockError::PayloadMismatch { expected, found });
    }
    Ok(VerifiedBlock::proven(block, header_hash))
}
