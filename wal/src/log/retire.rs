//! What becomes of segments that don't count any more: limbo while a reader is in them, then the pool or the end.

use std::path::PathBuf;
use std::sync::Arc;

use super::Log;
use crate::judge::sync_dir;
use crate::publish::make_space;
use crate::segment::{Sealed, SegmentFile};
use crate::storage::SyncPoint;

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
    /// Takes the segments without a retained entry out of the view, oldest first. The front that says so is durable.
    pub(super) fn retire(&mut self) {
        let mut view = self.shared.view_mut();
        let first = view.first;
        let count = view.sealed.partition_point(|segment| segment.end_index <= first);
        let dead: Vec<Retired> = view.sealed.drain(..count).map(|segment| Retired::of(&segment)).collect();
        drop(view);
        self.limbo.extend(dead);
        self.settle_limbo();
    }

    /// Recycles or removes the retired files that no reader holds.
    ///
    /// A file that can't be renamed or removed now stays where it is: it doesn't count, and the next opening finds it.
    pub(super) fn settle_limbo(&mut self) {
        if self.poison.is_some() {
            return;
        }
        let mut renamed = Vec::new();
        for _ in 0..self.limbo.len() {
            let Some(retired) = self.limbo.pop_front() else {
                break;
            };
            // Nobody else can come to hold it: it is in no view any more.
            let handles = &self.shared.handles;
            if Arc::strong_count(&retired.file) > 1 || handles.held_by_earlier(&retired.file.path) {
                self.limbo.push_back(retired);
                continue;
            }
            handles.forget(retired.file.sequence);
            if self.fits(&retired) && self.pool.len() + renamed.len() < self.options.pool_segments {
                let spare = self.pool.name();
                if self.storage.rename(&retired.file.path, &spare).is_ok() {
                    renamed.push(spare);
                }
            } else {
                let _removed = self.storage.remove(&retired.file.path);
            }
        }
        if renamed.is_empty() {
            return;
        }
        // Their headers are overwritten only once the new names are durable.
        match sync_dir(&*self.storage, &self.dir, SyncPoint::Retire) {
            Ok(()) => renamed.into_iter().for_each(|spare| self.pool.put(spare)),
            Err(error) => {
                self.poison(error);
            }
        }
    }

    fn fits(&self, retired: &Retired) -> bool {
        retired.bytes <= self.options.segment_bytes
    }

    /// Removes what opening found that doesn't count.
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
        self.settle_limbo();
    }

    /// Makes the reserve if there is no spare, and nothing that becomes one once a reader lets go of it. Without space for
    /// it the log works as long as no cut needs it; idle steps try again.
    pub(super) fn make_reserve(&mut self) {
        let waits = self.limbo.iter().any(|retired| self.fits(retired));
        if self.pool.len() > 0 || waits || self.poison.is_some() {
            return;
        }
        let path = self.pool.name();
        match make_space(self.site(), &path, self.options.segment_bytes) {
            Ok(()) => self.pool.put(path),
            Err(_) => {
                let _removed = self.storage.remove(&path);
            }
        }
    }
}
