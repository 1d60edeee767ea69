//! A growing buffer whose first byte lies on a page boundary, as direct writes ask for, without unsafe code: anonymous
//! memory straight from the system, in huge pages where it has them. A disk is given a run of contiguous memory as one
//! piece, however long it is; of a buffer in small pages it gets each page on its own, and takes a sixth longer.

use std::alloc::{Layout, handle_alloc_error};

use memmap2::{Advice, MmapMut};

use crate::format::PAGE_BYTES;

/// Bytes of a huge page. A buffer consists of whole ones from [`SMALL_BYTES`] on.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;
/// Up to here a buffer is not worth a huge page.
const SMALL_BYTES: usize = 32 << 10;

/// Bytes of a group. Grows by doubling; keeps its memory when cleared.
#[derive(Debug, Default)]
pub(crate) struct AlignedBuffer {
    memory: Option<MmapMut>,
    len: usize,
}

impl AlignedBuffer {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that fit without growing.
    pub(crate) fn capacity(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.len())
    }

    /// Shortens to `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes room for so many bytes more.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        let wanted = self.len + bytes;
        if wanted > self.capacity() {
            self.grow(wanted);
        }
    }

    /// Adds `bytes` bytes of unspecified content at the end and answers them.
    pub(crate) fn extend(&mut self, bytes: usize) -> &mut [u8] {
        self.reserve(bytes);
        let from = self.len;
        self.len += bytes;
        &mut self.bytes_mut()[from..]
    }

    /// Adds zeros up to the next page boundary.
    pub(crate) fn pad_to_page(&mut self) {
        let missing = self.len.next_multiple_of(PAGE_BYTES) - self.len;
        self.extend(missing).fill(0);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory[..self.len])
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory[..self.len])
    }

    /// A buffer with a copy of some bytes.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::default();
        buffer.extend(bytes.len()).copy_from_slice(bytes);
        buffer
    }

    fn grow(&mut self, wanted: usize) {
        let wanted = wanted.max(2 * self.capacity());
        let page = if wanted > SMALL_BYTES { HUGE_PAGE_BYTES } else { PAGE_BYTES };
        let mut memory = map(wanted.next_multiple_of(page));
        memory[..self.len].copy_from_slice(self.bytes());
        self.memory = Some(memory);
    }
}

/// So many bytes of zeros.
fn map(bytes: usize) -> MmapMut {
    let Ok(memory) = MmapMut::map_anon(bytes) else {
        handle_alloc_error(Layout::array::<u8>(bytes).unwrap_or(Layout::new::<u8>()));
    };
    if bytes >= HUGE_PAGE_BYTES {
        // A system without huge pages gives small ones.
        let _advised = memory.advise(Advice::HugePage);
    }
    memory
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

    #[test]
    fn large_ones_consist_of_whole_huge_pages() {
        let mut buffer = AlignedBuffer::default();
        buffer.extend(PAGE_BYTES);
        assert_eq!(buffer.capacity(), PAGE_BYTES);
        buffer.extend(SMALL_BYTES);
        assert_eq!(buffer.capacity(), HUGE_PAGE_BYTES);
        buffer.extend(HUGE_PAGE_BYTES);
        assert_eq!(buffer.capacity(), 2 * HUGE_PAGE_BYTES);
    }
    #[test]
    fn grows_only_for_what_does_not_fit_and_then_by_doubling() {
        let mut buffer = AlignedBuffer::default();
        buffer.extend(4 * PAGE_BYTES);
        buffer.truncate(PAGE_BYTES);
        buffer.reserve(3 * PAGE_BYTES);
        assert_eq!(buffer.capacity(), 4 * PAGE_BYTES);
        buffer.reserve(3 * PAGE_BYTES + 1);
        assert_eq!(buffer.capacity(), 8 * PAGE_BYTES);
        let mut small = AlignedBuffer::default();
        small.extend(SMALL_BYTES);
        assert_eq!(small.capacity(), SMALL_BYTES);
    }
}
