//! Cutting the front and the tail.

use std::sync::Arc;

use super::roll::{Ending, sealed};
use super::{Log, cursor};
use crate::buffer::AlignedBuffer;
use crate::error::{ADVICE_READ, WalError};
use crate::format::PAGE;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::format::header::{SegmentKind, TablePlace};
use crate::format::table::Record;
use crate::log::retire::Retired;
use crate::pending::Frame;
use crate::segment::{Sealed, SegmentFile, Table, read_failed};
use crate::storage::read_full;

const TRIM_BYTES: u32 = 8;

/// A segment that is to end at an earlier index, or at its own end.
struct Shortened {
    sealed: Sealed,
    /// Of the entries that stay, where its own footer does not hold them.
    records: Option<Vec<Record>>,
    /// How many older sealed segments stay before it.
    older: usize,
}

impl Log {
    /// Drops the entries below `i`; durable when it returns. `i` = next empties the log. Segments without a retained
    /// entry go into the pool; nothing retained is written again.
    ///
    /// # Errors
    /// [`WalError::OutOfRange`] above next, [`WalError::Poisoned`], or what the storage says.
    pub fn truncate_before(&mut self, i: u64) -> Result<(), WalError> {
        self.check_poison()?;
        let range = self.range();
        if i > range.end {
            let (first, next) = (range.start, range.end);
            return Err(WalError::OutOfRange { op: "truncate_before", index: i, first, next });
        }
        if i <= range.start {
            return Ok(());
        }
        self.land()?;
        if i > self.durable_next() {
            self.sync()?;
        }
        let (at, index) = {
            let view = self.shared.view();
            (cursor(&view.active), view.next())
        };
        if at.fits_mark(self.options.segment_bytes) {
            let frame = Frame { kind: FrameKind::Trim, index, key: 0, digest: 0, length: TRIM_BYTES };
            self.write_mark(frame, &i.to_le_bytes())?;
            self.shared.view_mut().first = i;
        } else {
            self.hand_over_roll(i, true, false)?;
            self.settle()?;
            self.replan();
        }
        self.retire();
        Ok(())
    }

    /// Drops entries from the front as long as `dead` holds for their keys (keys never go down: once false, it stays
    /// false); durable when it returns. Answers the new first index.
    ///
    /// # Errors
    /// As [`Log::truncate_before`]; damage, where a table has to be read.
    pub fn truncate_while(&mut self, dead: impl Fn(u64) -> bool) -> Result<u64, WalError> {
        self.check_poison()?;
        self.land()?;
        let mut alive = self.shared.first_where(|key| !dead(key), |_| 0.5)?;
        if alive.is_none() && !self.pending.groups.is_empty() {
            self.sync()?;
            alive = self.shared.first_where(|key| !dead(key), |_| 0.5)?;
        }
        self.truncate_before(alive.unwrap_or(self.next))?;
        Ok(self.range().start)
    }

    /// Drops the entries from `i` on; durable when it returns. `i` at or below first empties the log, at or above next
    /// nothing happens. What was cut never comes back.
    ///
    /// # Errors
    /// [`WalError::Poisoned`], damage where a table has to be read, or what the storage says.
    pub fn truncate_after(&mut self, i: u64) -> Result<(), WalError> {
        self.check_poison()?;
        let i = i.max(self.range().start);
        if i >= self.next {
            return Ok(());
        }
        // What is on its way already can only be cut off on the disk.
        self.land()?;
        if i >= self.durable_next() {
            self.pending.drop_last(self.next - i);
            self.next = i;
            return Ok(());
        }
        self.cut(i)
    }

    /// Empties the log: its range becomes `i..i`; durable when it returns.
    ///
    /// # Errors
    /// [`WalError::Poisoned`], or what the storage says.
    pub fn reset(&mut self, i: u64) -> Result<(), WalError> {
        self.check_poison()?;
        self.land()?;
        let last = sealed(&self.shared.view().active);
        let ending = Ending { sealed: last, place: TablePlace::None, pages: AlignedBuffer::default() };
        let next = self.next_segment(SegmentKind::Reset, i, i, true)?;
        let active = self.publish_after(&next, &ending)?;
        let mut view = self.shared.view_mut();
        let dead: Vec<Retired> = view.sealed.drain(..).map(|segment| Retired::of(&segment)).collect();
        view.active = active;
        view.first = i;
        drop(view);
        self.limbo.extend(dead);
        self.limbo.push_back(Retired::of(&ending.sealed));
        drop(ending);
        self.forget_pending(i);
        Ok(())
    }

