//! Group commit: handing over, waiting, taking note.

use std::panic::resume_unwind;

use super::{Log, cursor};
use crate::error::WalError;
use crate::format::table::Record;
use crate::pending::{Ahead, Frame, Group};
use crate::writer::{Job, News, PARTS_MAX, Part, Room};

/// A group that was handed over, as readers will see it.
#[derive(Debug)]
pub(super) struct InFlight {
    /// In the active segment.
    offset: u64,
    end_offset: u64,
    records: Vec<Record>,
    tail: u32,
}

impl InFlight {
    pub(super) fn last_key(&self) -> Option<u64> {
        self.records.last().map(|record| record.key)
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
        self.hand_over_all(false)?;
        self.settle()
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
        while let Some(first) = self.pending.groups.front() {
            if first.roll {
                self.settle()?;
                let first = self.shared.view().first;
                self.roll(first, false)?;
            }
            let now = now || self.pending.groups.len() > 1;
            self.hand_over_first(now)?;
        }
        Ok(())
    }

    fn hand_over_first(&mut self, now: bool) -> Result<(), WalError> {
        self.wait_for(Room { groups: 1, parts: usize::MAX })?;
        if let Some(group) = self.pending.take_first() {
            self.hand_over(group, now);
        }
        Ok(())
    }

    /// Hands over a group that goes where those before it end. What it says of them, that they are durable, becomes true
    /// before it is written.
    fn hand_over(&mut self, mut group: Group, now: bool) {
        let offset = group.at.offset;
        let end = self.in_flight.back().map(|group| group.end_offset);
        let end = end.unwrap_or_else(|| self.shared.view().active.end_offset);
        assert_eq!(offset, end, "a group starts where the one before it ends");
        let tail = group.finish(self.header.salt);
        let Group { sent, buffer, records, .. } = group;
        let rest = offset + sent;
        let end_offset = rest + buffer.len() as u64;
        self.in_flight.push_back(InFlight { offset, end_offset, records, tail });
        self.hand_over_part(Part { buffer, offset: rest, last: true }, now);
    }

    fn hand_over_part(&mut self, part: Part, now: bool) {
        self.footer = None;
        let path = self.shared.view().active.file.path.clone();
        let job = Job { file: self.file.clone(), path, part };
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

    /// Takes note of what became of the groups on their way: what is durable is shown to the readers.
    fn take_note(&mut self) -> Result<(), WalError> {
        let News { groups, buffers, failure } = self.writer.news();
        buffers.into_iter().for_each(|buffer| self.pending.keep_buffer(buffer));
        for _ in 0..groups {
            let Some(InFlight { offset, end_offset, records, tail }) = self.in_flight.pop_front() else {
                break;
            };
            let absolute = |record: &Record| Record { offset: offset + record.offset, ..*record };
            let active = &mut self.shared.view_mut().active;
            active.records.extend(records.iter().map(absolute));
            active.end_offset = end_offset;
            if !records.is_empty() {
                active.tail = tail;
            }
            self.covered = records.is_empty();
        }
        failure.map_or(Ok(()), |error| Err(self.poison(error)))
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
        self.wait_for(Room { groups: u64::MAX, parts: PARTS_MAX })
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
