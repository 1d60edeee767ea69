//! The block WAL actor: its log's index is the global block number, its key the number after it, its digest the start
//! of the header's hash.

use roadbed_messages::api::WalKind;
use roadbed_messages::{BlockNumber, Committee, HeaderHash, VerifiedBlock, codec};
use roadbed_wal::StoredEntry;

use crate::wal_worker::{Record, WalActor};

/// Makes blocks durable.
pub(crate) type BlockWal = WalActor<VerifiedBlock>;

/// The part of a header's hash that the block log can look up.
pub(crate) fn digest_of(hash: &HeaderHash) -> u64 {
    let mut digest = [0; 8];
    digest.copy_from_slice(&hash.0[..8]);
    u64::from_le_bytes(digest)
}

impl Record for VerifiedBlock {
    const WAL: WalKind = WalKind::Blocks;

    fn first_index(committee: &Committee) -> u64 {
        committee.first_block().0
    }

    fn end(&self, index: u64) -> BlockNumber {
        BlockNumber(index).saturating_add(1)
    }

    fn digest(&self) -> u64 {
        digest_of(&self.header_hash())
    }

    fn encoded_len(&self) -> usize {
        self.size_bytes()
    }

    fn encode_into(&self, buffer: &mut [u8]) {
        codec::encode_into(&**self.block(), buffer).expect("the buffer has the encoded length");
    }

    fn start_of(entry: &StoredEntry, _: &Committee) -> Result<BlockNumber, String> {
        Ok(BlockNumber(entry.index))
    }
}
