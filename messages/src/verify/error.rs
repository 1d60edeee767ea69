//! Why a block or a QC is refused.

use crate::{
    hash::{HeaderHash, PayloadHash},
    keys::PublicKey,
    numbers::{BlockNumber, LaneBlockNumber, Timestamp},
};

/// A block that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Its lane is not in the committee.
    #[error("lane {lane} is not in the committee")]
    UnknownLane {
        /// The lane.
        lane: PublicKey,
    },
    /// Too many transactions.
    #[error("{found} transactions, the chain allows {max} in a block")]
    TooManyTxs {
        /// Transactions of the block.
        found: u64,
        /// Transactions that may be.
        max: u64,
    },
    /// One transaction is too long.
    #[error("a transaction of {found} bytes, the chain allows {max}")]
    TxTooLong {
        /// Bytes of the longest.
        found: u64,
        /// Bytes that may be.
        max: u64,
    },
    /// All transactions together are too long.
    #[error("{found} bytes of transactions, the chain allows {max} in a block")]
    TxsTooLong {
        /// Bytes of the block.
        found: u64,
        /// Bytes that may be.
        max: u64,
    },
    /// The payload is another one than the header names.
    #[error("the header names payload {expected}, the payload's hash is {found}")]
    PayloadMismatch {
        /// What the header names.
        expected: PayloadHash,
        /// What the payload hashes to.
        found: PayloadHash,
    },
}

impl BlockError {
    /// A short stable name of the variant, for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownLane { .. } => "unknown_lane",
            Self::TooManyTxs { .. } => "too_many_txs",
            Self::TxTooLong { .. } => "tx_too_long",
            Self::TxsTooLong { .. } => "txs_too_long",
            Self::PayloadMismatch { .. } => "payload_mismatch",
        }
    }
}

/// A QC that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QcError {
    /// Not one range per lane.
    #[error("{found} lane ranges for a committee of {expected}")]
    LaneCount {
        /// Lanes of the committee.
        expected: usize,
        /// Ranges of the proposal.
        found: usize,
    },
    /// A range of a lane outside the committee.
    #[error("lane {lane} is not in the committee")]
    UnknownLane {
        /// The lane.
        lane: PublicKey,
    },
    /// Ranges in another order than the committee's, or one twice.
    #[error("the range of lane {found} stands where lane {expected} belongs")]
    LaneOrder {
        /// Lane of the committee at this place.
        expected: PublicKey,
        /// Lane of the range.
        found: PublicKey,
    },
    /// A range that ends before it starts.
    #[error("lane {lane}: the range starts at {first} and ends before {next}")]
    LaneBackwards {
        /// The lane.
        lane: PublicKey,
        /// Its first block.
        first: LaneBlockNumber,
        /// First block behind it.
        next: LaneBlockNumber,
    },
    /// Global numbers past the end of u64.
    #[error("global block numbers overflow at lane {lane}")]
    NumberOverflow {
        /// The lane at which they do.
        lane: PublicKey,
    },
    /// Timestamps of its blocks past the end of u64.
    #[error("timestamps of {blocks} blocks from {timestamp} overflow")]
    TimestampOverflow {
        /// Time of the proposal.
        timestamp: Timestamp,
        /// Blocks of the QC.
        blocks: usize,
    },
    /// It finalizes nothing.
    #[error("the QC covers no block")]
    Empty,
    /// It finalizes too much of one lane.
    #[error("lane {lane}: {found} blocks in one QC, the chain allows {max}")]
    LaneTooLong {
        /// The lane.
        lane: PublicKey,
        /// Blocks of it.
        found: u64,
        /// Blocks that may be.
        max: u64,
    },
    /// Not one header per block.
    #[error("{found} headers for {expected} blocks")]
    HeaderCount {
        /// Blocks of the range.
        expected: u64,
        /// Headers.
        found: usize,
    },
    /// A header of another lane or number than its place says.
    #[error(
        "header {position} is block {found_number} of lane {found_lane}, not block {number} of lane {lane}"
    )]
    HeaderPlace {
        /// Position among the headers.
        position: usize,
        /// Lane that belongs there.
        lane: PublicKey,
        /// Number that belongs there.
        number: LaneBlockNumber,
        /// Lane of the header.
        found_lane: PublicKey,
        /// Number of the header.
        found_number: LaneBlockNumber,
    },
    /// A header that its successor, or for the last one the range, does not name.
    #[error("header {position} hashes to {found}, what follows in lane {lane} names {expected}")]
    HeaderChain {
        /// Position among the headers.
        position: usize,
        /// The lane.
        lane: PublicKey,
        /// Hash that is named.
        expected: HeaderHash,
        /// Hash of the header.
        found: HeaderHash,
    },
    /// Too few signatures.
    #[error("{found} signatures, the quorum is {needed}")]
    NoQuorum {
        /// Signatures.
        found: usize,
        /// Signatures that are needed.
        needed: usize,
    },
    /// The same signer twice.
    #[error("{signer} signed twice")]
    DuplicateSigner {
        /// The signer.
        signer: PublicKey,
    },
    /// Signatures that do not ascend by signer.
    #[error("signature {position} is out of order, of {signer}")]
    SignerOrder {
        /// Position among the signatures.
        position: usize,
        /// The signer.
        signer: PublicKey,
    },
    /// A signer outside the committee.
    #[error("signer {signer} is not in the committee")]
    UnknownSigner {
        /// The signer.
        signer: PublicKey,
    },
    /// A signature that is not one of this vote.
    #[error("the signature of {signer} is not one of this vote")]
    InvalidSignature {
        /// The first such signer.
        signer: PublicKey,
    },
}

impl QcError {
    /// A short stable name of the variant, for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::LaneCount { .. } => "lane_count",
            Self::UnknownLane { .. } => "unknown_lane",
            Self::LaneOrder { .. } => "lane_order",
            Self::LaneBackwards { .. } => "lane_backwards",
            Self::NumberOverflow { .. } => "number_overflow",
            Self::TimestampOverflow { .. } => "timestamp_overflow",
            Self::Empty => "empty",
            Self::LaneTooLong { .. } => "lane_too_long",
            Self::HeaderCount { .. } => "header_count",
            Self::HeaderPlace { .. } => "header_place",
            Self::HeaderChain { .. } => "header_chain",
            Self::NoQuorum { .. } => "no_quorum",
            Self::DuplicateSigner { .. } => "duplicate_signer",
            Self::SignerOrder { .. } => "signer_order",
            Self::UnknownSigner { .. } => "unknown_signer",
            Self::InvalidSignature { .. } => "invalid_signature",
        }
    }
}

/// A block that is not the one a QC finalizes at a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// The QC does not cover the number.
    #[error("block {number} is outside of the QC's range [{first}, {next})")]
    OutsideRange {
        /// The number.
        number: BlockNumber,
        /// First number of the QC.
        first: BlockNumber,
        /// First number behind it.
        next: BlockNumber,
    },
    /// Another block is finalized there.
    #[error("block {number} is finalized with header {expected}, found {found}")]
    HeaderMismatch {
        /// The number.
        number: BlockNumber,
        /// Hash of the finalized header.
        expected: HeaderHash,
        /// Hash of the block's header.
        found: HeaderHash,
    },
}

impl MatchError {
    /// A short stable name of the variant, for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::OutsideRange { .. } => "outside_range",
            Self::HeaderMismatch { .. } => "hash_mismatch",
        }
    }
}
