//! Absolute caps of the data model.
//!
//! They bound what a decoder may allocate, whatever a peer claims, and they bound [`ChainParams`]: everything
//! that a valid chain can produce fits them, so what verification accepts can always be encoded and decoded
//! again.
//!
//! [`ChainParams`]: crate::ChainParams

/// Members of a committee.
pub const COMMITTEE_LEN_MAX: usize = 1_000;

/// Headers of one QC; a committee whose size times its `lane_blocks_per_qc_max` is above this is refused.
pub const QC_HEADERS_MAX: usize = 1 << 16;

/// Transactions of one block.
pub const BLOCK_TXS_MAX: usize = 1 << 20;

/// Bytes of all transactions of one block together.
pub const BLOCK_TX_BYTES_MAX: usize = 16 << 20;

/// Bytes of one encoded message; longer input is refused before it is looked at.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

// The largest block: header, created_at, gas, count, offsets, bytes.
const _: () = assert!(136 + 8 + 8 + 4 + 4 * BLOCK_TXS_MAX + BLOCK_TX_BYTES_MAX <= MESSAGE_BYTES_MAX);
// The largest QC: view, timestamp, ranges, app proposal, signatures, headers.
const _: () = assert!(
    24 + 4 + 80 * COMMITTEE_LEN_MAX + 49 + 4 + 96 * COMMITTEE_LEN_MAX + 4 + 104 * QC_HEADERS_MAX
        <= MESSAGE_BYTES_MAX
);
// Offsets are u32.
const _: () = assert!(BLOCK_TX_BYTES_MAX <= u32::MAX as usize);
