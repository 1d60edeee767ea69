//! What the log does while nobody wants anything of it, in small steps that its owner calls.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Log, cursor};
use crate::buffer::AlignedBuffer;
use crate::error::WalError;
use crate::format::frame::{FrameKind, frame_bytes};
use crate::pending::Frame;
use crate::publish::{Site, leave_free, make_space};
use crate::storage::{StorageFile, SyncPoint, open_for_groups, write_durably};

/// Zeros that one step writes, in bytes: about a millisecond's worth.
const STEP_BYTES: usize = 1 << 20;

/// Segments for which there must be room beside a spare: it is a matter of speed, and must not take the space that this
/// log or another one on the file system needs to go on.
const SPARE_ROOM_SEGMENTS: u64 = 4;

/// A spare that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    done: u64,
}

impl Log {
    /// Does one small piece of housekeeping: says on disk that the last group is durable (which narrows what a damaged
    /// last group can be mistaken for), recycles or removes what was retired and readers let go, fills the pool with
    /// written space, and records where the log ends. Answers whether there is more to do. Call it when nothing waits; a
    /// step takes about as long as one write of 1 MiB, or as the file system needs to remove a segment.
    ///
    /// A full disk is no error here.
    ///
    /// # Errors
    /// [`WalError::Poisoned`], or a failed write of the mark, of zeros behind it, or of where the log ends, which poisons.
    pub fn idle(&mut self) -> Result<bool, WalError> {
        self.settle()?;
        if !self.pending.groups.is_empty() {
            return Ok(false);
        }
        if self.mark()? {
            return Ok(true);
        }
        if self.recycle() || self.remove_retired() {
            return Ok(true);
        }
        self.check_poison()?;
        if self.fill_active()? {
            return Ok(true);
        }
        let more = match self.fill_step() {
            Ok(more) => more,
            Err(_) => {
                // Written space is a matter of speed; what was begun is given up.
                if let Some(filling) = self.filling.take() {
                    let _removed = self.storage.remove(&filling.path);
                }
                false
            }
        };
        if !more {
            self.note_end()?;
        }
        Ok(more)
    }

    /// Writes a mark, unless the last group is covered already or there is no room for one.
    fn mark(&mut self) -> Result<bool, WalError> {
        let (at, index) = {
            let view = self.shared.view();
            (cursor(&view.active), view.next())
        };
        if self.covered || !at.fits(frame_bytes(0), 0, self.options.segment_bytes) {
            return Ok(false);
        }
        let frame = Frame { kind: FrameKind::Mark, index, key: 0, digest: 0, length: 0 };
        self.write_mark(frame, &[])?;
        Ok(true)
    }

    /// Writes zeros after the end of an active segment whose space was only reserved: small groups are twice as fast in
    /// space that was written before.
    fn fill_active(&mut self) -> Result<bool, WalError> {
        let Some(filled) = self.unwritten_from else {
            return Ok(false);
        };
        let (path, end) = {
            let active = &self.shared.view().active;
            (active.file.path.clone(), active.end_offset)
        };
        let from = filled.max(end);
        let zeros = zeros(self.options.segment_bytes.saturating_sub(from));
        if zeros.len() == 0 {
            self.unwritten_from = None;
            return Ok(false);
        }
        if let Err(error) = write_durably(&*self.file, &path, zeros.bytes(), from, SyncPoint::Fill) {
            if error.is_disk_full() && self.file.writes_are_durable() {
                // Where space was not reserved; only speed is lost, and no sync is left in doubt.
                self.unwritten_from = None;
                return Ok(false);
            }
            return Err(self.poison(error));
        }
        self.unwritten_from = Some(from + zeros.len() as u64);
        Ok(true)
    }

    fn fill_step(&mut self) -> Result<bool, WalError> {
        if self.filling.is_none() {
            if !self.pool.wants_more() {
                return Ok(false);
            }
            let room = self.options.segment_bytes.saturating_mul(SPARE_ROOM_SEGMENTS);
            let keep_free_bytes = self.options.keep_free_bytes.saturating_add(room);
            leave_free(Site { keep_free_bytes, ..self.site() })?;
            self.sequence += 1;
            let path = crate::names::prepared(&self.dir, self.sequence);
            make_space(self.site(), &path).inspect_err(|_| {
                let _removed = self.storage.remove(&path);
            })?;
            let file = open_for_groups(&*self.storage, &path, self.options.direct_io)?;
            self.filling = Some(Filling { path, file, done: 0 });
        }
        let Some(filling) = &mut self.filling else {
            return Ok(false);
        };
        let zeros = zeros(self.options.segment_bytes - filling.done);
        write_durably(&*filling.file, &filling.path, zeros.bytes(), filling.done, SyncPoint::Fill)?;
        filling.done += zeros.len() as u64;
        if filling.done < self.options.segment_bytes {
            return Ok(true);
        }
        if let Some(filling) = self.filling.take() {
            let spare = self.pool.name();
            let renamed = self.storage.rename(&filling.path, &spare);
            renamed.map_err(|error| WalError::io("add a spare to the pool", &spare, None, &error))?;
            self.pool.put(spare);
        }
        Ok(self.pool.wants_more())
    }
}

/// Zeros for one step, at most `left` bytes.
fn zeros(left: u64) -> AlignedBuffer {
    let mut zeros = AlignedBuffer::default();
    zeros.extend(usize::try_from(left).unwrap_or(STEP_BYTES).min(STEP_BYTES)).fill(0);
    zeros
}
