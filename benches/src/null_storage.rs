//! A storage whose durable writes cost nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use roadbed_wal::{FileSystem, Listed, LockFault, LockGuard, OpenMode, Storage, StorageFile, SyncPoint};

/// The file system, but that groups and what goes with them are answered at once and written nowhere. What a log needs
/// to read again (headers, names, lengths) is as it should be.
#[derive(Debug, Default)]
pub(crate) struct NullStorage(FileSystem);

#[derive(Debug)]
struct NullFile(Arc<dyn StorageFile>);

fn is_written(point: SyncPoint) -> bool {
    !matches!(point, SyncPoint::Group | SyncPoint::Footer | SyncPoint::Fill)
}

impl StorageFile for NullFile {
    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64, point: SyncPoint) -> io::Result<usize> {
        if is_written(point) { self.0.write_at(buffer, offset, point) } else { Ok(buffer.len()) }
    }

    fn sync_data(&self, point: SyncPoint) -> io::Result<()> {
        if is_written(point) { self.0.sync_data(point) } else { Ok(()) }
    }

    fn writes_are_durable(&self) -> bool {
        self.0.writes_are_durable()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.0.allocate(bytes)
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.0.drop_cache()
    }
}

impl Storage for NullStorage {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Option<Vec<Listed>>> {
        self.0.list(dir)
    }

    fn sync_dir(&self, dir: &Path, point: SyncPoint) -> io::Result<()> {
        self.0.sync_dir(dir, point)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.0.open(path, mode)?;
        Ok(if mode == OpenMode::Read { file } else { Arc::new(NullFile(file)) })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockFault> {
        self.0.lock(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.0.free_bytes(dir)
    }

    fn salt(&self) -> io::Result<u64> {
        self.0.salt()
    }
}
