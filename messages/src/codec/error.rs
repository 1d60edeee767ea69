//! Why bytes are refused.

/// Bytes that encode no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than any message.
    #[error("{found} bytes, a message has at most {max}")]
    MessageTooLong {
        /// Bytes that were given.
        found: usize,
        /// Bytes that may be.
        max: usize,
    },
    /// A list claims more items than it may have.
    #[error("{list}: {found} items, at most {max} are allowed")]
    ListTooLong {
        /// Which list.
        list: &'static str,
        /// Items that it claims.
        found: usize,
        /// Items that it may have.
        max: usize,
    },
    /// The bytes end inside the value.
    #[error("the bytes end inside the value, at least {missing} more are needed")]
    UnexpectedEnd {
        /// Bytes that are missing at least.
        missing: usize,
    },
    /// A list claims more items than the rest of the bytes could hold.
    #[error("{list}: {items} items can not be in the bytes that are left")]
    ListBeyondEnd {
        /// Which list.
        list: &'static str,
        /// Items that it claims.
        items: usize,
    },
    /// The same key twice in a list.
    #[error("{list}: item {position} has the same key as the one before")]
    Duplicate {
        /// Which list.
        list: &'static str,
        /// Position of the second.
        position: usize,
    },
    /// A list out of order.
    #[error("{list}: item {position} is out of order")]
    OutOfOrder {
        /// Which list.
        list: &'static str,
        /// Position of the item that should have come earlier.
        position: usize,
    },
    /// Transactions that together are longer than any block.
    #[error("{found} bytes of transactions, at most {max} are allowed")]
    TxBytesTooLong {
        /// Bytes that are claimed.
        found: usize,
        /// Bytes that may be.
        max: usize,
    },
    /// Transactions that are longer than the rest of the bytes.
    #[error("{claimed} bytes of transactions are not in the bytes that are left")]
    TxBytesBeyondEnd {
        /// Bytes that are claimed.
        claimed: usize,
    },
    /// An option's tag that is neither 0 nor 1.
    #[error("{found} is no tag of an option")]
    InvalidTag {
        /// The tag.
        found: u32,
    },
    /// Bytes behind the value.
    #[error("{count} bytes are left behind the value")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// Anything else that the library refuses.
    #[error("malformed: {0}")]
    Malformed(String),
}

impl DecodeError {
    /// A short stable name of the variant, for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MessageTooLong { .. } => "message_too_long",
            Self::ListTooLong { .. } => "list_too_long",
            Self::UnexpectedEnd { .. } => "unexpected_end",
            Self::ListBeyondEnd { .. } => "list_beyond_end",
            Self::Duplicate { .. } => "duplicate",
            Self::OutOfOrder { .. } => "out_of_order",
            Self::TxBytesTooLong { .. } => "tx_bytes_too_long",
            Self::TxBytesBeyondEnd { .. } => "tx_bytes_beyond_end",
            Self::InvalidTag { .. } => "invalid_tag",
            Self::TrailingBytes { .. } => "trailing_bytes",
            Self::Malformed(_) => "malformed",
        }
    }
}

impl From<bincode::error::DecodeError> for DecodeError {
    fn from(error: bincode::error::DecodeError) -> Self {
        match error {
            bincode::error::DecodeError::UnexpectedEnd { additional } => {
                Self::UnexpectedEnd { missing: additional }
            }
            bincode::error::DecodeError::UnexpectedVariant { found, .. } => Self::InvalidTag { found },
            other => Self::Malformed(other.to_string()),
        }
    }
}

/// A value that was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The buffer is too short.
    #[error("the encoding needs {needed} bytes, the buffer has {available}")]
    BufferTooShort {
        /// Length of the encoding.
        needed: usize,
        /// Length of the buffer.
        available: usize,
    },
}
