//! Checked reads from both logs, with a cache.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use roadbed_messages::api::WalKind;
use roadbed_messages::{
    Block, BlockNumber, Committee, FullCommitQc, GlobalBlock, HeaderHash, VerifiedBlock, VerifiedQc, codec,
    verify_block, verify_qc,
};
use roadbed_wal::{Reader, WalError};

use super::ReaderSlot;
use crate::block_wal::digest_of;
use crate::metrics::{Corruption, Metrics};
use crate::state::core::{Answer, Read, ReadError};

/// A reply to a stream ends with the block that reaches this many bytes.
const STREAM_BYTES_TARGET: usize = 4 << 20;

/// Both logs, checked. Shared by all readers.
#[derive(Debug)]
pub(crate) struct Source {
    committee: Committee,
    qcs: ReaderSlot,
    blocks: ReaderSlot,
    /// QCs by the index in their log.
    qc_cache: Cache<u64, VerifiedQc, Bytes>,
    block_cache: Cache<BlockNumber, VerifiedBlock, Bytes>,
    metrics: Arc<Metrics>,
}

#[derive(Clone, Debug)]
struct Bytes;

impl<K> Weighter<K, VerifiedQc> for Bytes {
    fn weight(&self, _: &K, qc: &VerifiedQc) -> u64 {
        qc.size_bytes() as u64
    }
}

impl<K> Weighter<K, VerifiedBlock> for Bytes {
    fn weight(&self, _: &K, block: &VerifiedBlock) -> u64 {
        block.size_bytes() as u64
    }
}

impl Source {
    pub(crate) fn new(
        committee: Committee,
        qcs: ReaderSlot,
        blocks: ReaderSlot,
        cache_bytes_max: u64,
        metrics: Arc<Metrics>,
    ) -> Self {
        // QCs are small beside the blocks they finalize, and every block needs its own.
        let qc_bytes = cache_bytes_max / 4;
        let items = |bytes: u64| usize::try_from(bytes / 4096).unwrap_or(usize::MAX).max(16);
        Self {
            committee,
            qcs,
            blocks,
            qc_cache: Cache::with_weighter(items(qc_bytes), qc_bytes, Bytes),
            block_cache: Cache::with_weighter(
                items(cache_bytes_max - qc_bytes),
                cache_bytes_max - qc_bytes,
                Bytes,
            ),
            metrics,
        }
    }

    /// Carries out one read.
    pub(crate) fn read(&self, read: &Read) -> Result<Answer, ReadError> {
        match read {
            Read::Qc(number) => Ok(Answer::Qc(Arc::clone(self.qc(*number)?.qc()))),
            Read::Block(number) => Ok(Answer::Block(Arc::clone(self.block(*number)?.1.block()))),
            Read::GlobalBlock(number) => Ok(Answer::GlobalBlock(self.global_block(*number)?)),
            Read::GlobalBlocks(range) => self.global_blocks(range.clone()),
            Read::ByHash(hash) => Ok(Answer::GlobalBlock(self.by_hash(hash)?)),
        }
    }

    fn global_block(&self, number: BlockNumber) -> Result<GlobalBlock, ReadError> {
        let (qc, block) = self.block(number)?;
        qc.global_block(number, &block).map_err(|error| damaged(number, error))
    }

    /// As many consecutive blocks from the start of `range` as a reply may carry.
    fn global_blocks(&self, range: std::ops::Range<BlockNumber>) -> Result<Answer, ReadError> {
        let mut blocks = Vec::new();
        let mut bytes = 0;
        for number in range.start.0..range.end.0 {
            match self.global_block(BlockNumber(number)) {
                Ok(block) => {
                    bytes += block.payload.txs.total_bytes();
                    blocks.push(block);
                }
                // What was read so far is served; the next request meets the error again.
                Err(_) if !blocks.is_empty() => break,
                Err(error) => return Err(error),
            }
            if bytes >= STREAM_BYTES_TARGET {
                break;
            }
        }
        Ok(Answer::GlobalBlocks(blocks))
    }

