//! Readers: concurrent with the writer, of durable entries only.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::entry::{EntryRef, StoredEntry};
use crate::error::WalError;
use crate::replay::Replay;
use crate::replay_parallel::ParallelReplay;
use crate::segment::{Handles, SegmentInfo};
use crate::shared::Shared;

/// Reads durable, retained entries, each with its checksum checked. Clones share everything; reads never wait for the
/// writer's disk operations, and a segment is not recycled while one of them is in it. They outlive the log: where the
/// next one in this process is told of them ([`crate::Judged::after`]), they go on reading beside it.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn handles(&self) -> &Handles {
        &self.shared.handles
    }

    /// The indices that are retained and durable.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.shared.range()
    }

    /// The entry of an index; none outside of [`Reader::range`].
    ///
    /// # Errors
    /// Damage, or what the storage says.
    pub fn get(&self, index: u64) -> Result<Option<StoredEntry>, WalError> {
        match self.shared.place(index)? {
            Some(place) => self.shared.read_entry(&place, index).map(Some),
            None => Ok(None),
        }
    }

    /// The index of the first entry whose key is greater than `key`, without reading the entry.
    ///
    /// # Errors
    /// Damage, or what the storage says.
    pub fn index_by_key(&self, key: u64) -> Result<Option<u64>, WalError> {
        self.shared.index_by_key(key)
    }

    /// The first entry whose key is greater than `key`.
    ///
    /// # Errors
    /// Damage, or what the storage says.
    pub fn get_by_key(&self, key: u64) -> Result<Option<StoredEntry>, WalError> {
        while let Some(index) = self.index_by_key(key)? {
            // Gone in between: the front has moved, and another entry is the first.
            if let Some(entry) = self.get(index)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The indices of entries with this digest, oldest first; digest 0 finds nothing.
    ///
    /// # Errors
    /// Damage, or what the storage says.
    pub fn find_digest(&self, digest: u64) -> Result<Vec<u64>, WalError> {
        self.shared.find_digest(digest)
    }

    /// Streams the entries of a range in order, as far as they are retained and durable when they are reached. Ends
    /// after the first error; [`WalError::OutOfRange`] when the front was truncated past the stream.
    pub fn replay(&self, range: Range<u64>) -> Replay {
        Replay::new(self.shared.clone(), range)
    }

    /// Visits the entries of a range in order without copying them, as far as they are retained and durable, until the
    /// visitor breaks. Answers the index after the last entry that was visited.
    ///
    /// # Errors
    /// Damage, what the storage says, or [`WalError::OutOfRange`] when the front was truncated past the visit.
    pub fn visit(
        &self,
        range: Range<u64>,
        visitor: impl FnMut(EntryRef<'_>) -> ControlFlow<()>,
    ) -> Result<u64, WalError> {
        crate::replay::visit(&self.shared, range, visitor)
    }

    /// Like [`Reader::replay`], on so many threads (at least one): reading, checking and `map` run beside each other, and
    /// the results come in order. At most about 4 MiB a thread, and no less than two entries, are read ahead.
    ///
    /// # Panics
    /// When `map` panics, in the thread that takes the results.
    pub fn replay_parallel<T: Send + 'static>(
        &self,
        range: Range<u64>,
        threads: usize,
        map: impl Fn(StoredEntry) -> T + Send + Sync + 'static,
    ) -> ParallelReplay<T> {
        ParallelReplay::new(&self.shared, range, threads, map)
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.segments()
    }
}
