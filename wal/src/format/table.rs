//! The table of a segment: where each of its entries is, in pages that are read one at a time and never held.
//!
//! ```text
//! entry pages    170 records each, by index:   offset u64, key u64, digest u64
//! digest pages   255 records each, by digest:  digest u64, index u64     (entries with digest 0 are left out)
//! ```
//!
//! A table may name more entries than its segment keeps: a cut inside a sealed segment leaves the table as it is, and
//! the successor's header says where the segment ends.

use super::page::{self, BODY, BODY_BYTES, PageFault};
use super::{PAGE, PAGE_BYTES, get_u64, put_u64};
use crate::buffer::AlignedBuffer;

const ENTRY_MAGIC: &[u8; 8] = b"RBWENTRY";
const DIGEST_MAGIC: &[u8; 8] = b"RBWDIGST";
const ENTRY_BYTES: usize = 24;
const DIGEST_BYTES: usize = 16;
/// Records on an entry page.
pub(crate) const ENTRIES_A_PAGE: u64 = (BODY_BYTES / ENTRY_BYTES) as u64;
/// Records on a digest page.
pub(crate) const DIGESTS_A_PAGE: u64 = (BODY_BYTES / DIGEST_BYTES) as u64;

/// Where one entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Of its frame in the segment.
    pub(crate) offset: u64,
    pub(crate) key: u64,
    pub(crate) digest: u64,
}

/// Where a table is inside a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableSpan {
    /// Of its first page.
    pub(crate) offset: u64,
    /// Records on the entry pages.
    pub(crate) entries: u64,
    /// Records on the digest pages.
    pub(crate) digests: u64,
}

impl TableSpan {
    /// Bytes of all pages; saturates, so that a count read from disk can be judged before it is believed.
    pub(crate) fn bytes(&self) -> u64 {
        table_bytes(self.entries, self.digests)
    }

    /// The page that holds the record of the `nth` entry, and its place on the page.
    pub(crate) fn entry_page(&self, nth: u64) -> (u64, usize) {
        (self.offset + nth / ENTRIES_A_PAGE * PAGE, place(nth % ENTRIES_A_PAGE, ENTRY_BYTES))
    }

    /// The page that holds the `nth` digest, and its place on the page.
    pub(crate) fn digest_page(&self, nth: u64) -> (u64, usize) {
        let first = self.offset + self.entries.div_ceil(ENTRIES_A_PAGE) * PAGE;
        (first + nth / DIGESTS_A_PAGE * PAGE, place(nth % DIGESTS_A_PAGE, DIGEST_BYTES))
    }
}

fn place(nth: u64, bytes: usize) -> usize {
    BODY + usize::try_from(nth).unwrap_or(0) * bytes
}

/// Bytes of a table of so many records.
pub(crate) fn table_bytes(entries: u64, digests: u64) -> u64 {
    (entries.div_ceil(ENTRIES_A_PAGE).saturating_add(digests.div_ceil(DIGESTS_A_PAGE))).saturating_mul(PAGE)
}

/// Puts tables together. Keeps its memory: what a table of many small entries takes is not asked of the system anew each
/// time, page by page.
#[derive(Debug, Default)]
pub(crate) struct TableBuilder {
    /// Digest and index.
    digests: Vec<(u64, u64)>,
}

impl TableBuilder {
    /// Adds the pages of the table of a segment that starts at index `base` to `out`, whose end will be at `offset`.
    pub(crate) fn build(
        &mut self,
        records: impl Iterator<Item = Record>,
        base: u64,
        salt: u64,
        offset: u64,
        out: &mut AlignedBuffer,
    ) -> TableSpan {
        let digests = &mut self.digests;
        digests.clear();
        let mut entries = 0;
        let entry_places = records.map(|record| {
            if record.digest != 0 {
                digests.push((record.digest, base + entries));
            }
            entries += 1;
            let mut place = [0; ENTRY_BYTES];
            put_u64(&mut place, 0, record.offset);
            put_u64(&mut place, 8, record.key);
            put_u64(&mut place, 16, record.digest);
            place
        });
        let digests_at = add_pages(out, entry_places, ENTRY_MAGIC, salt, offset);
        digests.sort_unstable();
        let digest_places = digests.iter().map(|(digest, index)| {
            let mut place = [0; DIGEST_BYTES];
            put_u64(&mut place, 0, *digest);
            put_u64(&mut place, 8, *index);
            place
        });
        add_pages(out, digest_places, DIGEST_MAGIC, salt, digests_at);
        TableSpan { offset, entries, digests: self.digests.len() as u64 }
    }
}

