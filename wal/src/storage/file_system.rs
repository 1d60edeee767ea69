//! The real file system, through std and rustix.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, OFlags, RenameFlags};

use super::{Listed, LockFault, LockGuard, OpenMode, Storage, StorageFile, SyncPoint};

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

#[derive(Debug)]
struct DiskFile {
    file: File,
    direct: bool,
}

#[derive(Debug)]
struct FileLock {
    file: File,
}

impl LockGuard for FileLock {}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing is not enough: between fork and exec, a process that another thread starts has a copy of the handle,
        // and would keep the lock for that long.
        let _unlocked = self.file.unlock();
    }
}

impl Storage for FileSystem {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = parent_of(dir);
        self.create_dir(parent)?;
        match std::fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            other => other?,
        }
        self.sync_dir(parent, SyncPoint::Parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Option<Vec<Listed>>> {
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What is renamed or removed meanwhile is not there.
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let name = entry.file_name();
            let is_file = metadata.is_file() && name.to_str().is_some();
            let bytes = if is_file { metadata.len() } else { 0 };
            listed.push(Listed { name: name.to_string_lossy().into_owned(), bytes, is_file });
        }
        Ok(Some(listed))
    }

    fn sync_dir(&self, dir: &Path, _point: SyncPoint) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir)?.sync_all()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::WriteDirect => {
                options.write(true).custom_flags(direct_flags()?);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(DiskFile { file: options.open(path)?, direct: mode == OpenMode::WriteDirect }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, RenameFlags::NOREPLACE) {
            // Some file systems can't refuse to replace; names here are never used twice, so that asking first is safe
            // under the lock.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                if to.try_exists()? {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                std::fs::rename(from, to)
            }
            other => Ok(other?),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockFault> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(LockFault::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let told = file.take(256).read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = if told { holder.trim().to_owned() } else { "an unknown process".to_owned() };
                return Err(LockFault::Held(holder));
            }
            Err(TryLockError::Error(error)) => return Err(LockFault::Io(error)),
        }
        let told = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        // The text is for people; the lock holds without it, on a full disk too.
        let _told = told.and_then(|_| file.write_all(format!("process {}\n", std::process::id()).as_bytes()));
        Ok(Box::new(FileLock { file }))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
    }

    fn salt(&self) -> io::Result<u64> {
        loop {
            let mut raw = [0; 8];
            let got = rustix::rand::getrandom(&mut raw[..], rustix::rand::GetRandomFlags::empty())?;
            let salt = u64::from_le_bytes(raw);
            if got == raw.len() && salt != 0 {
                return Ok(salt);
            }
        }
    }
}

impl StorageFile for DiskFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64, _point: SyncPoint) -> io::Result<usize> {
        loop {
            match self.file.write_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn sync_data(&self, _point: SyncPoint) -> io::Result<()> {
        self.file.sync_data()
    }

    fn writes_are_durable(&self) -> bool {
        self.direct
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                if self.bytes()? < bytes {
                    self.file.set_len(bytes)?;
                }
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }

    fn expect_reads(&self, range: Range<u64>) {
        // A hint: without it the reads are slower.
        let bytes = NonZeroU64::new(range.end.saturating_sub(range.start));
        let _hinted =
            bytes.map(|bytes| rustix::fs::fadvise(&self.file, range.start, Some(bytes), Advice::WillNeed));
    }

    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        // Nothing here uses the position that this moves.
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(start) => {
                let end = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Hole(start));
                Some(start..end.unwrap_or(u64::MAX))
            }
            Err(rustix::io::Errno::NXIO) => None,
            // A file system that does not know.
            Err(_) => Some(offset..u64::MAX),
        }
    }
}

fn parent_of(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn direct_flags() -> io::Result<i32> {
    let flags = OFlags::DIRECT | OFlags::DSYNC;
    i32::try_from(flags.bits()).map_err(|_| io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_holder_and_a_dropped_one_frees_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let guard = FileSystem.lock(&path).unwrap();
        match FileSystem.lock(&path) {
            Err(LockFault::Held(holder)) => assert_eq!(holder, format!("process {}", std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(guard);
        FileSystem.lock(&path).unwrap();
    }

    #[test]
    fn a_dropped_lock_is_free_whoever_has_a_copy_of_the_handle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        file.try_lock().unwrap();
        let copy = file.try_clone().unwrap();
        drop(FileLock { file });
        FileSystem.lock(&path).unwrap();
        drop(copy);
    }

    #[test]
    fn a_rename_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, b"a").unwrap();
        std::fs::write(&b, b"b").unwrap();
        assert_eq!(FileSystem.rename(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&b).unwrap(), b"b");
    }

    #[test]
    fn a_listing_has_everything_and_says_what_is_a_file() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        assert_eq!(FileSystem.list(&path("none")).unwrap(), None);
        std::fs::write(path("a file"), b"abc").unwrap();
        std::fs::create_dir(path("below")).unwrap();
        std::fs::write(path("below/inner"), b"").unwrap();
        std::os::unix::fs::symlink(path("a file"), path("link")).unwrap();
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"odd\xff")), b"").unwrap();
        let mut found = FileSystem.list(dir.path()).unwrap().unwrap();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        let listed = |name: &str, bytes, is_file| Listed { name: name.to_owned(), bytes, is_file };
        let expected = [
            listed("a file", 3, true),
            listed("below", 0, false),
            listed("link", 0, false),
            listed("odd\u{fffd}", 0, false),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn allocate_extends_with_zeros_and_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = FileSystem.open(&dir.path().join("f"), OpenMode::CreateNew).unwrap();
        file.write_at(b"abc", 0, SyncPoint::Group).unwrap();
        file.allocate(8192).unwrap();
        file.allocate(4096).unwrap();
        assert_eq!(file.bytes().unwrap(), 8192);
        let mut read = [9; 4];
        assert_eq!(file.read_at(&mut read, 0).unwrap(), 4);
        assert_eq!(&read, b"abc\0");
    }

    #[test]
    fn space_that_was_only_reserved_holds_no_data() {
        let dir = tempfile::tempdir().unwrap();
        let file = FileSystem.open(&dir.path().join("f"), OpenMode::CreateNew).unwrap();
        file.allocate(4 << 20).unwrap();
        file.write_at(&[7; 4096], 1 << 20, SyncPoint::Group).unwrap();
        file.sync_data(SyncPoint::Group).unwrap();
        // A file system may know less, but never leaves out what was written.
        let (mut at, mut seen) = (0, false);
        while let Some(data) = file.data_from(at) {
            assert!(data.start >= at && data.end > data.start, "{data:?} from {at}");
            seen |= data.start <= 1 << 20 && (1 << 20) + 4096 <= data.end;
            at = data.end;
        }
        assert!(seen);
    }
}
