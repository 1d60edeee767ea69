//! Entries that wait for the next sync, framed already: each payload is copied once, into the buffer that is written.
//!
//! Groups are planned as entries come: where each will start, and which of them starts a new segment, so that no group
//! crosses from one segment into the next.

use std::collections::VecDeque;

use crate::buffer::{AlignedBuffer, HUGE_PAGE_BYTES};
use crate::format::footer::footer_bytes_max;
use crate::format::frame::{self, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::format::table::Record;
use crate::format::{PAGE, PAGE_BYTES, copy_crc32c, page_ceil};
use crate::writer::{PARTS_MAX, Part};

/// Buffers that are kept for the next groups, so that their memory is touched once: as many as are in use at most.
const SPARE_BUFFERS: usize = PARTS_MAX + 2;

/// Room that entries leave in a segment for one of the log's own marks, so that the front can move on a full disk.
const MARK_ROOM: u64 = PAGE;

/// Where the next group would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Of the next group in its segment.
    pub(crate) offset: u64,
    /// Entries of that segment before it.
    pub(crate) entries: u64,
    /// Where the frames of that segment start: a segment without a group takes an entry of any size.
    pub(crate) frames_offset: u64,
}

impl Cursor {
    fn start_of_segment() -> Self {
        Self { offset: PAGE, entries: 0, frames_offset: PAGE }
    }

    /// Whether a group of so many bytes and entries fits, with a mark and the footer after it.
    pub(crate) fn fits(&self, bytes: u64, entries: u64, segment_bytes: u64) -> bool {
        let end = page_ceil(self.offset + bytes) + MARK_ROOM;
        end + footer_bytes_max(self.entries + entries) <= segment_bytes
    }

    /// Whether one of the log's own marks fits, with the footer after it.
    pub(crate) fn fits_mark(&self, segment_bytes: u64) -> bool {
        self.offset + MARK_ROOM + footer_bytes_max(self.entries) <= segment_bytes || self.is_start()
    }

    /// Whether the segment has no group: then it takes an entry of any size.
    fn is_start(&self) -> bool {
        self.offset == self.frames_offset
    }

    fn after(&self, bytes: u64, entries: u64) -> Self {
        Self { offset: page_ceil(self.offset + bytes), entries: self.entries + entries, ..*self }
    }
}

/// Frames that become durable together.
#[derive(Debug)]
pub(crate) struct Group {
    /// Whether it starts a new segment.
    pub(crate) roll: bool,
    /// Where it goes.
    pub(crate) at: Cursor,
    pub(crate) buffer: AlignedBuffer,
    /// Of its entries, with offsets counted from the group's start.
    pub(crate) records: Vec<Record>,
    /// Bytes at its start that were handed out to be written already: whole pages, not in the buffer any more.
    pub(crate) sent: u64,
    /// Bytes at the start of the buffer that belong to frames which are finished.
    finished: usize,
}

/// An entry to be framed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: FrameKind,
    pub(crate) index: u64,
    pub(crate) key: u64,
    pub(crate) digest: u64,
    pub(crate) length: u32,
}

impl Group {
    fn new(roll: bool, at: Cursor, buffer: AlignedBuffer) -> Self {
        Self { roll, at, buffer, records: Vec::new(), sent: 0, finished: 0 }
    }

    /// A group of one of the log's own marks.
    pub(crate) fn of_mark(at: Cursor, frame: Frame, payload: &[u8]) -> Self {
        let mut group = Self::new(false, at, AlignedBuffer::default());
        group.push(frame, |bytes| copy_crc32c(bytes, payload));
        group
    }

    fn bytes(&self) -> u64 {
        self.sent + self.buffer.len() as u64
    }