/// Adds pages of records, of which the first is to be written at `offset`; answers where the next page would be.
fn add_pages<const BYTES: usize>(
    out: &mut AlignedBuffer,
    records: impl Iterator<Item = [u8; BYTES]>,
    magic: &[u8; 8],
    salt: u64,
    mut offset: u64,
) -> u64 {
    let mut records = records.peekable();
    while records.peek().is_some() {
        let page = out.extend(PAGE_BYTES);
        let mut end = BODY;
        for place in page[BODY..BODY + BODY_BYTES].chunks_exact_mut(BYTES) {
            let Some(record) = records.next() else {
                break;
            };
            place.copy_from_slice(&record);
            end += BYTES;
        }
        page[end..].fill(0);
        page::seal(page, magic, salt, offset);
        offset += PAGE;
    }
    offset
}

/// Checks an entry page.
pub(crate) fn check_entries(page: &[u8], salt: u64, offset: u64) -> Result<(), PageFault> {
    page::check(page, ENTRY_MAGIC, salt, offset)
}

/// The record at a place of [`TableSpan::entry_page`], of a page that was checked.
pub(crate) fn record_at(page: &[u8], at: usize) -> Record {
    Record { offset: get_u64(page, at), key: get_u64(page, at + 8), digest: get_u64(page, at + 16) }
}

/// Checks a digest page.
pub(crate) fn check_digests(page: &[u8], salt: u64, offset: u64) -> Result<(), PageFault> {
    page::check(page, DIGEST_MAGIC, salt, offset)
}

/// Digest and index at a place of [`TableSpan::digest_page`], of a page that was checked.
pub(crate) fn digest_at(page: &[u8], at: usize) -> (u64, u64) {
    (get_u64(page, at), get_u64(page, at + 8))
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers")]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_found_at_its_place() {
        let records: Vec<Record> = (0..1000)
            .map(|n| Record { offset: 4096 + n * 64, key: n, digest: if n % 3 == 0 { 0 } else { 5000 - n } })
            .collect();
        let (mut builder, mut bytes) = (TableBuilder::default(), AlignedBuffer::default());
        // Whatever the memory held before.
        bytes.extend(100_000).fill(0xff);
        builder.build(records.iter().copied(), 3, 5, 4096, &mut bytes);
        bytes.truncate(0);
        let span = builder.build(records.iter().copied(), 40, 77, 8192, &mut bytes);
        let bytes = bytes.bytes();
        assert_eq!(bytes.len() as u64, span.bytes());
        assert!(bytes[bytes.len() - 100..bytes.len() - 4].iter().all(|byte| *byte == 0));
        let page = |offset: u64| &bytes[(offset - 8192) as usize..][..PAGE_BYTES];
        for (nth, record) in records.iter().enumerate() {
            let (offset, at) = span.entry_page(nth as u64);
            assert_eq!(check_entries(page(offset), 77, offset), Ok(()));
            assert_eq!(record_at(page(offset), at), *record);
            assert!(check_entries(page(offset), 78, offset).is_err());
            assert!(check_digests(page(offset), 77, offset).is_err());
        }
        let mut last = (0, 0);
        for nth in 0..span.digests {
            let (offset, at) = span.digest_page(nth);
            assert_eq!(check_digests(page(offset), 77, offset), Ok(()));
            let found = digest_at(page(offset), at);
            assert!(found > last);
            assert_eq!(records[(found.1 - 40) as usize].digest, found.0);
            last = found;
        }
        assert_eq!(span.digests, 666);
    }

    #[test]
    fn absurd_counts_saturate() {
        assert_eq!(table_bytes(u64::MAX, u64::MAX), u64::MAX);
    }
}
