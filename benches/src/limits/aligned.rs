//! Bytes that start on a page boundary, as direct writes ask for.

use super::PAGE_BYTES;

/// A run of whole pages.
#[derive(Debug)]
pub(super) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// At least `len` bytes, rounded up to whole pages, with content that no disk can shorten.
    pub(super) fn noise(len: usize) -> Self {
        let len = len.next_multiple_of(PAGE_BYTES).max(PAGE_BYTES);
        let mut memory = vec![0; len + PAGE_BYTES];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for word in memory.chunks_exact_mut(8) {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        // Where it can't be told, the write fails cleanly.
        let start = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Self { memory, start, len }
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}
