//! Bytes that start on a page boundary, as direct writes ask for.

use std::io;

use memmap2::{Advice, MmapMut};

use super::PAGE_BYTES;

/// Bytes of a huge page.
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// From here on the bytes are in huge pages, as the log's groups are: a disk is given contiguous memory as one piece.
const SMALL_BYTES: usize = 32 << 10;

/// Bytes that no disk, no file system and no library can make shorter.
#[must_use]
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}

/// A run of whole pages.
#[derive(Debug)]
pub(super) struct Aligned {
    memory: MmapMut,
    len: usize,
}

impl Aligned {
    /// At least `len` bytes of noise, rounded up to whole pages.
    pub(super) fn noise(len: usize) -> io::Result<Self> {
        let len = len.next_multiple_of(PAGE_BYTES).max(PAGE_BYTES);
        let page = if len > SMALL_BYTES { HUGE_PAGE_BYTES } else { PAGE_BYTES };
        let mut memory = MmapMut::map_anon(len.next_multiple_of(page))?;
        if page == HUGE_PAGE_BYTES {
            // A system without huge pages gives small ones.
            let _advised = memory.advise(Advice::HugePage);
        }
        memory[..len].copy_from_slice(&noise(len));
        Ok(Self { memory, len })
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// The bytes, to be written over.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}
