//! Walks the frames of a segment one after the other, through a bounded window.

use std::borrow::Cow;
use std::cell::Cell;
use std::io;
use std::ops::Range;

use crate::format::footer::{self, Footer};
use crate::format::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameFault, FrameHeader};
use crate::format::{PAGE, PAGE_BYTES};
use crate::storage::{StorageFile, read_full};

/// Where bytes come from: a file, or an image in memory.
pub(crate) trait Source {
    /// Its length in bytes.
    fn bytes(&self) -> u64;
    /// Fills the buffer; the caller stays within the length.
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// The next stretch at or after `offset` that may hold anything but zeros.
    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        Some(offset..self.bytes())
    }
}

impl Source for &[u8] {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = self.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// Bytes that the storage is told of before they are read: enough to keep a disk busy, and few enough that what others
/// read from it meanwhile does not wait long behind them.
const EXPECTED_BYTES: u64 = 8 << 20;
/// Bytes that it is told of at once.
const EXPECTED_STEP_BYTES: u64 = 2 << 20;

/// A file whose length was asked for once.
pub(crate) struct FileSource<'a> {
    file: &'a dyn StorageFile,
    bytes: u64,
    ahead: Option<Ahead>,
}

/// What is known of a file that is read in order.
struct Ahead {
    /// Where it holds data, as it was before the first read: what is read of space that was only reserved is in the page
    /// cache then, and passes for data from there on.
    data: Vec<Range<u64>>,
    /// Up to where the storage was told of reads to come.
    told: Cell<u64>,
}

impl<'a> FileSource<'a> {
    pub(crate) fn new(file: &'a dyn StorageFile) -> io::Result<Self> {
        Ok(Self { file, bytes: file.bytes()?, ahead: None })
    }

    /// A file that nobody writes, and that is read from `offset` to its end: the storage is told ahead.
    pub(crate) fn in_order(file: &'a dyn StorageFile, offset: u64) -> io::Result<Self> {
        let bytes = file.bytes()?;
        let mut at = offset;
        let data = std::iter::from_fn(|| {
            let data = if at < bytes { file.data_from(at)? } else { return None };
            at = data.end;
            Some(data)
        });
        let ahead = Ahead { data: data.collect(), told: Cell::new(offset) };
        Ok(Self { file, bytes, ahead: Some(ahead) })
    }
}

impl Ahead {
    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        let next = self.data.get(self.data.partition_point(|data| data.end <= offset))?;
        Some(next.start.max(offset)..next.end)
    }

    /// Tells of what is read soon after `offset`.
    fn tell(&self, file: &FileSource<'_>, offset: u64) {
        let wanted = file.bytes.min(offset.saturating_add(EXPECTED_BYTES));
        while self.told.get() < wanted {
            let data = self.data_from(self.told.get().max(offset)).unwrap_or(wanted..u64::MAX);
            let end = data.end.min(data.start.saturating_add(EXPECTED_STEP_BYTES));
            if data.start < wanted {
                file.file.expect_reads(data.start..end.min(file.bytes));
            }
            self.told.set(if data.start < wanted { end } else { data.start });
        }
    }
}

impl Source for FileSource<'_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if let Some(ahead) = &self.ahead {
            ahead.tell(self, offset);
        }
        if read_full(self.file, buffer, offset)? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        match &self.ahead {
            Some(ahead) => ahead.data_from(offset),
            None => self.file.data_from(offset),
        }
    }
}

/// A payload of at least so many bytes goes straight where its owner wants it, not through the window.
const LARGE_BYTES: usize = 64 << 10;

/// A part of the source in memory: what was asked for, and some read ahead.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Never made shorter: growing it again would fill it with zeros each time.
    memory: Vec<u8>,
    /// Where in the source it starts.
    start: u64,
    /// How much of the memory holds bytes of the source.
    held: usize,
    /// Whether the last payload did not go through it: then little is read ahead, for the next one is probably as large.
    passed: bool,
}

impl Window {
    /// Forgets what it holds, but not its memory.
    pub(crate) fn clear(&mut self) {
        self.held = 0;
    }

    /// Where `len` bytes from `offset` on are in the window's memory; what it does not hold is read, so that it holds
    /// `ahead` bytes in all. The caller made sure that the source has them.
    fn reach(
        &mut self,
        source: &dyn Source,
        offset: u64,
        len: usize,
        ahead: usize,
    ) -> io::Result<Range<usize>> {
        let place = self.place(offset, len);
        if place.len() == len {
            return Ok(place);
        }
        let left = usize::try_from(source.bytes() - offset).unwrap_or(usize::MAX);
        let wanted = len.max(ahead).min(left);
        if self.memory.len() < wanted {
            self.memory.resize(wanted, 0);
        }
        let have = place.len();
        self.memory.copy_within(place, 0);
        (self.start, self.held) = (offset, 0);
        source.read(&mut self.memory[have..wanted], offset + have as u64)?;
        self.held = wanted;
        Ok(0..len)
    }

