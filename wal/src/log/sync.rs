//! Group commit: handing over, waiting, taking note.

use std::panic::resume_unwind;

use super::roll::Roll;
use super::{Log, cursor};
use crate::error::WalError;
use crate::format::table::Record;
use crate::pending::{Ahead, Frame, Group};
use crate::segment::Sealed;
use crate::writer::{Job, News, PARTS_MAX, Part, Room};

/// What was handed over, as readers will see it.
#[derive(Debug)]
pub(super) enum InFlight {
    /// A group of the segment that is written to.
    Group {
        /// In its segment.
        offset: u64,
        end_offset: u64,
        /// With offsets counted from the group's start.
        records: Vec<Record>,
        tail: u32,
    },
    Roll(Box<Roll>),
}

impl InFlight {
    pub(super) fn last_key(&self) -> Option<u64> {
        match self {
            Self::Group { records, .. } => records.last().map(|record| record.key),
            Self::Roll(_) => None,
        }
    }

    pub(super) fn is_roll(&self) -> bool {
        matches!(self, Self::Roll(_))
    }

    /// The entries of a group, where they are in the segment.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let (records, start) = match self {
            Self::Group { records, offset, .. } => (&records[..], *offset),
            Self::Roll(_) => (&[][..], 0),
        };
        records.iter().map(move |record| Record { offset: start + record.offset, ..*record })
    }

    /// Where the next group goes.
    fn end_offset(&self) -> u64 {
        match self {
            Self::Group { end_offset, .. } => *end_offset,
            Self::Roll(roll) => roll.frames_offset(),
        }
    }

    /// A segment, with a group more.
    pub(super) fn extend(&self, sealed: &mut Sealed) {
        if let Self::Group { end_offset, records, tail, .. } = self {
            sealed.end_offset = *end_offset;
            sealed.end_index += records.len() as u64;
            if let Some(last) = records.last() {
                (sealed.last_key, sealed.tail) = (last.key, *tail);
            }
        }
    }
}

impl Log {
    /// Makes everything that was appended durable, in as few writes as possible, and answers the index after the last
    /// durable entry. With nothing on its way, it writes on the caller's thread.
    ///
    /// A failure before anything was written (no space for the next segment) leaves the entries waiting: sync again. Any
    /// other poisons the instance.
    ///
    /// # Errors
    /// [`WalError::Poisoned`], or what the storage says.
    pub fn sync(&mut self) -> Result<u64, WalError> {
        let handed = self.hand_over_all(false);
        // What was handed over before a failure becomes durable all the same.
        let settled = self.settle();
        handed.and(settled)
    }

    /// Sends everything that was appended on its way to the disk, by a thread of the log's own, and answers the index
    /// after the last durable entry so far. Appending can go on meanwhile; whatever else is called but reads and
    /// [`Log::submit`] waits first as [`Log::settle`] does.
    ///
    /// One group is being written, at most, and one more ready to be: a third waits here until the first is durable.
    /// With nothing to send, it answers at once what has become durable meanwhile.
    ///
    /// A failure is told by the next call that meets it. After it nothing is written that was sent later, and nothing of
    /// either becomes durable.
    ///
    /// # Errors
    /// As [`Log::sync`].
    pub fn submit(&mut self) -> Result<u64, WalError> {
        self.hand_over_all(true)?;
        Ok(self.durable_next())
    }

    /// Waits until everything that was sent on its way is durable, and answers the index after the last durable entry.
    ///
    /// # Errors
    /// As [`Log::sync`].
    pub fn settle(&mut self) -> Result<u64, WalError> {
        self.check_poison()?;
        self.wait_for(Room::EMPTY)?;
        Ok(self.durable_next())
    }

    /// Hands over all groups that wait; unless `now`, [`Log::settle`] follows.
    fn hand_over_all(&mut self, now: bool) -> Result<(), WalError> {
        self.check_poison()?;
        self.take_note()?;
        while !self.pending.groups.is_empty() {
            let now = now || self.pending.groups.len() > 1;
            self.hand_over_first(now)?;
        }
        Ok(())
    }

    fn hand_over_first(&mut self, now: bool) -> Result<(), WalError> {
        if self.pending.groups.front().is_some_and(|group| group.roll) {
            // What was appended with it fills the segment before, and has waited for room.
            self.roll_to_first(now)?;
        } else {
            // One group that is written, and the rolls beside it.
            let rolls = self.in_flight.iter().filter(|turn| turn.is_roll()).count() as u64;
            self.wait_for(Room { turns: 1 + rolls, parts: usize::MAX })?;
        }
        if let Some(group) = self.pending.take_first() {
            self.hand_over(group, now);
        }
        Ok(())
    }

    /// Hands over the roll to the segment that the first group starts.
    fn roll_to_first(&mut self, now: bool) -> Result<(), WalError> {
        let first = self.shared.view().first;
        self.hand_over_roll(first, false, now)?;
        self.pending.rolled();
        Ok(())
    }

