//! The first page of a segment: whose it is, where it starts, and where its predecessor ends.
//!
//! The successor's header is what ends a segment: a roll, a cut, a reset and the repair of a torn tail are all the
//! publication of one such page, atomic at a rename.

use super::page::{self, BODY, PageFault};
use super::table::TableSpan;
use super::{FEATURES_KNOWN, FORMAT_VERSION, PAGE, PAGE_BYTES, READER_VERSION_MIN};
use super::{get_u32, get_u64, put_u32, put_u64};

/// What every segment of this crate starts with, whatever its version.
pub(crate) const MAGIC: &[u8; 8] = b"RBWALSEG";

const FORMAT: usize = BODY;
const READER_MIN: usize = FORMAT + 4;
const FEATURES: usize = READER_MIN + 4;
const CHAIN: usize = FEATURES + 8;
const STREAM_KIND: usize = CHAIN + 32;
const SALT: usize = STREAM_KIND + 8;
const SEQUENCE: usize = SALT + 8;
const KIND: usize = SEQUENCE + 8;
const FLAGS: usize = KIND + 4;
const BASE_INDEX: usize = FLAGS + 4;
const TRIM_INDEX: usize = BASE_INDEX + 8;
const FRAMES_OFFSET: usize = TRIM_INDEX + 8;
const PRED_SEQUENCE: usize = FRAMES_OFFSET + 8;
const PRED_SALT: usize = PRED_SEQUENCE + 8;
const PRED_END_OFFSET: usize = PRED_SALT + 8;
const PRED_END_INDEX: usize = PRED_END_OFFSET + 8;
const PRED_LAST_KEY: usize = PRED_END_INDEX + 8;
const PRED_TAIL: usize = PRED_LAST_KEY + 8;
const PRED_TABLE_PLACE: usize = PRED_TAIL + 4;
const PRED_TABLE_OFFSET: usize = PRED_TABLE_PLACE + 4;
const PRED_TABLE_ENTRIES: usize = PRED_TABLE_OFFSET + 8;
const PRED_TABLE_DIGESTS: usize = PRED_TABLE_ENTRIES + 8;
/// Since format version 2; zero before.
const PREPARED_BYTES: usize = PRED_TABLE_DIGESTS + 8;
const END: usize = PREPARED_BYTES + 8;
const _: () = assert!(END <= page::CRC);

const FLAG_USED: u32 = 1;

/// Which log a segment belongs to: a chain's and of a kind, so that no log is ever opened in the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId {
    /// The chain's identity, for example a hash of its genesis.
    pub chain: [u8; 32],
    /// The kind of log, for example `*b"qcs\0\0\0\0\0"`.
    pub kind: [u8; 8],
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "kind \"{}\" of chain ", self.kind.escape_ascii())?;
        self.chain.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "…")
    }
}

/// Why a segment was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// The first of a log.
    Create = 1,
    /// Its predecessor was full.
    Roll = 2,
    /// Its predecessor ends earlier than it did: a tail was cut off, or a torn one was repaired.
    Cut = 3,
    /// Nothing before it counts.
    Reset = 4,
}

/// Where the table of the predecessor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TablePlace {
    /// It has no entries.
    None,
    /// In the predecessor's own footer.
    Own(TableSpan),
    /// In the file of the header that says so, before its frames.
    Here(TableSpan),
}

/// How a header describes the segment before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Predecessor {
    pub(crate) sequence: u64,
    pub(crate) salt: u64,
    /// Bytes from here on don't count, whatever they say.
    pub(crate) end_offset: u64,
    /// The index after its last entry.
    pub(crate) end_index: u64,
    /// The key of its last entry; 0 without one.
    pub(crate) last_key: u64,
    /// The header checksum of its last frame; 0 without one.
    pub(crate) tail: u32,
    pub(crate) table: TablePlace,
}

/// A segment's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) stream: StreamId,
    /// Random, never zero.
    pub(crate) salt: u64,
    pub(crate) sequence: u64,
    pub(crate) kind: SegmentKind,
    /// Whether the log ever held an entry, or was reset, before this segment.
    pub(crate) used: bool,
    /// Of the first entry in this segment.
    pub(crate) base_index: u64,
    /// Entries below are gone.
    pub(crate) trim_index: u64,
    /// Where the first group starts.
    pub(crate) frames_offset: u64,
    pub(crate) predecessor: Option<Predecessor>,
    /// The length of the file when it was published, 0 where it was not recorded: it never gets shorter.
    pub(crate) prepared_bytes: u64,
}

/// Why a page is not a header that this version can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Page(PageFault),
    /// A sound header of a newer version.
    Newer {
        reader_min: u32,
        features: u64,
    },
    /// A sound checksum over content that can't be.
    Content(&'static str),
}

