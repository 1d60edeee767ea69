//! Appending to the logs of a store that no node is using. Only what was verified can be appended.

use roadbed_messages::{BlockNumber, VerifiedBlock, VerifiedQc};
use roadbed_wal::{Appended, Log, WalError};

use crate::wal_worker::Record;

/// Appends a QC to the QC log under a running number; durable after the log's next sync.
///
/// # Errors
/// As [`Log::append`].
pub fn append_qc(log: &mut Log, index: u64, qc: &VerifiedQc) -> Result<Appended, WalError> {
    append(log, index, qc)
}

/// Appends a block to the block log under its number; durable after the log's next sync. That the block is the one
/// which its QC finalizes is for the caller to see to.
///
/// # Errors
/// As [`Log::append`].
pub fn append_block(log: &mut Log, number: BlockNumber, block: &VerifiedBlock) -> Result<Appended, WalError> {
    append(log, number.0, block)
}

fn append<R: Record>(log: &mut Log, index: u64, record: &R) -> Result<Appended, WalError> {
    let end = record.end(index).0;
    log.append_with(index, end, record.digest(), record.encoded_len(), |buffer| record.encode_into(buffer))
}
