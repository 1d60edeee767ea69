//! Bytes that start on a page boundary, as direct writes ask for.

use super::PAGE_BYTES;

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
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// At least `len` bytes of noise, rounded up to whole pages.
    pub(super) fn noise(len: usize) -> Self {
        let len = len.next_multiple_of(PAGE_BYTES).max(PAGE_BYTES);
        let memory = noise(len + PAGE_BYTES);
        // Where it can't be told, the write fails cleanly.
        let start = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Self { memory, start, len }
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// The bytes, to be written over.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}