impl Header {
    /// The header as a page.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        put_u32(&mut page, FORMAT, FORMAT_VERSION);
        put_u32(&mut page, READER_MIN, READER_VERSION_MIN);
        put_u64(&mut page, FEATURES, 0);
        page[CHAIN..STREAM_KIND].copy_from_slice(&self.stream.chain);
        page[STREAM_KIND..SALT].copy_from_slice(&self.stream.kind);
        put_u64(&mut page, SALT, self.salt);
        put_u64(&mut page, SEQUENCE, self.sequence);
        put_u32(&mut page, KIND, self.kind as u32);
        put_u32(&mut page, FLAGS, if self.used { FLAG_USED } else { 0 });
        put_u64(&mut page, BASE_INDEX, self.base_index);
        put_u64(&mut page, TRIM_INDEX, self.trim_index);
        put_u64(&mut page, FRAMES_OFFSET, self.frames_offset);
        if let Some(predecessor) = &self.predecessor {
            predecessor.encode(&mut page);
        }
        put_u64(&mut page, PREPARED_BYTES, self.prepared_bytes);
        page::seal(&mut page, MAGIC, 0, 0);
        page
    }

    /// Checks and decodes a segment's first page.
    pub(crate) fn decode(page: &[u8]) -> Result<Self, HeaderFault> {
        let sound = page::check(page, MAGIC, 0, 0);
        if let Err(fault @ PageFault::Magic(_)) = sound {
            return Err(HeaderFault::Page(fault));
        }
        let (reader_min, features) = (get_u32(page, READER_MIN), get_u64(page, FEATURES));
        if reader_min > FORMAT_VERSION || features & !FEATURES_KNOWN != 0 {
            // A newer version may keep its checksum elsewhere: refused either way, and untouched.
            return Err(HeaderFault::Newer { reader_min, features });
        }
        sound.map_err(HeaderFault::Page)?;
        let kind = match get_u32(page, KIND) {
            1 => SegmentKind::Create,
            2 => SegmentKind::Roll,
            3 => SegmentKind::Cut,
            4 => SegmentKind::Reset,
            _ => return Err(HeaderFault::Content("an unknown segment kind")),
        };
        let mut stream = StreamId { chain: [0; 32], kind: [0; 8] };
        stream.chain.copy_from_slice(&page[CHAIN..STREAM_KIND]);
        stream.kind.copy_from_slice(&page[STREAM_KIND..SALT]);
        let header = Self {
            stream,
            salt: get_u64(page, SALT),
            sequence: get_u64(page, SEQUENCE),
            kind,
            used: get_u32(page, FLAGS) & FLAG_USED != 0,
            base_index: get_u64(page, BASE_INDEX),
            trim_index: get_u64(page, TRIM_INDEX),
            frames_offset: get_u64(page, FRAMES_OFFSET),
            predecessor: Predecessor::decode(page)?,
            prepared_bytes: get_u64(page, PREPARED_BYTES),
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), HeaderFault> {
        let sound = |holds: bool, what| if holds { Ok(()) } else { Err(HeaderFault::Content(what)) };
        sound(self.salt != 0, "a salt of zero")?;
        sound(self.sequence != 0, "a sequence of zero")?;
        sound(
            self.frames_offset >= PAGE && self.frames_offset.is_multiple_of(PAGE),
            "frames off a page boundary",
        )?;
        sound(self.trim_index <= self.base_index, "a front above the segment's base")?;
        let Some(predecessor) = &self.predecessor else {
            return sound(self.kind != SegmentKind::Roll && self.kind != SegmentKind::Cut, "no predecessor");
        };
        sound(predecessor.sequence < self.sequence, "a predecessor that came later")?;
        let follows = self.kind == SegmentKind::Reset || predecessor.end_index == self.base_index;
        sound(follows, "a predecessor that ends at another index")
    }
}

impl Predecessor {
    fn encode(&self, page: &mut [u8]) {
        put_u64(page, PRED_SEQUENCE, self.sequence);
        put_u64(page, PRED_SALT, self.salt);
        put_u64(page, PRED_END_OFFSET, self.end_offset);
        put_u64(page, PRED_END_INDEX, self.end_index);
        put_u64(page, PRED_LAST_KEY, self.last_key);
        put_u32(page, PRED_TAIL, self.tail);
        let (place, span) = match self.table {
            TablePlace::None => (0, TableSpan::default()),
            TablePlace::Own(span) => (1, span),
            TablePlace::Here(span) => (2, span),
        };
        put_u32(page, PRED_TABLE_PLACE, place);
        put_u64(page, PRED_TABLE_OFFSET, span.offset);
        put_u64(page, PRED_TABLE_ENTRIES, span.entries);
        put_u64(page, PRED_TABLE_DIGESTS, span.digests);
    }

