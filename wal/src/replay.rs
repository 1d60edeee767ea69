//! A stream of entries in order, read in large pieces.

use std::ops::Range;
use std::sync::Arc;

use crate::entry::StoredEntry;
use crate::error::{ADVICE_READ, WalError};
use crate::format::frame::FrameKind;
use crate::scan::{FileSource, Source, Step, Stop, Terms, Walker};
use crate::segment::read_failed;
use crate::shared::{Place, Shared};
use crate::storage::StorageFile;

/// Bytes that are read at once.
const AHEAD_BYTES: usize = 1 << 20;

/// Iterator over the entries of a range; see [`crate::Reader::replay`].
#[derive(Debug)]
pub struct Replay {
    shared: Arc<Shared>,
    next: u64,
    end: u64,
    failed: bool,
    /// Entries that were read ahead, newest first.
    ready: Vec<StoredEntry>,
    /// Where the walk goes on in the segment it is in.
    place: Option<Place>,
}

impl Replay {
    pub(crate) fn new(shared: Arc<Shared>, range: Range<u64>) -> Self {
        let have = shared.range();
        let (next, end) = (range.start.max(have.start), range.end.min(have.end));
        Self { shared, next, end, failed: false, ready: Vec::new(), place: None }
    }

    /// A stream that ends with an error where an entry is not there any more.
    pub(crate) fn exactly(shared: Arc<Shared>, range: Range<u64>) -> Self {
        Self { shared, next: range.start, end: range.end, failed: false, ready: Vec::new(), place: None }
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
                let first = self.shared.range().start;
                self.shared.place(self.next)?.ok_or(WalError::OutOfRange {
                    op: "replay",
                    index: self.next,
                    first,
                    next: self.end,
                })?
            }
        };
        let file = self.shared.handles.get(&place.file)?;
        let mut walk = Chunk { shared: &self.shared, file: &*file, place, index: self.next };
        // Once more after the page cache was dropped: beside direct writes it may be behind the disk.
        let read = match walk.read(self.end) {
            Err(error) if error.is_corruption() => {
                let _dropped = file.drop_cache();
                walk.read(self.end)
            }
            other => other,
        };
        let (mut entries, offset) = read?;
        entries.reverse();
        self.ready = entries;
        self.place = Some(Place { offset, ..walk.place });
        Ok(())
    }
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
        let entry = self.ready.pop()?;
        self.next += 1;
        Some(Ok(entry))
    }
}

/// One piece of one segment.
struct Chunk<'a> {
    shared: &'a Shared,
    file: &'a dyn StorageFile,
    place: Place,
    index: u64,
}

impl Chunk<'_> {
    /// Entries up to about [`AHEAD_BYTES`], at least one, and where the next frame is due.
    fn read(&mut self, end: u64) -> Result<(Vec<StoredEntry>, u64), WalError> {
        let path = self.place.file.path.clone();
        let at = self.place.offset;
        let source = FileSource::new(self.file).map_err(|error| read_failed(&path, at, &error))?;
        let source: &dyn Source = &source;
        let terms = Terms {
            salt: self.place.salt,
            offset: at,
            index: self.index,
            end: Some(self.place.end_offset),
            entry_bytes_max: self.shared.entry_bytes_max(),
            ahead: AHEAD_BYTES,
        };
        let mut walker = Walker::resume(source, terms);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while walker.index() < end.min(self.place.end_index) && (bytes < AHEAD_BYTES || entries.is_empty()) {
            let (due, index) = (walker.offset(), walker.index());
            match walker.step().map_err(|error| read_failed(&path, due, &error))? {
                Step::Frame { header, payload, .. } => {
                    if header.kind == FrameKind::Entry {
                        bytes += payload.len() + size_of::<StoredEntry>();
                        let (key, digest) = (header.key, header.digest);
                        entries.push(StoredEntry { index, key, digest, payload: payload.to_vec() });
                    }
                }
                Step::Stop(Stop::TooLarge(length)) => {
                    let max = u64::from(self.shared.entry_bytes_max());
                    return Err(WalError::TooLarge { index, bytes: u64::from(length), max });
                }
                Step::Stop(stop) => {
                    let found = stop.to_string();
                    let expected = "the frame of this entry";
                    return Err(WalError::corrupt(&path, due, Some(index), expected, found, ADVICE_READ));
                }
            }
        }
        Ok((entries, walker.offset()))
    }
}
