//! Bytes on disk: pure encoding and decoding, no I/O.
//!
//! ```text
//! segment file
//! ├─ page 0            header: who, where from, salt              (header.rs)
//! ├─ pages             the predecessor's table, when a cut or a repair left it without a footer (table.rs)
//! ├─ groups            frames, each group from a page boundary on (frame.rs)
//! └─ footer            one summary page, then the table           (footer.rs, table.rs)
//!
//! file END             two slots of a page each: where the log had ended            (end.rs)
//! ```
//!
//! All numbers are little-endian. `docs/wal-format.md` is the description for people.

pub(crate) mod end;
pub(crate) mod footer;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod page;
pub(crate) mod table;

/// The unit of writes: groups, headers and tables start on its multiples, so that a torn write never touches a sector
/// that holds something durable.
pub(crate) const PAGE_BYTES: usize = 4096;
/// [`PAGE_BYTES`] for offsets.
pub(crate) const PAGE: u64 = PAGE_BYTES as u64;
/// The version that this crate writes.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// The lowest version that can read what this crate writes.
pub(crate) const READER_VERSION_MIN: u32 = 1;
/// Required features that this crate knows: none so far.
pub(crate) const FEATURES_KNOWN: u64 = 0;

/// CRC32C of one run of bytes.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Copies and checksums in one pass, piece by piece: half the time of one after the other. The checksum is that of the
/// source, which is in the nearest cache then: the lines of the destination may still be on their way from another core
/// or from memory, and are not waited for.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn copy_crc32c(to: &mut [u8], from: &[u8]) -> u32 {
    const PIECE_BYTES: usize = 16 << 10;
    assert_eq!(to.len(), from.len());
    if from.len() <= PIECE_BYTES {
        to.copy_from_slice(from);
        return crc32c(from);
    }
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    for (to, from) in to.chunks_mut(PIECE_BYTES).zip(from.chunks(PIECE_BYTES)) {
        to.copy_from_slice(from);
        digest.update(from);
    }
    low_u32(digest.finalize())
}

/// CRC32C over several runs of bytes, as if they were one.
pub(crate) fn crc32c_of(parts: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    low_u32(digest.finalize())
}

fn low_u32(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
}

/// The first page boundary at or above `offset`; saturates at the last one.
pub(crate) fn page_ceil(offset: u64) -> u64 {
    offset.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX - (PAGE - 1))
}

/// Reads a number at a fixed place.
///
/// # Panics
/// When `bytes` is shorter than the place: callers pass whole pages or headers.
pub(crate) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

/// Reads a number at a fixed place; panics like [`get_u64`].
pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

/// Writes a number at a fixed place; panics like [`get_u64`].
pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Writes a number at a fixed place; panics like [`get_u64`].
pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_has_the_published_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c_of(&[b"1234", b"", b"56789"]), 0xe306_9283);
    }

    #[test]
    fn copying_checksums_what_it_copies() {
        for len in [0, 1, 1000, 16 << 10, (16 << 10) + 1, 100_000] {
            let from: Vec<u8> = (0..len).map(|n: usize| n.to_le_bytes()[0]).collect();
            let mut to = vec![0; len];
            assert_eq!(copy_crc32c(&mut to, &from), crc32c(&from));
            assert_eq!(to, from);
        }
    }

    #[test]
    fn page_ceil_reaches_the_next_boundary() {
        assert_eq!(
            [page_ceil(0), page_ceil(1), page_ceil(PAGE), page_ceil(PAGE + 1)],
            [0, PAGE, PAGE, 2 * PAGE]
        );
        assert_eq!(page_ceil(u64::MAX) % PAGE, 0);
    }
}
