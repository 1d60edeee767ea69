//! What the writer and its readers share: which segments there are, and what of them is durable.

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::entry::StoredEntry;
use crate::error::{ADVICE_READ, WalError};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameFault, FrameHeader, FrameKind};
use crate::format::table::Record;
use crate::format::{PAGE, PAGE_BYTES};
use crate::segment::{Handles, Sealed, SegmentFile, SegmentInfo, info, read_failed};
use crate::storage::{StorageFile, read_full, read_up_to};
use crate::table_search;

/// The last segment: its table is in memory, bounded by the segment's size.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) salt: u64,
    pub(crate) base: u64,
    pub(crate) frames_offset: u64,
    /// Of durable entries only.
    pub(crate) records: Vec<Record>,
    /// Everything below is durable; the next group starts here.
    pub(crate) end_offset: u64,
    /// Header checksum of the last entry's frame; 0 without one.
    pub(crate) tail: u32,
}

/// The retained, durable entries.
#[derive(Debug)]
pub(crate) struct View {
    /// Oldest first, contiguous, up to the active one.
    pub(crate) sealed: Vec<Arc<Sealed>>,
    pub(crate) active: Active,
    pub(crate) first: u64,
}

impl Active {
    pub(crate) fn next(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    pub(crate) fn last_key(&self) -> Option<u64> {
        self.records.last().map(|record| record.key)
    }

    /// The record of an index of this segment.
    pub(crate) fn record(&self, index: u64) -> Option<Record> {
        let nth = usize::try_from(index.checked_sub(self.base)?).ok()?;
        self.records.get(nth).copied()
    }
}

impl View {
    pub(crate) fn next(&self) -> u64 {
        self.active.next()
    }

    /// Bytes of all segments up to their ends.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.end_offset).sum::<u64>() + self.active.end_offset
    }

    /// The key of the last retained entry.
    pub(crate) fn last_key(&self) -> Option<u64> {
        if self.next() == self.first {
            return None;
        }
        self.key_floor()
    }

    /// The key below which no later key may be: that of the last entry, retained or not.
    pub(crate) fn key_floor(&self) -> Option<u64> {
        let sealed = || self.sealed.iter().rev().find(|segment| segment.end_index > segment.base);
        self.active.last_key().or_else(|| sealed().map(|segment| segment.last_key))
    }

    fn sealed_of(&self, index: u64) -> Option<&Arc<Sealed>> {
        let nth = self.sealed.partition_point(|segment| segment.end_index <= index);
        self.sealed.get(nth).filter(|segment| segment.base <= index)
    }
}

/// Where to find one entry; holds its file.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) salt: u64,
    pub(crate) offset: u64,
    pub(crate) end_offset: u64,
    /// The index after the last entry of the segment, as far as it is durable.
    pub(crate) end_index: u64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) handles: Handles,
    entry_bytes_max: u32,
    view: RwLock<View>,
}

impl Shared {
    pub(crate) fn new(handles: Handles, entry_bytes_max: u32, view: View) -> Self {
        Self { handles, entry_bytes_max, view: RwLock::new(view) }
    }

    pub(crate) fn entry_bytes_max(&self) -> u32 {
        self.entry_bytes_max
    }

    /// The view; every change of it is complete before its lock is let go, so that a panic elsewhere leaves it whole.
    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn range(&self) -> Range<u64> {
        let view = self.view();
        view.first..view.next()
    }

    pub(crate) fn segments(&self) -> Vec<SegmentInfo> {
        let view = self.view();
        let active = &view.active;
        let last = info(&active.file, active.base, active.next(), active.end_offset);
        view.sealed.iter().map(|segment| segment.info()).chain([last]).collect()
    }

    /// Where an entry is; none outside of the range.
    pub(crate) fn place(&self, index: u64) -> Result<Option<Place>, WalError> {
        let sealed = {
            let view = self.view();
            if !(view.first..view.next()).contains(&index) {
                return Ok(None);
            }
            let active = &view.active;
            if let Some(record) = active.record(index) {
                return Ok(Some(Place {
                    file: active.file.clone(),
                    salt: active.salt,
                    offset: record.offset,
                    end_offset: active.end_offset,
                    end_index: active.next(),
                }));
            }
            view.sealed_of(index).cloned()
        };
        let Some(segment) = sealed else {
            return Ok(None);
        };
        let record = self.record(&segment, index)?;
        Ok(Some(Place {
            file: segment.file.clone(),
            salt: segment.salt,
            offset: record.offset,
            end_offset: segment.end_offset,
            end_index: segment.end_index,
        }))
    }

    /// Where an entry is that a replay up to `end` has reached; an error where the front has overtaken it.
    pub(crate) fn place_of(&self, index: u64, end: u64) -> Result<Place, WalError> {
        let first = self.range().start;
        self.place(index)?.ok_or(WalError::OutOfRange { op: "replay", index, first, next: end })
    }

    /// The key of an entry, without reading it; none outside of the range.
    pub(crate) fn key_of(&self, index: u64) -> Result<Option<u64>, WalError> {
        let segment = {
            let view = self.view();
            if !(view.first..view.next()).contains(&index) {
                return Ok(None);
            }
            match view.active.record(index) {
                Some(record) => return Ok(Some(record.key)),
                None => view.sealed_of(index).cloned(),
            }
        };
        segment.map(|segment| Ok(self.record(&segment, index)?.key)).transpose()
    }

    /// The record of an entry of a sealed segment, from the table on disk.
    pub(crate) fn record(&self, segment: &Sealed, index: u64) -> Result<Record, WalError> {
        table_search::record(&self.handles, segment, index)
    }

