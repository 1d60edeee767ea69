//! A write-ahead log: segmented, checksummed, group-committing. It knows bytes, indices and keys; no actors, no runtime.
//!
//! What it promises:
//!
//! 1. What [`Log::sync`] or [`Log::settle`] acknowledged is there after a crash, byte for byte; entries come back contiguous and in order;
//!    what was cut never comes back. A group is not atomic: any prefix of it may come back.
//! 2. A torn tail is repaired by itself and reported ([`Facts::torn_bytes`]). Damage to what had been durable is never
//!    repaired in silence: opening refuses.
//! 3. There is never a second writer; the log of another chain, of another kind or of a newer format is refused before
//!    anything is written.
//! 4. A length read from disk is never trusted before its checksum, and never above the cap.
//! 5. Opening costs O(segments) and the last segment; memory does not grow with what is retained.

// The README's example is compiled and run like any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod buffer;
mod entry;
mod error;
mod format;
mod judge;
mod log;
mod names;
mod options;
mod pending;
mod pool;
mod publish;
mod reader;
mod replay;
mod replay_parallel;
mod scan;
mod segment;
mod shared;
#[cfg(feature = "sim")]
pub mod sim;
mod storage;
mod survey;
mod table_search;
mod verify;
mod writer;

pub use entry::{Appended, Entry, EntryRef, StoredEntry};
pub use error::WalError;
pub use judge::{Facts, Judged};
pub use log::Log;
pub use options::{LogOptions, StreamId};
pub use reader::Reader;
pub use replay::Replay;
pub use replay_parallel::ParallelReplay;
pub use segment::SegmentInfo;
pub use storage::{FileSystem, Listed, LockFault, LockGuard, OpenMode, Storage, StorageFile, SyncPoint};
pub use survey::{Surveyed, salt_of, survey};
pub use verify::{
    Inspected, InspectedHeader, Report, SegmentOrigin, VerifiedSegment, inspect, verify, verify_each,
};
