//! Segments as the log and its readers hold them in memory: a few numbers each, whatever they contain.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::error::WalError;
use crate::format::table::TableSpan;
use crate::storage::{OpenMode, Storage, StorageFile};

/// The file of a segment. Whoever holds it keeps the file under its name: it is recycled only when nobody else does, and
/// no reader of an owner that was followed holds the file of that name ([`Handles::follow`]).
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) sequence: u64,
    handle: Mutex<Option<Arc<dyn StorageFile>>>,
}

/// Bounds how many segments are open for reading: the one opened longest ago is closed first. Knows which files readers
/// may hold, those of earlier owners' readers included.
#[derive(Debug)]
pub(crate) struct Handles {
    storage: Arc<dyn Storage>,
    max: usize,
    open: Mutex<VecDeque<Weak<SegmentFile>>>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Of this owner, by sequence.
    own: BTreeMap<u64, Weak<SegmentFile>>,
    /// Of the owners before it.
    earlier: Vec<Weak<SegmentFile>>,
}

impl SegmentFile {
    /// A file that only the log itself holds; [`Handles::file`] makes those that readers may come to hold.
    pub(crate) fn new(path: PathBuf, sequence: u64) -> Arc<Self> {
        Arc::new(Self { path, sequence, handle: Mutex::new(None) })
    }

    fn close(&self) {
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Handles {
    pub(crate) fn new(storage: Arc<dyn Storage>, max: usize) -> Self {
        Self { storage, max, open: Mutex::default(), held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A segment's file that readers may come to hold.
    pub(crate) fn file(&self, path: PathBuf, sequence: u64) -> Arc<SegmentFile> {
        let file = SegmentFile::new(path, sequence);
        self.held().own.insert(sequence, Arc::downgrade(&file));
        file
    }

    /// Heeds what the readers of an owner hold whose life is over: files that this owner sees under the same names.
    pub(crate) fn follow(&self, before: &Self) {
        let mut earlier: Vec<_> = {
            let held = before.held();
            held.own.values().chain(&held.earlier).cloned().collect()
        };
        earlier.retain(|file| file.strong_count() > 0);
        self.held().earlier = earlier;
    }

    /// Whether a reader of an earlier owner may still open the file of this name.
    pub(crate) fn held_by_earlier(&self, path: &Path) -> bool {
        let mut held = self.held();
        held.earlier.retain(|file| file.strong_count() > 0);
        held.earlier.iter().filter_map(Weak::upgrade).any(|file| file.path == path)
    }

    /// Nobody holds this file any more, and nobody can come to hold it.
    pub(crate) fn forget(&self, sequence: u64) {
        self.held().own.remove(&sequence);
    }

    /// The segment's file, opened for reading if it is not.
    pub(crate) fn get(&self, file: &Arc<SegmentFile>) -> Result<Arc<dyn StorageFile>, WalError> {
        let mut handle = file.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*handle {
            return Ok(open.clone());
        }
        let opened = self
            .storage
            .open(&file.path, OpenMode::Read)
            .map_err(|error| WalError::io("open a segment to read", &file.path, None, &error))?;
        *handle = Some(opened.clone());
        drop(handle);
        let closed = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.push_back(Arc::downgrade(file));
            if open.len() > self.max { open.pop_front() } else { None }
        };
        if let Some(closed) = closed.and_then(|weak| weak.upgrade()) {
            closed.close();
        }
        Ok(opened)
    }
}

/// Where a segment's table can be read.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) salt: u64,
    pub(crate) span: TableSpan,
}

/// A segment that takes no more entries.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) salt: u64,
    pub(crate) base: u64,
    pub(crate) frames_offset: u64,
    pub(crate) end_offset: u64,
    pub(crate) end_index: u64,
    /// Of its last entry; 0 without one.
    pub(crate) last_key: u64,
    /// Header checksum of its last entry's frame; 0 without one.
    pub(crate) tail: u32,
    /// None where it has no entries.
    pub(crate) table: Option<Table>,
}

/// What is known of a segment from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its place in the order of segments; never used twice.
    pub sequence: u64,
    /// Index of its first entry.
    pub base: u64,
    /// The index after its last entry.
    pub end: u64,
    /// Bytes up to the end of its last group.
    pub bytes: u64,
    /// Its file.
    pub path: PathBuf,
}

impl Sealed {
    pub(crate) fn info(&self) -> SegmentInfo {
        info(&self.file, self.base, self.end_index, self.end_offset)
    }
}

pub(crate) fn info(file: &SegmentFile, base: u64, end: u64, bytes: u64) -> SegmentInfo {
    SegmentInfo { sequence: file.sequence, base, end, bytes, path: file.path.clone() }
}

/// An error of reading a segment.
pub(crate) fn read_failed(path: &Path, offset: u64, error: &io::Error) -> WalError {
    WalError::io("read a segment", path, Some(offset), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileSystem;

    fn handles() -> Handles {
        Handles::new(Arc::new(FileSystem), 2)
    }

    #[test]
    fn what_readers_of_earlier_owners_hold_is_known_until_they_let_go() {
        let (first, second, third) = (handles(), handles(), handles());
        let path = PathBuf::from("1.seg");
        let (held, let_go) = (first.file(path.clone(), 1), first.file(PathBuf::from("2.seg"), 2));
        drop(let_go);
        second.follow(&first);
        assert_eq!(second.held().earlier.len(), 1);
        third.follow(&second);
        for owner in [&second, &third] {
            assert!(owner.held_by_earlier(&path));
            assert!(!owner.held_by_earlier(Path::new("2.seg")));
        }
        assert!(!first.held_by_earlier(&path), "its own readers are no earlier ones");
        drop(held);
        assert!(!third.held_by_earlier(&path));
        assert!(third.held().earlier.is_empty(), "nor does it cost anything");
    }

    #[test]
    fn a_file_that_is_gone_costs_nothing() {
        let handles = handles();
        let (first, second) =
            (handles.file(PathBuf::from("1.seg"), 1), handles.file(PathBuf::from("2.seg"), 2));
        handles.forget(first.sequence);
        assert!(handles.held().own.keys().eq(&[second.sequence]));
    }
}
