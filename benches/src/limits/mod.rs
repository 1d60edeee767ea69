//! What the machine can do, with nothing of ours in the way.
//!
//! - [`RawFile`]: durable writes in the fastest way there is: into space that was written before, past the page cache,
//!   each durable when it returns; no framing, no checksum, one in flight.
//! - `WritePair`: two of them at once, for what two logs do in parallel.
//! - `hash`, `verify`, `verify_in_full`: SHA-256, ed25519, and both by the same threads, on all cores.
//! - `read_all`: pread and CRC32C.

mod aligned;
mod cores;
mod pair;
mod raw_file;
mod reading;
mod work;

pub use aligned::noise;
pub(crate) use pair::WritePair;
pub use raw_file::RawFile;
pub(crate) use raw_file::write_both;
pub use reading::{Piece, read_in_order};
pub(crate) use reading::{RandomReads, drop_cache, files_of, read_all};
pub(crate) use work::{hash, signatures_of, verify, verify_in_full, verify_one_batch, verify_singly};

/// Direct writes start and end on multiples of this.
pub const PAGE_BYTES: usize = 4096;

/// The bytes that a direct write of `bytes` takes.
pub fn page_ceil(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE_BYTES as u64)
}
