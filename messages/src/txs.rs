//! The transactions of a block in two buffers, whatever their number.

use std::fmt;

/// Transactions, flattened: all bytes in one buffer, and where each one ends.
///
/// Decoding allocates twice, not once a transaction, and hashing and encoding run over one buffer.
///
/// ```
/// use roadbed_messages::Txs;
///
/// let txs: Txs = [b"pay".as_slice(), b"", b"vote"].into_iter().collect();
/// assert_eq!(txs.len(), 3);
/// assert_eq!(txs.total_bytes(), 7);
/// assert_eq!(txs.iter().last(), Some(b"vote".as_slice()));
/// ```
// Invariant: `ends` never descends, and its last entry, or 0, is `data.len()`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Txs {
    data: Vec<u8>,
    ends: Vec<u32>,
}

/// No further transaction fits: offsets are 32 bits wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a transaction of {tx_bytes} bytes does not fit behind {total_bytes} bytes: at most {} in one block",
    u32::MAX
)]
pub struct TxsFull {
    /// Bytes that are there.
    pub total_bytes: usize,
    /// Bytes of the one that was refused.
    pub tx_bytes: usize,
}

impl Txs {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { data: Vec::new(), ends: Vec::new() }
    }

    /// None, with room for `txs` of `total_bytes` together.
    #[must_use]
    pub fn with_capacity(txs: usize, total_bytes: usize) -> Self {
        Self { data: Vec::with_capacity(total_bytes), ends: Vec::with_capacity(txs) }
    }

    /// Appends one transaction.
    ///
    /// # Errors
    /// When all bytes together would pass `u32::MAX`; nothing is appended then.
    pub fn push(&mut self, tx: &[u8]) -> Result<(), TxsFull> {
        let full = TxsFull { total_bytes: self.data.len(), tx_bytes: tx.len() };
        let end = self.data.len().checked_add(tx.len()).ok_or(full)?;
        let end = u32::try_from(end).map_err(|_| full)?;
        self.data.extend_from_slice(tx);
        self.ends.push(end);
        Ok(())
    }

    /// From both buffers; `None` unless they belong together.
    #[must_use]
    pub fn from_parts(data: Vec<u8>, ends: Vec<u32>) -> Option<Self> {
        let last = ends.last().map_or(0, |end| *end as usize);
        (ends.is_sorted() && last == data.len()).then_some(Self { data, ends })
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all together.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.data.len()
    }

    /// Bytes of the longest, 0 without any.
    #[must_use]
    pub fn longest_bytes(&self) -> usize {
        self.iter().map(<[u8]>::len).max().unwrap_or(0)
    }

    /// The one at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.data[start..end])
    }

    /// All in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let tx = &self.data[start..*end as usize];
            start = *end as usize;
            tx
        })
    }

    /// All bytes, one transaction behind the other.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Where in [`data`](Self::data) each one ends.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Txs {
    /// # Panics
    /// When all bytes together pass `u32::MAX`, which is 256 times what a block may hold; [`Txs::push`] errs
    /// instead.
    fn from_iter<I: IntoIterator<Item = T>>(txs: I) -> Self {
        txs.into_iter().fold(Self::new(), |mut all, tx| {
            if let Err(full) = all.push(tx.as_ref()) {
                panic!("{full}");
            }
            all
        })
    }
}

impl From<Vec<Vec<u8>>> for Txs {
    /// # Panics
    /// As `from_iter`.
    fn from(txs: Vec<Vec<u8>>) -> Self {
        txs.into_iter().collect()
    }
}

impl fmt::Debug for Txs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Txs").field("len", &self.len()).field("total_bytes", &self.total_bytes()).finish()
    }
}