    /// The same before that group is whole, so that its front can be written ahead: what fills the segment before it goes
    /// first. Only where a spare is there: nobody but a sync is told that the disk is full.
    pub(super) fn roll_ahead(&mut self) -> Result<(), WalError> {
        let waits = self.ahead().is_some_and(|ahead| self.pending.waits_for_roll(ahead));
        if !waits || !(self.pool.has(false) || self.recycle()) {
            return Ok(());
        }
        if self.pending.groups.len() > 1 {
            self.hand_over_first(true)?;
        }
        self.roll_to_first(true)
    }

    /// Hands over a group that goes where those before it end. What it says of them, that they are durable, becomes true
    /// before it is written.
    fn hand_over(&mut self, mut group: Group, now: bool) {
        let offset = group.at.offset;
        let end = self.in_flight.back().map(InFlight::end_offset);
        let end = end.unwrap_or_else(|| self.shared.view().active.end_offset);
        assert_eq!(offset, end, "a group starts where the one before it ends");
        let tail = group.finish(self.header.salt);
        let Group { sent, buffer, records, .. } = group;
        let rest = offset + sent;
        let end_offset = rest + buffer.len() as u64;
        self.in_flight.push_back(InFlight::Group { offset, end_offset, records, tail });
        self.hand_over_part(Part { buffer, offset: rest, last: true }, now);
    }

    fn hand_over_part(&mut self, part: Part, now: bool) {
        let job = Job { file: self.file.clone(), path: self.path.clone(), part, roll: None };
        self.writer.hand_over(job, now, &*self.storage, &self.lock);
    }

    /// Waits until no more than `room` is unfinished, and takes note of what became of the rest.
    fn wait_for(&mut self, room: Room) -> Result<(), WalError> {
        let waited = self.writer.wait(room, &*self.storage);
        let noted = self.take_note();
        if let Err(panic) = waited {
            resume_unwind(panic);
        }
        noted
    }

    /// Takes note of what became of all that is on its way: what is durable is shown to the readers.
    fn take_note(&mut self) -> Result<(), WalError> {
        let News { turns, buffers, failure } = self.writer.news();
        buffers.into_iter().for_each(|buffer| self.pending.keep_buffer(buffer));
        for _ in 0..turns {
            match self.in_flight.pop_front() {
                Some(InFlight::Roll(roll)) => self.rolled(*roll),
                Some(group) => self.landed(&group),
                None => break,
            }
        }
        failure.map_or(Ok(()), |error| Err(self.poison(error)))
    }

    fn landed(&mut self, group: &InFlight) {
        let InFlight::Group { end_offset, records, tail, .. } = group else {
            return;
        };
        self.covered = records.is_empty();
        let active = &mut self.shared.view_mut().active;
        active.records.extend(group.records());
        active.end_offset = *end_offset;
        if !records.is_empty() {
            active.tail = *tail;
        }
    }

    /// When the front of a group is written while its rest is appended.
    pub(super) fn ahead(&self) -> Option<Ahead> {
        let wanted = self.options.ahead_bytes > 0 && self.file.writes_are_durable();
        wanted.then_some(Ahead { salt: self.header.salt, bytes: self.options.ahead_bytes })
    }

    /// Begins to write the front of the group that is being appended to, as soon as the group before it is durable.
    pub(super) fn write_ahead(&mut self, part: Part) -> Result<(), WalError> {
        // Before it waits: the part is out of the group's buffer, and without it the group can't be written.
        self.hand_over_part(part, true);
        self.wait_for(Room { turns: u64::MAX, parts: PARTS_MAX })
    }

    /// Before the end of the segment moves by other means, everything on its way is durable, and so is a group whose
    /// front is.
    pub(super) fn land(&mut self) -> Result<(), WalError> {
        if self.pending.is_ahead() {
            self.hand_over_first(false)?;
        }
        self.settle()?;
        Ok(())
    }

    /// Writes one of the log's own marks at the end of the active segment; everything before it has landed.
    pub(super) fn write_mark(&mut self, frame: Frame, payload: &[u8]) -> Result<(), WalError> {
        let at = cursor(&self.shared.view().active);
        self.hand_over(Group::of_mark(at, frame, payload), false);
        self.settle()?;
        self.replan();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use crate::sim::SimStorage;
    use crate::{Entry, Log, LogOptions, StreamId};

    #[test]
    fn one_group_is_written_by_the_caller_and_a_thread_helps_with_several() {
        for threads in [false, true] {
            let sim = SimStorage::new(1).threads(threads);
            let stream = StreamId { chain: [1; 32], kind: *b"test\0\0\0\0" };
            let options =
                LogOptions { segment_bytes: 1 << 20, group_bytes_max: 4096, ..LogOptions::new(stream) };
            let mut log = Log::create(Arc::new(sim), Path::new("/log"), options, 0).unwrap();
            // Each thread holds the log's lock.
            let mut threads_after = |groups: u64| {
                for index in log.range().end..log.range().end + groups {
                    log.append(index, Entry { key: index, digest: 0, payload: &[7; 4000] }).unwrap();
                }
                log.sync().unwrap();
                Arc::strong_count(&log.lock) - 1
            };
            assert_eq!([1, 1, 2].map(&mut threads_after), [0, 0, usize::from(threads)]);
        }
    }
}