    /// Adds a frame; `fill` writes the payload and answers its checksum.
    fn push(&mut self, frame: Frame, fill: impl FnOnce(&mut [u8]) -> u32) {
        let position = self.bytes();
        let total = usize::try_from(frame::frame_bytes(frame.length)).unwrap_or(usize::MAX);
        let bytes = self.buffer.extend(total);
        let (header, rest) = bytes.split_at_mut(FRAME_HEADER_BYTES);
        let (payload, padding) = rest.split_at_mut(frame.length as usize);
        padding.fill(0);
        let payload_crc = fill(payload);
        let unfinished = FrameHeader {
            index: frame.index,
            durable_upto: 0,
            key: frame.key,
            digest: frame.digest,
            length: frame.length,
            kind: frame.kind,
            last_in_group: false,
            payload_crc,
        };
        unfinished.encode_unfinished(header);
        if frame.kind == FrameKind::Entry {
            self.records.push(Record { offset: position, key: frame.key, digest: frame.digest });
        }
    }

    /// Fills in what is known only when the group is written; answers the last entry's header checksum (0 without one).
    pub(crate) fn finish(&mut self, salt: u64) -> u32 {
        let tail = self.finish_frames(salt, true);
        self.buffer.pad_to_page();
        tail
    }

    /// Finishes the frames in the buffer; `all`: the last of them is the group's last.
    fn finish_frames(&mut self, salt: u64, all: bool) -> u32 {
        let (at, sent) = (self.at.offset, self.sent);
        let bytes = self.buffer.bytes_mut();
        let (mut position, mut tail) = (self.finished, 0);
        while position < bytes.len() {
            let next = position + frame::unfinished_bytes(&bytes[position..]);
            let place = at + sent + position as u64;
            let last = all && next >= bytes.len();
            let crc = frame::finish(&mut bytes[position..], salt, place, at, last);
            if frame::unfinished_kind(&bytes[position..]) == FrameKind::Entry as u8 {
                tail = crc;
            }
            position = next;
        }
        tail
    }

    /// Takes the whole pages out of the buffer, to be written ahead; another frame must follow in this group.
    fn take_ahead(&mut self, salt: u64, mut rest: AlignedBuffer) -> Part {
        self.finish_frames(salt, false);
        let whole = self.buffer.len() / PAGE_BYTES * PAGE_BYTES;
        let left = &self.buffer.bytes()[whole..];
        rest.truncate(0);
        rest.extend(left.len()).copy_from_slice(left);
        let mut buffer = std::mem::replace(&mut self.buffer, rest);
        buffer.truncate(whole);
        let offset = self.at.offset + self.sent;
        self.sent += whole as u64;
        self.finished = self.buffer.len();
        Part { buffer, offset, last: false }
    }
}

/// When a group is large enough for its front to be written ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// Of the active segment.
    pub(crate) salt: u64,
    /// Bytes in the buffer from which on it pays.
    pub(crate) bytes: u64,
}

/// Everything that waits.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) groups: VecDeque<Group>,
    spare: Vec<AlignedBuffer>,
    segment_bytes: u64,
    group_bytes_max: u64,
    /// Where the groups end that are durable or on their way.
    end: Cursor,
}

impl Pending {
    pub(crate) fn new(segment_bytes: u64, group_bytes_max: u64, end: Cursor) -> Self {
        Self { groups: VecDeque::new(), spare: Vec::new(), segment_bytes, group_bytes_max, end }
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.groups.iter().map(Group::bytes).sum()
    }

    /// Adds an entry to the last group, or begins the next one; `fill` writes the payload and answers its checksum.
    /// Answers what can be written ahead.
    pub(crate) fn push(
        &mut self,
        frame: Frame,
        ahead: Option<Ahead>,
        fill: impl FnOnce(&mut [u8]) -> u32,
    ) -> Option<Part> {
        let mut part = None;
        let bytes = frame::frame_bytes(frame.length);
        let (at, here, entries) = match self.groups.back() {
            Some(last) => (last.at, last.bytes(), last.records.len() as u64),
            None => (self.end, 0, 0),
        };
        let joins = !self.groups.is_empty()
            && here + bytes <= self.group_bytes_max
            && at.fits(here + bytes, entries + 1, self.segment_bytes);
        if !joins {
            let after = at.after(here, entries);
            let roll = !after.is_start() && !after.fits(bytes, 1, self.segment_bytes);
            let at = if roll { Cursor::start_of_segment() } else { after };
            let buffer = self.spare.pop().unwrap_or_default();
            self.groups.push_back(Group::new(roll, at, buffer));
        } else if let Some(Ahead { salt, bytes }) = ahead
            && let [group] = self.groups.make_contiguous()
            && !group.roll
            && group.buffer.len() as u64 >= bytes
        {
            let rest = self.spare.pop().unwrap_or_default();
            part = Some(group.take_ahead(salt, rest));
        }
        if let Some(group) = self.groups.back_mut() {
            group.push(frame, fill);
        }
        part
    }

