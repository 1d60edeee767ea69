//! Checked reads from both logs, with a cache.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use roadbed_messages::api::WalKind;
use roadbed_messages::{
    Block, BlockNumber, Committee, FullCommitQc, GlobalBlock, HeaderHash, VerifiedBlock, VerifiedQc, codec,
    verify_block, verify_qcs,
};
use roadbed_wal::{Reader, WalError};

use super::ReaderSlot;
use crate::block_wal::digest_of;
use crate::metrics::{Corruption, Metrics};
use crate::state::core::{Answer, Read, ReadError};

/// A reply to a stream ends with the block that reaches this many bytes.
const STREAM_BYTES_TARGET: usize = 4 << 20;

/// The most QCs that are verified together for a reader that goes through them in order: the keys of the committee, which
/// cost two thirds of a lone QC, are worked on once for all of them.
const QCS_AT_ONCE_MAX: usize = 8;
/// And no more once they have so many signatures, for the reader waits for all of them.
const SIGNATURES_AT_ONCE: usize = 512;

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
                self.first_use(&log, index, &entry.payload).map_err(damaged)?
            }
        };
        // A QC that starts above the block: the one that held it was pruned.
        if qc.range().contains(&number) { Ok(qc) } else { Err(ReadError::Missing) }
    }

    /// Verifies a stored QC in full, and where the one before it was in use, the next ones with it.
    fn first_use(&self, log: &Reader, index: u64, payload: &[u8]) -> Result<VerifiedQc, String> {
        let mut qcs = vec![Arc::new(decoded_qc(payload)?)];
        let mut signatures = qcs[0].qc.signatures.len();
        let in_order = index.checked_sub(1).is_some_and(|before| self.qc_cache.contains_key(&before));
        for next in index + 1.. {
            let enough = qcs.len() == QCS_AT_ONCE_MAX || signatures >= SIGNATURES_AT_ONCE;
            if !in_order || enough || self.qc_cache.contains_key(&next) {
                break;
            }
            // Whatever is wrong with one of them is told to who asks for it.
            let Ok(Some(entry)) = log.get(next) else { break };
            let Ok(qc) = decoded_qc(&entry.payload) else { break };
            signatures += qc.qc.signatures.len();
            qcs.push(Arc::new(qc));
        }
        let mut verified = verify_qcs(&self.committee, qcs).into_iter();
        let first = verified.next().ok_or_else(|| "no verdict on it".to_owned())?;
        for (index, qc) in (index + 1..).zip(verified) {
            if let Ok(qc) = qc {
                self.qc_cache.insert(index, qc);
            }
        }
        let first = first.map_err(|error| error.to_string())?;
        self.qc_cache.insert(index, first.clone());
        Ok(first)
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

/// A stored QC as untrusted input: decoded strictly. It still has to be verified.
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use roadbed_messages::testing::{self, ChainShape, TestCommittee};
    use roadbed_wal::{Entry, FileSystem, Log};

    use super::*;
    use crate::store::log_options;

    const BLOCKS_PER_QC: u64 = 3;

    fn source(dir: &Path, members: &TestCommittee, qcs: &[FullCommitQc]) -> Source {
        let options = log_options(&members.committee, WalKind::Qcs);
        let mut log = Log::create(Arc::new(FileSystem), dir, options, 0).unwrap();
        for (index, qc) in (0..).zip(qcs) {
            let end = BLOCKS_PER_QC * (index + 1);
            log.append(index, Entry { key: end, digest: 0, payload: &codec::encode(qc) }).unwrap();
        }
        log.sync().unwrap();
        let slot = ReaderSlot::default();
        slot.set(Some(log.reader()));
        let metrics = Arc::new(Metrics::new(false, Duration::from_secs(1), BlockNumber(0)));
        Source::new(members.committee.clone(), slot, ReaderSlot::default(), 1 << 20, metrics)
    }

    fn qcs(members: &TestCommittee, count: usize) -> Vec<FullCommitQc> {
        let shape = ChainShape { blocks_per_qc: 3, ..ChainShape::default() };
        testing::chain(1, members, shape).take(count).map(|(qc, _)| qc).collect()
    }

    fn cached(source: &Source) -> Vec<u64> {
        (0..20).filter(|index| source.qc_cache.contains_key(index)).collect()
    }

    #[test]
    fn who_reads_qcs_in_order_has_the_next_ones_verified_with_the_one_he_asks_for() {
        let (dir, members) = (tempfile::tempdir().unwrap(), testing::committee(1, 4));
        let source = source(dir.path(), &members, &qcs(&members, 20));
        let qc = |index: u64| source.qc(BlockNumber(BLOCKS_PER_QC * index)).unwrap();
        qc(5);
        qc(7);
        assert_eq!(cached(&source), [5, 7], "not in order");
        qc(6);
        assert_eq!(cached(&source), [5, 6, 7], "the next one is there");
        assert_eq!(qc(8).range().start, BlockNumber(24));
        assert_eq!(cached(&source), (5..16).collect::<Vec<_>>());
        assert_eq!(qc(15).range().start, BlockNumber(45));
        assert_eq!(cached(&source), (5..16).collect::<Vec<_>>());
        qc(16);
        assert_eq!(cached(&source), (5..20).collect::<Vec<_>>(), "as many as there are");
    }

    #[test]
    fn a_qc_that_is_invalid_fails_who_asks_for_it_and_nobody_before() {
        let (dir, members) = (tempfile::tempdir().unwrap(), testing::committee(1, 4));
        let mut qcs = qcs(&members, 5);
        qcs[3] = testing::invalid_signature(&qcs[3], 0);
        let source = source(dir.path(), &members, &qcs);
        let qc = |index: u64| source.qc(BlockNumber(BLOCKS_PER_QC * index));
        qc(1).unwrap();
        qc(2).unwrap();
        assert_eq!(cached(&source), [1, 2, 4]);
        assert!(matches!(qc(3), Err(ReadError::Damaged { number: BlockNumber(9), .. })));
        assert_eq!(cached(&source), [1, 2, 4]);
    }
}
