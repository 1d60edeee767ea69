//! The record of the end: where the log had ended when it was last closed or idle.
//!
//! It stands in a file of its own, so that what cuts the last segment short, or takes it away, does not take the evidence
//! along. Two slots of a page each are written by turns. Every sound record is true for good: the end of a segment only
//! moves down when a later segment is published, so that neither a crash nor an old record can accuse a sound log. A slot
//! that does not validate (torn, never written) says nothing.

use super::header::StreamId;
use super::page::{self, BODY};
use super::{FORMAT_VERSION, PAGE, PAGE_BYTES, READER_VERSION_MIN};
use super::{get_u32, get_u64, put_u32, put_u64};

const MAGIC: &[u8; 8] = b"RBWALEND";
const FORMAT: usize = BODY;
const READER_MIN: usize = FORMAT + 4;
const CHAIN: usize = READER_MIN + 4;
const STREAM_KIND: usize = CHAIN + 32;
const SEQUENCE: usize = STREAM_KIND + 8;
const SALT: usize = SEQUENCE + 8;
const END_OFFSET: usize = SALT + 8;
const END_INDEX: usize = END_OFFSET + 8;
const END: usize = END_INDEX + 8;
const _: () = assert!(END <= page::CRC);

/// Slots in the file.
pub(crate) const SLOTS: u64 = 2;
/// Its length in bytes.
pub(crate) const FILE_BYTES: usize = 2 * PAGE_BYTES;

/// Where the log had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndRecord {
    pub(crate) stream: StreamId,
    /// Of the last segment.
    pub(crate) sequence: u64,
    /// Of the last segment.
    pub(crate) salt: u64,
    /// Everything of the last segment below was durable.
    pub(crate) end_offset: u64,
    /// The index after the last entry.
    pub(crate) end_index: u64,
}

impl EndRecord {
    /// The record as a page of a slot.
    pub(crate) fn encode(&self, slot: u64) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        put_u32(&mut page, FORMAT, FORMAT_VERSION);
        put_u32(&mut page, READER_MIN, READER_VERSION_MIN);
        page[CHAIN..STREAM_KIND].copy_from_slice(&self.stream.chain);
        page[STREAM_KIND..SEQUENCE].copy_from_slice(&self.stream.kind);
        put_u64(&mut page, SEQUENCE, self.sequence);
        put_u64(&mut page, SALT, self.salt);
        put_u64(&mut page, END_OFFSET, self.end_offset);
        put_u64(&mut page, END_INDEX, self.end_index);
        page::seal(&mut page, MAGIC, 0, slot * PAGE);
        page
    }

    /// The record of a slot; none where it says nothing, or nothing that this version understands.
    fn decode(page: &[u8], slot: u64) -> Option<Self> {
        page::check(page, MAGIC, 0, slot * PAGE).ok()?;
        if get_u32(page, READER_MIN) > FORMAT_VERSION {
            return None;
        }
        let mut stream = StreamId { chain: [0; 32], kind: [0; 8] };
        stream.chain.copy_from_slice(&page[CHAIN..STREAM_KIND]);
        stream.kind.copy_from_slice(&page[STREAM_KIND..SEQUENCE]);
        Some(Self {
            stream,
            sequence: get_u64(page, SEQUENCE),
            salt: get_u64(page, SALT),
            end_offset: get_u64(page, END_OFFSET),
            end_index: get_u64(page, END_INDEX),
        })
    }

    /// The records of a file of which `bytes` could be read, with their slots, the one that says the most last.
    pub(crate) fn decode_all(bytes: &[u8]) -> Vec<(u64, Self)> {
        let slots = (0..SLOTS).zip(bytes.chunks_exact(PAGE_BYTES));
        let mut records: Vec<_> =
            slots.filter_map(|(slot, page)| Some((slot, Self::decode(page, slot)?))).collect();
        records.sort_unstable_by_key(|(_, record)| (record.sequence, record.end_offset));
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sequence: u64) -> EndRecord {
        let stream = StreamId { chain: [3; 32], kind: *b"blocks\0\0" };
        EndRecord { stream, sequence, salt: 77, end_offset: 8192, end_index: 12 }
    }

    #[test]
    fn the_record_that_says_the_most_comes_last_and_a_torn_one_says_nothing() {
        let mut bytes = [sample(9).encode(0), sample(8).encode(1)].concat();
        assert_eq!(bytes.len(), FILE_BYTES);
        assert_eq!(EndRecord::decode_all(&bytes), [(1, sample(8)), (0, sample(9))]);
        bytes[600] ^= 1;
        assert_eq!(EndRecord::decode_all(&bytes), [(1, sample(8))]);
        bytes.rotate_left(PAGE_BYTES);
        assert_eq!(EndRecord::decode_all(&bytes), [], "each in its own slot only");
        assert_eq!(EndRecord::decode_all(&[0; 100]), []);
    }
    #[test]
    fn a_record_for_a_newer_version_says_nothing() {
        for (reader_min, read) in [(FORMAT_VERSION, 1), (FORMAT_VERSION + 1, 0)] {
            let mut bytes = sample(9).encode(0);
            put_u32(&mut bytes, READER_MIN, reader_min);
            page::seal(&mut bytes, MAGIC, 0, 0);
            assert_eq!(EndRecord::decode_all(&bytes).len(), read, "{reader_min}");
        }
    }
}