    fn decode(page: &[u8]) -> Result<Option<Self>, HeaderFault> {
        let sequence = get_u64(page, PRED_SEQUENCE);
        if sequence == 0 {
            return Ok(None);
        }
        let span = TableSpan {
            offset: get_u64(page, PRED_TABLE_OFFSET),
            entries: get_u64(page, PRED_TABLE_ENTRIES),
            digests: get_u64(page, PRED_TABLE_DIGESTS),
        };
        if span.offset.checked_add(span.bytes()).is_none() || !span.offset.is_multiple_of(PAGE) {
            return Err(HeaderFault::Content("a table off a page boundary, or beyond any file"));
        }
        let table = match get_u32(page, PRED_TABLE_PLACE) {
            0 => TablePlace::None,
            1 => TablePlace::Own(span),
            2 => TablePlace::Here(span),
            _ => return Err(HeaderFault::Content("an unknown place of a table")),
        };
        Ok(Some(Self {
            sequence,
            salt: get_u64(page, PRED_SALT),
            end_offset: get_u64(page, PRED_END_OFFSET),
            end_index: get_u64(page, PRED_END_INDEX),
            last_key: get_u64(page, PRED_LAST_KEY),
            tail: get_u32(page, PRED_TAIL),
            table,
        }))
    }
}

impl std::fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Page(fault) => fault.fmt(f),
            Self::Newer { reader_min, features } => {
                write!(f, "a header for readers of format {reader_min} with features {features:#x}")
            }
            Self::Content(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Header {
        Header {
            stream: StreamId { chain: [7; 32], kind: *b"blocks\0\0" },
            salt: 0x1122_3344_5566_7788,
            sequence: 9,
            kind: SegmentKind::Cut,
            used: true,
            base_index: 100,
            trim_index: 40,
            frames_offset: 3 * PAGE,
            predecessor: Some(Predecessor {
                sequence: 7,
                salt: 5,
                end_offset: 8192,
                end_index: 100,
                last_key: 99,
                tail: 3,
                table: TablePlace::Here(TableSpan { offset: 4096, entries: 60, digests: 12 }),
            }),
            prepared_bytes: 65536,
        }
    }

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let header = sample();
        assert_eq!(Header::decode(&header.encode()), Ok(header));
        let first = Header { kind: SegmentKind::Create, predecessor: None, used: false, ..header };
        assert_eq!(Header::decode(&first.encode()), Ok(first));
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut page = sample().encode();
        put_u32(&mut page, READER_MIN, FORMAT_VERSION + 1);
        assert_eq!(
            Header::decode(&page),
            Err(HeaderFault::Newer { reader_min: FORMAT_VERSION + 1, features: 0 })
        );
        let mut page = sample().encode();
        put_u64(&mut page, FEATURES, 4);
        page::seal(&mut page, MAGIC, 0, 0);
        assert_eq!(Header::decode(&page), Err(HeaderFault::Newer { reader_min: 1, features: 4 }));
    }

    #[test]
    fn what_this_version_is_enough_for_is_read() {
        let mut page = sample().encode();
        put_u32(&mut page, READER_MIN, FORMAT_VERSION);
        page::seal(&mut page, MAGIC, 0, 0);
        assert_eq!(Header::decode(&page), Ok(sample()));
    }

    #[test]
    fn a_table_that_can_not_be_is_refused() {
        let header = sample();
        let before = header.predecessor.unwrap();
        for (offset, entries) in [(4095, 60), (4096, u64::MAX), (u64::MAX - 4095, 1)] {
            let table = TablePlace::Here(TableSpan { offset, entries, digests: 0 });
            let wrong = Header { predecessor: Some(Predecessor { table, ..before }), ..header };
            assert!(matches!(Header::decode(&wrong.encode()), Err(HeaderFault::Content(_))), "{table:?}");
        }
    }

    #[test]
    fn content_that_can_not_be_is_refused() {
        let header = sample();
        for wrong in [
            Header { salt: 0, ..header },
            Header { sequence: 0, ..header },
            Header { frames_offset: 5000, ..header },
            Header { trim_index: 101, ..header },
            Header { base_index: 101, ..header },
            Header { sequence: 7, ..header },
            Header { predecessor: None, ..header },
        ] {
            assert!(matches!(Header::decode(&wrong.encode()), Err(HeaderFault::Content(_))), "{wrong:?}");
        }
    }
}