    /// Publishes a segment at index `i` (from first to the durable next) that ends what is before it there.
    pub(super) fn cut(&mut self, i: u64) -> Result<(), WalError> {
        let Shortened { mut sealed, records, older } = self.shorten(i)?;
        let trim = self.shared.view().first;
        let next = self.next_segment(SegmentKind::Cut, i, trim, true)?;
        let salt = next.salt;
        let (place, pages) = match (&records, &sealed.table) {
            (Some(records), _) if !records.is_empty() => {
                let mut pages = AlignedBuffer::default();
                let span = self.tables.build(records.iter().copied(), sealed.base, salt, PAGE, &mut pages);
                (TablePlace::Here(span), pages)
            }
            (None, Some(table)) => (TablePlace::Own(table.span), AlignedBuffer::default()),
            _ => (TablePlace::None, AlignedBuffer::default()),
        };
        if records.is_some() {
            sealed.table = None;
        }
        let mut ending = Ending { sealed, place, pages };
        let active = self.publish_after(&next, &ending)?;
        if let TablePlace::Here(span) = ending.place {
            ending.sealed.table = Some(Table { file: active.file.clone(), salt, span });
        }
        let mut view = self.shared.view_mut();
        let before = std::mem::replace(&mut view.active, active);
        let mut dead: Vec<Retired> =
            view.sealed.drain(older..).map(|segment| Retired::of(&segment)).collect();
        dead.push(Retired { file: before.file, bytes: before.end_offset });
        dead.retain(|retired| !Arc::ptr_eq(&retired.file, &ending.sealed.file));
        view.sealed.push(Arc::new(ending.sealed));
        drop(view);
        self.limbo.extend(dead);
        self.forget_pending(i);
        self.retire();
        Ok(())
    }

    fn forget_pending(&mut self, next: u64) {
        self.pending.clear();
        self.next = next;
        self.replan();
    }

    /// The last segment that keeps an entry below `i` (or else the oldest), ended there.
    fn shorten(&self, i: u64) -> Result<Shortened, WalError> {
        let (segment, older, records) = {
            let view = self.shared.view();
            if view.sealed.is_empty() || i > view.active.base {
                let active = &view.active;
                (sealed(active), view.sealed.len(), Some(active.records.clone()))
            } else {
                let older = view.sealed.partition_point(|segment| segment.base < i).saturating_sub(1);
                (Sealed::clone(&view.sealed[older]), older, None)
            }
        };
        let keep = i - segment.base;
        if keep == 0 {
            let end_offset = if segment.end_index == i { segment.end_offset } else { segment.frames_offset };
            let sealed = Sealed { end_offset, end_index: i, last_key: 0, tail: 0, ..segment };
            return Ok(Shortened { sealed, records: Some(Vec::new()), older });
        }
        let own = segment.table.as_ref().is_some_and(|table| Arc::ptr_eq(&table.file, &segment.file));
        let mut records = match records {
            None if !own => Some(self.records(&segment, i + u64::from(i < segment.end_index))?),
            records => records,
        };
        let mut sealed = segment;
        if i < sealed.end_index {
            let at = |index: u64, records: &Option<Vec<Record>>| match records {
                Some(records) => Ok(records[usize::try_from(index - sealed.base).unwrap_or(usize::MAX)]),
                None => self.shared.record(&sealed, index),
            };
            let (last, dropped) = (at(i - 1, &records)?, at(i, &records)?);
            let tail = self.frame_checksum(&sealed.file, sealed.salt, last.offset, i - 1)?;
            sealed = Sealed { end_offset: dropped.offset, end_index: i, last_key: last.key, tail, ..sealed };
        }
        if let Some(records) = &mut records {
            records.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        }
        Ok(Shortened { sealed, records, older })
    }

    /// The records of a sealed segment below index `end`.
    fn records(&self, segment: &Sealed, end: u64) -> Result<Vec<Record>, WalError> {
        (segment.base..end).map(|index| self.shared.record(segment, index)).collect()
    }

    /// The header checksum of a frame that is known to be durable.
    fn frame_checksum(
        &self,
        file: &Arc<SegmentFile>,
        salt: u64,
        offset: u64,
        index: u64,
    ) -> Result<u32, WalError> {
        let open = self.shared.handles.get(file)?;
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let whole =
            read_full(&*open, &mut bytes, offset).map_err(|error| read_failed(&file.path, offset, &error))?;
        let decoded = FrameHeader::decode(&bytes, salt, offset).map_err(|fault| fault.to_string());
        match decoded {
            Ok((header, crc)) if whole && header.index == index => Ok(crc),
            Ok((header, _)) => Err(format!("the frame of entry {}", header.index)),
            Err(fault) => Err(fault),
        }
        .map_err(|found| {
            WalError::corrupt(&file.path, offset, Some(index), "the frame of this entry", found, ADVICE_READ)
        })
    }
}
