//! The footer of a segment: a summary page, then the table.
//!
//! It stands where the next group would. A segment that is rolled keeps it for good; that of a clean close is
//! overwritten when the log goes on in the same segment, page by page from the summary on: what remains of its table
//! can never be taken for frames.

use super::page::{self, BODY, PageFault};
use super::table::{self, Record, TableBuilder, TableSpan};
use super::{PAGE, PAGE_BYTES, get_u32, get_u64, put_u32, put_u64};
use crate::buffer::AlignedBuffer;

const MAGIC: &[u8; 8] = b"RBWFOOTR";
const KIND: usize = BODY;
const TAIL: usize = KIND + 4;
const END_INDEX: usize = TAIL + 4;
const LAST_KEY: usize = END_INDEX + 8;
const ENTRIES: usize = LAST_KEY + 8;
const DIGESTS: usize = ENTRIES + 8;
const END: usize = DIGESTS + 8;
const _: () = assert!(END <= page::CRC);

/// Why a footer was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FooterKind {
    /// The segment was full.
    Roll = 1,
    /// The log was closed.
    Close = 2,
}

/// The summary page, decoded. It proves that everything below its own offset had been durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) kind: FooterKind,
    /// The header checksum of the last frame before it; 0 without one.
    pub(crate) tail: u32,
    pub(crate) end_index: u64,
    pub(crate) last_key: u64,
    pub(crate) table: TableSpan,
}

/// Bytes of a footer of so many entries, each with a digest.
pub(crate) fn footer_bytes_max(entries: u64) -> u64 {
    PAGE + table::table_bytes(entries, entries)
}

/// What the segment amounts to where its footer is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) kind: FooterKind,
    pub(crate) tail: u32,
    pub(crate) base_index: u64,
    pub(crate) last_key: u64,
}

/// Adds the footer's pages, to be written at `offset`, to `out`, which is empty.
pub(crate) fn build(
    summary: Summary,
    records: impl Iterator<Item = Record>,
    salt: u64,
    offset: u64,
    builder: &mut TableBuilder,
    out: &mut AlignedBuffer,
) -> Footer {
    out.extend(PAGE_BYTES).fill(0);
    let table = builder.build(records, summary.base_index, salt, offset + PAGE, out);
    let footer = Footer {
        kind: summary.kind,
        tail: summary.tail,
        end_index: summary.base_index + table.entries,
        last_key: summary.last_key,
        table,
    };
    let page = &mut out.bytes_mut()[..PAGE_BYTES];
    put_u32(page, KIND, footer.kind as u32);
    put_u32(page, TAIL, footer.tail);
    put_u64(page, END_INDEX, footer.end_index);
    put_u64(page, LAST_KEY, footer.last_key);
    put_u64(page, ENTRIES, table.entries);
    put_u64(page, DIGESTS, table.digests);
    page::seal(page, MAGIC, salt, offset);
    footer
}

/// Checks and decodes a summary page.
pub(crate) fn decode(page: &[u8], salt: u64, offset: u64) -> Result<Footer, PageFault> {
    page::check(page, MAGIC, salt, offset)?;
    let kind =
        if get_u32(page, KIND) == FooterKind::Close as u32 { FooterKind::Close } else { FooterKind::Roll };
    Ok(Footer {
        kind,
        tail: get_u32(page, TAIL),
        end_index: get_u64(page, END_INDEX),
        last_key: get_u64(page, LAST_KEY),
        table: TableSpan {
            offset: offset + PAGE,
            entries: get_u64(page, ENTRIES),
            digests: get_u64(page, DIGESTS),
        },
    })
}

/// Like [`decode`], for a search over many pages: most are told by their first bytes.
pub(crate) fn decode_quick(page: &[u8], salt: u64, offset: u64) -> Option<Footer> {
    if page.starts_with(MAGIC) { decode(page, salt, offset).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_comes_back_as_it_was_written() {
        let records: Vec<Record> = (0..400).map(|n| Record { offset: n * 8, key: n, digest: n }).collect();
        let summary = Summary { kind: FooterKind::Close, tail: 6, base_index: 10, last_key: 399 };
        let (mut builder, mut bytes) = (TableBuilder::default(), AlignedBuffer::default());
        let footer = build(summary, records.iter().copied(), 3, 8192, &mut builder, &mut bytes);
        let bytes = bytes.bytes();
        assert_eq!(footer.end_index, 410);
        assert_eq!(footer.table, TableSpan { offset: 12288, entries: 400, digests: 399 });
        assert_eq!(decode(&bytes[..PAGE_BYTES], 3, 8192), Ok(footer));
        assert!(decode(&bytes[..PAGE_BYTES], 4, 8192).is_err());
        assert_eq!(decode_quick(&bytes[..PAGE_BYTES], 3, 8192), Some(footer));
        assert_eq!(decode_quick(&bytes[..PAGE_BYTES], 4, 8192), None);
        assert!(bytes.len() as u64 <= footer_bytes_max(400));
    }
}