    fn by_hash(&self, hash: &HeaderHash) -> Result<GlobalBlock, ReadError> {
        let log = reader(&self.blocks)?;
        let unreadable = |error: WalError| damaged(BlockNumber(log.range().start), error);
        for number in log.find_digest(digest_of(hash)).map_err(unreadable)? {
            match self.block(BlockNumber(number)) {
                Ok((qc, block)) if block.header_hash() == *hash => {
                    return qc
                        .global_block(BlockNumber(number), &block)
                        .map_err(|error| damaged(BlockNumber(number), error));
                }
                // Another block with the same digest, or one that was pruned meanwhile.
                Ok(_) | Err(ReadError::Missing) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ReadError::Missing)
    }

    fn qc(&self, number: BlockNumber) -> Result<VerifiedQc, ReadError> {
        let damaged = |error: String| self.damaged(WalKind::Qcs, number, error);
        let log = reader(&self.qcs)?;
        let index = log.index_by_key(number.0).map_err(|error| damaged(error.to_string()))?;
        let index = index.ok_or(ReadError::Missing)?;
        let qc = match self.qc_cache.get(&index) {
            Some(qc) => qc,
            None => {
                // None where the front has moved meanwhile.
                let entry = log.get(index).map_err(|error| damaged(error.to_string()))?;
                let entry = entry.ok_or(ReadError::Missing)?;
                let qc = checked_qc(&self.committee, &entry.payload).map_err(damaged)?;
                self.qc_cache.insert(index, qc.clone());
                qc
            }
        };
        // A QC that starts above the block: the one that held it was pruned.
        if qc.range().contains(&number) { Ok(qc) } else { Err(ReadError::Missing) }
    }

    fn block(&self, number: BlockNumber) -> Result<(VerifiedQc, VerifiedBlock), ReadError> {
        let qc = self.qc(number)?;
        if let Some(block) = self.block_cache.get(&number) {
            return Ok((qc, block));
        }
        let damaged = |error: String| self.damaged(WalKind::Blocks, number, error);
        let entry = reader(&self.blocks)?.get(number.0).map_err(|error| damaged(error.to_string()))?;
        let entry = entry.ok_or(ReadError::Missing)?;
        let block = checked_block(&self.committee, &entry.payload).map_err(damaged)?;
        qc.match_block(number, &block).map_err(|error| damaged(error.to_string()))?;
        self.block_cache.insert(number, block.clone());
        Ok((qc, block))
    }
}

impl Source {
    /// What a log holds of a block can't be served: counted, and told to whoever asked.
    fn damaged(&self, wal: WalKind, number: BlockNumber, detail: String) -> ReadError {
        self.metrics.wal(wal).corrupt(Corruption::Serving);
        tracing::error!(%wal, number = number.0, detail, "what is stored can't be served");
        ReadError::Damaged { number, detail }
    }
}

/// A stored QC as untrusted input: decoded strictly, verified in full.
fn checked_qc(committee: &Committee, payload: &[u8]) -> Result<VerifiedQc, String> {
    verify_qc(committee, Arc::new(decoded_qc(payload)?)).map_err(|error| error.to_string())
}

pub(crate) fn decoded_qc(payload: &[u8]) -> Result<FullCommitQc, String> {
    codec::decode(payload).map_err(|error| error.to_string())
}

/// A stored block as untrusted input: decoded strictly, its payload hashed. It still has to match its QC.
pub(crate) fn checked_block(committee: &Committee, payload: &[u8]) -> Result<VerifiedBlock, String> {
    let block: Block = codec::decode(payload).map_err(|error| error.to_string())?;
    verify_block(committee, Arc::new(block)).map_err(|error| error.to_string())
}

fn reader(slot: &ReaderSlot) -> Result<Reader, ReadError> {
    slot.get().ok_or(ReadError::Missing)
}

fn damaged(number: BlockNumber, error: impl std::fmt::Display) -> ReadError {
    ReadError::Damaged { number, detail: error.to_string() }
}
