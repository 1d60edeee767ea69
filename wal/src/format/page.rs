//! A page with a checksum at its end: headers, footers and tables are made of them.
//!
//! ```text
//! 0        8                                              4092   4096
//! ├─ magic ┼─ body … zeros ────────────────────────────────┼ crc ─┤
//! ```
//!
//! The checksum also covers the segment's salt and the page's offset, which are not stored: a page of another life of
//! the file, or of another place in it, never validates.

use super::{PAGE_BYTES, crc32c_of, get_u32, get_u64, put_u32};

/// Where the body starts.
pub(crate) const BODY: usize = 8;
/// Where the checksum is.
pub(crate) const CRC: usize = PAGE_BYTES - 4;
/// Room for the body.
pub(crate) const BODY_BYTES: usize = CRC - BODY;

/// Why a page is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageFault {
    /// Another magic.
    Magic(u64),
    /// Another checksum.
    Checksum {
        /// What the bytes amount to.
        computed: u32,
        /// What the page says.
        stored: u32,
    },
}

impl std::fmt::Display for PageFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Magic(found) => write!(f, "a page that starts with {found:#018x}"),
            Self::Checksum { computed, stored } => {
                write!(f, "checksum {stored:#010x} over bytes that amount to {computed:#010x}")
            }
        }
    }
}

fn checksum(page: &[u8], salt: u64, offset: u64) -> u32 {
    crc32c_of(&[&page[..CRC], &salt.to_le_bytes(), &offset.to_le_bytes()])
}

/// Writes magic and checksum around a body that is there already.
///
/// # Panics
/// When `page` is not [`PAGE_BYTES`] long.
pub(crate) fn seal(page: &mut [u8], magic: &[u8; 8], salt: u64, offset: u64) {
    assert_eq!(page.len(), PAGE_BYTES);
    page[..BODY].copy_from_slice(magic);
    let crc = checksum(page, salt, offset);
    put_u32(page, CRC, crc);
}

/// Checks magic and checksum.
///
/// # Panics
/// When `page` is not [`PAGE_BYTES`] long.
pub(crate) fn check(page: &[u8], magic: &[u8; 8], salt: u64, offset: u64) -> Result<(), PageFault> {
    assert_eq!(page.len(), PAGE_BYTES);
    if &page[..BODY] != magic {
        return Err(PageFault::Magic(get_u64(page, 0)));
    }
    let (computed, stored) = (checksum(page, salt, offset), get_u32(page, CRC));
    if computed == stored { Ok(()) } else { Err(PageFault::Checksum { computed, stored }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_validates_only_unchanged_in_its_place_under_its_salt() {
        let mut page = vec![0; PAGE_BYTES];
        page[100] = 7;
        seal(&mut page, b"TESTPAGE", 9, 4096);
        assert_eq!(check(&page, b"TESTPAGE", 9, 4096), Ok(()));
        assert!(check(&page, b"TESTPAGE", 9, 8192).is_err());
        assert!(check(&page, b"TESTPAGE", 8, 4096).is_err());
        assert!(check(&page, b"OTHERONE", 9, 4096).is_err());
        for bit in 0..PAGE_BYTES * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&page, b"TESTPAGE", 9, 4096).is_err(), "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(check(&vec![0; PAGE_BYTES], b"TESTPAGE", 9, 4096).is_err());
    }
}
