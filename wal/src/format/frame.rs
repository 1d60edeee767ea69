//! A frame: one entry, or one of the log's own marks.
//!
//! ```text
//!  0 salt          u64   the segment's: nothing from elsewhere validates
//!  8 index         u64   of the entry; of a mark: the index due next
//! 16 durable_upto  u64   everything below this offset of the segment was durable when the frame was written
//! 24 key           u64   never goes down from entry to entry
//! 32 digest        u64   for lookups by hash; 0: none
//! 40 length        u32   of the payload, in bytes
//! 44 kind          u8
//! 45 flags         u8    bit 0: last frame of its group; the next group starts on the next page boundary
//! 46 reserved      u16   zero
//! 48 payload crc   u32
//! 52 header crc    u32   over bytes 0..52 and the frame's own offset
//! 56 payload, then zeros up to a multiple of 8
//! ```

use super::{crc32c, get_u32, get_u64, put_u32, put_u64};

const SALT: usize = 0;
const INDEX: usize = SALT + 8;
const DURABLE_UPTO: usize = INDEX + 8;
const KEY: usize = DURABLE_UPTO + 8;
const DIGEST: usize = KEY + 8;
const LENGTH: usize = DIGEST + 8;
const KIND: usize = LENGTH + 4;
const FLAGS: usize = KIND + 1;
const RESERVED: usize = FLAGS + 1;
const PAYLOAD_CRC: usize = RESERVED + 2;
const HEADER_CRC: usize = PAYLOAD_CRC + 4;
/// Bytes before the payload.
pub(crate) const FRAME_HEADER_BYTES: usize = HEADER_CRC + 4;
/// Frames start on multiples of this.
pub(crate) const FRAME_ALIGN: usize = 8;
const LAST_IN_GROUP: u8 = 1;

const _: () = assert!(FRAME_HEADER_BYTES.is_multiple_of(FRAME_ALIGN));
const _: () = assert!(super::PAGE_BYTES.is_multiple_of(FRAME_ALIGN));

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// An entry of the log.
    Entry = 1,
    /// Says only that everything before it is durable.
    Mark = 2,
    /// Moves the front: the payload is the new first index.
    Trim = 3,
}

/// The header of a frame, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) index: u64,
    pub(crate) durable_upto: u64,
    pub(crate) key: u64,
    pub(crate) digest: u64,
    pub(crate) length: u32,
    pub(crate) kind: FrameKind,
    pub(crate) last_in_group: bool,
    pub(crate) payload_crc: u32,
}

/// Why no frame is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameFault {
    /// The bytes do not start with the segment's salt.
    Salt(u64),
    /// The header's checksum differs.
    Header {
        /// What the bytes amount to.
        computed: u32,
        /// What the header says.
        stored: u32,
    },
    /// The checksum is right, the content is not of this version.
    Content(u8, u8),
    /// The file ends before the frame does.
    Short(u64),
    /// The payload's checksum differs.
    Payload {
        /// What the bytes amount to.
        computed: u32,
        /// What the header says.
        stored: u32,
    },
}

impl std::fmt::Display for FrameFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Salt(found) => write!(f, "bytes that start with {found:#018x}"),
            Self::Header { computed, stored } => {
                write!(f, "a header with checksum {stored:#010x} over bytes that amount to {computed:#010x}")
            }
            Self::Content(kind, flags) => write!(f, "a frame of kind {kind} with flags {flags:#04x}"),
            Self::Short(bytes) => write!(f, "only {bytes} bytes up to the end of the file"),
            Self::Payload { computed, stored } => {
                write!(f, "a payload with checksum {stored:#010x} over bytes that amount to {computed:#010x}")
            }
        }
    }
}

fn header_crc(bytes: &[u8], offset: u64) -> u32 {
    let mut covered = [0; HEADER_CRC + 8];
    covered[..HEADER_CRC].copy_from_slice(&bytes[..HEADER_CRC]);
    covered[HEADER_CRC..].copy_from_slice(&offset.to_le_bytes());
    crc32c(&covered)
}

impl FrameHeader {
    /// Writes the header, but for what [`finish`] fills in.
    ///
    /// # Panics
    /// When `out` is shorter than a header.
    pub(crate) fn encode_unfinished(&self, out: &mut [u8]) {
        put_u64(out, INDEX, self.index);
        put_u64(out, KEY, self.key);
        put_u64(out, DIGEST, self.digest);
        put_u32(out, LENGTH, self.length);
        out[KIND] = self.kind as u8;
        out[RESERVED..PAYLOAD_CRC].fill(0);
        put_u32(out, PAYLOAD_CRC, self.payload_crc);
    }

