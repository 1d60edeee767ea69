//! What the two logs differ in: how a record is written, and which blocks it covers.

use roadbed_messages::api::WalKind;
use roadbed_messages::{BlockNumber, Committee};
use roadbed_wal::StoredEntry;

/// A record of one of the logs.
///
/// Its *key* is the end of the blocks that it covers: a record is gone once its key is at or below `first`.
#[cfg_attr(not(feature = "sim"), expect(unreachable_pub, reason = "the simulator names it"))]
pub trait Record: Clone + Send + Sync + Unpin + 'static {
    /// The log that it belongs to.
    const WAL: WalKind;

    /// The index that an empty log of a chain begins with.
    fn first_index(committee: &Committee) -> u64;

    /// The end of the blocks that the record covers which has this index, exclusive.
    fn end(&self, index: u64) -> BlockNumber;

    /// The first 64 bits of the hash that it can be looked up by; 0 where there is none.
    fn digest(&self) -> u64;

    /// The bytes that [`Record::encode_into`] fills.
    fn encoded_len(&self) -> usize;

    /// Writes the record into exactly [`Record::encoded_len`] bytes.
    fn encode_into(&self, buffer: &mut [u8]);

    /// The first block that a stored record covers.
    ///
    /// # Errors
    /// Why the bytes can't be what was written, in words.
    fn start_of(entry: &StoredEntry, committee: &Committee) -> Result<BlockNumber, String>;
}