    /// Whether the last group starts a segment, is the next to do so, and is large enough for its front to be written once
    /// that has begun.
    pub(crate) fn waits_for_roll(&self, ahead: Ahead) -> bool {
        let rolls = self.groups.iter().map(|group| group.roll);
        let next = match self.groups.len() {
            1 => rolls.eq([true]),
            2 => rolls.eq([false, true]),
            _ => false,
        };
        next && self.groups.back().is_some_and(|group| group.buffer.len() as u64 >= ahead.bytes)
    }

    /// Takes note that the segment which the first group starts has begun.
    pub(crate) fn rolled(&mut self) {
        self.end = Cursor::start_of_segment();
        if let Some(group) = self.groups.front_mut() {
            group.roll = false;
        }
    }

    /// Whether a part of the first group is being written already: then the group must be, before anything else is.
    pub(crate) fn is_ahead(&self) -> bool {
        self.groups.front().is_some_and(|group| group.sent > 0)
    }

    /// Takes out the first group, which is on its way from now on.
    pub(crate) fn take_first(&mut self) -> Option<Group> {
        let group = self.groups.pop_front()?;
        self.end = group.at.after(group.bytes(), group.records.len() as u64);
        Some(group)
    }

    /// Takes note that the end is elsewhere, and plans what waits anew.
    pub(crate) fn moved(&mut self, end: Cursor) {
        self.end = end;
        let mut at = end;
        for group in &mut self.groups {
            let (bytes, entries) = (group.bytes(), group.records.len() as u64);
            group.roll = !at.is_start() && !at.fits(bytes, entries, self.segment_bytes);
            group.at = if group.roll { Cursor::start_of_segment() } else { at };
            at = group.at.after(bytes, entries);
        }
    }