    /// Decodes the header of a frame at `offset`; answers it with its checksum.
    ///
    /// # Panics
    /// When `bytes` is shorter than a header.
    pub(crate) fn decode(bytes: &[u8], salt: u64, offset: u64) -> Result<(Self, u32), FrameFault> {
        let found = get_u64(bytes, SALT);
        if found != salt {
            return Err(FrameFault::Salt(found));
        }
        let (computed, stored) = (header_crc(bytes, offset), get_u32(bytes, HEADER_CRC));
        if computed != stored {
            return Err(FrameFault::Header { computed, stored });
        }
        let (kind, flags) = (bytes[KIND], bytes[FLAGS]);
        let content = FrameFault::Content(kind, flags);
        let kind = match kind {
            1 => FrameKind::Entry,
            2 => FrameKind::Mark,
            3 => FrameKind::Trim,
            _ => return Err(content),
        };
        if flags & !LAST_IN_GROUP != 0 || bytes[RESERVED..PAYLOAD_CRC] != [0, 0] {
            return Err(content);
        }
        let header = Self {
            index: get_u64(bytes, INDEX),
            durable_upto: get_u64(bytes, DURABLE_UPTO),
            key: get_u64(bytes, KEY),
            digest: get_u64(bytes, DIGEST),
            length: get_u32(bytes, LENGTH),
            kind,
            last_in_group: flags & LAST_IN_GROUP != 0,
            payload_crc: get_u32(bytes, PAYLOAD_CRC),
        };
        Ok((header, stored))
    }

    /// Compares a payload with the header's checksum.
    pub(crate) fn check_payload(&self, payload: &[u8]) -> Result<(), FrameFault> {
        let computed = crc32c(payload);
        if computed == self.payload_crc {
            Ok(())
        } else {
            Err(FrameFault::Payload { computed, stored: self.payload_crc })
        }
    }

    /// Where the next frame of the same group starts, or where the next group does.
    pub(crate) fn next_offset(&self, offset: u64) -> u64 {
        let end = offset + frame_bytes(self.length);
        if self.last_in_group { super::page_ceil(end) } else { end }
    }
}

/// Bytes of a frame whose header was encoded, finished or not.
pub(crate) fn unfinished_bytes(bytes: &[u8]) -> usize {
    (FRAME_HEADER_BYTES + get_u32(bytes, LENGTH) as usize).next_multiple_of(FRAME_ALIGN)
}

/// The kind byte of a frame whose header was encoded, finished or not.
pub(crate) fn unfinished_kind(bytes: &[u8]) -> u8 {
    bytes[KIND]
}

/// Fills in what is known only when a group is written; answers the header's checksum.
pub(crate) fn finish(bytes: &mut [u8], salt: u64, offset: u64, durable_upto: u64, last: bool) -> u32 {
    put_u64(bytes, SALT, salt);
    put_u64(bytes, DURABLE_UPTO, durable_upto);
    bytes[FLAGS] = if last { LAST_IN_GROUP } else { 0 };
    let crc = header_crc(bytes, offset);
    put_u32(bytes, HEADER_CRC, crc);
    crc
}

/// What a frame with a payload of `length` bytes takes.
pub(crate) fn frame_bytes(length: u32) -> u64 {
    (FRAME_HEADER_BYTES as u64 + u64::from(length)).next_multiple_of(FRAME_ALIGN as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FrameHeader {
        FrameHeader {
            index: 7,
            durable_upto: 4096,
            key: 3,
            digest: 5,
            length: 11,
            kind: FrameKind::Entry,
            last_in_group: true,
            payload_crc: 0x1234_5678,
        }
    }

    fn encode(header: &FrameHeader, salt: u64, offset: u64, out: &mut [u8]) -> u32 {
        header.encode_unfinished(out);
        finish(out, salt, offset, header.durable_upto, header.last_in_group)
    }

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        for kind in [FrameKind::Entry, FrameKind::Mark, FrameKind::Trim] {
            let header = FrameHeader { kind, ..sample() };
            let mut bytes = [0xff; FRAME_HEADER_BYTES];
            let crc = encode(&header, 99, 8192, &mut bytes);
            assert_eq!(FrameHeader::decode(&bytes, 99, 8192), Ok((header, crc)));
        }
    }

    #[test]
    fn no_changed_bit_moved_place_or_foreign_salt_validates() {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        assert!(FrameHeader::decode(&bytes, 99, 8192).is_err(), "zeros");
        encode(&sample(), 99, 8192, &mut bytes);
        assert!(FrameHeader::decode(&bytes, 99, 8200).is_err(), "moved");
        assert!(FrameHeader::decode(&bytes, 98, 8192).is_err(), "foreign");
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&bytes, 99, 8192).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_group_ends_on_a_page_boundary() {
        let header = sample();
        assert_eq!(frame_bytes(11), 72);
        assert_eq!(header.next_offset(4096), 8192);
        assert_eq!(FrameHeader { last_in_group: false, ..header }.next_offset(4096), 4096 + 72);
    }

    #[test]
    fn an_unfinished_frame_tells_its_kind_and_its_length() {
        for kind in [FrameKind::Entry, FrameKind::Mark] {
            let mut bytes = [0; FRAME_HEADER_BYTES];
            FrameHeader { kind, length: 9, ..sample() }.encode_unfinished(&mut bytes);
            assert_eq!(unfinished_kind(&bytes), kind as u8);
            assert_eq!(unfinished_bytes(&bytes), FRAME_HEADER_BYTES + 16);
        }
    }
}
