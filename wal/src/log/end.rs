//! Writes down where the log has ended, for later openings to be held against.

use std::sync::Arc;

use super::Log;
use crate::buffer::AlignedBuffer;
use crate::error::WalError;
use crate::format::PAGE;
use crate::format::end::{EndRecord, SLOTS};
use crate::judge::sync_dir;
use crate::names;
use crate::storage::{OpenMode, StorageFile, SyncPoint, child, open_for_groups, write_durably};

/// The record as it is on the disk.
#[derive(Debug, Default)]
pub(super) struct Noted {
    last: Option<(u64, EndRecord)>,
    file: Option<Arc<dyn StorageFile>>,
}

impl Noted {
    pub(super) fn new(last: Option<(u64, EndRecord)>) -> Self {
        Self { last, file: None }
    }
}

impl Log {
    /// Writes the record of the end, unless it says so already; answers whether it did. Only what is durable is recorded.
    ///
    /// A full disk is no error: the record is evidence, nothing depends on it.
    pub(super) fn note_end(&mut self) -> Result<bool, WalError> {
        let record = {
            let active = &self.shared.view().active;
            EndRecord {
                stream: self.options.stream,
                sequence: active.file.sequence,
                salt: active.salt,
                end_offset: active.end_offset,
                end_index: active.next(),
            }
        };
        if self.noted.last.is_some_and(|(_, last)| last == record) {
            return Ok(false);
        }
        let slot = self.noted.last.map_or(0, |(slot, _)| (slot + 1) % SLOTS);
        match self.write_end(&record, slot) {
            Ok(()) => {
                self.noted.last = Some((slot, record));
                Ok(true)
            }
            Err(error) if error.is_disk_full() => {
                self.noted.file = None;
                Ok(false)
            }
            Err(error) => Err(self.poison(error)),
        }
    }

    fn write_end(&mut self, record: &EndRecord, slot: u64) -> Result<(), WalError> {
        let path = child(&self.dir, names::END);
        let known = self.noted.file.take();
        let first = known.is_none();
        let file = match known {
            Some(file) => file,
            None => {
                let made = self.storage.open(&path, OpenMode::CreateNew);
                if let Err(error) = made
                    && error.kind() != std::io::ErrorKind::AlreadyExists
                {
                    return Err(WalError::io("make the record of the end", &path, None, &error));
                }
                open_for_groups(&*self.storage, &path, self.options.direct_io)?
            }
        };
        let page = AlignedBuffer::copy_of(&record.encode(slot));
        write_durably(&*file, &path, page.bytes(), slot * PAGE, SyncPoint::End)?;
        if first {
            // That it was there already says nothing of its name: whoever made it may have failed to sync that.
            sync_dir(&*self.storage, &self.dir, SyncPoint::End)?;
        }
        self.noted.file = Some(file);
        Ok(())
    }
}