    /// Where as many bytes from `offset` on are as it holds, at most `len`.
    fn place(&self, offset: u64, len: usize) -> Range<usize> {
        let from = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        match from {
            Some(from) if from < self.held => from..self.held.min(from.saturating_add(len)),
            _ => 0..0,
        }
    }

    /// As many bytes from `offset` on as it holds, at most `len`.
    fn have(&self, offset: u64, len: usize) -> &[u8] {
        &self.memory[self.place(offset, len)]
    }
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The end that was given is reached.
    End,
    /// A sound footer stands where a group is due.
    Footer(Footer),
    /// No frame is valid where one is due.
    Fault(FrameFault),
    /// A valid frame is not the one that is due.
    Disorder { what: &'static str, expected: u64, found: u64 },
    /// A valid frame says that its payload is above the cap.
    TooLarge(u32),
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::End => f.write_str("the end of the segment"),
            Self::Footer(_) => f.write_str("a footer"),
            Self::Fault(fault) => fault.fmt(f),
            Self::Disorder { what, expected, found } => {
                write!(f, "{what}: expected {expected}, found {found}")
            }
            Self::TooLarge(length) => write!(f, "a payload of {length} bytes"),
        }
    }
}

/// One step of a walk.
pub(crate) enum Step<'w> {
    /// A valid frame.
    Frame { offset: u64, header: FrameHeader, header_crc: u32, payload: Cow<'w, [u8]> },
    /// The walk is over; the place is where a frame would have been due.
    Stop(Stop),
}

/// What a walk needs to know of its segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) salt: u64,
    /// Where the walk starts: a place where a frame is due.
    pub(crate) offset: u64,
    /// The index that is due there.
    pub(crate) index: u64,
    /// Where the segment is known to end; none for the last one.
    pub(crate) end: Option<u64>,
    /// The largest payload to believe, in bytes.
    pub(crate) entry_bytes_max: u32,
    /// Bytes to read at once.
    pub(crate) ahead: usize,
}

/// The walk.
pub(crate) struct Walker<'s> {
    source: &'s dyn Source,
    terms: Terms,
    window: Window,
    /// Start of the group that the walk is in.
    group: u64,
}

impl<'s> Walker<'s> {
    pub(crate) fn new(source: &'s dyn Source, terms: Terms) -> Self {
        Self { source, terms, window: Window::default(), group: terms.offset }
    }

    /// A walk that starts anywhere in a group: what its frames say of durability is not judged. What the window holds must
    /// be of this source.
    pub(crate) fn resume(source: &'s dyn Source, terms: Terms, window: Window) -> Self {
        Self { source, terms, window, group: u64::MAX }
    }

    /// Gives the window back.
    pub(crate) fn into_window(self) -> Window {
        self.window
    }

    /// Where the next frame is due.
    pub(crate) fn offset(&self) -> u64 {
        self.terms.offset
    }

    /// Whether a new group is due there.
    pub(crate) fn at_boundary(&self) -> bool {
        self.terms.offset == self.group
    }

    /// The index that is due there.
    pub(crate) fn index(&self) -> u64 {
        self.terms.index
    }

    /// The next frame, or why there is none.
    pub(crate) fn step(&mut self) -> io::Result<Step<'_>> {
        self.next_frame(false)
    }

    /// The same, for who keeps the payload: a large one is read to where it stays.
    pub(crate) fn step_owned(&mut self) -> io::Result<Step<'_>> {
        self.next_frame(true)
    }

    fn next_frame(&mut self, owned: bool) -> io::Result<Step<'_>> {
        let offset = self.terms.offset;
        if self.terms.end.is_some_and(|end| offset >= end) {
            return Ok(Step::Stop(Stop::End));
        }
        let limit = self.terms.end.unwrap_or(u64::MAX).min(self.source.bytes());
        let room = limit.saturating_sub(offset);
        if room < FRAME_HEADER_BYTES as u64 {
            return Ok(Step::Stop(Stop::Fault(FrameFault::Short(room))));
        }
        let ahead = if self.window.passed { PAGE_BYTES } else { self.terms.ahead };
        let place = self.window.reach(self.source, offset, FRAME_HEADER_BYTES, ahead)?;
        let (header, header_crc) =
            match FrameHeader::decode(&self.window.memory[place], self.terms.salt, offset) {
                Ok(decoded) => decoded,
                Err(fault) => return self.footer_or(fault),
            };
        if let Some(stop) = self.judge(&header, room) {
            return Ok(Step::Stop(stop));
        }
        let payload_at = offset + FRAME_HEADER_BYTES as u64;
        let len = header.length as usize;
        self.window.passed = owned && len >= LARGE_BYTES;
        let payload = if self.window.passed {
            let have = self.window.have(payload_at, len);
            let mut payload = vec![0; len];
            payload[..have.len()].copy_from_slice(have);
            let rest = have.len();
            if rest < len {
                self.source.read(&mut payload[rest..], payload_at + rest as u64)?;
            }
            Cow::Owned(payload)
        } else {
            // After a large payload, only the next header: its own payload is read in one piece again.
            let ahead = if len >= LARGE_BYTES { len + 2 * PAGE_BYTES } else { self.terms.ahead };
            let place = self.window.reach(self.source, payload_at, len, ahead)?;
            Cow::Borrowed(&self.window.memory[place])
        };
        if let Err(fault) = header.check_payload(&payload) {
            return Ok(Step::Stop(Stop::Fault(fault)));
        }
        self.terms.offset = header.next_offset(offset);
        if header.last_in_group {
            self.group = self.terms.offset;
        }
        if header.kind == crate::format::frame::FrameKind::Entry {
            self.terms.index += 1;
        }
        Ok(Step::Frame { offset, header, header_crc, payload })
    }

    fn judge(&self, header: &FrameHeader, room: u64) -> Option<Stop> {
        let disorder = |what, expected, found| Some(Stop::Disorder { what, expected, found });
        if header.index != self.terms.index {
            return disorder("index", self.terms.index, header.index);
        }
        if header.durable_upto > self.group {
            return disorder("durable_upto at most the start of the group", self.group, header.durable_upto);
        }
        if header.length > self.terms.entry_bytes_max {
            return Some(Stop::TooLarge(header.length));
        }
        let needed = FRAME_HEADER_BYTES as u64 + u64::from(header.length);
        (needed > room).then_some(Stop::Fault(FrameFault::Short(room)))
    }

    fn footer_or(&mut self, fault: FrameFault) -> io::Result<Step<'_>> {
        let offset = self.terms.offset;
        let at_group = offset == self.group && offset.is_multiple_of(PAGE);
        if at_group && self.source.bytes().saturating_sub(offset) >= PAGE {
            let place = self.window.reach(self.source, offset, PAGE_BYTES, self.terms.ahead)?;
            if let Ok(footer) = footer::decode(&self.window.memory[place], self.terms.salt, offset) {
                return Ok(Step::Stop(Stop::Footer(footer)));
            }
        }
        Ok(Step::Stop(Stop::Fault(fault)))
    }
}

