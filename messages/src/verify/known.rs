//! What was verified lately, so that a second copy costs a comparison.

use std::{
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use ahash::AHashMap;

use super::{
    batch::verify_unknown,
    block::{VerifiedBlock, verify_hashed},
    error::{BlockError, QcError},
    qc::{VerifiedQc, WeakQc},
};
use crate::{
    block::Block,
    committee::Committee,
    hash::{HeaderHash, VoteHash},
    qc::FullCommitQc,
};

/// Verifies, and remembers what was valid for as long as somebody holds it: a copy that is equal byte for byte is
/// answered with what is held already, whose memory it then shares.
///
/// It keeps nothing alive itself. Entries of what is gone are swept out before they are more than those of what is
/// not, so that memory follows what others hold.
///
/// ```
/// use std::sync::Arc;
/// use roadbed_messages::{Known, testing};
///
/// let members = testing::committee(1, 4);
/// let (qc, blocks) = testing::chain(1, &members, testing::ChainShape::default()).next().unwrap();
/// let known = Known::default();
/// let first = known.verify_block(&members.committee, Arc::new(blocks[0].clone()))?;
/// let again = known.verify_block(&members.committee, Arc::new(blocks[0].clone()))?;
/// assert!(Arc::ptr_eq(first.block(), again.block()));
///
/// let copies = vec![Arc::new(qc.clone()), Arc::new(qc)];
/// let verdicts = known.verify_qcs(&members.committee, copies, || {});
/// assert!(verdicts.iter().all(Result::is_ok));
/// # Ok::<(), roadbed_messages::BlockError>(())
/// ```
#[derive(Debug, Default)]
pub struct Known {
    qcs: Mutex<Table<VoteHash, WeakQc>>,
    blocks: Mutex<Table<HeaderHash, Weak<Block>>>,
}

impl Known {
    /// As [`verify_qcs`](crate::verify_qcs); `between` is called before each part of the work, of which none takes
    /// longer than one batch.
    pub fn verify_qcs(
        &self,
        committee: &Committee,
        qcs: Vec<Arc<FullCommitQc>>,
        mut between: impl FnMut(),
    ) -> Vec<Result<VerifiedQc, QcError>> {
        let find = |vote: &VoteHash, qc: &Arc<FullCommitQc>| {
            let found = lock(&self.qcs).find(vote)?;
            (Arc::ptr_eq(found.qc(), qc) || found.qc() == qc).then_some(found)
        };
        let learn = |vote: VoteHash, qc: &VerifiedQc| lock(&self.qcs).insert(vote, qc.downgrade());
        verify_unknown(committee, qcs, &mut between, find, learn)
    }

    /// As [`verify_block`](crate::verify_block).
    ///
    /// # Errors
    /// As [`verify_block`](crate::verify_block).
    pub fn verify_block(
        &self,
        committee: &Committee,
        block: Arc<Block>,
    ) -> Result<VerifiedBlock, BlockError> {
        let header_hash = block.header.hash();
        self.verify_hashed(committee, block, header_hash)
    }

    /// As [`verify_block`](crate::verify_block) for each of them, in their order, up to the first that is invalid. A
    /// header is not hashed again that `qc` has, if the blocks come in the order of its headers. `between` is called
    /// before each block.
    ///
    /// # Errors
    /// As [`verify_block`](crate::verify_block).
    pub fn verify_blocks(
        &self,
        committee: &Committee,
        qc: Option<&VerifiedQc>,
        blocks: &[Arc<Block>],
        mut between: impl FnMut(),
    ) -> Result<Vec<VerifiedBlock>, BlockError> {
        let mut hashed = qc.into_iter().flat_map(|qc| qc.headers().iter().zip(qc.header_hashes()));
        let verify = |block: &Arc<Block>| {
            between();
            let known = hashed.find(|(header, _)| **header == block.header).map(|(_, hash)| *hash);
            let header_hash = known.unwrap_or_else(|| block.header.hash());
            self.verify_hashed(committee, Arc::clone(block), header_hash)
        };
        blocks.iter().map(verify).collect()
    }

    fn verify_hashed(
        &self,
        committee: &Committee,
        block: Arc<Block>,
        header_hash: HeaderHash,
    ) -> Result<VerifiedBlock, BlockError> {
        let found = lock(&self.blocks).find(&header_hash);
        // Compared outside of the lock: a block may be large.
        match found.filter(|found| Arc::ptr_eq(found, &block) || *found == block) {
            Some(found) => Ok(VerifiedBlock::proven(found, header_hash)),
            None => {
                let verified = verify_hashed(committee, block, header_hash)?;
                lock(&self.blocks).insert(header_hash, Arc::downgrade(verified.block()));
                Ok(verified)
            }
        }
    }
}

/// What may be gone.
trait Held {
    type Target;

    fn find(&self) -> Option<Self::Target>;
    fn is_held(&self) -> bool;
}

impl Held for Weak<Block> {
    type Target = Arc<Block>;

    fn find(&self) -> Option<Arc<Block>> {
        self.upgrade()
    }

    fn is_held(&self) -> bool {
        self.strong_count() > 0
    }
}

impl Held for WeakQc {
    type Target = VerifiedQc;

    fn find(&self) -> Option<VerifiedQc> {
        self.upgrade()
    }

    fn is_held(&self) -> bool {
        WeakQc::is_held(self)
    }
}

/// So few entries are never swept.
const SWEEP_MIN: usize = 1024;

#[derive(Debug)]
struct Table<K, V> {
    entries: AHashMap<K, V>,
    sweep_at: usize,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: AHashMap::new(), sweep_at: SWEEP_MIN }
    }
}

impl<K: Eq + Hash, V: Held> Table<K, V> {
    fn find(&self, key: &K) -> Option<V::Target> {
        self.entries.get(key)?.find()
    }

    fn insert(&mut self, key: K, value: V) {
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, value| value.is_held());
            self.sweep_at = SWEEP_MIN.max(2 * self.entries.len());
        }
        self.entries.insert(key, value);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics in the middle of a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, ChainShape};

    #[test]
    fn entries_of_what_is_gone_are_swept_out() {
        let members = testing::committee(1, 4);
        let shape = ChainShape { txs_per_block: 1, ..ChainShape::default() };
        let known = Known::default();
        let blocks = testing::chain(1, &members, shape).flat_map(|(_, blocks)| blocks);
        for block in blocks.take(3 * SWEEP_MIN) {
            assert!(known.verify_block(&members.committee, Arc::new(block)).is_ok());
        }
        assert!(lock(&known.blocks).entries.len() <= SWEEP_MIN);
    }
}
