//! A stream of entries in order, read in large pieces.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::mem::take;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::entry::{EntryRef, StoredEntry};
use crate::error::{ADVICE_READ, WalError};
use crate::format::frame::{FrameHeader, FrameKind};
use crate::scan::{FileSource, Step, Stop, Terms, Walker, Window};
use crate::segment::read_failed;
use crate::shared::{Place, Shared, ask_the_disk};
use crate::storage::StorageFile;

/// Bytes that are read at once: few enough to be in a processor's own cache still when they are summed up.
const AHEAD_BYTES: usize = 256 << 10;
/// Bytes of entries that are copied out of the window at once: few enough to stay in a processor's own cache.
const READY_BYTES: usize = 32 << 10;

/// Iterator over the entries of a range; see [`crate::Reader::replay`].
#[derive(Debug)]
pub struct Replay {
    shared: Arc<Shared>,
    next: u64,
    end: u64,
    failed: bool,
    /// Entries that were read ahead.
    ready: VecDeque<StoredEntry>,
    /// Where the walk goes on in the segment it is in.
    place: Option<Place>,
    /// What was read of that segment.
    window: Window,
}

impl Replay {
    pub(crate) fn new(shared: Arc<Shared>, range: Range<u64>) -> Self {
        let have = shared.range();
        let range = range.start.max(have.start)..range.end.min(have.end);
        Self::exactly(shared, range)
    }

    /// A stream that ends with an error where an entry is not there any more.
    pub(crate) fn exactly(shared: Arc<Shared>, range: Range<u64>) -> Self {
        Self {
            shared,
            next: range.start,
            end: range.end,
            failed: false,
            ready: VecDeque::new(),
            place: None,
            window: Window::default(),
        }
    }

    /// The entries that are still to come.
    #[must_use]
    pub fn remaining(&self) -> Range<u64> {
        self.next..self.end
    }

    fn fill(&mut self) -> Result<(), WalError> {
        let place = match self.place.take() {
            Some(place) if self.next < place.end_index => place,
            _ => {
                // What was read before may be of another file, or from before its end was written.
                self.window.clear();
                self.shared.place_of(self.next, self.end)?
            }
        };
        let ready = &mut self.ready;
        let mut bytes = 0;
        let mut chunk =
            Chunk { shared: &self.shared, place, index: self.next, window: take(&mut self.window) };
        let read = chunk.read(self.end, true, |index, header, payload| {
            bytes += payload.len() + size_of::<StoredEntry>();
            let (key, digest) = (header.key, header.digest);
            ready.push_back(StoredEntry { index, key, digest, payload: payload.into_owned() });
            if bytes < READY_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        self.window = take(&mut chunk.window);
        self.place = Some(chunk.place);
        // What was read before the error comes first; then the same place is tried again, and tells it.
        if self.ready.is_empty() { read.map(|_| ()) } else { Ok(()) }
    }
}

/// Visits the entries of a range without copying them; see [`crate::Reader::visit`].
pub(crate) fn visit(
    shared: &Shared,
    range: Range<u64>,
    mut visitor: impl FnMut(EntryRef<'_>) -> ControlFlow<()>,
) -> Result<u64, WalError> {
    let have = shared.range();
    let (mut next, end) = (range.start.max(have.start), range.end.min(have.end));
    let mut window = Window::default();
    while next < end {
        let place = shared.place_of(next, end)?;
        window.clear();
        let mut chunk = Chunk { shared, place, index: next, window };
        let flow = chunk.read(end, false, |index, header, payload| {
            visitor(EntryRef { index, key: header.key, digest: header.digest, payload: &payload })
        })?;
        (next, window) = (chunk.index, chunk.window);
        if flow.is_break() {
            break;
        }
    }
    Ok(next.max(range.start.min(end)))
}

impl Iterator for Replay {
    type Item = Result<StoredEntry, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.next >= self.end {
            return None;
        }
        if self.ready.is_empty()
            && let Err(error) = self.fill()
        {
            self.failed = true;
            return Some(Err(error));
        }
        let entry = self.ready.pop_front()?;
        self.next += 1;
        Some(Ok(entry))
    }
}

/// One piece of one segment.
struct Chunk<'a> {
    shared: &'a Shared,
    /// Where the next frame is due.
    place: Place,
    /// The index that is due there.
    index: u64,
    window: Window,
}

impl Chunk<'_> {
    /// Visits entries until the visitor has enough, or the segment's part of the range is over; `owned`: the visitor keeps
    /// the payloads.
    fn read(
        &mut self,
        end: u64,
        owned: bool,
        mut visitor: impl FnMut(u64, &FrameHeader, Cow<'_, [u8]>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, WalError> {
        let file = self.shared.handles.get(&self.place.file)?;
        match self.walk(&*file, end, owned, &mut visitor) {
            Err(error) if error.is_corruption() => {
                ask_the_disk(&*file);
                self.window.clear();
                self.walk(&*file, end, owned, &mut visitor)
            }
            other => other,
        }
    }

    fn walk(
        &mut self,
        file: &dyn StorageFile,
        end: u64,
        owned: bool,
        visitor: &mut impl FnMut(u64, &FrameHeader, Cow<'_, [u8]>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, WalError> {
        let path = &self.place.file.path;
        let end = end.min(self.place.end_index);
        let source = FileSource::new(file).map_err(|error| read_failed(path, self.place.offset, &error))?;
        let terms = Terms {
            salt: self.place.salt,
            offset: self.place.offset,
            index: self.index,
            end: Some(self.place.end_offset),
            entry_bytes_max: self.shared.entry_bytes_max(),
            ahead: AHEAD_BYTES,
        };
        let mut walker = Walker::resume(&source, terms, take(&mut self.window));
        let mut flow = ControlFlow::Continue(());
        let mut result = Ok(());
        while walker.index() < end && flow.is_continue() {
            let (due, index) = (walker.offset(), walker.index());
            let step = if owned { walker.step_owned() } else { walker.step() };
            match step {
                Ok(Step::Frame { header, payload, .. }) => {
                    if header.kind == FrameKind::Entry {
                        flow = visitor(index, &header, payload);
                    }
                }
                Ok(Step::Stop(stop)) => result = Err(self.stopped(stop, due, index)),
                Err(error) => result = Err(read_failed(path, due, &error)),
            }
            if result.is_err() {
                break;
            }
        }
        (self.index, self.place.offset) = (walker.index(), walker.offset());
        self.window = walker.into_window();
        result.map(|()| flow)
    }

    fn stopped(&self, stop: Stop, due: u64, index: u64) -> WalError {
        if let Stop::TooLarge(length) = stop {
            let max = u64::from(self.shared.entry_bytes_max());
            return WalError::TooLarge { index, bytes: u64::from(length), max };
        }
        let (path, found) = (&self.place.file.path, stop.to_string());
        WalError::corrupt(path, due, Some(index), "the frame of this entry", found, ADVICE_READ)
    }
}