    /// Drops the last `count` entries.
    pub(crate) fn drop_last(&mut self, mut count: u64) {
        while let Some(mut group) = self.groups.pop_back() {
            let here = group.records.len() as u64;
            if here <= count {
                count -= here;
                self.recycle(group);
                continue;
            }
            let keep = usize::try_from(here - count).unwrap_or(0);
            if let Some(cut) = group.records.get(keep) {
                group.buffer.truncate(usize::try_from(cut.offset).unwrap_or(0));
                group.records.truncate(keep);
            }
            self.groups.push_back(group);
            return;
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        while let Some(group) = self.groups.pop_back() {
            self.recycle(group);
        }
    }

    /// The key of the last entry that waits.
    pub(crate) fn last_key(&self) -> Option<u64> {
        self.groups.back().and_then(|group| group.records.last()).map(|record| record.key)
    }

    fn recycle(&mut self, group: Group) {
        debug_assert!(group.sent == 0, "written ahead, then dropped");
        self.keep_buffer(group.buffer);
    }

    /// The largest buffer that is kept, empty.
    pub(crate) fn largest_buffer(&mut self) -> AlignedBuffer {
        let largest = (0..self.spare.len()).max_by_key(|nth| self.spare[*nth].capacity());
        largest.map(|nth| self.spare.swap_remove(nth)).unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(crate) fn keep_buffer(&mut self, mut buffer: AlignedBuffer) {
        // A buffer that one giant entry grew is not kept.
        let room = (2 * self.group_bytes_max).max(HUGE_PAGE_BYTES as u64);
        if self.spare.len() < SPARE_BUFFERS && buffer.capacity() as u64 <= room {
            buffer.truncate(0);
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT_BYTES: u64 = 64 << 10;

    fn pending(group_bytes_max: u64) -> Pending {
        Pending::new(SEGMENT_BYTES, group_bytes_max, Cursor::start_of_segment())
    }

    fn push(pending: &mut Pending, length: u32) {
        let frame = Frame { kind: FrameKind::Entry, index: 0, key: 0, digest: 1, length };
        assert!(pending.push(frame, None, |_| 0).is_none());
    }

    /// Where a segment ends if so many bytes and entries follow, with room for a mark and the footer.
    fn end(at: Cursor, bytes: u64, entries: u64) -> u64 {
        page_ceil(at.offset + bytes) + PAGE + footer_bytes_max(at.entries + entries)
    }

    /// Groups follow each other, fill each segment as far as it goes, and leave room for a mark and the footer.
    fn check_plan(pending: &Pending) {
        let mut at = Cursor::start_of_segment();
        for group in &pending.groups {
            let first = group.records.get(1).map_or(group.bytes(), |second| second.offset);
            let full = at != Cursor::start_of_segment() && end(at, first, 1) > SEGMENT_BYTES;
            assert_eq!(group.roll, full);
            at = if full { Cursor::start_of_segment() } else { at };
            assert_eq!(group.at, at);
            let (bytes, entries) = (group.bytes(), group.records.len() as u64);
            assert!(end(at, bytes, entries) <= SEGMENT_BYTES, "{entries} entries from {at:?} on");
            at = Cursor { offset: page_ceil(at.offset + bytes), entries: at.entries + entries, ..at };
        }
    }

    #[test]
    fn every_segment_is_planned_with_room_for_a_mark_and_the_footer() {
        for group_bytes_max in [PAGE, 16 << 10, SEGMENT_BYTES] {
            for pages in 0..11 {
                let mut pending = pending(group_bytes_max);
                push(&mut pending, pages * 4096);
                (0..2000).for_each(|_| push(&mut pending, 0));
                check_plan(&pending);
                assert!(pending.groups.iter().filter(|group| group.roll).count() > 1);
            }
        }
    }

    #[test]
    fn what_is_dropped_leaves_its_memory_to_what_comes() {
        let mut pending = pending(SEGMENT_BYTES);
        let memory = |pending: &Pending| pending.groups[0].buffer.bytes().as_ptr();
        push(&mut pending, 100);
        let first = memory(&pending);
        pending.drop_last(1);
        assert_eq!(pending.spare.len(), 1);
        push(&mut pending, 100);
        assert_eq!(memory(&pending), first);
        pending.clear();
        assert_eq!(pending.spare.len(), 1);
        push(&mut pending, 100);
        assert_eq!(memory(&pending), first);
    }

    fn buffer(bytes: usize) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::default();
        buffer.reserve(bytes);
        buffer.extend(1);
        buffer
    }

    #[test]
    fn as_many_buffers_are_kept_as_are_in_use_at_most_and_none_that_a_giant_entry_grew() {
        let huge = HUGE_PAGE_BYTES;
        for (group_bytes_max, most) in [(PAGE, huge), (2 * huge as u64, 4 * huge)] {
            let mut pending = pending(group_bytes_max);
            pending.keep_buffer(buffer(most + huge));
            assert!(pending.spare.is_empty());
            pending.keep_buffer(buffer(most));
            assert_eq!(pending.spare.len(), 1);
        }
        let mut pending = pending(PAGE);
        (0..30).for_each(|_| pending.keep_buffer(buffer(PAGE_BYTES)));
        // Eight parts that wait, one that is put together, and one that is written.
        assert_eq!(pending.spare.len(), 10);
    }

    #[test]
    fn the_largest_buffer_that_is_kept_comes_back_empty() {
        let mut pending = pending(PAGE);
        [1, 3, 2].into_iter().for_each(|pages| pending.keep_buffer(buffer(pages * PAGE_BYTES)));
        let largest = pending.largest_buffer();
        assert_eq!((largest.capacity(), largest.len()), (3 * PAGE_BYTES, 0));
        assert_eq!(pending.spare.len(), 2);
    }
}
