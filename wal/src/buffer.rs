//! A growing buffer whose first byte lies on a page boundary, as direct writes ask for, without unsafe code: a vector
//! with a page of slack, used from its first aligned byte on.

use crate::format::PAGE_BYTES;

/// Bytes of a group. Grows by doubling; keeps its memory when cleared.
#[derive(Debug, Default)]
pub(crate) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that fit without growing.
    pub(crate) fn capacity(&self) -> usize {
        self.memory.len() - self.start
    }

    /// Shortens to `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Adds `bytes` bytes of unspecified content at the end and answers them.
    pub(crate) fn extend(&mut self, bytes: usize) -> &mut [u8] {
        let wanted = self.len + bytes;
        if wanted > self.capacity() {
            self.grow(wanted);
        }
        let from = self.start + self.len;
        self.len = wanted;
        &mut self.memory[from..from + bytes]
    }

    /// Adds zeros up to the next page boundary.
    pub(crate) fn pad_to_page(&mut self) {
        let missing = self.len.next_multiple_of(PAGE_BYTES) - self.len;
        self.extend(missing).fill(0);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }

    /// A buffer with a copy of some bytes.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::default();
        buffer.extend(bytes.len()).copy_from_slice(bytes);
        buffer
    }

    fn grow(&mut self, wanted: usize) {
        let capacity = wanted.max(2 * self.capacity()).next_multiple_of(PAGE_BYTES);
        let mut memory = vec![0; capacity + PAGE_BYTES];
        // `align_offset` may give up (usize::MAX); an unaligned buffer would only make direct writes fail cleanly.
        let start = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        memory[start..start + self.len].copy_from_slice(self.bytes());
        memory.truncate(start + capacity);
        (self.memory, self.start) = (memory, start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_aligned_and_keeps_its_bytes_while_it_grows() {
        let mut buffer = AlignedBuffer::default();
        let mut expected = Vec::new();
        for n in 0..200_u8 {
            buffer.extend(777).fill(n);
            expected.extend_from_slice(&[n; 777]);
            assert_eq!(buffer.bytes().as_ptr().align_offset(PAGE_BYTES), 0);
        }
        assert_eq!(buffer.bytes(), expected);
        buffer.pad_to_page();
        assert_eq!(buffer.len() % PAGE_BYTES, 0);
        assert!(buffer.bytes()[expected.len()..].iter().all(|byte| *byte == 0));
        let capacity = buffer.capacity();
        buffer.truncate(0);
        assert_eq!((buffer.len(), buffer.capacity()), (0, capacity));
    }
}
