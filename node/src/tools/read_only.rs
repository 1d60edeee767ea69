//! A storage that changes nothing: no byte, no time stamp, not even the words in a lock file.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use roadbed::store::StorePaths;
use roadbed_messages::api::StartError;
use roadbed_wal::{FileSystem, Listed, LockFault, LockGuard, OpenMode, Storage, StorageFile, SyncPoint};

use crate::exit::NodeError;

/// The file system, to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadOnly {
    /// Whether locks are taken. Without, what is seen may be changing.
    pub(crate) locks: bool,
}

#[derive(Debug)]
struct Held(#[expect(dead_code, reason = "held as long as it lives")] Option<File>);

impl LockGuard for Held {}

#[derive(Debug)]
struct ReadOnlyFile(Arc<dyn StorageFile>);

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Storage for ReadOnly {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn list(&self, dir: &Path) -> io::Result<Option<Vec<Listed>>> {
        FileSystem.list(dir)
    }

    fn sync_dir(&self, _: &Path, _: SyncPoint) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        match mode {
            OpenMode::Read => Ok(Arc::new(ReadOnlyFile(FileSystem.open(path, mode)?))),
            _ => refused(),
        }
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        FileSystem.free_bytes(dir)
    }

    /// Locks the file as it is. Where there is none nobody can hold it.
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockFault> {
        if !self.locks {
            return Ok(Box::new(Held(None)));
        }
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Box::new(Held(None))),
            opened => opened.map_err(LockFault::Io)?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Box::new(Held(Some(file)))),
            Err(TryLockError::WouldBlock) => Err(LockFault::Held(holder(file))),
            Err(TryLockError::Error(error)) => Err(LockFault::Io(error)),
        }
    }

    fn salt(&self) -> io::Result<u64> {
        refused()
    }
}

/// What a lock's owner wrote into it.
fn holder(file: File) -> String {
    let mut text = String::new();
    let told = file.take(256).read_to_string(&mut text).is_ok() && !text.trim().is_empty();
    if told { text.trim().to_owned() } else { "an unknown process".to_owned() }
}

impl StorageFile for ReadOnlyFile {
    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, _: &[u8], _: u64, _: SyncPoint) -> io::Result<usize> {
        refused()
    }

    fn sync_data(&self, _: SyncPoint) -> io::Result<()> {
        Ok(())
    }

    fn writes_are_durable(&self) -> bool {
        self.0.writes_are_durable()
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes the lock of a store's directory, without a word in it.
///
/// # Errors
/// Who has it, or what the system says.
pub(crate) fn lock(paths: &StorePaths) -> Result<Box<dyn LockGuard>, NodeError> {
    ReadOnly { locks: true }.lock(&paths.lock()).map_err(|fault| match fault {
        LockFault::Held(holder) => NodeError::Start(StartError::InUse { path: paths.dir.clone(), holder }),
        LockFault::Io(error) => NodeError::io(paths.lock().display().to_string(), error),
    })
}

/// Who holds a lock, by the system's own list: asking takes no lock, so it is in nobody's way. `None`: nobody, as far
/// as can be told.
pub(crate) fn holder_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let inode = std::fs::metadata(path).ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // 1: FLOCK  ADVISORY  WRITE 4711 08:01:123456 0 EOF
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", process, place, ..] = fields.as_slice() else { return None };
        let found = place.rsplit(':').next()?;
        if found == inode { process.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use roadbed::store::{log_options, prepare};
    use roadbed_messages::testing;

    #[test]
    fn a_start_on_a_disk_that_takes_no_writes_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let committee = testing::committee(1, 4).committee;
        let storage: Arc<dyn Storage> = Arc::new(ReadOnly { locks: true });
        let paths = StorePaths::new(dir.path().join("data"));
        let error = prepare(&storage, &paths, &committee, |wal| log_options(&committee, wal)).unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains("data: read-only") && told.contains("; mount it for writing, or choose"),
            "{told}"
        );
    }
}
