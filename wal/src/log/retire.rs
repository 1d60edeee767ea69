//! What becomes of segments that don't count any more: limbo while a reader is in them, then the pool or the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Log;
use crate::error::WalError;
use crate::judge::sync_dir;
use crate::publish::make_space;
use crate::segment::{Sealed, SegmentFile};
use crate::storage::{SyncPoint, open_for_groups};

/// A file that was a segment.
#[derive(Debug)]
pub(super) struct Retired {
    pub(super) file: Arc<SegmentFile>,
    /// Up to its last group.
    pub(super) bytes: u64,
}

impl Retired {
    pub(super) fn of(segment: &Sealed) -> Self {
        Self { file: segment.file.clone(), bytes: segment.end_offset }
    }
}

impl Log {
    /// Takes the segments without a retained entry out of the view, oldest first. The front that says so is durable. What
    /// becomes of their files is left to later: removing one can take as long as writing it.
    pub(super) fn retire(&mut self) {
        let mut view = self.shared.view_mut();
        let first = view.first;
        let count = view.sealed.partition_point(|segment| segment.end_index <= first);
        let dead: Vec<Retired> = view.sealed.drain(..count).map(|segment| Retired::of(&segment)).collect();
        drop(view);
        self.limbo.extend(dead);
    }

    /// Gives retired files that no reader holds the names of spares, as many as the pool wants. They are spares when the
    /// directory is synced next ([`Log::renamed_are_durable`]): their headers are overwritten only then.
    ///
    /// A file that can't be renamed now stays where it is: it doesn't count, and the next opening finds it.
    pub(super) fn rename_retired(&mut self) {
        for _ in 0..self.limbo.len() {
            if self.poison.is_some() || self.pool.len() + self.renamed.len() >= self.options.pool_segments {
                return;
            }
            let Some(retired) = self.limbo.pop_front() else {
                return;
            };
            if self.is_held(&retired) || !self.fits(&retired) {
                self.limbo.push_back(retired);
                continue;
            }
            self.shared.handles.forget(retired.file.sequence);
            let spare = self.pool.name();
            if self.storage.rename(&retired.file.path, &spare).is_ok() {
                self.renamed.push(spare);
            }
        }
    }

    /// Takes note that the directory was synced.
    pub(super) fn renamed_are_durable(&mut self) {
        for spare in self.renamed.drain(..) {
            self.pool.put(spare);
        }
    }

    /// Fills the pool with retired files; answers whether there were any.
    pub(super) fn recycle(&mut self) -> bool {
        self.rename_retired();
        if self.renamed.is_empty() || self.poison.is_some() {
            return false;
        }
        match sync_dir(&*self.storage, &self.dir, SyncPoint::Retire) {
            Ok(()) => {
                self.renamed_are_durable();
                true
            }
            Err(error) => {
                self.poison(error);
                false
            }
        }
    }

    /// Removes one retired file that the pool does not take and no reader holds; answers whether there was one.
    ///
    /// A file that can't be removed now stays where it is, like one that can't be renamed.
    pub(super) fn remove_retired(&mut self) -> bool {
        if self.poison.is_some() {
            return false;
        }
        let Some(nth) = (0..self.limbo.len()).find(|nth| !self.is_held(&self.limbo[*nth])) else {
            return false;
        };
        if let Some(retired) = self.limbo.remove(nth) {
            self.shared.handles.forget(retired.file.sequence);
            let _removed = self.storage.remove(&retired.file.path);
        }
        true
    }

    /// Without idle time between, what waits is bounded all the same: each new segment takes one of the retired files,
    /// and removes another where more wait than the pool has room for.
    pub(super) fn bound_retired(&mut self) {
        if self.limbo.len() > self.options.pool_segments {
            self.remove_retired();
        }
    }

    /// Whether a reader may be in the file. Nobody new can come to hold it: it is in no view any more.
    fn is_held(&self, retired: &Retired) -> bool {
        Arc::strong_count(&retired.file) > 1 || self.shared.handles.held_by_earlier(&retired.file.path)
    }

    fn fits(&self, retired: &Retired) -> bool {
        retired.bytes <= self.options.segment_bytes
    }

    /// Removes preparations that opening found, and retires the segments that don't count.
    pub(super) fn clean_up(&mut self, prepared: &[PathBuf], dead: &[(u64, PathBuf)]) {
        for path in prepared {
            let _removed = self.storage.remove(path);
        }
        let retired = |(sequence, path): &(u64, PathBuf)| {
            let bytes = self.storage.open(path, crate::storage::OpenMode::Read).and_then(|file| file.bytes());
            Retired { file: SegmentFile::new(path.clone(), *sequence), bytes: bytes.unwrap_or(u64::MAX) }
        };
        let dead: Vec<Retired> = dead.iter().map(retired).collect();
        self.limbo.extend(dead);
    }

    /// Makes the reserve if there is no spare, and nothing that becomes one once a reader lets go of it. Without space for
    /// it the log works as long as no cut needs it; idle steps try again.
    pub(super) fn make_reserve(&mut self) {
        let waits = self.limbo.iter().any(|retired| self.fits(retired));
        if self.pool.len() > 0 || waits || self.poison.is_some() {
            return;
        }
        let path = crate::names::prepared(&self.dir, self.sequence + 1);
        let spare = self.pool.name();
        if self.make_spare(&path, &spare).is_ok() {
            self.pool.put(spare);
        } else if self.storage.remove(&path).is_err() {
            // Its name is taken until the next opening.
            self.sequence += 1;
        }
    }

    /// A spare has its name only once its length is durable: of a file whose sync failed nothing is known, and it stays
    /// what no opening takes for a spare, even where it can't be removed.
    fn make_spare(&self, path: &Path, spare: &Path) -> Result<(), WalError> {
        make_space(self.site(), path)?;
        let failed = |op, path: &Path, error: &std::io::Error| WalError::io(op, path, None, error);
        let point = SyncPoint::Fill;
        let file = open_for_groups(&*self.storage, path, self.options.direct_io)?;
        file.sync_data(point).map_err(|error| failed(point.name(), path, &error))?;
        self.storage.rename(path, spare).map_err(|error| failed("add a spare to the pool", spare, &error))
    }
}
