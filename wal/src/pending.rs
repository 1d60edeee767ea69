//! Entries that wait for the next sync, framed already: each payload is copied once, into the buffer that is written.
//!
//! Groups are planned as entries come: where each will start, and which of them starts a new segment, so that no group
//! crosses from one segment into the next.

use std::collections::VecDeque;

use crate::buffer::AlignedBuffer;
use crate::format::footer::footer_bytes_max;
use crate::format::frame::{self, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::format::table::Record;
use crate::format::{PAGE, copy_crc32c, page_ceil};

/// Buffers that are kept for the next groups, so that their memory is touched once.
const SPARE_BUFFERS: usize = 4;

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

/// Frames that are written and acknowledged together.
#[derive(Debug)]
pub(crate) struct Group {
    /// Whether it starts a new segment.
    pub(crate) roll: bool,
    /// Where it goes.
    pub(crate) at: Cursor,
    pub(crate) buffer: AlignedBuffer,
    /// Of its entries, with offsets counted from the group's start.
    pub(crate) records: Vec<Record>,
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
        Self { roll, at, buffer, records: Vec::new() }
    }

    /// A group of one of the log's own marks.
    pub(crate) fn of_mark(at: Cursor, frame: Frame, payload: &[u8]) -> Self {
        let mut group = Self::new(false, at, AlignedBuffer::default());
        group.push(frame, |bytes| copy_crc32c(bytes, payload));
        group
    }

    fn bytes(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Adds a frame; `fill` writes the payload and answers its checksum.
    fn push(&mut self, frame: Frame, fill: impl FnOnce(&mut [u8]) -> u32) {
        let position = self.buffer.len();
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
            self.records.push(Record { offset: position as u64, key: frame.key, digest: frame.digest });
        }
    }

    /// Fills in what is known only when the group is written; answers the last entry's header checksum (0 without one).
    /// May be done again after a failure that changed nothing.
    pub(crate) fn finish(&mut self, salt: u64) -> u32 {
        let at = self.at.offset;
        let end = self.used_bytes();
        self.buffer.truncate(end);
        let bytes = self.buffer.bytes_mut();
        let (mut position, mut tail) = (0, 0);
        while position < end {
            let next = position + frame::unfinished_bytes(&bytes[position..]);
            let place = at + position as u64;
            let crc = frame::finish(&mut bytes[position..], salt, place, at, next >= end);
            if frame::unfinished_kind(&bytes[position..]) == FrameKind::Entry as u8 {
                tail = crc;
            }
            position = next;
        }
        self.buffer.pad_to_page();
        tail
    }

    /// Bytes of frames, without the padding after them.
    fn used_bytes(&self) -> usize {
        let bytes = self.buffer.bytes();
        let mut position =
            self.records.last().map_or(0, |record| usize::try_from(record.offset).unwrap_or(0));
        if position < bytes.len() {
            position += frame::unfinished_bytes(&bytes[position..]);
        }
        position
    }
}

/// Everything that waits.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) groups: VecDeque<Group>,
    spare: Vec<AlignedBuffer>,
    segment_bytes: u64,
    group_bytes_max: u64,
    /// Where the durable part of the segment that is being written ends.
    durable: Cursor,
}

impl Pending {
    pub(crate) fn new(segment_bytes: u64, group_bytes_max: u64, durable: Cursor) -> Self {
        Self { groups: VecDeque::new(), spare: Vec::new(), segment_bytes, group_bytes_max, durable }
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.groups.iter().map(Group::bytes).sum()
    }

    /// Adds an entry to the last group, or begins the next one; `fill` writes the payload and answers its checksum.
    pub(crate) fn push(&mut self, frame: Frame, fill: impl FnOnce(&mut [u8]) -> u32) {
        let bytes = frame::frame_bytes(frame.length);
        let (at, here, entries) = match self.groups.back() {
            Some(last) => (last.at, last.bytes(), last.records.len() as u64),
            None => (self.durable, 0, 0),
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
        }
        if let Some(group) = self.groups.back_mut() {
            group.push(frame, fill);
        }
    }

    /// Takes note that the first group is durable.
    pub(crate) fn landed(&mut self) {
        if let Some(group) = self.groups.pop_front() {
            self.durable = group.at.after(group.bytes(), group.records.len() as u64);
            self.recycle(group);
        }
    }

    /// Takes note that the durable part ends elsewhere, and plans what waits anew.
    pub(crate) fn moved(&mut self, durable: Cursor) {
        self.durable = durable;
        let mut at = durable;
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
        let mut buffer = group.buffer;
        // A buffer that one giant entry grew is not kept.
        if self.spare.len() < SPARE_BUFFERS && buffer.capacity() as u64 <= 2 * self.group_bytes_max {
            buffer.truncate(0);
            self.spare.push(buffer);
        }
    }
}