    /// The first retained entry with a greater key.
    pub(crate) fn index_by_key(&self, key: u64) -> Result<Option<u64>, WalError> {
        self.first_where(|last| last > key, |keys| fraction(key, keys))
    }

    /// The first retained entry whose key satisfies a predicate that, once true, stays true. `near` says about how far
    /// through a segment it should be, from 0 to 1, whose keys are in a range.
    pub(crate) fn first_where(
        &self,
        holds: impl Fn(u64) -> bool,
        near: impl Fn(Range<u64>) -> f64,
    ) -> Result<Option<u64>, WalError> {
        let (segment, first, before) = {
            let view = self.view();
            let live = |segment: &Arc<Sealed>| segment.end_index > view.first.max(segment.base);
            let nth = view.sealed.iter().position(|segment| live(segment) && holds(segment.last_key));
            let Some(nth) = nth else {
                let active = &view.active;
                let nth = active.records.partition_point(|record| !holds(record.key)) as u64;
                let index = (active.base + nth).max(view.first);
                return Ok((index < view.next()).then_some(index));
            };
            let before = nth.checked_sub(1).map_or(0, |before| view.sealed[before].last_key);
            (view.sealed[nth].clone(), view.first, before)
        };
        let near = near(before..segment.last_key);
        // What the front has cut off is in the table still, and its keys are no greater.
        Ok(Some(table_search::first_where(&self.handles, &segment, near, holds)?.max(first)))
    }

    /// Retained entries with a digest, oldest first. Different entries may share one.
    pub(crate) fn find_digest(&self, digest: u64) -> Result<Vec<u64>, WalError> {
        let (sealed, mut tail, first) = {
            let view = self.view();
            let active = &view.active;
            let hit = |(record, _): &(&Record, u64)| record.digest == digest && digest != 0;
            // The records first: there may be no number after the last index.
            let tail: Vec<u64> =
                active.records.iter().zip(active.base..).filter(hit).map(|(_, index)| index).collect();
            (view.sealed.clone(), tail, view.first)
        };
        let mut found = Vec::new();
        if digest != 0 {
            for segment in sealed.iter().filter(|segment| segment.end_index > first) {
                table_search::find_digest(&self.handles, segment, digest, &mut found)?;
            }
        }
        found.append(&mut tail);
        found.retain(|index| *index >= first);
        Ok(found)
    }

    /// Reads and checks one entry.
    pub(crate) fn read_entry(&self, place: &Place, index: u64) -> Result<StoredEntry, WalError> {
        let file = self.handles.get(&place.file)?;
        match self.try_entry(&*file, place, index)? {
            Ok(entry) => return Ok(entry),
            Err(_) => ask_the_disk(&*file),
        }
        self.try_entry(&*file, place, index)?.map_err(|found| {
            WalError::corrupt(
                &place.file.path,
                place.offset,
                Some(index),
                "the frame of this entry",
                found,
                ADVICE_READ,
            )
        })
    }

    fn try_entry(
        &self,
        file: &dyn StorageFile,
        place: &Place,
        index: u64,
    ) -> Result<Result<StoredEntry, String>, WalError> {
        let failed = |error: &std::io::Error| read_failed(&place.file.path, place.offset, error);
        let room = place.end_offset.saturating_sub(place.offset);
        let mut front = [0; PAGE_BYTES];
        let ahead = usize::try_from(room.min(PAGE)).unwrap_or(PAGE_BYTES);
        // A crash can leave out a part of the padding that fills the last page.
        let read = read_up_to(file, &mut front[..ahead], place.offset).map_err(|error| failed(&error))?;
        let front = &front[..read];
        if front.len() < FRAME_HEADER_BYTES {
            return Ok(Err(FrameFault::Short(read as u64).to_string()));
        }
        let header = match FrameHeader::decode(front, place.salt, place.offset) {
            Ok((header, _)) => header,
            Err(fault) => return Ok(Err(fault.to_string())),
        };
        if header.index != index || header.kind != FrameKind::Entry {
            return Ok(Err(format!("the frame of index {} ({:?})", header.index, header.kind)));
        }
        let bytes = u64::from(header.length);
        if header.length > self.entry_bytes_max {
            return Err(WalError::TooLarge { index, bytes, max: u64::from(self.entry_bytes_max) });
        }
        if bytes + FRAME_HEADER_BYTES as u64 > room {
            return Ok(Err(FrameFault::Short(room).to_string()));
        }
        let length = header.length as usize;
        let here = &front[FRAME_HEADER_BYTES..front.len().min(FRAME_HEADER_BYTES + length)];
        let mut payload = vec![0; length];
        payload[..here.len()].copy_from_slice(here);
        let (have, rest_at) = (here.len(), place.offset + front.len() as u64);
        if have < length && !read_full(file, &mut payload[have..], rest_at).map_err(|error| failed(&error))? {
            return Ok(Err(FrameFault::Short(room).to_string()));
        }
        if let Err(fault) = header.check_payload(&payload) {
            return Ok(Err(fault.to_string()));
        }
        Ok(Ok(StoredEntry { index, key: header.key, digest: header.digest, payload }))
    }
}

/// Before durable bytes are called damaged, the page cache is dropped: beside direct writes it may be behind the disk.
/// Callers look just once more.
pub(crate) fn ask_the_disk(file: &dyn StorageFile) {
    // A cache that can't be dropped changes nothing: the second look then sees the same bytes.
    let _dropped = file.drop_cache();
}

/// How far through a range of keys a key is.
fn fraction(key: u64, keys: Range<u64>) -> f64 {
    key.saturating_sub(keys.start) as f64 / keys.end.saturating_sub(keys.start).max(1) as f64
}
