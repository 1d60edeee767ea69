//! Settings of a log. Wrong combinations are refused, never corrected.

use crate::error::WalError;
use crate::format::PAGE;
pub use crate::format::header::StreamId;

/// Settings of a log. Start from [`LogOptions::new`]; fields can be set before the log is opened.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Which log this is: a directory of another one is refused.
    pub stream: StreamId,
    /// Bytes of a segment. Default 64 MiB; at least 32 KiB, a multiple of 4 KiB. A larger entry gets a segment of its
    /// own size. May differ from one opening to the next.
    pub segment_bytes: u64,
    /// Bytes of the largest entry: nothing larger is taken, nor allocated when a length is read. Default 64 MiB.
    pub entry_bytes_max: u32,
    /// Bytes after which a group is closed and the next one begun. Default 8 MiB.
    pub group_bytes_max: u64,
    /// Bytes that may wait for [`crate::Log::sync`]; an append beyond them syncs first. Default 64 MiB.
    pub pending_bytes_max: u64,
    /// Bytes of a group after which they are written while the rest is still being appended, and again after so many
    /// more: several writes in flight, by threads of the log's own, with direct writes only. 0: never. Default 512 KiB.
    pub ahead_bytes: u64,
    /// Segments that are kept ready, at least 1: the last one is a reserve that only a cut, a repair and a trim mark may
    /// take, so that they go through on a full disk. Others are made only while four segments more are free. Default 4.
    pub pool_segments: usize,
    /// Bytes of the file system that an ordinary new segment must leave free: with less, the disk counts as full before
    /// it is. What is in the pool already may be used. Default 0.
    pub keep_free_bytes: u64,
    /// Whether to write past the page cache (`O_DIRECT` and `O_DSYNC`) where the file system can; otherwise, and where
    /// it can't, each group is a plain write and an fdatasync. Default true.
    pub direct_io: bool,
    /// Segments whose files are kept open for reading, at least 1. Default 64.
    pub open_files_max: usize,
    /// Refuse to open a log that ends below this index: what the caller knows to have been durable from elsewhere.
    /// Default none.
    pub require_at_least: Option<u64>,
}

impl LogOptions {
    /// The defaults for a stream.
    #[must_use]
    pub fn new(stream: StreamId) -> Self {
        Self {
            stream,
            segment_bytes: 64 << 20,
            entry_bytes_max: 64 << 20,
            group_bytes_max: 8 << 20,
            pending_bytes_max: 64 << 20,
            ahead_bytes: 512 << 10,
            pool_segments: 4,
            keep_free_bytes: 0,
            direct_io: true,
            open_files_max: 64,
            require_at_least: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), WalError> {
        let refuse = |name, reason: &str| Err(WalError::Options { name, reason: reason.to_owned() });
        if self.segment_bytes < 8 * PAGE || !self.segment_bytes.is_multiple_of(PAGE) {
            return refuse("segment_bytes", "at least 32 KiB, and a multiple of 4 KiB");
        }
        if self.segment_bytes > 1 << 40 {
            return refuse("segment_bytes", "at most 1 TiB");
        }
        if self.entry_bytes_max == 0 || self.entry_bytes_max > 1 << 30 {
            return refuse("entry_bytes_max", "from 1 byte to 1 GiB");
        }
        if self.group_bytes_max < PAGE || self.pending_bytes_max < self.group_bytes_max {
            return refuse("group_bytes_max", "at least 4 KiB, and not above pending_bytes_max");
        }
        if (1..PAGE).contains(&self.ahead_bytes) {
            return refuse("ahead_bytes", "0, or at least 4 KiB: parts of a group are whole pages");
        }
        if self.pool_segments == 0 {
            return refuse("pool_segments", "at least 1: the reserve");
        }
        if self.open_files_max == 0 {
            return refuse("open_files_max", "at least 1");
        }
        Ok(())
    }
}