/// What is found in a segment beyond the place where its walk ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beyond {
    /// The place and the durable_upto of what claims the most: a valid frame's, or a footer's own place.
    pub(crate) claim: Option<(u64, u64)>,
    /// The end of the last thing that is of this life of the file (it starts with the salt), as far as can be told.
    pub(crate) last_end: Option<u64>,
}

/// Looks at every place from `from` on where a frame could start: no frame and no footer is all zeros, for salts are not.
pub(crate) fn beyond(source: &dyn Source, salt: u64, from: u64, ahead: usize) -> io::Result<Beyond> {
    let mut found = Beyond::default();
    let mut window = Window::default();
    let ahead = ahead.next_multiple_of(PAGE_BYTES) + PAGE_BYTES;
    let end = source.bytes();
    let mut offset = from.next_multiple_of(FRAME_ALIGN as u64);
    let mut data = offset..offset;
    while offset < end {
        if offset >= data.end {
            let Some(next) = source.data_from(offset) else { break };
            offset = offset.max(next.start - next.start % PAGE);
            data = next;
            continue;
        }
        let step = (end - offset).min(PAGE - offset % PAGE);
        let page_len = usize::try_from(step).unwrap_or(PAGE_BYTES);
        let left = usize::try_from(data.end - offset).unwrap_or(usize::MAX);
        let place = window.reach(source, offset, page_len, ahead.min(left))?;
        let page = &window.memory[place];
        if page_len == PAGE_BYTES && footer::decode_quick(page, salt, offset).is_some() {
            found.claim_at(offset, offset);
        }
        if holds(page, salt) {
            let hits: Vec<u64> = (offset..)
                .step_by(FRAME_ALIGN)
                .zip(page.chunks_exact(FRAME_ALIGN))
                .filter(|(_, chunk)| *chunk == salt.to_le_bytes())
                .map(|(at, _)| at)
                .collect();
            for at in hits {
                found.last_end = found.last_end.max(Some(at + FRAME_ALIGN as u64));
                if end - at >= FRAME_HEADER_BYTES as u64 {
                    let place = window.reach(source, at, FRAME_HEADER_BYTES, ahead)?;
                    if let Ok((header, _)) = FrameHeader::decode(&window.memory[place], salt, at) {
                        found.last_end = found.last_end.max(Some(header.next_offset(at).min(end)));
                        found.claim_at(at, header.durable_upto);
                    }
                }
            }
        }
        offset += step;
    }
    Ok(found)
}

/// Whether the salt stands anywhere in a page where a frame could start. Looks at all of it without a branch, so that the
/// compiler can compare several places at once.
fn holds(page: &[u8], salt: u64) -> bool {
    let mut found = false;
    for chunk in page.chunks_exact(FRAME_ALIGN) {
        let mut raw = [0; FRAME_ALIGN];
        raw.copy_from_slice(chunk);
        found |= u64::from_le_bytes(raw) == salt;
    }
    found
}

impl Beyond {
    fn claim_at(&mut self, at: u64, durable_upto: u64) {
        if self.claim.is_none_or(|(_, best)| durable_upto > best) {
            self.claim = Some((at, durable_upto));
        }
    }
}

#[cfg(test)]
mod tests;
